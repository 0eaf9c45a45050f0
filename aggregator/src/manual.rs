//! Completions for shells and manual pages, made from the very definitions that read the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// What every command ends with; it is the end of each manual page of a program.
pub const EXIT_CODES: &str = "Exit codes: 0 done; 1 not done, refused, or found not to be whole, with the reason on standard error; \
64 a wrong argument or configuration, with file, line, key and remedy, and nothing was begun.";

/// What commands below a program end with: no page is without them, and the whole stands in one.
fn in_short(program: &str) -> String {
    format!("Exit codes: 0 done, 1 not done, 64 wrong use; {program}(1) says more.")
}

/// A program whose help, and that of every command below it, says how it ends.
pub fn with_exit_codes(program: Command) -> Command {
    fn below(command: Command, said: &str) -> Command {
        command.mut_subcommands(|command| below(command.after_help(said.to_owned()), said))
    }
    let said = in_short(program.get_name());
    below(program, &said).after_help(EXIT_CODES)
}

/// Of which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    Foreshadow,
    ForeshadowAgent,
}

/// A script for a shell, on standard output.
#[derive(Debug, clap::Args)]
pub struct CompletionsArguments {
    /// bash, zsh, fish, elvish or powershell
    shell: Shell,
    /// Of which program
    #[arg(long, value_enum, default_value = "foreshadow")]
    of: Program,
}

/// Manual pages of both programs and every command.
#[derive(Debug, clap::Args)]
pub struct ManArguments {
    /// Directory to write them into; it is made where it is not there
    #[arg(long, value_name = "DIRECTORY")]
    out: PathBuf,
}

/// Prints the script.
///
/// # Errors
/// When the script is no text.
pub fn completions(arguments: &CompletionsArguments, own: Command) -> Result<()> {
    let (mut command, name) = match arguments.of {
        Program::Foreshadow => (own, "foreshadow"),
        Program::ForeshadowAgent => (foreshadow_agent::command(), "foreshadow-agent"),
    };
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    print!("{}", String::from_utf8(script)?);
    Ok(())
}

/// Writes the pages: `foreshadow.1`, `foreshadow-import-csv.1`, …, `foreshadow-agent.1`.
///
/// # Errors
/// When the directory cannot be made, or a page not be written.
pub fn pages(arguments: &ManArguments, own: Command) -> Result<()> {
    let out: &Path = &arguments.out;
    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    for command in [own, foreshadow_agent::command()] {
        clap_mangen::generate_to(with_exit_codes(command), out).with_context(|| out.display().to_string())?;
    }
    let count = std::fs::read_dir(out).with_context(|| out.display().to_string())?.count();
    println!("{count} pages in {}: man -l {}", out.display(), out.join("foreshadow.1").display());
    Ok(())
}
