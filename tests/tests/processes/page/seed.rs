//! The past of the page's groups: minutes, plans, intents, lead times and shadow sessions, as they would have been written.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use sqlx::{Sqlite, SqlitePool, Transaction};

pub const MACHINES: u32 = 14;
/// Those that somebody took out of the group.
pub const DETACHED: [&str; 2] = ["m-12", "m-13"];
/// How long ago, seconds.
const STOOD: i64 = 3_600;

fn statement(name: &str) -> anyhow::Result<&'static str> {
    Ok(foreshadow::sql::statements().find(|(own, _)| *own == name).context("the statement")?.1)
}

/// From 0 to 1, the same for the same number; the finaliser of SplitMix64.
fn noise(number: i64) -> f64 {
    let mut mixed = (number as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((mixed ^ (mixed >> 31)) >> 40) as f64 / f64::from(1_u32 << 24)
}

/// Points of the whole group: a working day with its noon and its evening, a quieter weekend.
pub fn demand(minute: i64) -> f64 {
    let turn = std::f64::consts::TAU * (minute.rem_euclid(1_440) as f64) / 1_440.0;
    let weekend = if (minute.div_euclid(1_440) + 4).rem_euclid(7) < 2 { 0.75 } else { 1.0 };
    let shape = 1.0 - 0.42 * (turn - 0.9).cos() + 0.16 * (2.0 * turn + 0.6).sin();
    430.0 * weekend * shape * (0.97 + 0.06 * noise(minute / 5)) + 10.0 * noise(minute)
}

fn need(points: f64) -> u32 {
    (points / 60.0).ceil() as u32
}

/// The highest need of the next half hour.
fn ahead(minute: i64) -> u32 {
    need((0..30).step_by(5).map(|later| demand(minute + later)).fold(0.0, f64::max) * 1.05)
}

fn served(minute: i64) -> u32 {
    (ahead(minute - minute.rem_euclid(10)) + 1).max(2)
}

/// What the forecasts of an hour came to, of those that were made so far ahead of it.
#[derive(Debug, Clone, Copy)]
pub struct ForecastHour {
    band: &'static str,
    hour: i64,
    inside: u32,
    outcomes: u32,
    loss: f64,
    day_before: f64,
}

impl ForecastHour {
    /// Half of what was outside was within the wider interval.
    const fn wide_inside(&self) -> u32 {
        self.outcomes - (self.outcomes - self.inside) / 2
    }

    /// As the API tells it.
    pub fn told(&self) -> Value {
        let Self { band, hour, inside, outcomes, loss, day_before } = *self;
        json!({"band": band, "hour": hour, "inside": inside, "outcomes": outcomes, "loss": loss, "day_before": day_before})
    }
}

/// Two weeks of them: what looks far holds a little less and costs more, and half a day long something happened that nobody had
/// entered.
pub fn forecast_hours(now: i64) -> Vec<ForecastHour> {
    const BANDS: [(&str, u32, f64, f64); 3] = [("1h", 24, 0.84, 0.35), ("6h", 24, 0.81, 0.55), ("24h", 36, 0.79, 0.75)];
    let this_hour = now.div_euclid(3_600);
    let of = |back: i64| {
        BANDS.into_iter().zip(0..).map(move |((band, outcomes, held, cost), number)| {
            let hour = this_hour - back;
            let strange = (110..122).contains(&back);
            let dice = |salt: i64| noise(hour * 11 + number * 3 + salt);
            let share = held + 0.14 * (dice(0) - 0.5) - if strange { 0.35 } else { 0.0 };
            let day_before = 9.0 * f64::from(outcomes) * (0.8 + 0.4 * dice(1));
            let loss = day_before * (cost + 0.2 * (dice(2) - 0.5) + if strange { 0.9 } else { 0.0 });
            let inside = (share * f64::from(outcomes)).round() as u32;
            ForecastHour { band, hour: hour * 3_600, inside: inside.min(outcomes), outcomes, loss, day_before }
        })
    };
    (1..=14 * 24).rev().flat_map(of).collect()
}

/// Writes hours of CPU of a group as they are kept; of each the interval promised four in five.
pub async fn write_forecast_hours(
    to: &mut Transaction<'_, Sqlite>,
    group: &str,
    hours: &[ForecastHour],
) -> anyhow::Result<()> {
    for hour in hours {
        sqlx::query(statement("FORECAST_HOUR_WRITE")?)
            .bind(group)
            .bind("cpu")
            .bind(hour.band)
            .bind(hour.hour)
            .bind(0.8)
            .bind(hour.inside)
            .bind(hour.outcomes)
            .bind(hour.loss)
            .bind(hour.day_before)
            .bind(hour.outcomes)
            .bind(0.9)
            .bind(hour.wide_inside())
            .bind(hour.outcomes)
            .execute(&mut **to)
            .await?;
    }
    Ok(())
}

/// Instances that were let in by certificate: two that are, and one that was thrown out.
async fn write_certificates(to: &mut Transaction<'_, Sqlite>, now: i64) -> anyhow::Result<()> {
    let micros = |seconds: i64| seconds * 1_000_000;
    for (number, (instance, ago)) in [("m-40", 9_000), ("m-41", 400_000), ("m-42", 800_000)].into_iter().enumerate() {
        let number = number as u8 + 1;
        let key = sqlx::query(statement("KEY_WRITE")?).bind(instance).bind(vec![number * 37; 32]);
        key.bind(micros(now - ago)).bind("5f3a9c0277d1e84b").execute(&mut **to).await?;
        let certificate = sqlx::query(statement("CERTIFICATE_WRITE")?).bind(vec![number * 53; 32]).bind(instance);
        certificate.bind(micros(now - 3_600)).bind(micros(now + 82_800)).execute(&mut **to).await?;
    }
    sqlx::query(statement("KEY_REVOKE")?).bind(micros(now - 7_200)).bind("m-42").execute(&mut **to).await?;
    Ok(())
}

async fn open(directory: &Path) -> anyhow::Result<SqlitePool> {
    let file = directory.join("data/foreshadow.db");
    Ok(SqlitePool::connect(&format!("sqlite://{}", file.display())).await?)
}

async fn write_minutes(
    to: &mut Transaction<'_, Sqlite>,
    group: &str,
    now: i64,
    days: i64,
    scale: f64,
) -> anyhow::Result<()> {
    let insert = statement("MINUTE_WRITE")?;
    for minute in (now / 60 - days * 1_440)..(now / 60) {
        // An hour in which nobody measured, four days ago: beside what a test looks at, at any time of day.
        if (5_760..5_820).contains(&(now / 60 - minute)) {
            continue;
        }
        let (gross, serving) = (scale * demand(minute), i64::from(served(minute)));
        sqlx::query(insert)
            .bind(group)
            .bind("cpu")
            .bind(minute * 60)
            .bind(gross)
            .bind(gross * (1.02 + 0.1 * noise(minute * 3)))
            .bind(serving as f64)
            .bind(serving)
            .bind(serving)
            .bind(i64::from(minute.rem_euclid(4_000) < 15))
            .execute(&mut **to)
            .await?;
    }
    Ok(())
}

/// A shadow session, as it is stored.
#[derive(Debug, Clone, Copy)]
struct Session<'a> {
    number: i64,
    group: &'a str,
    instance: &'a str,
    origin: &'a str,
    started: i64,
    ended: Option<i64>,
    why: &'a str,
}

async fn write_session(to: &mut Transaction<'_, Sqlite>, session: Session<'_>) -> anyhow::Result<()> {
    let Session { number, group, instance, origin, started, ended, why } = session;
    sqlx::query(statement("SESSION_WRITE")?)
        .bind(number)
        .bind(instance)
        .bind(group)
        .bind("m5.large")
        .bind(origin)
        .bind(started)
        .bind(started + 5_400)
        .bind(ended)
        .bind(why)
        .bind(0.107)
        .bind(None::<&str>)
        .bind(started + 86_400)
        .bind(None::<i64>)
        .execute(&mut **to)
        .await?;
    Ok(())
}

async fn write_placement(
    to: &mut Transaction<'_, Sqlite>,
    instance: &str,
    since: i64,
    mode: &str,
) -> anyhow::Result<()> {
    let insert = sqlx::query(statement("PLACEMENT_WRITE")?).bind(instance).bind(since * 1_000_000).bind("web");
    insert.bind(mode).bind(0_i64).execute(&mut **to).await?;
    Ok(())
}

/// Open shadow sessions of `web`, and nothing else: instances with their origin.
pub async fn shadows(directory: &Path, now: i64, instances: &[(&str, &str)]) -> anyhow::Result<()> {
    let pool = open(directory).await?;
    let mut transaction = pool.begin().await?;
    for (number, (instance, origin)) in instances.iter().enumerate() {
        write_placement(&mut transaction, instance, now - STOOD, "shadow").await?;
        let (number, started) = (number as i64 + 1, now - STOOD);
        let open = Session { number, group: "web", instance, origin, started, ended: None, why: "a test" };
        write_session(&mut transaction, open).await?;
    }
    transaction.commit().await?;
    pool.close().await;
    Ok(())
}

/// Sessions that are over: instances, with how long ago they began and ended, seconds.
pub async fn ended(directory: &Path, group: &str, now: i64, sessions: &[(&str, i64, i64)]) -> anyhow::Result<()> {
    let pool = open(directory).await?;
    let mut transaction = pool.begin().await?;
    for (number, (instance, began, ended)) in sessions.iter().enumerate() {
        let (number, started, ended) = (number as i64 + 1_001, now - began, Some(now - ended));
        let session =
            Session { number, group, instance, origin: "ours", started, ended, why: "terminated: all agreed" };
        write_session(&mut transaction, session).await?;
    }
    transaction.commit().await?;
    pool.close().await;
    Ok(())
}

/// An intent that is settled: done, or refused by the cloud, whose words are given then.
async fn write_intent(
    to: &mut Transaction<'_, Sqlite>,
    (group, number, written): (&str, i64, i64),
    action: &Value,
    why: &str,
    refused: Option<&str>,
) -> anyhow::Result<()> {
    let token = format!("{number:032x}");
    let mut body = json!({"token": token, "group": group, "generation": number, "step": 0, "epoch": 1, "written_at": written, "valid_until": written + 60});
    body.as_object_mut().context("an object")?.extend(action.as_object().cloned().unwrap_or_default());
    let insert = sqlx::query(statement("INTENT_WRITE")?).bind(&token).bind(group).bind(number).bind(0_i64).bind(1_i64);
    insert.bind(body.to_string()).bind(why).bind(written).execute(&mut **to).await?;
    let instances = action.get("instances").cloned().unwrap_or_else(|| json!(["m-20"]));
    let settled = match refused {
        None => json!({"settled": "done", "instances": instances}),
        Some(why) => json!({"settled": "refused", "why": [why], "by_cloud": true}),
    };
    let settle = sqlx::query(statement("INTENT_SETTLE")?).bind(&token).bind(written + 4).bind(settled.to_string());
    settle.execute(&mut **to).await?;
    Ok(())
}

/// How far apart the intents of a busy group are, and its sessions, seconds; and how long those last.
const INTENT_EVERY: usize = 900;
const SESSION_EVERY: usize = 2_000;
const SESSION_LASTS: i64 = 72_000;

/// Days of a group in which much is done: minutes, plans, intents, and as many sessions as are kept.
pub async fn busy(directory: &Path, group: &str, now: i64, days: i64) -> anyhow::Result<()> {
    let pool = open(directory).await?;
    let mut transaction = pool.begin().await?;
    write_minutes(&mut transaction, group, now, days, 1.0).await?;
    write_forecast_hours(&mut transaction, group, &forecast_hours(now)).await?;
    for (number, minute) in ((now / 60 - days * 1_440)..(now / 60)).step_by(5).enumerate() {
        let mut plan = plan(number as i64 + 1, minute);
        plan["group"] = group.into();
        let insert = sqlx::query(statement("PLAN_WRITE")?).bind(group).bind(number as i64 + 1).bind(minute * 60);
        insert.bind(plan.to_string()).execute(&mut *transaction).await?;
    }
    for (number, written) in ((now - days * 86_400)..(now - 60)).step_by(INTENT_EVERY).enumerate() {
        let action = match number % 3 {
            0 => json!({"action": "launch", "count": 2, "size": 12}),
            1 => json!({"action": "detach", "instances": [format!("m-{number}")]}),
            _ => json!({"action": "attach", "instances": [format!("m-{}", number - 1)]}),
        };
        let (at, why) = ((group, number as i64 + 1, written), "13 serve; 11 are needed over the next hour at 95 %");
        write_intent(&mut transaction, at, &action, why, (number % 50 == 0).then_some("no capacity")).await?;
    }
    for (number, ago) in (600..7 * 86_400).step_by(SESSION_EVERY).enumerate() {
        let (instance, ended) = (format!("m-{number}"), now - ago);
        let (started, number) = (ended - SESSION_LASTS, number as i64 + 1);
        let why = "terminated: all agreed";
        let over = Session { number, group, instance: &instance, origin: "ours", started, ended: Some(ended), why };
        write_session(&mut transaction, over).await?;
    }
    transaction.commit().await?;
    pool.close().await;
    Ok(())
}

/// A plan as it is stored.
fn plan(generation: i64, minute: i64) -> Value {
    let (serving, now_needed, soon) = (served(minute), need(demand(minute)), ahead(minute));
    let steps = match (soon + 1).cmp(&serving) {
        std::cmp::Ordering::Greater => json!([{"step": "launch", "count": soon + 1 - serving, "permitted": false,
            "reason": format!("cpu needs {soon} within 6 min at 90 %; {serving} serve")}]),
        std::cmp::Ordering::Less => json!([{"step": "detach", "instances": ["m-0"], "permitted": false,
            "reason": format!("{serving} serve; {soon} are needed over the next hour at 95 %")}]),
        std::cmp::Ordering::Equal => json!([]),
    };
    let trust = 0.62 + 0.2 * noise(minute / 300);
    json!({"group": "web", "generation": generation, "parent": generation - 1, "mode": "observe", "made_at": minute * 60,
        "valid_until": minute * 60 + 60, "confidence": 0.9, "serving": serving, "warming": 0, "binding": "cpu",
        "need_now": now_needed, "need_ahead": soon, "steps": steps, "holds": [{"hold": "BaselineInDoubt", "metric": "cpu", "doubt": "too_few_shadows"}],
        "holds_in_words": ["the idle cpu baseline is taken as zero: too few shadows"], "simulated": false, "verdicts": [],
        "not_taken": [{"direction": "scale_in", "instances": 1, "reason": "one more could go by the forecast",
            "holds": [{"hold": "BaselineInDoubt", "metric": "cpu", "doubt": "too_few_shadows"}]},
            {"direction": "scale_out", "instances": 2, "reason": "two more are wanted than a launch may bring at once",
            "holds": [{"hold": "LaunchCapped", "wanted": 2, "allowed": 0}]}],
        "needs": [{"metric": "cpu", "demand": demand(minute), "baseline": 0.0, "reactive": now_needed, "ahead": soon,
            "window": soon + 1, "without_baseline": now_needed, "trust": trust}]})
}

/// How long before the end of the past the plan was made that the checker refused, minutes.
const REFUSED: i64 = 120;

/// When it was made.
pub fn refused_at(now: i64) -> i64 {
    (now / 60 - REFUSED) * 60
}

/// A plan with a step that the checker lets, one that it refuses, and shadows that are left.
fn refused(generation: i64, minute: i64) -> Value {
    let mut plan = plan(generation, minute);
    plan["mode"] = "full".into();
    plan["steps"] = json!([
        {"step": "reattach", "instances": ["m-12"], "permitted": true, "reason": "cpu needs 12 now; what stands in shadow comes back first"},
        {"step": "detach", "instances": ["m-0", "m-1"], "permitted": false, "reason": "12 serve; 10 are needed over the next hour at 95 %"}]);
    plan["verdicts"] = json!([{"step": 0, "allowed": true, "refusals": []},
        {"step": 1, "allowed": false, "refusals": ["the detaches of fifteen minutes are spent", "m-1 is protected from scale-in"]}]);
    plan["not_taken"] =
        json!([{"direction": "shadow", "instances": 1, "reason": "m-13 is foreign: nobody adopted it", "holds": []}]);
    plan
}

/// Everything of `web`, and a little of the others.
pub async fn history(directory: &Path, now: i64) -> anyhow::Result<()> {
    let pool = open(directory).await?;
    let mut transaction = pool.begin().await?;
    write_minutes(&mut transaction, "web", now, 14, 1.0).await?;
    write_minutes(&mut transaction, "search", now, 1, 0.06).await?;
    write_forecast_hours(&mut transaction, "web", &forecast_hours(now)).await?;
    write_certificates(&mut transaction, now).await?;
    for (number, minute) in ((now / 60 - 7 * 1_440)..(now / 60)).step_by(5).enumerate() {
        let generation = number as i64 + 1;
        let insert = sqlx::query(statement("PLAN_WRITE")?).bind("web").bind(generation).bind(minute * 60);
        let plan = if minute * 60 == refused_at(now) { refused(generation, minute) } else { plan(generation, minute) };
        insert.bind(plan.to_string()).execute(&mut *transaction).await?;
    }
    for (number, (action, ago, why, refused)) in [
        (
            json!({"action": "launch", "count": 2, "size": 12}),
            14_400,
            "cpu needs 12 within 6 min at 90 %; 10 serve",
            Some("no capacity in us-east-1a"),
        ),
        (
            json!({"action": "detach", "instances": ["m-20"]}),
            10_800,
            "13 serve; 11 are needed over the next hour at 95 %",
            None,
        ),
        (
            json!({"action": "attach", "instances": ["m-20"]}),
            6_000,
            "cpu needs 12 now; what stands in shadow comes back first",
            None,
        ),
        (
            json!({"action": "detach", "instances": ["m-21"]}),
            5_400,
            "13 serve; 11 are needed over the next hour at 95 %",
            None,
        ),
        (
            json!({"action": "launch", "count": 1, "size": 13}),
            4_200,
            "cpu needs 13 within 6 min at 90 %; 12 serve",
            None,
        ),
        (
            json!({"action": "terminate", "instances": ["m-21"]}),
            1_500,
            "forecast, present and the shadow agree: nobody needs it for the next hour",
            None,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        write_intent(&mut transaction, ("web", number as i64 + 1, now - ago), &action, why, refused).await?;
    }
    for (number, seconds) in [192, 211, 187, 240, 205, 198].into_iter().enumerate() {
        let insert =
            sqlx::query(statement("LEAD_WRITE")?).bind(format!("m-{}", 30 + number)).bind(now - 86_400 + number as i64);
        insert.bind("web").bind("launch").bind(i64::from(seconds)).execute(&mut *transaction).await?;
    }
    for (number, (instance, origin, began, ended, why)) in [
        ("m-20", "ours", 10_790, Some(5_990), "back in its group"),
        ("m-21", "ours", 5_390, Some(1_490), "terminated: all agreed"),
        ("m-19", "foreign", 20_000, Some(16_400), "detached by alice, by the trail"),
        (DETACHED[0], "foreign", STOOD, None, "detached by bob, by the trail"),
        (DETACHED[1], "foreign", STOOD, None, "detached by bob, by the trail"),
    ]
    .into_iter()
    .enumerate()
    {
        let (number, started, ended) = (number as i64 + 1, now - began, ended.map(|ago| now - ago));
        write_session(&mut transaction, Session { number, group: "web", instance, origin, started, ended, why })
            .await?;
    }
    for number in 0..MACHINES {
        let name = format!("m-{number}");
        write_placement(&mut transaction, &name, now - 2 * STOOD, "serving").await?;
        if DETACHED.contains(&name.as_str()) {
            write_placement(&mut transaction, &name, now - STOOD, "shadow").await?;
        }
    }
    for (name, starts, length, ramp, intensity, repeat) in [
        // Some hours ago, whatever the time of day: the page shows the latest six.
        ("Evening show", (now - 3 * 3_600).div_euclid(3_600) * 3_600 - 6 * 86_400, 5_400_i64, 900_i64, 1.4, "daily"),
        ("Release <i>day</i>", now + 2 * 86_400, 7_200, 0, 1.8, "none"),
    ] {
        sqlx::query(statement("EVENT_WRITE")?)
            .bind(1_i64)
            .bind(None::<&str>)
            .bind(name)
            .bind(starts)
            .bind(starts + length)
            .bind(ramp)
            .bind(intensity)
            .bind(repeat)
            .bind(i64::from(repeat != "none"))
            .bind((repeat != "none").then_some("Europe/Berlin"))
            .bind(None::<i64>)
            .bind("alice")
            .bind(now - 7 * 86_400)
            .bind("known ahead")
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    pool.close().await;
    Ok(())
}
