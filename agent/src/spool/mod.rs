//! Samples that are not acknowledged yet, in bounded memory.
//!
//! Sequences rise strictly from 1 within one stream id. A sample leaves when its store acknowledged
//! it, when it was rejected for good, or, the oldest first and counted, when the bound is reached.

use std::collections::BTreeMap;

use foreshadow_proto::v1;

/// Most samples kept: about 16 MiB at 200 bytes each, 22 hours at one a second.
pub const CAPACITY: usize = 80_000;

/// The buffer of one stream id.
#[derive(Debug)]
pub struct Spool {
    stream_id: [u8; 16],
    next: u64,
    capacity: usize,
    samples: BTreeMap<u64, Kept>,
    in_flight: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Kept {
    sample: v1::Sample,
    sent: bool,
}

impl Spool {
    pub const fn new(stream_id: [u8; 16], capacity: usize) -> Self {
        Self { stream_id, next: 1, capacity, samples: BTreeMap::new(), in_flight: 0, dropped: 0 }
    }

    pub const fn stream_id(&self) -> [u8; 16] {
        self.stream_id
    }

    /// Samples dropped unacknowledged since the stream began.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Unacknowledged samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Gives the sample its sequence and keeps it; drops the oldest when full.
    pub fn push(&mut self, mut sample: v1::Sample) -> u64 {
        if self.samples.len() >= self.capacity
            && let Some((_, oldest)) = self.samples.pop_first()
        {
            self.dropped += 1;
            self.in_flight -= usize::from(oldest.sent);
        }
        let sequence = self.next;
        self.next += 1;
        sample.sequence = sequence;
        self.samples.insert(sequence, Kept { sample, sent: false });
        sequence
    }

    /// The next samples to send, at most `most` and within `credit` unacknowledged on the wire: the
    /// newest first when there is a backlog, so that live data never waits for old, then the oldest.
    /// In sequence order within the batch.
    pub fn next_batch(&mut self, most: usize, credit: usize) -> Vec<v1::Sample> {
        let room = most.min(credit.saturating_sub(self.in_flight));
        let live = room.div_ceil(2);
        let mut chosen: Vec<u64> =
            self.samples.iter().rev().take_while(|(_, kept)| !kept.sent).map(|(n, _)| *n).take(live).collect();
        let newest = chosen.last().copied().unwrap_or(u64::MAX);
        let backlog = self.samples.range(..newest).filter(|(_, kept)| !kept.sent).map(|(n, _)| *n);
        chosen.extend(backlog.take(room - chosen.len()));
        chosen.sort_unstable();
        let mut batch = Vec::with_capacity(chosen.len());
        for sequence in chosen {
            if let Some(kept) = self.samples.get_mut(&sequence) {
                kept.sent = true;
                self.in_flight += 1;
                batch.push(kept.sample);
            }
        }
        batch
    }

    /// Nothing is on the wire any more: all of it will be sent again.
    pub fn disconnected(&mut self) {
        self.samples.values_mut().for_each(|kept| kept.sent = false);
        self.in_flight = 0;
    }

    /// Forgets what is settled in `first..=last`. Only what was made is ever forgotten: a range
    /// beyond it is another's mistake.
    pub fn settle(&mut self, first: u64, last: u64) {
        if first > last || last >= self.next {
            return;
        }
        let settled: Vec<u64> = self.samples.range(first..=last).map(|(sequence, _)| *sequence).collect();
        for sequence in settled {
            if let Some(kept) = self.samples.remove(&sequence) {
                self.in_flight -= usize::from(kept.sent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn live_goes_before_backlog_and_neither_starves() {
        let mut spool = Spool::new([1; 16], 100);
        for _ in 0..20 {
            spool.push(v1::Sample::default());
        }
        let sequences = |batch: Vec<v1::Sample>| batch.iter().map(|sample| sample.sequence).collect::<Vec<_>>();
        assert_eq!(sequences(spool.next_batch(6, 100)), [1, 2, 3, 18, 19, 20]);
        spool.push(v1::Sample::default());
        assert_eq!(sequences(spool.next_batch(4, 100)), [4, 5, 6, 21]);
        assert_eq!(spool.next_batch(100, 12).len(), 2, "within the credit");
    }

    #[test]
    fn an_acknowledgement_beyond_what_was_made_is_ignored() {
        let mut spool = Spool::new([1; 16], 100);
        spool.push(v1::Sample::default());
        spool.settle(1, u64::MAX);
        spool.settle(1, 2);
        assert_eq!(spool.len(), 1);
        spool.settle(1, 1);
        assert!(spool.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Act {
        Push,
        Batch(usize),
        Settle(u64, u64),
        Disconnect,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => Just(Act::Push),
            2 => (0_usize..8).prop_map(Act::Batch),
            2 => (0_u64..40, 0_u64..40).prop_map(|(a, b)| Act::Settle(a, b)),
            1 => Just(Act::Disconnect),
        ]
    }

    proptest! {
        #[test]
        fn it_keeps_exactly_what_is_neither_settled_nor_dropped(acts in proptest::collection::vec(act(), 0..120)) {
            let mut spool = Spool::new([1; 16], 10);
            let (mut model, mut made, mut dropped) = (BTreeSet::new(), 0, 0);
            let mut on_wire = BTreeSet::new();
            for act in acts {
                match act {
                    Act::Push => {
                        if model.len() == 10 {
                            let oldest = model.pop_first().expect("ten");
                            on_wire.remove(&oldest);
                            dropped += 1;
                        }
                        made += 1;
                        prop_assert_eq!(spool.push(v1::Sample::default()), made);
                        model.insert(made);
                    }
                    Act::Batch(most) => {
                        let batch = spool.next_batch(most, 6);
                        prop_assert!(batch.len() <= most);
                        for sample in batch {
                            prop_assert!(model.contains(&sample.sequence));
                            prop_assert!(on_wire.insert(sample.sequence), "sent twice without a disconnect");
                        }
                        prop_assert!(on_wire.len() <= 6);
                    }
                    Act::Settle(first, last) => {
                        spool.settle(first, last);
                        if first <= last && last <= made {
                            model.retain(|n| !(first..=last).contains(n));
                            on_wire.retain(|n| !(first..=last).contains(n));
                        }
                    }
                    Act::Disconnect => {
                        spool.disconnected();
                        on_wire.clear();
                    }
                }
                prop_assert_eq!(spool.len(), model.len());
                prop_assert_eq!(spool.dropped(), dropped);
            }
        }
    }
}
