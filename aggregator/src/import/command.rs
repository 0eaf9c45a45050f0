//! `foreshadow import`: reads a past part by part and hands each to the aggregator, which keeps what it took: the same
//! command goes on where it ended, and done twice it changes nothing.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::Subcommand;
use foreshadow_proto::convert::Id;
use http::Method;
use planner::policy::Metric;
use serde_json::{Value, json};

use super::cloudwatch::{self, CloudWatch};
use super::csv::File;
use super::influxdb::InfluxDb;
use super::log::Imported;
use super::minutes::{Meaning, Reading, minutes};
use super::prometheus::Prometheus;
use crate::client::{Ask, Client, escaped, reason_argument};
use crate::clock::{Clock as _, SystemClock, read_time, time_argument};
use crate::progress::Progress;
use crate::rounds::PredictError;

/// The newest minutes of a source may not be complete yet, seconds.
const YOUNG_SECONDS: i64 = 120;
/// A history that ends longer ago than this gives no forecast, hours.
const STALE_HOURS: i64 = 6;
/// What a source said of the last half hour before it was asked is asked again.
const LATE_SECONDS: i64 = 1_800;

/// Bring in a past that was measured elsewhere. What agents measured is never replaced.
#[derive(Debug, clap::Args)]
pub struct ImportArguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// From a file: timestamp,value or timestamp,value,instances below one header line; times as RFC 3339, seconds since 1970, or
    /// like 2026-01-01 00:00:00, which is UTC
    Csv(Box<FromCsv>),
    /// From Prometheus, or what speaks its query API
    Prometheus(Box<FromPrometheus>),
    /// From CloudWatch: an Auto Scaling group's CPU, or any metric
    Cloudwatch(Box<FromCloudWatch>),
    /// From InfluxDB 1, 2 or 3, by InfluxQL
    Influxdb(Box<FromInfluxDb>),
    /// List what was imported for a group
    List(Listed),
    /// Take out all that was imported for a group; what agents measured stays
    Remove(Remove),
}

#[derive(Debug, clap::Args)]
struct FromCsv {
    file: PathBuf,
    #[command(flatten)]
    into: Target,
}

#[derive(Debug, clap::Args)]
struct FromPrometheus {
    #[command(flatten)]
    from: Prometheus,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    into: Target,
}

#[derive(Debug, clap::Args)]
struct FromCloudWatch {
    #[command(flatten)]
    from: CloudWatch,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    into: Target,
}

#[derive(Debug, clap::Args)]
struct FromInfluxDb {
    #[command(flatten)]
    from: InfluxDb,
    #[command(flatten)]
    span: Span,
    #[command(flatten)]
    into: Target,
}

/// From when to when.
#[derive(Debug, clap::Args)]
struct Span {
    /// From here: RFC 3339, seconds since 1970 or like -42d; the forecast looks back 42 days, a backtest as far as there is
    #[arg(long, value_name = "TIME", default_value = "-42d", allow_hyphen_values = true, value_parser = time_argument)]
    since: String,
    /// Up to here [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time_argument)]
    until: Option<String>,
}

/// Into what, and what the values are.
#[derive(Debug, clap::Args)]
struct Target {
    /// The group whose past it is
    #[arg(long, value_name = "NAME")]
    group: String,
    /// cpu, memory, network_in, network_out, or one that the aggregator's configuration declares
    #[arg(long, value_name = "METRIC", default_value = "cpu")]
    metric: String,
    /// So many instances served all the time, where the source does not say
    #[arg(long, value_name = "N")]
    instances: Option<f64>,
    /// The values are sums over the serving instances (points), not their mean (%)
    #[arg(long, conflicts_with = "capacity")]
    sum: bool,
    /// The values are load in a unit of its own (requests per second), of which one instance serves so much at 100 %
    #[arg(long, value_name = "LOAD")]
    capacity: Option<f64>,
    /// Read and send so many hours at once
    #[arg(long, value_name = "HOURS", default_value_t = 72, value_parser = clap::value_parser!(i64).range(1..=96))]
    part_hours: i64,
    /// Read everything and say what it is, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Read again what was imported from this source before
    #[arg(long)]
    again: bool,
    /// Say what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
struct Listed {
    #[arg(long, value_name = "NAME")]
    group: String,
    #[arg(long, value_name = "METRIC", default_value = "cpu")]
    metric: String,
    /// The answer itself, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
struct Remove {
    #[arg(long, value_name = "NAME")]
    group: String,
    #[arg(long, value_name = "METRIC", default_value = "cpu")]
    metric: String,
    /// Why
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

/// Where a past comes from, opened.
enum Source<'s> {
    Csv(File),
    Prometheus(&'s Prometheus),
    CloudWatch(Box<cloudwatch::Past>),
    InfluxDb(&'s InfluxDb),
}

impl Source<'_> {
    /// Readings in `[from, to)`, and how long each stands for, seconds.
    async fn read(&self, from: i64, to: i64, now: i64) -> Result<(Vec<Reading>, i64)> {
        match self {
            Self::Csv(file) => Ok((file.within(from, to), file.period)),
            Self::Prometheus(prometheus) => Ok((prometheus.read(from, to).await?, 60)),
            Self::CloudWatch(past) => past.read(from, to, now).await,
            Self::InfluxDb(influxdb) => {
                let readings = influxdb.read(from, to).await?;
                let period = super::minutes::usual_period(&readings);
                Ok((readings, period))
            }
        }
    }
}

/// Imports, lists or takes out.
///
/// # Errors
/// What is wrong with an argument, a row or an answer, and what to do about it.
pub async fn run(arguments: &ImportArguments) -> Result<()> {
    let now = SystemClock.wall_seconds();
    match &arguments.action {
        Action::Csv(given) => {
            let (into, meaning) = (&given.into, given.into.meaning()?);
            let file = File::read(&given.file, meaning, into.instances)?;
            let span = file.span();
            ensure!(span.1 <= now + 60, "{}: ends in the future; a history is past", given.file.display());
            let called = given.file.file_name().unwrap_or(given.file.as_os_str()).display();
            let name = format!("csv {called} sha256 {}{}", file.digest, into.as_read());
            Box::pin(carry(into, meaning, &Source::Csv(file), &name, span, now)).await
        }
        Action::Prometheus(given) => {
            let (into, from) = (&given.into, &given.from);
            into.counted(from.instances_query.is_some(), "--instances-query PROMQL")?;
            let counted = from.instances_query.as_deref().map_or_else(String::new, |query| format!(" of {query}"));
            let name = format!("prometheus {} {}{counted}{}", from.server.url()?, from.query, into.as_read());
            Box::pin(carry(into, into.meaning()?, &Source::Prometheus(from), &name, given.span.read(now)?, now)).await
        }
        Action::Cloudwatch(given) => {
            let (into, group) = (&given.into, given.into.group()?);
            let counted = into.instances.is_none() && into.capacity.is_none() && !into.is_own();
            let past = Box::pin(given.from.open(&group, counted)).await;
            let name = format!("{}{}", given.from.named(&group), into.as_read());
            let (mut since, until) = given.span.read(now)?;
            let oldest = now - 454 * 86_400;
            if since < oldest {
                eprintln!("CloudWatch keeps 455 days: what is older is left out");
                since = oldest.div_euclid(3_600) * 3_600;
            }
            Box::pin(carry(into, into.meaning()?, &Source::CloudWatch(Box::new(past)), &name, (since, until), now))
                .await
        }
        Action::Influxdb(given) => {
            let (into, from) = (&given.into, &given.from);
            from.check()?;
            into.counted(from.instances_query.is_some(), "--instances-query INFLUXQL")?;
            let counted = from.instances_query.as_deref().map_or_else(String::new, |query| format!(" of {query}"));
            let server = from.server.url()?;
            let name = format!("influxdb {server} {} {}{counted}{}", from.database, from.query, into.as_read());
            Box::pin(carry(into, into.meaning()?, &Source::InfluxDb(from), &name, given.span.read(now)?, now)).await
        }
        Action::List(listed) => list(listed).await,
        Action::Remove(remove) => {
            let path = history(
                &remove.group,
                &format!("metric={}&reason={}", escaped(&remove.metric), escaped(&remove.reason)),
            );
            let answer = remove.ask.client.request(Method::DELETE, &path, None).await?;
            remove.ask.tell(&answer, |answer| {
                format!("{} imported minutes of {} {} are taken out", answer["minutes"], remove.group, remove.metric)
            });
            Ok(())
        }
    }
}

impl Span {
    fn read(&self, now: i64) -> Result<(i64, i64)> {
        let time = |flag: &str, text: &str| {
            let read = read_time(text, now).map_err(|problem| anyhow!("{flag}: {problem}"));
            read.map(|at| at.div_euclid(60) * 60)
        };
        let since = time("--since", &self.since)?;
        let until = self.until.as_deref().map(|text| time("--until", text)).transpose()?;
        let newest = (now - YOUNG_SECONDS).div_euclid(60) * 60;
        let until = until.map_or(newest, |until| until.min(newest));
        ensure!(since < until, "--since {} must be before --until, and both in the past", self.since);
        Ok((since, until))
    }
}

impl Target {
    fn group(&self) -> Result<Id> {
        Id::new("group", &self.group).map_err(|error| anyhow!("--group {:?}: {error}", self.group))
    }

    fn metric(&self) -> Result<Metric> {
        // Whether it is declared the aggregator knows.
        Metric::declare(&self.metric).map_err(|problem| anyhow!("--metric: {problem}"))
    }

    /// A declared metric is a load of the group: nobody has to say of how many instances.
    fn is_own(&self) -> bool {
        self.metric().is_ok_and(Metric::is_custom)
    }

    fn meaning(&self) -> Result<Meaning> {
        let positive = |flag: &str, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => Err(anyhow!("{flag} {value}: must be above 0")),
            _ => Ok(()),
        };
        positive("--instances", self.instances)?;
        positive("--capacity", self.capacity)?;
        if self.metric()?.is_custom() {
            let given = [
                ("--sum", self.sum),
                ("--capacity", self.capacity.is_some()),
                ("--instances", self.instances.is_some()),
            ];
            let given = given.iter().find(|(_, given)| *given).map(|(flag, _)| *flag);
            ensure!(
                given.is_none(),
                "{}: the values of {} are those of the whole group in its own unit, and taken as they are",
                given.unwrap_or_default(),
                self.metric
            );
            return Ok(Meaning::Own);
        }
        Ok(match self.capacity {
            Some(capacity) => Meaning::Load(capacity),
            None if self.sum => Meaning::Sum,
            None => Meaning::Utilisation,
        })
    }

    /// Utilisation is of so many: somebody has to say of how many.
    fn counted(&self, asked: bool, flag: &str) -> Result<()> {
        let counted = asked || self.instances.is_some() || self.capacity.is_some() || self.is_own();
        ensure!(counted, "of how many instances? Give {flag}, or --instances N where it never changed");
        Ok(())
    }

    /// How the values are taken is part of what a source is: taken otherwise it is imported again.
    fn as_read(&self) -> String {
        let mut read = if self.sum { " as sum".to_owned() } else { String::new() };
        read.extend(self.capacity.map(|capacity| format!(" per {capacity}")));
        read.extend(self.instances.map(|instances| format!(" of {instances}")));
        read
    }
}

fn history(group: &str, query: &str) -> String {
    format!("/groups/{}/history{}{query}", escaped(group), if query.is_empty() { "" } else { "?" })
}

/// `[from, to)` cut on a grid that is the same for every run, whatever its span.
fn parts(from: i64, to: i64, seconds: i64) -> Vec<(i64, i64)> {
    let mut parts = Vec::new();
    let mut start = from;
    while start < to {
        let end = ((start.div_euclid(seconds) + 1) * seconds).min(to);
        parts.push((start, end));
        start = end;
    }
    parts
}

/// Whether stretches cover `[from, to)` together.
fn covered(stretches: &[(i64, i64)], from: i64, to: i64) -> bool {
    let mut sorted = stretches.to_vec();
    sorted.sort_unstable();
    let reached =
        sorted.iter().fold(from, |reached, (start, end)| if *start <= reached { reached.max(*end) } else { reached });
    reached >= to
}

/// What came of an import.
#[derive(Debug, Default)]
struct Tally {
    minutes: usize,
    first: Option<i64>,
    last: Option<i64>,
    sum: f64,
    highest: f64,
    most: f64,
    written: u64,
    measured: u64,
    known: bool,
    planned_by: Option<bool>,
    skipped: usize,
}

impl Tally {
    fn add(&mut self, made: &[Imported]) {
        self.minutes += made.len();
        for minute in made {
            self.first.get_or_insert(minute.start);
            self.last = Some(minute.start);
            self.sum += minute.gross;
            self.highest = self.highest.max(minute.gross);
            self.most = self.most.max(minute.weight);
        }
    }
}

async fn carry(
    into: &Target,
    meaning: Meaning,
    source: &Source<'_>,
    name: &str,
    (from, to): (i64, i64),
    now: i64,
) -> Result<()> {
    let (group, metric) = (into.group()?, into.metric()?);
    let done = if into.dry_run || into.again { Vec::new() } else { there(into, metric, name, source).await? };
    let wanted = parts(from, to, into.part_hours * 3_600);
    let progress = Progress::new("import", u64::try_from(wanted.len()).unwrap_or_default());
    let mut tally = Tally::default();
    let mut greatest = 0.0_f64;
    for (index, (start, end)) in wanted.iter().copied().enumerate() {
        progress.at(shown(start));
        if covered(&done, start, end) {
            tally.skipped += 1;
            progress.inc(1);
            continue;
        }
        let part = async {
            let (mut readings, period) = source.read(start, end, now).await?;
            readings.iter_mut().for_each(|reading| reading.instances = reading.instances.or(into.instances));
            greatest = readings.iter().map(|reading| reading.value).fold(greatest, f64::max);
            let made = minutes(&readings, period, meaning, start, end)
                .map_err(|(at, unfit)| anyhow!("the value at {}: {unfit}", shown(at)))?;
            if made.is_empty() && !readings.is_empty() {
                eprintln!("{}: there are values, and not of how many instances; left out", shown(start));
            }
            tally.add(&made);
            // Where nothing was found there may be something later: it is not noted as read.
            if !into.dry_run && !made.is_empty() {
                let rows: Vec<_> = made.iter().map(|minute| (minute.start, minute.gross, minute.weight)).collect();
                let body =
                    json!({"metric": metric.as_str(), "source": name, "from": start, "to": end, "minutes": rows});
                let answer = into.client.request(Method::POST, &history(group.as_str(), ""), Some(&body)).await?;
                tally.written += answer["written"].as_u64().unwrap_or_default();
                tally.measured += answer["measured"].as_u64().unwrap_or_default();
                tally.known = answer["known"] == true;
                tally.planned_by = answer["planned_by"].as_bool();
            }
            anyhow::Ok(())
        };
        part.await.with_context(|| match (into.dry_run, index) {
            (false, 1..) => format!("after {index} of {} parts; the same command goes on from there", wanted.len()),
            _ => format!("from {}", shown(start)),
        })?;
        progress.inc(1);
    }
    progress.end();
    if tally.minutes == 0 && tally.skipped == 0 {
        bail!(
            "nothing was found between {} and {}: look at what the source gives for that time ({name})",
            shown(from),
            shown(to)
        );
    }
    if meaning == Meaning::Utilisation && tally.minutes > 0 && greatest <= 1.0 {
        eprintln!("no value is above 1 %: are they shares? Then multiply them by 100 and import them --again");
    }
    tell(into, &tally, name, &group, metric, now);
    Ok(())
}

/// Stretches that were imported from this source before.
async fn there(into: &Target, metric: Metric, name: &str, source: &Source<'_>) -> Result<Vec<(i64, i64)>> {
    let answer = into.client.get(&history(&into.group, &format!("metric={metric}"))).await?;
    let of = |stretch: &Value, field: &str| stretch[field].as_i64();
    let ours = answer["stretches"].as_array().into_iter().flatten().filter(|stretch| stretch["source"] == name);
    let stretch = |stretch: &Value| {
        // A file is as it is; a server may have learned of its newest minutes since.
        let late = if matches!(source, Source::Csv(_)) { 0 } else { LATE_SECONDS };
        Some((of(stretch, "from")?, of(stretch, "to")?.min(of(stretch, "entered_at")? + 60 - late)))
    };
    Ok(ours.filter_map(stretch).collect())
}

fn tell(into: &Target, tally: &Tally, name: &str, group: &Id, metric: Metric, now: i64) {
    #[allow(clippy::cast_precision_loss, reason = "a number of minutes")]
    let mean = tally.sum / (tally.minutes.max(1) as f64);
    if into.json {
        let made = json!({
            "group": group.as_str(), "metric": metric.as_str(), "source": name, "dry_run": into.dry_run,
            "minutes": tally.minutes, "first": tally.first, "last": tally.last, "mean_points": mean,
            "highest_points": tally.highest, "most_instances": tally.most, "written": tally.written,
            "measured": tally.measured, "parts_there_before": tally.skipped, "group_known": tally.known,
        });
        println!("{made}");
        return;
    }
    println!("{group} {metric} from {name}");
    if let (Some(first), Some(last)) = (tally.first, tally.last) {
        let whole = (last - first) / 60 + 1;
        let gaps = usize::try_from(whole).unwrap_or_default().saturating_sub(tally.minutes);
        println!(
            "  {} minutes, {} to {}; {gaps} between them were not measured",
            tally.minutes,
            shown(first),
            shown(last)
        );
        let instances = if tally.most > 0.0 { format!("; {:.0} instances at most", tally.most) } else { String::new() };
        let (points, unit) = match metric.is_custom() {
            true => ("", "in its own unit"),
            false => (" points", "an instance at 100 % is 100"),
        };
        println!("  demand {mean:.0}{points} on average, {:.0} at most ({unit}){instances}", tally.highest);
    }
    if tally.skipped > 0 {
        println!("  {} parts were there before (--again reads them again)", tally.skipped);
    }
    if into.dry_run {
        println!("dry run: nothing was sent");
        return;
    }
    println!("  {} minutes written, {} left as agents measured them", tally.written, tally.measured);
    if tally.minutes == 0 {
        return;
    }
    if !tally.known {
        println!("no group {group} is known yet: its past waits for it");
    } else if tally.planned_by == Some(false) {
        let target = if metric.is_custom() { "what one instance carries" } else { "60" };
        println!(
            "{group} is not planned by {metric}: give it a target, [group.{group}] targets = {{ {metric} = {target} }}"
        );
    } else {
        println!("learned from within a minute or two: foreshadow explain {group}; foreshadow models {group}");
    }
    if let Some(age) = tally.last.map(|last| now - last).filter(|age| *age > STALE_HOURS * 3_600) {
        println!(
            "the newest minute is {} h old: a forecast needs one of the last {} h, imported or from agents",
            age / 3_600,
            STALE_HOURS
        );
    }
}

async fn list(listed: &Listed) -> Result<()> {
    let answer = listed.client.get(&history(&listed.group, &format!("metric={}", escaped(&listed.metric)))).await?;
    if listed.json {
        println!("{answer:#}");
        return Ok(());
    }
    // A history may come before its group; without either it is a name written otherwise.
    let none = answer["stretches"].as_array().is_none_or(Vec::is_empty) && answer["minutes"] == 0;
    if none && answer["known"] == false {
        bail!("{}", PredictError::UnknownGroup(listed.group.clone()));
    }
    println!("{} imported minutes of {} {}", answer["minutes"], listed.group, listed.metric);
    for stretch in answer["stretches"].as_array().into_iter().flatten() {
        let at = |field: &str| shown(stretch[field].as_i64().unwrap_or_default());
        let text = |field: &str| stretch[field].as_str().unwrap_or_default();
        println!(
            "{} to {}  {:>6}  by {}  {}",
            at("from"),
            at("to"),
            stretch["minutes"],
            text("entered_by"),
            text("source")
        );
    }
    Ok(())
}

fn shown(at: i64) -> String {
    jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_on_one_grid_whatever_the_span() {
        assert_eq!(parts(1_000, 2_500, 1_000), [(1_000, 2_000), (2_000, 2_500)]);
        assert_eq!(parts(1_500, 3_000, 1_000), [(1_500, 2_000), (2_000, 3_000)]);
        assert!(parts(5, 5, 1_000).is_empty());
    }

    #[test]
    fn stretches_cover_together_or_not_at_all() {
        let stretches = [(300, 400), (0, 100), (100, 250), (200, 260)];
        assert!(covered(&stretches, 0, 260) && covered(&stretches, 50, 200) && covered(&stretches, 300, 400));
        assert!(!covered(&stretches, 0, 261) && !covered(&stretches, 250, 310) && !covered(&[], 0, 1));
    }

    #[test]
    fn a_span_ends_before_what_is_not_measured_yet() {
        let span = |since: &str, until: Option<&str>| {
            Span { since: since.to_owned(), until: until.map(str::to_owned) }.read(1_000_000)
        };
        assert_eq!(span("-1h", None).expect("a span"), (996_360, 999_840));
        assert_eq!(span("-1h", Some("-30m")).expect("a span"), (996_360, 998_160));
        assert!(span("-1h", Some("-2h")).is_err() && span("soon", None).is_err() && span("+1h", None).is_err());
    }
}
