//! A batch field by field ([`v1::Columns`]), and back to samples, to the bit.
//!
//! Ten samples of a host take a third of what they take one after the other: clocks and sequences tick evenly, totals stay,
//! and a rate is a count of some thousands over an interval that is known. Where a rate is no such count (somebody else's
//! arithmetic) it goes as it is. `cargo bench -p foreshadow-proto` prints the bytes beside those of gzip and zstd.

use prost::Message as _;

use crate::convert::{MAX_BATCH_SAMPLES, WireError};
use crate::v1;

const CPU: u32 = 1;
const BUSIEST: u32 = 1 << 1;
const STEAL: u32 = 1 << 2;
const MEMORY_USED: u32 = 1 << 3;
const MEMORY_TOTAL: u32 = 1 << 4;
const RATES: u32 = 1 << 5;
const COUNTS: u32 = 1 << 6;

/// Intervals that are looked for in one batch, some thousand divisions each: the first sample's, and those behind a gap.
const SEARCHES: u32 = 4;

/// A batch of `samples` in whichever form takes fewer bytes; `stream_id` and `boot_id` as they go on the wire.
pub fn batch(stream_id: Vec<u8>, boot_id: String, samples: Vec<v1::Sample>, dropped_total: u64) -> v1::Batch {
    let columns = pack(&samples);
    let by_column = v1::Batch {
        stream_id,
        boot_id,
        samples: Vec::new(),
        dropped_total,
        columns: Some(columns),
        ..Default::default()
    };
    let rows: usize =
        samples.iter().map(|sample| 1 + prost::length_delimiter_len(sample.encoded_len()) + sample.encoded_len()).sum();
    let columns = by_column
        .columns
        .as_ref()
        .map_or(0, |columns| 1 + prost::length_delimiter_len(columns.encoded_len()) + columns.encoded_len());
    if columns < rows { by_column } else { v1::Batch { samples, columns: None, ..by_column } }
}

/// The samples of a batch, in whichever form they came.
///
/// # Errors
/// [`WireError::BatchTooLong`] above [`MAX_BATCH_SAMPLES`], [`WireError::Columns`] where columns contradict each other or
/// come beside samples.
pub fn samples(batch: &mut v1::Batch) -> Result<Vec<v1::Sample>, WireError> {
    let samples = std::mem::take(&mut batch.samples);
    match &batch.columns {
        None if samples.len() > MAX_BATCH_SAMPLES => Err(WireError::BatchTooLong(samples.len())),
        None => Ok(samples),
        Some(_) if !samples.is_empty() => Err(WireError::Columns("samples")),
        Some(columns) => unpack(columns),
    }
}

/// Samples as columns.
pub fn pack(samples: &[v1::Sample]) -> v1::Columns {
    let mut columns = v1::Columns { rows: u32::try_from(samples.len()).unwrap_or(u32::MAX), ..v1::Columns::default() };
    let (mut sequence, mut wall, mut monotonic, mut used, mut total) =
        (Steps::default(), Steps::default(), Steps::default(), Steps::default(), Steps::default());
    let mut wall_step = Steps::default();
    let mut clock = Clock::default();
    let mut searches = SEARCHES;
    for (row, sample) in samples.iter().enumerate() {
        let mut present = 0;
        columns.sequence.push(sequence.to(sample.sequence.cast_signed()));
        let step = wall.to(sample.wall_micros);
        columns.wall_micros.push(if row == 0 { step } else { wall_step.to(step) });
        let apart = sample.monotonic_micros.cast_signed().wrapping_sub(sample.wall_micros);
        columns.monotonic_micros.push(monotonic.to(apart));
        let passed = clock.at(sample.monotonic_micros);
        let covers = i64::from(sample.covers_millis);
        columns.covers_millis.push(covers.wrapping_sub(passed.map_or(0, in_millis)));
        for (value, column, bit) in [
            (sample.cpu_percent, &mut columns.cpu_percent, CPU),
            (sample.cpu_busiest_percent, &mut columns.cpu_busiest_percent, BUSIEST),
            (sample.cpu_steal_percent, &mut columns.cpu_steal_percent, STEAL),
        ] {
            if let Some(value) = value {
                present |= bit;
                column.push(value);
            }
        }
        for (value, steps, column, bit) in [
            (sample.memory_used_bytes, &mut used, &mut columns.memory_used_bytes, MEMORY_USED),
            (sample.memory_total_bytes, &mut total, &mut columns.memory_total_bytes, MEMORY_TOTAL),
        ] {
            if let Some(value) = value {
                present |= bit;
                column.push(steps.to(value.cast_signed()));
            }
        }
        if let Some(rates) = &sample.network {
            let expected = passed.unwrap_or(covers.wrapping_mul(1_000));
            let found = counted(rates, expected).map(|counts| (expected, counts)).or_else(|| {
                searches = searches.checked_sub(1)?;
                search(rates, covers)
            });
            match found {
                Some((interval, [in_bytes, out_bytes, in_packets, out_packets, errors])) => {
                    present |= COUNTS;
                    columns.interval_micros.push(interval.wrapping_sub(expected));
                    columns.in_bytes_counted.push(in_bytes);
                    columns.out_bytes_counted.push(out_bytes);
                    columns.in_packets_counted.push(in_packets);
                    columns.out_packets_counted.push(out_packets);
                    columns.errors_counted.push(errors);
                }
                None => {
                    present |= RATES;
                    columns.in_bytes.push(rates.in_bytes);
                    columns.out_bytes.push(rates.out_bytes);
                    columns.in_packets.push(rates.in_packets);
                    columns.out_packets.push(rates.out_packets);
                    columns.errors.push(rates.errors);
                }
            }
        }
        columns.present.push(present);
    }
    shorten(&mut columns);
    columns
}

/// Columns as samples.
///
/// # Errors
/// [`WireError::BatchTooLong`] above [`MAX_BATCH_SAMPLES`], [`WireError::Columns`] where a column has more values than there
/// are samples for it.
pub fn unpack(columns: &v1::Columns) -> Result<Vec<v1::Sample>, WireError> {
    unpack_up_to(columns, MAX_BATCH_SAMPLES)
}

/// The same for who keeps more than a batch in columns: `most` samples.
///
/// # Errors
/// As [`unpack`], with `most` in the place of [`MAX_BATCH_SAMPLES`].
pub fn unpack_up_to(columns: &v1::Columns, most: usize) -> Result<Vec<v1::Sample>, WireError> {
    let rows = usize::try_from(columns.rows).unwrap_or(usize::MAX);
    if rows > most {
        return Err(WireError::BatchTooLong(rows));
    }
    let mut present = Column::new(&columns.present);
    let (mut sequence, mut wall_step) = (Column::new(&columns.sequence), Column::new(&columns.wall_micros));
    let (mut apart, mut covers) = (Column::new(&columns.monotonic_micros), Column::new(&columns.covers_millis));
    let (mut cpu, mut busiest) = (Column::new(&columns.cpu_percent), Column::new(&columns.cpu_busiest_percent));
    let (mut steal, mut used) = (Column::new(&columns.cpu_steal_percent), Column::new(&columns.memory_used_bytes));
    let (mut total, mut interval) = (Column::new(&columns.memory_total_bytes), Column::new(&columns.interval_micros));
    let counts = [
        &columns.in_bytes_counted,
        &columns.out_bytes_counted,
        &columns.in_packets_counted,
        &columns.out_packets_counted,
        &columns.errors_counted,
    ];
    let mut counts = counts.map(|column| Column::new(column));
    let rates = [&columns.in_bytes, &columns.out_bytes, &columns.in_packets, &columns.out_packets, &columns.errors];
    let mut rates = rates.map(|column| Column::new(column));

    let (mut at_sequence, mut at_wall, mut at_wall_step) = (0_i64, 0_i64, 0_i64);
    let (mut at_apart, mut at_used, mut at_total) = (0_i64, 0_i64, 0_i64);
    let mut clock = Clock::default();
    let mut samples = Vec::with_capacity(rows);
    for row in 0..rows {
        let has = present.next();
        at_sequence = at_sequence.wrapping_add(sequence.next());
        // The first value is the clock itself and no step of it.
        let step = wall_step.next();
        at_wall_step = if row == 0 { 0 } else { at_wall_step.wrapping_add(step) };
        at_wall = if row == 0 { step } else { at_wall.wrapping_add(at_wall_step) };
        at_apart = at_apart.wrapping_add(apart.next());
        let monotonic_micros = at_apart.wrapping_add(at_wall).cast_unsigned();
        let passed = clock.at(monotonic_micros);
        let covers_millis = covers.next().wrapping_add(passed.map_or(0, in_millis));
        let mut sample = v1::Sample {
            sequence: at_sequence.cast_unsigned(),
            wall_micros: at_wall,
            monotonic_micros,
            // What no agent says is refused with the sample, as an interval of zero is.
            covers_millis: u32::try_from(covers_millis).unwrap_or(0),
            ..v1::Sample::default()
        };
        sample.cpu_percent = (has & CPU != 0).then(|| cpu.next());
        sample.cpu_busiest_percent = (has & BUSIEST != 0).then(|| busiest.next());
        sample.cpu_steal_percent = (has & STEAL != 0).then(|| steal.next());
        if has & MEMORY_USED != 0 {
            at_used = at_used.wrapping_add(used.next());
            sample.memory_used_bytes = Some(at_used.cast_unsigned());
        }
        if has & MEMORY_TOTAL != 0 {
            at_total = at_total.wrapping_add(total.next());
            sample.memory_total_bytes = Some(at_total.cast_unsigned());
        }
        if has & COUNTS != 0 {
            let expected = passed.unwrap_or(i64::from(sample.covers_millis).wrapping_mul(1_000));
            let interval = interval.next().wrapping_add(expected);
            sample.network = Some(network(counts.each_mut().map(|column| rate(column.next(), interval))));
        } else if has & RATES != 0 {
            sample.network = Some(network(rates.each_mut().map(Column::next)));
        }
        samples.push(sample);
    }
    let left = [
        ("present", present.left()),
        ("sequence", sequence.left()),
        ("wall_micros", wall_step.left()),
        ("monotonic_micros", apart.left()),
        ("covers_millis", covers.left()),
        ("cpu_percent", cpu.left()),
        ("cpu_busiest_percent", busiest.left()),
        ("cpu_steal_percent", steal.left()),
        ("memory_used_bytes", used.left()),
        ("memory_total_bytes", total.left()),
        ("interval_micros", interval.left()),
        ("counts", counts.iter().any(Column::left)),
        ("rates", rates.iter().any(Column::left)),
    ];
    match left.iter().find(|(_, left)| *left) {
        Some((column, _)) => Err(WireError::Columns(column)),
        None => Ok(samples),
    }
}

/// One number of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    CoversMillis,
    CpuPercent,
    CpuBusiestPercent,
    CpuStealPercent,
    MemoryUsedBytes,
    MemoryTotalBytes,
    InBytes,
    OutBytes,
    InPackets,
    OutPackets,
    Errors,
}

/// When each sample was taken, µs since the epoch, and one list of values for each of `fields`: what a sample has not got is
/// `None`. Samples are not made; of `columns` only those need be there that the fields are made of, and none is checked.
pub fn series(columns: &v1::Columns, fields: &[Field]) -> (Vec<i64>, Vec<Vec<Option<f64>>>) {
    let rows = usize::try_from(columns.rows).unwrap_or(usize::MAX);
    let mut steps = Column::new(&columns.wall_micros);
    let (mut at, mut step) = (0_i64, 0_i64);
    let mut walls = Vec::with_capacity(rows);
    for row in 0..rows {
        let value = steps.next();
        if row == 0 {
            at = value;
        } else {
            step = step.wrapping_add(value);
            at = at.wrapping_add(step);
        }
        walls.push(at);
    }
    let values = fields.iter().map(|field| field_of(columns, &walls, *field)).collect();
    (walls, values)
}

/// Whether any of these is a rate: it is read with its interval.
pub fn has_rates(fields: &[Field]) -> bool {
    use Field::{Errors, InBytes, InPackets, OutBytes, OutPackets};
    fields.iter().any(|field| matches!(field, InBytes | OutBytes | InPackets | OutPackets | Errors))
}

fn field_of(columns: &v1::Columns, walls: &[i64], field: Field) -> Vec<Option<f64>> {
    let rates = |counts: &[u64], rates: &[f64]| network_of(columns, walls, counts, rates);
    match field {
        Field::CoversMillis => intervals(columns, walls).map(|(_, covers)| Some(f64::from(covers))).collect(),
        Field::CpuPercent => share_of(columns, &columns.cpu_percent, CPU),
        Field::CpuBusiestPercent => share_of(columns, &columns.cpu_busiest_percent, BUSIEST),
        Field::CpuStealPercent => share_of(columns, &columns.cpu_steal_percent, STEAL),
        Field::MemoryUsedBytes => bytes_of(columns, &columns.memory_used_bytes, MEMORY_USED),
        Field::MemoryTotalBytes => bytes_of(columns, &columns.memory_total_bytes, MEMORY_TOTAL),
        Field::InBytes => rates(&columns.in_bytes_counted, &columns.in_bytes),
        Field::OutBytes => rates(&columns.out_bytes_counted, &columns.out_bytes),
        Field::InPackets => rates(&columns.in_packets_counted, &columns.in_packets),
        Field::OutPackets => rates(&columns.out_packets_counted, &columns.out_packets),
        Field::Errors => rates(&columns.errors_counted, &columns.errors),
    }
}

/// What each sample has, bit by bit.
fn presence(columns: &v1::Columns) -> impl Iterator<Item = u32> {
    let rows = usize::try_from(columns.rows).unwrap_or(usize::MAX);
    let mut present = Column::new(&columns.present);
    (0..rows).map(move |_| present.next())
}

fn share_of(columns: &v1::Columns, values: &[f32], bit: u32) -> Vec<Option<f64>> {
    let mut values = Column::new(values);
    presence(columns).map(|has| (has & bit != 0).then(|| f64::from(values.next()))).collect()
}

#[allow(clippy::cast_precision_loss, reason = "memory sizes are below 2^53 bytes")]
fn bytes_of(columns: &v1::Columns, steps: &[i64], bit: u32) -> Vec<Option<f64>> {
    let (mut steps, mut at) = (Column::new(steps), 0_i64);
    let value = |has: u32| {
        (has & bit != 0).then(|| {
            at = at.wrapping_add(steps.next());
            at.cast_unsigned() as f64
        })
    };
    presence(columns).map(value).collect()
}

/// How long each sample's clock ran since the one before it, or what it covers where there is none (µs), and what it covers (ms).
fn intervals(columns: &v1::Columns, walls: &[i64]) -> impl Iterator<Item = (i64, u32)> {
    let (mut apart, mut covers) = (Column::new(&columns.monotonic_micros), Column::new(&columns.covers_millis));
    let (mut at, mut clock) = (0_i64, Clock::default());
    walls.iter().map(move |wall| {
        at = at.wrapping_add(apart.next());
        let passed = clock.at(at.wrapping_add(*wall).cast_unsigned());
        let covers = covers.next().wrapping_add(passed.map_or(0, in_millis));
        let covers = u32::try_from(covers).unwrap_or(0);
        (passed.unwrap_or(i64::from(covers).wrapping_mul(1_000)), covers)
    })
}

fn network_of(columns: &v1::Columns, walls: &[i64], counts: &[u64], rates: &[f64]) -> Vec<Option<f64>> {
    let (mut counts, mut rates) = (Column::new(counts), Column::new(rates));
    let mut interval = Column::new(&columns.interval_micros);
    let value = |(has, (expected, _)): (u32, (i64, u32))| {
        if has & COUNTS != 0 {
            Some(rate(counts.next(), interval.next().wrapping_add(expected)))
        } else {
            (has & RATES != 0).then(|| rates.next())
        }
    };
    presence(columns).zip(intervals(columns, walls)).map(value).collect()
}

fn network([in_bytes, out_bytes, in_packets, out_packets, errors]: [f64; 5]) -> v1::Network {
    v1::Network { in_bytes, out_bytes, in_packets, out_packets, errors }
}

/// Milliseconds, rounded up.
const fn in_millis(micros: i64) -> i64 {
    micros.div_euclid(1_000) + (micros.rem_euclid(1_000) != 0) as i64
}

/// What the monotonic clock passed between a sample and the one before it.
#[derive(Default)]
struct Clock(Option<u64>);

impl Clock {
    fn at(&mut self, micros: u64) -> Option<i64> {
        self.0.replace(micros).map(|before| micros.wrapping_sub(before).cast_signed())
    }
}

/// Differences from one value to the next.
#[derive(Default)]
struct Steps(i64);

impl Steps {
    const fn to(&mut self, value: i64) -> i64 {
        let step = value.wrapping_sub(self.0);
        self.0 = value;
        step
    }
}

#[allow(clippy::cast_precision_loss, reason = "the agent divides the same doubles")]
fn rate(count: u64, interval_micros: i64) -> f64 {
    count as f64 / (interval_micros as f64 / 1e6)
}

/// What was counted in the interval, where each rate is such a count over it, to the bit.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "it is compared"
)]
fn counted(rates: &v1::Network, interval_micros: i64) -> Option<[u64; 5]> {
    if interval_micros <= 0 {
        return None;
    }
    let seconds = interval_micros as f64 / 1e6;
    let mut counts = [0; 5];
    let rates = [rates.in_bytes, rates.out_bytes, rates.in_packets, rates.out_packets, rates.errors];
    for (count, wanted) in counts.iter_mut().zip(rates) {
        *count = (wanted * seconds).round() as u64;
        if rate(*count, interval_micros).to_bits() != wanted.to_bits() {
            return None;
        }
    }
    Some(counts)
}

/// The interval that explains the rates, among those that round up to what the sample covers.
fn search(rates: &v1::Network, covers_millis: i64) -> Option<(i64, [u64; 5])> {
    let up_to = covers_millis.checked_mul(1_000)?;
    (up_to - 999..=up_to).rev().find_map(|interval| Some((interval, counted(rates, interval)?)))
}

/// The values of a column, and after them the last one again and again.
struct Column<'a, T> {
    values: std::slice::Iter<'a, T>,
    last: T,
}

impl<'a, T: Copy + Default> Column<'a, T> {
    fn new(values: &'a [T]) -> Self {
        Self { values: values.iter(), last: T::default() }
    }

    fn next(&mut self) -> T {
        if let Some(value) = self.values.next() {
            self.last = *value;
        }
        self.last
    }

    /// There are more values than samples.
    fn left(&self) -> bool {
        self.values.len() > 0
    }
}

fn shorten(columns: &mut v1::Columns) {
    let whole = |value: &i64| value.cast_unsigned();
    for column in [
        &mut columns.sequence,
        &mut columns.wall_micros,
        &mut columns.monotonic_micros,
        &mut columns.covers_millis,
        &mut columns.memory_used_bytes,
        &mut columns.memory_total_bytes,
        &mut columns.interval_micros,
    ] {
        shorten_one(column, whole);
    }
    for column in [
        &mut columns.in_bytes_counted,
        &mut columns.out_bytes_counted,
        &mut columns.in_packets_counted,
        &mut columns.out_packets_counted,
        &mut columns.errors_counted,
    ] {
        shorten_one(column, |value| *value);
    }
    for column in [&mut columns.cpu_percent, &mut columns.cpu_busiest_percent, &mut columns.cpu_steal_percent] {
        shorten_one(column, |value| value.to_bits().into());
    }
    for column in [
        &mut columns.in_bytes,
        &mut columns.out_bytes,
        &mut columns.in_packets,
        &mut columns.out_packets,
        &mut columns.errors,
    ] {
        shorten_one(column, |value| value.to_bits());
    }
    shorten_one(&mut columns.present, |value| (*value).into());
}

/// Leaves out what repeats at the end.
fn shorten_one<T>(column: &mut Vec<T>, bits: impl Fn(&T) -> u64) {
    while let Some((last, before)) = column.split_last()
        && bits(last) == before.last().map_or(0, &bits)
    {
        column.pop();
    }
}
