//! `foreshadow explain` as a tired operator types it.

use std::process::Output;
use std::time::Duration;

use foreshadow_agent::clock::{Clock as _, HostClock};
use foreshadow_tests::process::{Aggregator, binary, eventually, free_port};
use foreshadow_tests::tokens::Tokens;
use foreshadow_tests::web::get_json;
use serde_json::Value;
use tokio::process::Command;

async fn explain(arguments: &[&str]) -> anyhow::Result<(Output, String, String)> {
    let output = Command::new(binary("foreshadow")?).arg("explain").args(arguments).output().await?;
    let (said, wrong) = (String::from_utf8(output.stdout.clone())?, String::from_utf8(output.stderr.clone())?);
    Ok((output, said, wrong))
}

#[tokio::test]
async fn a_plan_is_explained_or_the_reason_why_not_is_said() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let tokens = Tokens::make(directory.path()).await?;
    let inventory = directory.path().join("inventory.toml");
    std::fs::write(&inventory, "[group.web]\nminimum = 1\nmaximum = 5\ninstances = [\"i-1\", \"i-2\"]\n")?;
    let config = format!(
        "[identity]\ntokens = \"{}\"\n[inventory]\nwarm_up_seconds = 0\nfile = \"{}\"\n",
        tokens.file.display(),
        inventory.display()
    );
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let token = tokens.write("viewer")?.display().to_string();
    let with = |group: &'static str| [group, "--url", &aggregator.url, "--token-file", &token].map(str::to_owned);
    let said = eventually("a plan", Duration::from_secs(30), async || {
        let arguments = with("web");
        let (output, said, _) = explain(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        Ok(output.status.success().then_some(said))
    })
    .await?;
    for part in ["web: mode observe, plan ", "2 serving, 0 warming; ? needed now", "NoEvidence", "absent is not zero"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let fail = async |arguments: &[&str], expected: &str| {
        let (output, said, wrong) = explain(arguments).await?;
        assert_eq!(output.status.code(), Some(1), "{said}{wrong}");
        assert!(wrong.contains(expected), "{expected} in {wrong}");
        anyhow::Ok(())
    };
    let url = aggregator.url.as_str();
    fail(&["web", "--url", url], "not let in").await?;
    fail(&["nobody", "--url", url, "--token-file", &token], "GET /groups lists the known ones").await?;
    fail(&["web", "--generation", "999999", "--url", url, "--token-file", &token], "is not kept").await?;
    let nowhere = format!("http://127.0.0.1:{}", free_port()?);
    fail(&["web", "--url", &nowhere], "does the aggregator run?").await?;
    let (wrong, _, told) = explain(&["web", "--url", "ftp://x"]).await?;
    assert!(wrong.status.code() == Some(64) && told.contains("must be http://HOST:PORT"), "{told}");
    let (output, json, _) = explain(&["web", "--json", "--url", url, "--token-file", &token]).await?;
    assert!(output.status.success());
    assert_eq!(serde_json::from_str::<Value>(&json)?["group"], "web");
    Ok(())
}

/// Two records: the older one is found by its generation and by its time, and what the plan log does not have is told from the
/// record of the decision.
#[tokio::test]
async fn an_older_plan_is_found_by_its_generation_and_by_its_time() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let inventory = directory.path().join("inventory.toml");
    std::fs::write(&inventory, "[group.web]\nminimum = 1\nmaximum = 5\ninstances = [\"i-1\", \"i-2\"]\n")?;
    let config = format!("[inventory]\nwarm_up_seconds = 0\nfile = \"{}\"\n", inventory.display());
    let port = free_port()?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let address = aggregator.url.clone();
    let url = address.as_str();
    // (generation, made_at) of the decisions that are kept, the newest first.
    let kept = async |count: usize| {
        eventually(&format!("{count} decisions"), Duration::from_secs(60), async || {
            let kept = get_json(&format!("{url}/decisions?group=web")).await?;
            let number = |it: &Value, field: &str| it[field].as_u64().unwrap_or_default();
            let all = kept.as_array().into_iter().flatten();
            let all: Vec<_> = all.map(|it| (number(it, "generation"), number(it, "made_at"))).collect();
            Ok((all.len() == count).then_some(all))
        })
        .await
    };
    let (generation, made_at) = kept(1).await?[0];
    let (_, record, _) = explain(&["web", "--record", "--url", url]).await?;
    let path = format!("{url}/plans/{generation}?group=web");
    let plan = get_json(&path).await?;
    assert_eq!(plan["generation"], generation, "{plan:#}");
    assert!(aggregator.process.terminate().await?.success());

    // The first decision after a start is always recorded, and a second apart a time tells them apart.
    eventually("the next second", Duration::from_secs(60), async || {
        Ok((HostClock.wall_micros() / 1_000_000 > i64::try_from(made_at)?).then_some(()))
    })
    .await?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let both = kept(2).await?;
    assert!(both[0].0 > generation && both[0].1 > made_at && both[1] == (generation, made_at), "{both:?}");
    let (number, at) = (generation.to_string(), made_at.to_string());
    for asked in [["--generation", number.as_str()], ["--at", at.as_str()]] {
        let (output, said, wrong) = explain(&["web", asked[0], asked[1], "--url", url]).await?;
        assert!(output.status.success(), "{asked:?}: {wrong}");
        for part in [format!("web: mode observe, plan {generation} of"), "made from\n".to_owned()] {
            assert!(said.contains(&part), "{asked:?}: {part} in\n{said}");
        }
    }
    let (_, again, _) = explain(&["web", "--at", &at, "--record", "--url", url]).await?;
    assert_eq!(again, record, "the record of that time, and not the newest");
    let (_, newest, _) = explain(&["web", "--generation", &both[0].0.to_string(), "--url", url]).await?;
    assert!(newest.contains(&format!("plan {} of", both[0].0)), "{newest}");
    assert!(aggregator.process.terminate().await?.success());

    // As it is with a plan that acts and says what the one before said: nothing of it in the plan log.
    let store = format!("sqlite://{}", directory.path().join("data/foreshadow.db").display());
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&store).await?;
    let deleted = sqlx::query("DELETE FROM plan WHERE generation = $1")
        .bind(i64::try_from(generation)?)
        .execute(&mut connection)
        .await?;
    assert_eq!(deleted.rows_affected(), 1);
    let begun = serde_json::json!({
        "token": "0123", "group": "web", "generation": generation, "step": 0, "epoch": 1, "action": "launch", "count": 1,
        "size": 3, "written_at": made_at, "valid_until": made_at + 60,
    });
    let written = sqlx::query(
        "INSERT INTO intent (token, group_name, generation, step, epoch, body, reason, written_at, settled_at, settled)
        VALUES ('0123', 'web', $1, 0, 1, $2, 'needed', $3, $3, '{\"settled\":\"done\",\"instances\":[\"i-3\"]}')",
    );
    let written = written.bind(i64::try_from(generation)?).bind(begun.to_string()).bind(i64::try_from(made_at)?);
    written.execute(&mut connection).await?;
    sqlx::Connection::close(connection).await?;
    let aggregator = Aggregator::start_on(directory.path(), &config, port, &[]).await?;
    let newest = kept(3).await?[0].0;
    assert_eq!(get_json(&path).await?, plan, "the same, from the record");
    let calls = async |generation: u64| {
        let decision = get_json(&format!("{url}/decisions/{generation}?group=web")).await?;
        anyhow::Ok(decision["calls"].as_array().cloned().expect("calls"))
    };
    let (led_to, none) = (calls(generation).await?, calls(newest).await?);
    assert!(led_to.len() == 1 && led_to[0]["token"] == "0123" && none.is_empty(), "{led_to:?} {none:?}");
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}

/// What was decided is kept with its evidence, told by time, and decided again, to the byte.
#[tokio::test]
async fn a_decision_is_found_by_its_time_and_replayed_byte_for_byte() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let inventory = directory.path().join("inventory.toml");
    std::fs::write(&inventory, "[group.web]\nminimum = 1\nmaximum = 5\ninstances = [\"i-1\", \"i-2\"]\n")?;
    let config = format!("[inventory]\nwarm_up_seconds = 0\nfile = \"{}\"\n", inventory.display());
    let aggregator = Aggregator::start(directory.path(), &config).await?;
    let url = aggregator.url.as_str();
    let record = eventually("a decision", Duration::from_secs(30), async || {
        let (output, said, _) = explain(&["web", "--record", "--url", url]).await?;
        Ok(output.status.success().then_some(said))
    })
    .await?;
    let value: Value = serde_json::from_str(&record)?;
    let generation = value["decision"]["plan"]["generation"].as_u64().expect("a generation");
    let now = (value["decision"]["plan"]["made_at"].as_i64().expect("a time") + 1).to_string();
    let (_, said, _) = explain(&["web", "--at", &now, "--url", url]).await?;
    for part in [&format!("web: mode observe, plan {generation} of"), "made from", "an inventory complete"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let (output, _, wrong) = explain(&["web", "--at", "2001-01-01T00:00:00Z", "--url", url]).await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(wrong.contains("no plan is kept"), "{wrong}");
    let kept: Value = get_json(&format!("{url}/decisions?group=web")).await?;
    assert_eq!(kept[0]["generation"], generation, "{kept}");

    let file = directory.path().join("record.json");
    let replay = async |text: &str| {
        std::fs::write(&file, text)?;
        let output = Command::new(binary("foreshadow")?).arg("replay").arg(&file).output().await?;
        let said = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
        anyhow::Ok((output.status.code(), said))
    };
    let (code, said) = replay(&format!("{record}[{record},{record}]")).await?;
    assert_eq!((code, said.matches("the same, byte for byte").count()), (Some(0), 3), "{said}");
    let mut other = value.clone();
    other["decision"]["policy"]["minimum"] = 4.into();
    other["decision"]["evidence"]["conditions"]["paused"] = true.into();
    let (code, said) = replay(&other.to_string()).await?;
    assert_eq!(code, Some(1), "{said}");
    let mut told = Command::new(binary("foreshadow")?);
    let told = told.args(["replay", "--json"]).arg(&file).output().await?;
    let records: Value = serde_json::from_slice(&told.stdout)?;
    assert_eq!((told.status.code(), &records[0]["same"]), (Some(1), &false.into()), "{records}");
    assert!(records[0]["difference"].as_str().is_some_and(|text| said.contains(text)), "{records}");
    for part in ["--- recorded", "+++ replayed", "Paused", "1 of 1 records give another plan"] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let mut later = value;
    later["decision"]["format"] = 99.into();
    for (text, part) in [
        (later.to_string().as_str(), "has the layout 99"),
        ("{}", "record.json: record 1: is no record of a decision: missing field"),
        ("", "holds no record"),
        ("{", "is no JSON"),
    ] {
        let (code, said) = replay(text).await?;
        assert!(code == Some(1) && said.contains(part), "{part} in {said}");
    }
    Ok(())
}
