//! Events: what is known ahead (a sale, a broadcast), entered by a person, with a window, an
//! intensity and a repeat rule. [`entry`] reads what is typed in, [`ical`] a calendar's file, [`occurrences`] says when it takes
//! place, [`log`] keeps it, [`calendar`] hands it to the rounds; the forecast crate does the rest.

mod calendar;
pub mod command;
mod entry;
pub mod ical;
mod log;
mod occurrences;
pub(crate) mod sql;

use foreshadow_proto::convert::Id;
use jiff::tz::TimeZone;

pub use calendar::Calendar;
pub use entry::{Announced, Fault};
pub use log::{EventError, EventLog};
pub use occurrences::Window;

/// Whom an event concerns. Which of the two is always said: nothing said never means everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Group(Id),
    EveryGroup,
}

impl Scope {
    pub fn holds(&self, group: &Id) -> bool {
        match self {
            Self::Group(own) => own == group,
            Self::EveryGroup => true,
        }
    }
}

/// What is announced. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    pub scope: Scope,
    pub name: String,
    /// The first time it takes place.
    pub starts: i64,
    /// Exclusive.
    pub ends: i64,
    /// Demand already climbs this long before the start.
    pub ramp_seconds: u32,
    /// Demand while it lasts, over demand without it; above 1.
    pub intensity: f64,
    pub repeat: Option<Repeat>,
    pub reason: String,
}

/// How often a rule of [`Repeat`] comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Daily,
    Weekly,
}

impl Rule {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
        }
    }

    const fn days(self) -> i64 {
        match self {
            Self::Daily => 1,
            Self::Weekly => 7,
        }
    }
}

/// Every so many days or weeks at the same time of day, as the clocks of a place show it.
#[derive(Debug, Clone, PartialEq)]
pub struct Repeat {
    pub rule: Rule,
    pub every: u32,
    /// Named, so that 18:00 stays 18:00 when the clocks change.
    pub zone: TimeZone,
    /// It does not start after this.
    pub until: Option<i64>,
}

impl Repeat {
    /// Days from one start to the next.
    pub fn days(&self) -> i64 {
        self.rule.days() * i64::from(self.every)
    }
}

/// An announcement with its number and who entered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: i64,
    pub announced: Announcement,
    pub entered_by: String,
    pub entered_at: i64,
    pub deleted: Option<Deletion>,
}

/// Who took an event back. What had taken place by then stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    pub by: String,
    pub at: i64,
    pub reason: String,
}
