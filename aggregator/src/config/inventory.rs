//! `[inventory]`: who belongs to which group, and who can be asked to change that.

use std::path::PathBuf;

use foreshadow_agent::reader::{Reader, Section, want};
use http::Uri;
use serde::Serialize;

use super::path;
use crate::exchange::is_loopback;
use crate::fleet::CALLS_PER_SECOND;

/// `[inventory]`: who belongs to which group.
#[derive(Debug, Clone, Serialize)]
pub struct Inventory {
    pub interval_seconds: u32,
    /// A static inventory file.
    pub file: Option<PathBuf>,
    pub aws: Option<Aws>,
    pub command: Option<Command>,
    pub webhook: Option<Webhook>,
    /// How long an instance may warm up without an agent before it counts as serving.
    pub warm_up_seconds: u32,
    /// How long a detached instance drains before its measurements count as idle.
    pub drain_seconds: u32,
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            interval_seconds: 30,
            file: None,
            aws: None,
            command: None,
            webhook: None,
            warm_up_seconds: 600,
            drain_seconds: 300,
        }
    }
}

/// `[inventory.aws]`: Auto Scaling groups by name.
#[derive(Debug, Clone, Serialize)]
pub struct Aws {
    pub groups: Vec<String>,
    pub region: Option<String>,
    /// The SQS queue that the account's events go to.
    #[serde(serialize_with = "as_text_if_any")]
    pub queue: Option<Uri>,
    /// What all that is sent to the region may come to.
    pub calls_per_second: u32,
}

impl Default for Aws {
    fn default() -> Self {
        Self { groups: Vec::new(), region: None, queue: None, calls_per_second: CALLS_PER_SECOND }
    }
}

/// `[inventory.command]`: the user's own program, one run an operation.
#[derive(Debug, Clone, Serialize)]
pub struct Command {
    pub program: PathBuf,
    pub groups: Vec<String>,
    pub timeout_seconds: u32,
    pub reach: CommandReach,
}

impl Default for Command {
    fn default() -> Self {
        Self { program: PathBuf::new(), groups: Vec::new(), timeout_seconds: 30, reach: CommandReach::Cloud }
    }
}

/// How far a program acts, by the user's word: nobody else can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandReach {
    /// It only describes, and is asked for nothing else.
    None,
    /// What it changes is a test on this machine.
    Loopback,
    Cloud,
}

/// `[inventory.webhook]`: the user's own server, one POST an operation.
#[derive(Debug, Clone, Serialize)]
pub struct Webhook {
    #[serde(serialize_with = "as_text")]
    pub url: Uri,
    pub secret_file: PathBuf,
    pub groups: Vec<String>,
    pub timeout_seconds: u32,
}

impl Webhook {
    const TIMEOUT_SECONDS: u32 = 30;
}

fn as_text_if_any<S: serde::Serializer>(url: &Option<Uri>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(ToString::to_string).serialize(serializer)
}

pub(super) fn as_text<S: serde::Serializer>(url: &Uri, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

/// The section, and the sources below it.
pub(super) fn read(reader: &mut Reader, root: &mut Section<'_>) -> Inventory {
    let mut read = Inventory::default();
    let mut section = root.section(reader, "inventory");
    section.set(reader, "interval_seconds", &mut read.interval_seconds, want::count(5..=3_600));
    section.set(reader, "warm_up_seconds", &mut read.warm_up_seconds, want::count(0..=7_200));
    section.set(reader, "drain_seconds", &mut read.drain_seconds, want::count(0..=7_200));
    read.file = section.get(reader, "file", path);
    read.aws = aws(reader, &mut section);
    read.command = command(reader, &mut section);
    read.webhook = webhook(reader, &mut section);
    section.finish(reader);
    read
}

/// Names of groups; none is a fault, since an empty list means none.
fn groups(reader: &mut Reader, section: &mut Section<'_>, what: &str) -> Vec<String> {
    let groups = section.get(reader, "groups", want::texts);
    if groups.as_ref().is_none_or(Vec::is_empty) {
        section.fault(reader, "groups", format!("name at least one {what}; an empty list means none, never all"));
    }
    groups.unwrap_or_default()
}

fn aws(reader: &mut Reader, inventory: &mut Section<'_>) -> Option<Aws> {
    let mut section = inventory.section(reader, "aws");
    let read = section.is_present().then(|| {
        let mut read = Aws {
            groups: groups(reader, &mut section, "Auto Scaling group"),
            region: section.get(reader, "region", want::text),
            queue: section.get(reader, "queue", secure_url),
            ..Aws::default()
        };
        section.set(reader, "calls_per_second", &mut read.calls_per_second, want::count(1..=1_000));
        read
    });
    section.finish(reader);
    read
}

/// An address nobody can listen in on.
pub(super) fn secure_url(value: &toml_edit::Value) -> Result<Uri, String> {
    let text = want::text(value)?;
    let url: Uri = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("holds a name or a password, which would stand in every log: secrets come from files".to_owned());
    }
    match url.scheme_str() {
        Some("https") => Ok(url),
        Some("http") if is_loopback(&url) => Ok(url),
        _ => Err(format!("{text:?}: must start with https:// (http:// on loopback alone)")),
    }
}

fn command(reader: &mut Reader, inventory: &mut Section<'_>) -> Option<Command> {
    let mut section = inventory.section(reader, "command");
    let read = section.is_present().then(|| {
        let program = section.get(reader, "program", |value| {
            let program = path(value)?;
            if program.is_absolute() { Ok(program) } else { Err(format!("{program:?} must be an absolute path")) }
        });
        if program.is_none() && !section.has("program") {
            section.fault(reader, "program", "is missing");
        }
        let mut read = Command {
            program: program.unwrap_or_default(),
            groups: groups(reader, &mut section, "group"),
            ..Command::default()
        };
        section.set(reader, "timeout_seconds", &mut read.timeout_seconds, want::count(1..=600));
        section.set(reader, "reach", &mut read.reach, |value| match want::text(value)?.as_str() {
            "none" => Ok(CommandReach::None),
            "loopback" => Ok(CommandReach::Loopback),
            "cloud" => Ok(CommandReach::Cloud),
            other => Err(format!("{other:?}; known: none, loopback, cloud")),
        });
        read
    });
    section.finish(reader);
    read
}

fn webhook(reader: &mut Reader, inventory: &mut Section<'_>) -> Option<Webhook> {
    let mut section = inventory.section(reader, "webhook");
    let read = section.is_present().then(|| {
        let url = section.get(reader, "url", secure_url);
        let secret_file = section.get(reader, "secret_file", path);
        for key in ["url", "secret_file"] {
            if !section.has(key) {
                section.fault(reader, key, "is missing");
            }
        }
        let mut read = Webhook {
            url: url.unwrap_or_default(),
            secret_file: secret_file.unwrap_or_default(),
            groups: groups(reader, &mut section, "group"),
            timeout_seconds: Webhook::TIMEOUT_SECONDS,
        };
        section.set(reader, "timeout_seconds", &mut read.timeout_seconds, want::count(1..=600));
        read
    });
    section.finish(reader);
    read
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn programs_and_servers_are_checked_as_a_whole() {
        let right = "[inventory.command]\nprogram = \"/opt/fleet\"\ngroups = [\"a\"]\nreach = \"none\"\n\
                     [inventory.webhook]\nurl = \"http://127.0.0.1:8080/fleet\"\nsecret_file = \"s\"\ngroups = [\"b\"]\n";
        let config = Config::parse("f.toml", right).expect("right").inventory;
        let (command, webhook) = (config.command.expect("command"), config.webhook.expect("webhook"));
        assert_eq!((command.timeout_seconds, webhook.timeout_seconds), (30, 30));
        assert_eq!(webhook.url.to_string(), "http://127.0.0.1:8080/fleet");

        let aws = |rest: &str| Config::parse("f.toml", &format!("[inventory.aws]\ngroups = [\"a\"]\n{rest}"));
        let pace = |rest: &str| aws(rest).expect("right").inventory.aws.expect("aws").calls_per_second;
        assert_eq!((pace(""), pace("calls_per_second = 5")), (20, 5));
        let faults = aws("calls_per_second = 0").expect_err("a fault");
        assert!(faults[0].to_string().starts_with("f.toml:3: inventory.aws.calls_per_second:"), "{faults:?}");

        let queue = "[inventory.aws]\ngroups = [\"a\"]\nqueue = \"http://sqs.eu-west-1.amazonaws.com/1/q\"\n";
        let faults = Config::parse("f.toml", queue).expect_err("a fault");
        assert!(faults[0].to_string().starts_with("f.toml:3: inventory.aws.queue:"), "{faults:?}");

        let wrong = "[inventory.command]\nprogram = \"fleet\"\nreach = \"far\"\ngroups = []\ntimeout_seconds = 0\n\
                     [inventory.webhook]\nurl = \"http://fleet.example.org\"\ntimeout = 3\n";
        let faults: Vec<String> =
            Config::parse("f.toml", wrong).expect_err("faults").iter().map(ToString::to_string).collect();
        for part in [
            "f.toml:2: inventory.command.program: \"fleet\" must be an absolute path",
            "f.toml:3: inventory.command.reach: \"far\"; known:",
            "f.toml:4: inventory.command.groups: name at least one",
            "f.toml:5: inventory.command.timeout_seconds: 0 is not in",
            "f.toml:7: inventory.webhook.url: \"http://fleet.example.org\": must start with https://",
            "f.toml:6: inventory.webhook.secret_file: is missing",
            "f.toml:6: inventory.webhook.groups: name at least one",
            "f.toml:8: inventory.webhook.timeout: unknown key; known here:",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(part)), "{part} in {faults:#?}");
        }
    }
}
