//! A full disk: nothing is acknowledged, the reason is shown, and nothing crashes or is lost.

use std::sync::Arc;
use std::time::Duration;

use foreshadow_tests::fleet::{Fleet, Script};
use foreshadow_tests::oracle::Oracle;
use foreshadow_tests::process::{Aggregator, eventually};
use foreshadow_tests::web;
use tokio::process::Command;

use super::faults::privileged;

/// A small file system of its own, gone when dropped.
pub struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// `None` for who may not mount, which is said.
    pub async fn mount(path: std::path::PathBuf, size: &str) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(&path)?;
        let (size, at) = (format!("size={size}"), path.display().to_string());
        Ok(privileged("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &at]).await?.then_some(Self(path)))
    }

    /// Takes whatever is left of it, and of what was given free since it last did; the file that does, to be removed.
    pub async fn fill(&self) -> anyhow::Result<std::path::PathBuf> {
        let filler = self.0.join("filler");
        let mut command = Command::new("dd");
        command.arg("if=/dev/zero").arg(format!("of={}", filler.display())).args([
            "bs=1k",
            "oflag=append",
            "conv=notrunc",
            "status=none",
        ]);
        command.stderr(std::process::Stdio::null()).status().await?;
        Ok(filler)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.0.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_acknowledges_nothing_and_says_so() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(directory.path().join("data"), "3m").await? else {
        return Ok(());
    };
    let aggregator = Aggregator::start(directory.path(), "").await?;
    let oracle = Oracle::start(&aggregator.url).await?;
    let fleet = Fleet::start(&Script {
        aggregator: oracle.url.clone(),
        instances: (0..10).map(|number| format!("i-{number}")).collect(),
        group: "web".to_owned(),
        instance_type: String::new(),
        interval: Duration::from_millis(100),
        load: Arc::new(|_, _| 40.0),
    })?;
    eventually("acknowledgements flow", Duration::from_secs(20), async || {
        Ok((oracle.acknowledged() > 200).then_some(()))
    })
    .await?;
    let filler = disk.fill().await?;

    let ready = format!("{}/readyz", aggregator.url);
    let refused = eventually("the health says that the store refuses", Duration::from_secs(40), async || {
        let answer = web::get(&ready).await?;
        Ok((answer.status == 503).then_some(answer.body))
    })
    .await?;
    assert!(refused.contains("the store refuses samples") && refused.contains("full"), "{refused}");
    let alive = web::get(&format!("{}/healthz", aggregator.url)).await?;
    assert_eq!(alive.status, 200);
    let while_full = oracle.acknowledged();
    foreshadow_tests::process::pause(Duration::from_secs(3)).await;
    assert_eq!(oracle.acknowledged(), while_full, "nothing is acknowledged that is not durable");

    std::fs::remove_file(&filler)?;
    eventually("it takes samples again", Duration::from_secs(40), async || {
        let answer = web::get(&ready).await?;
        Ok((answer.status == 200 && oracle.acknowledged() > while_full + 200).then_some(()))
    })
    .await?;
    let dropped: u64 = fleet.seen().iter().map(|agent| agent.dropped).sum();
    drop(fleet);
    let count = oracle.judge(&aggregator.url).await?;
    println!("{count:?}, {dropped} dropped");
    assert_eq!(dropped, 0);
    assert!(aggregator.process.terminate().await?.success());
    Ok(())
}
