//! What a batch weighs: `cargo bench -p foreshadow-proto`. Samples of this host as the agent makes them, of a busy one and of
//! the fleet simulator, one after the other, by column, and in gzip as gRPC would do it, with the CPU time of each.
//! `FORESHADOW_BATCHES=directory` keeps the batches, for other compressors to be tried on.
//!
//! Bytes of the message alone: gRPC adds 5, HTTP/2 9 and TLS 22 to each.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read as _, Write as _};

use foreshadow_proto::{columns, v1};
use prost::Message as _;

const COUNTS: [usize; 4] = [1, 10, 60, 2_000];

fn main() {
    println!("| samples of | in a batch | one after the other | gzip | by column | gzip of columns |");
    println!("|---|---|---|---|---|---|");
    let mut cpu: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (name, all) in
        [("a quiet host", host(40.0, 6.0)), ("a busy host", host(9e6, 9_000.0)), ("the simulator", simulated())]
    {
        for count in COUNTS {
            let samples = &all[..count];
            let whole = batch(samples, true);
            let rows = whole.encode_to_vec();
            let by_column = columns::batch(Vec::new(), String::new(), samples.to_vec(), 0).encode_to_vec();
            let zipped = gzip(&rows);
            let both = gzip(&by_column);
            if let Some(directory) = std::env::var_os("FORESHADOW_BATCHES") {
                let file = std::path::Path::new(&directory).join(format!("{}-{count}.bin", name.replace(' ', "-")));
                std::fs::write(file, &rows).expect("the directory is there");
            }
            let each = |bytes: &[u8]| bytes.len() as f64 / count as f64;
            println!(
                "| {name} | {count} | {:.0} | {:.0} | **{:.0}** | {:.0} |",
                each(&rows),
                each(&zipped),
                each(&by_column),
                each(&both)
            );
            if name == "a busy host" && count == 10 {
                cpu.insert(
                    "one after the other",
                    (
                        micros(|| drop(black_box(batch(samples, true).encode_to_vec()))),
                        micros(|| drop(black_box(v1::Batch::decode(rows.as_slice())))),
                    ),
                );
                cpu.insert(
                    "gzip",
                    (micros(|| drop(black_box(gzip(&rows)))), micros(|| drop(black_box(gunzip(&zipped))))),
                );
                cpu.insert(
                    "by column",
                    (
                        micros(|| {
                            drop(black_box(
                                columns::batch(Vec::new(), String::new(), samples.to_vec(), 0).encode_to_vec(),
                            ))
                        }),
                        micros(|| {
                            let mut read = v1::Batch::decode(by_column.as_slice()).expect("decodes");
                            drop(black_box(columns::samples(&mut read)));
                        }),
                    ),
                );
            }
        }
    }
    println!("\nA batch of 10 of a busy host, microseconds of CPU (gzip: on top of the first line):");
    for (form, (write, read)) in cpu {
        println!("  {form}: {write:.1} to write, {read:.1} to read");
    }
}

fn batch(samples: &[v1::Sample], ids: bool) -> v1::Batch {
    v1::Batch {
        stream_id: if ids { (0..16).map(|n| n * 13 + 7).collect() } else { Vec::new() },
        boot_id: if ids { "0f0e0d0c-1b2a-4938-8706-a50403020100".to_owned() } else { String::new() },
        samples: samples.to_vec(),
        ..v1::Batch::default()
    }
}

/// Numbers that look random and are the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % most.max(1)
    }
}

/// As the agent makes them once a second on two processors: ticks, counters and clocks that are read a little apart.
fn host(bytes: f64, packets: f64) -> Vec<v1::Sample> {
    let mut dice = Dice(1);
    let (mut boot, mut used) = (86_400_000_000_u64, 3_u64 << 30);
    let samples = (1..=2_000).map(|sequence| {
        let elapsed = 1_000_000 + dice.below(1_800) - 300;
        boot += elapsed;
        used = used + dice.below(2_000) * 4_096 - 4_000 * 1_024;
        let (busy, idle) = (60 + dice.below(50), 130);
        let core = 30 + dice.below(60);
        let seconds = elapsed as f64 / 1e6;
        let mut rate = |mean: f64| dice.below((2.0 * mean) as u64) as f64 / seconds;
        v1::Sample {
            sequence,
            wall_micros: 1_800_000_000_000_000
                + i64::try_from(boot).unwrap_or_default()
                + i64::from(sequence as u8) % 3,
            monotonic_micros: boot,
            covers_millis: u32::try_from(elapsed.div_ceil(1_000)).unwrap_or_default(),
            cpu_percent: Some((100.0 * busy as f64 / (busy + idle) as f64) as f32),
            cpu_busiest_percent: Some((100.0 * core as f64 / 99.0) as f32),
            cpu_steal_percent: Some(0.0),
            memory_used_bytes: Some(used),
            memory_total_bytes: Some(8 << 30),
            network: Some(v1::Network {
                in_bytes: rate(bytes),
                out_bytes: rate(2.0 * bytes),
                in_packets: rate(packets),
                out_packets: rate(packets),
                errors: 0.0,
            }),
        }
    });
    samples.collect()
}

/// As `fleet` makes them.
fn simulated() -> Vec<v1::Sample> {
    let mut dice = Dice(2);
    let samples = (1..=2_000_u64).map(|sequence| {
        let cpu = 30.0 + ((sequence * 7) % 400) as f32 / 10.0;
        let now = sequence * 1_000_000 + dice.below(1_500);
        v1::Sample {
            sequence,
            wall_micros: 1_800_000_000_000_000 + i64::try_from(now).unwrap_or_default(),
            monotonic_micros: 86_400_000_000 + now,
            covers_millis: 1_000,
            cpu_percent: Some(cpu),
            cpu_busiest_percent: Some(cpu),
            cpu_steal_percent: Some(0.0),
            memory_used_bytes: Some(2 << 30),
            memory_total_bytes: Some(8 << 30),
            network: Some(v1::Network {
                in_bytes: 10_000.0 * f64::from(cpu),
                out_bytes: 20_000.0 * f64::from(cpu),
                in_packets: 10.0 * f64::from(cpu),
                out_packets: 10.0 * f64::from(cpu),
                errors: 0.0,
            }),
        }
    });
    samples.collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    writer.write_all(bytes).expect("memory takes it");
    writer.finish().expect("memory takes it")
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut read).expect("what was packed");
    read
}

/// CPU microseconds of one run, of a thousand; the thread waits for nothing, so that its clock is the wall's.
fn micros(mut run: impl FnMut()) -> f64 {
    (0..100).for_each(|_| run());
    #[allow(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = std::time::Instant::now();
    (0..1_000).for_each(|_| run());
    began.elapsed().as_secs_f64() * 1e3
}
