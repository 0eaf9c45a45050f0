//! Builds the mutants and runs the tests against each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use crate::source::{self, Mutant};

/// The crates, with what of each decides nothing: the simulated cloud, and tests, some of them about the repository.
const CRATES: [(&str, &[&str]); 2] =
    [("checker", &["tests.rs"]), ("planner", &["simulation", "memory.rs", "step_rule_plot.rs"])];
/// A mutant that runs for longer is noticed by that.
const LONGEST: Duration = Duration::from_secs(30);
/// Dependencies that the runs do without.
const LEFT_OUT: [&str; 3] = ["proptest", "rustix", "checker"];
/// Wakes a mutant, by its number.
const WAKES: &str = "FORESHADOW_MUTANT";

/// What became of a mutant.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub mutant: Mutant,
    /// The tests pass although it is awake.
    pub survived: bool,
}

/// The rewritten crates, built.
#[derive(Debug)]
pub struct Lab {
    /// By crate.
    mutants: BTreeMap<&'static str, Vec<Mutant>>,
    /// Test binaries by crate.
    binaries: BTreeMap<&'static str, Vec<PathBuf>>,
}

impl Lab {
    /// Rewrites the crates of the workspace at `root` below `directory` and builds their tests.
    pub fn build(root: &Path, directory: &Path) -> anyhow::Result<Self> {
        let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
        let shared = manifest.find("[workspace.package]").context("Cargo.toml: no [workspace.package]")?;
        let members = CRATES.map(|(name, _)| format!("{name:?}")).join(", ");
        let head = format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n\n");
        write(&directory.join("Cargo.toml"), &(head + manifest.get(shared..).unwrap_or_default()))?;
        // Once: from then on it is the lab's own, shortened by cargo to what is needed.
        if !directory.join("Cargo.lock").exists() {
            std::fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock"))?;
        }
        let mut mutants = BTreeMap::new();
        for (name, without) in CRATES {
            let (from, to) = (root.join("aggregator").join(name), directory.join(name));
            let manifest = std::fs::read_to_string(from.join("Cargo.toml"))?;
            // Neither property tests nor benchmarks are run, nor what only they need built.
            let manifest = manifest.split("[[bench]]").next().unwrap_or_default();
            let lines = manifest.lines().filter(|line| !LEFT_OUT.iter().any(|name| line.starts_with(name)));
            write(&to.join("Cargo.toml"), &lines.collect::<Vec<_>>().join("\n"))?;
            let mut found = Vec::new();
            rewrite(&from.join("src"), &to.join("src"), without, &mut found)?;
            copy_tests(&from.join("tests"), &to.join("tests"), without)?;
            mutants.insert(name, found);
        }
        let binaries = compiled(directory)?;
        Ok(Self { mutants, binaries })
    }

    /// How many mutants there are.
    pub fn count(&self) -> usize {
        self.mutants.values().map(Vec::len).sum()
    }

    /// Runs every mutant, two at a time; in the order of the source.
    pub fn run(&self) -> anyhow::Result<Vec<Verdict>> {
        let mut verdicts = Vec::new();
        for (name, mutants) in &self.mutants {
            let binaries = self.binaries.get(name).context("no test binary")?;
            for binary in binaries {
                ensure!(passes(binary, None)?, "{}: the tests fail without any mutant", binary.display());
            }
            let (next, survivors) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
            let work = || -> anyhow::Result<()> {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut survived = true;
                    for binary in binaries {
                        survived = survived && passes(binary, Some(mutant.number))?;
                    }
                    if survived && let Ok(mut survivors) = survivors.lock() {
                        survivors.push(mutant.number);
                    }
                }
                Ok(())
            };
            std::thread::scope(|scope| {
                let other = scope.spawn(work);
                work().and(other.join().unwrap_or_else(|_| bail!("a worker panicked")))
            })?;
            let survivors = survivors.into_inner().unwrap_or_default();
            verdicts.extend(
                mutants.iter().map(|it| Verdict { mutant: it.clone(), survived: survivors.contains(&it.number) }),
            );
        }
        Ok(verdicts)
    }
}

/// Writes a file only where it says something new: cargo looks at its time.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// The entries of a directory, by name.
fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut entries = read.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

fn rewrite(from: &Path, to: &Path, without: &[&str], found: &mut Vec<Mutant>) -> anyhow::Result<()> {
    for path in entries(from)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let target = to.join(name);
        let plain = without.contains(&name);
        if path.is_dir() {
            if plain {
                copy(&path, &target)?
            } else {
                rewrite(&path, &target, without, found)?
            }
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        let shown = path.components().rev().take(3).collect::<Vec<_>>();
        let shown = shown.iter().rev().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        let rewritten = if plain { source::without_properties(&text) } else { source::mutate(&shown, &text, found) };
        let mut rewritten = rewritten.with_context(|| path.display().to_string())?;
        if name == "lib.rs" {
            rewritten.push_str(&format!(
                "\n#[doc(hidden)]\npub fn __mutant(number: u32) -> bool {{\n    \
                 static AWAKE: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();\n    \
                 *AWAKE.get_or_init(|| std::env::var({WAKES:?}).ok()?.parse().ok()) == Some(number)\n}}\n"
            ));
        }
        write(&target, &rewritten)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    for path in entries(from)? {
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() { copy(&path, &target)? } else { write(&target, &std::fs::read_to_string(&path)?)? }
    }
    Ok(())
}

/// Tests outside the crate that are not properties.
fn copy_tests(from: &Path, to: &Path, without: &[&str]) -> anyhow::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    for path in entries(from)? {
        let text = std::fs::read_to_string(&path)?;
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| without.contains(&name));
        if !named && !text.contains("proptest!") {
            write(&to.join(path.file_name().unwrap_or_default()), &text)?;
        }
    }
    Ok(())
}

/// Builds the tests, and says where they are.
fn compiled(directory: &Path) -> anyhow::Result<BTreeMap<&'static str, Vec<PathBuf>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(directory)
        .args(["test", "--workspace", "--no-run", "--offline", "--quiet", "--message-format=json"])
        .args(["--target-dir", "target"])
        .env_remove("CARGO_TARGET_DIR")
        .stderr(Stdio::piped())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut binaries: BTreeMap<&'static str, Vec<PathBuf>> = BTreeMap::new();
    let mut errors = Vec::new();
    for line in said.lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if message["message"]["level"] == "error" {
            errors.extend(message["message"]["rendered"].as_str().map(str::to_owned));
        }
        let Some(binary) = message["executable"].as_str().filter(|_| message["profile"]["test"] == true) else {
            continue;
        };
        let manifest = message["manifest_path"].as_str().unwrap_or_default();
        for (name, _) in CRATES {
            if Path::new(manifest).parent().is_some_and(|parent| parent.ends_with(name)) {
                binaries.entry(name).or_default().push(PathBuf::from(binary));
            }
        }
    }
    if !output.status.success() {
        bail!("the mutants do not compile: {}{}", String::from_utf8_lossy(&output.stderr), errors.join("\n"));
    }
    Ok(binaries)
}

/// Whether the tests of a binary pass with this mutant awake.
fn passes(binary: &Path, mutant: Option<u32>) -> anyhow::Result<bool> {
    let mut command = Command::new(binary);
    // Every mutant that is noticed panics: nobody reads where.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .env_remove(WAKES)
        .env("RUST_BACKTRACE", "0");
    if let Some(number) = mutant {
        command.env(WAKES, number.to_string());
    }
    let mut child = command.spawn().with_context(|| binary.display().to_string())?;
    ended(&mut child)
}

/// Waits for the end; one that takes too long is stopped and has failed.
fn ended(child: &mut Child) -> anyhow::Result<bool> {
    const LOOK_EVERY: Duration = Duration::from_millis(3);
    let mut waited = Duration::ZERO;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if waited > LONGEST {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        #[allow(clippy::disallowed_methods, reason = "a thread of its own, and a child whose end is polled for")]
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
}
