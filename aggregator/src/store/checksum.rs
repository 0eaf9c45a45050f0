//! What tells bytes that a disk gave back otherwise from those that were written: CRC-32, in every body and every row of what is held.

use foreshadow_proto::convert::{Id, StreamId};
use foreshadow_proto::sequences::Sequences;

/// Of a checksum, bytes.
pub(super) const LENGTH: usize = 4;
/// Of one range in a row of what is held, bytes.
const RANGE: usize = 16;

/// Of these parts, one after the other.
pub(super) fn of(parts: &[&[u8]]) -> [u8; LENGTH] {
    let mut sum = crc32fast::Hasher::new();
    parts.iter().for_each(|part| sum.update(part));
    sum.finalize().to_le_bytes()
}

/// What is held of a stream as its row has it: ranges, and the checksum of them and of whose they are. A bit that is set there would
/// acknowledge what was never stored.
pub(super) fn held_to_row(instance: &Id, stream: StreamId, held: &Sequences) -> Vec<u8> {
    let mut row = held.to_bytes();
    row.extend(of(&[instance.as_str().as_bytes(), &stream.0, &row]));
    row
}

/// `None` when it is not what [`held_to_row`] made. Rows of older builds are ranges and nothing else.
pub(super) fn held_from_row(instance: &Id, stream: StreamId, row: &[u8]) -> Option<Sequences> {
    if row.len().is_multiple_of(RANGE) {
        return Sequences::from_bytes(row);
    }
    let (ranges, sum) = row.split_last_chunk::<LENGTH>()?;
    let right = of(&[instance.as_str().as_bytes(), &stream.0, ranges]) == *sum;
    right.then(|| Sequences::from_bytes(ranges)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_changes_what_is_held_and_rows_of_older_builds_are_read() {
        let (instance, stream) = (Id::new("instance", "i-1").expect("an id"), StreamId([7; 16]));
        let mut held = Sequences::default();
        for sequence in [1, 2, 3, 9] {
            held.insert(sequence);
        }
        let row = held_to_row(&instance, stream, &held);
        assert_eq!(held_from_row(&instance, stream, &row).as_ref(), Some(&held));
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(held_from_row(&instance, stream, &flipped), None, "bit {bit}");
        }
        let another = Id::new("instance", "i-2").expect("an id");
        assert_eq!(held_from_row(&another, stream, &row), None, "a row of another stream");
        assert_eq!(held_from_row(&instance, stream, &held.to_bytes()), Some(held));
    }
}
