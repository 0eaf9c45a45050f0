//! What was told: an alarm stands for a while before it is, once, and so is its end.

use std::collections::BTreeMap;

use super::alarm::{Alarm, Kind};

/// What is over is told to Alertmanager for this long, seconds: one of its answers may have been lost.
const OVER_SECONDS: i64 = 900;

/// An alarm with its times, seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub alarm: Alarm,
    pub since: i64,
    /// When it was over; `None` while it stands.
    pub over: Option<i64>,
    told: bool,
}

/// All alarms that stand or stood a moment ago. `on` is all that moves it.
#[derive(Debug, Default)]
pub struct Told {
    /// How long an alarm must stand, seconds.
    after: i64,
    all: BTreeMap<(Kind, String), Standing>,
}

impl Told {
    pub fn new(after: i64) -> Self {
        Self { after, all: BTreeMap::new() }
    }

    /// Takes what is the matter now, and gives what there is to tell: alarms that began to count, and those that are over.
    pub fn on(&mut self, alarms: Vec<Alarm>, now: i64) -> Vec<Standing> {
        let mut news = Vec::new();
        let mut now_standing = Vec::new();
        for alarm in alarms {
            let key = (alarm.kind, alarm.subject.clone());
            let at_once = alarm.kind.at_once();
            now_standing.push(key.clone());
            let standing = self.all.entry(key).or_insert_with(|| Standing {
                alarm: alarm.clone(),
                since: now,
                over: None,
                told: false,
            });
            if standing.over.is_some() {
                *standing = Standing { alarm: alarm.clone(), since: now, over: None, told: false };
            }
            standing.alarm = alarm;
            if !standing.told && (at_once || now - standing.since >= self.after) {
                standing.told = true;
                news.push(standing.clone());
            }
        }
        for (key, standing) in &mut self.all {
            if standing.over.is_none() && !now_standing.contains(key) {
                standing.over = Some(now);
                if standing.told {
                    news.push(standing.clone());
                }
            }
        }
        self.all.retain(|_, standing| standing.over.is_none_or(|over| standing.told && now - over < OVER_SECONDS));
        news
    }

    /// Everything that was told, and stands or was over a moment ago.
    pub fn told(&self) -> impl Iterator<Item = &Standing> {
        self.all.values().filter(|standing| standing.told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::alarm::Severity;
    use super::*;

    fn alarm(kind: Kind, subject: &str) -> Alarm {
        Alarm {
            kind,
            subject: subject.to_owned(),
            group: None,
            severity: Severity::Page,
            summary: String::new(),
            remedy: String::new(),
        }
    }

    #[test]
    fn an_alarm_is_told_once_after_a_while_and_its_end_once() {
        let mut told = Told::new(120);
        let stale = || vec![alarm(Kind::StaleData, "web")];
        assert!(told.on(stale(), 0).is_empty() && told.on(stale(), 119).is_empty());
        let news = told.on(stale(), 120);
        assert_eq!(news.iter().map(|news| (news.since, news.over)).collect::<Vec<_>>(), [(0, None)]);
        assert!(told.on(stale(), 180).is_empty(), "once");
        assert_eq!(told.on(vec![], 200)[0].over, Some(200));
        assert!(told.on(vec![], 210).is_empty(), "once");
        assert_eq!(told.told().count(), 1, "Alertmanager hears of it a while longer");
        told.on(vec![], 200 + OVER_SECONDS);
        assert_eq!(told.told().count(), 0);
    }

    #[test]
    fn what_did_not_stand_is_told_neither_begun_nor_over_and_what_is_back_begins_anew() {
        let mut told = Told::new(120);
        told.on(vec![alarm(Kind::StaleData, "web")], 0);
        assert!(told.on(vec![], 60).is_empty());
        assert!(told.on(vec![alarm(Kind::StaleData, "web")], 130).is_empty(), "it began at 130");
        assert_eq!(told.on(vec![alarm(Kind::StaleData, "web")], 250).len(), 1);
        assert_eq!(told.on(vec![alarm(Kind::CertificateEnds, "a.pem")], 260).len(), 2, "one over, one at once");
        assert_eq!(told.on(vec![alarm(Kind::StaleData, "web")], 270).len(), 1, "the other is over");
        assert_eq!(told.on(vec![alarm(Kind::StaleData, "web")], 390)[0].since, 270);
    }
}
