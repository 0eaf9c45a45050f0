//! Every guard of planner and checker has a test that fails without it.

use std::collections::BTreeSet;
use std::path::Path;

use mutants::Lab;

/// Mutants that change nothing anybody could see, by file, function and change, with why.
const ALIKE: &[(&str, &str, &str, &str)] = &[];

#[test]
fn every_guard_has_a_test_that_fails_without_it() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lab = Lab::build(&root, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants"))?;
    let verdicts = lab.run()?;
    // Nothing would be proven if nothing were found to take out.
    assert!(verdicts.len() > 200, "{} mutants", verdicts.len());
    let (mut unnoticed, mut alike) = (Vec::new(), BTreeSet::new());
    for it in verdicts.iter().filter(|verdict| verdict.survived).map(|verdict| &verdict.mutant) {
        let known = ALIKE.iter().position(|(file, function, change, _)| {
            it.file == *file && it.function == *function && it.change == *change
        });
        match known {
            Some(index) => drop(alike.insert(index)),
            None => unnoticed.push(format!("{}:{} {}: {}", it.file, it.line, it.function, it.change)),
        }
    }
    println!("{} mutants, {} alike", verdicts.len(), alike.len());
    assert!(unnoticed.is_empty(), "no test fails without these:\n{}", unnoticed.join("\n"));
    let stale: Vec<_> = ALIKE.iter().enumerate().filter(|(index, _)| !alike.contains(index)).collect();
    assert!(stale.is_empty(), "these are noticed by now, or gone: {stale:?}");
    Ok(())
}
