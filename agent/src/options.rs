//! Flags, environment and file of the agent; flags > `FORESHADOW_AGENT_*` > file > defaults.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use foreshadow_proto::convert::Id;
use http::Uri;

use crate::identity::{Credentials, Evidence};
use crate::output;
use crate::probe::Probe;
use crate::reader::{Fault, Reader, Section, want};
use crate::run;
use crate::spool::Limits;
use crate::stream::{Endpoint, Transport};

/// Exit code for a wrong configuration (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;
const MIB: u64 = 1_024 * 1_024;
const BATCH: RangeInclusive<u32> = 1..=60;
const SPOOL_MIB: RangeInclusive<u32> = 1..=1_024;
const SPOOL_RESERVE_MIB: RangeInclusive<u32> = 0..=1_048_576;

/// Samples this instance and streams what it sees to a Foreshadow aggregator.
#[derive(Debug, Parser)]
#[command(name = "foreshadow-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where the aggregator listens [default: http://127.0.0.1:7070]
    #[arg(long, env = "FORESHADOW_AGENT_AGGREGATOR", value_name = "URL")]
    aggregator: Option<String>,
    /// This instance's id [default: the cloud's, else the host name]
    #[arg(long, env = "FORESHADOW_AGENT_INSTANCE_ID", value_name = "ID")]
    instance_id: Option<String>,
    /// Group the instance belongs to where no inventory knows it; it is only ever observed
    #[arg(long, env = "FORESHADOW_AGENT_GROUP", value_name = "NAME")]
    group: Option<String>,
    /// Sampling interval until the aggregator says otherwise, 1 to 60 [default: 1]
    #[arg(long, env = "FORESHADOW_AGENT_INTERVAL_SECONDS", value_name = "SECONDS")]
    interval_seconds: Option<u32>,
    /// Samples sent together, 1 to 60: fewer bytes and less work, and as many intervals later [default: 1]
    #[arg(long, env = "FORESHADOW_AGENT_BATCH", value_name = "SAMPLES")]
    batch: Option<u32>,
    /// Readiness: none, exec:COMMAND, http://HOST/PATH, tcp:ADDRESS:PORT or file:PATH [default: none]
    #[arg(long, env = "FORESHADOW_AGENT_PROBE", value_name = "PROBE")]
    probe: Option<String>,
    /// How long a failing probe is forgiven once it was green [default: 30]
    #[arg(long, env = "FORESHADOW_AGENT_PROBE_GRACE_SECONDS", value_name = "SECONDS")]
    probe_grace_seconds: Option<u32>,
    /// Directory for samples that wait for the aggregator [default: $STATE_DIRECTORY/spool, else memory alone]
    #[arg(long, env = "FORESHADOW_AGENT_SPOOL", value_name = "DIRECTORY")]
    spool: Option<PathBuf>,
    /// Most of the disk that waiting samples may take, 1 to 1024 MiB [default: 16, a day at one sample a second]
    #[arg(long, env = "FORESHADOW_AGENT_SPOOL_MIB", value_name = "MIB")]
    spool_mib: Option<u32>,
    /// What stays free of that disk, 0 to 1048576 MiB [default: 256]
    #[arg(long, env = "FORESHADOW_AGENT_SPOOL_RESERVE_MIB", value_name = "MIB")]
    spool_reserve_mib: Option<u32>,
    /// File with the bearer token (role agent)
    #[arg(long, env = "FORESHADOW_AGENT_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with a join token: gets this instance a certificate of its own, in the place of a bearer token
    #[arg(long, env = "FORESHADOW_AGENT_JOIN_TOKEN_FILE", value_name = "FILE")]
    join_token_file: Option<PathBuf>,
    /// On EC2, in the place of a join token: the instance identity document that AWS signs gets the certificate
    #[arg(long, env = "FORESHADOW_AGENT_INSTANCE_DOCUMENT")]
    instance_document: bool,
    /// Directory for the instance's key and certificate [default with either: $STATE_DIRECTORY/identity]
    #[arg(long, env = "FORESHADOW_AGENT_IDENTITY", value_name = "DIRECTORY")]
    identity: Option<PathBuf>,
    /// PEM file of the authority that signed the aggregator's certificate
    #[arg(long, env = "FORESHADOW_AGENT_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// What carries the stream: tcp, quic, or auto (QUIC, and TCP where UDP is not answered) [default: tcp]
    #[arg(long, env = "FORESHADOW_AGENT_TRANSPORT", value_name = "TRANSPORT")]
    transport: Option<String>,
    /// Send in plain text beyond this host
    #[arg(long, env = "FORESHADOW_AGENT_INSECURE")]
    insecure: bool,
    /// Configuration file (TOML, the flags' names with underscores)
    #[arg(long, env = "FORESHADOW_AGENT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(long, env = "FORESHADOW_AGENT_LOG_FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// Print one sample as JSON and end
    #[arg(long)]
    once: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file and end: 0 when it is right, 64 when not
    CheckConfig { file: PathBuf },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// What the agent runs with.
#[derive(Debug, Clone)]
pub struct Options {
    pub endpoint: Endpoint,
    pub instance_id: Option<String>,
    pub group: Option<String>,
    pub interval_millis: u32,
    /// Samples that are sent together.
    pub batch: usize,
    pub probe: Probe,
    pub probe_grace_seconds: u32,
    /// Where samples wait on the disk; memory alone without it.
    pub spool: Option<PathBuf>,
    pub spool_limits: Limits,
    /// Where the instance's key and certificate are, and what gets the first one.
    pub identity: Option<(PathBuf, Evidence)>,
}

/// A file's content; every field may be absent.
#[derive(Debug, Default)]
struct FileOptions {
    aggregator: Option<String>,
    instance_id: Option<String>,
    group: Option<String>,
    interval_seconds: Option<u32>,
    batch: Option<u32>,
    probe: Option<String>,
    probe_grace_seconds: Option<u32>,
    spool: Option<PathBuf>,
    spool_mib: Option<u32>,
    spool_reserve_mib: Option<u32>,
    token_file: Option<PathBuf>,
    join_token_file: Option<PathBuf>,
    instance_document: Option<bool>,
    identity: Option<PathBuf>,
    ca: Option<PathBuf>,
    transport: Option<String>,
    insecure: Option<bool>,
}

/// The command line as it is read, for completions and manual pages.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The whole program: reads `arguments` (the program's name first), runs, and says how it ended.
pub fn main_with(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, everything else is a usage error.
            let code = if error.use_stderr() { USAGE } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    start_log(arguments.log_format);
    if let Some(Command::CheckConfig { file }) = &arguments.command {
        return match read_file(file).and_then(|read| options(&Arguments::parse_from(["foreshadow-agent"]), read)) {
            Ok(_) => {
                output::print(format_args!("{}: right\n", file.display()));
                ExitCode::SUCCESS
            }
            Err(faults) => usage(&faults),
        };
    }
    if arguments.once {
        return run::once();
    }
    let source = Source { arguments };
    match source.read() {
        Ok(options) => run::block_on(source, options),
        Err(faults) => usage(&faults),
    }
}

/// What options are made of: flags and environment as at the start, and the file as it is now.
#[derive(Debug)]
pub struct Source {
    arguments: Arguments,
}

impl Source {
    /// The same for a command line (the program's name first).
    #[cfg(test)]
    pub fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<Self, clap::Error> {
        Ok(Self { arguments: Arguments::try_parse_from(arguments)? })
    }

    /// The configuration file, where there is one.
    pub fn file(&self) -> Option<&Path> {
        self.arguments.config.as_deref()
    }

    /// Reads and checks it all.
    ///
    /// # Errors
    /// Every fault.
    pub fn read(&self) -> Result<Options, Vec<Fault>> {
        let file = self.file().map_or_else(|| Ok(FileOptions::default()), read_file)?;
        options(&self.arguments, file).and_then(with_join_token)
    }
}

fn usage(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        output::print_error(format_args!("{fault}\n"));
    }
    ExitCode::from(USAGE)
}

fn start_log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FORESHADOW_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,hyper=warn,h2=warn,tonic=warn"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let started = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => builder.without_time().try_init(),
        LogFormat::Text => builder.try_init(),
    };
    drop(started);
}

fn read_file(path: &Path) -> Result<FileOptions, Vec<Fault>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![Fault { file: name.clone(), line: 0, key: String::new(), problem: format!("cannot be read: {error}") }]
    })?;
    let mut reader = Reader::new(&name, &text);
    let mut read = FileOptions::default();
    if let Some(document) = reader.document() {
        let mut root = Section::root(&document);
        let path = |value: &toml_edit::Value| want::text(value).map(PathBuf::from);
        read.aggregator = root.get(&mut reader, "aggregator", |value| checked(value, aggregator));
        read.instance_id = root.get(&mut reader, "instance_id", |value| checked(value, id));
        read.group = root.get(&mut reader, "group", |value| checked(value, id));
        read.interval_seconds = root.get(&mut reader, "interval_seconds", want::count(1..=60));
        read.batch = root.get(&mut reader, "batch", want::count(BATCH));
        read.probe = root.get(&mut reader, "probe", |value| checked(value, str::parse::<Probe>));
        read.probe_grace_seconds = root.get(&mut reader, "probe_grace_seconds", want::count(0..=3_600));
        read.spool = root.get(&mut reader, "spool", path);
        read.spool_mib = root.get(&mut reader, "spool_mib", want::count(SPOOL_MIB));
        read.spool_reserve_mib = root.get(&mut reader, "spool_reserve_mib", want::count(SPOOL_RESERVE_MIB));
        read.token_file = root.get(&mut reader, "token_file", path);
        read.join_token_file = root.get(&mut reader, "join_token_file", path);
        read.instance_document = root.get(&mut reader, "instance_document", want::boolean);
        read.identity = root.get(&mut reader, "identity", path);
        read.ca = root.get(&mut reader, "ca", path);
        read.transport = root.get(&mut reader, "transport", |value| checked(value, str::parse::<Transport>));
        read.insecure = root.get(&mut reader, "insecure", want::boolean);
        root.finish(&mut reader);
    }
    if reader.faults.is_empty() { Ok(read) } else { Err(reader.faults) }
}

fn checked<T>(value: &toml_edit::Value, check: impl Fn(&str) -> Result<T, String>) -> Result<String, String> {
    let text = want::text(value)?;
    check(&text).map(|_| text)
}

fn id(text: &str) -> Result<Id, String> {
    Id::new("id", text).map_err(|error| error.to_string())
}

fn aggregator(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok(uri),
        _ => Err(format!("{text:?} must be http://HOST:PORT or https://HOST:PORT")),
    }
}

fn options(arguments: &Arguments, file: FileOptions) -> Result<Options, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut fault = |flag: &str, problem: String| {
        let file = "foreshadow-agent".to_owned();
        faults.push(Fault { file, line: 0, key: format!("--{flag}"), problem });
    };
    let address = arguments.aggregator.clone().or(file.aggregator);
    let address = address.unwrap_or_else(|| "http://127.0.0.1:7070".to_owned());
    let uri = aggregator(&address).map_err(|problem| fault("aggregator", problem)).ok();
    let instance_id = arguments.instance_id.clone().or(file.instance_id);
    let group = arguments.group.clone().or(file.group);
    for (flag, value) in [("instance-id", &instance_id), ("group", &group)] {
        if let Some(problem) = value.as_deref().and_then(|value| id(value).err()) {
            fault(flag, problem);
        }
    }
    let interval = arguments.interval_seconds.or(file.interval_seconds).unwrap_or(1);
    if !(1..=60).contains(&interval) {
        fault("interval-seconds", format!("{interval} is not in 1 to 60"));
    }
    let batch = arguments.batch.or(file.batch).unwrap_or(1);
    if !BATCH.contains(&batch) {
        fault("batch", format!("{batch} is not in {} to {}", BATCH.start(), BATCH.end()));
    }
    let probe = arguments.probe.clone().or(file.probe).unwrap_or_else(|| "none".to_owned());
    let probe = probe.parse::<Probe>().map_err(|problem| fault("probe", problem)).ok();
    let spool_mib = arguments.spool_mib.or(file.spool_mib).unwrap_or(16);
    let spool_reserve_mib = arguments.spool_reserve_mib.or(file.spool_reserve_mib).unwrap_or(256);
    for (flag, value, range) in
        [("spool-mib", spool_mib, SPOOL_MIB), ("spool-reserve-mib", spool_reserve_mib, SPOOL_RESERVE_MIB)]
    {
        if !range.contains(&value) {
            fault(flag, format!("{value} is not in {} to {}", range.start(), range.end()));
        }
    }
    let spool = arguments.spool.clone().or(file.spool);
    let token_file = arguments.token_file.clone().or(file.token_file);
    let insecure = arguments.insecure || file.insecure.unwrap_or(false);
    if let Some(uri) = &uri
        && uri.scheme_str() == Some("http")
        && !is_loopback(uri)
    {
        if insecure {
            tracing::warn!(aggregator = %uri, "INSECURE: samples and token travel in plain text");
        } else {
            fault("aggregator", format!("{uri} is plain text beyond this host: use https, or --insecure"));
        }
    }
    let transport = arguments.transport.clone().or(file.transport);
    let transport = transport.map_or_else(|| Ok(Transport::default()), |text| text.parse::<Transport>());
    let transport = transport.unwrap_or_else(|problem| {
        fault("transport", problem);
        Transport::default()
    });
    if transport != Transport::Tcp && uri.as_ref().is_some_and(|uri| uri.scheme_str() != Some("https")) {
        fault("aggregator", format!("must be https:// for --transport {}: QUIC is never plain", transport.as_str()));
    }
    let join_token_file = arguments.join_token_file.clone().or(file.join_token_file);
    let directory = arguments.identity.clone().or(file.identity);
    let instance_document = arguments.instance_document || file.instance_document.unwrap_or(false);
    let (flag, evidence) = match join_token_file {
        Some(path) => {
            if instance_document {
                fault("instance-document", "not beside --join-token-file: one of them is enough".to_owned());
            }
            ("join-token-file", Evidence::JoinToken(path))
        }
        None if instance_document => ("instance-document", Evidence::InstanceDocument),
        None => ("identity", Evidence::Key),
    };
    let directory = directory.or_else(|| state_directory("identity").filter(|_| evidence != Evidence::Key));
    let identity = match directory {
        None if evidence == Evidence::Key => None,
        None => {
            fault(flag, "needs --identity: a directory that keeps the instance's key".to_owned());
            None
        }
        Some(directory) => {
            if token_file.is_some() {
                fault(
                    "token-file",
                    "not beside --join-token-file, --instance-document or --identity: a certificate takes its place"
                        .to_owned(),
                );
            }
            if uri.as_ref().is_some_and(|uri| uri.scheme_str() != Some("https")) {
                fault("aggregator", "must be https://: a certificate is nothing without TLS".to_owned());
            }
            Some((directory, evidence))
        }
    };
    match (uri, probe) {
        (Some(uri), Some(probe)) if faults.is_empty() => Ok(Options {
            endpoint: Endpoint { uri, ca: arguments.ca.clone().or(file.ca), token_file, credentials: None, transport },
            instance_id,
            group,
            interval_millis: interval * 1_000,
            batch: usize::try_from(batch).unwrap_or(1),
            probe,
            probe_grace_seconds: arguments.probe_grace_seconds.or(file.probe_grace_seconds).unwrap_or(30),
            spool: spool.or_else(|| state_directory("spool")),
            spool_limits: Limits { limit: u64::from(spool_mib) * MIB, reserve: u64::from(spool_reserve_mib) * MIB },
            identity,
        }),
        _ => Err(faults),
    }
}

/// Without a certificate there is nothing to begin with but the join token: a file that is missing would be asked for for ever. Who has
/// one may have thrown the token away. `check-config` does not look: the file may be for the service's own user.
fn with_join_token(options: Options) -> Result<Options, Vec<Fault>> {
    let Some((directory, Evidence::JoinToken(path))) = &options.identity else { return Ok(options) };
    let problem = match std::fs::read_to_string(path) {
        _ if Credentials::had_certificate(directory) => return Ok(options),
        Ok(token) if token.trim().is_empty() => "holds no token".to_owned(),
        Ok(_) => return Ok(options),
        Err(error) => format!("cannot be read: {error}"),
    };
    let problem = format!("{} {problem}; the first certificate needs it (foreshadow tokens join)", path.display());
    let (file, key) = ("foreshadow-agent".to_owned(), "--join-token-file".to_owned());
    Err(vec![Fault { file, line: 0, key, problem }])
}

/// What systemd gives a service with `StateDirectory=` (`systemd.exec(5)`); several are separated by colons.
fn state_directory(name: &str) -> Option<PathBuf> {
    let given = std::env::var_os("STATE_DIRECTORY")?;
    let first = given.to_str()?.split(':').next().filter(|first| !first.is_empty())?;
    Some(Path::new(first).join(name))
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(arguments: &[&str]) -> Result<Options, Vec<String>> {
        let all = ["foreshadow-agent"].iter().chain(arguments);
        let arguments = Arguments::try_parse_from(all).expect("flags");
        options(&arguments, FileOptions::default()).map_err(|faults| faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_wrong_flag_is_named() {
        let wrong = ["--aggregator", "ftp://x", "--instance-id", "a b", "--interval-seconds", "0", "--probe", "ping"];
        let faults = from(&wrong).expect_err("four faults");
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(from(&[]).is_ok());
    }

    #[test]
    fn plain_text_beyond_this_host_is_refused_unless_asked_for() {
        assert!(from(&["--aggregator", "http://10.0.0.1:7070"]).expect_err("refused")[0].contains("--insecure"));
        assert!(from(&["--aggregator", "http://10.0.0.1:7070", "--insecure"]).is_ok());
        assert!(from(&["--aggregator", "https://10.0.0.1:7070"]).is_ok());
        assert!(from(&["--aggregator", "http://[::1]:7070"]).is_ok());
    }

    #[test]
    fn a_transport_has_a_name_and_quic_needs_tls() {
        let of = |url: &str, transport: &str| {
            from(&["--aggregator", url, "--transport", transport]).map(|options| options.endpoint.transport)
        };
        assert_eq!(from(&[]).expect("right").endpoint.transport, Transport::Tcp);
        assert_eq!(of("https://10.0.0.1:7070", "quic"), Ok(Transport::Quic));
        assert_eq!(of("https://10.0.0.1:7070", "auto"), Ok(Transport::Auto));
        assert!(of("https://10.0.0.1:7070", "udp").expect_err("refused")[0].contains("tcp, quic or auto"));
        assert!(of("http://127.0.0.1:7070", "auto").expect_err("refused")[0].contains("must be https"));
        assert!(from(&["--batch", "61"]).expect_err("refused")[0].contains("--batch: 61 is not in 1 to 60"));
    }

    #[test]
    fn a_join_token_that_is_not_there_is_found_out_at_the_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let tls = ["--aggregator", "https://10.0.0.1:7070", "--identity", &path("identity"), "--join-token-file"];
        let begun = |name: &str| {
            let options = from(&[&tls[..], &[path(name).as_str()]].concat()).expect("right");
            with_join_token(options).map(drop).map_err(|faults| faults[0].to_string())
        };
        std::fs::write(path("empty"), "\n").expect("written");
        std::fs::write(path("token"), "fj_1_2\n").expect("written");
        for (name, told) in [("none", "cannot be read"), ("empty", "holds no token")] {
            let said = begun(name).expect_err("refused");
            assert!(said.contains("--join-token-file") && said.contains(told), "{said}");
        }
        assert_eq!(begun("token"), Ok(()));
        // With a certificate the key is enough.
        std::fs::create_dir(path("identity")).expect("made");
        std::fs::write(path("identity/certificate.json"), "{}").expect("written");
        assert_eq!(begun("none"), Ok(()));
    }

    #[test]
    fn a_certificate_needs_tls_a_place_and_no_token_beside_it() {
        let tls = ["--aggregator", "https://10.0.0.1:7070"];
        let with = |more: &[&str]| from(&[&tls[..], more].concat());
        let found = with(&["--identity", "/x", "--join-token-file", "/t"]).expect("right").identity;
        assert_eq!(found, Some(("/x".into(), Evidence::JoinToken("/t".into()))));
        let found = with(&["--identity", "/x", "--instance-document"]).expect("right").identity;
        assert_eq!(found, Some(("/x".into(), Evidence::InstanceDocument)));
        let found = with(&["--identity", "/x"]).expect("right").identity;
        assert_eq!(found, Some(("/x".into(), Evidence::Key)));
        let both = ["--identity", "/x", "--instance-document", "--join-token-file", "/t"];
        assert!(with(&both).expect_err("refused")[0].contains("one of them"));
        assert!(with(&["--instance-document"]).expect_err("refused")[0].contains("--identity"));
        assert_eq!(with(&[]).expect("right").identity, None);
        assert!(with(&["--join-token-file", "/t"]).expect_err("refused")[0].contains("--identity"));
        assert!(with(&["--identity", "/x", "--token-file", "/t"]).expect_err("refused")[0].contains("--token-file"));
        assert!(from(&["--identity", "/x"]).expect_err("refused")[0].contains("must be https"));
    }

    #[test]
    fn a_file_names_line_and_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("agent.toml");
        std::fs::write(&path, "interval_seconds = 0\nprob = \"none\"\n").expect("written");
        let faults = read_file(&path).expect_err("two faults");
        assert!(faults[0].to_string().ends_with("agent.toml:1: interval_seconds: 0 is not in 1 to 60"));
        assert!(faults[1].to_string().contains("agent.toml:2: prob: unknown key; did you mean \"probe\"?"));
    }
}
