//! A static inventory from a TOML file, read anew at every round.
//!
//! ```toml
//! [group.web]
//! minimum = 2
//! maximum = 20
//! instances = ["i-1", { id = "i-2", type = "m5.large", zone = "a", state = "InService", protected = true }]
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use foreshadow_proto::convert::Id;
use toml_edit::Value;

use super::{Fleet, FleetError, GroupInventory, Inventory, Lifecycle, Member};
use crate::clock::Clock;
use foreshadow_agent::reader::{Reader, Section, want};

/// Reads a file.
#[derive(Debug)]
pub struct FileFleet {
    path: PathBuf,
    clock: Arc<dyn Clock>,
}

impl FileFleet {
    pub fn new(path: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self { path, clock }
    }
}

#[async_trait]
impl Fleet for FileFleet {
    async fn describe(&self) -> Result<Inventory, FleetError> {
        let name = self.path.display().to_string();
        let text = tokio::fs::read_to_string(&self.path).await.map_err(|error| FleetError::Unreachable {
            source_name: self.name(),
            problem: format!("{name}: {error}"),
        })?;
        parse(&name, &text, self.clock.wall_micros())
    }

    fn name(&self) -> &'static str {
        "file"
    }
}

fn parse(name: &str, text: &str, now: i64) -> Result<Inventory, FleetError> {
    let mut reader = Reader::new(name, text);
    let mut inventory = Inventory { taken_micros: now, complete: true, ..Inventory::default() };
    if let Some(document) = reader.document() {
        let mut root = Section::root(&document);
        for (group, mut section) in root.sections(&mut reader, "group") {
            let mut found = GroupInventory { maximum: 1_000, ..GroupInventory::default() };
            section.set(&mut reader, "minimum", &mut found.minimum, want::count(0..=100_000));
            section.set(&mut reader, "maximum", &mut found.maximum, want::count(0..=100_000));
            let desired = section.get(&mut reader, "desired", want::count(0..=100_000));
            found.members = section.get(&mut reader, "instances", members).unwrap_or_default();
            found.desired = desired.unwrap_or_else(|| u32::try_from(found.members.len()).unwrap_or(u32::MAX));
            section.finish(&mut reader);
            match Id::new("group", &group) {
                Ok(id) => drop(inventory.groups.insert(id, found)),
                Err(error) => reader.fault(0, &group, error.to_string()),
            }
        }
        root.finish(&mut reader);
        if inventory.groups.is_empty() && reader.faults.is_empty() {
            // An emptied file is a mistake far more often than a wish for no groups.
            reader.fault(0, "group", "names no group; an empty inventory is never taken for \"everything is gone\"");
        }
    }
    if reader.faults.is_empty() {
        Ok(inventory)
    } else {
        let faults: Vec<String> = reader.faults.iter().map(ToString::to_string).collect();
        Err(FleetError::Invalid { source_name: "file", problem: faults.join("; ") })
    }
}

fn members(value: &Value) -> Result<Vec<Member>, String> {
    let array = value.as_array().ok_or("must be an array of ids or { id = … } tables")?;
    array.iter().map(member).collect()
}

fn member(value: &Value) -> Result<Member, String> {
    let id = |text: &str| Id::new("instance", text).map_err(|error| error.to_string());
    let mut member = Member {
        instance: id(value.as_str().unwrap_or("x"))?,
        instance_type: None,
        zone: None,
        lifecycle: Lifecycle::InService,
        protected: false,
        version: None,
        cpu_credits: None,
    };
    if value.is_str() {
        return Ok(member);
    }
    let table = value.as_inline_table().ok_or("an instance is an id or a { id = … } table")?;
    let mut named = false;
    for (key, value) in table.iter() {
        let text = || value.as_str().ok_or(format!("{key} must be a string"));
        match key {
            "id" => (member.instance, named) = (id(text()?)?, true),
            "type" => member.instance_type = Some(id(text()?)?),
            "zone" => member.zone = Some(id(text()?)?),
            "state" => member.lifecycle = Lifecycle::from_word(text()?),
            "protected" => member.protected = value.as_bool().ok_or("protected must be true or false")?,
            _ => return Err(format!("unknown key {key:?}; known: id, type, zone, state, protected")),
        }
    }
    if named { Ok(member) } else { Err("an instance without id".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_members_are_read() {
        let text = "[group.web]\nminimum = 1\nmaximum = 9\n\
                    instances = [\"i-1\", { id = \"i-2\", type = \"m5.large\", state = \"Standby\", protected = true }]";
        let inventory = parse("i.toml", text, 5).expect("reads");
        let web = inventory.groups.values().next().expect("web");
        assert_eq!((web.minimum, web.maximum, web.desired, web.members.len()), (1, 9, 2, 2));
        assert_eq!(web.members[1].lifecycle, Lifecycle::Standby);
        assert!(inventory.complete && web.members[1].protected);
    }

    #[test]
    fn an_emptied_or_wrong_file_is_an_error_and_never_an_empty_inventory() {
        for (text, part) in [
            ("", "names no group"),
            ("[group.web]\ninstancs = []\n", "i.toml:2: group.web.instancs: unknown key; did you mean \"instances\"?"),
            ("[group.web]\ninstances = [{ typ = \"x\" }]\n", "unknown key \"typ\""),
            ("[group.web]\ninstances = [3]\n", "id"),
            ("[group", "i.toml:1"),
        ] {
            let error = parse("i.toml", text, 5).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
