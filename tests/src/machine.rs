//! This host by itself: the figures the agent's are compared with, and load to compare them under.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use foreshadow_agent::clock::{Clock as _, HostClock};
use tokio::process::{Child, Command};

/// Jiffies of all processors since boot, from the first line of `/proc/stat` (proc(5)).
#[derive(Debug, Clone, Copy)]
pub struct Jiffies {
    busy: u64,
    all: u64,
}

impl Jiffies {
    pub fn read() -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().context("/proc/stat is empty")?;
        let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest time is within user time.
        let at = |index: usize| fields.get(index).copied().unwrap_or_default();
        let busy = at(0) + at(1) + at(2) + at(5) + at(6);
        Ok(Self { busy, all: busy + at(3) + at(4) + at(7) })
    }

    /// Busy percent since an earlier reading, steal not included.
    pub fn busy_percent_since(self, earlier: Self) -> f64 {
        let all = (self.all - earlier.all).max(1) as f64;
        100.0 * (self.busy - earlier.busy) as f64 / all
    }
}

/// Readings every few milliseconds, so that any window can be compared to the very moment.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<(i64, Jiffies)>>>);

impl Recorder {
    /// Reads until dropped with the runtime.
    pub fn start() -> Self {
        let recorder = Self::default();
        let records = recorder.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(Duration::from_millis(20));
            loop {
                every.tick().await;
                if let Ok(read) = Jiffies::read() {
                    records.0.lock().unwrap_or_else(PoisonError::into_inner).push((HostClock.wall_micros(), read));
                }
            }
        });
        recorder
    }

    /// Busy percent between two moments, µs since the epoch.
    pub fn busy_percent(&self, from: i64, to: i64) -> anyhow::Result<f64> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |moment: i64| {
            let nearest = records.iter().min_by_key(|(at, _)| (at - moment).abs());
            nearest.filter(|(at, _)| (at - moment).abs() < 500_000).map(|(_, read)| *read).context("not recorded")
        };
        Ok(at(to)?.busy_percent_since(at(from)?))
    }
}

/// A process that keeps one processor busy until dropped.
pub fn burn() -> anyhow::Result<Child> {
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do :; done"]).stdin(Stdio::null()).kill_on_drop(true);
    command.spawn().context("no load could be started")
}

/// CPU time a process has used so far, by all its threads that still live (proc(5), schedstat: ns).
pub fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += text.split_whitespace().next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Resident memory of a process, bytes.
pub fn resident_bytes(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1_024)
}
