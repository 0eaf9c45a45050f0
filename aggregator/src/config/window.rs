//! `[group.NAME.window.NAME]`: floors and ceilings that hold for a time every week.

use std::collections::BTreeMap;

use foreshadow_agent::reader::{Reader, Section, want};
use jiff::tz::TimeZone;

use crate::windows::{self, Weekly};

/// Windows by name. `bounds` are the group's own, where the file says them.
pub(super) fn read(
    reader: &mut Reader,
    group: &mut Section<'_>,
    bounds: (Option<u32>, Option<u32>),
) -> BTreeMap<String, Weekly> {
    let sections = group.sections(reader, "window");
    sections
        .into_iter()
        .filter_map(|(name, section)| Some((name.clone(), one(reader, section, name, bounds)?)))
        .collect()
}

fn one(
    reader: &mut Reader,
    mut section: Section<'_>,
    name: String,
    (lowest, highest): (Option<u32>, Option<u32>),
) -> Option<Weekly> {
    let days = section.get(reader, "days", |value| want::texts(value).and_then(|words| windows::days(&words)));
    let from = section.get(reader, "from", want::parsed);
    let to = section.get(reader, "to", want::parsed);
    let time_zone = section.get(reader, "time_zone", |value| {
        let name = want::text(value)?;
        TimeZone::get(&name).map_err(|_| format!("{name:?} is no time zone like Europe/Berlin or UTC"))
    });
    let minimum = section.get(reader, "minimum", want::count(0..=100_000));
    let maximum = section.get(reader, "maximum", want::count(0..=100_000));
    for key in ["days", "from", "to", "time_zone"] {
        if !section.has(key) {
            section.fault(reader, key, "is missing");
        }
    }
    if !section.has("minimum") && !section.has("maximum") {
        section.fault(reader, "minimum", "is missing, and so is maximum: one of them makes a window");
    }
    // A window can only narrow: what it would widen does not hold, and is a slip.
    match (minimum, maximum) {
        (Some(floor), Some(ceiling)) if floor > ceiling => {
            section.fault(reader, "minimum", format!("{floor} is above its maximum = {ceiling}"));
        }
        _ => {}
    }
    if let (Some(floor), Some(lowest)) = (minimum, lowest)
        && floor < lowest
    {
        section.fault(reader, "minimum", format!("{floor} is below the group's own {lowest}: a window only narrows"));
    }
    if let (Some(floor), Some(highest)) = (minimum, highest)
        && floor > highest
    {
        section.fault(reader, "minimum", format!("{floor} is above the group's maximum = {highest}"));
    }
    if let (Some(ceiling), Some(highest)) = (maximum, highest)
        && ceiling > highest
    {
        section.fault(
            reader,
            "maximum",
            format!("{ceiling} is above the group's own {highest}: a window only narrows"),
        );
    }
    if let (Some(ceiling), Some(lowest)) = (maximum, lowest)
        && ceiling < lowest
    {
        section.fault(reader, "maximum", format!("{ceiling} is below the group's minimum = {lowest}"));
    }
    section.finish(reader);
    Some(Weekly { name, days: days?, from: from?, to: to?, time_zone: time_zone?, minimum, maximum })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const GROUP: &str = "[group.web]\nminimum = 2\nmaximum = 40\n";

    #[test]
    fn windows_are_read() {
        let text = format!(
            "{GROUP}[group.web.window.office]\ndays = [\"mon\", \"fri\"]\nfrom = \"08:00\"\nto = \"18:30\"\n\
             time_zone = \"Europe/Berlin\"\nminimum = 12\n"
        );
        let config = Config::parse("f.toml", &text).expect("right");
        let shown = serde_json::json!(config.groups.values().next().expect("web").window);
        let expected = serde_json::json!({"office": {"days": ["mon", "fri"], "from": "08:00", "to": "18:30",
            "time_zone": "Europe/Berlin", "minimum": 12, "maximum": null}});
        assert_eq!(shown, expected);
    }

    #[test]
    fn every_fault_of_a_window_has_its_line_and_key() {
        let text = format!(
            "{GROUP}[group.web.window.a]\ndays = [\"mon\", \"noday\"]\nfrom = \"8\"\nto = \"25:00\"\n\
             time_zone = \"Europe/Nowhere\"\nminimum = 1\nmaximum = 50\n\
             [group.web.window.b]\nminimum = 60\nmaximun = 3\n\
             [group.web.window.c]\ndays = []\nfrom = \"08:00\"\nto = \"09:00\"\ntime_zone = \"UTC\"\n"
        );
        let faults = Config::parse("f.toml", &text).expect_err("faults");
        let found: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for part in [
            "f.toml:5: group.web.window.a.days: \"noday\" is none of mon, tue",
            "f.toml:6: group.web.window.a.from: \"8\": must be a time of day like 08:30",
            "f.toml:7: group.web.window.a.to: \"25:00\": must be a time of day",
            "f.toml:8: group.web.window.a.time_zone: \"Europe/Nowhere\" is no time zone",
            "f.toml:9: group.web.window.a.minimum: 1 is below the group's own 2",
            "f.toml:10: group.web.window.a.maximum: 50 is above the group's own 40",
            "f.toml:11: group.web.window.b.days: is missing",
            "f.toml:11: group.web.window.b.time_zone: is missing",
            "f.toml:12: group.web.window.b.minimum: 60 is above the group's maximum = 40",
            "f.toml:13: group.web.window.b.maximun: unknown key; did you mean \"maximum\"?",
            "f.toml:15: group.web.window.c.days: name at least one",
            "f.toml:14: group.web.window.c.minimum: is missing, and so is maximum",
        ] {
            assert!(found.iter().any(|fault| fault.starts_with(part)), "{part} in {found:#?}");
        }
    }
}
