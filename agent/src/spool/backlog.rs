//! The part of the spool that is on the disk: segments of samples that waited too long in memory.
//!
//! Invariants
//! - A segment holds samples of one stream id and one boot id; a record never spans two segments.
//! - Sequences of a stream rise strictly within a segment. A segment is only ever appended to by the process that made it.
//! - A segment is removed whole, and only when each of its samples is settled (acknowledged as durable, or rejected for
//!   good), or, the oldest first and counted as dropped, when the bound is reached.
//! - All segments together take at most `limit` bytes; the file system keeps at least `reserve` bytes free.
//! - What is read back is whole: each record has its checksum. One that fails is named, counted as dropped and passed over; where nothing
//!   tells how long it is, the segment ends for us.
//! - A disk that fails is left alone for a while; samples then stay in memory and are counted when they must go.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use foreshadow_proto::sequences::Sequences;
use foreshadow_proto::v1;

use super::medium::Medium;
use super::record::{self, Found, Origin};

/// A new segment is begun after this many bytes: 64 in the default bound, so that whole-segment removal frees it finely.
const SEGMENT_BYTES: usize = 256 * 1_024;

/// How much of the disk may be taken.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of all segments together.
    pub limit: u64,
    /// Bytes that stay free on the file system.
    pub reserve: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { limit: 16 * 1_024 * 1_024, reserve: 256 * 1_024 * 1_024 }
    }
}

/// Why samples could not be put on the disk.
#[derive(Debug, thiserror::Error)]
pub enum BacklogError {
    #[error("less than {reserve} bytes would stay free")]
    Reserve { reserve: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Debug)]
struct Segment {
    number: u64,
    origin: Origin,
    bytes: u64,
    /// What it still keeps.
    kept: Sequences,
    /// What of it is on the wire.
    sent: Sequences,
    /// Where the next record to send begins; 0 before the header was read.
    cursor: usize,
}

/// All segments, oldest first.
#[derive(Debug)]
pub struct Backlog {
    medium: Box<dyn Medium>,
    limits: Limits,
    segments: VecDeque<Segment>,
    /// The last segment may be appended to.
    writable: bool,
    next: u64,
    /// Content of the segment that is being sent, so that it is read once.
    reading: Option<(u64, Vec<u8>)>,
    /// Samples that had to go unacknowledged, by stream id.
    dropped: BTreeMap<[u8; 16], u64>,
}

impl Backlog {
    /// Finds what an earlier process left. What cannot be read is removed and reported, never believed.
    ///
    /// # Errors
    /// When the medium cannot be listed.
    pub fn open(mut medium: Box<dyn Medium>, limits: Limits) -> io::Result<Self> {
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let mut dropped = BTreeMap::new();
        let numbers = medium.list()?;
        let next = numbers.last().map_or(0, |last| last + 1);
        for number in numbers {
            let mut found = medium.read(number).ok().and_then(|bytes| scan(number, &bytes));
            if let Some((segment, damage)) = &mut found {
                if *damage != Damage::default() {
                    tracing::error!(
                        segment = number,
                        samples = damage.samples,
                        bytes = damage.bytes,
                        "a segment of the spool is damaged: these samples, and what these bytes held, are lost"
                    );
                    *dropped.entry(segment.origin.stream_id).or_default() += damage.samples;
                }
                // Part of an append that failed may stand here and, written once more, in the next segment.
                for earlier in segments.iter().filter(|it| it.origin.stream_id == segment.origin.stream_id) {
                    for range in earlier.kept.ranges() {
                        segment.kept.remove(*range.start(), *range.end());
                    }
                }
            }
            match found.filter(|(segment, _)| !segment.kept.is_empty()) {
                Some((segment, _)) => segments.push_back(segment),
                None => {
                    tracing::warn!(segment = number, "a segment of the spool holds nothing whole: removed");
                    medium.remove(number)?;
                }
            }
        }
        Ok(Self { medium, limits, segments, writable: false, next, reading: None, dropped })
    }

    /// Samples that are neither settled nor dropped.
    pub fn kept(&self) -> usize {
        self.segments.iter().map(|segment| usize::try_from(segment.kept.count()).unwrap_or(usize::MAX)).sum()
    }

    /// Samples of a stream that had to go unacknowledged, since this process began.
    pub fn dropped(&self, stream_id: &[u8; 16]) -> u64 {
        self.dropped.get(stream_id).copied().unwrap_or(0)
    }

    /// Writes samples, in sequence order, to the end; older ones go where there is no room. `sent` says which of them are
    /// on the wire already.
    ///
    /// # Errors
    /// When the disk is full, reserved or fails; then none of `samples` is kept here.
    pub fn append(
        &mut self,
        origin: &Origin,
        samples: &[v1::Sample],
        sent: impl Fn(u64) -> bool,
    ) -> Result<(), BacklogError> {
        self.make_room()?;
        let fits = |segment: &Segment| segment.origin == *origin && segment.bytes < SEGMENT_BYTES as u64;
        let fresh = !(self.writable && self.segments.back().is_some_and(fits));
        let mut bytes = if fresh { record::header(origin) } else { Vec::new() };
        let began = bytes.len();
        for sample in samples {
            record::record(&mut bytes, sample);
        }
        if fresh {
            // What is behind us is complete: let the disk have it.
            self.sync();
        }
        let number = if fresh { self.next } else { self.segments.back().map_or(self.next, |last| last.number) };
        self.next = self.next.max(number + 1);
        if let Err(error) = self.medium.append(number, &bytes) {
            // The tail may be torn: nothing may stand behind it.
            self.writable = false;
            if fresh {
                drop(self.medium.remove(number));
            }
            return Err(error.into());
        }
        if fresh {
            self.segments.push_back(Segment {
                number,
                origin: origin.clone(),
                bytes: 0,
                kept: Sequences::default(),
                sent: Sequences::default(),
                cursor: began,
            });
        }
        self.writable = true;
        if let Some(segment) = self.segments.back_mut() {
            segment.bytes += bytes.len() as u64;
            for sample in samples {
                segment.kept.insert(sample.sequence);
                if sent(sample.sequence) {
                    segment.sent.insert(sample.sequence);
                }
            }
            if self.reading.as_ref().is_some_and(|(number, _)| *number == segment.number) {
                self.reading = None;
            }
        }
        Ok(())
    }

    /// Removes the oldest until one more segment has room, and refuses to eat into the reserve.
    fn make_room(&mut self) -> Result<(), BacklogError> {
        loop {
            let taken: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
            if taken + SEGMENT_BYTES as u64 <= self.limits.limit {
                break;
            }
            let Some(oldest) = self.segments.pop_front() else { break };
            self.medium.remove(oldest.number)?;
            *self.dropped.entry(oldest.origin.stream_id).or_default() += oldest.kept.count();
        }
        if self.medium.free()? < self.limits.reserve.saturating_add(SEGMENT_BYTES as u64) {
            return Err(BacklogError::Reserve { reserve: self.limits.reserve });
        }
        Ok(())
    }

    /// The oldest samples that are not on the wire, of one origin, at most `most`.
    pub fn next_batch(&mut self, most: usize) -> Option<(Origin, Vec<v1::Sample>)> {
        let mut chosen: Option<(Origin, Vec<v1::Sample>)> = None;
        for index in 0..self.segments.len() {
            let segment = &self.segments[index];
            let left = most - chosen.as_ref().map_or(0, |(_, samples)| samples.len());
            if left == 0 || chosen.as_ref().is_some_and(|(origin, _)| *origin != segment.origin) {
                break;
            }
            if segment.sent.count() >= segment.kept.count() {
                continue;
            }
            let read = self.read_on(index, left);
            if !read.is_empty() {
                let origin = self.segments[index].origin.clone();
                chosen.get_or_insert_with(|| (origin, Vec::new())).1.extend(read);
            }
        }
        chosen
    }

    /// The next unsent samples of one segment.
    fn read_on(&mut self, index: usize, most: usize) -> Vec<v1::Sample> {
        let segment = &mut self.segments[index];
        if self.reading.as_ref().is_none_or(|(number, _)| *number != segment.number) {
            match self.medium.read(segment.number) {
                Ok(bytes) => self.reading = Some((segment.number, bytes)),
                Err(error) => {
                    // Tried again at the next flush; nothing is given up for one failed reading.
                    tracing::warn!(segment = segment.number, %error, "the spool cannot be read");
                    return Vec::new();
                }
            }
        }
        let Some((_, bytes)) = &self.reading else { return Vec::new() };
        let mut read = Vec::new();
        while read.len() < most {
            match record::find(bytes, segment.cursor) {
                Found::Sample(sample, next) => {
                    segment.cursor = next;
                    if segment.kept.contains(sample.sequence) && segment.sent.insert(sample.sequence) {
                        read.push(*sample);
                    }
                }
                Found::Damaged(next) => segment.cursor = next,
                Found::End => break,
            }
        }
        if read.is_empty() && segment.sent.count() < segment.kept.count() {
            // It was whole when it was written or found: what is there no more was lost by the disk.
            tracing::error!(segment = segment.number, "the spool lost samples: a part of it cannot be read back");
            *self.dropped.entry(segment.origin.stream_id).or_default() += segment.kept.count() - segment.sent.count();
            segment.kept = segment.sent.clone();
        }
        if segment.sent.count() >= segment.kept.count() {
            self.reading = None;
        }
        read
    }

    /// Nothing is on the wire any more.
    pub fn disconnected(&mut self) {
        for segment in &mut self.segments {
            segment.sent = Sequences::default();
            segment.cursor = header_length(&segment.origin);
        }
        self.reading = None;
    }

    /// Samples on the wire.
    pub fn in_flight(&self) -> usize {
        self.segments.iter().map(|segment| usize::try_from(segment.sent.count()).unwrap_or(usize::MAX)).sum()
    }

    /// Forgets what is settled of a stream, and removes segments that keep nothing more.
    pub fn settle(&mut self, stream_id: &[u8], first: u64, last: u64) {
        let mut emptied = Vec::new();
        for segment in self.segments.iter_mut().filter(|segment| segment.origin.stream_id == stream_id) {
            if segment.kept.remove(first, last) > 0 {
                segment.sent.remove(first, last);
                if segment.kept.is_empty() {
                    emptied.push(segment.number);
                }
            }
        }
        for number in emptied {
            if self.segments.back().is_some_and(|last| last.number == number) {
                self.writable = false;
            }
            if let Err(error) = self.medium.remove(number) {
                // It is found and sent once more after a restart; the store drops what it has.
                tracing::warn!(segment = number, %error, "a settled segment cannot be removed");
            }
            self.segments.retain(|segment| segment.number != number);
        }
    }

    /// Puts what was written onto the disk itself.
    pub fn sync(&mut self) {
        if self.writable
            && let Some(last) = self.segments.back()
            && let Err(error) = self.medium.sync(last.number)
        {
            tracing::warn!(%error, "the spool cannot be synced");
            // After a failed fsync the file's pages may be gone while they look written: nothing more goes there.
            self.writable = false;
        }
    }
}

fn header_length(origin: &Origin) -> usize {
    record::header(origin).len()
}

/// What of a segment cannot be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Damage {
    /// Samples that were altered.
    samples: u64,
    /// Bytes at the end in which nothing can be told apart: a torn append, or a length that was altered.
    bytes: usize,
}

/// What of a segment is whole, and what is not.
fn scan(number: u64, bytes: &[u8]) -> Option<(Segment, Damage)> {
    let (origin, began) = record::read_header(bytes)?;
    let (mut kept, mut damage) = (Sequences::default(), Damage::default());
    let mut offset = began;
    loop {
        match record::find(bytes, offset) {
            Found::Sample(sample, next) => {
                kept.insert(sample.sequence);
                offset = next;
            }
            Found::Damaged(next) => {
                damage.samples += 1;
                offset = next;
            }
            Found::End => break,
        }
    }
    damage.bytes = bytes.len() - offset;
    let segment =
        Segment { number, origin, bytes: bytes.len() as u64, kept, sent: Sequences::default(), cursor: began };
    Some((segment, damage))
}
