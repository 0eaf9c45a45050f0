//! What a service manager's watchdog is told: that plans are being made. It is fed by the rounds themselves, as each comes to its end, and by
//! nothing else: a process that still answers and plans nothing is worth no more than one that is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// A round is made every ten seconds, and may take this long, seconds.
pub const LATE_SECONDS: i64 = 90;

/// When a round ended last. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Heartbeat(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ended: AtomicU64,
    /// Seconds since boot.
    last: AtomicI64,
}

impl Heartbeat {
    /// A round ended, of one group or of all. `now` in seconds since boot.
    pub fn beat(&self, now: i64) {
        self.0.last.store(now, Ordering::Relaxed);
        self.0.ended.fetch_add(1, Ordering::Release);
    }

    /// How many ended.
    pub fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Whether one ended lately. Before the first one has, nothing is known to go on.
    pub fn is_beating(&self, now: i64) -> bool {
        self.ended() > 0 && now - self.0.last.load(Ordering::Relaxed) <= LATE_SECONDS
    }
}

/// How often the watchdog of the service manager wants to hear, if there is one: three times within its limit.
pub fn wanted() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|within| (within / 3).max(Duration::from_millis(100)))
}

/// Tells the watchdog while the rounds go on, until it is told to stop.
pub async fn run(heartbeat: Heartbeat, every: Duration, clock: Arc<dyn Clock>, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => tell(&heartbeat, clock.boot_seconds(), || {
                drop(sd_notify::notify(&[sd_notify::NotifyState::Watchdog]));
            }),
        }
    }
}

fn tell(heartbeat: &Heartbeat, now: i64, ping: impl FnOnce()) {
    if heartbeat.is_beating(now) {
        ping();
    } else if heartbeat.ended() > 0 {
        tracing::error!(LATE_SECONDS, "no round came to its end: the watchdog is not told that all is well");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rounds_that_end_reach_the_watchdog() {
        let heartbeat = Heartbeat::default();
        let mut told = 0;
        let mut at = |heartbeat: &Heartbeat, now: i64| {
            tell(heartbeat, now, || told += 1);
            std::mem::take(&mut told)
        };
        assert_eq!(at(&heartbeat, 1), 0, "none ended yet");
        heartbeat.beat(10);
        assert_eq!((at(&heartbeat, 10), at(&heartbeat, 10 + LATE_SECONDS)), (1, 1));
        // The loop is stalled: time goes on, and no round ends.
        assert_eq!((at(&heartbeat, 11 + LATE_SECONDS), at(&heartbeat, 100_000)), (0, 0));
        heartbeat.beat(100_001);
        assert_eq!(at(&heartbeat, 100_002), 1);
    }
}
