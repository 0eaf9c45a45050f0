//! An instance enrols by the identity document that EC2 signs: the real agent, a metadata service, and OpenSSL in the
//! place of AWS. Everything that a document could be instead is refused.

use std::time::Duration;

use anyhow::Context as _;
use foreshadow_tests::installation::Installation;
use foreshadow_tests::instance_document::{Signer, Told};
use foreshadow_tests::metadata::Metadata;
use foreshadow_tests::process::{Process, binary, eventually};
use foreshadow_tests::trust::{Held, code, enrol_with};
use http::Method;
use rcgen::KeyPair;
use tokio::process::Command;
use tonic::Code;

const ACCOUNT: &str = "123456789012";

fn told(instance: &str) -> Told<'_> {
    Told { account: ACCOUNT, region: "eu-west-1", instance, age_seconds: 60 }
}

#[tokio::test]
async fn an_instance_enrols_once_by_what_its_cloud_signs() -> anyhow::Result<()> {
    let beside = tempfile::tempdir()?;
    let path = |name: &str| beside.path().join(name);
    let region = Signer::make(beside.path(), "eu-west-1", 30).await?;
    let ended = Signer::make(beside.path(), "eu-west-2", -1).await?;
    let forger = Signer::make(beside.path(), "forger", 30).await?;
    std::fs::write(path("groups.toml"), "[group.web]\ninstances = [\"i-1\", \"i-2\", \"i-3\"]\n")?;
    let config = format!(
        "[identity.aws]\naccounts = [\"{ACCOUNT}\"]\nregions = [\"eu-west-1\", \"eu-west-2\"]\ncertificates = \"{}\"\n\
         longest_age_seconds = 3600\n[inventory]\nfile = \"{}\"\ninterval_seconds = 5\n",
        beside.path().display(),
        path("groups.toml").display()
    );
    let there = Installation::start(&config).await?;
    let key = KeyPair::generate()?;
    let enrol = async |instance: &str, key: &KeyPair, token: &str, document: &str| -> Result<Held, tonic::Status> {
        enrol_with(there.url(), &there.shown.ca, instance, key, (token, document)).await
    };
    let good = region.sign(told("i-1")).await?;

    // Everything that lets nobody in.
    let altered = {
        let at = good.len() / 8;
        let other = if good.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{}{other}{}", &good[..at], &good[at + 1..])
    };
    let refused = Some(Code::PermissionDenied);
    for (what, instance, document, expected) in [
        ("signed by somebody else", "i-1", forger.sign(told("i-1")).await?, refused),
        ("altered", "i-1", altered, refused),
        ("cut off", "i-1", good[..good.len() / 2].to_owned(), refused),
        ("another account", "i-1", region.sign(Told { account: "210987654321", ..told("i-1") }).await?, refused),
        ("a region that is not taken", "i-1", region.sign(Told { region: "us-east-1", ..told("i-1") }).await?, refused),
        ("another region's key", "i-1", region.sign(Told { region: "eu-west-2", ..told("i-1") }).await?, refused),
        ("a certificate that ended", "i-1", ended.sign(Told { region: "eu-west-2", ..told("i-1") }).await?, refused),
        ("another's document", "i-2", good.clone(), refused),
        ("long after its start", "i-1", region.sign(Told { age_seconds: 7_200, ..told("i-1") }).await?, refused),
        ("started tomorrow", "i-1", region.sign(Told { age_seconds: -86_400, ..told("i-1") }).await?, refused),
        ("nonsense", "i-1", "nonsense".to_owned(), refused),
        ("too long", "i-1", "A".repeat(9_000), refused),
        ("in no group", "i-9", region.sign(told("i-9")).await?, Some(Code::FailedPrecondition)),
    ] {
        assert_eq!(code(&enrol(instance, &key, "", &document).await), expected, "{what}");
    }
    let token = there.join_token(1).await?;
    assert_eq!(code(&enrol("i-1", &key, &token, &good).await), Some(Code::InvalidArgument), "both at once");
    let listed = there.ask("operator", Method::GET, "/certificates", "").await?;
    assert_eq!(listed.json()?.as_array().map(Vec::len), Some(0), "{}", listed.body);
    assert_eq!(there.metric("foreshadow_second_claims_total").await?, 0.0);

    // The real agent, by its metadata service.
    let metadata = Metadata::start("i-1").await?;
    metadata.set_document(&good);
    let start = |name: &str, own: &str| {
        let mut command = Command::new(binary("foreshadow-agent")?);
        command.args(["--aggregator", there.url(), "--instance-document"]);
        command.arg("--ca").arg(&there.shown.ca).arg("--identity").arg(path(own));
        command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url);
        Process::start(name, command, beside.path())
    };
    let agent = start("agent", "own")?;
    let streams = async || {
        eventually("its samples are its own", Duration::from_secs(30), async || {
            let group = there.ask("viewer", Method::GET, "/groups/web", "").await?.json()?;
            let members = group["members"].as_array().context("members")?;
            let own = members.iter().find(|member| member["instance"] == "i-1").context("i-1")?;
            Ok((own["connected"] == true && own["proven"] == true).then_some(()))
        })
        .await
    };
    streams().await.with_context(|| agent.output())?;
    let listed = there.ask("operator", Method::GET, "/certificates", "").await?.json()?;
    assert_eq!(listed[0]["join_token"], format!("aws:{ACCOUNT}:eu-west-1"), "{listed}");

    // The same document in other hands: refused, counted, shown, written down, and the first is not disturbed.
    assert_eq!(code(&enrol("i-1", &key, "", &good).await), Some(Code::AlreadyExists));
    assert_eq!(there.metric("foreshadow_second_claims_with_document_total").await?, 1.0);
    let ready = there.ask("viewer", Method::GET, "/readyz", "").await?;
    assert!(ready.body.contains("with an instance identity document"), "{}", ready.body);
    let audit = there.ask("operator", Method::GET, "/audit", "").await?.body;
    assert!(audit.contains(&format!("i-1 with instance identity document aws:{ACCOUNT}:eu-west-1")), "{audit}");

    // By its key alone it comes back, without asking its cloud again.
    assert!(agent.terminate().await?.success());
    metadata.set_document("gone");
    let agent = start("agent", "own")?;
    streams().await.with_context(|| agent.output())?;
    assert!(agent.terminate().await?.success());
    Ok(())
}
