//! `foreshadow groups`, `mode`, `pause`, `resume`, `shadow` and `journal`: the routes that steer, for a person at a
//! terminal. Each says what it did in one line.

use clap::Subcommand;
use foreshadow_proto::convert::Id;
use http::Method;
use planner::policy;
use serde_json::{Value, json};

use crate::client::{Client, escaped};
use crate::clock::time_argument;
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

/// How far Foreshadow may go in a group.
#[derive(Debug, clap::Args)]
pub struct ModeArguments {
    /// The group
    group: Id,
    /// observe: nothing is changed; scale-out: launches and re-attaches; full: detaches and terminates as well
    #[arg(value_enum)]
    mode: Mode,
    /// Why; whoever is woken tonight reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    client: Client,
}

/// Stop, or go on.
#[derive(Debug, clap::Args)]
pub struct PauseArguments {
    /// The group; without one it is everything
    group: Option<Id>,
    /// Why; whoever is woken tonight reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    client: Client,
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
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    client: Client,
}

/// Limits of the configuration file.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct LimitsArguments {
    #[command(subcommand)]
    action: Option<LimitsAction>,
    /// The answer itself, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
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
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    client: Client,
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

// An answer without anything to choose.
#[derive(Debug, clap::Args)]
pub struct Ask {
    /// The answer itself, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
struct Take {
    /// The instance
    instance: Id,
    /// The group whose plan decides about it from now on
    #[arg(long)]
    group: Id,
    /// Why; whoever is woken tonight reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The instance
    instance: Id,
    /// Why; whoever is woken tonight reads it
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    client: Client,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// Of this group alone
    #[arg(long)]
    group: Option<Id>,
    /// The answer itself, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    client: Client,
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

/// Sets a group's mode.
pub async fn mode(arguments: &ModeArguments) -> anyhow::Result<()> {
    let path = format!("/groups/{}/mode", escaped(arguments.group.as_str()));
    let body = json!({ "mode": policy::Mode::from(arguments.mode), "reason": arguments.reason });
    let standing = arguments.client.request(Method::POST, &path, Some(&body)).await?;
    let paused = if standing["paused"] == true { ", and paused: nothing is done until it is resumed" } else { "" };
    println!("{}: mode {}{paused}", arguments.group, standing["mode"].as_str().unwrap_or("?"));
    Ok(())
}

/// Gives a group leave to go below last week's need.
pub async fn below_last_week(arguments: &LeaveArguments) -> anyhow::Result<()> {
    let path = format!("/groups/{}/below-last-week", escaped(arguments.group.as_str()));
    let body = json!({ "until": arguments.until, "reason": arguments.reason });
    let standing = arguments.client.request(Method::POST, &path, Some(&body)).await?;
    let until = standing["leave"]["until"].as_i64().and_then(|at| jiff::Timestamp::from_second(at).ok());
    let until = until.map_or_else(|| "?".to_owned(), |at| at.to_string());
    println!(
        "{}: may go below what it needed a week ago until {until}; everything else holds as before",
        arguments.group
    );
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
    let answer = arguments.client.request(Method::POST, &path, Some(&body)).await?;
    let whom = arguments.group.as_ref().map_or("everything", Id::as_str);
    let said = match (paused, answer["everything_paused"] == true) {
        (true, _) => "paused: nothing is changed from now on",
        (false, true) => "its own pause is over; everything is still paused (foreshadow resume)",
        (false, false) => "resumed",
    };
    println!("{whom}: {said}");
    Ok(())
}

/// Lists what of the configuration file waits to be accepted, or accepts it.
pub async fn limits(arguments: &LimitsArguments) -> anyhow::Result<()> {
    let Some(LimitsAction::Accept(accept)) = &arguments.action else {
        return show(&arguments.client.get("/limits").await?, arguments.json, held);
    };
    let path = accept.group.as_ref().map(|group| format!("/groups/{}/limits", escaped(group.as_str())));
    let path = path.unwrap_or_else(|| "/limits".to_owned());
    accept.client.request(Method::POST, &path, Some(&json!({ "reason": accept.reason }))).await?;
    let whose = accept.group.as_ref().map_or("all groups at once", Id::as_str);
    println!("{whose}: what the configuration file says holds");
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
            take.client.request(Method::POST, &path, Some(&body)).await?;
            println!("{}: ours from now on, a shadow of {}", take.instance, take.group);
            return Ok(());
        }
    };
    let path = format!("/shadow/sessions/{}/{word}", escaped(named.instance.as_str()));
    let session = named.client.request(Method::POST, &path, Some(&json!({ "reason": named.reason }))).await?;
    print!("{}", sessions(std::slice::from_ref(&session)));
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
        let answer = self.client.get(&self.path(route)).await?;
        if !self.json
            && let (Some(group), Some([])) = (&self.group, answer.as_array().map(Vec::as_slice))
        {
            // Nothing of one group is not nothing at all.
            print!("{group}: ");
        }
        show(&answer, self.json, lines)
    }
}

fn show(answer: &Value, as_json: bool, lines: fn(&[Value]) -> String) -> anyhow::Result<()> {
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
        let hold = group.pointer("/holds/0").and_then(Value::as_str).unwrap_or("-");
        let mode = format!("{}{marks}", text(group, "mode"));
        let [serving, now, ahead, reporting] = ["serving", "need_now", "need_ahead", "reporting"].map(number);
        [text(group, "name").to_owned(), mode, serving, now, ahead, reporting, hold.to_owned()]
    });
    table(["group", "mode", "serving", "need now", "need ahead", "reporting", "first hold"], rows)
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
    fn every_group_is_a_line() {
        let shown = group_lines(&[
            json!({"name": "web", "mode": "full", "serving": 12, "need_now": 9, "need_ahead": 15, "reporting": 11,
                "paused": true, "holds": ["LowTrust", "Warming"]}),
            json!({"name": "api", "mode": "observe", "serving": 0, "reporting": 0, "paused": false, "holds": []}),
        ]);
        assert_eq!(
            shown,
            "group  mode          serving  need now  need ahead  reporting  first hold\n\
             web    full, paused  12       9         15          11         LowTrust\n\
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
