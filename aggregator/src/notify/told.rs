//! What was told: an alarm stands for a while before it is, once, and so is its end.

use std::collections::{BTreeMap, BTreeSet};

use super::alarm::{Alarm, Kind};

/// What is over is told to Alertmanager for this long, seconds: one of its answers may have been lost.
const OVER_SECONDS: i64 = 900;
/// After a restart nothing that was told before is over within these: two rounds are made by then, seconds …
const SETTLING_SECONDS: i64 = 20;
/// … and of what nothing is known after so long there is nothing any more: a group that was taken away meanwhile.
const UNKNOWN_SECONDS: i64 = 900;

/// An alarm with its times, seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub alarm: Alarm,
    pub since: i64,
    /// When it was over; `None` while it stands.
    pub over: Option<i64>,
    told: bool,
}

impl Standing {
    /// One that was told before a restart.
    pub const fn again(alarm: Alarm, since: i64, over: Option<i64>) -> Self {
        Self { alarm, since, over, told: true }
    }
}

/// All alarms that stand or stood a moment ago. `on` is all that moves it.
#[derive(Debug, Default)]
pub struct Told {
    /// How long an alarm must stand, seconds.
    after: i64,
    all: BTreeMap<(Kind, String), Standing>,
    /// Told before the restart and not heard of since.
    unheard: BTreeSet<(Kind, String)>,
    restarted: i64,
}

impl Told {
    pub fn new(after: i64) -> Self {
        Self { after, ..Self::default() }
    }

    /// What was told before a restart: it is not told anew, and its end is.
    pub fn go_on(&mut self, told: Vec<Standing>, now: i64) {
        self.all = told.into_iter().map(|it| ((it.alarm.kind, it.alarm.subject.clone()), it)).collect();
        self.unheard = self.all.keys().cloned().collect();
        self.restarted = now;
    }

    /// Takes what is the matter now, and gives what there is to tell: alarms that began to count, and those that are over.
    /// `is_known` says whether an alarm that stood would be among them.
    pub fn on(&mut self, alarms: Vec<Alarm>, now: i64, is_known: impl Fn(&Alarm) -> bool) -> Vec<Standing> {
        let mut news = Vec::new();
        let mut now_standing = Vec::new();
        for alarm in alarms {
            let key = (alarm.kind, alarm.subject.clone());
            let at_once = alarm.kind.at_once();
            self.unheard.remove(&key);
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
                let after = now - self.restarted;
                let told = after >= SETTLING_SECONDS && (after >= UNKNOWN_SECONDS || is_known(&standing.alarm));
                if self.unheard.contains(key) && !told {
                    continue;
                }
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

    fn on(told: &mut Told, alarms: Vec<Alarm>, now: i64) -> Vec<Standing> {
        told.on(alarms, now, |_| true)
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_anew_and_its_end_is_when_it_is_known() {
        let mut told = Told::new(120);
        let before = |kind, over| Standing::again(alarm(kind, "web"), 7, over);
        let stands =
            [before(Kind::StaleData, None), before(Kind::LaunchesFail, None), before(Kind::CoverageLost, None)];
        told.go_on(stands.into_iter().chain([before(Kind::StoreRefuses, Some(900))]).collect(), 1_000);
        let launches = |it: &Alarm| it.kind == Kind::LaunchesFail;
        let still = || vec![alarm(Kind::StaleData, "web")];
        assert!(told.on(vec![], 1_000, |_| true).is_empty(), "nothing was looked at yet");
        assert!(told.on(still(), 1_019, launches).is_empty(), "it was told before");
        let news = |told: &mut Told, alarms, now| {
            told.on(alarms, now, launches).iter().map(|it| (it.alarm.kind, it.since, it.over)).collect::<Vec<_>>()
        };
        assert_eq!(news(&mut told, still(), 1_020), [(Kind::LaunchesFail, 7, Some(1_020))]);
        // Heard of since it is over as ever; of a group that is no more nothing will be heard.
        assert_eq!(news(&mut told, vec![], 1_040), [(Kind::StaleData, 7, Some(1_040))]);
        assert!(news(&mut told, vec![], 1_899).is_empty());
        assert_eq!(news(&mut told, vec![], 1_900), [(Kind::CoverageLost, 7, Some(1_900))]);
        assert_eq!(
            told.on(vec![alarm(Kind::StaleData, "web")], 2_000, |_| true).len(),
            0,
            "anew it must stand a while"
        );
        assert_eq!(told.on(vec![alarm(Kind::StaleData, "web")], 2_120, |_| true)[0].since, 2_000);
    }

    #[test]
    fn an_alarm_is_told_once_after_a_while_and_its_end_once() {
        let mut told = Told::new(120);
        let stale = || vec![alarm(Kind::StaleData, "web")];
        assert!(on(&mut told, stale(), 0).is_empty() && on(&mut told, stale(), 119).is_empty());
        let news = on(&mut told, stale(), 120);
        assert_eq!(news.iter().map(|news| (news.since, news.over)).collect::<Vec<_>>(), [(0, None)]);
        assert!(on(&mut told, stale(), 180).is_empty(), "once");
        assert_eq!(on(&mut told, vec![], 200)[0].over, Some(200));
        assert!(on(&mut told, vec![], 210).is_empty(), "once");
        assert_eq!(told.told().count(), 1, "Alertmanager hears of it a while longer");
        on(&mut told, vec![], 200 + OVER_SECONDS);
        assert_eq!(told.told().count(), 0);
    }

    #[test]
    fn what_did_not_stand_is_told_neither_begun_nor_over_and_what_is_back_begins_anew() {
        let mut told = Told::new(120);
        on(&mut told, vec![alarm(Kind::StaleData, "web")], 0);
        assert!(on(&mut told, vec![], 60).is_empty());
        assert!(on(&mut told, vec![alarm(Kind::StaleData, "web")], 130).is_empty(), "it began at 130");
        assert_eq!(on(&mut told, vec![alarm(Kind::StaleData, "web")], 250).len(), 1);
        assert_eq!(on(&mut told, vec![alarm(Kind::CertificateEnds, "a.pem")], 260).len(), 2, "one over, one at once");
        assert_eq!(on(&mut told, vec![alarm(Kind::StaleData, "web")], 270).len(), 1, "the other is over");
        assert_eq!(on(&mut told, vec![alarm(Kind::StaleData, "web")], 390)[0].since, 270);
    }
}
