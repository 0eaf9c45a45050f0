//! A group that its provider's own target tracking scales by itself.

use super::load::{Load, Seeded};
use crate::demand::InstanceMode;

/// One instance of the simulated group.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedInstance {
    pub id: String,
    pub mode: InstanceMode,
    pub since: i64,
}

/// A group scaled by its provider's own target tracking, as most groups are before Foreshadow acts.
#[derive(Debug, Clone)]
pub struct SimulatedGroup {
    load: Load,
    random: Seeded,
    pub instances: Vec<SimulatedInstance>,
    pub baseline: f64,
    target: f64,
    start_up_seconds: i64,
    launched: u32,
    low_minutes: u32,
    last_gross: f64,
}

/// What the group's agents would have reported for one minute.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedMinute {
    pub start: i64,
    /// Points by instance, serving ones only.
    pub utilisation: Vec<f64>,
    /// Net demand the load really had, points.
    pub demand: f64,
}

impl SimulatedGroup {
    /// A group whose weekly peak takes about `size` instances at `target` points.
    pub fn new(seed: u64, size: u32, target: f64, baseline: f64) -> Self {
        let peak = f64::from(size) * (target - baseline);
        let mut group = Self {
            load: Load::new(seed, peak),
            random: Seeded::new(seed ^ 0x5EED),
            instances: Vec::new(),
            baseline,
            target,
            start_up_seconds: 240,
            launched: 0,
            low_minutes: 0,
            last_gross: 0.0,
        };
        for _ in 0..size.div_ceil(2).max(2) {
            group.launch(0, InstanceMode::Serving);
        }
        group
    }

    fn launch(&mut self, at: i64, mode: InstanceMode) {
        self.launched += 1;
        let id = format!("i-sim{:04}", self.launched);
        self.instances.push(SimulatedInstance { id, mode, since: at });
    }

    /// Lets one minute pass.
    pub fn minute(&mut self, start: i64) -> SimulatedMinute {
        for instance in &mut self.instances {
            if instance.mode == InstanceMode::Warming && start - instance.since >= self.start_up_seconds {
                instance.mode = InstanceMode::Serving;
                instance.since = start;
            }
        }
        let demand = self.load.minute(start);
        let serving = self.count(InstanceMode::Serving);
        let share = demand / f64::from(serving.max(1));
        let utilisation: Vec<f64> = (0..serving)
            .map(|_| (self.baseline + share * (1.0 + 0.04 * self.random.normal())).clamp(0.0, 100.0))
            .collect();
        self.last_gross = utilisation.iter().sum();
        self.track(start, serving);
        SimulatedMinute { start, utilisation, demand }
    }

    pub fn count(&self, mode: InstanceMode) -> u32 {
        u32::try_from(self.instances.iter().filter(|instance| instance.mode == mode).count()).unwrap_or(u32::MAX)
    }

    /// Target tracking as clouds do it: out at once, in after a quarter of an hour below.
    fn track(&mut self, at: i64, serving: u32) {
        let wanted = crate::capacity::need_without_baseline(self.last_gross, self.target, 1.0).max(2);
        let present = serving + self.count(InstanceMode::Warming);
        if wanted > present {
            for _ in present..wanted {
                self.launch(at, InstanceMode::Warming);
            }
        }
        self.low_minutes = if wanted < serving { self.low_minutes + 1 } else { 0 };
        if self.low_minutes >= 15 {
            self.low_minutes = 0;
            let mut surplus = serving - wanted;
            self.instances.retain(|instance| {
                let goes = surplus > 0 && instance.mode == InstanceMode::Serving;
                surplus -= u32::from(goes);
                !goes
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_week() {
        let run = || {
            let mut group = SimulatedGroup::new(7, 40, 60.0, 8.0);
            (0..7 * 1_440).map(|minute| group.minute(minute * 60).demand).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn the_group_follows_its_load_and_days_differ_from_nights() {
        let mut group = SimulatedGroup::new(7, 40, 60.0, 8.0);
        let sizes: Vec<u32> = (0..3 * 1_440)
            .map(|minute| {
                group.minute(minute * 60);
                group.count(InstanceMode::Serving)
            })
            .collect();
        let (least, most) = (sizes.iter().min().expect("sizes"), sizes.iter().max().expect("sizes"));
        assert!(*most >= 30 && *least <= 15, "{least} to {most}");
    }
}
