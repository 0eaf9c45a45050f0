//! `foreshadow-agent`.

use std::process::ExitCode;

fn main() -> ExitCode {
    foreshadow_agent::main_with(std::env::args_os())
}
