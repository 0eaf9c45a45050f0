//! `foreshadow models check FILE`: what will be said when the file is configured, before it is.

use std::path::PathBuf;

use clap::Subcommand;
use neural::Network;

use crate::train::scores_in_words;

/// What to ask of models.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelsArguments {
    #[command(subcommand)]
    ask: Ask,
}

#[derive(Debug, Clone, Subcommand)]
enum Ask {
    /// Load an ONNX file with its manifest beside it and replay its golden vectors: 0 when it can be served, 64 when not
    Check { file: PathBuf },
}

/// Answers in words.
///
/// # Errors
/// What is wrong with the file, and where in it.
pub fn run(arguments: &ModelsArguments) -> Result<(), neural::check::Refusal> {
    let Ask::Check { file } = &arguments.ask;
    let network = Network::read(file)?;
    let read = network.manifest();
    let contract = &read.contract;
    let words: Vec<&str> = contract.features.iter().map(|feature| feature.word()).collect();
    println!("{}: can be served; {} golden vectors are right", file.display(), read.golden.len());
    println!("made by {}", read.made_by);
    println!(
        "{} steps of {} s, {} features ({}) -> {} steps, levels {:?}",
        contract.window,
        contract.step_seconds,
        words.len(),
        words.join(", "),
        contract.horizon,
        contract.levels
    );
    if let Some(trained) = &read.trained {
        let day = |at: i64| jiff::Timestamp::from_second(at).map_or_else(|_| at.to_string(), |at| at.to_string());
        println!(
            "trained on {}: {} series, {} windows, {} epochs, seed {}, {} to {}",
            trained.on,
            trained.series,
            trained.windows,
            trained.epochs,
            trained.seed,
            day(trained.from),
            day(trained.to)
        );
    }
    println!("{}", scores_in_words(read));
    Ok(())
}
