//! What stands in a segment file: one header, then records, each with its checksum. Pure.
//!
//!     header   "FSSPOOL1", length u16, CRC-32 of the body u32, body: stream id 16 bytes, boot id (UTF-8)
//!     record   length u16, CRC-32 of the body u32, body: `foreshadow.v1.Sample`
//!
//! Numbers are little-endian. CRC-32 is that of IEEE 802.3. A record whose checksum is wrong is passed over where its length leads to
//! a whole one or to the end of the file; otherwise, and at a record that is cut off, reading ends.

use foreshadow_proto::v1;
use prost::Message as _;

const MAGIC: &[u8; 8] = b"FSSPOOL1";
/// Length and checksum before every body.
const PREFIX: usize = 6;

/// Whose samples a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub stream_id: [u8; 16],
    pub boot_id: String,
}

/// The first bytes of a segment.
pub fn header(origin: &Origin) -> Vec<u8> {
    let mut body = origin.stream_id.to_vec();
    body.extend_from_slice(origin.boot_id.as_bytes());
    let mut bytes = MAGIC.to_vec();
    append(&mut bytes, &body);
    bytes
}

/// Adds one sample.
pub fn record(bytes: &mut Vec<u8>, sample: &v1::Sample) {
    append(bytes, &sample.encode_to_vec());
}

fn append(bytes: &mut Vec<u8>, body: &[u8]) {
    // Samples take some hundred bytes and boot ids are bounded on the wire; anything longer is cut off and fails its
    // checksum rather than being believed.
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    bytes.extend_from_slice(body);
}

/// What a prefix says stands behind it, how long it is with its prefix, and whether the checksum is right.
fn said(bytes: &[u8]) -> Option<(&[u8], usize, bool)> {
    let length = usize::from(u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?));
    let checksum = u32::from_le_bytes(bytes.get(2..PREFIX)?.try_into().ok()?);
    let body = bytes.get(PREFIX..PREFIX + length)?;
    Some((body, PREFIX + length, crc32fast::hash(body) == checksum))
}

/// The body at the front of `bytes`, and how long it is with its prefix.
fn body(bytes: &[u8]) -> Option<(&[u8], usize)> {
    said(bytes).filter(|(_, _, whole)| *whole).map(|(body, length, _)| (body, length))
}

/// Whose segment it is, and where its records begin.
pub fn read_header(bytes: &[u8]) -> Option<(Origin, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (body, length) = body(rest)?;
    let (stream_id, boot_id) = body.split_at_checked(16)?;
    let boot_id = String::from_utf8(boot_id.to_vec()).ok()?;
    Some((Origin { stream_id: stream_id.try_into().ok()?, boot_id }, MAGIC.len() + length))
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq)]
pub enum Found {
    /// A sample, and where the next record begins.
    Sample(Box<v1::Sample>, usize),
    /// A sample that the disk has altered, and where the next record begins.
    Damaged(usize),
    /// Nothing that can be read, here or behind.
    End,
}

/// What stands at `offset`.
pub fn find(bytes: &[u8], offset: usize) -> Found {
    if let Some((sample, next)) = read_record(bytes, offset) {
        return Found::Sample(Box::new(sample), next);
    }
    match bytes.get(offset..).and_then(said) {
        // A length that was altered itself leads to neither, unless it happens to lead to the beginning of a later record.
        Some((_, length, false)) => {
            let next = offset + length;
            if next == bytes.len() || read_record(bytes, next).is_some() { Found::Damaged(next) } else { Found::End }
        }
        _ => Found::End,
    }
}

/// The sample at `offset`, and where the next one begins; `None` where nothing whole stands.
pub fn read_record(bytes: &[u8], offset: usize) -> Option<(v1::Sample, usize)> {
    let (body, length) = body(bytes.get(offset..)?)?;
    let sample = v1::Sample::decode(body).ok().filter(|sample| sample.sequence > 0)?;
    Some((sample, offset + length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin() -> Origin {
        Origin { stream_id: [7; 16], boot_id: "boot".into() }
    }

    fn segment(sequences: impl Iterator<Item = u64>) -> Vec<u8> {
        let mut bytes = header(&origin());
        for sequence in sequences {
            record(&mut bytes, &v1::Sample { sequence, cpu_percent: Some(12.5), ..v1::Sample::default() });
        }
        bytes
    }

    /// Every sequence that is read before the end.
    fn read(bytes: &[u8]) -> Option<Vec<u64>> {
        let (found, mut offset) = read_header(bytes)?;
        assert_eq!(found, origin());
        let mut sequences = Vec::new();
        loop {
            match find(bytes, offset) {
                Found::Sample(sample, next) => {
                    sequences.push(sample.sequence);
                    offset = next;
                }
                Found::Damaged(next) => offset = next,
                Found::End => return Some(sequences),
            }
        }
    }

    #[test]
    fn a_torn_tail_leaves_what_stands_before_it() {
        let whole = segment(1..=20);
        for cut in 0..whole.len() {
            let found = read(&whole[..cut]).unwrap_or_default();
            assert!(found.iter().copied().eq(1..=found.len() as u64), "cut at {cut}: {found:?}");
        }
        assert_eq!(read(&whole).unwrap().len(), 20);
        let mut zeroed = whole;
        zeroed.extend([0; 400]);
        assert_eq!(read(&zeroed).unwrap().len(), 20, "a zero-filled tail is no record");
    }

    #[test]
    fn a_flipped_bit_is_never_read_as_a_sample() {
        let whole = segment(1..=5);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = match read_header(&flipped) {
                Some((found, _)) if found == origin() => read(&flipped).unwrap_or_default(),
                Some(_) => panic!("another origin was believed"),
                None => Vec::new(),
            };
            let rising = found.is_sorted_by(|a, b| a < b) && found.iter().all(|sequence| (1..=5).contains(sequence));
            assert!(rising && found.len() < 5, "bit {bit}: {found:?}");
        }
    }

    #[test]
    fn an_altered_sample_takes_none_of_those_behind_it_along() {
        let (whole, began) = (segment(1..=5), header(&origin()).len());
        let one = (whole.len() - began) / 5;
        // Its checksum, its body; the last one as well.
        for (record, at) in [(1, 3), (1, one - 1), (4, one - 1)] {
            let mut flipped = whole.clone();
            flipped[began + record * one + at] ^= 0x10;
            let left: Vec<u64> = (1..=5).filter(|sequence| *sequence != record as u64 + 1).collect();
            assert_eq!(read(&flipped), Some(left), "{record} {at}");
            assert_eq!(find(&flipped, began + record * one), Found::Damaged(began + (record + 1) * one));
        }
        let mut length = whole;
        length[began + one] ^= 0x10;
        assert_eq!(read(&length), Some(vec![1]), "where the next one begins is not known");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), offset in 0_usize..300) {
            let _read = (read_header(&bytes), read_record(&bytes, offset), find(&bytes, offset));
        }
    }
}
