//! The words that steer, as an operator types them: durable, audited, with a reason, and refused where
//! they loosen what may not be loosened.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use foreshadow::clock::{Clock as _, SystemClock};
use foreshadow_tests::process::{Aggregator, binary, eventually};
use foreshadow_tests::web;
use tokio::process::Command;

async fn foreshadow(url: &str, arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(Command::new(binary("foreshadow")?).args(arguments).args(["--url", url]).output().await?)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn config(directory: &Path) -> anyhow::Result<String> {
    let file = directory.join("inventory.toml");
    std::fs::write(&file, "[group.web]\nminimum = 1\nmaximum = 9\ninstances = [\"i-1\", \"i-2\"]\n")?;
    Ok(format!("[inventory]\nfile = \"{}\"\ninterval_seconds = 5\n[group.web]\nmode = \"scale-out\"\n", file.display()))
}

async fn standing(url: &str) -> anyhow::Result<serde_json::Value> {
    eventually("the group is known", Duration::from_secs(40), async || {
        Ok(Some(web::get_json(&format!("{url}/groups/web")).await?["standing"].clone()))
    })
    .await
}

#[tokio::test]
async fn a_pause_outlives_a_restart_and_nothing_but_a_word_ends_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = config(directory.path())?;
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = aggregator.url.clone();
    assert_eq!(standing(&url).await?["paused"], false);

    let refused = foreshadow(&url, &["pause", "--reason", " "]).await?;
    assert!(refused.status.code() == Some(64) && said(&refused).contains("must say why"), "{}", said(&refused));
    let unknown = foreshadow(&url, &["pause", "wbe", "--reason", "typing at night"]).await?;
    assert!(!unknown.status.success() && said(&unknown).contains("wbe"), "{}", said(&unknown));

    let paused = foreshadow(&url, &["pause", "--reason", "looking at it"]).await?;
    assert_eq!(said(&paused), "everything: paused: nothing is changed from now on\n");
    let own = foreshadow(&url, &["pause", "web", "--reason", "this one too"]).await?;
    assert_eq!(said(&own), "web: paused: nothing is changed from now on\n");
    assert!(aggregator.process.terminate().await?.success());

    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = aggregator.url.clone();
    let still = standing(&url).await?;
    assert_eq!((&still["paused"], &still["everywhere"]["reason"]), (&true.into(), &"looking at it".into()));
    let resumed = said(&foreshadow(&url, &["resume", "--reason", "it is fine"]).await?);
    let stays = "everything: resumed, but these stay paused by their own pause: web (foreshadow resume GROUP)\n";
    assert_eq!(resumed, stays);
    assert_eq!(standing(&url).await?["paused"], true, "the group was paused by itself as well");
    let resumed = foreshadow(&url, &["resume", "web", "--reason", "it is fine", "--json"]).await?;
    let answer: serde_json::Value = serde_json::from_slice(&resumed.stdout)?;
    assert_eq!((&answer["paused"], &answer["paused_groups"]), (&false.into(), &serde_json::json!([])));
    assert_eq!(standing(&url).await?["paused"], false);

    let audit = web::get_json(&format!("{url}/audit")).await?;
    let actions: Vec<&str> =
        audit.as_array().into_iter().flatten().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions, ["resume", "resume", "pause", "pause"]);

    let listed = said(&foreshadow(&url, &["audit", "--limit", "1"]).await?);
    assert!(listed.lines().count() == 2 && listed.contains("resume") && listed.contains("web: it is fine"), "{listed}");
    let groups = eventually("its line", Duration::from_secs(40), async || {
        let groups = said(&foreshadow(&url, &["groups"]).await?);
        Ok(groups.lines().any(|line| line.starts_with("web  ")).then_some(groups))
    })
    .await?;
    assert!(groups.starts_with("group  mode"), "{groups}");
    assert!(said(&foreshadow(&url, &["status"]).await?).starts_with("group  mode"));
    let needed = said(&foreshadow(&url, &["predict", "web"]).await?);
    assert!(needed.starts_with("web at 20") && needed.contains("serving"), "{needed}");

    // A group that is let go while everything stands is not "resumed".
    foreshadow(&url, &["pause", "--reason", "all of it"]).await?;
    let own = foreshadow(&url, &["resume", "web", "--reason", "only this"]).await?;
    assert_eq!(said(&own), "web: its own pause is over; everything is still paused (foreshadow resume)\n");
    let first = eventually("a plan", Duration::from_secs(40), async || {
        let explained = foreshadow(&url, &["explain", "web"]).await?;
        Ok(explained.status.success().then(|| said(&explained)))
    })
    .await?;
    assert!(first.starts_with("PAUSED: everything, since 20") && first.contains("all of it"), "{first}");
    Ok(())
}

#[tokio::test]
async fn a_mode_is_given_only_where_something_can_act_and_the_file_allows_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let aggregator = Aggregator::start(directory.path(), &config(directory.path())?).await?;
    let url = &aggregator.url;
    assert_eq!(standing(url).await?["mode"], "observe");
    for (mode, part) in [
        ("full", "the configuration file allows scale-out at most"),
        ("scale-out", "can describe the group and not change it: put it under [inventory.aws]"),
        ("fast", "[possible values: observe, scale-out, full]"),
    ] {
        let refused = foreshadow(url, &["mode", "web", mode, "--reason", "ready"]).await?;
        assert!(!refused.status.success() && said(&refused).contains(part), "{mode}: {}", said(&refused));
    }
    // Leave to go below last week's need: for a while, with a reason, and shown.
    let leave = async |until: &str| {
        let arguments = ["below-last-week", "web", "--until", until, "--reason", "the sale is over"];
        anyhow::Ok(foreshadow(url, &arguments).await?)
    };
    for (until, part) in [("+8d", "seven days ahead at most"), ("soon", "is neither RFC 3339")] {
        let refused = leave(until).await?;
        assert!(!refused.status.success() && said(&refused).contains(part), "{until}: {}", said(&refused));
    }
    let given = leave("2h").await?;
    assert!(said(&given).contains("web: may go below what it needed a week ago until 20"), "{}", said(&given));
    assert_eq!(standing(url).await?["leave"]["reason"], "the sale is over");
    let tightened = foreshadow(url, &["mode", "web", "observe", "--reason", "to be sure"]).await?;
    assert_eq!(said(&tightened), "web: mode observe\n");
    assert_eq!(said(&foreshadow(url, &["journal"]).await?), "nothing was ever done\n");
    assert_eq!(said(&foreshadow(url, &["shadow"]).await?), "nothing stands in shadow\n");
    assert_eq!(said(&foreshadow(url, &["journal", "--group", "web"]).await?), "web: nothing was ever done\n");
    assert_eq!(said(&foreshadow(url, &["shadow", "--group", "web"]).await?), "web: nothing stands in shadow\n");
    let events = said(&foreshadow(url, &["events", "--group", "web"]).await?);
    assert!(events.starts_with("web: no events"), "{events}");
    assert!(foreshadow(url, &["import", "list", "--group", "web"]).await?.status.success());
    // A name written otherwise is never "all is well".
    for command in [&["journal"][..], &["shadow"], &["events"], &["import", "list"]] {
        let asked = foreshadow(url, &[command, &["--group", "wbe"]].concat()).await?;
        let told = said(&asked);
        assert!(!asked.status.success() && told.contains("\"wbe\" is not known; foreshadow groups or"), "{told}");
    }
    assert_eq!(said(&foreshadow(url, &["shadows"]).await?), "nothing stands in shadow\n", "as people call it");
    let listed = said(&foreshadow(url, &["instances", "web"]).await?);
    assert!(listed.starts_with("instance  ") && listed.contains("\ni-1 "), "{listed}");
    let unknown = foreshadow(url, &["shadow", "adopt", "i-9", "--reason", "a spare"]).await?;
    assert!(
        !unknown.status.success()
            && said(&unknown).contains("i-9 stands in no shadow session: foreshadow shadows lists"),
        "{}",
        said(&unknown)
    );
    Ok(())
}

#[tokio::test]
async fn whom_its_provider_ends_is_measured_and_nobody_adopts_it() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = config(directory.path())?;
    let config =
        config.replace("interval_seconds = 5\n", "interval_seconds = 5\nwarm_up_seconds = 0\ndrain_seconds = 1\n");
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = &aggregator.url;
    standing(url).await?;
    let push = web::request(
        http::Method::POST,
        &format!("{url}/shadow/metrics"),
        &[("content-type", "application/json")],
        format!(r#"{{"instance": "i-2", "at": {}, "cpu_percent": 1.5}}"#, now() - 1),
    )
    .await?;
    anyhow::ensure!(push.status.is_success(), "{}", push.body);
    let members = "\"i-1\", { id = \"i-2\", state = \"Terminating:Wait\" }";
    let group = format!("[group.web]\nminimum = 1\nmaximum = 9\ninstances = [{members}]\n");
    std::fs::write(directory.path().join("inventory.toml"), group)?;
    eventually("its session", Duration::from_secs(40), async || {
        let sessions = web::get_json(&format!("{url}/shadow/sessions")).await?;
        Ok((sessions[0]["instance"] == "i-2").then_some(()))
    })
    .await?;
    let refused = foreshadow(url, &["shadow", "adopt", "i-2", "--reason", "a spare"]).await?;
    let why = "i-2 is held by a termination hook: its provider ends it";
    assert!(!refused.status.success() && said(&refused).contains(why), "{}", said(&refused));
    Ok(())
}

/// Who is not stranded is not taken over, whoever asks; and what is typed wrong is told before that.
#[tokio::test]
async fn only_the_stranded_are_taken_over() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("inventory.toml");
    std::fs::write(&file, "[group.web]\nminimum = 1\nmaximum = 9\ninstances = [\"i-1\"]\n")?;
    let config = format!("[inventory]\nfile = \"{}\"\ninterval_seconds = 5\n", file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = &aggregator.url;
    standing(url).await?;
    for (arguments, code, why) in [
        (
            &["i-1", "--group", "web", "--reason", "ours"][..],
            1,
            "i-1 is not among the stranded: foreshadow shadow stranded",
        ),
        (&["i-1", "--group", "nobody", "--reason", "ours"], 1, "nobody"),
        (&["i-1", "--group", "web", "--reason", " "], 64, "must say why"),
        (&["i-1", "--reason", "ours"], 64, "--group"),
    ] {
        let output = foreshadow(url, &[&["shadow", "take"], arguments].concat()).await?;
        let told = said(&output);
        assert!(output.status.code() == Some(code) && told.contains(why), "{arguments:?}: {:?} {told}", output.status);
    }
    assert_eq!(web::get_json(&format!("{url}/audit?limit=50")).await?, serde_json::json!([]), "nothing was done");
    let listed = foreshadow(url, &["shadow", "stranded", "--json"]).await?;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&listed.stdout)?, serde_json::json!([]));
    Ok(())
}

/// Answers a describe, and nothing else.
const PROGRAM: &str = r#"#!/bin/sh
cat > /dev/null
echo '{"complete": true, "groups": {"web": {"minimum": 1, "maximum": 50, "desired": 1,
  "members": [{"instance": "i-1", "lifecycle": "InService"}]}}}'
"#;

#[tokio::test]
async fn a_file_loosens_nothing_beyond_observe_until_it_is_accepted_with_a_reason() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir()?;
    let program = directory.path().join("machines");
    std::fs::write(&program, PROGRAM)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let file = |maximum: u32, drain: u32, mode: &str| {
        format!(
            "[inventory]\ninterval_seconds = 5\ndrain_seconds = {drain}\n[inventory.command]\nprogram = \"{}\"\n\
             groups = [\"web\"]\n[group.web]\nmaximum = {maximum}\n{mode}",
            program.display()
        )
    };
    let warnings = async |url: &str| -> anyhow::Result<Vec<String>> {
        standing(url).await?;
        Ok(serde_json::from_value(web::get_json(&format!("{url}/readyz")).await?["warnings"].clone())?)
    };
    let maximum = async |url: &str| -> anyhow::Result<serde_json::Value> {
        standing(url).await?;
        Ok(web::get_json(&format!("{url}/overview")).await?["groups"][0]["maximum"].clone())
    };

    let aggregator = Aggregator::start(directory.path(), &file(20, 300, "")).await?;
    assert_eq!(maximum(&aggregator.url).await?, 20);
    assert!(aggregator.process.terminate().await?.success());
    // In observe an edit just works.
    let aggregator = Aggregator::start(directory.path(), &file(25, 300, "")).await?;
    assert_eq!((maximum(&aggregator.url).await?, warnings(&aggregator.url).await?), (25.into(), Vec::new()));
    let full = foreshadow(&aggregator.url, &["mode", "web", "full", "--reason", "ready"]).await?;
    assert_eq!(said(&full), "web: mode full\n");
    assert!(aggregator.process.terminate().await?.success());

    let aggregator = Aggregator::start(directory.path(), &file(30, 0, "")).await?;
    let url = &aggregator.url;
    assert_eq!(maximum(url).await?, 25);
    let told = warnings(url).await?;
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("inventory.drain_seconds: the configuration file says 0") && told[0].contains("300 holds")
    );
    assert!(told[1].starts_with("group.web.maximum: the configuration file says 30"), "{told:?}");
    assert!(told[1].contains("25 holds") && told[1].contains("foreshadow limits accept web"), "{told:?}");
    let detail = web::get_json(&format!("{url}/groups/web")).await?;
    assert_eq!(detail["limits"]["held"][0]["field"], "maximum", "{detail}");
    let listed = said(&foreshadow(url, &["limits"]).await?);
    assert!(listed.contains("inventory.drain_seconds") && listed.contains("maximum"), "{listed}");
    let refused = foreshadow(url, &["limits", "accept", "web", "--reason", " "]).await?;
    assert!(!refused.status.success() && said(&refused).contains("reason"), "{}", said(&refused));

    let accepted = foreshadow(url, &["limits", "accept", "web", "--reason", "the sale"]).await?;
    assert_eq!(said(&accepted), "web: what the configuration file says holds\n");
    eventually("the accepted maximum holds", Duration::from_secs(30), async || {
        Ok((maximum(url).await? == 30).then_some(()))
    })
    .await?;
    assert_eq!(warnings(url).await?.len(), 1, "what concerns all groups still waits");
    foreshadow(url, &["limits", "accept", "--reason", "nothing drains here"]).await?;
    assert_eq!(said(&foreshadow(url, &["limits"]).await?), "everything holds as the configuration file says\n");
    let audit = web::get_json(&format!("{url}/audit?limit=2")).await?;
    let entry = |index: usize| (audit[index]["detail"].as_str(), audit[index]["reason"].as_str());
    assert_eq!(entry(0), (Some("everything: inventory.drain_seconds 300 to 0"), Some("nothing drains here")));
    assert_eq!(entry(1), (Some("web: maximum 25 to 30"), Some("the sale")));
    assert!(aggregator.process.terminate().await?.success());

    // A mode that the file lowered does not come back when the line goes.
    let aggregator = Aggregator::start(directory.path(), &file(30, 0, "mode = \"observe\"\n")).await?;
    assert_eq!(standing(&aggregator.url).await?["mode"], "observe");
    assert!(aggregator.process.terminate().await?.success());
    let aggregator = Aggregator::start(directory.path(), &file(30, 0, "")).await?;
    assert_eq!(standing(&aggregator.url).await?["mode"], "observe");
    Ok(())
}

fn now() -> i64 {
    use foreshadow_agent::clock::{Clock as _, HostClock};
    HostClock.wall_micros() / 1_000_000
}

/// As if time had passed: the lease of an instance is over, and its hard limit too if `limit` says so.
async fn let_the_lease_end(directory: &Path, limit: bool) -> anyhow::Result<()> {
    let pool =
        sqlx::SqlitePool::connect(&format!("sqlite://{}", directory.join("data/foreshadow.db").display())).await?;
    let longest = if limit { 0 } else { 86_400 };
    sqlx::query(
        "UPDATE shadow_session SET until = started, boot_until = 0, hard_limit = started + $1, started = started - 60",
    )
    .bind(longest)
    .execute(&pool)
    .await?;
    pool.close().await;
    Ok(())
}

#[tokio::test]
async fn a_shadow_that_observe_never_ends_is_told_and_released_at_its_limit() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("inventory.toml");
    let group =
        |names: &str| std::fs::write(&file, format!("[group.web]\nminimum = 1\nmaximum = 9\ninstances = [{names}]\n"));
    group("\"i-1\", \"i-2\"")?;
    let config = format!(
        "[inventory]\nfile = \"{}\"\ninterval_seconds = 5\nwarm_up_seconds = 0\ndrain_seconds = 1\n\
         [agents]\ninterval_seconds = 1\n",
        file.display()
    );
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = aggregator.url.clone();
    standing(&url).await?;
    let push = web::request(
        http::Method::POST,
        &format!("{url}/shadow/metrics"),
        &[("content-type", "application/json")],
        format!(r#"{{"instance": "i-2", "at": {}, "cpu_percent": 1.5}}"#, now() - 1),
    )
    .await?;
    anyhow::ensure!(push.status.is_success(), "{}", push.body);
    group("\"i-1\"")?;
    let session = async |url: &str| -> anyhow::Result<serde_json::Value> {
        Ok(web::get_json(&format!("{url}/shadow/sessions")).await?[0].clone())
    };
    eventually("a session", Duration::from_secs(30), async || {
        Ok((session(&url).await?["instance"] == "i-2").then_some(()))
    })
    .await?;
    let adopted = foreshadow(&url, &["shadow", "adopt", "i-2", "--reason", "a spare"]).await?;
    anyhow::ensure!(adopted.status.success(), "{}", said(&adopted));
    assert!(aggregator.process.terminate().await?.success());

    let_the_lease_end(directory.path(), false).await?;
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = aggregator.url.clone();
    eventually("it is told", Duration::from_secs(30), async || {
        let ready = web::get_json(&format!("{url}/readyz")).await?["warnings"].to_string();
        Ok(ready
            .contains("i-2 of web stands in shadow, its lease is over, and in observe nobody ends it")
            .then_some(()))
    })
    .await?;
    assert_eq!(session(&url).await?["ended"], serde_json::Value::Null, "not before its limit");
    assert!(aggregator.process.terminate().await?.success());

    let_the_lease_end(directory.path(), true).await?;
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = aggregator.url.clone();
    let ended = eventually("it is released", Duration::from_secs(40), async || {
        let session = session(&url).await?;
        Ok((session["ended"] != serde_json::Value::Null).then_some(session))
    })
    .await?;
    assert!(ended["reason"].as_str().is_some_and(|why| why.contains("at its hard limit, and in observe")), "{ended}");
    let metrics = web::get(&format!("{url}/metrics")).await?.body;
    assert!(metrics.contains("foreshadow_shadows_released_total{group=\"web\"} 1"), "{metrics}");
    Ok(())
}

#[tokio::test]
async fn what_was_recorded_is_lived_again_in_a_looser_mode() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("inventory.toml");
    let groups = "[group.web]\nminimum = 1\nmaximum = 20\ninstances = [\"i-1\"]\n[group.new]\nminimum = 1\nmaximum = 9\ninstances = [\"i-2\"]\n";
    std::fs::write(&file, groups)?;
    let config = format!("[inventory]\nfile = \"{}\"\ninterval_seconds = 5\n", file.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = &aggregator.url;
    standing(url).await?;
    // Twelve served all the time, and two to eleven were needed.
    let until = SystemClock.wall_seconds().div_euclid(3_600) * 3_600;
    let row = |at: i64| {
        let turn = (at as f64 / 86_400.0 * std::f64::consts::TAU).sin();
        format!(
            "{},{:.2},12\n",
            jiff::Timestamp::from_second(at).map(|at| at.to_string()).unwrap_or_default(),
            (30.0 + 20.0 * turn) * (0.96 + 0.08 * ((at / 60 * 7_919) % 101) as f64 / 101.0)
        )
    };
    let rows: String = (until - 4 * 86_400..until).step_by(60).map(row).collect();
    let past = directory.path().join("past.csv");
    std::fs::write(&past, format!("timestamp,utilisation,instances\n{rows}"))?;
    let imported = foreshadow(url, &["import", "csv", &past.display().to_string(), "--group", "web"]).await?;
    anyhow::ensure!(imported.status.success(), "{}", said(&imported));
    let ask = async |of: &str| web::get(&format!("{url}/groups/{of}")).await;
    for group in ["web", "new"] {
        eventually("a first plan", Duration::from_secs(40), async || {
            Ok(web::get_json(&format!("{url}/groups/{group}")).await?["plan"].is_object().then_some(()))
        })
        .await?;
    }
    let begun = ask("web/week?mode=full").await?;
    assert_eq!((begun.status.as_u16(), begun.json()?["done"].as_f64()), (202, Some(0.0)), "{}", begun.body);
    let other = ask("web/week?mode=scale-out").await?;
    assert!(other.status == 202 && other.json()?["behind"] == "web in full", "one at a time: {}", other.body);
    // Who says how far it was is answered when it is further: no timer asks.
    let (known, told_at) = (std::cell::Cell::new(0.0), std::cell::Cell::new(SystemClock.wall_seconds()));
    let week = eventually("the week", Duration::from_secs(240), async || {
        let answer = ask(&format!("web/week?mode=full&after={}", known.get())).await?;
        let told = answer.json()?;
        match answer.status.as_u16() {
            202 => {
                let done = told["done"].as_f64().unwrap_or(f64::NAN);
                let further = done - known.replace(done);
                let now = SystemClock.wall_seconds();
                let waited = now - told_at.replace(now) >= 19;
                anyhow::ensure!(
                    (0.0..=1.0).contains(&done) && (further >= 0.0199 || (further >= 0.0 && waited)),
                    "{told}"
                );
            }
            200 => return Ok(Some(told)),
            other => anyhow::bail!("{other}: {told}"),
        }
        Ok(None)
    })
    .await?;
    assert_eq!((&week["mode"], &week["until"], &week["bridged"]), (&"full".into(), &until.into(), &0.into()), "{week}");
    let of = |way: &str, figure: &str| week[way][figure].as_f64().unwrap_or(f64::NAN);
    assert!(
        (of("was", "instance_hours") - 864.0).abs() < 1.0 && of("was", "above_target") == 0.0,
        "three days of twelve: {week}"
    );
    assert!(of("would", "instance_hours") < 864.0 && of("would", "above_90") < 1.0, "{week}");
    assert!(week["steps"]["detach"].as_u64() > Some(0) && week["served"][0] == 12, "{week}");
    for (of, status, part) in [
        ("web/week", 400, "must be scale-out or full"),
        ("web/week?mode=observe", 400, "must be scale-out or full"),
        ("nobody/week?mode=full", 404, "nobody"),
        ("new/week?mode=full", 422, "nothing was recorded yet"),
    ] {
        let answer = eventually(of, Duration::from_secs(60), async || {
            let answer = ask(of).await?;
            Ok((answer.status != 202).then_some(answer))
        })
        .await?;
        assert!(
            answer.status.as_u16() == status && answer.body.contains(part),
            "{of}: {} {}",
            answer.status,
            answer.body
        );
    }
    Ok(())
}
