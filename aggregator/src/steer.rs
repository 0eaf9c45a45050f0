//! `foreshadow groups`, `instances`, `predict`, `mode`, `pause`, `resume`, `shadow` and `journal`: the routes that steer, and
//! those that say where to, for a person at a terminal. Each says what it did in one line.

use clap::Subcommand;
use foreshadow_proto::convert::Id;
use http::Method;
use planner::policy;
use serde_json::{Value, json};

use crate::client::{Ask, escaped, reason_argument};
use crate::clock::{Clock as _, SystemClock, time_argument};
use crate::table::table;

/// The planner's modes as they are typed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Mode {
    Observe,
    ScaleOut,
    Full,
}

impl From<Mode> for policy::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Observe => Self::Observe,
            Mode::ScaleOut => Self::ScaleOut,
            Mode::Full => Self::Full,
        }
    }
}

/// How far Foreshadow may go in a group. What would have followed of a looser mode is shown by: foreshadow week GROUP MODE
#[derive(Debug, clap::Args)]
pub struct ModeArguments {
    /// The group
    group: Id,
    /// observe: nothing is changed; scale-out: launches and re-attaches; full: detaches and terminates as well
    #[arg(value_enum)]
    mode: Mode,
    /// Why; whoever is woken tonight reads it
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

/// Stop, or go on.
#[derive(Debug, clap::Args)]
pub struct PauseArguments {
    /// The group; without one it is everything
    group: Option<Id>,
    /// Why; whoever is woken tonight reads it
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

/// Leave to go below what was needed in the same hour a week ago.
#[derive(Debug, clap::Args)]
pub struct LeaveArguments {
    /// The group
    group: Id,
    /// Until when: +12h, RFC 3339, seconds since 1970; seven days at most, and "-1s" takes it back
    #[arg(long, default_value = "+24h", allow_hyphen_values = true, value_parser = time_argument)]
    until: String,
    /// Why; whoever is woken tonight reads it
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

/// Limits of the configuration file.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LimitsArguments {
    #[command(subcommand)]
    action: Option<LimitsAction>,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Subcommand)]
enum LimitsAction {
    /// Let what the configuration file says hold, also where it is looser than what was accepted
    Accept(Accept),
}

#[derive(Debug, clap::Args)]
struct Accept {
    /// The group; without one what concerns all groups at once
    group: Option<Id>,
    /// Why; whoever is woken tonight reads it
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

/// What stands in shadow.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct ShadowArguments {
    #[command(subcommand)]
    action: Option<ShadowAction>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum ShadowAction {
    /// Make a foreign shadow ours: it may be re-attached and terminated from then on
    Adopt(Named),
    /// Let the lease of a shadow of ours run for another length
    Extend(Named),
    /// Stop measuring a shadow and leave it running
    Release(Named),
    /// List who runs under a lease that nobody holds: another installation's, or of a group that is no more
    Stranded(Ask),
    /// Make a stranded shadow ours, of a group that is there
    Take(Take),
}

#[derive(Debug, clap::Args)]
struct Take {
    /// The instance
    instance: Id,
    /// The group whose plan decides about it from now on
    #[arg(long)]
    group: Id,
    /// Why; whoever is woken tonight reads it
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The instance
    instance: Id,
    /// Why; whoever is woken tonight reads it
    #[arg(long, value_parser = reason_argument)]
    reason: String,
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Of this group alone
    #[arg(long)]
    group: Option<Id>,
    #[command(flatten)]
    ask: Ask,
}

// Members of one group, or of all.
#[derive(Debug, clap::Args)]
pub struct InstancesArguments {
    /// Of this group alone
    group: Option<Id>,
    #[command(flatten)]
    ask: Ask,
}

// What a group needs.
#[derive(Debug, clap::Args)]
pub struct PredictArguments {
    /// The group
    group: Id,
    /// When: +30m, RFC 3339 or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = time_argument)]
    at: Option<String>,
    /// The share of what may come that the need carries, 0.5 to 0.99 [default: the group's own]
    #[arg(long, value_name = "SHARE", value_parser = confidence)]
    confidence: Option<f64>,
    #[command(flatten)]
    ask: Ask,
}

fn confidence(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.5..=0.99).contains(share));
    share.ok_or_else(|| "must be within 0.5 to 0.99".to_owned())
}

/// Lists every group in a line.
pub async fn groups(ask: &Ask) -> anyhow::Result<()> {
    let answer = ask.client.get("/overview").await?;
    if ask.json {
        println!("{answer:#}");
        return Ok(());
    }
    if answer["everywhere"]["paused"] == true {
        println!("PAUSED: everything, by {} (foreshadow resume)", text(&answer["everywhere"], "by"));
    }
    print!("{}", group_lines(answer["groups"].as_array().map_or(&[], Vec::as_slice)));
    Ok(())
}

/// Lists instances, each in a line.
pub async fn instances(arguments: &InstancesArguments) -> anyhow::Result<()> {
    let group = arguments.group.as_ref().map(|group| format!("?group={}", escaped(group.as_str())));
    let answer = arguments.ask.client.get(&format!("/instances{}", group.unwrap_or_default())).await?;
    show(&answer, arguments.ask.json, |found| members(found, arguments.group.as_ref(), SystemClock.wall_seconds()))
}

/// Says what a group needs at a time, and how sure that is.
pub async fn predict(arguments: &PredictArguments) -> anyhow::Result<()> {
    let mut query = format!("group={}", escaped(arguments.group.as_str()));
    query.extend(arguments.at.as_ref().map(|at| format!("&at={}", escaped(at))));
    query.extend(arguments.confidence.map(|confidence| format!("&confidence={confidence}")));
    let answer = arguments.ask.client.get(&format!("/predict/capacity?{query}")).await?;
    if arguments.ask.json {
        println!("{answer:#}");
        return Ok(());
    }
    // What the plan looks ahead for is in no answer of one time.
    let ahead = arguments.ask.client.get(&format!("/groups/{}", escaped(arguments.group.as_str()))).await?;
    print!("{}", prediction(&answer, &ahead["summary"]["need_ahead"]));
    Ok(())
}

/// Sets a group's mode.
pub async fn mode(arguments: &ModeArguments) -> anyhow::Result<()> {
    let path = format!("/groups/{}/mode", escaped(arguments.group.as_str()));
    let body = json!({ "mode": policy::Mode::from(arguments.mode), "reason": arguments.reason });
    let standing = arguments.ask.client.request(Method::POST, &path, Some(&body)).await?;
    arguments.ask.tell(&standing, |standing| {
        let paused = standing["paused"] == true;
        let paused = if paused { ", and paused: nothing is done until it is resumed" } else { "" };
        format!("{}: mode {}{paused}", arguments.group, standing["mode"].as_str().unwrap_or("?"))
    });
    Ok(())
}

/// Gives a group leave to go below last week's need.
pub async fn below_last_week(arguments: &LeaveArguments) -> anyhow::Result<()> {
    let path = format!("/groups/{}/below-last-week", escaped(arguments.group.as_str()));
    let body = json!({ "until": arguments.until, "reason": arguments.reason });
    let standing = arguments.ask.client.request(Method::POST, &path, Some(&body)).await?;
    arguments.ask.tell(&standing, |standing| {
        format!(
            "{}: may go below what it needed a week ago until {}; everything else holds as before",
            arguments.group,
            time(&standing["leave"], "until")
        )
    });
    Ok(())
}

/// Pauses or resumes a group or everything.
pub async fn pause(arguments: &PauseArguments, paused: bool) -> anyhow::Result<()> {
    let word = if paused { "pause" } else { "resume" };
    let path = match &arguments.group {
        Some(group) => format!("/groups/{}/{word}", escaped(group.as_str())),
        None => format!("/{word}"),
    };
    let body = json!({ "reason": arguments.reason });
    let answer = arguments.ask.client.request(Method::POST, &path, Some(&body)).await?;
    arguments.ask.tell(&answer, |answer| paused_or_resumed(arguments.group.as_ref(), paused, answer));
    Ok(())
}

fn paused_or_resumed(group: Option<&Id>, paused: bool, answer: &Value) -> String {
    let still = names(answer, "paused_groups");
    let said = match (paused, group, answer["everything_paused"] == true) {
        (true, ..) => "paused: nothing is changed from now on".to_owned(),
        (false, Some(_), true) => "its own pause is over; everything is still paused (foreshadow resume)".to_owned(),
        (false, None, _) if !still.is_empty() => {
            format!("resumed, but these stay paused by their own pause: {still} (foreshadow resume GROUP)")
        }
        (false, ..) => "resumed".to_owned(),
    };
    format!("{}: {said}", group.map_or("everything", Id::as_str))
}

/// Lists what of the configuration file waits to be accepted, or accepts it.
pub async fn limits(arguments: &LimitsArguments) -> anyhow::Result<()> {
    let Some(LimitsAction::Accept(accept)) = &arguments.action else {
        return show(&arguments.ask.client.get("/limits").await?, arguments.ask.json, held);
    };
    let path = accept.group.as_ref().map(|group| format!("/groups/{}/limits", escaped(group.as_str())));
    let path = path.unwrap_or_else(|| "/limits".to_owned());
    let answer = accept.ask.client.request(Method::POST, &path, Some(&json!({ "reason": accept.reason }))).await?;
    let whose = accept.group.as_ref().map_or("all groups at once", Id::as_str);
    accept.ask.tell(&answer, |_| format!("{whose}: what the configuration file says holds"));
    Ok(())
}

/// Lists shadows, or changes one's lease.
pub async fn shadow(arguments: &ShadowArguments) -> anyhow::Result<()> {
    let (word, named) = match &arguments.action {
        None => {
            return arguments.list.show("/shadow/sessions", sessions).await;
        }
        Some(ShadowAction::Adopt(named)) => ("adopt", named),
        Some(ShadowAction::Extend(named)) => ("extend", named),
        Some(ShadowAction::Release(named)) => ("release", named),
        Some(ShadowAction::Stranded(ask)) => {
            return show(&ask.client.get("/shadow/stranded").await?, ask.json, stranded);
        }
        Some(ShadowAction::Take(take)) => {
            let path = format!("/shadow/stranded/{}/take", escaped(take.instance.as_str()));
            let body = json!({ "group": take.group.as_str(), "reason": take.reason });
            let answer = take.ask.client.request(Method::POST, &path, Some(&body)).await?;
            take.ask.tell(&answer, |_| format!("{}: ours from now on, a shadow of {}", take.instance, take.group));
            return Ok(());
        }
    };
    let path = format!("/shadow/sessions/{}/{word}", escaped(named.instance.as_str()));
    let session = named.ask.client.request(Method::POST, &path, Some(&json!({ "reason": named.reason }))).await?;
    named.ask.tell(&session, |session| sessions(std::slice::from_ref(session)).trim_end().to_owned());
    Ok(())
}

/// Lists what was done to the cloud.
pub async fn journal(list: &List) -> anyhow::Result<()> {
    list.show("/intents", intents).await
}

impl List {
    fn path(&self, route: &str) -> String {
        let group = self.group.as_ref().map(|group| format!("?group={}", escaped(group.as_str())));
        format!("{route}{}", group.unwrap_or_default())
    }

    async fn show(&self, route: &str, lines: fn(&[Value]) -> String) -> anyhow::Result<()> {
        let answer = self.ask.client.get(&self.path(route)).await?;
        if !self.ask.json
            && let (Some(group), Some([])) = (&self.group, answer.as_array().map(Vec::as_slice))
        {
            // Nothing of one group is not nothing at all.
            print!("{group}: ");
        }
        show(&answer, self.ask.json, lines)
    }
}

fn show(answer: &Value, as_json: bool, lines: impl FnOnce(&[Value]) -> String) -> anyhow::Result<()> {
    if as_json {
        println!("{answer:#}");
    } else {
        print!("{}", lines(answer.as_array().map_or(&[], Vec::as_slice)));
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn time(value: &Value, key: &str) -> String {
    let at = value.get(key).and_then(Value::as_i64).and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.to_string())
}

fn group_lines(groups: &[Value]) -> String {
    if groups.is_empty() {
        return "no group is known yet: one is by its inventory (docs/fleets.md) or by an agent with --group, after its first \
                round (10 s)\n"
            .to_owned();
    }
    let rows = groups.iter().map(|group| {
        let number =
            |key: &str| group.get(key).and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |it| it.to_string());
        let is = |key: &str| group.get(key) == Some(&Value::Bool(true));
        let marks = [(is("paused"), ", paused"), (is("simulated"), ", simulated")];
        let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| *mark).collect();
        let holds = group.get("holds").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let hold = match holds {
            [] => "-".to_owned(),
            [only] => only.as_str().unwrap_or("?").to_owned(),
            [first, more @ ..] => format!("{} +{}", first.as_str().unwrap_or("?"), more.len()),
        };
        let mode = format!("{}{marks}", text(group, "mode"));
        let [serving, now, ahead, reporting] = ["serving", "need_now", "need_ahead", "reporting"].map(number);
        [text(group, "name").to_owned(), mode, serving, now, ahead, reporting, hold]
    });
    table(["group", "mode", "serving", "need now", "need ahead", "reporting", "holds"], rows)
}

fn members(members: &[Value], of: Option<&Id>, now: i64) -> String {
    if members.is_empty() {
        if let Some(group) = of {
            return format!("{group} has no instance now\n");
        }
        return "no instance is known yet: one is by its inventory (docs/fleets.md) or by its agent, after the first \
                round (10 s)\n"
            .to_owned();
    }
    let cell = |member: &Value, key: &str| text(member, key).to_owned();
    let rows = members.iter().map(|member| {
        let since = member["since_micros"].as_i64().map(|micros| micros.div_euclid(1_000_000));
        let since = since.and_then(|at| jiff::Timestamp::from_second(at).ok()).map(|at| at.to_string());
        let agent = match (member["agent_version"].as_str(), member["connected"] == true) {
            (None, _) => "-".to_owned(),
            (Some(version), true) => version.to_owned(),
            (Some(version), false) => format!("{version}, away"),
        };
        [
            cell(member, "instance"),
            cell(member, "group"),
            cell(member, "mode").to_lowercase(),
            since.unwrap_or_else(|| "-".to_owned()),
            cell(member, "instance_type"),
            cell(member, "zone"),
            lag(&member["spool"], now),
            first_acknowledged(&member["spool"]),
            agent,
        ]
    });
    table(["instance", "group", "mode", "since", "type", "zone", "spool lag", "first sample", "agent"], rows)
}

/// From the agent's start to its first acknowledged sample.
fn first_acknowledged(spool: &Value) -> String {
    let millis = spool["first_acknowledged_millis"].as_u64();
    millis.map_or_else(|| "-".to_owned(), |millis| format!("{}.{} s", millis / 1_000, millis % 1_000 / 100))
}

/// How old the newest durable sample is, and what waits behind it.
fn lag(spool: &Value, now: i64) -> String {
    let Some(newest) = spool["newest_micros"].as_i64() else { return "-".to_owned() };
    let age = (now - newest.div_euclid(1_000_000)).max(0);
    match spool["waiting"].as_u64() {
        None | Some(0) => format!("{age} s"),
        Some(waiting) => format!("{age} s, {waiting} wait"),
    }
}

fn prediction(answer: &Value, need_ahead: &Value) -> String {
    let number = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), |it| it.to_string());
    let confidence = percent(&answer["confidence"]);
    let mut lines =
        vec![format!("{} at {}, {confidence} confidence", text(answer, "group"), time(answer, "at_seconds"))];
    if answer["simulated"] == true {
        lines.push("SIMULATED load".to_owned());
    }
    lines.push(format!(
        "need then {}, now {}, ahead (the plan's) {}; serving {}",
        number(&answer["need"]),
        number(&answer["need_now"]),
        number(need_ahead),
        number(&answer["serving"])
    ));
    let metrics = answer["metrics"].as_array().map_or(&[][..], Vec::as_slice);
    if metrics.is_empty() {
        lines.push("nothing is forecast yet: that needs 30 minutes of samples".to_owned());
    }
    let rows = metrics.iter().flat_map(|metric| {
        let binds = if answer["binding_metric"] == metric["metric"] { "binds" } else { "" };
        let demand = |of: &Value| of["demand"].as_f64().map_or_else(|| "-".to_owned(), |it| format!("{it:.1}"));
        let row = |share: &Value, of: &Value, binds: &str| {
            [text(metric, "metric").to_owned(), percent(share), demand(of), number(&of["need"]), binds.to_owned()]
        };
        let quantiles = metric["quantiles"].as_array().map_or(&[][..], Vec::as_slice);
        let own = row(&answer["confidence"], metric, binds);
        let quantiles: Vec<_> = quantiles.iter().map(|it| row(&it["quantile"], it, "")).collect();
        std::iter::once(own).chain(quantiles)
    });
    let mut said = lines.join("\n") + "\n";
    if !metrics.is_empty() {
        said += &table(["metric", "stays below", "demand", "need", ""], rows);
    }
    for metric in metrics {
        let held = &metric["measured_coverage"];
        let held = match held.is_null() {
            true => "not measured yet what it holds".to_owned(),
            false => format!("held {} of the time", percent(held)),
        };
        let wanted = percent(&metric["nominal_coverage"]);
        said += &format!("{}: {}; {held} for {wanted}\n", text(metric, "metric"), text(metric, "model"));
    }
    said += &format!("trust {:.2}\n", answer["trust"].as_f64().unwrap_or_default());
    let list = |key: &str| answer[key].as_array().into_iter().flatten().filter_map(Value::as_str);
    said.extend(list("events").map(|event| format!("raised by {event}\n")));
    said.extend(list("holds").map(|hold| format!("held: {hold}\n")));
    said
}

fn percent(share: &Value) -> String {
    share.as_f64().map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

fn sessions(sessions: &[Value]) -> String {
    let mut lines = vec![format!("{:<22} {:<16} {:<8} {:<21} reason", "instance", "group", "origin", "lease ends")];
    for session in sessions.iter().rev() {
        let until = match session.get("ended").and_then(Value::as_i64) {
            Some(_) => format!("over {}", &time(session, "ended")),
            None => time(session, "until"),
        };
        let (instance, group) = (text(session, "instance"), text(session, "group"));
        lines.push(format!(
            "{instance:<22} {group:<16} {:<8} {until:<21} {}",
            text(session, "origin"),
            text(session, "reason")
        ));
    }
    if sessions.is_empty() {
        lines = vec!["nothing stands in shadow".to_owned()];
    }
    lines.join("\n") + "\n"
}

fn stranded(stranded: &[Value]) -> String {
    let mut lines = vec![format!("{:<22} {:<16} {:<21} why", "instance", "group", "lease ended")];
    for one in stranded {
        let (instance, group) = (text(one, "instance"), text(one, "group"));
        lines.push(format!("{instance:<22} {group:<16} {:<21} {}", time(one, "until"), text(one, "why")));
    }
    if stranded.is_empty() {
        lines = vec!["nobody is stranded".to_owned()];
    }
    lines.join("\n") + "\n"
}

fn intents(intents: &[Value]) -> String {
    let mut lines = vec![format!("{:<21} {:<16} {:<10} {:<8} what, and why", "written", "group", "action", "outcome")];
    for intent in intents {
        let settled = intent.get("settled").filter(|settled| !settled.is_null());
        let outcome = settled.map_or("open", |settled| text(settled, "settled"));
        let whom = match intent.get("count").and_then(Value::as_u64) {
            Some(count) => count.to_string(),
            None => names(intent, "instances"),
        };
        let why = settled.filter(|_| outcome == "refused").map(|settled| names(settled, "why"));
        let why = why.unwrap_or_else(|| text(intent, "reason").to_owned());
        let (at, group, action) = (time(intent, "written_at"), text(intent, "group"), text(intent, "action"));
        lines.push(format!("{at:<21} {group:<16} {action:<10} {outcome:<8} {whom}: {why}"));
    }
    if intents.is_empty() {
        lines = vec!["nothing was ever done".to_owned()];
    }
    lines.join("\n") + "\n"
}

fn held(limits: &[Value]) -> String {
    let mut lines = vec![format!("{:<16} {:<32} {:<20} the file says, and it waits", "group", "limit", "holds")];
    for shown in limits {
        let group = shown.get("group").and_then(Value::as_str).unwrap_or("all");
        for held in shown.get("held").and_then(Value::as_array).into_iter().flatten() {
            let (field, holds, file) = (text(held, "field"), text(held, "holds"), text(held, "file"));
            lines.push(format!("{group:<16} {field:<32} {holds:<20} {file}"));
        }
    }
    if lines.len() == 1 {
        lines = vec!["everything holds as the configuration file says".to_owned()];
    } else {
        lines.push("an admin lets it hold: foreshadow limits accept [GROUP] --reason \"…\"".to_owned());
    }
    lines.join("\n") + "\n"
}

fn names(value: &Value, key: &str) -> String {
    let list = value.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_reads_in_lines() {
        let shown = intents(&[
            json!({"written_at": 1_800_000_000, "group": "web", "action": "detach", "instances": ["i-1", "i-2"],
                "reason": "12 serve; 4 are needed", "settled": {"settled": "done", "instances": ["i-1", "i-2"]}}),
            json!({"written_at": 1_800_000_060, "group": "web", "action": "launch", "count": 2, "reason": "cpu needs 9",
                "settled": {"settled": "refused", "why": ["no capacity"]}}),
            json!({"written_at": 1_800_000_120, "group": "web", "action": "attach", "instances": ["i-1"],
                "reason": "cpu needs 9", "settled": null}),
        ]);
        for line in [
            "2027-01-15T08:00:00Z  web              detach     done     i-1, i-2: 12 serve; 4 are needed",
            "2027-01-15T08:01:00Z  web              launch     refused  2: no capacity",
            "2027-01-15T08:02:00Z  web              attach     open     i-1: cpu needs 9",
        ] {
            assert!(shown.lines().any(|said| said == line), "{line}\nin\n{shown}");
        }
        assert_eq!(intents(&[]), "nothing was ever done\n");
    }

    #[test]
    fn every_instance_is_a_line_with_what_waits_on_its_disk() {
        let shown = members(
            &[
                json!({"instance": "i-1", "group": "web", "mode": "serving", "since_micros": 1_800_000_000_000_000_i64,
                    "instance_type": "m7g.large", "zone": "eu-central-1a", "connected": true, "agent_version": "1.0.0",
                    "spool": {"newest_micros": 1_800_000_058_000_000_i64, "waiting": 0,
                        "first_acknowledged_millis": 2_087}}),
                json!({"instance": "i-2", "group": "web", "mode": "shadow", "since_micros": 1_800_000_000_000_000_i64,
                    "connected": false, "agent_version": "1.0.0",
                    "spool": {"newest_micros": 1_800_000_000_000_000_i64, "waiting": 7}}),
                json!({"instance": "i-3", "group": "web", "mode": "warming", "since_micros": 1_800_000_000_000_000_i64,
                    "spool": {"newest_micros": null, "waiting": 0}}),
            ],
            None,
            1_800_000_060,
        );
        assert_eq!(
            shown,
            "instance  group  mode     since                 type       zone           spool lag     first sample  agent\n\
             i-1       web    serving  2027-01-15T08:00:00Z  m7g.large  eu-central-1a  2 s           2.0 s         1.0.0\n\
             i-2       web    shadow   2027-01-15T08:00:00Z  -          -              60 s, 7 wait  -             1.0.0, away\n\
             i-3       web    warming  2027-01-15T08:00:00Z  -          -              -             -             -\n"
        );
        assert!(members(&[], None, 0).contains("docs/fleets.md"));
        let web = Id::new("group", "web").expect("an id");
        assert_eq!(members(&[], Some(&web), 0), "web has no instance now\n");
    }

    #[test]
    fn a_prediction_reads_in_lines_with_its_quantiles() {
        let answer = json!({"group": "web", "at_seconds": 1_800_000_000, "confidence": 0.9, "need": 15, "serving": 12,
            "need_now": 9, "binding_metric": "cpu", "trust": 0.81, "holds": ["WarmUp"], "events": [],
            "metrics": [{"metric": "cpu", "demand": 812.4, "need": 15, "model": "trees", "nominal_coverage": 0.9,
                "measured_coverage": null, "quantiles": [{"quantile": 0.5, "demand": 600.0, "need": 11}]}]});
        assert_eq!(
            prediction(&answer, &json!(16)),
            "web at 2027-01-15T08:00:00Z, 90 % confidence\n\
             need then 15, now 9, ahead (the plan's) 16; serving 12\n\
             metric  stays below  demand  need\n\
             cpu     90 %         812.4   15    binds\n\
             cpu     50 %         600.0   11\n\
             cpu: trees; not measured yet what it holds for 90 %\n\
             trust 0.81\n\
             held: WarmUp\n"
        );
        let early =
            prediction(&json!({"group": "web", "at_seconds": 0, "confidence": 0.9, "metrics": []}), &Value::Null);
        assert!(early.contains("nothing is forecast yet"), "{early}");
        assert!(confidence("0.4").is_err() && confidence("0.95") == Ok(0.95));
    }

    #[test]
    fn a_resume_of_everything_names_who_stays_paused() {
        let web = Id::new("group", "web").expect("an id");
        let left = json!({"everything_paused": false, "paused_groups": ["api", "web"]});
        let said = paused_or_resumed(None, false, &left);
        assert_eq!(
            said,
            "everything: resumed, but these stay paused by their own pause: api, web (foreshadow resume GROUP)"
        );
        assert_eq!(paused_or_resumed(Some(&web), false, &left), "web: resumed");
        assert_eq!(paused_or_resumed(None, false, &json!({"paused_groups": []})), "everything: resumed");
        let all = json!({"everything_paused": true, "paused_groups": []});
        assert!(paused_or_resumed(Some(&web), false, &all).contains("everything is still paused"));
    }

    #[test]
    fn every_group_is_a_line() {
        let shown = group_lines(&[
            json!({"name": "web", "mode": "full", "serving": 12, "need_now": 9, "need_ahead": 15, "reporting": 11,
                "paused": true, "holds": ["LowTrust", "Warming"]}),
            json!({"name": "api", "mode": "observe", "serving": 0, "reporting": 0, "paused": false, "holds": []}),
        ]);
        assert_eq!(
            shown,
            "group  mode          serving  need now  need ahead  reporting  holds\n\
             web    full, paused  12       9         15          11         LowTrust +1\n\
             api    observe       0        -         -           0          -\n"
        );
        assert!(group_lines(&[]).contains("--group"));
    }

    #[test]
    fn limits_that_wait_read_in_lines() {
        let shown = held(&[
            json!({"group": null, "held": []}),
            json!({"group": "web", "held": [{"field": "maximum", "file": "30", "holds": "20"}]}),
        ]);
        let line = "web              maximum                          20                   30";
        assert!(shown.lines().any(|said| said == line), "{shown}");
        assert_eq!(held(&[json!({"group": "web", "held": []})]), "everything holds as the configuration file says\n");
    }

    #[test]
    fn shadows_read_in_lines_the_latest_first() {
        let shown = sessions(&[
            json!({"instance": "i-1", "group": "web", "origin": "foreign", "until": 1_800_000_000, "ended": 1_800_000_000, "reason": "detached"}),
            json!({"instance": "i-2", "group": "web", "origin": "ours", "until": 1_800_003_600, "ended": null, "reason": "not needed"}),
        ]);
        let lines: Vec<&str> = shown.lines().skip(1).collect();
        assert_eq!(lines[0], "i-2                    web              ours     2027-01-15T09:00:00Z  not needed");
        assert!(lines[1].contains("over 2027-01-15T08:00:00Z"), "{shown}");
        assert_eq!(sessions(&[]), "nothing stands in shadow\n");
    }
}
