//! A set of sequence numbers as ranges: what a store holds of a stream, what an agent still keeps.

use std::ops::RangeInclusive;

/// Disjoint, ascending, never adjacent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences(Vec<RangeInclusive<u64>>);

impl Sequences {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, sequence: u64) -> bool {
        let at = self.0.partition_point(|range| *range.end() < sequence);
        self.0.get(at).is_some_and(|range| range.contains(&sequence))
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|range| (range.end() - range.start()).saturating_add(1)).sum()
    }

    /// Adds one number; false when it was there.
    pub fn insert(&mut self, sequence: u64) -> bool {
        let at = self.0.partition_point(|range| *range.end() < sequence);
        if self.0.get(at).is_some_and(|range| range.contains(&sequence)) {
            return false;
        }
        let joins_next = self.0.get(at).is_some_and(|next| sequence.checked_add(1) == Some(*next.start()));
        let joins_previous = at
            .checked_sub(1)
            .and_then(|before| self.0.get(before))
            .is_some_and(|previous| previous.end().checked_add(1) == Some(sequence));
        let first = match at.checked_sub(1).and_then(|before| self.0.get(before)) {
            Some(previous) if joins_previous => *previous.start(),
            _ => sequence,
        };
        let last = match self.0.get(at) {
            Some(next) if joins_next => *next.end(),
            _ => sequence,
        };
        let from = at - usize::from(joins_previous);
        let to = at + usize::from(joins_next);
        self.0.splice(from..to, [first..=last]);
        true
    }

    /// Takes out every number of `first..=last`; says how many were there.
    pub fn remove(&mut self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let before = self.count();
        let mut left = Vec::with_capacity(self.0.len() + 1);
        for range in self.0.drain(..) {
            let (start, end) = range.into_inner();
            if end < first || start > last {
                left.push(start..=end);
                continue;
            }
            if start < first {
                left.push(start..=first - 1);
            }
            if end > last {
                left.push(last + 1..=end);
            }
        }
        self.0 = left;
        before - self.count()
    }

    pub fn ranges(&self) -> &[RangeInclusive<u64>] {
        &self.0
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|range| [range.start().to_le_bytes(), range.end().to_le_bytes()].concat()).collect()
    }

    /// `None` when the bytes are not what [`Sequences::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut ranges: Vec<RangeInclusive<u64>> = Vec::with_capacity(bytes.len() / 16);
        for pair in bytes.chunks(16) {
            let first = u64::from_le_bytes(pair.get(..8)?.try_into().ok()?);
            let last = u64::from_le_bytes(pair.get(8..)?.try_into().ok()?);
            let ascends = ranges.last().is_none_or(|previous| *previous.end() < first);
            if first > last || !ascends {
                return None;
            }
            ranges.push(first..=last);
        }
        Some(Self(ranges))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(acts in proptest::collection::vec((0_u64..64, 0_u64..8, any::<bool>()), 0..200)) {
            let (mut sequences, mut model) = (Sequences::default(), BTreeSet::new());
            for (number, length, insert) in acts {
                if insert {
                    prop_assert_eq!(sequences.insert(number), model.insert(number));
                } else {
                    let gone = (number..=number + length).filter(|it| model.remove(it)).count();
                    prop_assert_eq!(sequences.remove(number, number + length), gone as u64);
                }
                for probe in 0..74 {
                    prop_assert_eq!(sequences.contains(probe), model.contains(&probe));
                }
                prop_assert_eq!(sequences.count(), model.len() as u64);
            }
            let adjacent = sequences.ranges().windows(2).any(|pair| *pair[0].end() + 1 >= *pair[1].start());
            prop_assert!(!adjacent);
            prop_assert_eq!(Sequences::from_bytes(&sequences.to_bytes()), Some(sequences));
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        let mut sequences = Sequences::default();
        assert!(sequences.insert(u64::MAX) && sequences.insert(0) && sequences.insert(u64::MAX - 1));
        assert_eq!(sequences.ranges(), [0..=0, u64::MAX - 1..=u64::MAX]);
        assert_eq!(sequences.remove(0, u64::MAX), 3);
        assert!(sequences.is_empty());
        assert_eq!(Sequences::from_bytes(&[1, 2, 3]), None);
    }
}
