#!/usr/bin/env python3
"""Writes what statsmodels and statsforecast say of a few series, for the tests of auto-ARIMA.

    python3 -m venv v && v/bin/pip install statsmodels==0.15.0 statsforecast==2.1.1
    v/bin/python tests/oracles/arima.py > aggregator/forecast/tests/arima_oracle.json

The series are simulated here and stored with the answers (null is a gap), so that both sides read the same digits.
"""
import json
import sys
import warnings

import numpy as np
from statsforecast.arima import auto_arima_f
from statsmodels.tsa.arima_process import arma_generate_sample
from statsmodels.tsa.statespace.sarimax import SARIMAX
from statsmodels.tsa.stattools import kpss

warnings.simplefilter("ignore")
AHEAD = 24


def simulate(seed, count, phi, theta, integrated=False, level=0.0):
    np.random.seed(seed)
    values = arma_generate_sample(np.r_[1, -np.array(phi)], np.r_[1, np.array(theta)], count, burnin=200)
    values = np.cumsum(values) if integrated else values
    return np.round(values + level, 4)


def gaps(values, *spans):
    values = values.copy()
    for start, end in spans:
        values[start:end] = np.nan
    return values


def stored(values):
    return [None if np.isnan(value) else float(value) for value in values]


def at(name, values, phi, theta, integrated, variance):
    """The log-likelihood and the forecast at given parameters."""
    order = (len(phi), int(integrated), len(theta))
    model = SARIMAX(values, order=order, use_exact_diffuse=integrated)
    result = model.filter(np.r_[phi, theta, variance])
    # The first observation of an integrated process is what its level is known from: it is not scored here.
    scored = result.llf_obs[1:] if integrated else result.llf_obs
    ahead = result.get_forecast(AHEAD)
    bounds = ahead.conf_int(alpha=0.2)
    return {
        "name": name, "values": stored(values), "phi": phi, "theta": theta, "integrated": integrated,
        "variance": variance, "log_likelihood": float(np.sum(scored)),
        "mean": list(ahead.predicted_mean), "deviation": list(ahead.se_mean),
        "low": list(bounds[:, 0]), "high": list(bounds[:, 1]),
    }


def waves(count, season, cycles, first):
    steps = (np.arange(count) + first) % season
    columns = [np.ones(count)]
    for wave in cycles:
        columns += [np.cos(2 * np.pi * wave * steps / season), np.sin(2 * np.pi * wave * steps / season)]
    return np.column_stack(columns)


def estimated(name, noise, ar, integrated, ma, season, cycles, first):
    """Maximum likelihood of waves and process together."""
    regressors = waves(len(noise), season, cycles, first)
    shape = regressors @ np.r_[10.0, np.linspace(3.0, 0.5, regressors.shape[1] - 1)]
    values = np.where(np.isnan(noise), np.nan, np.round(noise + shape, 4))
    exog = regressors[:, 1:] if integrated else regressors
    model = SARIMAX(values, exog=exog, order=(ar, int(integrated), ma), use_exact_diffuse=integrated)
    result = model.fit(disp=0, maxiter=500, method="lbfgs", pgtol=1e-9, factr=10)
    result = model.fit(result.params, disp=0, maxiter=2000, method="nm", xtol=1e-9, ftol=1e-11)
    scored = result.llf_obs[1:] if integrated else result.llf_obs
    named = dict(zip(model.param_names, result.params))
    width = exog.shape[1]
    return {
        "name": name, "values": stored(values), "season": season, "cycles": cycles, "first": first,
        "integrated": integrated, "coefficients": list(result.params[:width]),
        "phi": [named[f"ar.L{i + 1}"] for i in range(ar)], "theta": [named[f"ma.L{i + 1}"] for i in range(ma)],
        "variance": named["sigma2"], "log_likelihood": float(np.sum(scored)),
    }


def chosen(name, values):
    """Orders and AICc of a stepwise search without approximation."""
    found = auto_arima_f(
        values, max_d=1, max_p=5, max_q=5, max_order=5, stepwise=True, approximation=False, seasonal=False,
        allowdrift=False, allowmean=True, ic="aicc",
    )
    ar, ma, _, _, _, integrated, _ = found["arma"]
    return {
        "name": name, "values": stored(values), "ar": int(ar), "ma": int(ma), "integrated": bool(integrated),
        "aicc": float(found["aicc"]), "log_likelihood": float(found["loglik"]),
    }


def level(name, values):
    statistic, _, lags, critical = kpss(values, regression="c", nlags="auto")
    return {"name": name, "values": stored(values), "statistic": float(statistic), "critical": critical["5%"]}


def main():
    mixed = simulate(1, 200, [1.2, -0.4], [0.5])
    walk = simulate(2, 200, [0.3], [-0.6], integrated=True, level=50.0)
    long = simulate(3, 300, [0.6, 0.1, -0.2, 0.05, 0.1], [])
    document = {
        "at": [
            at("mixed", mixed, [1.1, -0.35], [0.4], False, 1.2),
            at("mixed with gaps", gaps(mixed, (0, 3), (40, 41), (90, 120), (195, 200)), [1.1, -0.35], [0.4], False, 1.2),
            at("walk", walk, [0.25], [-0.5], True, 0.9),
            at("walk with gaps", gaps(walk, (30, 31), (77, 99), (196, 200)), [0.25], [-0.5], True, 0.9),
            at("long", long, [0.6, 0.1, -0.2, 0.05, 0.1], [], False, 1.0),
            at("moving average", simulate(4, 150, [], [0.7, 0.2, -0.3]), [], [0.6, 0.3, -0.2], False, 1.1),
            at("plain walk", simulate(5, 60, [], [], integrated=True), [], [], True, 1.0),
        ],
        "estimated": [
            estimated("waves", simulate(6, 400, [0.7], [0.3]), 1, False, 1, 24, [1, 2], 5),
            estimated("waves with gaps", gaps(simulate(7, 400, [0.9, -0.3], []), (50, 60), (200, 201)), 2, False, 0, 24, [1, 2], 0),
            estimated("walk under waves", simulate(8, 400, [], [-0.5], integrated=True), 0, True, 1, 24, [1], 3),
            estimated("walk with gaps", gaps(simulate(9, 400, [0.5], [], integrated=True), (100, 130)), 1, True, 0, 24, [1], 0),
        ],
        "chosen": [
            chosen("autoregression", simulate(11, 300, [0.8], [], level=20.0)),
            chosen("mixed", simulate(12, 400, [1.2, -0.4], [0.5], level=20.0)),
            chosen("moving average", simulate(13, 300, [], [0.6, 0.3], level=5.0)),
            chosen("walk", simulate(14, 300, [], [-0.4], integrated=True, level=50.0)),
            chosen("walk of an autoregression", simulate(15, 400, [0.6], [], integrated=True, level=50.0)),
            chosen("noise", simulate(16, 200, [], [], level=5.0)),
        ],
        "kpss": [
            level("stationary", simulate(21, 300, [0.7], [])),
            level("persistent", simulate(22, 500, [0.95], [])),
            level("walk", simulate(23, 300, [], [], integrated=True)),
            level("noise", simulate(24, 100, [], [])),
        ],
    }
    json.dump(document, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
