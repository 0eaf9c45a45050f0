//! Samples that are not acknowledged yet.
//!
//! The newest are in memory ([`Spool`]); what waits longer than a few seconds goes to the disk ([`backlog`]), where there is
//! one, so that neither an outage of a day nor the end of this process loses it. While acknowledgements come in time the
//! disk is not touched at all.
//!
//! Sequences rise strictly from 1 within one stream id, and every process makes a stream id of its own: a spool that was
//! wiped, restored or cloned can never give a number twice. What an earlier process left keeps its stream id and boot id.
//!
//! A sample leaves when its store acknowledged it, when it was rejected for good, or, the oldest first and counted, when
//! the bound is reached. On the disk whole segments leave: after a restart one that was settled is sent again when it lies
//! beside one that was not, and the store drops it.

mod backlog;
mod medium;
mod record;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use foreshadow_proto::v1;

pub use backlog::{Backlog, Limits};
pub use medium::{Directory, Medium};
pub use record::Origin;

/// Most samples kept in memory without a disk: about 16 MiB at 200 bytes each, 22 hours at one a second.
pub const CAPACITY: usize = 80_000;
/// Most samples kept in memory while there is a disk and it fails: an hour and more at one a second.
const CAPACITY_BESIDE_DISK: usize = 5_000;
/// A sample that is not acknowledged after this many tends (seconds) goes to the disk.
const PATIENCE: usize = 5;
/// A disk that failed is left alone for this many tends (seconds).
const REST: u32 = 60;
/// Written samples are synced this often, in tends (seconds): what a power cut may take.
const SYNC_EVERY: u32 = 30;

/// Samples of one origin, ready for the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    pub origin: Origin,
    pub samples: Vec<v1::Sample>,
    /// Samples of this stream that had to go unacknowledged.
    pub dropped: u64,
}

/// What is not acknowledged.
#[derive(Debug)]
pub struct Spool {
    origin: Origin,
    next: u64,
    capacity: usize,
    samples: BTreeMap<u64, Kept>,
    in_flight: usize,
    dropped: u64,
    disk: Option<Backlog>,
    /// The newest sequence at each of the last tends, oldest first.
    marks: VecDeque<u64>,
    /// A sample that is not acknowledged after this many tends (seconds) goes to the disk.
    patience: usize,
    /// Tends until a disk that failed is tried again.
    rest: u32,
    unsynced: u32,
}

#[derive(Debug)]
struct Kept {
    sample: v1::Sample,
    sent: bool,
}

impl Spool {
    /// A spool without a disk.
    pub const fn in_memory(stream_id: [u8; 16], boot_id: String, capacity: usize) -> Self {
        Self {
            origin: Origin { stream_id, boot_id },
            next: 1,
            capacity,
            samples: BTreeMap::new(),
            in_flight: 0,
            dropped: 0,
            disk: None,
            marks: VecDeque::new(),
            patience: PATIENCE,
            rest: 0,
            unsynced: 0,
        }
    }

    /// A spool that keeps what waits in `directory`, and finds there what an earlier process left. A directory that cannot
    /// be used is reported, and memory must do.
    pub fn open(stream_id: [u8; 16], boot_id: String, directory: &Path, limits: Limits) -> Self {
        let opened = Directory::open(directory).and_then(|found| Backlog::open(Box::new(found), limits));
        match opened {
            Ok(disk) => {
                let found = disk.kept();
                if found > 0 {
                    tracing::info!(samples = found, directory = %directory.display(), "found in the spool: sent again");
                }
                Self::beside(Self::in_memory(stream_id, boot_id, CAPACITY_BESIDE_DISK), disk)
            }
            Err(error) => {
                tracing::warn!(directory = %directory.display(), %error, "no spool on disk: samples wait in memory");
                Self::in_memory(stream_id, boot_id, CAPACITY)
            }
        }
    }

    fn beside(mut self, disk: Backlog) -> Self {
        self.disk = Some(disk);
        self
    }

    /// For samples that wait `tends` for each other before they are sent.
    pub const fn patient_for(&mut self, tends: usize) {
        self.patience = PATIENCE.saturating_add(tends);
    }

    pub const fn stream_id(&self) -> [u8; 16] {
        self.origin.stream_id
    }

    pub fn boot_id(&self) -> &str {
        &self.origin.boot_id
    }

    /// Samples of this stream dropped unacknowledged since it began.
    pub fn dropped(&self) -> u64 {
        self.dropped_of(&self.origin)
    }

    fn dropped_of(&self, origin: &Origin) -> u64 {
        let own = if *origin == self.origin { self.dropped } else { 0 };
        own + self.disk.as_ref().map_or(0, |disk| disk.dropped(&origin.stream_id))
    }

    /// Unacknowledged samples, in memory and on the disk.
    pub fn len(&self) -> usize {
        self.samples.len() + self.disk.as_ref().map_or(0, Backlog::kept)
    }

    /// Samples that are not on the wire.
    pub fn waiting(&self) -> usize {
        let on_disk = self.disk.as_ref().map_or(0, |disk| disk.kept() - disk.in_flight());
        self.samples.len() - self.in_flight + on_disk
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// Call it once a second: what has waited too long goes to the disk.
    pub fn tend(&mut self) {
        self.rest = self.rest.saturating_sub(1);
        self.marks.push_back(self.next - 1);
        // More than one where patience has become shorter.
        let late = self.marks.len().saturating_sub(self.patience);
        let mark = self.marks.drain(..late).next_back();
        if let Some(mark) = mark {
            self.spill(mark);
        }
        if self.unsynced > 0 {
            self.unsynced += 1;
            if self.unsynced > SYNC_EVERY {
                self.sync();
            }
        }
    }

    /// Before the process ends: everything to the disk.
    pub fn close(&mut self) {
        self.rest = 0;
        self.spill(u64::MAX);
        self.sync();
    }

    fn sync(&mut self) {
        self.unsynced = 0;
        if let Some(disk) = &mut self.disk {
            disk.sync();
        }
    }

    /// Moves samples up to `last` from memory to the disk.
    fn spill(&mut self, last: u64) {
        let Some(disk) = self.disk.as_mut().filter(|_| self.rest == 0) else { return };
        let waiting: Vec<v1::Sample> = self.samples.range(..=last).map(|(_, kept)| kept.sample).collect();
        if waiting.is_empty() {
            return;
        }
        let samples = &self.samples;
        let sent = |sequence: u64| samples.get(&sequence).is_some_and(|kept| kept.sent);
        match disk.append(&self.origin, &waiting, sent) {
            Ok(()) => {
                for sample in &waiting {
                    if let Some(kept) = self.samples.remove(&sample.sequence) {
                        self.in_flight -= usize::from(kept.sent);
                    }
                }
                self.unsynced = self.unsynced.max(1);
            }
            Err(error) => {
                tracing::warn!(%error, again_in_seconds = REST, "the spool cannot be written: samples wait in memory");
                self.rest = REST;
            }
        }
    }

    /// What to send next: at most `most` samples, and no more on the wire than `credit`. The newest go first when there is a
    /// backlog, so that live data never waits for old; half of the room is the backlog's, so that it does not starve.
    /// In sequence order within each part.
    pub fn next_batches(&mut self, most: usize, credit: usize) -> Vec<Outgoing> {
        let on_disk = self.disk.as_ref().map_or(0, Backlog::in_flight);
        let room = most.min(credit.saturating_sub(self.in_flight + on_disk));
        let mut outgoing = Vec::new();
        let waiting = self.disk.as_ref().map_or(0, |disk| disk.kept() - on_disk);
        let samples = self.in_memory_batch(room - (room / 2).min(waiting));
        let left = room - samples.len();
        if !samples.is_empty() {
            outgoing.push(Outgoing { origin: self.origin.clone(), samples, dropped: self.dropped() });
        }
        if left > 0
            && waiting > 0
            && let Some((origin, samples)) = self.disk.as_mut().and_then(|disk| disk.next_batch(left))
        {
            let dropped = self.dropped_of(&origin);
            outgoing.push(Outgoing { origin, samples, dropped });
        }
        outgoing
    }

    fn in_memory_batch(&mut self, room: usize) -> Vec<v1::Sample> {
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
        if let Some(disk) = &mut self.disk {
            disk.disconnected();
        }
    }

    /// Forgets what is settled in `first..=last` of a stream. Only what was made is ever forgotten: of the own stream a range
    /// beyond it is another's mistake, and what an earlier process made is on the disk or nowhere.
    pub fn settle(&mut self, stream_id: &[u8], first: u64, last: u64) {
        let own = stream_id == self.origin.stream_id;
        if first > last || (own && last >= self.next) {
            return;
        }
        if own {
            let settled: Vec<u64> = self.samples.range(first..=last).map(|(sequence, _)| *sequence).collect();
            for sequence in settled {
                if let Some(kept) = self.samples.remove(&sequence) {
                    self.in_flight -= usize::from(kept.sent);
                }
            }
        }
        if let Some(disk) = &mut self.disk {
            disk.settle(stream_id, first, last);
        }
    }
}

#[cfg(test)]
mod tests;
