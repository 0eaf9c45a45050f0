//! What a user's own program or server is asked and answers, as JSON: `docs/fleets.md`. Reading is
//! strict: an unknown field, or one that is missing, makes the whole answer worth nothing.

use std::collections::BTreeMap;

use foreshadow_proto::convert::Id;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    Action, Called, CpuCredits, Found, GroupInventory, Inventory, Lifecycle, Member, Outside, RunState, Tags, Token,
};

/// Of the protocol: an answer of another version is none.
const VERSION: u32 = 1;

/// One question, and under which token it may be repeated.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub body: Vec<u8>,
    pub token: Option<Token>,
}

fn question(operation: &str, fields: Value, token: Option<&Token>) -> Question {
    let mut body = Map::from_iter([("version".to_owned(), VERSION.into()), ("operation".to_owned(), operation.into())]);
    if let Value::Object(fields) = fields {
        body.extend(fields);
    }
    if let Some(token) = token {
        body.insert("token".to_owned(), token.as_str().into());
    }
    Question { body: Value::Object(body).to_string().into_bytes(), token: token.cloned() }
}

pub(super) fn ask_describe(groups: &[String]) -> Question {
    question("describe", json!({ "groups": groups }), None)
}

pub(super) fn ask_outside(group: &Id, instances: &[Id]) -> Question {
    question("outside", json!({ "group": group, "instances": instances }), None)
}

pub(super) fn ask_tagged(tag: &str) -> Question {
    question("tagged", json!({ "tag": tag }), None)
}

pub(super) fn ask_tag(instances: &[Id], tags: &Tags) -> Question {
    question("tag", json!({ "instances": instances, "tags": tags }), None)
}

pub(super) fn ask_tag_group(group: &Id, tags: &Tags) -> Question {
    question("tag_group", json!({ "group": group, "tags": tags }), None)
}

pub(super) fn ask_change(group: &Id, action: &Action, token: &Token) -> Question {
    question(action.word(), details(group, action), Some(token))
}

pub(super) fn ask_outcome(group: &Id, action: &Action, token: &Token) -> Question {
    let mut fields = details(group, action);
    fields["action"] = action.word().into();
    question("outcome", fields, Some(token))
}

fn details(group: &Id, action: &Action) -> Value {
    match action {
        Action::Launch { count, size, .. } => json!({ "group": group, "count": count, "size": size }),
        Action::Floor { from, to } => json!({ "group": group, "from": from, "to": to }),
        named => json!({ "group": group, "instances": named.instances() }),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    complete: bool,
    #[serde(default)]
    problems: Vec<String>,
    groups: BTreeMap<Id, Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    minimum: u32,
    maximum: u32,
    desired: u32,
    members: Vec<GroupMember>,
    #[serde(default)]
    foreign_scale_in: bool,
    floor: Option<u32>,
    #[serde(default)]
    deploying: bool,
    version: Option<String>,
    owner: Option<String>,
    claimed: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupMember {
    instance: Id,
    #[serde(rename = "type")]
    instance_type: Option<Id>,
    zone: Option<Id>,
    lifecycle: String,
    #[serde(default)]
    protected: bool,
    version: Option<String>,
    cpu_credits: Option<CpuCredits>,
}

/// The inventory, of the groups that were asked for alone.
pub(super) fn read_inventory(answer: &[u8], groups: &[String], taken_micros: i64) -> Result<Inventory, String> {
    let read: Described = read(answer)?;
    let mut inventory =
        Inventory { taken_micros, complete: read.complete, problems: read.problems, ..Inventory::default() };
    for (id, group) in read.groups {
        if !groups.iter().any(|name| name == id.as_str()) {
            inventory.problems.push(format!("{id} was not asked for and is left out"));
            continue;
        }
        let members = group.members.into_iter().map(|member| Member {
            instance: member.instance,
            instance_type: member.instance_type,
            zone: member.zone,
            lifecycle: Lifecycle::from_word(&member.lifecycle),
            protected: member.protected,
            version: member.version,
            cpu_credits: member.cpu_credits,
        });
        let found = GroupInventory {
            minimum: group.minimum,
            maximum: group.maximum,
            desired: group.desired,
            members: members.collect(),
            foreign_scale_in: group.foreign_scale_in,
            floor: group.floor,
            deregistration_seconds: None,
            deploying: group.deploying,
            untold: false,
            version: group.version,
            zones: Vec::new(),
            evens_zones: false,
            termination: Vec::new(),
            owner: group.owner.filter(|owner| !owner.is_empty()),
            claimed: group.claimed,
        };
        inventory.groups.insert(id, found);
    }
    for name in groups {
        if !inventory.groups.keys().any(|id| id.as_str() == name) {
            inventory.problems.push(format!("nothing is said of the group {name:?}"));
            inventory.missing.insert(name.clone());
        }
    }
    Ok(inventory)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Standing {
    instances: Vec<Stand>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stand {
    instance: Id,
    state: State,
    group: Option<Id>,
    in_target_group: Option<bool>,
    /// Who is in doubt is protected.
    protected: Option<bool>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Running,
    Stopped,
    Ended,
    Unknown,
}

/// How instances stand; those of `asked` that the answer leaves out are unknown.
pub(super) fn read_standing(answer: &[u8], asked: &[Id]) -> Result<Vec<Outside>, String> {
    let read: Standing = read(answer)?;
    let mut found: Vec<Outside> = read.instances.into_iter().map(Outside::from).collect();
    for instance in asked {
        if !found.iter().any(|outside| outside.instance == *instance) {
            let tags = BTreeMap::new();
            let (state, group) = (RunState::Unknown, None);
            let instance = instance.clone();
            found.push(Outside { instance, state, group, in_target_group: None, protected: true, tags });
        }
    }
    if !asked.is_empty() {
        found.retain(|outside| asked.contains(&outside.instance));
    }
    Ok(found)
}

impl From<Stand> for Outside {
    fn from(read: Stand) -> Self {
        let state = match read.state {
            State::Running => RunState::Running,
            State::Stopped => RunState::Stopped,
            State::Ended => RunState::Ended,
            State::Unknown => RunState::Unknown,
        };
        Self {
            instance: read.instance,
            state,
            group: read.group,
            in_target_group: read.in_target_group,
            protected: read.protected.unwrap_or(true),
            tags: read.tags,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
enum Changed {
    Done { instances: Vec<Id> },
    Refused { why: String },
    Throttled {},
    Unknown {},
}

/// What a change came to. An answer that cannot be read, or names instances nobody asked for, does
/// not tell.
pub(super) fn read_called(answer: &[u8], action: &Action) -> Called {
    match read::<Changed>(answer) {
        Ok(Changed::Done { instances }) if are_meant(&instances, action) => Called::Done { instances },
        Ok(Changed::Refused { why }) => Called::Refused { why },
        Ok(Changed::Throttled {}) => Called::Throttled,
        Ok(Changed::Unknown {} | Changed::Done { .. }) => Called::Unknown,
        Err(problem) => {
            tracing::warn!(problem, "the answer to a change cannot be read");
            Called::Unknown
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
enum Outcome {
    Done { instances: Vec<Id> },
    NotDone {},
    NotYet {},
}

pub(super) fn read_found(answer: &[u8], action: &Action) -> Found {
    match read::<Outcome>(answer) {
        Ok(Outcome::Done { instances }) if are_meant(&instances, action) => Found::Done { instances },
        Ok(Outcome::NotDone {}) => Found::NotDone,
        _ => Found::NotYet,
    }
}

/// A launch names whom it likes, everything else only those it was told.
fn are_meant(instances: &[Id], action: &Action) -> bool {
    matches!(action, Action::Launch { .. }) || instances.iter().all(|id| action.instances().contains(id))
}

#[derive(Debug, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
enum Tagged {
    Done {},
}

pub(super) fn read_tagged(answer: &[u8]) -> Result<(), String> {
    read::<Tagged>(answer).map(|Tagged::Done {}| ())
}

fn read<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(answer).map_err(|error| format!("the answer cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = r#"{"minimum":1,"maximum":9,"desired":2,"members":[{"instance":"i-1","lifecycle":"InService"}]}"#;

    fn groups() -> Vec<String> {
        vec!["web".to_owned()]
    }

    fn inventory(answer: &str) -> Result<Inventory, String> {
        read_inventory(answer.as_bytes(), &groups(), 5)
    }

    fn id(name: &str) -> Id {
        Id::new("id", name).expect("an id")
    }

    #[test]
    fn only_a_whole_answer_is_a_complete_inventory() {
        let whole = inventory(&format!(r#"{{"complete":true,"groups":{{"web":{WEB}}}}}"#)).expect("it reads");
        assert!(whole.complete && whole.problems.is_empty());
        assert_eq!(whole.groups[&id("web")].members[0].lifecycle, Lifecycle::InService);
        for wrong in [
            format!(r#"{{"groups":{{"web":{WEB}}}}}"#),
            format!(r#"{{"complete":true,"group":{{"web":{WEB}}}}}"#),
            format!(r#"{{"complete":true,"groups":{{"web":{WEB}}},"more":1}}"#),
            format!(r#"{{"complete":true,"groups":{{"web":{WEB}}}}} and more"#),
            format!(r#"{{"complete":true,"groups":{{"we b":{WEB}}}}}"#),
            format!(r#"{{"complete":true,"groups":{{"web":{}}}}}"#, WEB.replace("\"minimum\":1,", "")),
            format!(r#"{{"complete":true,"groups":{{"web":{}}}}}"#, WEB.replace(",\"lifecycle\":\"InService\"", "")),
            format!(r#"{{"complete":true,"groups":{{"web":{}}}}}"#, WEB.replace("lifecycle", "life")),
            format!(r#"{{"complete":"true","groups":{{"web":{WEB}}}}}"#),
            "{}".to_owned(),
            String::new(),
        ] {
            assert!(inventory(&wrong).is_err(), "{wrong}");
        }
        let missing = inventory(&format!(r#"{{"complete":true,"groups":{{"other":{WEB}}}}}"#)).expect("it reads");
        assert!(missing.complete && missing.groups.is_empty() && missing.missing.contains("web"), "{missing:?}");
        assert_eq!(missing.problems.len(), 2);
        let partial = inventory(&format!(r#"{{"complete":false,"groups":{{"web":{WEB}}}}}"#)).expect("it reads");
        assert!(!partial.complete);
    }

    #[test]
    fn an_answer_that_names_others_or_cannot_be_read_tells_nothing() {
        let detach = Action::Detach { instances: vec![id("i-1"), id("i-2")] };
        let launch = Action::launch(1, 3);
        let called = |answer: &str, action| read_called(answer.as_bytes(), action);
        let one = r#"{"result":"done","instances":["i-1"]}"#;
        assert_eq!(called(one, &detach), Called::Done { instances: vec![id("i-1")] });
        assert_eq!(called(r#"{"result":"throttled"}"#, &detach), Called::Throttled);
        assert_eq!(called(r#"{"result":"refused","why":"no"}"#, &detach), Called::Refused { why: "no".to_owned() });
        for wrong in [
            r#"{"result":"done"}"#,
            r#"{"result":"done","instances":["i-3"]}"#,
            r#"{"result":"done","instances":["i-1"],"more":1}"#,
            r#"{"result":"refused"}"#,
            r#"{"result":"unknown"}"#,
            r#"{"result":"fine"}"#,
            "",
        ] {
            assert_eq!(called(wrong, &detach), Called::Unknown, "{wrong}");
            assert_eq!(read_found(wrong.as_bytes(), &detach), Found::NotYet, "{wrong}");
        }
        let new = r#"{"result":"done","instances":["i-9"]}"#;
        assert_eq!(called(new, &launch), Called::Done { instances: vec![id("i-9")] });
        assert_eq!(read_found(br#"{"result":"not_done"}"#, &launch), Found::NotDone);
    }

    #[test]
    fn who_is_left_out_is_unknown_and_who_is_in_doubt_protected() {
        let answer = r#"{"instances":[{"instance":"i-1","state":"running","tags":{"a":"b"}},
                        {"instance":"i-9","state":"ended"}]}"#;
        let found = read_standing(answer.as_bytes(), &[id("i-1"), id("i-2")]).expect("it reads");
        let short: Vec<_> = found.iter().map(|outside| (outside.instance.as_str(), outside.state)).collect();
        assert_eq!(short, [("i-1", RunState::Running), ("i-2", RunState::Unknown)]);
        assert!(found.iter().all(|outside| outside.protected && outside.in_target_group.is_none()));
        assert!(read_standing(br#"{"instances":[{"instance":"i-1","state":"dozing"}]}"#, &[]).is_err());
        assert_eq!(read_standing(answer.as_bytes(), &[]).expect("it reads").len(), 2);
    }
}
