//! Reading the host: the `Sampler` seam, what one reading is, and the rates between two readings.

#[cfg(target_os = "linux")]
mod linux;
mod portable;
mod rates;

use std::collections::BTreeMap;
use std::fmt;

#[cfg(target_os = "linux")]
pub use linux::ProcSampler;
pub use portable::SysinfoSampler;
pub use rates::{Rates, rates};

/// Ticks of one processor since boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// Everything but idle, waiting and stolen time.
    pub busy: u64,
    /// Idle and waiting for IO.
    pub idle: u64,
    /// Stolen by the hypervisor.
    pub steal: u64,
}

/// Counters of one network interface since it came up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    pub in_bytes: u64,
    pub out_bytes: u64,
    pub in_packets: u64,
    pub out_packets: u64,
    pub errors: u64,
}

/// CPU as the host tells it: counters, or percentages where it tells nothing better.
#[derive(Debug, Clone, PartialEq)]
pub enum CpuReading {
    Ticks { total: CpuTicks, cores: Vec<CpuTicks>, knows_steal: bool },
    Percent { total: f64, busiest: f64 },
}

/// One look at the host. What could not be read is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    pub cpu: Option<CpuReading>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    /// By interface name; physical ones only.
    pub interfaces: Option<BTreeMap<String, InterfaceCounters>>,
}

/// Reads the host. Implementations keep files open and never fail: what cannot be read is absent.
pub trait Sampler: fmt::Debug + Send {
    fn read(&mut self) -> Reading;
}

/// The best sampler of this host.
pub fn host_sampler() -> Result<Box<dyn Sampler>, sysinfo::Error> {
    #[cfg(target_os = "linux")]
    match ProcSampler::open() {
        Ok(sampler) => return Ok(Box::new(sampler)),
        Err(error) => tracing::warn!(%error, "/proc cannot be read; sampling with sysinfo"),
    }
    Ok(Box::new(SysinfoSampler::open()?))
}
