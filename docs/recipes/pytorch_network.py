#!/usr/bin/env python3
"""Trains a network with PyTorch and writes it as Foreshadow reads it: NAME.onnx, and NAME.json beside it.

    python3 -m venv venv && venv/bin/pip install torch onnx
    venv/bin/python pytorch_network.py HISTORY network.onnx

HISTORY is a directory of NAME.csv files with a header and the columns timestamp (RFC 3339, or seconds since 1970) and value, one series
each, at least four days long. (Foreshadow itself also caps single wild values; here they are taken as they are.) NAME.events, if there is one, says which events
took place: a CSV file with the columns event (the same word each time it repeats), starts, ends, intensity (load over load without it, as it was announced).
Meant to be changed: everything that is not the contract of docs/models.md is yours.
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
FEATURES = [
    "value", "observed", "event_intensity", "day_sin", "day_cos", "week_sin", "week_cos", "day_ahead", "week_ahead", "event_ahead", "event_before",
]
LEVELS = [0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99]
DAY, WEEK = 86_400 // STEP, 7 * 86_400 // STEP
LIMIT = 10.0
LARGEST_SHARE = 10.0
DAY_AHEAD, WEEK_AHEAD = FEATURES.index("day_ahead"), FEATURES.index("week_ahead")
EVENT_AHEAD, EVENT_BEFORE = FEATURES.index("event_ahead"), FEATURES.index("event_before")
OF_STEPS = HORIZON * (2 + len(LEVELS))


class Network(torch.nn.Module):
    """`[series, WINDOW, features]` to `[series, HORIZON, levels]`: shares of yesterday and of last week, and a correction per level;
    of events, shares per level of what they are announced to add, and of what that came to before."""

    def __init__(self, hidden):
        super().__init__()
        self.lstm = torch.nn.LSTM(len(FEATURES), hidden, batch_first=True)
        self.said = torch.nn.Linear(hidden, OF_STEPS + 2 * len(LEVELS))
        with torch.no_grad():
            self.said.weight.mul_(0.1)
            shares = self.said.bias[OF_STEPS:].view(2, len(LEVELS))
            shares[0], shares[1] = 0.0, 1.0
            offset = self.said.bias[:OF_STEPS].view(HORIZON, 2 + len(LEVELS))
            offset[:, :2] = 0.5
            offset[:, 2:] = 0.4 * torch.special.ndtri(torch.tensor(LEVELS))

    def forward(self, x):
        _, (state, _) = self.lstm(x)
        both = self.said(state[-1])
        said = both[:, :OF_STEPS].reshape(-1, HORIZON, 2 + len(LEVELS))
        shares = both[:, OF_STEPS:].reshape(-1, 2, len(LEVELS))
        ahead = x[:, WINDOW - HORIZON :, :]
        yesterday = said[:, :, 0:1] * ahead[:, :, DAY_AHEAD : DAY_AHEAD + 1]
        last_week = said[:, :, 1:2] * ahead[:, :, WEEK_AHEAD : WEEK_AHEAD + 1]
        announced = ahead[:, :, EVENT_AHEAD : EVENT_AHEAD + 1] * shares[:, 0:1, :]
        came = ahead[:, :, EVENT_BEFORE : EVENT_BEFORE + 1] * shares[:, 1:2, :]
        return yesterday + last_week + said[:, :, 2:] + announced + came


def seconds(text):
    text = text.strip()
    if text.replace(".", "", 1).lstrip("-").isdigit():
        return float(text)
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.replace(tzinfo=moment.tzinfo or datetime.timezone.utc).timestamp()


def events(path):
    """By step: the event, its highest factor, whether it is alone and lasts the whole step."""
    announced = {}
    if path.exists():
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                starts, ends, factor = seconds(row["starts"]), seconds(row["ends"]), float(row["intensity"])
                for step in range(int(starts // STEP), math.ceil(ends / STEP)):
                    whole = starts <= step * STEP and (step + 1) * STEP <= ends
                    event, most, alone = announced.get(step, (row["event"], 0.0, True))
                    announced[step] = (event, max(most, factor), alone and whole and event == row["event"])
    return announced


def without_event(loads, measured, began):
    """What the next step would have been without the event that began at step `began`: an earlier day that had none, times how much more the hour before it had."""
    now = len(loads)
    lags = [days * DAY for days in [7, *range(1, now // DAY + 1)] if days * DAY <= now]
    if not lags:
        return loads[-1]
    lag = next((lag for lag in lags if measured[now - lag]), lags[0])
    before = [at for at in range(max(began - 3_600 // STEP, lag), began) if measured[at] and loads[at - lag] > 0]
    grown = numpy.median([loads[at] / loads[at - lag] for at in before]) if before else 1.0
    return loads[now - lag] * min(max(grown, 0.5), 2.0)


def read(path):
    """Means on a grid of STEP, gaps and events filled from what came before them: (first step since 1970, loads, which were measured, what events
    made: the event, its factor and what was measured, or nothing)."""
    bins, announced = {}, events(path.with_suffix(".events"))
    with open(path, newline="") as file:
        for row in list(csv.reader(file))[1:]:
            value = float(row[1])
            if math.isfinite(value) and value >= 0:
                bins.setdefault(int(seconds(row[0])) // STEP, []).append(value)
    first = min(step for step in bins if step not in announced)
    loads, measured, happened, began = [], [], [], 0
    for step in range(first, max(bins) + 1):
        own, now, event = bins.get(step), len(loads), announced.get(step)
        if event is None:
            began = now + 1
        if event:
            load = without_event(loads, measured, began)
        elif own:
            load = sum(own) / len(own)
        elif measured[-1]:
            load = loads[-1]
        else:
            load = loads[now - DAY] if now >= DAY else loads[now - WEEK] if now >= WEEK else loads[-1]
        loads.append(load)
        measured.append(own is not None and event is None)
        happened.append((event[0], event[1], sum(own) / len(own)) if event and event[2] and own else None)
    return first, numpy.array(loads), numpy.array(measured), happened


def share(loads, happened, known, event):
    """The part of what was announced that an event added before `known`, in the mean over its times; nothing when it never took place."""
    times = []
    for at in range(known):
        if happened[at] and happened[at][0] == event:
            if times and times[-1][-1] == at - 1:
                times[-1].append(at)
            else:
                times.append([at])
    added = lambda time: sum(happened[at][2] - loads[at] for at in time)
    meant = lambda time: sum((happened[at][1] - 1.0) * loads[at] for at in time)
    shares = [added(time) / meant(time) for time in times if meant(time) > 0]
    return min(max(sum(shares) / len(shares), 0.0), LARGEST_SHARE) if shares else None


def window(first, loads, measured, happened, known):
    """The inputs when `known` steps are known, and what 0 and 1 stand for; what was before the first load is its first value. The events of the steps
    to forecast are known ahead, where they took place before."""
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
    intensity = [math.log(happened[step][1]) if step >= 0 and happened[step] else 0.0 for step in at]
    adds, before, shares = numpy.zeros(WINDOW), numpy.zeros(WINDOW), {}
    for step in range(WINDOW - HORIZON, WINDOW):
        place = known + step - (WINDOW - HORIZON)
        base = [loads[place] for place in (day[step], week[step]) if place >= 0]
        if place < len(happened) and happened[place] and base:
            event, factor, _ = happened[place]
            if event not in shares:
                shares[event] = share(loads, happened, known, event)
            if shares[event] is not None:
                adds[step] = (factor - 1.0) * sum(base) / len(base) / scale
                before[step] = adds[step] * shares[event]
    columns = {
        "value": scaled(value),
        "observed": numpy.where(at >= 0, measured[numpy.maximum(at, 0)], False).astype(float),
        "event_intensity": numpy.array(intensity),
        "day_sin": numpy.sin(angle(DAY)),
        "day_cos": numpy.cos(angle(DAY)),
        "week_sin": numpy.sin(angle(WEEK)),
        "week_cos": numpy.cos(angle(WEEK)),
        "day_ahead": earlier(day),
        "week_ahead": earlier(week),
        "event_ahead": numpy.minimum(adds, LIMIT),
        "event_before": numpy.minimum(before, LIMIT),
    }
    return numpy.stack([columns[name] for name in FEATURES], axis=1).astype(numpy.float32), centre, scale


def windows(series, stride):
    """Inputs, what came (scaled), which of it is known; the newest fifth of each series is held out."""
    learned, held = [], []
    for first, loads, measured, happened in series:
        cut = len(loads) - len(loads) // 5
        for known in range(DAY // 2, len(loads) - HORIZON + 1, stride):
            inputs, centre, scale = window(first, loads, measured, happened, known)
            came, weighs = loads[known : known + HORIZON].copy(), measured[known : known + HORIZON].astype(numpy.float32)
            for step in range(HORIZON):
                # What an event came to is learned where the inputs show it, and where nothing is cut off.
                shown = inputs[WINDOW - HORIZON + step, [EVENT_AHEAD, EVENT_BEFORE]].max()
                if 0.0 < shown < LIMIT and abs(happened[known + step][2] - centre) < LIMIT * scale:
                    came[step], weighs[step] = happened[known + step][2], 1.0
            came = numpy.clip((came - centre) / scale, -LIMIT, LIMIT).astype(numpy.float32)
            example = (inputs, came, weighs)
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
        "format": "foreshadow network 2",
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
