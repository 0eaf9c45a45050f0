//! The command line: a table of contents of what the binary does.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use foreshadow_agent::reader::Fault;

use crate::client::Ask;
use crate::config::Config;
use crate::identity::command as identity;
use crate::identity::{Role, new_token};
use crate::reload::Source;
use crate::store::command as store;
use crate::telemetry::{self, LogFormat};
use crate::{backtest, decision, demo, eval, events, explain, import, manual, models, steer, supervise, train, week};

/// Exit code for a wrong configuration or command line (`EX_USAGE` of sysexits).
const USAGE: u8 = 64;

/// Predictive autoscaling: launches before the load comes, takes machines away reversibly.
#[derive(Debug, Parser)]
#[command(name = "foreshadow", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[arg(long, env = "FORESHADOW_LOG_FORMAT", value_enum, default_value = "text", global = true)]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the aggregator
    Serve(Serve),
    /// Show the whole product on this machine: a live agent, and a simulated group beside it
    Demo(demo::Arguments),
    /// Check a configuration file and end: 0 when it is right, 64 when not
    CheckConfig {
        #[command(flatten)]
        file: ConfigFile,
        /// Do not look at the files that it names: it is for another host
        #[arg(long)]
        without_files: bool,
        /// Say what was found as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration as it is understood, defaults included
    PrintConfig(ConfigFile),
    /// Make a token: prints it once, and the entry for the token file
    Token {
        /// Whose it is
        #[arg(long)]
        name: String,
        /// agent, viewer, operator or admin
        #[arg(long)]
        role: Role,
        /// The token and its entry as JSON
        #[arg(long)]
        json: bool,
    },
    /// Make, list and revoke tokens while the aggregator runs: of callers, and join tokens of agents
    Tokens(Box<identity::TokensArguments>),
    /// List which instances have certificates, revoke one's, free its id
    Certificates(Box<identity::CertificatesArguments>),
    /// Print the certificate of the authority that signs agents' certificates
    Authority(identity::AuthorityArguments),
    /// List who changed what, when and why, or check that the audit log is whole
    Audit(identity::AuditArguments),
    /// List every group in a line: who serves, what is needed, what holds it
    #[command(visible_alias = "status")]
    Groups(Ask),
    /// List instances: mode, since when, type, zone, how far its samples are behind, its agent
    Instances(steer::InstancesArguments),
    /// Say how many instances a group needs at a time, and how sure that is
    Predict(steer::PredictArguments),
    /// Say in words what a group's plan is, and why
    #[command(visible_alias = "group")]
    Explain(explain::ExplainArguments),
    /// Plan again from the record of a decision: another plan is an error
    Replay(decision::command::ReplayArguments),
    /// Stop: nothing is changed any more, in a group or (without one) anywhere
    Pause(steer::PauseArguments),
    /// End a pause
    Resume(steer::PauseArguments),
    /// Say how far Foreshadow may go in a group: observe, scale-out or full
    Mode(steer::ModeArguments),
    /// Live the last week of a group again in another mode: what would have followed, beside how it was
    Week(week::WeekArguments),
    /// Let a group go below what it needed in the same hour a week ago, for a while
    BelowLastWeek(steer::LeaveArguments),
    /// List which limits of the configuration file hold, or accept those that are looser
    Limits(Box<steer::LimitsArguments>),
    /// List what stands in shadow, adopt it, extend its lease, release it
    #[command(visible_alias = "shadows")]
    Shadow(Box<steer::ShadowArguments>),
    /// List what was done to the cloud, what is being done, what was refused, and why
    Journal(steer::List),
    /// List what is known ahead (a sale, a broadcast), enter it, take it back
    Events(Box<events::command::EventsArguments>),
    /// Check the embedded store, or copy it, while the aggregator runs
    Store(store::StoreArguments),
    /// Bring in a past that was measured elsewhere, so that the first forecast is there in minutes
    Import(Box<import::command::ImportArguments>),
    /// Score the forecast on recorded series
    Eval(eval::EvalArguments),
    /// Train a network on all histories and write it as ONNX
    Train(Box<train::TrainArguments>),
    /// List what each model has earned in a group and what the intervals held, or check an ONNX file
    Models(models::ModelsArguments),
    /// Run the live planner over recorded load, and compare it with what else could be done
    Backtest(Box<backtest::command::BacktestArguments>),
    /// Print a shell's script for completing commands and options
    Completions(manual::CompletionsArguments),
    /// Write the manual pages
    Man(manual::ManArguments),
    /// The agent's own program, for the demo
    #[command(hide = true, disable_help_flag = true)]
    Agent {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

// A configuration file, named either way. No comment for readers of help: each command has its own.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file
    file: Option<PathBuf>,
    /// The same
    #[arg(long, env = "FORESHADOW_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// What is typed after the command stands above the environment.
    fn path(&self) -> Option<&Path> {
        self.file.as_deref().or(self.config.as_deref())
    }
}

#[derive(Debug, clap::Args)]
struct Serve {
    /// Configuration file; without one the defaults hold
    #[arg(long, env = "FORESHADOW_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here instead of listen.address
    #[arg(long, env = "FORESHADOW_LISTEN", value_name = "ADDRESS:PORT", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Keep the data here instead of store.directory
    #[arg(long, env = "FORESHADOW_DIRECTORY", value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be ADDRESS:PORT, e.g. 127.0.0.1:7070; no names".to_owned())
}

/// Reads the arguments, does what they say, and gives the exit code.
pub fn main() -> ExitCode {
    let arguments = match read(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are answers, everything else is a usage error.
            let code = if error.use_stderr() { USAGE } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    match arguments.command {
        Command::Serve(serve) => {
            telemetry::start(arguments.log_format);
            self::serve(serve)
        }
        Command::Demo(demo) => demo::main(&demo),
        Command::CheckConfig { file, without_files, json } => match file.path() {
            Some(file) => check_config(file, !without_files, json),
            None => {
                eprintln!("foreshadow: which file? foreshadow check-config FILE");
                ExitCode::from(USAGE)
            }
        },
        Command::PrintConfig(file) => match load(file.path()) {
            Ok(config) => {
                println!("{:#}", serde_json::json!(config));
                ExitCode::SUCCESS
            }
            Err(code) => code,
        },
        Command::Token { name, role, json } => {
            let (token, entry) = new_token(&name, role, supervise::random());
            if json {
                println!("{:#}", serde_json::json!({ "name": name, "role": role, "token": token, "entry": entry }));
                return ExitCode::SUCCESS;
            }
            eprintln!("The token, shown this once; give it to its owner in a file:\n");
            println!("{token}");
            eprintln!("\nAdd this to the token file (identity.tokens):\n\n{entry}");
            ExitCode::SUCCESS
        }
        Command::Tokens(arguments) => asked(identity::tokens(&arguments)),
        Command::Certificates(arguments) => asked(identity::certificates(&arguments)),
        Command::Authority(arguments) => asked(identity::authority(&arguments)),
        Command::Audit(arguments) => asked(identity::audit(&arguments)),
        Command::Groups(ask) => asked(steer::groups(&ask)),
        Command::Instances(arguments) => asked(steer::instances(&arguments)),
        Command::Predict(arguments) => asked(steer::predict(&arguments)),
        Command::Explain(arguments) => asked(explain::run(&arguments)),
        Command::Replay(arguments) => match decision::command::run(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Pause(arguments) => asked(steer::pause(&arguments, true)),
        Command::Resume(arguments) => asked(steer::pause(&arguments, false)),
        Command::Mode(arguments) => asked(steer::mode(&arguments)),
        Command::Week(arguments) => asked(week::run(&arguments)),
        Command::BelowLastWeek(arguments) => asked(steer::below_last_week(&arguments)),
        Command::Limits(arguments) => asked(steer::limits(&arguments)),
        Command::Shadow(arguments) => asked(steer::shadow(&arguments)),
        Command::Journal(list) => asked(steer::journal(&list)),
        Command::Events(arguments) => asked(events::command::run(&arguments)),
        Command::Store(arguments) => asked(store::run(&arguments)),
        Command::Import(arguments) => asked(import::command::run(&arguments)),
        Command::Eval(eval) => match eval::run(&eval) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Train(arguments) => asked(train::run(&arguments)),
        Command::Models(arguments) => match arguments.ask.as_ref().map(models::run) {
            None => asked(models::list(&arguments)),
            Some(Ok(())) => ExitCode::SUCCESS,
            Some(Err(problem)) => {
                eprintln!("foreshadow: {problem}");
                ExitCode::from(USAGE)
            }
        },
        Command::Backtest(arguments) => asked(backtest::command::run(&arguments)),
        Command::Completions(arguments) => written(manual::completions(&arguments, Arguments::command())),
        Command::Man(arguments) => written(manual::pages(&arguments, Arguments::command())),
        Command::Agent { arguments } => {
            foreshadow_agent::main_with(std::iter::once(OsString::from("foreshadow-agent")).chain(arguments))
        }
    }
}

/// Reads a command line. A variable of the environment that is empty is none.
fn read(given: Vec<OsString>) -> Result<Arguments, clap::Error> {
    let empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = manual::with_exit_codes(Arguments::command());
    let read = without_variables(command, empty).try_get_matches_from(&given);
    read.and_then(|matches| Arguments::from_arg_matches(&matches)).map_err(|error| {
        // What the environment gave stands in the line of usage as if it had to be given: what is wrong is said without it.
        let alone = without_variables(Arguments::command(), |_| true).try_get_matches_from(&given);
        let again = alone.err().filter(|again| again.kind() == error.kind());
        if error.use_stderr() { again.unwrap_or(error) } else { error }
    })
}

/// A command, and those below it, that do not look at some variables of the environment.
fn without_variables(command: clap::Command, left: impl Fn(&OsStr) -> bool + Copy) -> clap::Command {
    let leave = |argument: clap::Arg| match argument.get_env().is_some_and(left) {
        true => argument.env(None::<&'static str>),
        false => argument,
    };
    command.mut_args(leave).mut_subcommands(|command| without_variables(command, left))
}

fn serve(serve: Serve) -> ExitCode {
    let source = Source { file: serve.config, listen: serve.listen, directory: serve.directory };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(supervise::serve(source)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(supervise::SuperviseError::Config(faults)) => usage(&faults),
        Err(supervise::SuperviseError::Serve(error)) if error.is_configuration() => {
            eprintln!("foreshadow: {error}");
            ExitCode::from(USAGE)
        }
        Err(error) => fail(&error.into()),
    }
}

/// A command that asks a running aggregator.
fn asked(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => match runtime.block_on(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Err(error) => fail(&error.into()),
    }
}

fn written(done: anyhow::Result<()>) -> ExitCode {
    done.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

fn check_config(file: &Path, files: bool, json: bool) -> ExitCode {
    let wrong = |faults: &[Fault]| {
        if json {
            println!("{:#}", serde_json::json!({ "file": file, "right": false, "faults": faults }));
        }
        usage(faults)
    };
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(faults) => return wrong(&faults),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(Box::pin(supervise::check(&config, files))) {
        Ok(elsewhere) if json => {
            println!("{:#}", serde_json::json!({ "file": file, "right": true, "not_looked_at": elsewhere }));
            ExitCode::SUCCESS
        }
        Ok(elsewhere) => {
            for path in elsewhere {
                eprintln!("{}: not looked at: systemd gives it to the service alone, while it runs", path.display());
            }
            println!("{}: right", file.display());
            ExitCode::SUCCESS
        }
        Err(faults) => wrong(&faults),
    }
}

fn load(path: Option<&Path>) -> Result<Config, ExitCode> {
    path.map_or_else(|| Ok(Config::default()), Config::load).map_err(|faults| usage(&faults))
}

fn usage(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        eprintln!("{fault}");
    }
    ExitCode::from(USAGE)
}

/// An argument that is wrong beside the others, or by more than its form.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongArgument(pub String);

/// An error with its causes, on one line.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("foreshadow: {error:#}");
    if error.is::<WrongArgument>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command that does something, by all its words.
    fn that_do(command: &clap::Command, words: &str, all: &mut Vec<(String, clap::Command)>) {
        for below in command.get_subcommands() {
            let words = format!("{words} {}", below.get_name()).trim().to_owned();
            if !below.is_subcommand_required_set() {
                all.push((words.clone(), below.clone()));
            }
            that_do(below, &words, all);
        }
    }

    #[test]
    fn whatever_answers_answers_a_program_as_well() {
        /// Those that answer nothing a program could read, or nothing else, and why.
        const WITHOUT: [(&str, &str); 6] = [
            ("serve", "runs, and tells by its API"),
            ("demo", "is for looking at"),
            ("print-config", "prints JSON and nothing else"),
            ("completions", "prints a script"),
            ("man", "writes pages for people"),
            ("agent", "is another program"),
        ];
        let mut all = Vec::new();
        that_do(&Arguments::command(), "", &mut all);
        assert!(all.len() > 40, "{}", all.len());
        for (words, command) in &all {
            let json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
            let without = WITHOUT.iter().any(|(name, _)| name == words);
            assert!(json != without, "{words}: --json {json}");
        }
        for (name, why) in WITHOUT {
            assert!(all.iter().any(|(words, _)| words == name), "there is no {name} that {why}");
        }
    }
}
