//! What goes wrong around a world that is not the cloud's doing: agents that say nonsense, clocks that jump, another who
//! believes that the group is theirs.

use planner::simulation::cloud::Carried;

use super::World;
use crate::clock::Now;

/// For how long after a jump nothing is changed, seconds; as in the rounds.
const AFTER_JUMP_SECONDS: i64 = 600;
/// What CPU falls to while backends hang, as a share.
const HUNG_SHARE: f64 = 0.2;

/// What is wrong now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Backends hang: CPU falls, and the network does not.
    pub hung: bool,
    /// Agents report zero for everything.
    pub zeros: bool,
    /// Every third agent cannot be heard.
    pub partly: bool,
    /// Another process has taken the lease of the group.
    pub dispossessed: bool,
    /// What the wall clock of this process is ahead of the true time, seconds.
    pub(super) ahead: i64,
    /// True time of the latest jump.
    pub(super) jumped: Option<i64>,
}

impl Faults {
    /// What agents say of what was carried.
    pub(super) fn told(&self, mut carried: Carried) -> Carried {
        for reading in &mut carried.readings {
            if self.hung {
                reading.utilisation *= HUNG_SHARE;
            }
            if self.zeros {
                (reading.utilisation, reading.network) = (0.0, 0.0);
            }
        }
        carried
    }

    /// Whether the agent of an instance is heard, where any are.
    pub(super) fn hears(&self, instance: &str) -> bool {
        !self.partly || instance.bytes().last().is_none_or(|last| last % 3 != 0)
    }

    pub(super) fn clock_jumped(&self, boot: i64) -> bool {
        self.jumped.is_some_and(|at| boot - at < AFTER_JUMP_SECONDS)
    }

    /// Both clocks of the process when the wall clock shows `wall`; the one since boot does not jump.
    pub(super) const fn clocks(&self, wall: i64) -> Now {
        Now { wall, boot: wall - self.ahead }
    }
}

impl World {
    /// What the wall clock of the process shows at the true time `now`.
    pub const fn wall(&self, now: i64) -> i64 {
        now + self.faults.ahead
    }

    /// The wall clock of the process jumps at the true time `now`, and it notices, as the rounds do.
    pub fn jump(&mut self, by: i64, now: i64) {
        self.faults.ahead += by;
        self.faults.jumped = Some(now);
        self.fleet.set_ahead(self.faults.ahead);
        let clocks = self.faults.clocks(self.wall(now));
        self.book_mut().extend_all(by, clocks);
    }

    /// Puts the clock right again.
    pub fn set_right(&mut self, now: i64) {
        if self.faults.ahead != 0 {
            self.jump(-self.faults.ahead, now);
        }
    }

    /// Another installation that knows the same group of the same cloud, and nothing else.
    pub fn beside(&self, installation: [u8; 16]) -> Self {
        let options = super::Options { installation, ..self.options().clone() };
        Self::around(self.fleet.clone(), self.group.clone(), options)
    }
}
