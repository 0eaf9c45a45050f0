//! Samples as pco-compressed columns: the body of a tick or a chunk.
//!
//! Every body begins with a mark, its layout and the checksum of all that follows: what a disk gives back otherwise is refused.
//!
//! A tick is written while agents wait, of all instances together. Layout: `u32` length of a JSON header (instances and
//! streams), the header, then each column as `u32` length and pco bytes. Optional fields keep a presence bit per row, so that absent
//! comes back absent; floats come back bit for bit. A chunk, which stays, is smaller: [`hour`]. Chunks of numbers that no agent
//! sends are like ticks. What builds before the checksum wrote has none, and ticks of theirs no mark.

mod hour;

use std::collections::HashMap;
use std::hash::Hash;

use foreshadow_proto::convert::{Id, NetworkRates, Sample, StreamId};
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress};
use pco::{ChunkConfig, DeltaSpec, ModeSpec};
use serde::{Deserialize, Serialize};

use super::readings::{Asked, Readings};
use super::{StoreError, Stored, checksum};

/// No header of a tick without a mark is so long.
const MARK: [u8; 4] = u32::MAX.to_le_bytes();
/// Layouts. Two bits are between any two of them, so that no flipped one makes a body that has a checksum one that has none.
const RUNS_WITHOUT_CHECKSUM: u8 = 1;
const RUNS: u8 = 2;
const ROWS: u8 = 4;
/// Where the checksum of a body is.
const CHECKSUM_AT: usize = MARK.len() + 1;
/// Where a body begins in earnest.
const CONTENT_AT: usize = CHECKSUM_AT + checksum::LENGTH;

/// Of 0 to 12: ticks are gone within the hour.
const LEVEL: usize = 4;

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

/// A tick column by column: filled in one pass, since the samples of a commit are more than a cache holds.
#[derive(Default)]
struct Tick {
    instances: Vec<u32>,
    streams: Vec<u32>,
    presence: Vec<u32>,
    sequences: Vec<u64>,
    walls: Vec<i64>,
    monotonics: Vec<u64>,
    covers: Vec<u32>,
    shares: [Vec<f64>; 3],
    memory: [Vec<u64>; 2],
    network: [Vec<f64>; 5],
}

impl Tick {
    fn push(&mut self, instance: u32, stream: u32, sample: &Sample) {
        self.instances.push(instance);
        self.streams.push(stream);
        self.presence.push(present(sample));
        self.sequences.push(sample.sequence);
        self.walls.push(sample.wall_micros);
        self.monotonics.push(sample.monotonic_micros);
        self.covers.push(sample.covers_millis);
        let shares = [sample.cpu_percent, sample.cpu_busiest_percent, sample.cpu_steal_percent];
        for (column, share) in self.shares.iter_mut().zip(shares) {
            column.extend(share);
        }
        for (column, bytes) in self.memory.iter_mut().zip([sample.memory_used_bytes, sample.memory_total_bytes]) {
            column.extend(bytes);
        }
        if let Some(rates) = &sample.network {
            let rates = [rates.in_bytes, rates.out_bytes, rates.in_packets, rates.out_packets, rates.errors];
            for (column, rate) in self.network.iter_mut().zip(rates) {
                column.push(rate);
            }
        }
    }
}

/// Numbers what comes, in the order in which it first comes. What comes again mostly comes at once.
struct Places<'a, T> {
    places: HashMap<&'a T, u32>,
    last: Option<(&'a T, u32)>,
}

impl<'a, T: Eq + Hash> Places<'a, T> {
    fn new() -> Self {
        Self { places: HashMap::new(), last: None }
    }

    fn of(&mut self, wanted: &'a T) -> u32 {
        match self.last {
            Some((last, place)) if last == wanted => place,
            _ => {
                let next = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
                let place = *self.places.entry(wanted).or_insert(next);
                self.last = Some((wanted, place));
                place
            }
        }
    }

    fn in_order(self) -> Vec<&'a T> {
        let mut all: Vec<_> = self.places.into_iter().collect();
        all.sort_unstable_by_key(|(_, place)| *place);
        all.into_iter().map(|(wanted, _)| wanted).collect()
    }
}

/// What a body has, when it is what was written.
enum Content<'a> {
    Runs(&'a [u8]),
    Rows(&'a [u8]),
}

/// The head of a body, with room for its checksum.
fn begun(layout: u8) -> Vec<u8> {
    let mut body = MARK.to_vec();
    body.push(layout);
    body.resize(CONTENT_AT, 0);
    body
}

/// What a checksum is of: the layout, and everything behind the checksum.
fn sum_of(body: &[u8]) -> Option<[u8; checksum::LENGTH]> {
    Some(checksum::of(&[body.get(MARK.len()..CHECKSUM_AT)?, body.get(CONTENT_AT..)?]))
}

/// Sets the checksum of a body that is complete.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let sum = sum_of(&body);
    if let Some((place, sum)) = body.get_mut(CHECKSUM_AT..CONTENT_AT).zip(sum) {
        place.copy_from_slice(&sum);
    }
    body
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(what.to_owned())
}

/// Of a chunk that has what its row does not say.
pub(super) fn of_another() -> StoreError {
    corrupt("has samples of another instance")
}

fn content(body: &[u8]) -> Result<Content<'_>, StoreError> {
    let Some(marked) = body.strip_prefix(&MARK) else { return Ok(Content::Rows(body)) };
    let early = || corrupt("a body ends early");
    let (layout, rest) = marked.split_first().ok_or_else(early)?;
    match *layout {
        RUNS_WITHOUT_CHECKSUM => return Ok(Content::Runs(rest)),
        RUNS | ROWS => {}
        layout => return Err(corrupt(&format!("of layout {layout}: damaged, or made by a newer foreshadow"))),
    }
    if sum_of(body).ok_or_else(early)? != *body.get(CHECKSUM_AT..CONTENT_AT).ok_or_else(early)? {
        return Err(corrupt("its checksum is another: it is not what was written"));
    }
    let content = body.get(CONTENT_AT..).ok_or_else(early)?;
    Ok(if *layout == RUNS { Content::Runs(content) } else { Content::Rows(content) })
}

/// Packs samples in the order given.
pub fn pack(samples: &[Stored]) -> Result<Vec<u8>, StoreError> {
    let (mut instances, mut streams, mut tick) = (Places::new(), Places::new(), Tick::default());
    for stored in samples {
        tick.push(instances.of(&stored.instance), streams.of(&stored.stream), &stored.sample);
    }
    let header = Header {
        instances: instances.in_order().into_iter().cloned().collect(),
        streams: streams.in_order().into_iter().map(|stream| stream.0).collect(),
    };
    let header = serde_json::to_vec(&header).map_err(|error| StoreError::Corrupt(error.to_string()))?;
    let mut body = begun(ROWS);
    put(&mut body, &header);
    column(&mut body, &tick.instances)?;
    column(&mut body, &tick.streams)?;
    column(&mut body, &tick.presence)?;
    column(&mut body, &tick.sequences)?;
    column(&mut body, &tick.walls)?;
    column(&mut body, &tick.monotonics)?;
    column(&mut body, &tick.covers)?;
    tick.shares.iter().try_for_each(|shares| column(&mut body, shares))?;
    tick.memory.iter().try_for_each(|bytes| column(&mut body, bytes))?;
    tick.network.iter().try_for_each(|rates| column(&mut body, rates))?;
    Ok(sealed(body))
}

/// Packs samples that stay, as small as can be; they come back stream by stream.
pub fn pack_hour(samples: &[Stored]) -> Result<Vec<u8>, StoreError> {
    hour::pack(samples)?.map_or_else(|| pack(samples), Ok)
}

/// Unpacks what [`pack`] or [`pack_hour`] made.
pub fn unpack(body: &[u8]) -> Result<Vec<Stored>, StoreError> {
    let mut rest = match content(body)? {
        Content::Runs(content) => return hour::unpack(content),
        Content::Rows(content) => content,
    };
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

/// Puts what a body has of what was asked to what was found of the instances that have a place there. With `only` it has samples
/// of that instance and no other.
pub(super) fn readings(
    body: &[u8],
    only: Option<&str>,
    asked: &Asked,
    found: &mut HashMap<Id, Readings>,
) -> Result<(), StoreError> {
    let may = |instance: &Id| match only {
        Some(only) if only != instance.as_str() => Err(of_another()),
        _ => Ok(()),
    };
    if let Content::Runs(content) = content(body)? {
        return hour::series(content, &asked.fields, |instance, walls, values| {
            may(instance)?;
            asked.extend(instance, walls, values, found);
            Ok(())
        });
    }
    for stored in unpack(body)? {
        may(&stored.instance)?;
        asked.push(&stored, found);
    }
    Ok(())
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
    // Agents wait: what pco would find out by trying costs more than all else that a commit does.
    let how = ChunkConfig::default().with_compression_level(LEVEL).with_mode_spec(ModeSpec::Classic);
    let packed = simple_compress(values, &how.with_delta_spec(DeltaSpec::NoOp));
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

    prop_compose! {
        /// What agents send: half as wide, rates that are counts over an interval or somebody else's, fields absent.
        fn sent(streams: u8)(
            stream in 0..streams, steps in proptest::collection::vec(0_u64..3, 3), passed in 1_u64..4_000_000,
            cpu: Option<f32>, steal in proptest::option::of(0.0_f32..100.0), used in proptest::option::of(0_u64..1 << 40),
            counts in proptest::option::of([0_u64..1 << 40, 0..1 << 40, 0..1 << 20, 0..1 << 20, 0..9]), by in 1.0_f64..2.0,
            counted: bool,
        ) -> (u8, u64, u64, Sample) {
            let seconds = if counted { passed as f64 / 1e6 } else { by };
            let network = counts.map(|counts| counts.map(|count| count as f64 / seconds));
            let sample = Sample {
                sequence: steps[0], wall_micros: steps[1] as i64, monotonic_micros: 0,
                covers_millis: passed.div_ceil(1_000) as u32, cpu_percent: cpu.map(f64::from), cpu_busiest_percent: None,
                cpu_steal_percent: steal.map(f64::from), memory_used_bytes: used, memory_total_bytes: used,
                network: network.map(|[in_bytes, out_bytes, in_packets, out_packets, errors]| NetworkRates {
                    in_bytes, out_bytes, in_packets, out_packets, errors,
                }),
            };
            (stream, passed, steps[2], sample)
        }
    }

    /// Streams whose clocks and sequences go on, now and then with a leap.
    fn streams(sent: Vec<(u8, u64, u64, Sample)>) -> Vec<Stored> {
        let mut at = std::collections::HashMap::<u8, (u64, u64, i64)>::new();
        let on = |(stream, passed, leap, sample): (u8, u64, u64, Sample)| {
            let at = at.entry(stream).or_insert((1 << 50, 0, 1_735_689_600_000_000));
            *at = (
                at.0.wrapping_add(passed).wrapping_add((leap / 2) << 33),
                at.1 + 1 + sample.sequence,
                at.2 + passed as i64 + sample.wall_micros,
            );
            let instance = Id::new("instance", &format!("i-{}", stream % 3)).expect("an id");
            let sample = Sample { monotonic_micros: at.0, sequence: at.1, wall_micros: at.2, ..sample };
            Stored { instance, stream: StreamId([stream; 16]), sample }
        };
        sent.into_iter().map(on).collect()
    }

    fn by_stream(mut samples: Vec<Stored>) -> Vec<Stored> {
        samples.sort_by_key(|stored| (stored.instance.clone(), stored.stream));
        samples
    }

    #[test]
    fn a_busy_host_takes_thirteen_bytes_a_sample() {
        // Counts of a host at work are drawn anew each second; nothing makes them smaller than what they say.
        let mut dice = 1_u64;
        let mut below = |most: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % most
        };
        let (mut clock, mut used) = (86_400_000_000_u64, 1_u64 << 30);
        let samples: Vec<Stored> = (1..=3_600)
            .map(|sequence| {
                let passed = 999_700 + below(1_800);
                clock += passed;
                used = used + below(2_000) * 4_096 - 4_000 * 1_024;
                let seconds = passed as f64 / 1e6;
                let busy = 60 + below(50);
                let mut rate = |most: u64| below(most) as f64 / seconds;
                let sample = Sample {
                    sequence,
                    wall_micros: 1_735_689_600_000_000 + clock as i64,
                    monotonic_micros: clock,
                    covers_millis: passed.div_ceil(1_000) as u32,
                    cpu_percent: Some(f64::from((100.0 * busy as f64 / (busy + 130) as f64) as f32)),
                    cpu_busiest_percent: Some(f64::from((100.0 * (busy / 2) as f64 / 99.0) as f32)),
                    cpu_steal_percent: Some(0.0),
                    memory_used_bytes: Some(used),
                    memory_total_bytes: Some(8 << 30),
                    network: Some(NetworkRates {
                        in_bytes: rate(180_000),
                        out_bytes: rate(360_000),
                        in_packets: rate(600),
                        out_packets: rate(600),
                        errors: 0.0,
                    }),
                };
                Stored { instance: Id::new("instance", "i-0").expect("an id"), stream: StreamId([7; 16]), sample }
            })
            .collect();
        let body = pack_hour(&samples).expect("packs");
        assert!(body.len() < 13 * samples.len(), "{} bytes a sample", body.len() as f64 / samples.len() as f64);
        assert_eq!(unpack(&body).expect("unpacks"), samples);
    }

    /// What a build before layout 2 wrote: the samples of [`hour_of_two_streams`].
    const VERSION_1: &str = "ffffffff010200000003000000692d311000000001010101010101010101010101010101050000001c00000070636f210300420104010104\
        0000001000d0000000300060100221001c00000070636f2103008104010401000000100008000000000000001c0006002800000070636f21\
        03004201040104040000002200d047e8010000000070000018836ea68a012000a9ae10002800000070636f21030042010401040400000022\
        000068fdc7c8ac3aff0f60ffffffffffffffdf00a80a1d001e00000070636f2103008104010401000000100000000000000000005400e803\
        00002100000070636f210300c10401050200000010000000400ace0000000000000001000004001700000070636f21030040040105000000\
        00100000003016060000000000002300000070636f210300810401040100000010000080000000000000f40000f0ff3f0000000000240000\
        0070636f21030081040104010000001000000000000000000014010000000002000000000000000000000000000000000000000000000000\
        00000000002f00000070636f210300c1040106020000003200080000000000000010000000000000dc2930000000000000b85b6000180000\
        2f00000070636f210300c104010602000000320048333333333333f717403333333333330030003333333333330860001800001b00000070\
        636f210300400401060000000010000000000000004000060000000000000000000003000000692d31100000000202020202020202020202\
        0202020202020000001900000070636f21030081040101010000001000d800000028001f00001c00000070636f2103008104010401000000\
        100008000000000000001c0006002600000070636f210300810401040100000021001024f40000000000080000c6a09ba962000800010000\
        2600000070636f2103008104010401000000210000b4fe6364569dff07f0ffffffffffffff07000200001e00000070636f21030081040104\
        01000000100000000000000000005400e80300001700000070636f210300400401050000000010000000400a0600001700000070636f2103\
        004004010500000000100000003016060000000000002300000070636f210300810401040100000010000080000000000000f40000f0ff3f\
        00000000002400000070636f2103008104010401000000100000000000000000001401000000000200000000000000000000000000000000\
        00000000000000000000000000000000001b00000070636f21030040040106000000001000d0ccccccccccccfd0500001b00000070636f21\
        03004004010600000000100000000000000040000600000000000000000000";

    fn hour_of_two_streams() -> Vec<Stored> {
        let sample = |n: u64| Sample {
            sequence: 7 + n,
            wall_micros: 1_735_689_600_000_000 + 1_000_000 * n as i64 + (n * n % 7) as i64,
            monotonic_micros: 5_000_000 + 1_000_000 * n,
            covers_millis: 1_000,
            cpu_percent: (!n.is_multiple_of(3)).then_some(12.5 * n as f64),
            cpu_busiest_percent: Some(99.0),
            cpu_steal_percent: None,
            memory_used_bytes: Some(1 << 30 | n << 12),
            memory_total_bytes: Some(8 << 30),
            network: n.is_multiple_of(2).then_some(NetworkRates {
                in_bytes: 1_500.0 * n as f64,
                out_bytes: 0.1 + n as f64,
                in_packets: 3.0,
                out_packets: 0.0,
                errors: 0.0,
            }),
        };
        let of = |instance: &str, stream: u8, n: u64| Stored {
            instance: Id::new("instance", instance).expect("an id"),
            stream: StreamId([stream; 16]),
            sample: sample(n),
        };
        (0..5).map(|n| of("i-1", 1, n)).chain((0..2).map(|n| of("i-1", 2, n))).collect()
    }

    #[test]
    fn a_chunk_of_the_first_layout_is_read() {
        assert_eq!(unpack(&from_hex(VERSION_1)).expect("unpacks"), hour_of_two_streams());
    }

    fn from_hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("a byte");
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn a_chunk_of_a_later_layout_is_named_as_such() {
        let mut body = pack_hour(&[]).expect("packs");
        body[4] += 1;
        assert!(unpack(&body).expect_err("not known").to_string().contains("a newer foreshadow"));
    }

    #[test]
    fn an_hour_of_one_stream_is_one_run() {
        let samples: Vec<Stored> = (0..3_600_u64)
            .map(|n| {
                let mut stored = hour_of_two_streams().remove(0);
                stored.sample.sequence = n;
                stored.sample.wall_micros += 1_000_000 * n as i64;
                stored
            })
            .collect();
        let body = pack_hour(&samples).expect("packs");
        assert_eq!(&body[CONTENT_AT..CONTENT_AT + 4], 1_u32.to_le_bytes());
        assert_eq!(unpack(&body).expect("unpacks"), samples);
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_bit_for_bit(samples in proptest::collection::vec(stored(), 0..40)) {
            let back = unpack(&pack(&samples).expect("packs")).expect("unpacks");
            // Debug tells NaN payloads apart no more than equality does, but −0 and absence it does.
            prop_assert_eq!(format!("{back:?}"), format!("{samples:?}"));
            let back = unpack(&pack_hour(&samples).expect("packs")).expect("unpacks");
            prop_assert_eq!(format!("{:?}", by_stream(back)), format!("{:?}", by_stream(samples)));
        }

        #[test]
        fn what_agents_send_comes_back_bit_for_bit(sent in proptest::collection::vec(sent(4), 0..300)) {
            let samples = streams(sent);
            let back = unpack(&pack_hour(&samples).expect("packs")).expect("unpacks");
            prop_assert_eq!(format!("{:?}", by_stream(back)), format!("{:?}", by_stream(samples)));
        }

        #[test]
        fn a_torn_body_is_an_error_and_never_a_panic(
            samples in proptest::collection::vec(stored(), 1..5), cut in 0.0_f64..1.0,
        ) {
            for body in [pack(&samples).expect("packs"), pack_hour(&samples).expect("packs")] {
                let cut = (body.len() as f64 * cut) as usize;
                prop_assert!(unpack(&body[..cut]).is_err());
            }
        }
    }
}
