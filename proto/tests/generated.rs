//! The generated code is committed so that nobody needs a protobuf compiler and every change of
//! the wire shows in review. This test regenerates it and compares;
//! `FORESHADOW_REGENERATE=1 cargo test -p foreshadow-proto --test generated` writes it anew.

use std::fs;
use std::path::Path;

/// Contracts of others that we answer.
const FOREIGN: [&str; 1] = ["externalscaler.proto"];

const PROTOS: [&str; 3] = ["foreshadow/v1/agent.proto", "foreshadow/v1/enrol.proto", "foreshadow/v1/predict.proto"];

/// Messages that REST answers with as JSON.
const QUERIED: [&str; 10] = [
    "PredictCapacityRequest",
    "PredictCapacityResponse",
    "MetricNeed",
    "QuantileDemand",
    "WatchForecastRequest",
    "Forecast",
    "QuantilePath",
    "ListGroupsRequest",
    "ListGroupsResponse",
    "Group",
];

#[test]
fn generated_code_is_what_the_proto_files_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = root.join("src/generated");
    let fresh = tempfile::tempdir().expect("a temporary directory");
    let descriptors = protox::compile(PROTOS, [root.join("proto")]).expect("the proto files compile");
    let mut configuration = tonic_prost_build::configure();
    // What programs query has one definition for gRPC and REST alike.
    for message in QUERIED {
        let path = format!(".foreshadow.v1.{message}");
        configuration = configuration
            .type_attribute(&path, "#[derive(serde::Serialize, serde::Deserialize)]")
            .type_attribute(&path, "#[cfg_attr(feature = \"schema\", derive(utoipa::ToSchema))]");
    }
    configuration
        .out_dir(fresh.path())
        .file_descriptor_set_path(fresh.path().join("foreshadow.v1.bin"))
        .compile_fds(descriptors.clone())
        .expect("code is generated");
    use prost::Message as _;
    fs::write(fresh.path().join("foreshadow.v1.bin"), descriptors.encode_to_vec()).expect("descriptors are written");
    let foreign = protox::compile(FOREIGN, [root.join("proto")]).expect("the foreign proto files compile");
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        .build_client(false)
        .compile_fds(foreign.clone())
        .expect("code is generated");
    fs::write(fresh.path().join("externalscaler.bin"), foreign.encode_to_vec()).expect("descriptors are written");

    for name in ["foreshadow.v1.rs", "foreshadow.v1.bin", "externalscaler.rs", "externalscaler.bin"] {
        let made = fs::read(fresh.path().join(name)).expect("generated file");
        let target = committed.join(name);
        if std::env::var_os("FORESHADOW_REGENERATE").is_some() {
            fs::write(&target, &made).expect("the committed file is writable");
        }
        let kept = fs::read(&target).unwrap_or_default();
        assert!(
            made == kept,
            "{} is out of date: run FORESHADOW_REGENERATE=1 cargo test -p foreshadow-proto --test generated",
            target.display()
        );
    }
}
