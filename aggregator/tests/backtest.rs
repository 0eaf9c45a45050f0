//! The backtest against what it claims: the live planner's very plans, and the scorer's very figures.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use foreshadow::backtest::foresight::{GROUP, foresee};
use foreshadow::backtest::live::{self, Regime, Source};
use foreshadow::backtest::load::{Load, on_grid, read_csv};
use foreshadow::backtest::{Pace, Setting, compare, modes, yardstick};
use foreshadow::fleet::Reach;
use foreshadow::rounds::GroupRound;
use planner::policy::{Metric, Mode};
use planner::simulation::Load as Shape;

/// Rows of `days` with the shape of a week, every five minutes.
fn rows(days: i64) -> Vec<(i64, f64)> {
    let start = 1_800_000_000;
    let mut shape = Shape::new(7, 1_000.0);
    (0..days * 288).map(|row| (start + 300 * row, shape.minute(start + 300 * row))).collect()
}

/// Five days, of which the last few hours are scored.
fn short(days: f64) -> (Load, Setting) {
    let setting = Setting { days, ..Setting::default() };
    let load = Load::new(&rows(5), &setting).expect("a load");
    (load, setting)
}

fn regime(setting: &Setting) -> Regime {
    Regime {
        policy: live::policy(setting, 0.9),
        limits: checker::Limits::default(),
        lease_seconds: 1_800,
        // What is shown does not depend on how many origins are replayed; the time it takes does.
        forecast: forecast::Options { origins: 12, ..forecast::Options::default() },
        reach: Reach::Cloud,
        provider: None,
        mode: Mode::Full,
        begins_with: None,
    }
}

#[test]
fn ways_to_scale_in_are_compared_with_the_providers_own_in_tables() {
    let (load, setting) = short(0.5);
    let candidates = compare::Candidates {
        reactive: Vec::new(),
        confidences: vec![0.9],
        targets: vec![0.6],
        provider: vec![0.55],
        each_model: false,
        pace: Pace::Free,
        lease_seconds: 600,
        window_seconds: 900,
    };
    let lines = modes::compare(&load, &setting, &candidates, &|_| {}).expect("compared");
    let [alone, full, outward, fought] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(alone.score, yardstick::reactive(load.scored(), 0.55, &setting).0);
    assert!(full.detached > 0 && full.shadow_hours > 0.0, "{full:?}");
    assert!(full.score.instance_hours > full.shadow_hours, "shadows are billed in full: {full:?}");
    // Two that take away would take away twice: then only the provider does.
    assert_eq!((outward.detached, fought.detached), (0, 0), "{outward:?} {fought:?}");
    assert_eq!((outward.shadow_hours, fought.shadow_hours), (0.0, 0.0));
    let text = modes::tables(&[("load".to_owned(), lines.clone())], &setting, &candidates);
    let saved = alone.score.instance_hours - full.score.instance_hours;
    let row = text.lines().find(|line| line.starts_with("| `full` |")).expect("a row");
    assert!(row.contains(&format!("| {saved:.1} (")), "{row}");
    assert_eq!(text.lines().filter(|line| line.starts_with("| load: ")).count(), 4, "{text}");
}

#[test]
fn beside_a_provider_that_scales_in_the_floor_keeps_what_was_launched_ahead() {
    let (load, setting) = short(0.5);
    let regime = Regime { provider: Some(0.55), mode: Mode::ScaleOut, ..regime(&setting) };
    let foresight = foresee(&load, &setting, live::begins(&load), &regime.forecast, |_| {});
    let path = live::live(&load, &setting, &regime, Source::Given(&foresight), false, |_| {}).expect("a path");
    let done = |word: &str| path.decisions.iter().filter(|it| it.step == word && it.refused.is_empty()).count();
    assert!(done("launch") > 0 && done("floor") > 1, "{:?}", path.decisions);
    assert!(path.decisions.iter().all(|it| matches!(it.step, "launch" | "floor")), "scale-out takes nothing away");
    // The provider takes what is not needed any more: the floor goes down again.
    let floors: Vec<u32> = path.decisions.iter().filter(|it| it.step == "floor").map(|it| it.instances).collect();
    assert!(floors.windows(2).any(|pair| pair[1] < pair[0]), "{floors:?}");
    let most = path.orders.iter().map(|order| order.capacity).max().unwrap_or_default();
    let least = path.orders.iter().map(|order| order.capacity).min().unwrap_or_default();
    assert!(least < most, "{least} to {most}");
    let (ours, _) = yardstick::ordered(load.scored(), &path.orders, &setting);
    let (alone, _) = yardstick::reactive(load.scored(), 0.55, &setting);
    assert!(ours.above_target <= alone.above_target, "{ours:?} {alone:?}");
}

#[test]
fn backtest_and_live_planner_make_the_same_plans() {
    let (load, setting) = short(0.15);
    let regime = regime(&setting);
    let foresight = foresee(&load, &setting, live::begins(&load), &regime.forecast, |_| {});
    let given = live::live(&load, &setting, &regime, Source::Given(&foresight), true, |_| {}).expect("a path");
    // The live round, fed what the backtest measured, forecasts by itself.
    let mut round = GroupRound::new(regime.policy.clone(), regime.forecast.clone(), true, 0);
    round.give_baseline(Metric::Cpu, on_grid(100.0 * setting.idle));
    round.take(&live::before(&load, &setting));
    let mut steps = 0;
    for (input, plan) in given.inputs.iter().zip(&given.plans) {
        round.take(&input.minutes);
        round.forecast(input.now);
        round.set_policy(input.policy.clone());
        let (planned, _) = round.run(input.now, input.measurements.clone(), |_| Vec::new());
        let (live, back) = (serde_json::to_string(&planned.plan), serde_json::to_string(plan));
        assert_eq!(live.expect("JSON"), back.expect("JSON"), "at {}", input.now);
        steps += plan.steps.len();
        assert!(plan.need_ahead.is_some(), "without a forecast nothing would be shown");
    }
    assert_eq!(given.plans.len(), given.inputs.len());
    assert!(steps > 5, "{steps} steps: too few to show anything");
    // And the whole circle, forecasting by itself, orders the same.
    let own = live::live(&load, &setting, &regime, Source::Own, false, |_| {}).expect("a path");
    assert_eq!(own.orders, given.orders);
    assert!(own.orders.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn the_capacity_path_of_the_circle_is_the_one_that_is_scored() {
    let (load, setting) = short(0.5);
    let regime = Regime { lease_seconds: 900, ..regime(&setting) };
    let foresight = foresee(&load, &setting, live::begins(&load), &regime.forecast, |_| {});
    let path = live::live(&load, &setting, &regime, Source::Given(&foresight), false, |_| {}).expect("a path");
    let (_, lived) = yardstick::ordered(load.scored(), &path.orders, &setting);
    let differ = lived.iter().zip(&path.serving).filter(|(lived, serving)| lived.serving != **serving).count();
    assert!(differ * 100 <= lived.len(), "{differ} of {} minutes differ", lived.len());
}

/// The Python scorer on a plan of ours, when its directory is told.
#[test]
fn the_scorer_says_what_the_backtest_says() {
    let Some(directory) = std::env::var_os("FORESHADOW_EVAL").map(PathBuf::from) else {
        println!("skipped: FORESHADOW_EVAL does not name the directory of simulate_autoscale.py");
        return;
    };
    let directory_of_ours = tempfile::tempdir().expect("a directory");
    let csv = directory_of_ours.path().join("shape.csv");
    let mut text = String::from("timestamp,value\n");
    for (at, value) in rows(6) {
        writeln!(text, "{},{value}", jiff::Timestamp::from_second(at).expect("a time")).expect("text");
    }
    std::fs::write(&csv, text).expect("a file");
    let (plan, ours) = (directory_of_ours.path().join("plan.jsonl"), directory_of_ours.path().join("ours.json"));
    let theirs = directory_of_ours.path().join("theirs.json");
    let run = |command: &mut Command| {
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(Command::new(env!("CARGO_BIN_EXE_foreshadow"))
        .args(["backtest", "--days", "0.5", "--confidence", "0.9"])
        .args([
            "--without-models".as_ref(),
            "--history".as_ref(),
            csv.as_os_str(),
            "--plan".as_ref(),
            plan.as_os_str(),
            "--json".as_ref(),
            ours.as_os_str(),
        ]));
    run(Command::new("python3")
        .arg(directory.join("simulate_autoscale.py"))
        .args(["--max-days", "0.5", "--plan-only"])
        .args([
            "--trace".as_ref(),
            csv.as_os_str(),
            "--plan".as_ref(),
            plan.as_os_str(),
            "--json".as_ref(),
            theirs.as_os_str(),
        ]));
    let read = |file: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(file).expect("a file")).expect("JSON")
    };
    let (ours, theirs) = (read(&ours), read(&theirs));
    let outcomes = ours["comparison"]["outcomes"].as_array().expect("outcomes");
    for (name, kind, index) in [("reactive", "reactive", 0), ("plan", "foreshadow", 0), ("oracle", "oracle", 0)] {
        let of_kind: Vec<_> = outcomes.iter().filter(|outcome| outcome["kind"] == kind).collect();
        for (their, our) in
            [("over_target", "above_target"), ("slo", "above_90"), ("unmet", "unmet"), ("ih", "instance_hours")]
        {
            let (their, our) = (theirs["shape"][name][their].as_f64(), of_kind[index][our].as_f64());
            let (their, our) = (their.expect("a figure"), our.expect("a figure"));
            assert!((their - our).abs() < 1e-6 * their.abs().max(1.0), "{name}: {their} beside {our}");
        }
    }
}

#[test]
fn a_bad_row_is_named_by_file_line_and_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("bad.csv");
    for (text, line, word) in [
        ("when,value\n", "bad.csv:1", "timestamp and value"),
        ("timestamp,value\n2026-01-01T00:00:00Z,1\n2026-01-01T00:05:00Z\n", "bad.csv:3", "has no value"),
        ("timestamp,value\n01.01.2026 00:00,1\n", "bad.csv:2", "RFC 3339"),
        ("timestamp,value\n2026-01-01T00:00:00Z,NaN\n", "bad.csv:2", "finite"),
        ("timestamp,value\n2026-01-01T00:00:00Z,-1\n", "bad.csv:2", "at least 0"),
        ("timestamp,value,instances\n2026-01-01T00:05:00Z,400,2\n", "bad.csv:2", "--capacity"),
        ("timestamp,value\n2026-01-01T00:05:00Z,1\n2026-01-01T00:00:00Z,1\n", "bad.csv:3", "sort the rows"),
    ] {
        std::fs::write(&path, text).expect("a file");
        let error = format!("{:#}", read_csv(&path, &Setting::default()).expect_err("a bad row"));
        assert!(error.contains(line) && error.contains(word), "{error}");
    }
}

#[test]
fn a_history_is_read_as_import_reads_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("load.csv");
    std::fs::write(&path, "timestamp,value,instances\n1767225600,58,4\n2026-01-01 00:01:00,8,4\n").expect("a file");
    let setting = Setting { idle: 0.08, ..Setting::default() };
    let past = read_csv(&path, &setting).expect("read");
    assert!(past.is_points, "a mean over so many is points, as import takes it");
    let wanted = [(1_767_225_600, 200.0), (1_767_225_660, 0.0)];
    for ((at, value), (wanted_at, wanted)) in past.rows.iter().zip(wanted) {
        assert!(*at == wanted_at && (value - wanted).abs() < 1e-9, "{past:?}");
    }
    let own = read_csv(&path, &Setting { capacity: Some(10.0), ..setting }).expect("read");
    assert!(!own.is_points && own.rows[0].1.to_bits() == 58.0_f64.to_bits(), "what has a capacity is load of its own");
}

#[test]
fn the_risk_is_kept_by_the_cheapest_setting_and_the_page_needs_nothing_beside_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let csv = directory.path().join("<shop>.csv");
    let mut text = String::from("timestamp,value\n");
    for (at, value) in rows(5) {
        writeln!(text, "{},{value}", jiff::Timestamp::from_second(at).expect("a time")).expect("text");
    }
    std::fs::write(&csv, text).expect("a file");
    let (page, json) = (directory.path().join("out.html"), directory.path().join("out.json"));
    let output = Command::new(env!("CARGO_BIN_EXE_foreshadow"))
        .args(["backtest", "--days", "0.2", "--confidence", "0.5,0.9", "--without-models", "--risk", "unmet=50%"])
        .args(["--history".as_ref(), csv.as_os_str(), "--report".as_ref(), page.as_os_str()])
        .args(["--json".as_ref(), json.as_os_str()])
        .output()
        .expect("runs");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}");
    assert!(out.contains("reactive 60 %") && out.contains("oracle") && out.contains("seasonal_naive_day"), "{out}");
    let page = std::fs::read_to_string(&page).expect("a page");
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        let allowed = page.matches("http://www.w3.org/2000/svg").count();
        let found = page.matches(outside).count() - if outside == "http://" { allowed } else { 0 };
        assert_eq!(found, 0, "{outside} in the page");
    }
    assert!(page.contains("Backtest of &lt;shop&gt;") && !page.contains("<shop>"));
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&json).expect("a file")).expect("JSON");
    let ours: Vec<f64> = json["comparison"]["outcomes"]
        .as_array()
        .expect("outcomes")
        .iter()
        .filter(|outcome| outcome["kind"] == "foreshadow" && outcome["unmet"].as_f64() <= Some(50.0))
        .filter_map(|outcome| outcome["cost"].as_f64())
        .collect();
    let cheapest = ours.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(json["advice"]["setting"]["cost"].as_f64(), Some(cheapest), "{}", json["advice"]);
}

/// What docs/tuning.md has people type first, on a month of five minutes: as soon as it says, though this program is not optimised.
#[test]
fn a_month_of_five_minutes_gives_a_page_with_charts_by_one_command_within_seconds() {
    let document =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tuning.md")).expect("a text");
    assert!(
        document.contains(
            "**First look**, without the learning models, within twenty seconds for a month of five minutes:"
        )
    );
    let command =
        document.lines().find(|line| line.starts_with("foreshadow backtest ") && line.ends_with(" first.html"));
    let directory = tempfile::tempdir().expect("a directory");
    let mut text = String::from("timestamp,value\n");
    for (at, value) in rows(30) {
        writeln!(text, "{},{value}", jiff::Timestamp::from_second(at).expect("a time")).expect("text");
    }
    std::fs::write(directory.path().join("load.csv"), text).expect("a file");
    let began = tokio::time::Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_foreshadow"))
        .args(command.expect("the command").split(' ').skip(1))
        .current_dir(directory.path())
        .output()
        .expect("runs");
    let took = began.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(took.as_secs() < 20, "{took:?}");
    let page = std::fs::read_to_string(directory.path().join("first.html")).expect("a page");
    let longest = |chart: &str| {
        chart
            .split("<path class=\"line ")
            .skip(1)
            .filter_map(|line| line.split(" d=\"").nth(1)?.split('"').next())
            .map(str::len)
            .max()
    };
    let charts = page.split("<svg").skip(1).filter_map(|rest| rest.split("</svg>").next());
    let drawn = charts.filter(|chart| longest(chart) > Some(1_000)).count();
    assert!(drawn >= 1, "no chart with a day in it");
}

#[test]
fn work_is_counted_as_it_is_told() {
    let (load, setting) = short(0.05);
    let candidates = compare::Candidates {
        reactive: vec![0.6],
        confidences: vec![0.9],
        targets: vec![0.6],
        provider: Vec::new(),
        each_model: false,
        pace: foreshadow::backtest::Pace::Production,
        lease_seconds: 1_800,
        window_seconds: 3_600,
    };
    let told = std::sync::atomic::AtomicU64::new(0);
    let tell = |done| {
        told.fetch_add(done, std::sync::atomic::Ordering::Relaxed);
    };
    let comparison = compare::compare(&load, &setting, &candidates, &tell).expect("a comparison");
    assert_eq!(told.into_inner(), compare::work(&load, &setting, &candidates));
    assert_eq!(comparison.outcomes.len(), 4, "oracle, reactive, seasonal naive, Foreshadow");
    assert_eq!(GROUP, "backtest");
}
