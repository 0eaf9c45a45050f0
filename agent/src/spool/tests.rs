use std::collections::BTreeSet;

use proptest::prelude::*;

use super::medium::faulty::Shared;
use super::*;

const STREAM: [u8; 16] = [1; 16];

fn memory(capacity: usize) -> Spool {
    Spool::in_memory(STREAM, "boot".into(), capacity)
}

fn on(disk: &Shared, stream: u8, limits: Limits) -> Spool {
    let backlog = Backlog::open(Box::new(disk.clone()), limits).expect("a disk");
    Spool::in_memory([stream; 16], format!("boot-{stream}"), 50).beside(backlog)
}

fn wide() -> Limits {
    Limits { limit: 16 << 20, reserve: 0 }
}

fn pushed(spool: &mut Spool, count: usize) {
    for _ in 0..count {
        spool.push(v1::Sample::default());
    }
}

/// Everything a spool would send, by stream.
fn all(spool: &mut Spool) -> BTreeSet<(u8, u64)> {
    let mut found = BTreeSet::new();
    loop {
        let batches = spool.next_batches(7, usize::MAX);
        if batches.is_empty() {
            return found;
        }
        for batch in batches {
            for sample in batch.samples {
                assert!(found.insert((batch.origin.stream_id[0], sample.sequence)), "sent twice without a disconnect");
            }
        }
    }
}

fn sequences(outgoing: &[Outgoing]) -> Vec<u64> {
    outgoing.iter().flat_map(|batch| batch.samples.iter().map(|sample| sample.sequence)).collect()
}

#[test]
fn live_goes_before_backlog_and_neither_starves() {
    let mut spool = memory(100);
    pushed(&mut spool, 20);
    assert_eq!(sequences(&spool.next_batches(6, 100)), [1, 2, 3, 18, 19, 20]);
    pushed(&mut spool, 1);
    assert_eq!(sequences(&spool.next_batches(4, 100)), [4, 5, 6, 21]);
    assert_eq!(sequences(&spool.next_batches(100, 12)).len(), 2, "within the credit");
}

#[test]
fn an_acknowledgement_beyond_what_was_made_is_ignored() {
    let mut spool = memory(100);
    pushed(&mut spool, 1);
    spool.settle(&STREAM, 1, u64::MAX);
    spool.settle(&STREAM, 1, 2);
    spool.settle(&[9; 16], 1, 1);
    assert_eq!(spool.len(), 1);
    spool.settle(&STREAM, 1, 1);
    assert!(spool.is_empty());
}

#[test]
fn while_acknowledgements_come_in_time_the_disk_is_not_touched() {
    let disk = Shared::new();
    let mut spool = on(&disk, 1, wide());
    for second in 1..=60_u64 {
        pushed(&mut spool, 1);
        spool.tend();
        assert_eq!(sequences(&spool.next_batches(10, 100)), [second]);
        spool.settle(&STREAM, second, second);
    }
    assert!(disk.disk().files.is_empty());
}

#[test]
fn what_waits_outlives_the_process_under_its_own_stream_and_boot() {
    let disk = Shared::new();
    let mut spool = on(&disk, 1, wide());
    for _ in 0..40 {
        pushed(&mut spool, 1);
        spool.tend();
    }
    // Killed: what had waited for less than its patience is gone, the rest is not.
    drop(spool);
    let mut second = on(&disk, 2, wide());
    assert_eq!(second.len(), 40 - PATIENCE);
    pushed(&mut second, 3);
    second.close();
    let mut third = on(&disk, 3, wide());
    let found = all(&mut third);
    assert!(found.iter().copied().eq((1..=35).map(|n| (1, n)).chain((1..=3).map(|n| (2, n)))), "{found:?}");
    third.disconnected();
    let batches = third.next_batches(100, 100);
    assert_eq!((batches[0].origin.boot_id.as_str(), batches[0].samples.len()), ("boot-1", 35), "one origin a batch");
    third.settle(&[1; 16], 1, 35);
    third.settle(&[2; 16], 1, 3);
    assert!(third.is_empty() && disk.disk().files.is_empty(), "settled segments are removed");
}

#[test]
fn the_bound_holds_and_what_goes_is_counted() {
    let disk = Shared::new();
    let limits = Limits { limit: 600_000, reserve: 0 };
    let mut spool = on(&disk, 1, limits);
    let sample = v1::Sample {
        wall_micros: i64::MAX,
        monotonic_micros: u64::MAX,
        network: Some(v1::Network { in_bytes: 0.1, out_bytes: 0.1, in_packets: 0.1, out_packets: 0.1, errors: 0.1 }),
        ..v1::Sample::default()
    };
    let made = 12_000_u64;
    for _ in 0..made / 20 {
        (0..20).for_each(|_| _ = spool.push(sample));
        spool.tend();
        let bytes: usize = disk.disk().files.values().map(Vec::len).sum();
        assert!(bytes as u64 <= limits.limit, "{bytes}");
    }
    assert!(spool.dropped() > 1_000, "{}", spool.dropped());
    assert_eq!(spool.len() as u64 + spool.dropped(), made);
    let newest = all(&mut spool).last().copied();
    assert_eq!(newest, Some((1, made)));
}

#[test]
fn a_full_or_broken_disk_falls_back_to_memory_and_is_tried_again() {
    let disk = Shared::new();
    let mut spool = on(&disk, 1, Limits { limit: 16 << 20, reserve: 1 << 20 });
    disk.disk().free = 1_000;
    for _ in 0..100 {
        pushed(&mut spool, 1);
        spool.tend();
    }
    assert!(disk.disk().files.is_empty(), "the reserve is not touched");
    assert_eq!((spool.len(), spool.dropped()), (50, 50), "memory is bounded, and what goes is counted");
    disk.disk().free = u64::MAX;
    for _ in 0..REST {
        spool.tend();
    }
    assert_eq!(disk.disk().files.len(), 1);
    // It fails in the middle of a record: nothing is lost, and nothing is written behind the torn tail.
    disk.disk().tear = Some(20);
    pushed(&mut spool, 10);
    for _ in 0..3 * REST {
        spool.tend();
    }
    disk.disk().broken = true;
    pushed(&mut spool, 10);
    spool.close();
    disk.disk().broken = false;
    assert_eq!(all(&mut spool).len(), 70);
    spool.close();
    drop(spool);
    let mut after = on(&disk, 2, wide());
    assert_eq!(all(&mut after).len(), 70);
}

#[test]
fn who_becomes_less_patient_is_so_at_once() {
    let disk = Shared::new();
    let mut spool = on(&disk, 1, wide());
    spool.patient_for(60);
    for _ in 0..40 {
        pushed(&mut spool, 1);
        spool.tend();
    }
    assert!(disk.disk().files.is_empty());
    spool.patient_for(1);
    spool.tend();
    assert_eq!(spool.disk.as_ref().map(Backlog::kept), Some(35), "all but what the last tends have seen");
    assert_eq!(all(&mut spool).len(), 40);
}

#[test]
fn damaged_segments_are_never_believed_and_never_fatal() {
    let disk = Shared::new();
    let mut spool = on(&disk, 1, wide());
    pushed(&mut spool, 30);
    spool.close();
    drop(spool);
    let whole = disk.disk().files[&0].clone();
    let mut counted = 0;
    for cut in (0..whole.len()).step_by(3) {
        for flip in [false, true] {
            let mut bytes = whole.clone();
            if flip {
                bytes[cut] ^= 0x10;
            } else {
                bytes.truncate(cut);
            }
            disk.disk().files = [(0, bytes)].into();
            let mut spool = on(&disk, 2, wide());
            let found = all(&mut spool);
            assert!(found.iter().all(|(stream, n)| *stream == 1 && (1..=30).contains(n)) && found.len() < 30);
            let dropped = spool.dropped_of(&Origin { stream_id: STREAM, boot_id: "boot-1".into() });
            if !flip {
                // A torn end takes nothing that stands before it.
                assert!(found.iter().copied().eq((1..=found.len() as u64).map(|n| (1, n))), "{cut}");
            } else if dropped > 0 {
                assert!(dropped == 1 && found.len() >= 27, "{cut}: {found:?}");
                // Counted, and alone; where the length itself was altered it may lead over the next ones to a later one.
                counted += usize::from(found.len() == 29);
            }
        }
    }
    assert!(counted > 20, "{counted}: most of a segment is samples");
}

#[test]
fn two_agents_never_share_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut first = Spool::open(STREAM, "boot".into(), directory.path(), wide());
    assert!(Directory::open(directory.path()).is_err());
    pushed(&mut first, 5);
    first.close();
    drop(first);
    let mut next = Spool::open([2; 16], "boot".into(), directory.path(), wide());
    assert_eq!(all(&mut next).len(), 5);
    next.settle(&STREAM, 1, 5);
    let files = std::fs::read_dir(directory.path()).expect("listed").count();
    assert_eq!(files, 1, "only the lock is left");
}

#[derive(Debug, Clone)]
enum Act {
    Push,
    Tend,
    Batch(usize),
    Settle(u64, u64),
    Disconnect,
    Tear(usize),
    Break(bool),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Push),
        4 => Just(Act::Tend),
        3 => (0_usize..8).prop_map(Act::Batch),
        3 => (0_u64..40, 0_u64..40).prop_map(|(a, b)| Act::Settle(a, b)),
        1 => Just(Act::Disconnect),
        1 => (0_usize..60).prop_map(Act::Tear),
        1 => any::<bool>().prop_map(Act::Break),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #[test]
    fn it_keeps_exactly_what_is_neither_settled_nor_dropped(
        acts in proptest::collection::vec(act(), 0..150), with_disk: bool,
    ) {
        let disk = Shared::new();
        let mut stream = 1_u8;
        let mut spool = if with_disk { on(&disk, stream, wide()) } else { memory(50) };
        // All of it of the present process; what it left behind when it ended in peace.
        let (mut model, mut left, mut on_wire) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        // Settled, and on the disk beside what is not: after a restart it may be sent again, and the store drops it.
        let mut settled_before = BTreeSet::new();
        let mut made = 0;
        for act in acts {
            match act {
                Act::Push => {
                    made += 1;
                    prop_assert_eq!(spool.push(v1::Sample::default()), made);
                    model.insert((stream, made));
                }
                Act::Tend => spool.tend(),
                Act::Batch(most) => {
                    let batches = spool.next_batches(most, 6);
                    prop_assert!(sequences(&batches).len() <= most);
                    for batch in batches {
                        prop_assert_eq!(&batch.origin.boot_id, &if with_disk { format!("boot-{}", batch.origin.stream_id[0]) } else { "boot".into() });
                        for sample in batch.samples {
                            let key = (batch.origin.stream_id[0], sample.sequence);
                            let again = key.0 != stream && settled_before.contains(&key);
                            prop_assert!(model.contains(&key) || left.contains(&key) || again, "{key:?} was not kept");
                            prop_assert!(on_wire.insert(key), "sent twice without a disconnect");
                        }
                    }
                }
                Act::Settle(first, last) => {
                    spool.settle(&[stream; 16], first, last);
                    if first <= last && last <= made {
                        let settled = |key: &(u8, u64)| key.0 == stream && (first..=last).contains(&key.1);
                        settled_before.extend(model.iter().copied().filter(settled));
                        model.retain(|key| !settled(key));
                        on_wire.retain(|key| !settled(key));
                    }
                }
                Act::Disconnect => {
                    spool.disconnected();
                    on_wire.clear();
                }
                Act::Tear(bytes) => disk.disk().tear = Some(bytes),
                Act::Break(broken) => disk.disk().broken = broken,
                Act::Restart if with_disk => {
                    disk.disk().broken = false;
                    disk.disk().tear = None;
                    spool.close();
                    drop(spool);
                    left.append(&mut model);
                    on_wire.clear();
                    (stream, made) = (stream + 1, 0);
                    spool = on(&disk, stream, wide());
                }
                Act::Restart => {}
            }
            if spool.dropped() > 0 {
                // Only with more than fifty in memory, which a disk that fails can bring.
                return Ok(());
            }
        }
        spool.disconnected();
        disk.disk().broken = false;
        let found = all(&mut spool);
        let missing: Vec<_> = model.union(&left).filter(|key| !found.contains(key)).collect();
        prop_assert!(missing.is_empty(), "{missing:?}");
        // After a torn write a restart may send again what was settled: the store drops it.
        let invented: Vec<_> = found.iter().filter(|key| key.0 == stream && !model.contains(key)).collect();
        prop_assert!(invented.is_empty(), "{invented:?}");
    }
}
