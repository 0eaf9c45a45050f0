//! The web page in a real browser (`tests/page.mjs`, and what lies in `tests/page/`): every page, both themes, narrow and wide, by mouse and by keyboard,
//! before an aggregator with two weeks of history, agents with scripted load and machines that are a program's.

mod seed;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use foreshadow_tests::fleet::{Fleet, Script, Wire};
use foreshadow_tests::process::{Aggregator, eventually, free_port};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use seed::{DETACHED, ForecastHour, MACHINES};

/// How long the browser may take for everything: a minute and a half by itself, more beside neighbours.
const PATIENCE: Duration = Duration::from_secs(600);

fn now() -> i64 {
    use foreshadow_agent::clock::{Clock as _, HostClock};
    HostClock.wall_micros() / 1_000_000
}

fn target(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target").join(name)
}

/// The program of `docs/fleets.md`, with the machines of `web` in its file.
fn machines(directory: &Path) -> anyhow::Result<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fleets.md");
    let document = std::fs::read_to_string(document)?;
    let program = document.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    let path = directory.join("machines");
    std::fs::write(&path, program.context("the example")?)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let names: Vec<String> = (0..MACHINES).map(|number| format!("m-{number}")).collect();
    let all: serde_json::Map<String, Value> =
        names.iter().map(|name| (name.clone(), json!({"state": "running", "tags": {}}))).collect();
    let members: Vec<&String> = names.iter().filter(|name| !DETACHED.contains(&name.as_str())).collect();
    let groups = json!({"web": {"minimum": 2, "maximum": 40, "tags": {}, "members": members}});
    let state = json!({"groups": groups, "machines": all, "tokens": {}});
    std::fs::write(directory.join("machines.json"), state.to_string())?;
    Ok(path.display().to_string())
}

/// Whose agent says that it is older than the aggregator, and which version.
const OLD: &str = "m-2";
const OLD_VERSION: &str = "0.0.9";
/// How long it took to its first sample that was kept; the others do not tell.
const FIRST_KEPT: Duration = Duration::from_millis(2_037);
/// Whose agent keeps its past in its spool.
const BEHIND: &str = "m-3";
/// What an instance of `web` uses when nobody asks anything of it, points.
const IDLE: f64 = 2.0;
/// What every agent of `web` measured before it connected: more than a sparkline shows.
const PAST: Duration = Duration::from_secs(720);

/// A group that only a file knows, whose name has whatever a name may have.
const STRANGE: &str = "batch/night:eu@2";

fn config(directory: &Path) -> anyhow::Result<String> {
    let program = machines(directory)?;
    let file = directory.join("inventory.toml");
    let text = format!(
        "[group.\"{STRANGE}\"]\nminimum = 1\nmaximum = 9\ninstances = [\"b-0\", \"b-1\"]\n\
         [group.search]\nminimum = 1\nmaximum = 9\ninstances = [\"s-0\"]\n"
    );
    std::fs::write(&file, text)?;
    Ok(format!(
        "[inventory]\ninterval_seconds = 5\nwarm_up_seconds = 0\ndrain_seconds = 10\nfile = \"{}\"\n\
         [inventory.command]\nprogram = \"{program}\"\ngroups = [\"web\"]\nreach = \"loopback\"\n\
         [shadow]\ndefault_seconds = 5400\n[shadow.prices_per_hour]\n\"m5.large\" = 0.107\n\
         [safety]\nwarm_up_seconds = 0\nquiet_seconds = 20\nshare_15_minutes = 1.0\nshare_6_hours = 1.0\nfleet_share = 1.0\n\
         [group.web]\nminimum = 2\nmaximum = 40\n\
         [metric.requests]\nof = \"instance\"\nunit = \"1/s\"\ntitle = \"Requests per second\"\n\
         [group.search.targets]\ncpu = 60\nrequests = 200\n",
        file.display()
    ))
}

fn agents(
    url: &str,
    names: &[&str],
    wire: Wire,
    load: impl Fn(&str) -> f64 + Send + Sync + 'static,
) -> anyhow::Result<Fleet> {
    let loads: Vec<f64> = names.iter().map(|name| load(name)).collect();
    let script = Script {
        aggregator: url.to_owned(),
        instances: names.iter().map(|name| (*name).to_owned()).collect(),
        group: String::new(),
        instance_type: "m5.large".to_owned(),
        interval: Duration::from_secs(1),
        load: Arc::new(move |index, second| {
            let load = loads.get(index).copied().unwrap_or_default();
            let wobble = 3.0 * ((second as f64) / 9.0 + load).sin() + ((second * 7 + index as u64 * 13) % 5) as f64;
            // What idles does so evenly.
            (load + wobble * (load / 20.0).min(1.0)).clamp(0.5, 100.0) as f32
        }),
    };
    Fleet::start_with(&script, wire)
}

/// Requests per second of the one that serves in `search`, at a minute.
fn requests(minute: i64) -> f64 {
    (1.9 * seed::demand(minute)).round()
}

/// Tells what `search` is asked, as an exporter would: its last day as a history, and then every few seconds what it is now,
/// for as long as it is awaited.
async fn asked_of_search(url: &str) -> anyhow::Result<std::convert::Infallible> {
    let this_minute = now() / 60;
    let minutes: Vec<_> = (this_minute - 1_440..this_minute).map(|it| json!([it * 60, requests(it), 1])).collect();
    let (from, to) = ((this_minute - 1_440) * 60, this_minute * 60);
    let past = json!({"metric": "requests", "source": "a test", "from": from, "to": to, "minutes": minutes});
    let past = web::request(http::Method::POST, &format!("{url}/groups/search/history"), &[], past.to_string()).await?;
    ensure!(past.status.is_success(), "{}", past.body);
    loop {
        let line = json!({"instance": "s-0", "at": now(), "metrics": {"requests": requests(now() / 60)}}).to_string();
        let push = format!("{url}/shadow/metrics?format=ndjson");
        let taken = web::request(http::Method::POST, &push, &[], line).await?;
        ensure!(taken.status == 200 && taken.json()?["rejected_total"] == 0, "{}", taken.body);
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// An aggregator whose groups have a past, a present and shadows.
struct World {
    aggregator: Aggregator,
    /// When its past ends, seconds since 1970.
    seeded: i64,
    _fleets: Vec<Fleet>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn start() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = config(directory.path())?;
        let port = free_port()?;
        // The first run makes the database, the second finds a history in it.
        let first = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
        // That its cloud is this machine is a program's word: it counts once somebody said so too.
        let accepted =
            web::request(http::Method::POST, &format!("{}/limits", first.url), &[], r#"{"reason": "a test"}"#).await?;
        anyhow::ensure!(accepted.status.is_success(), "{}", accepted.body);
        assert!(first.process.terminate().await?.success());
        let seeded = now();
        seed::history(directory.path(), seeded).await?;
        let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
        let url = aggregator.url.clone();
        let serving = MACHINES - DETACHED.len() as u32;
        let carried = seed::demand(now() / 60) / f64::from(serving);
        // Not all alike, so that load over traffic is a line.
        let load = move |name: &str| match name.strip_prefix("m-").and_then(|number| number.parse::<f64>().ok()) {
            Some(_) if DETACHED.contains(&name) => IDLE,
            Some(number) => carried * (0.75 + 0.5 * number / f64::from(serving - 1)),
            None => 34.0,
        };
        let names: Vec<String> = (0..MACHINES).map(|number| format!("m-{number}")).collect();
        let like_ours: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| ![OLD, BEHIND].contains(name)).collect();
        let measured = || Wire { past: PAST, idle: IDLE, ..Wire::default() };
        let old = Wire { agent_version: Some(OLD_VERSION.to_owned()), first_kept: Some(FIRST_KEPT), ..measured() };
        let fleets = vec![
            agents(&url, &like_ours, measured(), load)?,
            agents(&url, &[OLD], old, load)?,
            agents(&url, &[BEHIND], Wire { kept_back: 1, ..measured() }, load)?,
            agents(&url, &["s-0"], Wire::default(), load)?,
        ];
        eventually("web is forecast, with two foreign shadows", Duration::from_secs(120), async || {
            let group = web::get_json(&format!("{url}/groups/web")).await?;
            let (forecasts, summary) = (&group["forecasts"], &group["summary"]);
            let all = summary["serving"] == serving && summary["shadow"] == DETACHED.len();
            Ok((forecasts[0]["paths"].is_array() && all).then_some(()))
        })
        .await?;
        Ok(Self { aggregator, seeded, _fleets: fleets, _directory: directory })
    }
}

/// Runs the script with what it needs on its standard input: secrets are on no command line.
async fn look(given: &Value) -> anyhow::Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("page.mjs");
    // What an earlier run left behind says nothing of this one.
    let failed = target("screenshots").join(format!("failed-{}.png", given["what"].as_str().unwrap_or_default()));
    std::fs::create_dir_all(target("screenshots"))?;
    std::fs::write(&failed, "of an earlier run")?;
    let mut command = Command::new("node");
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut browser = command.spawn().context("node is not installed: bash tests/run installs it")?;
    let mut stdin = browser.stdin.take().context("its input")?;
    stdin.write_all(given.to_string().as_bytes()).await?;
    drop(stdin);
    let ended =
        tokio::time::timeout(PATIENCE, browser.wait_with_output()).await.context("the browser takes too long")??;
    let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    println!("{said}");
    ensure!(ended.status.success(), "{said}");
    ensure!(!failed.exists(), "{} is of an earlier run", failed.display());
    Ok(())
}

fn given(what: &str, url: &str) -> Value {
    json!({"what": what, "url": url, "modules": target("tools"), "screenshots": target("screenshots")})
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_shown_steers_and_can_be_used_by_anybody() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut asked = given("pages", &world.aggregator.url);
    asked["agents"] = json!({"old": OLD, "version": OLD_VERSION, "behind": BEHIND});
    asked["refused_at"] = seed::refused_at(world.seeded).into();
    asked["forecast_hours"] = seed::forecast_hours(world.seeded).iter().map(ForecastHour::told).collect();
    tokio::select! {
        looked = look(&asked) => looked?,
        told = asked_of_search(&world.aggregator.url) => match told? {},
    }

    // What was clicked was done, and is written down with its reason.
    let url = &world.aggregator.url;
    let audit = web::get_json(&format!("{url}/audit?limit=200")).await?;
    let done: Vec<(&str, &str)> = audit
        .as_array()
        .context("a list")?
        .iter()
        .filter_map(|entry| Some((entry["action"].as_str()?, entry["reason"].as_str()?)))
        .collect();
    for wanted in [
        ("pause", "a look at the red button"),
        ("resume", "it works"),
        ("set_mode", "a week of plans looks right"),
        ("enter_event", "the yearly sale"),
        ("delete_event", "postponed"),
        ("adopt_shadow", "nobody else wants it"),
    ] {
        ensure!(done.contains(&wanted), "{wanted:?} is not in {done:?}");
    }
    let standing = web::get_json(&format!("{url}/groups/web")).await?["standing"].clone();
    assert_eq!((&standing["mode"], &standing["paused"]), (&"scale-out".into(), &false.into()), "{standing}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_offered_what_it_may_do_and_no_token_is_in_an_address() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let file = directory.path().join("inventory.toml");
    std::fs::write(&file, "[group.web]\nminimum = 1\nmaximum = 9\ninstances = [\"i-1\", \"i-2\"]\n")?;
    let config = format!(
        "[identity]\ntokens = \"{}\"\n[inventory]\nfile = \"{}\"\ninterval_seconds = 5\n",
        tokens.file.display(),
        file.display()
    );
    let port = free_port()?;
    let first = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    assert!(first.process.terminate().await?.success());
    seed::shadows(directory.path(), now(), &[("i-8", "foreign"), ("i-9", "ours")]).await?;
    seed::ended(directory.path(), "web", now(), &[("i-7", 10_800, 7_000)]).await?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let bearer = format!("Bearer {}", tokens.of("viewer"));
    let known = async || {
        let answer = web::request(
            http::Method::GET,
            &format!("{}/groups/web", aggregator.url),
            &[("authorization", &bearer)],
            "",
        )
        .await?;
        Ok((answer.status == 200).then_some(()))
    };
    eventually("the group is known", Duration::from_secs(60), known).await?;
    // A viewer reads what is in a range, and how many there are of it.
    let in_shadow = async |query: &str| {
        let asked = format!("{}/shadow/sessions?group=web{query}", aggregator.url);
        let answer = web::request(http::Method::GET, &asked, &[("authorization", &bearer)], "").await?;
        ensure!(answer.status == 200, "{query}: {}", answer.body);
        let total = answer.headers.get("x-total-count").context("a total")?.to_str()?.to_owned();
        let names = answer.json()?.as_array().context("a list")?.iter().map(|it| it["instance"].to_string()).collect();
        anyhow::Ok((total, names))
    };
    let of = |total: &str, names: &[&str]| (total.to_owned(), names.iter().map(|it| format!("\"{it}\"")).collect());
    let in_all: (String, Vec<String>) = of("3", &["i-8", "i-9", "i-7"]);
    assert_eq!(in_shadow("").await?, in_all);
    assert_eq!(in_shadow("&open=true").await?, of("2", &["i-8", "i-9"]));
    assert_eq!(in_shadow("&to=-90m").await?, of("1", &["i-7"]), "who had left by then");
    assert_eq!(in_shadow("&from=-70m&limit=1").await?, of("2", &["i-8"]), "and one that is left off");
    assert_eq!(in_shadow("&from=-5h&to=-4h").await?, of("0", &[]));
    let mut asked = given("roles", &aggregator.url);
    asked["tokens"] =
        ["viewer", "operator", "admin", "agent"].into_iter().map(|role| (role, tokens.of(role))).collect();
    look(&asked).await?;
    let log = aggregator.process.output();
    assert!(!log.contains(tokens.of("admin")), "a token is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_groups_and_two_weeks_of_minutes_are_light() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("inventory.toml");
    std::fs::write(&file, "[group.heavy]\nminimum = 1\nmaximum = 9\ninstances = [\"i-0\"]\n")?;
    let config = format!("[inventory]\nfile = \"{}\"\ninterval_seconds = 60\n", file.display());
    let port = free_port()?;
    let first = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    assert!(first.process.terminate().await?.success());
    seed::busy(directory.path(), "heavy", now(), 14).await?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    eventually("the group is forecast", Duration::from_secs(240), async || {
        let group = web::get_json(&format!("{}/groups/heavy", aggregator.url)).await?;
        Ok(group["forecasts"][0]["paths"].is_array().then_some(()))
    })
    .await?;
    // The script multiplies the line of one group.
    let mut asked = given("weight", &aggregator.url);
    asked["group"] = "heavy".into();
    look(&asked).await
}

/// What changed is sent, the first event is everything, and a stream of one group tells its rounds.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_streamed_and_only_changes() -> anyhow::Result<()> {
    use futures::StreamExt as _;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("inventory.toml");
    std::fs::write(
        &file,
        "[group.web]\nminimum = 1\nmaximum = 9\ninstances = [\"i-1\"]\n[group.api]\nminimum = 1\nmaximum = 9\ninstances = [\"i-2\"]\n",
    )?;
    let config = format!("[inventory]\nfile = \"{}\"\ninterval_seconds = 5\n", file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = &aggregator.url;
    eventually("both are planned", Duration::from_secs(60), async || {
        let all = web::get_json(&format!("{url}/overview")).await?;
        Ok((all["groups"].as_array().map(Vec::len) == Some(2)).then_some(()))
    })
    .await?;
    let within = Duration::from_secs(60);
    let mut changes = web::events(&format!("{url}/changes")).await?;
    let (name, all) = tokio::time::timeout(within, changes.next()).await?.context("an event")?;
    assert_eq!(
        (name.as_str(), all["groups"].as_array().map(Vec::len), &all["everywhere"]),
        ("groups", Some(2), &Value::Null)
    );
    let mut lists = BTreeMap::new();
    while lists.len() < 3 {
        let (name, data) = tokio::time::timeout(within, changes.next()).await?.context("an event")?;
        if name != "groups" {
            lists.insert(name, data["revision"].as_u64().context("a revision")?);
        }
    }
    ensure!(lists.keys().eq(["access", "audit", "events"]), "{lists:?}");
    // Instances to those that ask for them: all at first, and then what changed of one.
    let told = async |changes: &mut web::Events| loop {
        let (name, data) = tokio::time::timeout(within, changes.next()).await?.context("an event")?;
        if name == "instances" {
            let of = |list: &str, field: &str| -> Vec<String> {
                let all = data[list].as_array().into_iter().flatten();
                all.filter_map(|one| one[field].as_str().or(one.as_str()).map(str::to_owned)).collect()
            };
            return anyhow::Ok((of("instances", "instance"), of("gone", "")));
        }
    };
    let mut with_instances = web::events(&format!("{url}/changes?instances=true")).await?;
    assert_eq!(
        told(&mut with_instances).await?,
        (vec!["i-2".to_owned(), "i-1".to_owned()], vec![]),
        "by group and name"
    );
    let mut of_web = web::events(&format!("{url}/changes?group=web&instances=true")).await?;
    assert_eq!(told(&mut of_web).await?, (vec!["i-1".to_owned()], vec![]));
    let pushed = json!({"instance": "i-2", "at": now(), "cpu_percent": 40}).to_string();
    let taken = web::request(http::Method::POST, &format!("{url}/shadow/metrics?format=ndjson"), &[], pushed).await?;
    ensure!(taken.status == 200, "{}", taken.body);
    assert_eq!(told(&mut with_instances).await?, (vec!["i-2".to_owned()], vec![]), "it was heard of");
    let mut web_alone = web::events(&format!("{url}/changes?group=web")).await?;
    let (_, first) = tokio::time::timeout(within, web_alone.next()).await?.context("an event")?;
    assert_eq!((first["groups"].as_array().map(Vec::len), &first["groups"][0]["name"]), (Some(1), &"web".into()));
    let mut rounds = Vec::new();
    while rounds.len() < 2 {
        let (name, data) = tokio::time::timeout(within, web_alone.next()).await?.context("an event")?;
        if name == "round" {
            assert_eq!(data["group"], "web");
            rounds.push(data["generation"].as_u64().context("a generation")?);
        }
    }
    assert!(rounds[1] > rounds[0], "{rounds:?}");
    let body = r#"{"reason": "a test"}"#;
    let paused = web::request(http::Method::POST, &format!("{url}/groups/api/pause"), &[], body).await?;
    ensure!(paused.status == 200, "{}", paused.body);
    let mut audited = false;
    loop {
        let (name, data) = tokio::time::timeout(within, changes.next()).await?.context("an event")?;
        if name != "groups" {
            ensure!(name == "audit" && data["revision"].as_u64() > lists.get("audit").copied(), "{name}: {data}");
            audited = true;
            continue;
        }
        let groups = data["groups"].as_array().context("groups")?;
        if let Some(api) = groups.iter().find(|line| line["name"] == "api" && line["paused"] == true) {
            assert_eq!(groups.len(), 1, "web did not change: {api}");
            break;
        }
    }
    while !audited {
        let (name, _) = tokio::time::timeout(within, changes.next()).await?.context("an event")?;
        audited = name == "audit";
    }
    for (path, status) in [
        ("/changes?group=nobody", 404),
        ("/changes?x=1", 400),
        ("/changes?instances=some", 400),
        ("/changes?demand=some", 400),
        ("/intents?from=2&to=1", 400),
        ("/intents?limit=501", 400),
        ("/intents?group=nobody&from=-1h", 404),
        ("/shadow/sessions?from=2&to=1", 400),
        ("/shadow/sessions?open=some", 400),
        ("/shadow/sessions?limit=0", 400),
        ("/groups/web/week?mode=full&after=2", 400),
        ("/overview?x=1", 400),
        ("/whoami?x=1", 400),
        ("/instances?group=nobody", 404),
        ("/groups/nobody/course", 404),
        ("/groups/web/course?from=-40d", 400),
        ("/groups/nobody/models", 404),
        ("/web/nothing.js", 404),
        ("/web/..%2Fmod.rs", 404),
    ] {
        let answer = web::get(&format!("{url}{path}")).await?;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.json()?["detail"].is_string(), "{path}");
    }
    let me = web::get_json(&format!("{url}/whoami")).await?;
    assert_eq!((&me["role"], &me["open"]), (&"admin".into(), &true.into()));
    let instances = web::get_json(&format!("{url}/instances?group=web")).await?;
    assert_eq!(
        (&instances[0]["instance"], &instances[0]["group"], &instances[0]["spool"]["waiting"]),
        (&"i-1".into(), &"web".into(), &0.into())
    );
    Ok(())
}
