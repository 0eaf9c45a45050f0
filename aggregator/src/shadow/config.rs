//! How long an instance is measured after it left its group, and what it costs meanwhile.

use std::collections::BTreeMap;

use foreshadow_proto::convert::Id;
use serde::{Deserialize, Serialize};

/// Set by `PUT /shadow/config`, first by the configuration file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShadowConfig {
    /// Lease where neither type nor group says otherwise, seconds.
    pub default_seconds: u32,
    /// No lease is longer, seconds.
    pub maximum_seconds: u32,
    /// By group; a type's own comes first.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, u32>)]
    pub groups: BTreeMap<Id, u32>,
    /// By instance type.
    #[serde(default)]
    pub instance_types: BTreeMap<String, u32>,
    /// By instance type.
    #[serde(default)]
    pub prices_per_hour: BTreeMap<String, f64>,
}

/// A field that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ConfigProblem {
    pub field: String,
    pub problem: String,
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self {
            default_seconds: 3_600,
            maximum_seconds: 86_400,
            groups: BTreeMap::new(),
            instance_types: BTreeMap::new(),
            prices_per_hour: BTreeMap::new(),
        }
    }
}

impl ShadowConfig {
    /// Every field that contradicts itself or another.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut wrong = |field: String, problem: String| problems.push(ConfigProblem { field, problem });
        if !(60..=604_800).contains(&self.maximum_seconds) {
            wrong("maximum_seconds".to_owned(), format!("{} is not in 60 to 604800", self.maximum_seconds));
        }
        let groups = self.groups.iter().map(|(name, seconds)| (format!("groups.{name}"), *seconds));
        let types = self.instance_types.iter().map(|(name, seconds)| (format!("instance_types.{name}"), *seconds));
        let default = [("default_seconds".to_owned(), self.default_seconds)];
        for (field, seconds) in default.into_iter().chain(groups).chain(types) {
            if seconds < 60 {
                wrong(field, format!("{seconds} is below 60"));
            } else if seconds > self.maximum_seconds {
                wrong(field, format!("{seconds} is above maximum_seconds = {}", self.maximum_seconds));
            }
        }
        for (name, price) in &self.prices_per_hour {
            if !(price.is_finite() && (0.0..=10_000.0).contains(price)) {
                wrong(format!("prices_per_hour.{name}"), format!("{price} is not in 0 to 10000"));
            }
        }
        problems
    }

    /// Lease of an instance, seconds.
    pub fn seconds(&self, group: &Id, instance_type: Option<&str>) -> u32 {
        let by_type = instance_type.and_then(|name| self.instance_types.get(name));
        *by_type.or_else(|| self.groups.get(group)).unwrap_or(&self.default_seconds)
    }

    /// A lease somewhere is longer, or may be, than under `other`; or a price is lower or gone, so that a spend cap buys more.
    pub fn is_looser_than(&self, other: &Self) -> bool {
        let groups = self.groups.keys().chain(other.groups.keys());
        let types = self.instance_types.keys().chain(other.instance_types.keys());
        let of_type =
            |config: &Self, name: &String| config.instance_types.get(name).copied().unwrap_or(config.default_seconds);
        self.maximum_seconds > other.maximum_seconds
            || self.default_seconds > other.default_seconds
            || groups.into_iter().any(|group| self.seconds(group, None) > other.seconds(group, None))
            || types.into_iter().any(|name| of_type(self, name) > of_type(other, name))
            || other
                .prices_per_hour
                .iter()
                .any(|(name, before)| self.prices_per_hour.get(name).is_none_or(|now| now < before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_named_and_types_come_before_groups() {
        let web: Id = "web".parse().expect("an id");
        let mut config = ShadowConfig::default();
        assert_eq!(config.problems(), []);
        config.groups.insert(web.clone(), 600);
        config.instance_types.insert("m5.large".to_owned(), 900);
        assert_eq!(config.seconds(&web, Some("m5.large")), 900);
        assert_eq!(config.seconds(&web, Some("t3.micro")), 600);
        config.groups.insert(web, 90_000);
        config.default_seconds = 1;
        config.prices_per_hour.insert("m5.large".to_owned(), f64::NAN);
        let fields: Vec<_> = config.problems().into_iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["default_seconds", "groups.web", "prices_per_hour.m5.large"]);
    }

    #[test]
    fn longer_anywhere_is_looser() {
        let base = ShadowConfig::default();
        let shorter = ShadowConfig { default_seconds: 60, ..base.clone() };
        assert!(!shorter.is_looser_than(&base) && base.is_looser_than(&shorter));
        let mut typed = base.clone();
        typed.instance_types.insert("m5.large".to_owned(), 7_200);
        assert!(typed.is_looser_than(&base));
        assert!(!base.is_looser_than(&base));
        let mut priced = base.clone();
        priced.prices_per_hour.insert("m5.large".to_owned(), 0.1);
        let cheaper = ShadowConfig { prices_per_hour: BTreeMap::from([("m5.large".to_owned(), 0.01)]), ..base.clone() };
        assert!(!priced.is_looser_than(&base) && base.is_looser_than(&priced) && cheaper.is_looser_than(&priced));
    }
}
