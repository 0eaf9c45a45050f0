//! The file beside an ONNX file: `NAME.json` for `NAME.onnx`.
//!
//! It states the input contract, what the network was trained on and scored, and golden vectors: inputs with the outputs that the framework
//! that made the file computed. They are replayed before the network may say anything.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::check::{MOST_BYTES, Refusal, refuse};
use crate::contract::{Contract, Feature};

/// The versions of the manifest: the first knows events only as steps that are filled in, the second as known-future inputs too.
pub const FORMATS: [&str; 2] = ["foreshadow network 1", "foreshadow network 2"];
/// The largest manifest that is read.
const MOST_MANIFEST_BYTES: u64 = 4 << 20;
/// Most golden vectors.
const MOST_GOLDEN: usize = 16;

/// What is said of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// One of [`FORMATS`].
    pub format: String,
    /// What made the file.
    pub made_by: String,
    /// What the network is shown and answers.
    pub contract: Contract,
    /// What it was trained on; absent where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained: Option<Trained>,
    /// How it did on windows it had not seen; absent where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    /// SHA-256 of the ONNX file, hexadecimal.
    pub sha256: String,
    /// At least one.
    pub golden: Vec<Golden>,
}

/// What a network was trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trained {
    /// `generated`, `store`, or the name of a directory.
    pub on: String,
    /// Unix seconds of the first and last load.
    pub from: i64,
    /// See `from`.
    pub to: i64,
    /// How many series.
    pub series: usize,
    /// How many windows there were to learn from.
    pub windows: usize,
    /// How many epochs.
    pub epochs: usize,
    /// The seed.
    pub seed: u64,
}

/// Mean pinball losses over levels and steps, in scaled units, on windows that were held out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Of the network.
    pub held_out: f64,
    /// Of yesterday's load with its usual errors.
    pub seasonal_naive: f64,
    /// On how many windows.
    pub windows: usize,
}

/// One window and the answer to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// `[window][features]`, one after the other.
    pub input: Vec<f32>,
    /// `[horizon][levels]`, one after the other.
    pub output: Vec<f32>,
}

impl Manifest {
    /// Whether the manifest is sound in itself, and speaks of these bytes.
    ///
    /// # Errors
    /// Names the field and what it should be.
    pub fn check(&self, onnx: &[u8]) -> Result<(), Refusal> {
        if !FORMATS.contains(&self.format.as_str()) {
            return refuse(format!("format is {:?}, this version reads {FORMATS:?}", self.format));
        }
        self.contract.validate().map_err(|problem| Refusal(format!("contract.{problem}")))?;
        let newer = [Feature::EventIntensity, Feature::EventAhead, Feature::EventBefore];
        if let Some(feature) = newer.iter().find(|feature| self.contract.position(**feature).is_some())
            && self.format == FORMATS[0]
        {
            return refuse(format!("contract.features: {:?} needs the format {:?}", feature.word(), FORMATS[1]));
        }
        let own = hash(onnx);
        if !self.sha256.eq_ignore_ascii_case(&own) {
            return refuse(format!(
                "sha256 is {:?}, the ONNX file has {own:?}: they do not belong together",
                self.sha256
            ));
        }
        if self.golden.is_empty() || self.golden.len() > MOST_GOLDEN {
            return refuse(format!("golden: {} vectors, 1 to {MOST_GOLDEN} are needed", self.golden.len()));
        }
        for (index, golden) in self.golden.iter().enumerate() {
            let wanted = [
                ("input", golden.input.len(), self.contract.inputs()),
                ("output", golden.output.len(), self.contract.outputs()),
            ];
            for (what, have, need) in wanted {
                if have != need {
                    return refuse(format!("golden[{index}].{what} has {have} numbers, the contract asks for {need}"));
                }
            }
            if golden.input.iter().chain(&golden.output).any(|number| !number.is_finite()) {
                return refuse(format!("golden[{index}] holds a number that is not finite"));
            }
        }
        // One and the same answer to everything would pass any replay of one vector.
        if self.golden.iter().all(|golden| golden.output.iter().all(|number| *number == 0.0)) {
            return refuse("golden: every output is 0, which proves nothing");
        }
        Ok(())
    }
}

/// The version of the manifest that a contract needs.
pub fn format_of(contract: &Contract) -> String {
    let newer = contract.takes_events() || contract.position(Feature::EventIntensity).is_some();
    FORMATS[usize::from(newer)].to_owned()
}

/// SHA-256, hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where the manifest of an ONNX file lies.
pub fn beside(onnx: &Path) -> PathBuf {
    onnx.with_extension("json")
}

/// Reads an ONNX file and its manifest.
///
/// # Errors
/// Names the file, and what is wrong with it.
pub fn read(onnx: &Path) -> Result<(Vec<u8>, Manifest), Refusal> {
    let manifest = beside(onnx);
    if manifest == onnx {
        return refuse(format!("{}: the ONNX file must not end in .json, its manifest does", onnx.display()));
    }
    let bytes = read_file(onnx, MOST_BYTES as u64)?;
    let text = read_file(&manifest, MOST_MANIFEST_BYTES)?;
    let read = serde_json::from_slice(&text).map_err(|error| Refusal(format!("{}: {error}", manifest.display())))?;
    Ok((bytes, read))
}

fn read_file(path: &Path, most: u64) -> Result<Vec<u8>, Refusal> {
    let wrong = |problem: String| Refusal(format!("{}: {problem}", path.display()));
    let unread = |error: std::io::Error| wrong(format!("cannot be read: {error}"));
    let about = std::fs::metadata(path).map_err(unread)?;
    if !about.is_file() || about.len() > most {
        return Err(wrong(format!("must be a file of at most {most} bytes")));
    }
    std::fs::read(path).map_err(unread)
}

/// Writes an ONNX file and its manifest, the manifest last; each appears whole or not at all.
///
/// # Errors
/// Names the file that cannot be written.
pub fn write(path: &Path, onnx: &[u8], manifest: &Manifest) -> Result<(), Refusal> {
    let mut text = serde_json::to_vec(manifest).map_err(|error| Refusal(error.to_string()))?;
    text.push(b'\n');
    write_whole(path, onnx)?;
    write_whole(&beside(path), &text)
}

/// Writes a file by way of a neighbour, so that nobody reads half of it.
///
/// # Errors
/// Names the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written = std::fs::write(&part, bytes).and_then(|()| std::fs::rename(&part, path));
    written.map_err(|error| Refusal(format!("{}: {error}", path.display())))
}
