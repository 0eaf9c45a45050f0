//! How fast AWS is asked. Its limits are counted by account and region over all callers, so all that this process sends there
//! (Auto Scaling, EC2, load balancers, the queue) takes from one bucket of calls, as AWS itself counts them
//! (<https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html>): `calls_per_second` come back, and five seconds'
//! worth may be sent at once. After a throttle the bucket is empty, it fills half as fast, everybody waits, longer each time, and
//! not to the same moment; each answer after it brings some of the pace back (additive increase, multiplicative decrease). Of
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

/// What EC2 grants an account for descriptions that it bounds.
pub const CALLS_PER_SECOND: u32 = 20;
/// As many calls as come back in this time may be sent at once, seconds: EC2's own buckets hold 100 and get 20 a second back.
const BURST_SECONDS: f64 = 5.0;
/// However often it throttles, a call every two seconds goes out.
const SLOWEST: f64 = 0.5;
/// Calls a second that an answer brings back.
const REGAINED: f64 = 0.5;

/// The budgets of an account, by region. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Budgets {
    calls_per_second: u32,
    by_region: Arc<Mutex<BTreeMap<String, Arc<Budget>>>>,
}

impl Budgets {
    pub fn new(calls_per_second: u32) -> Self {
        Self { calls_per_second, by_region: Arc::default() }
    }

    pub(super) fn of(&self, region: Option<&str>) -> Arc<Budget> {
        let mut all = self.by_region.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = || Arc::new(Budget::new(self.calls_per_second));
        all.entry(region.unwrap_or_default().to_owned()).or_insert_with(budget).clone()
    }
}

impl Default for Budgets {
    fn default() -> Self {
        Self::new(CALLS_PER_SECOND)
    }
}

/// What may be sent now to one region.
#[derive(Debug)]
pub(super) struct Budget(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Calls a second while nothing is throttled.
    allowed: f64,
    /// Calls that come back a second now.
    pace: f64,
    /// Calls that may be sent, and when that was.
    calls: f64,
    at: Instant,
    /// Nothing is sent before.
    until: Option<Instant>,
    /// How often in a row it throttled.
    row: u32,
    throttled_at: Option<Instant>,
}

impl State {
    fn new(calls_per_second: u32, now: Instant) -> Self {
        let allowed = f64::from(calls_per_second);
        let calls = BURST_SECONDS * allowed;
        Self { allowed, pace: allowed, calls, at: now, until: None, row: 0, throttled_at: None }
    }

    /// A call, or how long there is none.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let back = now.saturating_duration_since(self.at).as_secs_f64() * self.pace;
        (self.calls, self.at) = ((self.calls + back).min(BURST_SECONDS * self.allowed), now);
        let held = self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        // Up to a microsecond, which is no time to wait.
        let lacking = (1.0 - self.calls - 1e-6).max(0.0);
        let wait = held.max(Duration::from_secs_f64(lacking / self.pace));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.calls -= 1.0;
        Ok(())
    }

    /// A call that was begun then was throttled, or was not.
    fn heed(&mut self, begun: Instant, throttled: bool, now: Instant) {
        // What was under way already when the last one was throttled says nothing new.
        let is_new = self.throttled_at.is_none_or(|at| begun >= at);
        if !throttled {
            if is_new {
                self.row = self.row.saturating_sub(1);
                self.pace = (self.pace + REGAINED).min(self.allowed);
            }
            return;
        }
        if is_new {
            self.row += 1;
            self.pace = (self.pace / 2.0).max(SLOWEST);
        }
        let doubled = THROTTLED_FOR.0 * 2_u32.pow(self.row.saturating_sub(1).min(8));
        self.until = Some(now + THROTTLED_FOR.1.min(doubled).mul_f64(0.5 + 0.5 * dice()));
        (self.calls, self.at, self.throttled_at) = (0.0, now, Some(now));
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(CALLS_PER_SECOND)
    }
}

impl Budget {
    fn new(calls_per_second: u32) -> Self {
        Self(Mutex::new(State::new(calls_per_second, Instant::now())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn; gives when that is.
    pub async fn in_turn(&self) -> Instant {
        let mut waited = false;
        loop {
            let now = Instant::now();
            let Err(wait) = self.state().take(now) else { return now };
            if !std::mem::replace(&mut waited, true) {
                metrics::counter!("foreshadow_cloud_calls_delayed_total").increment(1);
            }
            // Those who wait do not all come at once.
            tokio::time::sleep(wait.mul_f64(1.0 + 0.25 * dice())).await;
        }
    }

    /// A call that was begun then was throttled, or was not.
    pub fn heed(&self, begun: Instant, throttled: bool) {
        self.state().heed(begun, throttled, Instant::now());
        if throttled {
            metrics::counter!("foreshadow_cloud_throttled_total").increment(1);
        }
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

    impl Budget {
        fn patience(&self) -> Duration {
            self.state().until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// How long it takes until so many more went out.
    fn sent(state: &mut State, now: &mut Instant, calls: u32) -> Duration {
        let begun = *now;
        for _ in 0..calls {
            while let Err(wait) = state.take(*now) {
                *now += wait;
            }
        }
        now.duration_since(begun)
    }

    #[test]
    fn calls_are_counted_before_anything_is_throttled() {
        let mut now = Instant::now();
        let mut state = State::new(20, now);
        assert_eq!(sent(&mut state, &mut now, 100), Duration::ZERO, "five seconds' worth at once");
        let waited = sent(&mut state, &mut now, 40).as_secs_f64();
        assert!((waited - 2.0).abs() < 1e-3, "{waited} s");
        now += 3_600 * SECOND;
        assert_eq!(sent(&mut state, &mut now, 100), Duration::ZERO);
        let waited = sent(&mut state, &mut now, 1).as_secs_f64();
        assert!((waited - 0.05).abs() < 1e-3, "an hour of silence saves up no more than five seconds: {waited} s");
    }

    #[tokio::test]
    async fn whoever_finds_it_empty_waits_for_the_next() {
        let budget = Budget::default();
        budget.state().calls = 0.5;
        let begun = Instant::now();
        budget.in_turn().await;
        assert!(begun.elapsed() >= Duration::from_millis(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_throttle_halves_the_pace_and_answers_bring_it_back() {
        let mut now = Instant::now();
        let mut state = State::new(20, now);
        for pace in [10.0, 5.0, 2.5, 1.25, 0.625, SLOWEST, SLOWEST] {
            now += 20 * SECOND;
            state.heed(now, true, now);
            assert_eq!((state.pace, state.calls), (pace, 0.0));
        }
        now += 10 * SECOND;
        // Five came back meanwhile, and one comes every two seconds.
        let waited = sent(&mut state, &mut now, 10).as_secs_f64();
        assert!((waited - 10.0).abs() < 0.1, "{waited} s");
        (0..39).for_each(|_| state.heed(now, false, now));
        assert_eq!(state.pace, 20.0);
        state.heed(now, false, now);
        assert_eq!(state.pace, 20.0, "no faster than is allowed");
    }

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
