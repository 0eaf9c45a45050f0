//! Floors and ceilings that hold for a time. Which time that is, by which clocks, is worked out elsewhere: here a
//! window has a beginning and an end.

use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// One occurrence of a window in which narrower bounds hold: `[from, until)`, seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// What the configuration calls it.
    pub name: String,
    pub from: i64,
    pub until: i64,
    /// No fewer serve; the group's own minimum holds as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<u32>,
    /// No more are launched; the group's own maximum holds as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<u32>,
}

/// A bound with the window it comes from; `None` for the group's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<'a> {
    pub instances: u32,
    pub window: Option<&'a str>,
}

impl Policy {
    /// The largest floor that holds at any time of `[from, until)`, or at `from` when that is empty.
    pub fn floor(&self, from: i64, until: i64) -> Bound<'_> {
        let own = Bound { instances: self.minimum, window: None };
        let until = until.max(from.saturating_add(1));
        let there = self.windows.iter().filter(|window| window.from < until && from < window.until);
        there.filter_map(|window| Some((window.minimum?, window.name.as_str()))).fold(own, |largest, (floor, name)| {
            if floor > largest.instances { Bound { instances: floor, window: Some(name) } } else { largest }
        })
    }

    /// The smallest ceiling that holds at `at`. A floor that holds is never above it: the floor wins.
    pub fn ceiling(&self, at: i64) -> Bound<'_> {
        let own = Bound { instances: self.maximum, window: None };
        let there = self.windows.iter().filter(|window| window.from <= at && at < window.until);
        let ceilings = there.filter_map(|window| Some((window.maximum?, window.name.as_str())));
        let smallest = ceilings.fold(own, |smallest, (ceiling, name)| {
            if ceiling < smallest.instances { Bound { instances: ceiling, window: Some(name) } } else { smallest }
        });
        let floor = self.floor(at, at);
        if floor.instances > smallest.instances { floor } else { smallest }
    }

    /// How many must be there at least when what is launched now is ready.
    pub fn least_ahead(&self, now: i64) -> u32 {
        self.floor_ahead(now).instances
    }

    /// The floor that must be ready by the time what is launched now is ready.
    pub(crate) fn floor_ahead(&self, now: i64) -> Bound<'_> {
        self.floor(now, now + i64::from(self.launch_lead_seconds) + 1)
    }

    /// The floor below which nobody may go who could be missed within the shadow window.
    pub(crate) fn floor_within_sight(&self, now: i64) -> Bound<'_> {
        self.floor(now, self.scale_in_until(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(name: &str, from: i64, until: i64, minimum: Option<u32>, maximum: Option<u32>) -> Window {
        Window { name: name.to_owned(), from, until, minimum, maximum }
    }

    fn policy() -> Policy {
        let windows = vec![
            window("day", 100, 200, Some(8), None),
            window("peak", 150, 160, Some(12), None),
            window("night", 200, 300, None, Some(20)),
            window("freeze", 250, 300, Some(1), Some(5)),
            window("late", 250, 300, None, Some(30)),
        ];
        Policy { minimum: 3, maximum: 40, windows, ..Policy::new("web") }
    }

    #[test]
    fn the_largest_floor_and_the_smallest_ceiling_hold() {
        let policy = policy();
        let floor = |from, until| (policy.floor(from, until).instances, policy.floor(from, until).window);
        assert_eq!(floor(99, 99), (3, None));
        assert_eq!(floor(99, 100), (3, None), "the end is exclusive");
        assert_eq!(floor(100, 100), (8, Some("day")), "the beginning is not");
        assert_eq!(floor(99, 151), (12, Some("peak")), "whatever holds on the way");
        assert_eq!(floor(160, 200), (8, Some("day")));
        assert_eq!(floor(200, 300), (3, None), "a window never lowers the group's own");
        let ceiling = |at| (policy.ceiling(at).instances, policy.ceiling(at).window);
        assert_eq!(ceiling(199), (40, None));
        assert_eq!((ceiling(200), ceiling(299), ceiling(300)), ((20, Some("night")), (5, Some("freeze")), (40, None)));
    }

    #[test]
    fn a_floor_wins_over_a_ceiling() {
        let policy = Policy { minimum: 7, ..policy() };
        assert_eq!(policy.ceiling(250), Bound { instances: 7, window: None });
    }
}
