//! A fleet behind the user's own program: one run an operation, the question on its standard input,
//! the answer on its standard output. `docs/fleets.md` describes both, with an example.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::remote::{Carried, Carrier, Remote, shown};
use super::wire::Question;
use super::{Fleet, Reach};
use crate::clock::Clock;

/// No answer is longer.
const LONGEST: u64 = 16 * 1_024 * 1_024;
/// Of what it says on standard error, this much is kept.
const COMPLAINT: usize = 4_096;
/// All of our environment that it gets: no secret of ours is in these.
const ENVIRONMENT: [&str; 3] = ["PATH", "HOME", "LANG"];
/// `EX_TEMPFAIL`: not done, try again later.
const LATER: i32 = 75;

/// Asks a program.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    within: Duration,
}

/// A source that runs a program, each time for as long as `within`. `reach` is the user's word.
pub fn source(
    path: PathBuf,
    groups: Vec<String>,
    within: Duration,
    reach: Reach,
    clock: Arc<dyn Clock>,
) -> Arc<dyn Fleet> {
    Arc::new(Remote { carrier: Program { path, within }, name: "command", groups, reach, clock })
}

/// Ends the program and all it has started, unless it has ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0
            && let Err(error) = kill_process_group(leader, Signal::KILL)
        {
            tracing::debug!(%error, "the program has ended by itself");
        }
    }
}

#[async_trait]
impl Carrier for Program {
    async fn carry(&self, question: Question) -> Carried {
        let name = self.path.display();
        let mut command = Command::new(&self.path);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.process_group(0).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Carried::Refused(format!("{name} cannot be started: {error}")),
        };
        // The leader is not waited for before its outputs have ended: until then its id is its own.
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let ran = tokio::time::timeout(self.within, run(&mut child, &question.body)).await;
        let (status, answer, complaint) = match ran {
            Ok(Ok(ended)) => {
                group.0 = None;
                ended
            }
            Ok(Err(error)) => return Carried::Unknown(format!("{name}: {error}")),
            Err(_) => return Carried::Unknown(format!("{name} did not end within {} s", self.within.as_secs())),
        };
        let complaint = match shown(&complaint) {
            words if words.is_empty() => String::new(),
            words => format!(": {words}"),
        };
        match status.code() {
            Some(0) => Carried::Answer(answer),
            Some(LATER) => Carried::Throttled,
            Some(code @ 64..=78) => Carried::Refused(format!("{name} refused with code {code}{complaint}")),
            Some(code) => Carried::Unknown(format!("{name} failed with code {code}{complaint}")),
            None => Carried::Unknown(format!("{name} was ended by a signal{complaint}")),
        }
    }
}

async fn run(child: &mut Child, question: &[u8]) -> std::io::Result<(std::process::ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its question is no failure: its answer tells.
            drop(stdin.write_all(question).await);
        }
    };
    let ((), answer, complaint) = tokio::join!(write, whole(stdout), first(stderr));
    let answer = answer?;
    Ok((child.wait().await?, answer, complaint))
}

async fn whole(output: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    if let Some(output) = output {
        output.take(LONGEST + 1).read_to_end(&mut answer).await?;
    }
    if answer.len() as u64 > LONGEST {
        return Err(std::io::Error::other(format!("the answer is longer than {} MiB", LONGEST >> 20)));
    }
    Ok(answer)
}

/// The first words; the rest is read and forgotten, so that nobody waits for a reader.
async fn first(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let Some(mut output) = output else { return Vec::new() };
    let (mut kept, mut chunk) = (Vec::new(), [0_u8; 1_024]);
    while let Ok(read @ 1..) = output.read(&mut chunk).await {
        let room = COMPLAINT.saturating_sub(kept.len());
        kept.extend(chunk.iter().take(read.min(room)));
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn run(script: &str, within: Duration) -> Carried {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("program");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        let program = Program { path, within };
        program.carry(Question { body: b"{\"operation\":\"describe\"}".to_vec(), token: None }).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_exit_code_says_what_became_of_it() {
        assert_eq!(run("cat", LONG).await, Carried::Answer(b"{\"operation\":\"describe\"}".to_vec()));
        assert_eq!(run("exit 75", LONG).await, Carried::Throttled);
        for (script, part) in [("echo 'not\n mine' >&2; exit 64", "64: not mine"), ("exit 78", "code 78")] {
            let Carried::Refused(why) = run(script, LONG).await else { panic!("refused: {script}") };
            assert!(why.ends_with(part), "{why}");
        }
        for (script, part) in [
            ("echo broken >&2; exit 1", "code 1: broken"),
            ("exit 63", "code 63"),
            ("exit 79", "code 79"),
            ("kill -9 $$", "by a signal"),
            ("head -c 17000000 /dev/zero", "longer than 16 MiB"),
        ] {
            let Carried::Unknown(problem) = run(script, LONG).await else { panic!("unknown: {script}") };
            assert!(problem.contains(part), "{problem}");
        }
        let nothing = Program { path: PathBuf::from("/nonexistent/program"), within: LONG };
        let carried = nothing.carry(Question { body: Vec::new(), token: None }).await;
        assert!(matches!(carried, Carried::Refused(why) if why.contains("cannot be started")));
    }

    #[tokio::test]
    async fn it_sees_nothing_of_our_environment_and_its_complaints_hold_nobody_up() {
        let Carried::Answer(answer) = run("head -c 200000 /dev/zero >&2; env", LONG).await else { panic!("an answer") };
        let text = String::from_utf8(answer).expect("text");
        let names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
        // A shell adds a few of its own.
        let known = ["PATH", "HOME", "LANG", "PWD", "OLDPWD", "SHLVL", "_"];
        assert!(names.contains(&"PATH") && names.iter().all(|name| known.contains(name)), "{names:?}");
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "there was something to hide");
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_not_waited_for() {
        let Carried::Unknown(problem) = run("sleep 600", Duration::from_millis(50)).await else { panic!("unknown") };
        assert!(problem.contains("did not end within"), "{problem}");
    }

    #[tokio::test]
    async fn what_it_started_ends_with_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("child");
        // Its child holds the outputs open and would go on.
        let script = format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; sleep 600' & wait", file.display());
        let begun = async {
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            carried = run(&script, LONG) => panic!("it ended: {carried:?}"),
            () = begun => {}
        }
        let id: u32 = std::fs::read_to_string(&file).expect("it ran").trim().parse().expect("an id");
        let alive = || {
            // Dead, perhaps not yet reaped by whoever inherits it.
            let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        while alive() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
