#!/usr/bin/env python3
"""Writes prophet.json: generated series, and what Python's prophet makes of them.

    python3 -m venv venv && venv/bin/pip install prophet==1.5.0 && venv/bin/python prophet.py > prophet.json

Seeds are fixed; the optimiser of the original is not bound to give the same last digits on every machine.
"""

import json
import logging
import math
import random
import sys

sys.path.pop(0)  # This file has the package's name and would be imported in its place.
import pandas
from prophet import Prophet

START = 1_700_000_400
DAY = 86_400


def series(seed, steps, step, load, noise, gaps=()):
    draw = random.Random(seed)
    rows = []
    for index in range(steps):
        at = START + index * step
        value = round(max(load(at, index) + draw.gauss(0.0, noise), 0.0), 3)
        rows.append(None if any(low <= index < high for low, high in gaps) else value)
    return rows


def day(at, sharp=0.0):
    phase = (at % DAY) / DAY * math.tau
    return math.sin(phase) + sharp * math.cos(2 * phase + 1.0)


def weekend(at):
    return 1.0 if (at // DAY + 3) % 7 >= 5 else 0.0


def bent(index):
    return 100 + 0.15 * index + (0.4 * (index - 250) if index > 250 else 0)


CASES = {
    "added": dict(step=3_600, values=series(1, 504, 3_600, lambda at, i: bent(i) + 40 * day(at, 0.4) - 25 * weekend(at), 6)),
    "multiplied": dict(step=3_600, multiplicative=True, values=series(
        2, 672, 3_600, lambda at, i: (60 + 0.3 * i) * (1 + 0.5 * day(at, 0.3) - 0.3 * weekend(at)), 5)),
    "gaps": dict(step=1_800, values=series(3, 300, 1_800, lambda at, i: 500 - 0.5 * i + 200 * day(at), 30, [(40, 71), (150, 152), (220, 260)])),
    "flat": dict(step=3_600, growth="flat", values=series(4, 400, 3_600, lambda at, i: 30 + 10 * day(at, 0.5), 2)),
    "events": dict(step=3_600, events=[(100, 106), (268, 274), (330, 342), (506, 512), (520, 526)], values=series(
        5, 504, 3_600, lambda at, i: (80 + 0.05 * i) * (1 + 1.2 * (100 <= i < 106 or 268 <= i < 274 or 330 <= i < 342)) + 20 * day(at), 4)),
}
AHEAD = 48


def frame(case, first, last):
    middles = [START + index * case["step"] + case["step"] / 2 for index in range(first, last)]
    made = pandas.DataFrame({"ds": pandas.to_datetime([int(at) for at in middles], unit="s")})
    made["event"] = [float(any(low <= index < high for low, high in case.get("events", ()))) for index in range(first, last)]
    return made


def main():
    for name in ("prophet", "cmdstanpy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    out = {}
    for name, case in CASES.items():
        values = case["values"]
        known = frame(case, 0, len(values))
        known["y"] = values
        known = known.dropna().reset_index(drop=True)
        model = Prophet(
            growth=case.get("growth", "linear"),
            seasonality_mode="multiplicative" if case.get("multiplicative") else "additive",
            uncertainty_samples=0,
        )
        if "events" in case:
            model.add_regressor("event", prior_scale=10.0, standardize=False, mode="multiplicative")
        model.fit(known, seed=1, tol_rel_obj=1, tol_rel_grad=1e3, tol_param=1e-10, iter=20_000)
        said = model.predict(frame(case, len(values), len(values) + AHEAD))
        columns = list(model.train_component_cols.index)
        names = list(model.make_all_seasonality_features(known)[0].columns)
        order = sorted(range(len(names)), key=lambda at: (["d", "w", "e"].index(names[at][0]), at))
        assert len(columns) == len(names)
        params = model.params
        out[name] = dict(
            start=START,
            step_seconds=case["step"],
            flat=case.get("growth") == "flat",
            multiplicative=bool(case.get("multiplicative")),
            events=case.get("events", []),
            values=values,
            slope=float(params["k"][0][0]) if "k" in params else 0.0,
            offset=float(params["m"][0][0]),
            noise=float(params["sigma_obs"][0][0]),
            bends=[round(float(value), 9) for value in params["delta"][0]],
            coefficients=[round(float(params["beta"][0][at]), 9) for at in order],
            daily=sum(name.startswith("daily") for name in names) // 2,
            weekly=sum(name.startswith("weekly") for name in names) // 2,
            changepoints=[round(float(value), 9) for value in model.changepoints_t],
            forecast=[round(float(value), 4) for value in said["yhat"]],
        )
    print("{" + ",\n".join(f'"{name}": {json.dumps(case, separators=(",", ":"))}' for name, case in out.items()) + "}")


if __name__ == "__main__":
    main()
