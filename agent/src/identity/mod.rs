//! Which instance this is: flags, environment and file first, then the cloud's metadata service; and how it proves it
//! ([`Credentials`]).

mod credentials;
mod imds;

use foreshadow_proto::convert::Id;
use foreshadow_proto::v1;

pub use credentials::{Credentials, CredentialsError, Evidence, Proof};
pub use imds::{Metadata, metadata, watch_target_state};

/// The kernel's boot id; changes with every boot.
pub fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = read.trim();
    if Id::new("boot_id", id).is_ok() {
        return id.to_owned();
    }
    // Elsewhere the time of the boot tells boots apart.
    format!("boot-{}", sysinfo::System::boot_time().unwrap_or_default())
}

/// A name for a machine that no cloud names: its host name, made to fit.
pub fn host_id() -> String {
    let name: String = sysinfo::System::host_name()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .take(100)
        .collect();
    if name.is_empty() { "host".to_owned() } else { name }
}

/// What the host itself tells.
pub fn host_facts() -> v1::Facts {
    let memory = sysinfo::RefreshKind::nothing().with_memory(sysinfo::MemoryRefreshKind::nothing().with_ram());
    let system = sysinfo::System::new_with_specifics(memory);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    v1::Facts {
        cores: u32::try_from(cores).unwrap_or_default(),
        memory_bytes: system.map_or(0, |system| system.total_memory()),
        hostname: sysinfo::System::host_name().unwrap_or_default(),
        ..v1::Facts::default()
    }
}
