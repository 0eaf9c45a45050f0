//! Query parameters, read strictly: an unknown or doubled one is an error that names it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use foreshadow_proto::convert::Id;
use serde::Serialize;
use serde_json::json;

use super::problem::Problem;
use crate::clock::read_time;

/// The parameters of a request.
#[derive(Debug)]
pub struct Asked(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        pairs.map(|Query(pairs)| Self(pairs)).map_err(|error| Problem::bad(error.to_string()))
    }
}

/// Parameters that are all known.
#[derive(Debug)]
pub struct Known(BTreeMap<String, String>);

impl Asked {
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| given == name)
    }

    /// Refuses every parameter that is not among `names`.
    pub fn only(self, names: &[&str]) -> Result<Known, Problem> {
        let mut known = BTreeMap::new();
        let mut problem = Problem::bad("the query has parameters that cannot be used");
        let mut wrong = false;
        for (name, value) in self.0 {
            let fault = if !names.contains(&name.as_str()) {
                Some(match names {
                    [] => "unknown parameter; it takes none".to_owned(),
                    names => format!("unknown parameter; known: {}", names.join(", ")),
                })
            } else if known.insert(name.clone(), value).is_some() {
                Some("given twice".to_owned())
            } else {
                None
            };
            if let Some(fault) = fault {
                problem = problem.field(&name, fault);
                wrong = true;
            }
        }
        if wrong { Err(problem) } else { Ok(Known(known)) }
    }
}

impl Known {
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn id(&self, name: &'static str) -> Result<Option<Id>, Problem> {
        let read = |text| Id::new(name, text).map_err(|error| wrong(name, &error.to_string()));
        self.text(name).map(read).transpose()
    }

    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        let read = |text: &str| text.parse::<T>().map_err(|_| wrong(name, &format!("{text:?} is no number")));
        self.text(name).map(read).transpose()
    }

    /// What is between `from` and `to`, each as [`Self::time`] reads it; everything unless told.
    pub fn between(&self, now: i64) -> Result<RangeInclusive<i64>, Problem> {
        let (from, to) = (self.time("from", now)?.unwrap_or(i64::MIN), self.time("to", now)?.unwrap_or(i64::MAX));
        if from > to { Err(wrong("from", "must not be after `to`")) } else { Ok(from..=to) }
    }

    /// Seconds since the epoch from RFC 3339, whole seconds, or `+15m`, `-6h`, `+2d` from `now`.
    pub fn time(&self, name: &str, now: i64) -> Result<Option<i64>, Problem> {
        self.text(name).map(|text| read_time(text, now).map_err(|problem| wrong(name, &problem))).transpose()
    }
}

/// How many there are of what was asked for, where a limit may leave some off: the answer's body is a list and has no room to say it.
pub const TOTAL: HeaderName = HeaderName::from_static("x-total-count");

/// A list that may be a part of all there is.
pub fn part_of<T: Serialize>(total: usize, found: &[T]) -> Response {
    ([(TOTAL, HeaderValue::from(total))], Json(json!(found))).into_response()
}

/// A problem with one parameter.
pub fn wrong(name: &str, problem: &str) -> Problem {
    Problem::bad(format!("{name}: {problem}")).field(name, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_everything_unless_told_and_goes_forward() {
        let between = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Asked(pairs).only(&["from", "to"]).expect("known").between(10_000)
        };
        assert_eq!(between(&[]).expect("a range"), i64::MIN..=i64::MAX);
        assert_eq!(between(&[("from", "-1h"), ("to", "9000")]).expect("a range"), 6_400..=9_000);
        assert_eq!(between(&[("from", "9000"), ("to", "9000")]).expect("a range"), 9_000..=9_000);
        let refused = |pairs: &[(&str, &str)]| between(pairs).expect_err("refused").detail().to_owned();
        assert_eq!(refused(&[("from", "9001"), ("to", "9000")]), "from: must not be after `to`");
        assert!(refused(&[("to", "soon")]).starts_with("to: "));
    }

    #[test]
    fn unknown_and_doubled_parameters_are_named() {
        let asked =
            Asked(vec![("group".into(), "a".into()), ("group".into(), "b".into()), ("grupo".into(), "c".into())]);
        let problem = serde_json::to_value(asked.only(&["group"]).expect_err("refused")).expect("JSON");
        assert_eq!(problem["errors"][0]["problem"], "given twice");
        assert_eq!(problem["errors"][1]["field"], "grupo");
        let none = serde_json::to_value(Asked(vec![("x".into(), "1".into())]).only(&[]).expect_err("refused"));
        assert_eq!(none.expect("JSON")["errors"][0]["problem"], "unknown parameter; it takes none");
    }
}
