//! InfluxDB 2 through `influxdb2`.
//!
//! The client writes newlines in tags, NaN and empty tags as they are. None reaches it: ids have only letters, digits and
//! `._:/@-`, numbers passed the range check; [`point`] checks once more and leaves out what does not fit.

use http::{Method, StatusCode};
use influxdb2::Client;
use influxdb2::models::DataPoint;
use serde_json::Value;

use super::server::{REQUEST_DEADLINE, ask};
use super::{MEASUREMENT, fields};
use crate::config::InfluxDb;
use crate::store::Stored;

/// Whether the bucket is there. The inner error is final: it will not pass by itself.
pub(super) async fn check(config: &InfluxDb, organisation: &str, bucket: &str) -> anyhow::Result<Result<(), String>> {
    let pairs = [("org", organisation), ("name", bucket)];
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let answer = ask(config, Method::GET, &format!("/api/v2/buckets?{query}"), &[], Vec::new()).await?;
    let read: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    Ok(match answer.status {
        StatusCode::OK if read["buckets"].as_array().is_some_and(Vec::is_empty) => {
            Err(format!("store.influxdb.bucket: {organisation:?} has no bucket {bucket:?}"))
        }
        StatusCode::UNAUTHORIZED => {
            Err("store.influxdb.token_file: the server lets nobody in by this token".to_owned())
        }
        StatusCode::NOT_FOUND if read["code"] == "not found" => {
            Err(format!("store.influxdb: there is no organisation {organisation:?} with a bucket {bucket:?}"))
        }
        // A token that may only write is not shown any bucket.
        _ => Ok(()),
    })
}

pub(super) async fn write_samples(
    config: &InfluxDb,
    (organisation, bucket, token): (&str, &str, &str),
    samples: impl Iterator<Item = &Stored>,
) -> anyhow::Result<()> {
    let points: Vec<DataPoint> = samples.filter_map(point).collect();
    if points.is_empty() {
        return Ok(());
    }
    let client = Client::new(&config.url, organisation, token);
    let write = client.write(bucket, futures::stream::iter(points));
    Ok(tokio::time::timeout(REQUEST_DEADLINE, write).await??)
}

/// A sample as a point; `None` when nothing of it can be written safely.
fn point(stored: &Stored) -> Option<DataPoint> {
    let mut builder = DataPoint::builder(MEASUREMENT)
        .tag("instance", stored.instance.as_str())
        .timestamp(stored.sample.wall_micros.checked_mul(1_000)?);
    let (floats, wholes) = fields(stored);
    for (name, value) in floats {
        builder = builder.field(name, value);
    }
    for (name, value) in wholes {
        builder = builder.field(name, value);
    }
    builder.build().ok()
}
