#!/usr/bin/env python3
"""Answers, loss and gradients of the network of `aggregator/neural`, by automatic differentiation in 64 bits.

    python3 -m venv venv && venv/bin/pip install autograd==1.9.1 numpy==2.4.6
    venv/bin/python tests/oracles/lstm.py > aggregator/neural/tests/lstm.json
    venv/bin/python tests/oracles/lstm.py events > aggregator/neural/tests/lstm_events.json

The second has events ahead among its inputs, and shares of them among its answers.

The equations are written anew here, from the ONNX definition of LSTM (gates i, o, f, c); nothing is shared with the crate.
"""

import json
import sys

import autograd.numpy as np
from autograd import value_and_grad

WINDOW, HORIZON, HIDDEN, ROWS = 7, 3, 4, 3
EVENTS = sys.argv[1:] == ["events"]
FEATURES = ["value", "observed", "event", "day_sin", "day_cos", "week_sin", "week_cos", "day_ahead", "week_ahead"]
if EVENTS:
    FEATURES = [name.replace("event", "event_intensity") for name in FEATURES] + ["event_ahead", "event_before"]
LEVELS = [0.1, 0.5, 0.9]
DAY, WEEK = FEATURES.index("day_ahead"), FEATURES.index("week_ahead")
COLUMNS = 2 + len(LEVELS)
OF_STEPS = HORIZON * COLUMNS
OUTPUTS = OF_STEPS + (2 * len(LEVELS) if EVENTS else 0)
SHAPES = [(4 * HIDDEN, len(FEATURES)), (4 * HIDDEN, HIDDEN), (4 * HIDDEN,), (OUTPUTS, HIDDEN), (OUTPUTS,)]


def unpack(flat):
    parts, at = [], 0
    for shape in SHAPES:
        count = int(np.prod(np.array(shape)))
        parts.append(np.reshape(flat[at : at + count], shape))
        at += count
    return parts


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def answers(flat, inputs):
    """inputs: [row, step, feature] -> [row, step ahead, level]"""
    w, r, b, dense, offset = unpack(flat)
    rows = inputs.shape[0]
    h, c = np.zeros((rows, HIDDEN)), np.zeros((rows, HIDDEN))
    for step in range(WINDOW):
        gates = np.dot(inputs[:, step, :], w.T) + np.dot(h, r.T) + b
        i, o, f, g = (gates[:, k * HIDDEN : (k + 1) * HIDDEN] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    dense_said = np.dot(h, dense.T) + offset
    said = np.reshape(dense_said[:, :OF_STEPS], (rows, HORIZON, COLUMNS))
    day = inputs[:, WINDOW - HORIZON :, DAY : DAY + 1]
    week = inputs[:, WINDOW - HORIZON :, WEEK : WEEK + 1]
    without = said[:, :, 2:] + said[:, :, 0:1] * day + said[:, :, 1:2] * week
    if not EVENTS:
        return without
    shares = np.reshape(dense_said[:, OF_STEPS:], (rows, 2, len(LEVELS)))
    announced, came = (inputs[:, WINDOW - HORIZON :, FEATURES.index(name)] for name in ("event_ahead", "event_before"))
    return without + announced[:, :, None] * shares[:, None, 0, :] + came[:, :, None] * shares[:, None, 1, :]


def loss(flat, inputs, actual, known):
    """The sum of pinball losses; 0: nothing known, 1: the value, 2: it was at least this."""
    said = answers(flat, inputs)
    levels = np.array(LEVELS)
    miss = actual[:, :, None] - said
    pinball = np.maximum(levels * miss, (levels - 1.0) * miss)
    charged = (known[:, :, None] == 1) | ((known[:, :, None] == 2) & (miss > 0))
    return np.sum(np.where(charged, pinball, 0.0))


def main():
    random = np.random.RandomState(7)
    count = sum(int(np.prod(np.array(shape))) for shape in SHAPES)
    # Numbers that 32 bits hold exactly, so that both sides compute with the same ones.
    single = lambda values: np.array(values, dtype=np.float32).astype(np.float64)
    flat = single(random.normal(0, 0.4, count))
    inputs = single(random.normal(0, 1, (ROWS, WINDOW, len(FEATURES))))
    actual = single(random.normal(0, 1, (ROWS, HORIZON)))
    known = np.array([[1, 1, 0], [2, 1, 1], [1, 2, 2]])
    value, gradient = value_and_grad(loss)(flat, inputs, actual, known)
    print(json.dumps({
        "window": WINDOW, "horizon": HORIZON, "hidden": HIDDEN, "levels": LEVELS, "rows": ROWS,
        "parameters": flat.tolist(), "inputs": inputs.ravel().tolist(), "actual": actual.ravel().tolist(),
        "known": known.ravel().tolist(), "answers": answers(flat, inputs).ravel().tolist(),
        "loss": float(value), "gradient": gradient.tolist(),
    }))


if __name__ == "__main__":
    main()
