//! Alarms: what somebody should look at, from what is known anyway. Pure.

use planner::hold::{Budget, Hold};
use serde::{Deserialize, Serialize};

use crate::rounds::GroupReport;

/// A plan is made every ten seconds.
const PLAN_OVERDUE_SECONDS: i64 = 60;
/// Intervals that hold so much less often than they promise mislead.
const COVERAGE_LOST: f64 = 0.10;
/// A certificate that ends within this should be renewed, and within the second must be, seconds.
const CERTIFICATE_ENDS_SOON: i64 = 14 * 86_400;
const CERTIFICATE_ENDS: i64 = 2 * 86_400;

/// What is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    GroupWithoutPlan,
    StaleData,
    CoverageLost,
    LaunchesFail,
    ShadowBudgetSpent,
    StoreRefuses,
    CertificateEnds,
}

impl Kind {
    /// As Alertmanager names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GroupWithoutPlan => "ForeshadowGroupWithoutPlan",
            Self::StaleData => "ForeshadowStaleData",
            Self::CoverageLost => "ForeshadowCoverageLost",
            Self::LaunchesFail => "ForeshadowLaunchesFail",
            Self::ShadowBudgetSpent => "ForeshadowShadowBudgetSpent",
            Self::StoreRefuses => "ForeshadowStoreRefuses",
            Self::CertificateEnds => "ForeshadowCertificateEnds",
        }
    }

    /// Stands for itself at once; the others must stand for a while.
    pub const fn at_once(self) -> bool {
        matches!(self, Self::CertificateEnds)
    }
}

/// Whom it should wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Somebody, now.
    Page,
    /// Somebody, tomorrow.
    Ticket,
}

/// One thing that is the matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub kind: Kind,
    /// The group, the metric of a group, or the file it is about.
    pub subject: String,
    pub group: Option<String>,
    pub severity: Severity,
    pub summary: String,
    /// What to do.
    pub remedy: String,
}

/// All that is the matter now. `certificates` are files with the end of what is in them, seconds since the epoch.
pub fn alarms(
    reports: &[std::sync::Arc<GroupReport>],
    refusing: Option<&str>,
    certificates: &[(String, i64)],
    now: i64,
) -> Vec<Alarm> {
    let mut found = Vec::new();
    for report in reports.iter().filter(|report| !report.summary.simulated) {
        of_group(report, now, &mut found);
    }
    found.extend(refusing.map(|why| Alarm {
        kind: Kind::StoreRefuses,
        subject: "store".to_owned(),
        group: None,
        severity: Severity::Page,
        summary: format!("the store refuses samples: {why}"),
        remedy: "free its disk; agents keep their samples for a day".to_owned(),
    }));
    let ending = certificates.iter().filter(|(_, ends)| ends - now <= CERTIFICATE_ENDS_SOON);
    found.extend(ending.map(|(file, ends)| {
        let left = ends - now;
        let when = if left < 0 { "has ended".to_owned() } else { format!("ends in {} h", left / 3_600) };
        Alarm {
            kind: Kind::CertificateEnds,
            subject: file.clone(),
            group: None,
            severity: if left <= CERTIFICATE_ENDS { Severity::Page } else { Severity::Ticket },
            summary: format!("the certificate in {file} {when}"),
            remedy: "renew it and restart the aggregator; without it no agent is heard".to_owned(),
        }
    }));
    found
}

/// Whether what is known now would tell of this alarm if it stood. After a restart a group has no plan for a while, and what its
/// intervals held is known later still.
pub fn is_known(alarm: &Alarm, reports: &[std::sync::Arc<GroupReport>]) -> bool {
    let Some(group) = &alarm.group else { return true };
    let Some(report) = reports.iter().find(|report| report.summary.name == *group) else { return false };
    let measured = || {
        let of = |metric: &str| alarm.subject == subject_of(group, metric);
        report.forecasts.iter().any(|(metric, forecast)| of(metric) && forecast.measured_coverage.is_some())
    };
    report.plan.is_some() && (alarm.kind != Kind::CoverageLost || measured())
}

fn subject_of(group: &str, metric: &str) -> String {
    format!("{group} {metric}")
}

fn of_group(report: &GroupReport, now: i64, found: &mut Vec<Alarm>) {
    let group = &report.summary.name;
    let explain = format!("foreshadow explain {group}");
    let alarm = |kind, subject: String, severity, summary, remedy: String| Alarm {
        kind,
        subject,
        group: Some(group.clone()),
        severity,
        summary,
        remedy,
    };
    let Some(plan) = report.plan.as_deref() else { return };
    let made_at = plan.get("made_at").and_then(serde_json::Value::as_i64).unwrap_or(now);
    if now - made_at > PLAN_OVERDUE_SECONDS {
        let summary = format!("{group} has had no plan for {} s; nothing is scaled meanwhile", now - made_at);
        let remedy = "the log says why: no plan in this round".to_owned();
        found.push(alarm(Kind::GroupWithoutPlan, group.clone(), Severity::Page, summary, remedy));
        // What an old plan says is old.
        return;
    }
    let holds = plan.get("holds").cloned().unwrap_or_default();
    let holds: Vec<Hold> = serde_json::from_value(holds).unwrap_or_default();
    // Where nobody serves nobody can report.
    let serving = plan.get("serving").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let stale = holds.iter().find(|hold| match hold {
        Hold::NoEvidence { .. } => serving > 0,
        Hold::StaleSamples { .. } | Hold::PartialInventory | Hold::StaleInventory { .. } => true,
        _ => false,
    });
    if let Some(hold) = stale {
        let summary = format!("{group} is scaled by old evidence: {hold}");
        let remedy = format!("{explain}; look at its agents and its inventory source");
        found.push(alarm(Kind::StaleData, group.clone(), Severity::Ticket, summary, remedy));
    }
    if holds.contains(&Hold::LaunchesFailing) {
        let summary = format!("launches fail in {group}");
        let remedy = format!("foreshadow journal --group {group} has the provider's words");
        found.push(alarm(Kind::LaunchesFail, group.clone(), Severity::Page, summary, remedy));
    }
    if let Some(hold) = holds.iter().find(|hold| matches!(hold, Hold::BudgetSpent { budget: Budget::Money { .. } })) {
        let summary = format!("{group} may cost no more: {hold}");
        let remedy = format!("release shadows (foreshadow shadow), or raise spend_per_hour; {explain}");
        found.push(alarm(Kind::ShadowBudgetSpent, group.clone(), Severity::Ticket, summary, remedy));
    }
    for (metric, forecast) in &report.forecasts {
        if let Some(measured) = forecast.measured_coverage
            && measured < forecast.nominal_coverage - COVERAGE_LOST
        {
            let (held, promised) = (100.0 * measured, 100.0 * forecast.nominal_coverage);
            let summary =
                format!("intervals of {group} {metric} held {held:.0} % of the time and promise {promised:.0} %");
            let remedy =
                format!("trust falls by itself; foreshadow models {group}; was there an event nobody entered?");
            found.push(alarm(Kind::CoverageLost, subject_of(group, metric), Severity::Ticket, summary, remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use foreshadow_proto::v1;
    use planner::policy::Metric;
    use serde_json::json;

    use super::*;
    use crate::rounds::{AnswersCapacity, PredictError};

    #[derive(Debug)]
    struct Nothing;

    impl AnswersCapacity for Nothing {
        fn capacity_at(&self, _: Option<i64>, _: Option<f64>) -> Result<v1::PredictCapacityResponse, PredictError> {
            Err(PredictError::NoGroup)
        }

        fn scaled_to(&self, _: Option<Metric>, _: Option<f64>) -> Option<u32> {
            None
        }
    }

    fn report(holds: &[Hold], measured: Option<f64>) -> Arc<GroupReport> {
        let forecast = v1::Forecast { measured_coverage: measured, nominal_coverage: 0.8, ..v1::Forecast::default() };
        Arc::new(GroupReport {
            summary: v1::Group { name: "web".to_owned(), ..v1::Group::default() },
            forecasts: [("cpu".to_owned(), forecast)].into(),
            leads: (0, 0),
            measured_events: Vec::new(),
            metrics: [].into(),
            newest_minute: None,
            bounds: (0, 0),
            confidence: 0.9,
            plan: Some(Arc::new(json!({"made_at": 1_000, "holds": holds}))),
            evidence: Arc::new(Nothing),
        })
    }

    fn kinds(holds: &[Hold], measured: Option<f64>, now: i64) -> Vec<Kind> {
        alarms(&[report(holds, measured)], None, &[], now).iter().map(|alarm| alarm.kind).collect()
    }

    #[test]
    fn a_group_alarms_by_what_its_plan_says() {
        assert!(
            kinds(&[Hold::Paused, Hold::ClaimedGroup], Some(0.75), 1_010).is_empty(),
            "an operator's word is no alarm"
        );
        assert!(kinds(&[], None, 1_010).is_empty(), "what was not measured yet is not lost");
        assert!(kinds(&[Hold::NoEvidence { metric: Metric::Cpu }], None, 1_010).is_empty(), "nobody serves");
        let stale = Hold::StaleSamples { metric: Metric::Cpu, age_seconds: 300, fresh_seconds: 120 };
        let spent = Hold::BudgetSpent { budget: Budget::Money { per_hour: 3.0 } };
        assert_eq!(
            kinds(&[stale.clone(), Hold::LaunchesFailing, spent], Some(0.6), 1_010),
            [Kind::StaleData, Kind::LaunchesFail, Kind::ShadowBudgetSpent, Kind::CoverageLost]
        );
        assert!(kinds(&[Hold::BudgetSpent { budget: Budget::Launches { per_hour: 3 } }], None, 1_010).is_empty());
        assert_eq!(kinds(&[stale], Some(0.6), 1_061), [Kind::GroupWithoutPlan], "an old plan says nothing else");
    }

    #[test]
    fn what_is_not_known_yet_is_not_over() {
        let alarm = |kind, subject: &str, group: Option<&str>| Alarm {
            kind,
            subject: subject.to_owned(),
            group: group.map(str::to_owned),
            severity: Severity::Page,
            summary: String::new(),
            remedy: String::new(),
        };
        let planned = [report(&[], None)];
        let unplanned = [Arc::new(GroupReport { plan: None, ..GroupReport::clone(&planned[0]) })];
        let measured = [report(&[], Some(0.8))];
        let stale = alarm(Kind::StaleData, "web", Some("web"));
        assert_eq!([&[][..], &unplanned, &planned].map(|reports| is_known(&stale, reports)), [false, false, true]);
        let lost = alarm(Kind::CoverageLost, "web cpu", Some("web"));
        assert_eq!([&planned, &measured].map(|reports| is_known(&lost, reports)), [false, true]);
        assert!(!is_known(&alarm(Kind::CoverageLost, "web memory", Some("web")), &measured), "another metric's");
        assert!(is_known(&alarm(Kind::StoreRefuses, "store", None), &[]));
    }

    #[test]
    fn what_ends_is_told_before_it_ends() {
        let of = |left: i64| {
            let found = alarms(&[], None, &[("a.pem".to_owned(), 1_000 + left)], 1_000);
            found.into_iter().map(|alarm| (alarm.severity, alarm.summary)).next()
        };
        assert_eq!(of(15 * 86_400), None);
        assert_eq!(of(10 * 86_400), Some((Severity::Ticket, "the certificate in a.pem ends in 240 h".to_owned())));
        assert_eq!(of(86_400).map(|(severity, _)| severity), Some(Severity::Page));
        assert_eq!(of(-1), Some((Severity::Page, "the certificate in a.pem has ended".to_owned())));
        assert_eq!(alarms(&[], Some("the disk is full"), &[], 0)[0].kind, Kind::StoreRefuses);
    }
}
