#!/usr/bin/env python3
"""Trains a network with PyTorch and writes it as Foreshadow reads it: NAME.onnx, and NAME.json beside it.

    python3 -m venv venv && venv/bin/pip install torch onnx
    venv/bin/python pytorch_network.py HISTORY network.onnx

HISTORY is a directory of NAME.csv files with a header and the columns timestamp (RFC 3339, or seconds since 1970) and value, one series
each, at least four days long. (Foreshadow itself also caps single wild values; here they are taken as they are.) Meant to be changed: everything that is not the contract of docs/models.md is yours.
"""

import argparse
import csv
import datetime
import hashlib
import json
import math
import pathlib

import numpy
import torch

# The contract. What `features` names must be computed by `windows` exactly as docs/models.md says: Foreshadow computes it anew when it asks.
STEP, WINDOW, HORIZON = 900, 192, 96
FEATURES = ["value", "observed", "event", "day_sin", "day_cos", "week_sin", "week_cos", "day_ahead", "week_ahead"]
LEVELS = [0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99]
DAY, WEEK = 86_400 // STEP, 7 * 86_400 // STEP
LIMIT = 10.0
DAY_AHEAD, WEEK_AHEAD = FEATURES.index("day_ahead"), FEATURES.index("week_ahead")


class Network(torch.nn.Module):
    """`[series, WINDOW, features]` to `[series, HORIZON, levels]`: shares of yesterday and of last week, and a correction per level."""

    def __init__(self, hidden):
        super().__init__()
        self.lstm = torch.nn.LSTM(len(FEATURES), hidden, batch_first=True)
        self.said = torch.nn.Linear(hidden, HORIZON * (2 + len(LEVELS)))
        with torch.no_grad():
            self.said.weight.mul_(0.1)
            offset = self.said.bias.view(HORIZON, 2 + len(LEVELS))
            offset[:, :2] = 0.5
            offset[:, 2:] = 0.4 * torch.special.ndtri(torch.tensor(LEVELS))

    def forward(self, x):
        _, (state, _) = self.lstm(x)
        said = self.said(state[-1]).reshape(-1, HORIZON, 2 + len(LEVELS))
        ahead = x[:, WINDOW - HORIZON :, :]
        yesterday = said[:, :, 0:1] * ahead[:, :, DAY_AHEAD : DAY_AHEAD + 1]
        last_week = said[:, :, 1:2] * ahead[:, :, WEEK_AHEAD : WEEK_AHEAD + 1]
        return yesterday + last_week + said[:, :, 2:]


def read(path):
    """Means on a grid of STEP, gaps filled from what came before them: (first step since 1970, loads, which were measured)."""
    bins = {}
    with open(path, newline="") as file:
        for row in list(csv.reader(file))[1:]:
            at = row[0].strip()
            if not at.replace(".", "", 1).lstrip("-").isdigit():
                moment = datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
                at = moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc).timestamp()
            value = float(row[1])
            if math.isfinite(value) and value >= 0:
                bins.setdefault(int(float(at)) // STEP, []).append(value)
    first = min(bins)
    loads, measured = [], []
    for step in range(first, max(bins) + 1):
        own, now = bins.get(step), len(loads)
        if own:
            load = sum(own) / len(own)
        elif measured[-1]:
            load = loads[-1]
        else:
            load = loads[now - DAY] if now >= DAY else loads[now - WEEK] if now >= WEEK else loads[-1]
        loads.append(load)
        measured.append(own is not None)
    return first, numpy.array(loads), numpy.array(measured)


def window(first, loads, measured, known):
    """The inputs when `known` steps are known, and what 0 and 1 stand for; what was before the first load is its first value."""
    at = numpy.arange(known - WINDOW, known)
    value = loads[numpy.maximum(at, 0)]
    # One horizon later, but as many whole days or weeks earlier as it takes to be known.
    reach = lambda season: at + HORIZON - season * math.ceil(HORIZON / season)
    day, week = reach(DAY), reach(WEEK)
    week = numpy.where(week >= 0, week, day)
    ahead = week[WINDOW - HORIZON :]
    shown = numpy.concatenate([loads[at[at >= 0]], loads[ahead[ahead >= 0]]])
    centre = shown.mean()
    scale = max(shown.std(), 0.02 * abs(centre), 1e-150)
    scaled = lambda load: numpy.clip((load - centre) / scale, -LIMIT, LIMIT)
    earlier = lambda place: numpy.where(place >= 0, scaled(loads[numpy.maximum(place, 0)]), 0.0)
    angle = lambda season: (first + at) % season / season * math.tau
    columns = {
        "value": scaled(value),
        "observed": numpy.where(at >= 0, measured[numpy.maximum(at, 0)], False).astype(float),
        "event": numpy.zeros(WINDOW),
        "day_sin": numpy.sin(angle(DAY)),
        "day_cos": numpy.cos(angle(DAY)),
        "week_sin": numpy.sin(angle(WEEK)),
        "week_cos": numpy.cos(angle(WEEK)),
        "day_ahead": earlier(day),
        "week_ahead": earlier(week),
    }
    return numpy.stack([columns[name] for name in FEATURES], axis=1).astype(numpy.float32), centre, scale


def windows(series, stride):
    """Inputs, what came (scaled), which of it was measured; the newest fifth of each series is held out."""
    learned, held = [], []
    for first, loads, measured in series:
        cut = len(loads) - len(loads) // 5
        for known in range(DAY // 2, len(loads) - HORIZON + 1, stride):
            inputs, centre, scale = window(first, loads, measured, known)
            came = numpy.clip((loads[known : known + HORIZON] - centre) / scale, -LIMIT, LIMIT).astype(numpy.float32)
            example = (inputs, came, measured[known : known + HORIZON].astype(numpy.float32))
            if known + HORIZON <= cut:
                learned.append(example)
            elif known >= cut:
                held.append(example)
    stacked = lambda examples: [torch.from_numpy(numpy.stack(part)) for part in zip(*examples)]
    if not learned or not held:
        raise SystemExit("more or longer history is needed: at least four days of one series")
    return stacked(learned), stacked(held)


def pinball(said, came, measured):
    levels = torch.tensor(LEVELS)
    miss = came.unsqueeze(-1) - said
    loss = torch.maximum(levels * miss, (levels - 1) * miss).mean(-1)
    return (loss * measured).sum() / measured.sum().clamp(min=1)


def train(network, learned, held, epochs, rate):
    """The best network of so many passes, by its loss on what is held out."""
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs, rate / 100)
    best = (math.inf, None)
    for epoch in range(epochs):
        network.train()
        for rows in torch.randperm(len(learned[0])).split(64):
            optimiser.zero_grad()
            inputs, came, measured = (part[rows] for part in learned)
            pinball(network(inputs), came, measured).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        schedule.step()
        network.eval()
        with torch.no_grad():
            loss = pinball(network(held[0]), held[1], held[2]).item()
        print(f"epoch {epoch + 1}/{epochs}: held-out pinball loss {loss:.4f}", flush=True)
        if loss < best[0]:
            best = (loss, {name: value.clone() for name, value in network.state_dict().items()})
    network.load_state_dict(best[1])
    network.eval()
    return best[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("history", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--stride", type=int, default=4, help="steps between two windows")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    series = [read(path) for path in sorted(arguments.history.glob("*.csv"))]
    learned, held = windows(series, arguments.stride)
    print(f"{len(series)} series: {len(learned[0])} windows to learn from, {len(held[0])} held out")
    network = Network(arguments.hidden)
    loss = train(network, learned, held, arguments.epochs, rate=3e-3)

    shown = held[0][:: max(1, len(held[0]) // 3)][:3]
    # The exporter that traces (dynamo=False) keeps the LSTM as one operator. Its batch is a name, so that any number of series may be asked.
    torch.onnx.export(
        network,
        (shown,),
        str(arguments.out),
        opset_version=17,
        input_names=["history"],
        output_names=["quantiles"],
        dynamic_axes={"history": {0: "series"}, "quantiles": {0: "series"}},
        dynamo=False,
    )
    with torch.no_grad():
        golden = [{"input": one.flatten().tolist(), "output": network(one[None]).flatten().tolist()} for one in shown]
    first = min(series, key=lambda one: one[0])[0] * STEP
    last = max((one[0] + len(one[1])) * STEP for one in series)
    manifest = {
        "format": "foreshadow network 1",
        "made_by": f"PyTorch {torch.__version__}",
        "contract": {
            "step_seconds": STEP, "window": WINDOW, "horizon": HORIZON, "features": FEATURES, "levels": LEVELS,
        },
        "trained": {
            "on": arguments.history.name, "from": first, "to": last, "series": len(series),
            "windows": len(learned[0]), "epochs": arguments.epochs, "seed": arguments.seed,
        },
        "sha256": hashlib.sha256(arguments.out.read_bytes()).hexdigest(),
        "golden": golden,
    }
    arguments.out.with_suffix(".json").write_text(json.dumps(manifest) + "\n")
    print(f"{arguments.out}: held-out pinball loss {loss:.4f}. Next: foreshadow models check {arguments.out}")


if __name__ == "__main__":
    main()
