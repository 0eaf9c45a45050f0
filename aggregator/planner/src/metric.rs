//! What can drive capacity: four metrics that agents measure, and any that the user declares.
//!
//! A declared metric is a load of the group in a unit of its own (requests per second, messages in a queue), not a share of an
//! instance: there is nothing idle in it, and its target is how much of it one instance of the reference type carries.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::{PoisonError, RwLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A metric that can drive capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    Cpu,
    /// Not load divided by n: counts only where the policy gives it a target.
    Memory,
    NetworkIn,
    NetworkOut,
    /// Declared by the user.
    Custom(Name),
}

/// The name of a declared metric; made by [`Metric::declare`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(&'static str);

/// Names that were declared: each is kept once, for as long as the process runs.
#[derive(Debug)]
struct Names(RwLock<Vec<&'static str>>);

/// Names of a whole run: configurations have a few, and nobody else can fill the memory with them.
const MOST_NAMES: usize = 64;
/// Letters of a name.
const MOST_LETTERS: usize = 32;

static NAMES: Names = Names(RwLock::new(Vec::new()));

impl Names {
    fn known(&self, text: &str) -> Option<Name> {
        let names = self.0.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().find(|name| **name == text).map(|name| Name(name))
    }

    fn declare(&self, text: &str) -> Result<Name, String> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !first || !rest || text.len() > MOST_LETTERS {
            return Err(format!(
                "{text:?} is no name of a metric: a lower-case letter, then lower-case letters, digits and _, \
                 {MOST_LETTERS} at most"
            ));
        }
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = names.iter().find(|name| **name == text) {
            return Ok(Name(name));
        }
        if names.len() >= MOST_NAMES {
            return Err(format!("{text:?}: {MOST_NAMES} metrics can be declared, and are"));
        }
        let name: &'static str = Box::leak(text.to_owned().into_boxed_str());
        names.push(name);
        Ok(Name(name))
    }

    fn all(&self) -> Vec<&'static str> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Metric {
    /// Those that agents measure.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Memory, Self::NetworkIn, Self::NetworkOut];

    /// The metric of this name, declared where it is none of ours. For configurations and for what was made from one; what
    /// others ask for is parsed, which declares nothing.
    ///
    /// # Errors
    /// When it cannot be a name, or too many were declared.
    pub fn declare(text: &str) -> Result<Self, String> {
        match Self::measured(text) {
            Some(metric) => Ok(metric),
            None => NAMES.declare(text).map(Self::Custom),
        }
    }

    fn measured(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == text)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::NetworkIn => "network_in",
            Self::NetworkOut => "network_out",
            Self::Custom(Name(name)) => name,
        }
    }

    /// Whether the metric is a share of the type's bandwidth.
    pub const fn is_network(self) -> bool {
        matches!(self, Self::NetworkIn | Self::NetworkOut)
    }

    /// Whether the metric is a load in a unit of its own, and no share of an instance.
    pub const fn is_custom(self) -> bool {
        matches!(self, Self::Custom(_))
    }

    /// What can be a target: percent of an instance, or how much of the load one carries.
    pub const fn targets(self) -> RangeInclusive<f64> {
        if self.is_custom() { 0.001..=1e9 } else { 1.0..=95.0 }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Metric {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::as_str).into_iter().chain(NAMES.all()).collect::<Vec<_>>().join(", ");
        Self::measured(text)
            .or_else(|| NAMES.known(text).map(Self::Custom))
            .ok_or_else(|| format!("known metrics: {}", known()))
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Metric {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::declare(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_what_was_declared_is_known_and_a_plain_word_everywhere() {
        assert!("depth_of_mine".parse::<Metric>().expect_err("nobody declared it").contains("cpu, memory"));
        let depth = Metric::declare("depth_of_mine").expect("a name");
        assert_eq!("depth_of_mine".parse(), Ok(depth));
        assert_eq!(Metric::declare("depth_of_mine"), Ok(depth));
        assert!(depth.is_custom() && !depth.is_network());
        assert_eq!(Metric::declare("cpu"), Ok(Metric::Cpu), "one of ours stays ours");
        let targets = BTreeMap::from([(Metric::NetworkIn, 1.0), (depth, 200.0)]);
        let json = serde_json::to_string(&targets).expect("json");
        assert_eq!(json, r#"{"network_in":1.0,"depth_of_mine":200.0}"#);
        assert_eq!(serde_json::from_str::<BTreeMap<Metric, f64>>(&json).expect("read"), targets);
        assert!(serde_json::from_str::<Metric>("\"Not A Name\"").is_err());
    }

    #[test]
    fn what_is_no_name_is_refused_and_a_flood_ends() {
        let names = Names(RwLock::new(Vec::new()));
        for text in ["", "9lives", "_x", "Requests", "a-b", "a b", "\u{e4}", &"x".repeat(33)] {
            assert!(names.declare(text).is_err(), "{text}");
        }
        assert!(names.declare(&"x".repeat(32)).is_ok());
        for number in 1..MOST_NAMES {
            assert!(names.declare(&format!("m{number}")).is_ok());
        }
        assert!(names.declare("one_more").expect_err("full").contains("64 metrics"));
        assert!(names.known("one_more").is_none() && names.declare("m1").is_ok(), "known ones go on");
        assert_eq!(names.all().len(), MOST_NAMES);
    }

    #[test]
    fn each_is_what_it_measures() {
        let own = Metric::declare("own_of_metric").expect("a name");
        let network = |metric: Metric| metric.is_network();
        assert_eq!(Metric::ALL.map(network), [false, false, true, true]);
        assert_eq!(Metric::ALL.map(Metric::is_custom), [false; 4]);
        assert!(own.is_custom() && !own.is_network());
        assert_eq!((Metric::Cpu.targets(), own.targets()), (1.0..=95.0, 0.001..=1e9));
        for metric in Metric::ALL {
            assert_eq!(metric.as_str().parse(), Ok(metric));
        }
    }
}
