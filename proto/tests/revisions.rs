//! Builds of two revisions understand each other. What an older build reads is read here as it reads it: by the proto files
//! of its time, in `tests/revisions`, which never change.

use std::path::Path;

use foreshadow_proto::v1;
use foreshadow_proto::{DESCRIPTORS, OLDEST_PROTOCOL, PROTOCOL};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

/// Revisions that are out there and older than this build's.
const OLDER: std::ops::Range<u32> = OLDEST_PROTOCOL..PROTOCOL;

fn of(revision: u32) -> DescriptorPool {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/revisions/{revision}"));
    let compiled = protox::compile(["foreshadow/v1/agent.proto", "foreshadow/v1/enrol.proto"], [files]);
    DescriptorPool::from_file_descriptor_set(compiled.expect("the proto files compile")).expect("a pool")
}

fn golden(direction: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .expect("the directory is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(direction)))
        .collect();
    files.sort();
    let name = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    files.iter().map(|path| (name(path), std::fs::read(path).expect("readable"))).collect()
}

/// The message inside the envelope and the names of its fields that are set.
fn set(pool: &DescriptorPool, envelope: &str, bytes: &[u8]) -> (DynamicMessage, Vec<String>) {
    let envelope = pool.get_message_by_name(envelope).expect("the message");
    let read = DynamicMessage::decode(envelope, bytes).expect("an older build decodes it");
    let (kind, value) = read.fields().next().expect("an older build knows what it is");
    let inner = value.as_message().unwrap_or_else(|| panic!("{}", kind.name())).clone();
    let names = inner.fields().map(|(field, _)| field.name().to_owned()).collect();
    (inner, names)
}

/// No field was taken away, renumbered or given another type: what one side wrote, the other does not misread.
#[test]
fn nothing_that_was_there_means_something_else_now() {
    let now = DescriptorPool::decode(DESCRIPTORS).expect("a pool");
    for revision in OLDER {
        for message in of(revision).all_messages() {
            let name = message.full_name();
            let found = now.get_message_by_name(name).unwrap_or_else(|| panic!("{name} is gone"));
            let shape = |message: &MessageDescriptor, number: u32| {
                let field = message.get_field(number)?;
                let kind = format!("{:?} {:?}", field.kind(), field.cardinality());
                Some((field.name().to_owned(), kind, field.supports_presence(), field.is_packed()))
            };
            for field in message.fields() {
                let number = field.number();
                assert_eq!(
                    shape(&found, number),
                    shape(&message, number),
                    "{name}, field {number}, revision {revision}"
                );
            }
        }
    }
}

/// What this build's aggregator says: welcome, acknowledgement, rejection and directive of any revision.
#[test]
fn an_older_agent_reads_what_this_aggregator_says() {
    for revision in OLDER {
        let pool = of(revision);
        for (name, bytes) in golden("aggregator-") {
            let (read, fields) = set(&pool, "foreshadow.v1.AggregatorMessage", &bytes);
            let wanted: &[&str] = match name.as_str() {
                "aggregator-welcome" | "aggregator-welcome-2" => &["store_id", "wall_micros", "stored", "credit"],
                "aggregator-ack" => &["store_id", "stream_id", "ranges"],
                "aggregator-rejected" => &["stream_id", "rejections"],
                "aggregator-directive" => &["interval_millis", "mode", "shadow_until_micros", "reason"],
                _ => panic!("{name}: say what an older agent has to find in it"),
            };
            assert_eq!(fields, wanted, "{name}");
            let unknown = read.unknown_fields().count();
            assert_eq!(unknown, usize::from(name == "aggregator-welcome-2"), "{name}: what is new is passed over");
        }
    }
}

/// What this build's agent says before it knows who listens, and to who is older. What only a later revision reads is never
/// sent to an older one: `session::an_older_aggregator_gets_samples_as_it_knows_them` in the agent.
#[test]
fn an_older_aggregator_reads_what_this_agent_says() {
    for revision in OLDER {
        let pool = of(revision);
        for (name, bytes) in golden("agent-") {
            let (read, fields) = set(&pool, "foreshadow.v1.AgentMessage", &bytes);
            let wanted: &[&str] = match name.as_str() {
                "agent-hello" | "agent-hello-2" => {
                    &["instance_id", "stream_id", "boot_id", "facts", "agent_version", "protocol", "claimed_group"]
                }
                "agent-batch" => &["stream_id", "boot_id", "samples", "dropped_total"],
                "agent-facts" | "agent-facts-acknowledged" => &[
                    "instance_type",
                    "zone",
                    "image_id",
                    "cores",
                    "memory_bytes",
                    "hostname",
                    "region",
                    "target_lifecycle_state",
                ],
                "agent-readiness" => &["ready", "wall_micros", "detail"],
                "agent-goodbye" => &["reason"],
                later if later.contains("-2") => continue,
                _ => panic!("{name}: say what an older aggregator has to find in it"),
            };
            assert_eq!(fields, wanted, "{name}");
            let new = ["agent-hello-2", "agent-facts-acknowledged"].contains(&name.as_str());
            assert_eq!(read.unknown_fields().count(), usize::from(new), "{name}: what is new is passed over");
            if name == "agent-hello-2" {
                let protocol = read.get_field_by_name("protocol").and_then(|value| value.as_u32());
                assert_eq!(protocol, Some(revision), "an older aggregator refuses what is beyond it");
            }
        }
    }
}

#[test]
fn the_revision_is_the_newest_that_both_speak() {
    let hello = |newest_protocol: u32, protocol: u32| {
        let wire = v1::Hello {
            instance_id: "i-1".to_owned(),
            stream_id: vec![1; 16],
            boot_id: "boot".to_owned(),
            protocol,
            newest_protocol,
            ..v1::Hello::default()
        };
        foreshadow_proto::convert::hello(&wire).map(|hello| hello.protocol)
    };
    assert_eq!(hello(0, 1), Ok(1), "an agent of revision 1");
    assert_eq!(hello(2, 1), Ok(2));
    assert_eq!(hello(9, 1), Ok(PROTOCOL), "a newer agent that still speaks the first");
    assert!(hello(9, 9).is_err(), "one that does not");
}
