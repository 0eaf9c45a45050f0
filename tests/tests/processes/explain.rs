//! `foreshadow explain` as a tired operator types it.

use std::process::Output;
use std::time::Duration;

use foreshadow_tests::process::{Aggregator, binary, eventually, free_port};
use foreshadow_tests::tokens::Tokens;
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
    fail(&["web", "--url", "ftp://x"], "must be http").await?;
    let (output, json, _) = explain(&["web", "--json", "--url", url, "--token-file", &token]).await?;
    assert!(output.status.success());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json)?["group"], "web");
    Ok(())
}
