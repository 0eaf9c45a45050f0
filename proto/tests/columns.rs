//! Batches by column: exact both ways whatever is in them, small for what hosts send, and bounded by what is claimed.

use foreshadow_proto::columns::{batch, pack, samples, unpack};
use foreshadow_proto::convert::{MAX_BATCH_SAMPLES, WireError};
use foreshadow_proto::v1;
use proptest::prelude::*;
use prost::Message as _;

/// Everything of a sample to the bit, so that −0, NaN and absence count.
fn bits(sample: &v1::Sample) -> String {
    let float = |value: Option<f32>| value.map(f32::to_bits);
    let rates =
        sample.network.map(|n| [n.in_bytes, n.out_bytes, n.in_packets, n.out_packets, n.errors].map(f64::to_bits));
    let percents = [sample.cpu_percent, sample.cpu_busiest_percent, sample.cpu_steal_percent].map(float);
    let clocks = (sample.sequence, sample.wall_micros, sample.monotonic_micros, sample.covers_millis);
    format!("{clocks:?} {percents:?} {:?} {:?} {rates:?}", sample.memory_used_bytes, sample.memory_total_bytes)
}

fn on_the_wire(packed: v1::Columns) -> v1::Columns {
    v1::Columns::decode(packed.encode_to_vec().as_slice()).expect("decodes")
}

prop_compose! {
    fn anything()(
        sequence: u64, wall_micros: i64, monotonic_micros: u64, covers_millis: u32,
        cpu: Option<u32>, busiest: Option<u32>, steal: Option<u32>, used: Option<u64>, total: Option<u64>,
        network: Option<[u64; 5]>,
    ) -> v1::Sample {
        v1::Sample {
            sequence, wall_micros, monotonic_micros, covers_millis,
            cpu_percent: cpu.map(f32::from_bits), cpu_busiest_percent: busiest.map(f32::from_bits),
            cpu_steal_percent: steal.map(f32::from_bits), memory_used_bytes: used, memory_total_bytes: total,
            network: network.map(|n| n.map(f64::from_bits)).map(
                |[in_bytes, out_bytes, in_packets, out_packets, errors]| v1::Network {
                    in_bytes, out_bytes, in_packets, out_packets, errors,
                },
            ),
        }
    }
}

prop_compose! {
    /// What an agent makes: its own arithmetic over its own clock, some intervals left out.
    fn of_a_host()(
        first in 1_u64..1_000_000, began in 0_u64..1 << 50,
        steps in proptest::collection::vec(
            (999_000_u64..1_100_000, -2_000_i64..2_000, [0_u64..1 << 40, 0_u64..1 << 40, 0_u64..1 << 30, 0_u64..1 << 30, 0_u64..3],
             0_u32..200, 0_u64..1 << 40, proptest::bool::weighted(0.1)), 0..40),
    ) -> Vec<v1::Sample> {
        let mut boot = began;
        let mut sequence = first;
        steps.into_iter().map(|(elapsed, drift, counts, busy, used, gap)| {
            let seconds = elapsed as f64 / 1e6;
            let [in_bytes, out_bytes, in_packets, out_packets, errors] = counts.map(|count| count as f64 / seconds);
            boot += elapsed * if gap { 7 } else { 1 };
            sequence += if gap { 7 } else { 1 };
            v1::Sample {
                sequence,
                wall_micros: 1_800_000_000_000_000 + boot.cast_signed() + drift,
                monotonic_micros: boot,
                covers_millis: u32::try_from(elapsed.div_ceil(1_000)).expect("a second"),
                cpu_percent: Some((100.0 * f64::from(busy) / 200.0) as f32),
                cpu_busiest_percent: (busy % 7 != 0).then_some(busy as f32 / 2.0),
                cpu_steal_percent: (busy % 2 == 0).then_some(0.0),
                memory_used_bytes: Some(used),
                memory_total_bytes: Some(8 << 30),
                network: (busy % 11 != 0).then_some(v1::Network { in_bytes, out_bytes, in_packets, out_packets, errors }),
            }
        }).collect()
    }
}

fn same(before: &[v1::Sample], after: &[v1::Sample]) -> Result<(), TestCaseError> {
    let of = |samples: &[v1::Sample]| samples.iter().map(bits).collect::<Vec<_>>();
    prop_assert_eq!(of(before), of(after));
    Ok(())
}

proptest! {
    #[test]
    fn whatever_goes_in_comes_out_to_the_bit(all in proptest::collection::vec(anything(), 0..30)) {
        same(&all, &unpack(&on_the_wire(pack(&all))).expect("unpacks"))?;
    }

    #[test]
    fn what_a_host_makes_comes_out_to_the_bit_with_its_rates_as_counts(all in of_a_host()) {
        let packed = on_the_wire(pack(&all));
        same(&all, &unpack(&packed).expect("unpacks"))?;
        let gaps = all.windows(2).filter(|pair| pair[1].sequence != pair[0].sequence + 1).count();
        // The first sample and three behind gaps are looked for; the agent's own rates are always found.
        prop_assert!(gaps > 3 || packed.in_bytes.is_empty(), "{} rates went as they are", packed.in_bytes.len());
    }

    #[test]
    fn no_message_makes_it_panic_or_give_more_than_a_batch(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(columns) = v1::Columns::decode(bytes.as_slice())
            && let Ok(all) = unpack(&columns)
        {
            prop_assert!(all.len() <= MAX_BATCH_SAMPLES);
        }
    }

    #[test]
    fn the_smaller_form_is_sent_and_either_is_read(all in proptest::collection::vec(anything(), 0..4)) {
        let mut sent = batch(vec![1; 16], "boot".to_owned(), all.clone(), 3);
        let by_row = v1::Batch { samples: all.clone(), columns: None, ..sent.clone() };
        let by_column = v1::Batch { samples: Vec::new(), columns: Some(pack(&all)), ..sent.clone() };
        prop_assert!(sent.encoded_len() <= by_row.encoded_len() && sent.encoded_len() <= by_column.encoded_len());
        let read = samples(&mut sent).expect("reads");
        prop_assert_eq!(read.len(), all.len());
    }
}

#[test]
fn what_is_claimed_is_bounded_before_anything_is_made_of_it() {
    let claims = |rows: u32| unpack(&v1::Columns { rows, ..v1::Columns::default() });
    assert_eq!(claims(u32::MAX), Err(WireError::BatchTooLong(u32::MAX as usize)));
    assert_eq!(claims(2_001), Err(WireError::BatchTooLong(2_001)));
    assert_eq!(claims(2_000).map(|all| all.len()), Ok(2_000));
    let longer = v1::Columns { rows: 1, errors: vec![0.0; 2], ..v1::Columns::default() };
    assert_eq!(unpack(&longer), Err(WireError::Columns("rates")));
    let mut both = v1::Batch {
        samples: vec![v1::Sample::default()],
        columns: Some(v1::Columns::default()),
        ..v1::Batch::default()
    };
    assert_eq!(samples(&mut both), Err(WireError::Columns("samples")));
}
