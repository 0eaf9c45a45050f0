//! The `Clock` seam: the only place where the aggregator reads time.

use std::fmt;

use foreshadow_agent::clock::{Clock as _, HostClock};

/// Wall and boot time. Production uses [`SystemClock`]; tests and the demo bring their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Microseconds since the Unix epoch.
    fn wall_micros(&self) -> i64;

    /// Seconds since the host booted, suspended time included: no jump of the wall clock moves it.
    fn boot_seconds(&self) -> i64;

    /// Seconds since the Unix epoch, rounded down.
    fn wall_seconds(&self) -> i64 {
        self.wall_micros().div_euclid(1_000_000)
    }

    /// Both clocks at once.
    fn now(&self) -> Now {
        Now { wall: self.wall_seconds(), boot: self.boot_seconds() }
    }
}

/// One moment by two clocks. What must not end too early ends when both say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since the Unix epoch.
    pub wall: i64,
    /// Seconds since boot.
    pub boot: i64,
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_micros(&self) -> i64 {
        HostClock.wall_micros()
    }

    fn boot_seconds(&self) -> i64 {
        i64::try_from(HostClock.boot_micros() / 1_000_000).unwrap_or(i64::MAX)
    }
}
