//! What a way of scaling came to: read off its cloud, the same for ours and for the reactive ones.

use planner::simulation::StrictCloud;
use planner::simulation::cloud::fault::Call;
use planner::simulation::cloud::{Carried, Effect, Lifecycle, TargetTracking};

use super::shop::{GROUP, TARGET};

/// Above this an instance is in trouble, points.
const TROUBLE: f64 = 90.0;

/// Counts from the moment it was begun.
#[derive(Debug, Clone)]
pub struct Score {
    minutes: u32,
    above_target: u32,
    above_90: u32,
    /// Instance-seconds and changes of the cloud before it was begun.
    seconds: i64,
    changes: usize,
}

/// A score in numbers. Instances, not calls.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    pub minutes: u32,
    /// Minutes in which the mean utilisation of those that serve was above the target, and above 90 %.
    pub above_target: u32,
    pub above_90: u32,
    /// Everything that ran, whatever it did: warming, draining and shadows included.
    pub instance_hours: f64,
    pub launched: usize,
    pub detached: usize,
    pub reattached: usize,
    pub terminated: usize,
}

impl Score {
    /// Begins at the cloud's present.
    pub fn begin(cloud: &StrictCloud) -> Self {
        let (seconds, changes) = (seconds(cloud), cloud.mutations().len());
        Self { minutes: 0, above_target: 0, above_90: 0, seconds, changes }
    }

    /// Takes one minute in.
    pub fn take(&mut self, carried: &Carried) {
        let serving = carried.readings.iter().filter(|it| it.lifecycle == Lifecycle::InService);
        let (sum, count) = serving.fold((0.0, 0.0), |(sum, count), it| (sum + it.utilisation, count + 1.0));
        let mean = if count > 0.0 { sum / count } else { 100.0 };
        self.minutes += 1;
        self.above_target += u32::from(mean > TARGET + 1e-9);
        self.above_90 += u32::from(mean > TROUBLE);
    }

    /// The figures, with what the cloud says of them.
    pub fn figures(&self, cloud: &StrictCloud) -> Figures {
        let changed = |calls: &[Call]| {
            let since = cloud.mutations().iter().skip(self.changes);
            let done = since.filter(|it| it.effect == Effect::Applied && calls.contains(&it.call));
            done.map(|it| it.ids.len()).sum()
        };
        #[allow(clippy::cast_precision_loss, reason = "seconds of some days")]
        let instance_hours = (seconds(cloud) - self.seconds) as f64 / 3_600.0;
        Figures {
            minutes: self.minutes,
            above_target: self.above_target,
            above_90: self.above_90,
            instance_hours,
            launched: changed(&[Call::Launch]),
            detached: changed(&[Call::Detach]),
            reattached: changed(&[Call::Attach]),
            terminated: changed(&[Call::Terminate, Call::TerminateInGroup]),
        }
    }
}

fn seconds(cloud: &StrictCloud) -> i64 {
    cloud.instance_seconds().values().sum()
}

/// The same group on the same cloud under the provider's own target tracking.
#[derive(Debug, Clone)]
pub struct Reactive {
    /// Points it tracks.
    pub target: f64,
    cloud: StrictCloud,
    score: Score,
}

impl Reactive {
    /// Goes on from a cloud as it is.
    pub fn new(mut cloud: StrictCloud, target: f64) -> Self {
        cloud.set_tracking(GROUP, Some(TargetTracking { target, scale_in: true }));
        let score = Score::begin(&cloud);
        Self { target, cloud, score }
    }

    /// The minute that ends at `now`. Its alarms see the minute before: an average takes a minute to
    /// be made.
    pub fn minute(&mut self, now: i64, demand: f64) {
        self.cloud.advance(now);
        if let Ok(carried) = self.cloud.carry(now, GROUP, demand) {
            self.score.take(&carried);
        }
    }

    pub fn figures(&self) -> Figures {
        self.score.figures(&self.cloud)
    }
}
