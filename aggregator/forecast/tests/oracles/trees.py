#!/usr/bin/env python3
"""Writes trees.json beside itself: what LightGBM reaches on data that the unit test generates anew by the same rule.

    pip install lightgbm==4.7.0 numpy && python3 trees.py

Both sides draw from one linear congruential generator, so that the fixture holds losses and not the data.
"""

import json
import math
import pathlib

import lightgbm
import numpy

ROWS, TRAIN, WIDTH = 2_000, 1_200, 5
LEVELS = [0.1, 0.5, 0.9]
TREES, LEAVES, LEAST_ROWS, RATE = 60, 12, 20, 0.1


def uniform():
    state = 42
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield (state >> 11) / 2**53


def data():
    draw = uniform()
    features, targets = [], []
    for _ in range(ROWS):
        x = [next(draw) for _ in range(WIDTH)]
        noise = sum(next(draw) for _ in range(3)) - 1.5
        targets.append(math.sin(6 * x[0]) + (2 * x[2] if x[1] > 0.6 else 0.0) + (0.2 + 1.6 * x[3]) * noise)
        # A tenth of the third feature is missing.
        features.append([x[0], x[1], math.nan if next(draw) < 0.1 else x[2], x[3], x[4]])
    return numpy.array(features), numpy.array(targets)


def pinball(level, said, actual):
    miss = actual - said
    return float(numpy.mean(numpy.maximum(level * miss, (level - 1) * miss)))


def main():
    features, targets = data()
    losses = []
    for level in LEVELS:
        made = lightgbm.train(
            dict(objective="quantile", alpha=level, num_leaves=LEAVES, learning_rate=RATE, min_data_in_leaf=LEAST_ROWS,
                 min_sum_hessian_in_leaf=0, lambda_l2=0, max_bin=63, min_data_in_bin=1, num_threads=1, deterministic=True,
                 verbose=-1),
            lightgbm.Dataset(features[:TRAIN], targets[:TRAIN]), num_boost_round=TREES)
        said = made.predict(features)
        constant = numpy.quantile(targets[:TRAIN], level)
        losses.append(dict(
            level=level,
            train=round(pinball(level, said[:TRAIN], targets[:TRAIN]), 6),
            test=round(pinball(level, said[TRAIN:], targets[TRAIN:]), 6),
            constant=round(pinball(level, constant, targets[TRAIN:]), 6),
        ))
    out = dict(oracle=f"lightgbm {lightgbm.__version__}", rows=ROWS, train=TRAIN, trees=TREES, leaves=LEAVES,
               least_rows=LEAST_ROWS, rate=RATE, first=[round(v, 12) for v in features[0].tolist() + [targets[0]]],
               losses=losses)
    pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
