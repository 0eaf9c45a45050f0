//! The plan log: every plan that differs from the one before, so that "why" has an answer later.

use std::collections::BTreeMap;

use foreshadow_proto::convert::Id;
use futures::TryStreamExt as _;
use planner::plan::Plan;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Row, SqlitePool};

use super::sql;

/// Plans are kept this long, seconds.
const KEPT_SECONDS: i64 = 30 * 86_400;

/// Plans are written anew every five minutes at least; beyond three times that nobody planned, seconds.
const UNBROKEN_SECONDS: i64 = 900;

/// What a group's plans came to over time.
#[derive(Debug, Default, Serialize, utoipa::ToSchema)]
pub struct Course {
    /// Plans the stretches are made of.
    pub plans: usize,
    /// Oldest first.
    pub stretches: Vec<Stretch>,
    /// The lowest trust of each hour, by the hour's start, seconds since the Unix epoch.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub trust: BTreeMap<i64, f64>,
}

/// Plans one after another that say the same.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Stretch {
    /// Seconds since the Unix epoch: when the first was made, and the last.
    from: i64,
    until: i64,
    /// Of the first.
    generation: u64,
    #[serde(flatten)]
    said: Said,
}

/// What plans are compared by.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = PlanSaid)]
struct Said {
    mode: String,
    serving: u32,
    warming: u32,
    need_now: Option<u32>,
    need_ahead: Option<u32>,
    steps: Vec<StepSaid>,
    /// The holds' words.
    holds: Vec<String>,
}

/// A step without its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
struct StepSaid {
    step: String,
    instances: usize,
    permitted: bool,
}

/// Of a stored plan, what a course needs.
#[derive(Deserialize)]
struct Kept {
    generation: u64,
    made_at: i64,
    mode: String,
    serving: u32,
    warming: u32,
    need_now: Option<u32>,
    need_ahead: Option<u32>,
    needs: Vec<KeptNeed>,
    steps: Vec<KeptStep>,
    holds: Vec<KeptHold>,
}

#[derive(Deserialize)]
struct KeptNeed {
    trust: f64,
}

#[derive(Deserialize)]
struct KeptStep {
    step: String,
    count: Option<usize>,
    /// Of a floor: how low.
    to: Option<usize>,
    instances: Option<Vec<String>>,
    permitted: bool,
}

#[derive(Deserialize)]
struct KeptHold {
    hold: String,
}

impl Course {
    fn take(&mut self, kept: Kept) {
        self.plans += 1;
        let trust = kept.needs.iter().map(|need| need.trust).fold(f64::INFINITY, f64::min);
        if trust.is_finite() {
            let lowest = self.trust.entry(kept.made_at.div_euclid(3_600) * 3_600).or_insert(trust);
            *lowest = lowest.min(trust);
        }
        let steps = kept.steps.into_iter().map(|step| StepSaid {
            instances: step.count.or(step.to).or_else(|| step.instances.map(|names| names.len())).unwrap_or_default(),
            step: step.step,
            permitted: step.permitted,
        });
        let said = Said {
            mode: kept.mode,
            serving: kept.serving,
            warming: kept.warming,
            need_now: kept.need_now,
            need_ahead: kept.need_ahead,
            steps: steps.collect(),
            holds: kept.holds.into_iter().map(|hold| hold.hold).collect(),
        };
        match self.stretches.last_mut() {
            Some(last) if last.said == said && kept.made_at - last.until <= UNBROKEN_SECONDS => {
                last.until = kept.made_at;
            }
            _ => {
                let (from, until, generation) = (kept.made_at, kept.made_at, kept.generation);
                self.stretches.push(Stretch { from, until, generation, said });
            }
        }
    }
}

/// Reads and writes plans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PlanLog(SqlitePool);

/// Numbers left out after a restart, whatever its clock says.
const GENERATIONS_APART: i64 = 1_000;

impl PlanLog {
    pub const fn new(pool: SqlitePool) -> Self {
        Self(pool)
    }

    /// A generation of a group that no plan has had, to go on from; 0 before the first. Plans that say nothing new are not
    /// kept, and a store that is put back from a backup has forgotten what came after it: with at most one plan a second, none
    /// of the numbers since can reach this one.
    pub async fn go_on_from(&self, group: &Id, now: i64) -> Result<u64, sqlx::Error> {
        let Some(row) = sqlx::query(sql::PLAN_LAST).bind(group.as_str()).fetch_optional(&self.0).await? else {
            return Ok(0);
        };
        let (last, made_at): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let since = (now - made_at).max(0).saturating_add(GENERATIONS_APART);
        Ok(u64::try_from(last.saturating_add(since)).unwrap_or_default())
    }

    pub(super) async fn write(&self, group: &Id, plan: &Plan, shown: &Value) -> Result<(), sqlx::Error> {
        sqlx::query(sql::PLAN_WRITE)
            .bind(group.as_str())
            .bind(i64::try_from(plan.generation).unwrap_or(i64::MAX))
            .bind(plan.made_at)
            .bind(shown.to_string())
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// The latest plans of a group that were made at `until` (seconds since the epoch) or before, newest first.
    pub async fn plans(&self, group: &Id, until: i64, limit: u32) -> Result<Vec<Value>, sqlx::Error> {
        let query = sqlx::query(sql::PLAN_READ).bind(group.as_str()).bind(until).bind(i64::from(limit));
        let mut plans = Vec::new();
        for row in query.fetch_all(&self.0).await? {
            let body: String = row.try_get(0)?;
            plans.extend(serde_json::from_str::<Value>(&body).ok());
        }
        Ok(plans)
    }

    /// What the plans made in `[from, to)` (seconds since the epoch) came to.
    pub async fn course(&self, group: &Id, from: i64, to: i64) -> Result<Course, sqlx::Error> {
        let query = sqlx::query_scalar::<_, String>(sql::PLAN_COURSE).bind(group.as_str()).bind(from).bind(to);
        let mut bodies = query.fetch(&self.0);
        let mut course = Course::default();
        while let Some(body) = bodies.try_next().await? {
            // A plan of a later version that cannot be read is left out, as it is in the list of plans.
            if let Ok(kept) = serde_json::from_str(&body) {
                course.take(kept);
            }
        }
        Ok(course)
    }

    /// One plan of a group, or the first and last generation that are kept.
    pub async fn plan(&self, group: &Id, generation: u64) -> Result<Result<Value, (i64, i64)>, sqlx::Error> {
        let number = i64::try_from(generation).unwrap_or(i64::MAX);
        let query = sqlx::query_scalar::<_, String>(sql::PLAN_ONE).bind(group.as_str()).bind(number);
        if let Some(plan) = query.fetch_optional(&self.0).await?.and_then(|body| serde_json::from_str(&body).ok()) {
            return Ok(Ok(plan));
        }
        let row = sqlx::query(sql::PLAN_SPAN).bind(group.as_str()).fetch_one(&self.0).await?;
        Ok(Err((row.try_get(0)?, row.try_get(1)?)))
    }

    pub(super) async fn expire(&self, now: i64) -> Result<(), sqlx::Error> {
        sqlx::query(sql::PLAN_EXPIRE).bind(now - KEPT_SECONDS).execute(&self.0).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

    use super::*;

    fn plan(generation: u64, made_at: i64, serving: u32, trust: f64) -> Kept {
        let shown = json!({"generation": generation, "made_at": made_at, "mode": "observe", "serving": serving, "warming": 0,
            "need_now": 3, "need_ahead": null, "needs": [{"metric": "cpu", "trust": trust}], "holds": [{"hold": "Paused"}],
            "steps": [{"step": "launch", "count": 2, "reason": "r", "permitted": false},
                {"step": "detach", "instances": ["i-1"], "reason": "r", "permitted": true}]});
        serde_json::from_value(shown).expect("a plan as it is stored")
    }

    #[tokio::test]
    async fn no_generation_comes_twice_after_a_restart_or_a_backup() {
        let memory = SqliteConnectOptions::new().in_memory(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(memory).await.expect("a database");
        sqlx::migrate!().run(&pool).await.expect("migrated");
        let (plans, web) = (PlanLog::new(pool.clone()), Id::new("group", "web").expect("an id"));
        assert_eq!(plans.go_on_from(&web, 5_000).await.expect("read"), 0);
        for (generation, made_at) in [(7, 1_000), (9, 1_020)] {
            let write = sqlx::query(sql::PLAN_WRITE).bind("web").bind(generation).bind(made_at).bind("{}");
            write.execute(&pool).await.expect("written");
        }
        assert_eq!(plans.go_on_from(&web, 1_020).await.expect("read"), 1_009);
        // What is put back a day later has forgotten no more plans than that.
        assert_eq!(plans.go_on_from(&web, 1_020 + 86_400).await.expect("read"), 87_409);
        assert_eq!(plans.go_on_from(&web, 0).await.expect("read"), 1_009, "whatever the clock says");
    }

    #[test]
    fn plans_that_say_the_same_are_one_stretch_until_nobody_plans() {
        let mut course = Course::default();
        for kept in [plan(1, 0, 5, 0.9), plan(2, 300, 5, 0.7), plan(3, 600, 6, 0.8), plan(4, 4_000, 6, 0.8)] {
            course.take(kept);
        }
        let spans: Vec<_> = course.stretches.iter().map(|it| (it.from, it.until, it.generation)).collect();
        assert_eq!(spans, [(0, 300, 1), (600, 600, 3), (4_000, 4_000, 4)]);
        assert_eq!((course.plans, &course.trust), (4, &BTreeMap::from([(0, 0.7), (3_600, 0.8)])));
        let shown = serde_json::to_value(&course.stretches[0]).expect("JSON");
        assert_eq!(shown["steps"][0], json!({"step": "launch", "instances": 2, "permitted": false}));
        assert_eq!(shown["steps"][1], json!({"step": "detach", "instances": 1, "permitted": true}));
        assert_eq!((&shown["serving"], &shown["holds"][0]), (&5.into(), &"Paused".into()));
    }

    #[test]
    fn a_plan_as_the_planner_makes_it_is_read() {
        let policy = planner::policy::Policy::new("web");
        let (plan, _) = planner::plan(100, &policy, &planner::evidence::Evidence::default(), &Default::default());
        let kept: Kept =
            serde_json::from_value(serde_json::to_value(&plan).expect("JSON")).expect("what a course needs");
        assert_eq!((kept.made_at, kept.mode.as_str(), kept.holds.is_empty()), (100, "observe", false));
    }
}
