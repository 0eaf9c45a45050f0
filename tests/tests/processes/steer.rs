//! The words that steer, as an operator types them: durable, audited, with a reason, and refused where
//! they loosen what may not be loosened.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

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
    assert!(!refused.status.success() && said(&refused).contains("reason"), "{}", said(&refused));
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
    assert_eq!(said(&foreshadow(&url, &["resume", "--reason", "it is fine"]).await?), "everything: resumed\n");
    assert_eq!(standing(&url).await?["paused"], true, "the group was paused by itself as well");
    foreshadow(&url, &["resume", "web", "--reason", "it is fine"]).await?;
    assert_eq!(standing(&url).await?["paused"], false);

    let audit = web::get_json(&format!("{url}/audit")).await?;
    let actions: Vec<&str> =
        audit.as_array().into_iter().flatten().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions, ["resume", "resume", "pause", "pause"]);
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
        ("scale-out", "can describe the group and not change it"),
        ("fast", "expected one of `observe`, `scale-out`, `full`"),
    ] {
        let refused = foreshadow(url, &["mode", "web", mode, "--reason", "ready"]).await?;
        assert!(!refused.status.success() && said(&refused).contains(part), "{mode}: {}", said(&refused));
    }
    let tightened = foreshadow(url, &["mode", "web", "observe", "--reason", "to be sure"]).await?;
    assert_eq!(said(&tightened), "web: mode observe\n");
    assert_eq!(said(&foreshadow(url, &["journal"]).await?), "nothing was ever done\n");
    assert_eq!(said(&foreshadow(url, &["shadow"]).await?), "nothing stands in shadow\n");
    let unknown = foreshadow(url, &["shadow", "adopt", "i-9", "--reason", "a spare"]).await?;
    assert!(
        !unknown.status.success() && said(&unknown).contains("i-9 stands in no shadow session"),
        "{}",
        said(&unknown)
    );
    Ok(())
}
