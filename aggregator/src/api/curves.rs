//! The newest minute of every group's demand, for streams that draw small curves: each minute is told once, in a few bytes a group.

use std::collections::BTreeMap;

use serde::Serialize;

/// Gross demand of one minute, of the groups of which it is news. Two thousand groups are some forty kilobytes a minute.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MinuteDemand {
    /// Start of the minute, seconds since the Unix epoch.
    start: i64,
    /// By group: the mean of the minute, points of the whole group, idle use included.
    demand: BTreeMap<String, f64>,
}

/// What a stream has told: of each group the minute.
#[derive(Debug, Default)]
pub struct CurvesTold(BTreeMap<String, i64>);

impl CurvesTold {
    /// Minutes that are newer than what was told, oldest first. `newest` is of each group the newest minute there is.
    pub fn news(&mut self, newest: BTreeMap<String, (i64, f64)>) -> Vec<MinuteDemand> {
        let mut minutes: BTreeMap<i64, BTreeMap<String, f64>> = BTreeMap::new();
        for (name, (start, demand)) in &newest {
            if self.0.get(name).is_none_or(|told| start > told) {
                minutes.entry(*start).or_default().insert(name.clone(), (demand * 10.0).round() / 10.0);
            }
        }
        self.0 = newest.into_iter().map(|(name, (start, _))| (name, start)).collect();
        minutes.into_iter().map(|(start, demand)| MinuteDemand { start, demand }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(of: &[(&str, i64, f64)]) -> BTreeMap<String, (i64, f64)> {
        of.iter().map(|(name, start, demand)| ((*name).to_owned(), (*start, *demand))).collect()
    }

    fn minute(start: i64, of: &[(&str, f64)]) -> MinuteDemand {
        MinuteDemand { start, demand: of.iter().map(|(name, demand)| ((*name).to_owned(), *demand)).collect() }
    }

    #[test]
    fn a_minute_is_told_once_and_of_whom_it_is_news() {
        let mut told = CurvesTold::default();
        let both = newest(&[("api", 60, 1.25), ("web", 120, 431.204)]);
        assert_eq!(told.news(both.clone()), [minute(60, &[("api", 1.3)]), minute(120, &[("web", 431.2)])]);
        assert_eq!(told.news(both), [], "it is no news any more");
        let later = newest(&[("api", 120, 2.0), ("web", 120, 431.2)]);
        assert_eq!(told.news(later), [minute(120, &[("api", 2.0)])]);
        // A group that went and came is told anew.
        assert_eq!(told.news(newest(&[("api", 120, 2.0)])), []);
        assert_eq!(told.news(newest(&[("api", 120, 2.0), ("web", 120, 5.0)])), [minute(120, &[("web", 5.0)])]);
    }

    #[test]
    fn two_thousand_groups_are_few_bytes() {
        let names: Vec<String> = (0..2_000).map(|number| format!("group-{number:04}")).collect();
        let all: Vec<(&str, i64, f64)> = names.iter().map(|name| (name.as_str(), 60, 1_234.567_891_2)).collect();
        let told = CurvesTold::default().news(newest(&all));
        let bytes = serde_json::to_vec(&told).expect("JSON").len();
        assert!(told.len() == 1 && bytes < 45_000, "{bytes}");
    }
}
