//! The wire as it is spoken by agents and aggregators that are out there: bytes that were made once and stay. A build
//! reads them as what they meant, writes the same, and does not stumble over what a later one may add. Names that end in a
//! number are of messages as they are since that revision.
//!
//! A change of the wire adds fields and never moves these bytes. `FORESHADOW_GOLDEN=1 cargo nextest run --workspace -E
//! 'test(golden)'` writes those that are not there yet, and overwrites none.

use std::path::Path;

use foreshadow_proto::columns::pack;
use foreshadow_proto::v1::{self, agent_message, aggregator_message};
use prost::Message;

fn sample(sequence: u64) -> v1::Sample {
    v1::Sample {
        sequence,
        wall_micros: 1_800_000_000_000_000 + sequence as i64 * 1_000_123,
        monotonic_micros: 86_400_000_000 + sequence * 1_000_100,
        covers_millis: 1_001,
        cpu_percent: Some(41.5),
        cpu_busiest_percent: Some(99.25),
        cpu_steal_percent: (sequence > 1).then_some(0.0),
        memory_used_bytes: Some(3 << 30),
        memory_total_bytes: Some(8 << 30),
        network: (sequence != 2).then_some(v1::Network {
            in_bytes: 123_456.789,
            out_bytes: 9e6,
            in_packets: 1_000.5,
            out_packets: 2.0,
            errors: 0.0,
        }),
    }
}

fn facts() -> v1::Facts {
    v1::Facts {
        instance_type: "m5.large".to_owned(),
        zone: "eu-west-1a".to_owned(),
        image_id: "ami-0abc".to_owned(),
        cores: 2,
        memory_bytes: 8 << 30,
        hostname: "ip-10-0-0-1".to_owned(),
        region: "eu-west-1".to_owned(),
        target_lifecycle_state: "InService".to_owned(),
        first_acknowledged_millis: 0,
    }
}

fn agents() -> Vec<(&'static str, v1::AgentMessage)> {
    use agent_message::Kind;
    let hello = v1::Hello {
        instance_id: "i-0abc".to_owned(),
        stream_id: (0..16).collect(),
        boot_id: "0f0e0d0c-0b0a-0908-0706-050403020100".to_owned(),
        facts: Some(facts()),
        agent_version: "0.1.0".to_owned(),
        protocol: 1,
        claimed_group: "web".to_owned(),
        newest_protocol: 0,
    };
    let hello_2 = v1::Hello { newest_protocol: 2, ..hello.clone() };
    let batch = v1::Batch {
        stream_id: (0..16).collect(),
        boot_id: "0f0e0d0c-0b0a-0908-0706-050403020100".to_owned(),
        samples: (1..=3).map(sample).collect(),
        dropped_total: 7,
        columns: None,
        acknowledge_within_millis: 0,
    };
    let of_hello = v1::Batch { stream_id: Vec::new(), boot_id: String::new(), ..batch.clone() };
    let columns = v1::Batch { samples: Vec::new(), columns: Some(pack(&batch.samples)), ..of_hello.clone() };
    let patient = v1::Batch { acknowledge_within_millis: 3_000, ..columns.clone() };
    let readiness = v1::Readiness { ready: true, wall_micros: 1_800_000_000_000_000, detail: "no probe".to_owned() };
    let all = [
        ("hello", Kind::Hello(hello)),
        ("batch", Kind::Batch(batch)),
        ("hello-2", Kind::Hello(hello_2)),
        ("batch-2", Kind::Batch(of_hello)),
        ("batch-2-columns", Kind::Batch(columns)),
        ("batch-2-patient", Kind::Batch(patient)),
        ("readiness", Kind::Readiness(readiness)),
        ("facts", Kind::Facts(facts())),
        ("facts-acknowledged", Kind::Facts(v1::Facts { first_acknowledged_millis: 2_037, ..facts() })),
        ("goodbye", Kind::Goodbye(v1::Goodbye { reason: "told to stop".to_owned() })),
    ];
    all.map(|(name, kind)| (name, v1::AgentMessage { kind: Some(kind) })).to_vec()
}

fn aggregators() -> Vec<(&'static str, v1::AggregatorMessage)> {
    use aggregator_message::Kind;
    let ranges = || vec![v1::Range { first: 1, last: 3 }, v1::Range { first: 7, last: 7 }];
    let store_id: Vec<u8> = (16..32).collect();
    let all = [
        (
            "welcome",
            Kind::Welcome(v1::Welcome {
                store_id: store_id.clone(),
                wall_micros: 1_800_000_000_000_000,
                stored: ranges(),
                credit: 8_000,
                protocol: 0,
            }),
        ),
        (
            "welcome-2",
            Kind::Welcome(v1::Welcome {
                store_id: store_id.clone(),
                wall_micros: 1_800_000_000_000_000,
                stored: ranges(),
                credit: 8_000,
                protocol: 2,
            }),
        ),
        ("ack", Kind::Ack(v1::Ack { store_id, stream_id: (0..16).collect(), ranges: ranges() })),
        (
            "rejected",
            Kind::Rejected(v1::Rejected {
                stream_id: (0..16).collect(),
                rejections: vec![v1::Rejection { sequence: 2, reason: "not_finite".to_owned() }],
            }),
        ),
        (
            "directive",
            Kind::Directive(v1::Directive {
                interval_millis: 1_000,
                mode: v1::Mode::Shadow.into(),
                shadow_until_micros: 1_800_003_600_000_000,
                reason: "detached".to_owned(),
            }),
        ),
    ];
    all.map(|(name, kind)| (name, v1::AggregatorMessage { kind: Some(kind) })).to_vec()
}

fn holds<M: Message + Default + PartialEq + std::fmt::Debug>(direction: &str, all: Vec<(&'static str, M)>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, meant) in all {
        let path = directory.join(format!("{direction}-{name}.bin"));
        if std::env::var_os("FORESHADOW_GOLDEN").is_some() && !path.exists() {
            std::fs::create_dir_all(&directory).expect("the directory is there");
            std::fs::write(&path, meant.encode_to_vec()).expect("it is written");
        }
        let golden = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(M::decode(golden.as_slice()).expect("decodes"), meant, "{direction} {name}: read as something else");
        assert_eq!(meant.encode_to_vec(), golden, "{direction} {name}: written in another way");
        // What a later version may add: a field with a number that nobody has, at the end.
        let later = [golden.as_slice(), &[0xc2, 0x3e, 0x02, b'n', b'o']].concat();
        assert_eq!(
            M::decode(later.as_slice()).expect("decodes"),
            meant,
            "{direction} {name}: stumbles over a new field"
        );
    }
}

#[test]
fn golden_bytes_of_agents_mean_what_they_meant() {
    holds("agent", agents());
}

#[test]
fn golden_bytes_of_aggregators_mean_what_they_meant() {
    holds("aggregator", aggregators());
}
