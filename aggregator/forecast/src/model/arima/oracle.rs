//! Against statsmodels and statsforecast: what `tests/oracles/arima.py` has written down.

use serde::Deserialize;

use super::filter::{Filter, innovations, log_likelihood};
use super::process::Process;
use super::regressors::Waves;
use super::search::{Data, is_integrated, kpss, refine, stepwise};

#[derive(Deserialize)]
struct Document {
    at: Vec<At>,
    estimated: Vec<Estimated>,
    chosen: Vec<Chosen>,
    kpss: Vec<Kpss>,
}

#[derive(Deserialize)]
struct At {
    name: String,
    values: Vec<Option<f64>>,
    phi: Vec<f64>,
    theta: Vec<f64>,
    integrated: bool,
    variance: f64,
    log_likelihood: f64,
    mean: Vec<f64>,
    deviation: Vec<f64>,
    low: Vec<f64>,
    high: Vec<f64>,
}

#[derive(Deserialize)]
struct Estimated {
    name: String,
    values: Vec<Option<f64>>,
    season: usize,
    cycles: Vec<usize>,
    first: usize,
    integrated: bool,
    coefficients: Vec<f64>,
    phi: Vec<f64>,
    theta: Vec<f64>,
    variance: f64,
    log_likelihood: f64,
}

#[derive(Deserialize)]
struct Chosen {
    name: String,
    values: Vec<Option<f64>>,
    ar: usize,
    ma: usize,
    integrated: bool,
    aicc: f64,
}

#[derive(Deserialize)]
struct Kpss {
    name: String,
    values: Vec<Option<f64>>,
    statistic: f64,
}

fn document() -> Document {
    serde_json::from_str(include_str!("../../../tests/arima_oracle.json")).unwrap()
}

/// Values with gaps held, and what was observed: as the history has them.
fn held(values: &[Option<f64>]) -> (Vec<f64>, Vec<bool>) {
    let mut last = values.iter().flatten().copied().next().unwrap();
    let filled = values.iter().map(|value| {
        last = value.unwrap_or(last);
        last
    });
    (filled.collect(), values.iter().map(Option::is_some).collect())
}

fn assert_near(name: &str, what: &str, got: f64, wanted: f64, within: f64) {
    assert!((got - wanted).abs() <= within, "{name}: {what} {got}, the oracle says {wanted}");
}

#[test]
fn likelihood_forecast_and_bounds_are_those_of_statsmodels() {
    for case in document().at {
        let (values, observed) = held(&case.values);
        let process = Process { phi: case.phi, theta: case.theta, integrated: case.integrated };
        let got = log_likelihood(&process, case.variance, &values, &observed).unwrap();
        assert_near(&case.name, "log-likelihood", got, case.log_likelihood, 1e-7 * case.log_likelihood.abs());
        let mut filter = Filter::new(&process).unwrap();
        for (value, observed) in values.iter().zip(&observed) {
            if !observed {
                filter.miss();
            } else if filter.observe(*value).is_none() {
                assert!(case.integrated);
            }
        }
        let z = distrs::Normal::ppf(0.9, 0.0, 1.0);
        for step in 0..case.mean.len() {
            let expected = filter.expected();
            let deviation = (expected.variance * case.variance).sqrt();
            assert_near(&case.name, "mean", expected.mean, case.mean[step], 1e-6);
            assert_near(&case.name, "deviation", deviation, case.deviation[step], 1e-6);
            assert_near(&case.name, "10 %", expected.mean - z * deviation, case.low[step], 2e-6);
            assert_near(&case.name, "90 %", expected.mean + z * deviation, case.high[step], 2e-6);
            filter.miss();
        }
        // Without a gap before it, the spread of a forecast is the sum of squared psi weights.
        if observed.ends_with(&[true; 60]) {
            let psi = process.psi_weights(case.mean.len());
            for (step, deviation) in case.deviation.iter().enumerate() {
                let sum: f64 = psi[..=step].iter().map(|psi| psi * psi).sum();
                assert_near(&case.name, "psi", (sum * case.variance).sqrt(), *deviation, 1e-6);
            }
        }
    }
}

#[test]
fn waves_and_process_are_estimated_together_as_by_statsmodels() {
    for case in document().estimated {
        let (values, observed) = held(&case.values);
        let waves = Waves::new(case.season, case.cycles);
        let mut coefficients = waves.ordinary(&values, &observed, case.first, case.integrated).unwrap();
        let mut process =
            Process { phi: vec![0.0; case.phi.len()], theta: vec![0.0; case.theta.len()], integrated: case.integrated };
        let mut found = None;
        // Each half is at its own exact maximum given the other: in turns they reach that of both.
        for _ in 0..20 {
            let profile = waves.profile(&coefficients);
            let rest: Vec<f64> =
                values.iter().enumerate().map(|(at, v)| v - profile[(case.first + at) % case.season]).collect();
            let data = Data { values: &rest, observed: &observed, spent: coefficients.len() };
            let maximum = refine(data, &process).unwrap();
            process = maximum.process.clone();
            coefficients = waves.generalised(&process, &values, &observed, case.first, false).unwrap();
            found = Some(maximum);
        }
        let found = found.unwrap();
        // The optimiser of the oracle may stop a little early, never above the maximum.
        assert_near(&case.name, "log-likelihood", found.log_likelihood, case.log_likelihood, 2e-3);
        assert_near(&case.name, "variance", found.variance, case.variance, 2e-3 * case.variance);
        let got = process.phi.iter().chain(&process.theta);
        for (got, wanted) in got.zip(case.phi.iter().chain(&case.theta)) {
            assert_near(&case.name, "coefficient", *got, *wanted, 2e-3);
        }
        let from = usize::from(case.integrated);
        assert_eq!(coefficients.len() - from, case.coefficients.len());
        for (got, wanted) in coefficients[from..].iter().zip(&case.coefficients) {
            assert_near(&case.name, "wave", *got, *wanted, 5e-3);
        }
    }
}

#[test]
fn orders_are_as_good_as_those_of_statsforecast() {
    for case in document().chosen {
        let (values, observed) = held(&case.values);
        assert_eq!(is_integrated(&values), case.integrated, "{}", case.name);
        // Its mean is estimated too; ours is taken off before, and costs as much.
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let level = if case.integrated { 0.0 } else { mean(&values) };
        let rest: Vec<f64> = values.iter().map(|value| value - level).collect();
        let data = Data { values: &rest, observed: &observed, spent: usize::from(!case.integrated) };
        let found = stepwise(data, case.integrated).unwrap();
        let found = refine(data, &found.process).unwrap();
        let orders = (found.process.phi.len(), found.process.theta.len());
        assert!(found.aicc <= case.aicc + 1.0, "{}: {orders:?} {} for {}", case.name, found.aicc, case.aicc);
        let same = Process { phi: vec![0.1; case.ar], theta: vec![0.1; case.ma], integrated: case.integrated };
        assert_near(&case.name, "AICc of its orders", refine(data, &same).unwrap().aicc, case.aicc, 0.3);
    }
}

#[test]
fn the_kpss_statistic_is_that_of_statsmodels() {
    for case in document().kpss {
        let (values, _) = held(&case.values);
        assert_near(&case.name, "KPSS", kpss(&values), case.statistic, 1e-9 * case.statistic);
    }
}

#[test]
fn missing_values_are_not_scored() {
    let process = Process { phi: vec![0.5], theta: vec![], integrated: true };
    let mut out = Vec::new();
    let observed = [false, true, true, false, true];
    innovations(&process, &[9.0, 1.0, 2.0, 9.0, 3.0], &observed, &mut out).unwrap();
    assert_eq!(out.len(), 2, "of three observations the first is what the level is known from");
}
