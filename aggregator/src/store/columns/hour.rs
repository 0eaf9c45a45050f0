//! A chunk as an agent would send it: each stream's samples as [`v1::Columns`], each column by pco.
//!
//! What makes a batch small on the wire makes an hour small on the disk: a rate of a host is a count over an interval that the clock
//! tells, and as doubles four rates take half of everything. Layout behind the checksum: how many runs, then run
//! after run: instance, stream, rows, and each column of [`v1::Columns`] in the order below, as `u32` length and bytes. A column
//! that is empty has no bytes at all.

use foreshadow_proto::columns::{self, Field};
use foreshadow_proto::convert::{Id, NetworkRates, Sample, StreamId};
use foreshadow_proto::v1;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};

use super::super::{StoreError, Stored};
use super::{RUNS, begun, corrupt, put, sealed, take};

/// Most samples of a run: what a body says of itself is not believed beyond. An hour at a sample a second is a quarter of it.
const LONGEST_RUN: usize = 16_384;

/// Packs samples, stream by stream in the order in which they first come; `None` where a percentage is no `f32`, as every
/// agent's is, or somebody's numbers do not come back to the bit.
pub(super) fn pack(samples: &[Stored]) -> Result<Option<Vec<u8>>, StoreError> {
    let mut runs: Vec<(&Id, StreamId, Vec<v1::Sample>)> = Vec::new();
    for stored in samples {
        let Some(sample) = narrow(&stored.sample) else { return Ok(None) };
        let run = runs.iter_mut().rev().find(|(instance, stream, run)| {
            *stream == stored.stream && *instance == &stored.instance && run.len() < LONGEST_RUN
        });
        match run {
            Some((_, _, run)) => run.push(sample),
            None => runs.push((&stored.instance, stored.stream, vec![sample])),
        }
    }
    let mut body = begun(RUNS);
    body.extend_from_slice(&u32::try_from(runs.len()).unwrap_or(u32::MAX).to_le_bytes());
    for (instance, stream, run) in runs {
        let mut columns = columns::pack(&run);
        if columns::unpack_up_to(&columns, LONGEST_RUN).ok().as_ref() != Some(&run) {
            return Ok(None);
        }
        put(&mut body, instance.as_str().as_bytes());
        put(&mut body, &stream.0);
        body.extend_from_slice(&columns.rows.to_le_bytes());
        // Steps of the clock are drawn each by itself; the differences of two of them are wider.
        let mut step = 0_i64;
        for difference in columns.wall_micros.iter_mut().skip(1) {
            step = step.wrapping_add(*difference);
            *difference = step;
        }
        write(&mut body, &columns)?;
    }
    Ok(Some(sealed(body)))
}

/// Unpacks what [`pack`] made.
pub(super) fn unpack(content: &[u8]) -> Result<Vec<Stored>, StoreError> {
    let mut samples = Vec::new();
    each_run(content, |instance, stream, rest| {
        let columns = read(rest, |_| true)?;
        let run = columns::unpack_up_to(&columns, LONGEST_RUN).map_err(|error| corrupt(&error.to_string()))?;
        samples.reserve(run.len());
        samples.extend(run.into_iter().map(|sample| Stored {
            instance: instance.clone(),
            stream: StreamId(stream),
            sample: widen(sample),
        }));
        Ok(())
    })?;
    Ok(samples)
}

/// Times and some fields of every run of what [`pack`] made; columns of which none is wanted are passed over.
pub(super) fn series(
    content: &[u8],
    fields: &[Field],
    mut found: impl FnMut(&Id, Vec<i64>, Vec<Vec<Option<f64>>>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    each_run(content, |instance, _, rest| {
        let columns = read(rest, |column| column.is_for(fields))?;
        let (walls, values) = columns::series(&columns, fields);
        found(instance, walls, values)
    })
}

/// Goes from run to run; what it calls takes the columns.
fn each_run(
    content: &[u8],
    mut run: impl FnMut(&Id, [u8; 16], &mut &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut rest = content;
    for _ in 0..whole(&mut rest)? {
        let instance = std::str::from_utf8(take(&mut rest)?).map_err(|_| corrupt("an instance's name"))?;
        let instance = Id::new("instance", instance).map_err(|error| corrupt(&error.to_string()))?;
        let stream = take(&mut rest)?.try_into().map_err(|_| corrupt("a stream's id"))?;
        run(&instance, stream, &mut rest)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(corrupt("a body goes on after its end")) }
}

fn whole(rest: &mut &[u8]) -> Result<u32, StoreError> {
    let (number, tail) = rest.split_first_chunk().ok_or_else(|| StoreError::Corrupt("a body ends early".to_owned()))?;
    *rest = tail;
    Ok(u32::from_le_bytes(*number))
}

fn write(body: &mut Vec<u8>, columns: &v1::Columns) -> Result<(), StoreError> {
    column(body, &columns.present)?;
    column(body, &columns.sequence)?;
    column(body, &columns.wall_micros)?;
    column(body, &columns.monotonic_micros)?;
    column(body, &columns.covers_millis)?;
    shares(body, &columns.cpu_percent)?;
    shares(body, &columns.cpu_busiest_percent)?;
    shares(body, &columns.cpu_steal_percent)?;
    column(body, &columns.memory_used_bytes)?;
    column(body, &columns.memory_total_bytes)?;
    column(body, &columns.interval_micros)?;
    column(body, &columns.in_bytes_counted)?;
    column(body, &columns.out_bytes_counted)?;
    column(body, &columns.in_packets_counted)?;
    column(body, &columns.out_packets_counted)?;
    column(body, &columns.errors_counted)?;
    column(body, &columns.in_bytes)?;
    column(body, &columns.out_bytes)?;
    column(body, &columns.in_packets)?;
    column(body, &columns.out_packets)?;
    column(body, &columns.errors)
}

/// What a column of a run is for.
#[derive(Debug, Clone, Copy)]
enum For {
    /// Every reading: when, and what there is.
    All,
    /// Whole samples alone.
    Samples,
    One(Field),
    /// What is told of an interval: what a sample covers, and rates.
    Intervals,
    Rates,
}

impl For {
    fn is_for(self, fields: &[Field]) -> bool {
        match self {
            Self::All => true,
            Self::Samples => false,
            Self::One(field) => fields.contains(&field),
            Self::Rates => columns::has_rates(fields),
            Self::Intervals => columns::has_rates(fields) || fields.contains(&Field::CoversMillis),
        }
    }
}

/// Rows and columns of one run; one that is not wanted stays empty.
fn read(rest: &mut &[u8], wanted: impl Fn(For) -> bool) -> Result<v1::Columns, StoreError> {
    let rows = whole(rest)?;
    if usize::try_from(rows).map_or(true, |rows| rows > LONGEST_RUN) {
        return Err(corrupt("a run is too long"));
    }
    let (samples, intervals, rates) = (wanted(For::Samples), wanted(For::Intervals), wanted(For::Rates));
    let one = |field| wanted(For::One(field));
    let mut columns = v1::Columns {
        rows,
        present: values(rest, wanted(For::All))?,
        sequence: values(rest, samples)?,
        wall_micros: values(rest, wanted(For::All))?,
        monotonic_micros: values(rest, intervals)?,
        covers_millis: values(rest, intervals)?,
        cpu_percent: values(rest, one(Field::CpuPercent))?,
        cpu_busiest_percent: values(rest, one(Field::CpuBusiestPercent))?,
        cpu_steal_percent: values(rest, one(Field::CpuStealPercent))?,
        memory_used_bytes: values(rest, one(Field::MemoryUsedBytes))?,
        memory_total_bytes: values(rest, one(Field::MemoryTotalBytes))?,
        interval_micros: values(rest, rates)?,
        in_bytes_counted: values(rest, one(Field::InBytes))?,
        out_bytes_counted: values(rest, one(Field::OutBytes))?,
        in_packets_counted: values(rest, one(Field::InPackets))?,
        out_packets_counted: values(rest, one(Field::OutPackets))?,
        errors_counted: values(rest, one(Field::Errors))?,
        in_bytes: values(rest, one(Field::InBytes))?,
        out_bytes: values(rest, one(Field::OutBytes))?,
        in_packets: values(rest, one(Field::InPackets))?,
        out_packets: values(rest, one(Field::OutPackets))?,
        errors: values(rest, one(Field::Errors))?,
    };
    let mut step = 0_i64;
    for at in columns.wall_micros.iter_mut().skip(1) {
        step = std::mem::replace(at, at.wrapping_sub(step));
    }
    Ok(columns)
}

fn column<T: Number>(body: &mut Vec<u8>, values: &[T]) -> Result<(), StoreError> {
    if values.is_empty() {
        put(body, &[]);
        return Ok(());
    }
    let packed = simple_compress(values, &ChunkConfig::default());
    put(body, &packed.map_err(|error| StoreError::Corrupt(error.to_string()))?);
    Ok(())
}

/// Shares of a few hundred ticks are few different numbers, in no order: as a dictionary or as they are, whichever is shorter.
fn shares(body: &mut Vec<u8>, values: &[f32]) -> Result<(), StoreError> {
    if values.is_empty() {
        put(body, &[]);
        return Ok(());
    }
    let by = |mode| {
        let how = ChunkConfig::default().with_mode_spec(mode).with_delta_spec(DeltaSpec::NoOp);
        simple_compress(values, &how).map_err(|error| StoreError::Corrupt(error.to_string()))
    };
    let (plain, dictionary) = (by(ModeSpec::Classic)?, by(ModeSpec::TryDict)?);
    put(body, if dictionary.len() < plain.len() { &dictionary } else { &plain });
    Ok(())
}

fn values<T: Number>(rest: &mut &[u8], wanted: bool) -> Result<Vec<T>, StoreError> {
    match take(rest)? {
        [] => Ok(Vec::new()),
        _ if !wanted => Ok(Vec::new()),
        packed => simple_decompress(packed).map_err(|error| StoreError::Corrupt(error.to_string())),
    }
}

/// As it goes on the wire; `None` where a percentage would come back as another.
fn narrow(sample: &Sample) -> Option<v1::Sample> {
    #[allow(clippy::cast_possible_truncation, reason = "it is compared")]
    let percent = |value: Option<f64>| match value {
        None => Some(None),
        Some(value) => Some(value as f32).filter(|half| f64::from(*half).to_bits() == value.to_bits()).map(Some),
    };
    Some(v1::Sample {
        sequence: sample.sequence,
        wall_micros: sample.wall_micros,
        monotonic_micros: sample.monotonic_micros,
        covers_millis: sample.covers_millis,
        cpu_percent: percent(sample.cpu_percent)?,
        cpu_busiest_percent: percent(sample.cpu_busiest_percent)?,
        cpu_steal_percent: percent(sample.cpu_steal_percent)?,
        memory_used_bytes: sample.memory_used_bytes,
        memory_total_bytes: sample.memory_total_bytes,
        network: sample.network.as_ref().map(|rates| v1::Network {
            in_bytes: rates.in_bytes,
            out_bytes: rates.out_bytes,
            in_packets: rates.in_packets,
            out_packets: rates.out_packets,
            errors: rates.errors,
        }),
    })
}

fn widen(sample: v1::Sample) -> Sample {
    Sample {
        sequence: sample.sequence,
        wall_micros: sample.wall_micros,
        monotonic_micros: sample.monotonic_micros,
        covers_millis: sample.covers_millis,
        cpu_percent: sample.cpu_percent.map(f64::from),
        cpu_busiest_percent: sample.cpu_busiest_percent.map(f64::from),
        cpu_steal_percent: sample.cpu_steal_percent.map(f64::from),
        memory_used_bytes: sample.memory_used_bytes,
        memory_total_bytes: sample.memory_total_bytes,
        network: sample.network.map(|rates| NetworkRates {
            in_bytes: rates.in_bytes,
            out_bytes: rates.out_bytes,
            in_packets: rates.in_packets,
            out_packets: rates.out_packets,
            errors: rates.errors,
        }),
    }
}
