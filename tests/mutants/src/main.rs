//! `cargo run -p mutants`: every mutant, and which survived.

use std::path::Path;
use std::process::ExitCode;

use mutants::Lab;

fn main() -> anyhow::Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lab = Lab::build(&root, &root.join("target/mutants"))?;
    let verdicts = lab.run()?;
    let survived: Vec<_> = verdicts.iter().filter(|verdict| verdict.survived).collect();
    for verdict in &verdicts {
        let it = &verdict.mutant;
        let word = if verdict.survived { "SURVIVED" } else { "noticed" };
        println!("{word:<8} {}:{} {} | {}", it.file, it.line, it.function, it.change);
    }
    println!("{} mutants, {} survived", verdicts.len(), survived.len());
    Ok(if survived.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
