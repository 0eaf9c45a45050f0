//! Any host that sysinfo knows: CPU and memory. Network is read on Linux only, for now; elsewhere
//! it is absent, which is not zero.

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::{CpuReading, Reading, Sampler};

/// Reads through sysinfo.
#[derive(Debug)]
pub struct SysinfoSampler {
    system: System,
    /// The first CPU refresh has nothing to compare with.
    primed: bool,
}

impl SysinfoSampler {
    /// Fails where sysinfo does not know the host.
    pub fn open() -> Result<Self, sysinfo::Error> {
        let kinds = RefreshKind::nothing()
            .with_cpu(CpuRefreshKind::nothing().with_usage())
            .with_memory(MemoryRefreshKind::nothing().with_ram());
        Ok(Self { system: System::new_with_specifics(kinds)?, primed: false })
    }
}

impl Sampler for SysinfoSampler {
    fn read(&mut self) -> Reading {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let cores = self.system.cpus().iter().map(|cpu| f64::from(cpu.usage()));
        let cpu = self.primed.then(|| CpuReading::Percent {
            total: f64::from(self.system.global_cpu_usage()),
            busiest: cores.fold(0.0, f64::max),
        });
        self.primed = true;
        let total = Some(self.system.total_memory()).filter(|bytes| *bytes > 0);
        Reading {
            cpu,
            memory_used_bytes: total.map(|total| total.saturating_sub(self.system.available_memory())),
            memory_total_bytes: total,
            interfaces: None,
        }
    }
}
