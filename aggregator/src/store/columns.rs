//! Samples as pco-compressed columns: the body of a tick or a chunk.
//!
//! Layout: `u32` length of a JSON header (instances and streams), the header, then each column as
//! `u32` length and pco bytes. Optional fields keep a presence bit per row, so that absent comes
//! back absent; floats come back bit for bit.

use foreshadow_proto::convert::{Id, NetworkRates, Sample, StreamId};
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress};
use serde::{Deserialize, Serialize};

use super::{StoreError, Stored};

const CPU: u32 = 1;
const BUSIEST: u32 = 1 << 1;
const STEAL: u32 = 1 << 2;
const MEMORY_USED: u32 = 1 << 3;
const MEMORY_TOTAL: u32 = 1 << 4;
const NETWORK: u32 = 1 << 5;

#[derive(Serialize, Deserialize)]
struct Header {
    instances: Vec<Id>,
    streams: Vec<[u8; 16]>,
}

/// Packs samples in the order given.
pub fn pack(samples: &[Stored]) -> Result<Vec<u8>, StoreError> {
    let mut header = Header { instances: Vec::new(), streams: Vec::new() };
    let mut instance_places = std::collections::HashMap::new();
    let mut stream_places = std::collections::HashMap::new();
    let (mut instances, mut streams, mut presence) = (Vec::new(), Vec::new(), Vec::new());
    for stored in samples {
        let instance = *instance_places.entry(&stored.instance).or_insert_with(|| {
            header.instances.push(stored.instance.clone());
            header.instances.len() - 1
        });
        let stream = *stream_places.entry(stored.stream).or_insert_with(|| {
            header.streams.push(stored.stream.0);
            header.streams.len() - 1
        });
        instances.push(u32::try_from(instance).unwrap_or(u32::MAX));
        streams.push(u32::try_from(stream).unwrap_or(u32::MAX));
        presence.push(present(&stored.sample));
    }
    let header = serde_json::to_vec(&header).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let mut body = Vec::new();
    put(&mut body, &header);
    column(&mut body, &instances)?;
    column(&mut body, &streams)?;
    column(&mut body, &presence)?;
    let rows = || samples.iter().map(|stored| &stored.sample);
    column(&mut body, &rows().map(|sample| sample.sequence).collect::<Vec<_>>())?;
    column(&mut body, &rows().map(|sample| sample.wall_micros).collect::<Vec<_>>())?;
    column(&mut body, &rows().map(|sample| sample.monotonic_micros).collect::<Vec<_>>())?;
    column(&mut body, &rows().map(|sample| sample.covers_millis).collect::<Vec<_>>())?;
    column(&mut body, &rows().filter_map(|sample| sample.cpu_percent).collect::<Vec<_>>())?;
    column(&mut body, &rows().filter_map(|sample| sample.cpu_busiest_percent).collect::<Vec<_>>())?;
    column(&mut body, &rows().filter_map(|sample| sample.cpu_steal_percent).collect::<Vec<_>>())?;
    column(&mut body, &rows().filter_map(|sample| sample.memory_used_bytes).collect::<Vec<_>>())?;
    column(&mut body, &rows().filter_map(|sample| sample.memory_total_bytes).collect::<Vec<_>>())?;
    let network = |field: fn(&NetworkRates) -> f64| {
        rows().filter_map(|sample| sample.network.as_ref().map(field)).collect::<Vec<_>>()
    };
    column(&mut body, &network(|rates| rates.in_bytes))?;
    column(&mut body, &network(|rates| rates.out_bytes))?;
    column(&mut body, &network(|rates| rates.in_packets))?;
    column(&mut body, &network(|rates| rates.out_packets))?;
    column(&mut body, &network(|rates| rates.errors))?;
    Ok(body)
}

/// Unpacks what [`pack`] made.
pub fn unpack(body: &[u8]) -> Result<Vec<Stored>, StoreError> {
    let mut rest = body;
    let header: Header =
        serde_json::from_slice(take(&mut rest)?).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let instances: Vec<u32> = read(&mut rest)?;
    let streams: Vec<u32> = read(&mut rest)?;
    let presence: Vec<u32> = read(&mut rest)?;
    let sequences: Vec<u64> = read(&mut rest)?;
    let walls: Vec<i64> = read(&mut rest)?;
    let monotonics: Vec<u64> = read(&mut rest)?;
    let covers: Vec<u32> = read(&mut rest)?;
    let mut cpu = read::<f64>(&mut rest)?.into_iter();
    let mut busiest = read::<f64>(&mut rest)?.into_iter();
    let mut steal = read::<f64>(&mut rest)?.into_iter();
    let mut used = read::<u64>(&mut rest)?.into_iter();
    let mut total = read::<u64>(&mut rest)?.into_iter();
    let mut in_bytes = read::<f64>(&mut rest)?.into_iter();
    let mut out_bytes = read::<f64>(&mut rest)?.into_iter();
    let mut in_packets = read::<f64>(&mut rest)?.into_iter();
    let mut out_packets = read::<f64>(&mut rest)?.into_iter();
    let mut errors = read::<f64>(&mut rest)?.into_iter();

    let mut samples = Vec::with_capacity(presence.len());
    for (row, bits) in presence.iter().enumerate() {
        let has = |bit: u32| bits & bit != 0;
        let instance = pick(&header.instances, pick(&instances, row)?)?;
        let stream = StreamId(pick(&header.streams, pick(&streams, row)?)?);
        let network = if has(NETWORK) {
            Some(NetworkRates {
                in_bytes: next(&mut in_bytes)?,
                out_bytes: next(&mut out_bytes)?,
                in_packets: next(&mut in_packets)?,
                out_packets: next(&mut out_packets)?,
                errors: next(&mut errors)?,
            })
        } else {
            None
        };
        let sample = Sample {
            sequence: pick(&sequences, row)?,
            wall_micros: pick(&walls, row)?,
            monotonic_micros: pick(&monotonics, row)?,
            covers_millis: pick(&covers, row)?,
            cpu_percent: if has(CPU) { Some(next(&mut cpu)?) } else { None },
            cpu_busiest_percent: if has(BUSIEST) { Some(next(&mut busiest)?) } else { None },
            cpu_steal_percent: if has(STEAL) { Some(next(&mut steal)?) } else { None },
            memory_used_bytes: if has(MEMORY_USED) { Some(next(&mut used)?) } else { None },
            memory_total_bytes: if has(MEMORY_TOTAL) { Some(next(&mut total)?) } else { None },
            network,
        };
        samples.push(Stored { instance, stream, sample });
    }
    Ok(samples)
}

fn present(sample: &Sample) -> u32 {
    let bit = |there: bool, bit: u32| if there { bit } else { 0 };
    bit(sample.cpu_percent.is_some(), CPU)
        | bit(sample.cpu_busiest_percent.is_some(), BUSIEST)
        | bit(sample.cpu_steal_percent.is_some(), STEAL)
        | bit(sample.memory_used_bytes.is_some(), MEMORY_USED)
        | bit(sample.memory_total_bytes.is_some(), MEMORY_TOTAL)
        | bit(sample.network.is_some(), NETWORK)
}

fn put(body: &mut Vec<u8>, part: &[u8]) {
    body.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(part);
}

fn column<T: Number>(body: &mut Vec<u8>, values: &[T]) -> Result<(), StoreError> {
    let packed = simple_compress(values, &pco::ChunkConfig::default());
    put(body, &packed.map_err(|error| StoreError::Corrupt(error.to_string()))?);
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], StoreError> {
    let short = || StoreError::Corrupt("a body ends early".to_owned());
    let (length, tail) = rest.split_at_checked(4).ok_or_else(short)?;
    let length = u32::from_le_bytes(length.try_into().map_err(|_| short())?);
    let (part, tail) = tail.split_at_checked(usize::try_from(length).map_err(|_| short())?).ok_or_else(short)?;
    *rest = tail;
    Ok(part)
}

fn read<T: Number>(rest: &mut &[u8]) -> Result<Vec<T>, StoreError> {
    simple_decompress(take(rest)?).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn pick<T: Clone, I>(values: &[T], at: I) -> Result<T, StoreError>
where
    usize: TryFrom<I>,
{
    let at = usize::try_from(at).ok();
    at.and_then(|at| values.get(at)).cloned().ok_or_else(|| StoreError::Corrupt("a column is too short".to_owned()))
}

fn next<T>(values: &mut impl Iterator<Item = T>) -> Result<T, StoreError> {
    values.next().ok_or_else(|| StoreError::Corrupt("a column is too short".to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn stored()(
            instance in "[a-z]{1,6}", stream: [u8; 16], sequence: u64, wall_micros: i64, monotonic_micros: u64,
            covers_millis: u32, cpu: Option<f64>, busiest: Option<f64>, steal: Option<f64>, used: Option<u64>,
            total: Option<u64>, network: Option<[f64; 5]>,
        ) -> Stored {
            Stored {
                instance: Id::new("instance", &instance).expect("letters"),
                stream: StreamId(stream),
                sample: Sample {
                    sequence, wall_micros, monotonic_micros, covers_millis, cpu_percent: cpu,
                    cpu_busiest_percent: busiest, cpu_steal_percent: steal, memory_used_bytes: used,
                    memory_total_bytes: total,
                    network: network.map(|[in_bytes, out_bytes, in_packets, out_packets, errors]| NetworkRates {
                        in_bytes, out_bytes, in_packets, out_packets, errors,
                    }),
                },
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_bit_for_bit(samples in proptest::collection::vec(stored(), 0..40)) {
            let back = unpack(&pack(&samples).expect("packs")).expect("unpacks");
            // Debug tells NaN payloads apart no more than equality does, but −0 and absence it does.
            prop_assert_eq!(format!("{back:?}"), format!("{samples:?}"));
        }

        #[test]
        fn a_torn_body_is_an_error_and_never_a_panic(
            samples in proptest::collection::vec(stored(), 1..5), cut in 0.0_f64..1.0,
        ) {
            let body = pack(&samples).expect("packs");
            let cut = (body.len() as f64 * cut) as usize;
            prop_assert!(unpack(&body[..cut]).is_err());
        }
    }
}
