//! One field of a limit: which way is looser, and what then holds. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// A limit for which the configuration file has a looser value than the one that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Held {
    /// As in the file, after `group.NAME.` where it is a group's.
    pub field: String,
    /// What the file says, and does not hold.
    pub file: String,
    /// What was accepted, and holds.
    pub holds: String,
}

/// Compares a file's limits with accepted ones, field by field, and notes what it holds back.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub held: Vec<Held>,
}

impl Comparison {
    pub fn note(&mut self, field: impl Into<String>, file: impl Display, holds: impl Display) {
        self.held.push(Held { field: field.into(), file: file.to_string(), holds: holds.to_string() });
    }

    /// A value that is looser the higher it is.
    pub fn at_most<T: PartialOrd + Copy + Display>(&mut self, field: impl Into<String>, accepted: T, file: T) -> T {
        if file > accepted {
            self.note(field, file, accepted);
            accepted
        } else {
            file
        }
    }

    /// The same, where it may not be limited at all.
    pub fn limited<T: PartialOrd + Copy + Display>(
        &mut self,
        field: &str,
        accepted: Option<T>,
        file: Option<T>,
    ) -> Option<T> {
        match (accepted, file) {
            (Some(before), Some(now)) => Some(self.at_most(field, before, now)),
            (Some(before), None) => {
                self.note(field, "nothing", before);
                Some(before)
            }
            (None, now) => now,
        }
    }

    /// A value that is looser the lower it is.
    pub fn at_least<T: PartialOrd + Copy + Display>(&mut self, field: impl Into<String>, accepted: T, file: T) -> T {
        if file < accepted {
            self.note(field, file, accepted);
            accepted
        } else {
            file
        }
    }

    /// A choice one of whose words is the looser one.
    pub fn unless<T: PartialEq + Copy + Serialize>(&mut self, field: &str, looser: T, accepted: T, file: T) -> T {
        if file == looser && accepted != looser {
            self.note(field, word(file), word(accepted));
            accepted
        } else {
            file
        }
    }

    /// Where nobody can say which way is looser, any other value is.
    pub fn as_it_was<T: PartialEq + Clone + Serialize>(&mut self, field: &str, accepted: &T, file: &T) -> T {
        if file != accepted {
            self.note(field, word(file), word(accepted));
        }
        accepted.clone()
    }

    /// Values by name, each looser the higher it is; one that is left out limits nothing.
    pub fn each_at_most<K: Ord + Clone + Display>(
        &mut self,
        field: &str,
        accepted: &BTreeMap<K, f64>,
        file: &BTreeMap<K, f64>,
    ) -> BTreeMap<K, f64> {
        let mut merged = file.clone();
        for (name, before) in accepted {
            let field = format!("{field}.{name}");
            let holds = match file.get(name) {
                Some(now) => self.at_most(field, *before, *now),
                None => {
                    self.note(field, "nothing", before);
                    *before
                }
            };
            merged.insert(name.clone(), holds);
        }
        merged
    }
}

/// As the configuration file would write it.
pub(super) fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(error) => error.to_string(),
    }
}

/// A bound of a group: the file's own, the inventory's, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    pub own: Option<u32>,
    /// What the inventory says of the group holds as well.
    pub inventory: bool,
}

impl Bound {
    /// As the file has it: without a word of its own, the inventory's.
    pub const fn of(own: Option<u32>) -> Self {
        Self { own, inventory: own.is_none() }
    }

    /// The larger of those that hold; `otherwise` where none does.
    pub fn minimum(self, inventory: Option<u32>, otherwise: u32) -> u32 {
        let inventory = inventory.filter(|_| self.inventory);
        self.own.into_iter().chain(inventory).max().unwrap_or(otherwise)
    }

    /// The smaller of those that hold; `otherwise` where none does.
    pub fn maximum(self, inventory: Option<u32>, otherwise: u32) -> u32 {
        let inventory = inventory.filter(|_| self.inventory);
        self.own.into_iter().chain(inventory).min().unwrap_or(otherwise)
    }

    fn said(self, which: &str) -> String {
        match (self.own, self.inventory) {
            (Some(own), false) => own.to_string(),
            (Some(own), true) => format!("the {which} of {own} and the cloud's own"),
            (None, _) => "the cloud's own".to_owned(),
        }
    }

    /// Both hold, told where it makes a difference. `inventory`: what the inventory says, where it was read.
    pub(super) fn tightened(
        self,
        file: Self,
        lower_is_looser: bool,
        inventory: Option<u32>,
        seen: &mut Comparison,
    ) -> Self {
        let (field, which) = if lower_is_looser { ("minimum", "larger") } else { ("maximum", "smaller") };
        let pick = |own: Option<u32>, other: Option<u32>| {
            let both = own.into_iter().chain(other);
            if lower_is_looser { both.max() } else { both.min() }
        };
        let held = Self { own: pick(self.own, file.own), inventory: self.inventory || file.inventory };
        let value = |bound: Self| match lower_is_looser {
            true => bound.minimum(inventory, 0),
            false => bound.maximum(inventory, u32::MAX),
        };
        // Nothing is read yet: only what the file itself took back can be told.
        let differs = match inventory {
            Some(_) => value(held) != value(file),
            None => self.own.is_some() && held.own != file.own,
        };
        if differs {
            seen.note(field, file.said(which), held.said(which));
        }
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tighter_bound_holds_whoever_says_it() {
        let of = Bound::of;
        for (accepted, file, lower, inventory, effect, told) in [
            (of(Some(3)), of(Some(2)), true, Some(1), 3, true),
            (of(Some(3)), of(Some(4)), true, Some(1), 4, false),
            (of(Some(3)), of(None), true, Some(1), 3, true),
            (of(Some(3)), of(None), true, Some(5), 5, false),
            (of(None), of(Some(2)), true, Some(5), 5, true),
            (of(None), of(Some(6)), true, Some(5), 6, false),
            (of(Some(9)), of(Some(20)), false, Some(50), 9, true),
            (of(Some(9)), of(Some(5)), false, Some(50), 5, false),
            (of(None), of(Some(20)), false, Some(50), 20, false),
            (of(None), of(Some(90)), false, Some(50), 50, true),
            (of(Some(9)), of(None), false, None, 9, true),
            (of(None), of(Some(9)), false, None, 9, false),
        ] {
            let mut seen = Comparison::default();
            let held = accepted.tightened(file, lower, inventory, &mut seen);
            let value = if lower { held.minimum(inventory, 0) } else { held.maximum(inventory, u32::MAX) };
            assert_eq!((value, !seen.held.is_empty()), (effect, told), "{accepted:?} {file:?} {inventory:?}");
        }
    }

    #[test]
    fn what_is_left_out_limits_nothing_and_is_looser() {
        let map = |pairs: &[(&str, f64)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<BTreeMap<String, f64>>()
        };
        let mut seen = Comparison::default();
        let accepted = map(&[("cpu", 50.0), ("memory", 70.0)]);
        let merged = seen.each_at_most("targets", &accepted, &map(&[("cpu", 60.0), ("network_in", 40.0)]));
        assert_eq!(merged, map(&[("cpu", 50.0), ("memory", 70.0), ("network_in", 40.0)]));
        let fields: Vec<&str> = seen.held.iter().map(|held| held.field.as_str()).collect();
        assert_eq!(fields, ["targets.cpu", "targets.memory"]);
    }
}
