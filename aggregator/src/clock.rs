//! The `Clock` seam: the only place where the aggregator reads time.

use std::fmt;

/// Wall and boot time. Production uses [`SystemClock`]; tests and the demo bring their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Microseconds since the Unix epoch.
    fn wall_micros(&self) -> i64;

    /// Seconds since the Unix epoch, rounded down.
    fn wall_seconds(&self) -> i64 {
        self.wall_micros().div_euclid(1_000_000)
    }
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall_micros(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    }
}
