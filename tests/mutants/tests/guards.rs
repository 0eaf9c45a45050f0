//! Every guard of planner and checker has a test that fails without it.

use std::collections::BTreeSet;
use std::path::Path;

use mutants::{Lab, Mutant};

/// Mutants that change nothing anybody could see, by file, function and change, with why.
const ALIKE: &[(&str, &str, &str, &str)] = &[
    ("checker/src/size.rs", "smallest", "never: each . is_nan ()", "the figures it comes from were found sound"),
    (
        "checker/src/size.rs",
        "smallest",
        "never: each <= 0.0",
        "counted up by nothing, machine by machine, it comes to the same, late",
    ),
    ("checker/src/size.rs", "smallest", "never: each . is_nan () || each <= 0.0", "as above"),
    ("checker/src/size.rs", "smallest", "unbounded: (short / each - 1.0) . max (0.0)", "the cast gives zero for less"),
    ("checker/src/size.rs", "smallest", "always: machines < u32 :: MAX", "it ends where it would overflow only"),
    (
        "checker/src/size.rs",
        "share",
        "unbounded: (share * f64 :: from (of)) . floor () . max (0.0)",
        "the cast gives zero for less",
    ),
    (
        "src/plan/needs.rs",
        "brought_forward",
        "unbounded: (starts - ready) . max (0)",
        "what is needed by then is in `ahead` already",
    ),
    (
        "src/plan/out.rs",
        "afforded",
        "unbounded: ((per_hour - cost) / price + 1e-9) . floor () . max (0.0)",
        "the cast gives zero for less",
    ),
    (
        "src/plan/needs.rs",
        "met_by",
        "unbounded: now . max (window) . max (plain)",
        "above the target a baseline asks for more, not less",
    ),
    (
        "src/plan/spare.rs",
        "by_metric",
        "never: is_needed (below) ?",
        "needed at the lowest level, it is needed at 95 %, and is not agreed on",
    ),
    (
        "src/plan/spare.rs",
        "by_metric",
        "never: ! is_needed (above) ?",
        "not needed at any level, nothing of it is missing at any, and nothing times nothing is nothing",
    ),
    (
        "src/plan/spare.rs",
        "by_metric",
        "no floor: (1.0 - above) . clamp (0.0 , 1.0)",
        "of several metrics the most is taken, beginning with nothing: less than nothing is never that",
    ),
    (
        "src/plan/standing.rs",
        "stolen",
        "always: count > 0.0",
        "the mean of nobody is no number, and no number is above the limit",
    ),
    (
        "planner/src/rule.rs",
        "step",
        "unbounded: (r + c * (f - r)) . max (0.0)",
        "between two needs, neither below zero",
    ),
    ("planner/src/rule.rs", "step", "unbounded: (n - r . max (f)) . max (0.0)", "the cast gives zero for less"),
    (
        "src/plan/needs.rs",
        "baseline_points",
        "always: points . is_finite ()",
        "a range holds nothing that is not finite",
    ),
];

#[test]
fn every_guard_has_a_test_that_fails_without_it() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lab = Lab::build(&root, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants"))?;
    let verdicts = lab.run()?;
    // Nothing would be proven if nothing were found to take out.
    assert!(verdicts.len() > 800, "{} mutants", verdicts.len());
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
    // Some of them are noticed by how long they take, on a slow machine: only what is gone is stale.
    let stale = ALIKE.iter().filter(|(file, function, change, _)| {
        let same = |it: &Mutant| it.file == *file && it.function == *function && it.change == *change;
        !verdicts.iter().any(|verdict| same(&verdict.mutant))
    });
    let stale: Vec<_> = stale.collect();
    assert!(stale.is_empty(), "these are gone: {stale:?}");
    Ok(())
}
