//! What stands in a segment file: one header, then records, each with its checksum. Pure.
//!
//!     header   "FSSPOOL1", length u16, CRC-32 of the body u32, body: stream id 16 bytes, boot id (UTF-8)
//!     record   length u16, CRC-32 of the body u32, body: `foreshadow.v1.Sample`
//!
//! Numbers are little-endian. CRC-32 is that of IEEE 802.3. Reading ends at the first record that is cut off or whose
//! checksum is wrong: what stands before it is whole, what stands behind it was never acknowledged by this file.

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

/// The body at the front of `bytes`, and how long it is with its prefix.
fn body(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let length = usize::from(u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?));
    let checksum = u32::from_le_bytes(bytes.get(2..PREFIX)?.try_into().ok()?);
    let body = bytes.get(PREFIX..PREFIX + length)?;
    (crc32fast::hash(body) == checksum).then_some((body, PREFIX + length))
}

/// Whose segment it is, and where its records begin.
pub fn read_header(bytes: &[u8]) -> Option<(Origin, usize)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (body, length) = body(rest)?;
    let (stream_id, boot_id) = body.split_at_checked(16)?;
    let boot_id = String::from_utf8(boot_id.to_vec()).ok()?;
    Some((Origin { stream_id: stream_id.try_into().ok()?, boot_id }, MAGIC.len() + length))
}

/// The sample at `offset`, and where the next one begins; `None` at the end of what is whole.
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
        while let Some((sample, next)) = read_record(bytes, offset) {
            sequences.push(sample.sequence);
            offset = next;
        }
        Some(sequences)
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
            assert!(found.iter().copied().eq(1..=found.len() as u64) && found.len() < 5, "bit {bit}: {found:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), offset in 0_usize..300) {
            let _read = (read_header(&bytes), read_record(&bytes, offset));
        }
    }
}
