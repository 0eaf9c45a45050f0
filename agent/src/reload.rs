//! The configuration, read again on SIGHUP: what can change while samples are taken does, what needs a restart is named, and one
//! with a fault changes nothing. The stream's id, its sequence and what waits go on.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::identity::Evidence;
use crate::options::{Options, Source};
use crate::reader::Fault;
use crate::stream::Endpoint;

/// What a reload came to, by the fields of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// They hold from now on.
    pub changed: Vec<&'static str>,
    /// They hold after a restart.
    pub waiting: Vec<&'static str>,
    /// What is said or shown at a connection, or where it goes, is another: a new one is needed.
    pub connects: bool,
}

/// Reads what holds from now on: the file as it is, below flags and environment as they were.
///
/// # Errors
/// Every fault; then what held before still does.
pub fn read(source: &Source, holds: &Options) -> Result<(Options, Taken), Vec<Fault>> {
    if source.file().is_none() {
        return Err(vec![fault("config", "was not given: there is no file to read again".to_owned())]);
    }
    let (next, taken) = over(holds, source.read()?);
    if taken.connects {
        // At a start a file may come late; here a stream that works would be given up for one that cannot.
        check_files(&next.endpoint)?;
    }
    Ok((next, taken))
}

/// A fault that is found beyond the file's own lines.
pub fn fault(flag: &str, problem: String) -> Fault {
    Fault { file: "foreshadow-agent".to_owned(), line: 0, key: format!("--{flag}"), problem }
}

/// `read` in the place of what holds; what needs a restart stays as it is, and is named again the next time.
fn over(holds: &Options, read: Options) -> (Options, Taken) {
    let (old, new) = (&holds.endpoint, &read.endpoint);
    let evidence = |options: &Options| options.identity.as_ref().map(|(_, evidence)| evidence.clone());
    let directory = |options: &Options| options.identity.as_ref().map(|(directory, _)| directory.clone());
    let (before, after) = (evidence(holds), evidence(&read));
    let token = |evidence: &Option<Evidence>| match evidence {
        Some(Evidence::JoinToken(path)) => Some(path.clone()),
        _ => None,
    };
    let document = |evidence: &Option<Evidence>| *evidence == Some(Evidence::InstanceDocument);
    let differs = |all: &[(&'static str, bool)]| -> Vec<&'static str> {
        all.iter().filter(|(_, differs)| *differs).map(|(field, _)| *field).collect()
    };
    let mut changed = differs(&[
        ("aggregator", old.uri != new.uri),
        ("ca", old.ca != new.ca),
        ("token_file", old.token_file != new.token_file),
        ("join_token_file", token(&before) != token(&after)),
        ("instance_document", document(&before) != document(&after)),
        ("identity", directory(holds) != directory(&read)),
        ("transport", old.transport != new.transport),
        ("group", holds.group != read.group),
    ]);
    let connects = !changed.is_empty();
    changed.extend(differs(&[
        ("interval_seconds", holds.interval_millis != read.interval_millis),
        ("batch", holds.batch != read.batch),
        ("probe", holds.probe != read.probe),
        ("probe_grace_seconds", holds.probe_grace_seconds != read.probe_grace_seconds),
    ]));
    // An id belongs to a key, and the spool is open: both are of the process.
    let waiting = differs(&[
        ("instance_id", holds.instance_id != read.instance_id),
        ("spool", holds.spool != read.spool),
        ("spool_mib", holds.spool_limits.limit != read.spool_limits.limit),
        ("spool_reserve_mib", holds.spool_limits.reserve != read.spool_limits.reserve),
    ]);
    let next = Options {
        instance_id: holds.instance_id.clone(),
        spool: holds.spool.clone(),
        spool_limits: holds.spool_limits,
        ..read
    };
    (next, Taken { changed, waiting, connects })
}

/// What a connection would read and not find.
fn check_files(endpoint: &Endpoint) -> Result<(), Vec<Fault>> {
    let content = |path: &Path| std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
    let mut faults = Vec::new();
    if let Some(path) = &endpoint.ca {
        let problem = match content(path) {
            Err(problem) => Some(problem),
            Ok(pem) => match CertificateDer::pem_slice_iter(&pem).next() {
                Some(Ok(_)) => None,
                Some(Err(error)) => Some(format!("holds no certificate: {error}")),
                None => Some("holds no certificate".to_owned()),
            },
        };
        faults.extend(problem.map(|problem| fault("ca", format!("{} {problem}", path.display()))));
    }
    if let Some(path) = &endpoint.token_file {
        let problem = match content(path) {
            Err(problem) => Some(problem),
            Ok(token) => token.trim_ascii().is_empty().then(|| "holds no token".to_owned()),
        };
        faults.extend(problem.map(|problem| fault("token-file", format!("{} {problem}", path.display()))));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(directory: &Path, text: &str, flags: &[&str]) -> Source {
        let path = directory.join("agent.toml");
        std::fs::write(&path, text).expect("written");
        let path = path.display().to_string();
        let all = ["foreshadow-agent", "--config", path.as_str()].into_iter().chain(flags.iter().copied());
        Source::parse(all).expect("flags")
    }

    #[test]
    fn what_changed_is_named_what_needs_a_restart_stays_and_a_flag_stands_above_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let of = |text: &str| source(directory.path(), text, &["--batch", "3"]);
        let holds = of("probe = \"none\"\nspool = \"/a\"\n").read().expect("right");
        let (next, taken) = read(
            &of("probe = \"file:/x\"\nprobe_grace_seconds = 5\ninterval_seconds = 4\nspool = \"/b\"\nspool_mib = 3\nbatch = 9\n\
                 instance_id = \"i-2\"\n"),
            &holds,
        )
        .expect("right");
        assert_eq!(taken.changed, ["interval_seconds", "probe", "probe_grace_seconds"]);
        assert_eq!(taken.waiting, ["instance_id", "spool", "spool_mib"]);
        assert!(!taken.connects, "the stream is left alone");
        assert_eq!((next.interval_millis, next.batch, next.probe_grace_seconds), (4_000, 3, 5));
        assert_eq!((next.instance_id, next.spool, next.spool_limits.limit), (None, Some("/a".into()), 16 << 20));
        let (_, taken) =
            read(&of("aggregator = \"http://127.0.0.1:9\"\ngroup = \"web\"\nspool = \"/a\"\n"), &holds).expect("right");
        assert_eq!((taken.changed, taken.connects), (vec!["aggregator", "group"], true));
        let (_, taken) = read(&of("probe = \"none\"\nspool = \"/a\"\n"), &holds).expect("right");
        assert_eq!(taken, Taken::default());
    }

    #[test]
    fn how_an_instance_proves_itself_is_named_by_its_own_field() {
        let directory = tempfile::tempdir().expect("a directory");
        let tls = "aggregator = \"https://127.0.0.1:9\"\nidentity = \"/i\"\n";
        let holds = source(directory.path(), tls, &[]).read().expect("right");
        std::fs::write(directory.path().join("token"), "fj_1_2\n").expect("written");
        let token = directory.path().join("token").display().to_string();
        let with = |more: &str| read(&source(directory.path(), &format!("{tls}{more}"), &[]), &holds).expect("right").1;
        assert_eq!(with(&format!("join_token_file = {token:?}\n")).changed, ["join_token_file"]);
        assert_eq!(with("instance_document = true\n").changed, ["instance_document"]);
    }

    #[test]
    fn a_fault_is_told_with_its_line_and_so_is_what_a_connection_would_not_find() {
        let directory = tempfile::tempdir().expect("a directory");
        let holds = source(directory.path(), "", &[]).read().expect("right");
        let refused = |text: &str| -> Vec<String> {
            let faults = read(&source(directory.path(), text, &[]), &holds).expect_err("refused");
            faults.iter().map(ToString::to_string).collect()
        };
        let said = refused("batch = 2\nprobe = \"ping\"\ninterval_seconds = 0\n");
        assert!(said[0].contains("agent.toml:3: interval_seconds: 0 is not in 1 to 60"), "{said:?}");
        assert!(said[1].contains("agent.toml:2: probe: "), "{said:?}");
        std::fs::write(directory.path().join("empty"), "\n").expect("written");
        let empty = directory.path().join("empty").display().to_string();
        let said = refused(&format!("ca = {empty:?}\ntoken_file = \"/no/such\"\n"));
        assert!(said[0].contains("--ca: ") && said[0].contains("holds no certificate"), "{said:?}");
        assert!(said[1].contains("--token-file: /no/such cannot be read"), "{said:?}");
        let without = Source::parse(["foreshadow-agent"]).expect("flags");
        let said = read(&without, &holds).expect_err("no file")[0].to_string();
        assert_eq!(said, "foreshadow-agent: --config: was not given: there is no file to read again");
    }
}
