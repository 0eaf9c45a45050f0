//! The `Clock` and randomness seams: the only places where the agent reads time or dice.

use std::fmt;

/// Wall time, and time since boot that goes on while the host is suspended.
pub trait Clock: fmt::Debug + Send {
    /// Microseconds since the Unix epoch.
    fn wall_micros(&self) -> i64;
    /// Microseconds since boot, suspended time included.
    fn boot_micros(&self) -> u64;
}

/// The host's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostClock;

impl Clock for HostClock {
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall_micros(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }

    #[cfg(target_os = "linux")]
    fn boot_micros(&self) -> u64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        seconds * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000
    }

    #[cfg(not(target_os = "linux"))]
    fn boot_micros(&self) -> u64 {
        sysinfo::System::uptime().unwrap_or_default() * 1_000_000
    }
}

/// Random bytes for stream ids and jitter.
#[allow(clippy::disallowed_methods, reason = "this is the seam")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Two lives of the buffer must not share an id; the two clocks together never repeat either.
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the system gives no random bytes; ids come from the clock");
        let clock = HostClock;
        let seed = [clock.wall_micros().to_le_bytes(), clock.boot_micros().to_le_bytes()].concat();
        bytes.iter_mut().zip(seed.iter().cycle()).for_each(|(to, from)| *to = *from);
    }
    bytes
}
