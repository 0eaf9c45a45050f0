//! How fast AWS is asked. Its limits are counted by account and region over all callers, so all that this process sends there
//! (Auto Scaling, EC2, load balancers, the queue) waits by one budget: after a throttle everybody waits, longer each time, and
//! not to the same moment. What is shared is that back-off: before the first throttle nobody is slowed down or counted, and of
//! another process in the account nothing is known but the throttles it causes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_autoscaling::config::http::HttpResponse;
use aws_sdk_autoscaling::error::{ProvideErrorMetadata, SdkError};
use tokio::time::Instant;

use super::AwsFleet;
use super::fault::Fault;
use crate::fleet::Reach;
use crate::supervise::random;

/// First and longest wait after a throttle. Well below the deadline of a call.
const THROTTLED_FOR: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// A description that failed for a reason that passes is asked for this often in all.
const ATTEMPTS: u32 = 3;
/// After the first time, at most; twice that after the second.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// The budgets of an account, by region. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Budgets(Arc<Mutex<BTreeMap<String, Arc<Budget>>>>);

impl Budgets {
    pub(super) fn of(&self, region: Option<&str>) -> Arc<Budget> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(region.unwrap_or_default().to_owned()).or_default().clone()
    }
}

/// What may be sent now to one region.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Nothing is sent before.
    until: Option<Instant>,
    /// How often in a row it throttled.
    row: u32,
    throttled_at: Option<Instant>,
}

impl Budget {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn; gives when that is.
    pub async fn in_turn(&self) -> Instant {
        loop {
            let wait = self.patience();
            if wait.is_zero() {
                return Instant::now();
            }
            // Those who wait do not all come at once.
            tokio::time::sleep(wait.mul_f64(1.0 + 0.25 * dice())).await;
        }
    }

    pub fn patience(&self) -> Duration {
        let now = Instant::now();
        self.state().until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// A call that was begun then was throttled, or was not.
    pub fn heed(&self, begun: Instant, throttled: bool) {
        let mut state = self.state();
        // What was under way already when the last one was throttled says nothing new.
        let is_new = state.throttled_at.is_none_or(|at| begun >= at);
        if !throttled {
            if is_new {
                state.row = state.row.saturating_sub(1);
            }
            return;
        }
        if is_new {
            state.row += 1;
        }
        let now = Instant::now();
        let doubled = THROTTLED_FOR.0 * 2_u32.pow(state.row.saturating_sub(1).min(8));
        state.until = Some(now + THROTTLED_FOR.1.min(doubled).mul_f64(0.5 + 0.5 * dice()));
        state.throttled_at = Some(now);
        metrics::counter!("foreshadow_cloud_throttled_total").increment(1);
    }
}

/// In [0, 1].
fn dice() -> f64 {
    f64::from(u16::from_le_bytes(random())) / f64::from(u16::MAX)
}

impl AwsFleet {
    /// A description: asked again, in its turn, when the reason why it failed passes. All of it within the deadline of a call.
    pub(super) async fn read<T, E, F>(&self, ask: impl Fn() -> F) -> Result<T, Fault>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let local = self.reach == Reach::Loopback;
        let asked = async {
            let mut attempt = 1;
            loop {
                match self.change(ask()).await {
                    // A local endpoint that does not have the call will not have it a moment later.
                    Err(fault) if attempt < ATTEMPTS && fault.passes() && !fault.is_unknown_call(local) => {
                        tokio::time::sleep((AGAIN_AFTER * attempt).mul_f64(0.5 + 0.5 * dice())).await;
                        attempt += 1;
                    }
                    result => return result,
                }
            }
        };
        let deadline = self.query.deadline();
        let late = || Err(Fault::Lost(format!("no answer within {} s", deadline.as_secs())));
        tokio::time::timeout(deadline, asked).await.unwrap_or_else(|_| late())
    }

    /// A change, or one attempt at a description: sent once, in its turn.
    pub(super) async fn change<T, E>(
        &self,
        asked: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Fault>
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let begun = self.budget.in_turn().await;
        let result = asked.await.map_err(|error| Fault::from_sdk(&error));
        self.budget.heed(begun, result.as_ref().err().is_some_and(Fault::is_over_rate));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_throttled_waits_longer_each_time_and_so_does_everybody_in_that_region() {
        let budgets = Budgets::default();
        let (fleet, queue) = (budgets.of(Some("eu-west-1")), budgets.of(Some("eu-west-1")));
        for most in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            fleet.heed(Instant::now(), true);
            let (wait, most) = (queue.patience(), Duration::from_millis(most));
            // A tenth of a second for a machine that is busy.
            assert!(wait >= most / 2 - Duration::from_millis(100) && wait <= most, "{wait:?} of {most:?}");
        }
        assert_eq!(budgets.of(Some("us-east-1")).patience(), Duration::ZERO, "another region has its own");
        // It goes down as it went up: one answer does not end it.
        queue.heed(Instant::now(), false);
        fleet.heed(Instant::now(), true);
        assert!(fleet.patience() >= Duration::from_millis(4_900));
    }

    #[test]
    fn who_is_throttled_at_the_same_moment_does_not_come_back_at_the_same_moment() {
        let waits: Vec<f64> = (0..64)
            .map(|_| {
                let budget = Budget::default();
                let begun = Instant::now();
                budget.heed(begun, true);
                let until = budget.state().until.expect("it waits");
                // By its own clock, so that a busy machine spreads nothing.
                let throttled_at = budget.state().throttled_at.expect("it was throttled");
                until.duration_since(throttled_at).as_secs_f64()
            })
            .collect();
        let least = waits.iter().copied().fold(f64::INFINITY, f64::min);
        let most = waits.iter().copied().fold(0.0, f64::max);
        // Of 64 draws from half to all of it, that the outermost are this near has a chance below 1 in 10^30.
        assert!(most / least > 1.1, "{least} to {most} s");
    }

    #[test]
    fn calls_that_were_under_way_together_count_once() {
        let budget = Budget::default();
        let begun = Instant::now();
        (0..8).for_each(|_| budget.heed(begun, true));
        assert!(budget.patience() <= THROTTLED_FOR.0, "{:?}", budget.patience());
        budget.heed(begun, false);
        assert!(!budget.patience().is_zero(), "what was sent before the throttle says nothing of it");
    }
}
