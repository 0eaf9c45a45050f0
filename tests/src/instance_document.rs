//! Signed instance identity documents, by OpenSSL in the place of AWS.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use foreshadow::clock::{Clock as _, SystemClock};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A key that signs as a region does, and its certificate.
#[derive(Debug)]
pub struct Signer {
    key: PathBuf,
    pub certificate: PathBuf,
}

/// What a document says.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub account: &'a str,
    pub region: &'a str,
    pub instance: &'a str,
    /// Seconds since the instance started.
    pub age_seconds: i64,
}

async fn openssl(arguments: &[&str], input: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("openssl cannot be started: tests/run installs it")?;
    child.stdin.take().context("standard input")?.write_all(input).await?;
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

impl Signer {
    /// A key with a certificate that is good for so many days from now; one of -1 days has ended.
    pub async fn make(directory: &Path, name: &str, days: i32) -> anyhow::Result<Self> {
        let (key, certificate) = (directory.join(format!("{name}.key")), directory.join(format!("{name}.pem")));
        let (to_key, to_certificate) = (key.display().to_string(), certificate.display().to_string());
        let days = days.to_string();
        let request = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=Amazon Web Services LLC"];
        let request = openssl(&[&request[..], &["-keyout", &to_key]].concat(), &[]).await?;
        let sign = ["x509", "-req", "-days", &days, "-signkey", &to_key, "-out", &to_certificate];
        openssl(&sign, &request).await?;
        Ok(Self { key, certificate })
    }

    /// What the metadata service would give at `rsa2048`.
    pub async fn sign(&self, told: Told<'_>) -> anyhow::Result<String> {
        let started = jiff::Timestamp::from_second(SystemClock.wall_seconds() - told.age_seconds)?;
        let document = format!(
            "{{\n  \"accountId\" : \"{}\",\n  \"instanceId\" : \"{}\",\n  \"instanceType\" : \"m5.large\",\n  \
             \"pendingTime\" : \"{started}\",\n  \"region\" : \"{}\",\n  \"version\" : \"2017-09-30\"\n}}",
            told.account, told.instance, told.region
        );
        let (certificate, key) = (self.certificate.display().to_string(), self.key.display().to_string());
        let how = ["cms", "-sign", "-binary", "-stream", "-nodetach", "-nocerts", "-md", "sha256", "-outform", "DER"];
        let how = [&how[..], &["-signer", &certificate, "-inkey", &key]].concat();
        let signed = openssl(&how, document.as_bytes()).await?;
        let coded = openssl(&["base64"], &signed).await?;
        Ok(String::from_utf8(coded)?)
    }
}
