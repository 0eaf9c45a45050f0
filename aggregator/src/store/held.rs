//! The interval set of settled sequence numbers of one stream: what makes a repeat a no-op.

use std::ops::RangeInclusive;

/// Disjoint, ascending, never adjacent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held(Vec<RangeInclusive<u64>>);

impl Held {
    #[cfg(test)]
    fn contains(&self, sequence: u64) -> bool {
        let at = self.0.partition_point(|range| *range.end() < sequence);
        self.0.get(at).is_some_and(|range| range.contains(&sequence))
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

    pub fn ranges(&self) -> &[RangeInclusive<u64>] {
        &self.0
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|range| [range.start().to_le_bytes(), range.end().to_le_bytes()].concat()).collect()
    }

    /// `None` when the bytes are not what [`Held::to_bytes`] made.
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
        fn it_is_a_set(numbers in proptest::collection::vec(0_u64..64, 0..200)) {
            let (mut held, mut model) = (Held::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(held.insert(number), model.insert(number));
                for probe in 0..66 {
                    prop_assert_eq!(held.contains(probe), model.contains(&probe));
                }
            }
            let adjacent = held.ranges().windows(2).any(|pair| *pair[0].end() + 1 >= *pair[1].start());
            prop_assert!(!adjacent);
            prop_assert_eq!(Held::from_bytes(&held.to_bytes()), Some(held));
        }
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        let mut held = Held::default();
        assert!(held.insert(u64::MAX) && held.insert(0) && held.insert(u64::MAX - 1));
        assert_eq!(held.ranges(), [0..=0, u64::MAX - 1..=u64::MAX]);
        assert_eq!(Held::from_bytes(&[1, 2, 3]), None);
    }
}
