//! Logs: text for people, JSON for machines; never a secret, never a body.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// `--log-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Starts logging to standard error. `FORESHADOW_LOG` filters (`info` by default). Without
/// timestamps under journald, which brings its own.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env("FORESHADOW_LOG").unwrap_or_else(|_| {
        EnvFilter::new("info,sqlx=warn,hyper=warn,h2=warn,aws_config=warn,aws_smithy_runtime=warn")
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let under_journald = std::env::var_os("JOURNAL_STREAM").is_some();
    // A second subscriber in one process (tests) is not an error worth ending for.
    let started = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text if under_journald => builder.without_time().with_ansi(false).try_init(),
        LogFormat::Text => builder.try_init(),
    };
    drop(started);
}
