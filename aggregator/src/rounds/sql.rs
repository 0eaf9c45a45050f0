//! Statements of the plan log and of what those that serve used; each runs on SQLite and PostgreSQL alike.

pub(crate) const PLAN_WRITE: &str = "INSERT INTO plan (group_name, generation, made_at, body) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (group_name, generation) DO NOTHING";
pub(crate) const PLAN_READ: &str =
    "SELECT body FROM plan WHERE group_name = $1 AND made_at <= $2 ORDER BY generation DESC LIMIT $3";
pub(crate) const PLAN_COURSE: &str =
    "SELECT body FROM plan WHERE group_name = $1 AND made_at >= $2 AND made_at < $3 ORDER BY generation";
pub(crate) const PLAN_ONE: &str = "SELECT body FROM plan WHERE group_name = $1 AND generation = $2";
pub(crate) const PLAN_SPAN: &str =
    "SELECT COALESCE(MIN(generation), 0), COALESCE(MAX(generation), 0) FROM plan WHERE group_name = $1";
pub(crate) const PLAN_LAST: &str =
    "SELECT generation, made_at FROM plan WHERE group_name = $1 ORDER BY generation DESC LIMIT 1";
pub(crate) const PLAN_EXPIRE: &str = "DELETE FROM plan WHERE made_at < $1";

pub(crate) const PULSE_WRITE: &str = "INSERT INTO pulse (group_name, since, cpu, packets) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (group_name, since) DO UPDATE SET cpu = excluded.cpu, packets = excluded.packets";
pub(crate) const PULSE_READ: &str =
    "SELECT since, cpu, packets FROM pulse WHERE group_name = $1 AND since >= $2 ORDER BY since";
pub(crate) const PULSE_EXPIRE: &str = "DELETE FROM pulse WHERE since < $1";

pub(crate) const FORECAST_HOUR_WRITE: &str = "INSERT INTO forecast_hour (group_name, metric, band, hour, promised, inside, \
    outcomes, loss, day_before, compared, wide_promised, wide_inside, wide_outcomes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
    ON CONFLICT (group_name, metric, band, hour) DO UPDATE SET promised = excluded.promised, inside = excluded.inside, \
    outcomes = excluded.outcomes, loss = excluded.loss, day_before = excluded.day_before, compared = excluded.compared, \
    wide_promised = excluded.wide_promised, wide_inside = excluded.wide_inside, wide_outcomes = excluded.wide_outcomes";
pub(crate) const FORECAST_HOUR_READ: &str = "SELECT metric, band, hour, promised, inside, outcomes, loss, day_before, compared, \
    wide_promised, wide_inside, wide_outcomes FROM forecast_hour WHERE group_name = $1 ORDER BY hour";
pub(crate) const FORECAST_HOUR_EXPIRE: &str = "DELETE FROM forecast_hour WHERE hour < $1";

pub(crate) const ALL: &[(&str, &str)] = &[
    ("PLAN_WRITE", PLAN_WRITE),
    ("PLAN_READ", PLAN_READ),
    ("PLAN_COURSE", PLAN_COURSE),
    ("PLAN_ONE", PLAN_ONE),
    ("PLAN_SPAN", PLAN_SPAN),
    ("PLAN_LAST", PLAN_LAST),
    ("PLAN_EXPIRE", PLAN_EXPIRE),
    ("PULSE_WRITE", PULSE_WRITE),
    ("PULSE_READ", PULSE_READ),
    ("PULSE_EXPIRE", PULSE_EXPIRE),
    ("FORECAST_HOUR_WRITE", FORECAST_HOUR_WRITE),
    ("FORECAST_HOUR_READ", FORECAST_HOUR_READ),
    ("FORECAST_HOUR_EXPIRE", FORECAST_HOUR_EXPIRE),
];
