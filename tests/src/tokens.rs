//! A token file with one token per role, made by the product's own command.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

use crate::process::binary;

/// Roles by name and their tokens.
#[derive(Debug)]
pub struct Tokens {
    pub file: PathBuf,
    by_role: BTreeMap<&'static str, String>,
}

impl Tokens {
    /// Makes the file in `directory`.
    pub async fn make(directory: &Path) -> anyhow::Result<Self> {
        let (mut entries, mut by_role) = (String::new(), BTreeMap::new());
        for role in ["agent", "viewer", "operator", "admin"] {
            let mut command = Command::new(binary("foreshadow")?);
            let made = command.args(["token", "--name", &format!("the-{role}"), "--role", role]).output().await?;
            let entry = String::from_utf8(made.stderr)?;
            entries.push_str(entry.get(entry.find("[token.").context("an entry")?..).unwrap_or_default());
            by_role.insert(role, String::from_utf8(made.stdout)?.trim().to_owned());
        }
        let file = directory.join("tokens.toml");
        std::fs::write(&file, entries)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640))?;
        Ok(Self { file, by_role })
    }

    /// The token of a role.
    pub fn of(&self, role: &str) -> &str {
        self.by_role.get(role).map_or("", String::as_str)
    }

    /// A file with the token of a role alone, as an agent reads it.
    pub fn write(&self, role: &str) -> anyhow::Result<PathBuf> {
        let path = self.file.with_file_name(format!("{role}.token"));
        std::fs::write(&path, self.of(role))?;
        Ok(path)
    }
}
