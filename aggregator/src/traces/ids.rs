//! Ids that follow from what they are of: after a restart, and in the record of a decision, a decision has the trace it had.

use std::fmt;

use foreshadow_proto::convert::Id;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::fleet::Token;
use crate::store::StoreId;

/// Of one decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

/// Of one part of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The same three always give the same id.
    pub fn of(installation: StoreId, group: &Id, generation: u64) -> Self {
        let mut hash = Sha256::new();
        // Tokens are made of the same.
        hash.update(b"trace");
        hash.update(installation.0);
        hash.update(group.as_str().as_bytes());
        // A separator that no group's name can hold.
        hash.update([0]);
        hash.update(generation.to_be_bytes());
        Self(first(&hash.finalize()))
    }

    /// Whether it is of the share (0 to 1) that is told anyhow: by its last seven bytes, as W3C has samplers decide.
    pub fn is_within(&self, share: f64) -> bool {
        const ALL: f64 = (1_u64 << 56) as f64;
        let [_, _, _, _, _, _, _, _, _, last @ ..] = self.0;
        let number = last.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        #[allow(clippy::cast_precision_loss, reason = "a share of one in 2^53 is exact enough")]
        let number = number as f64;
        number < share * ALL
    }

    /// A part of the decision itself; `of` tells apart parts of one name.
    pub fn part(&self, name: &str, of: &str) -> SpanId {
        self.span(&[name, of], 0)
    }

    /// What was done for one of its steps.
    pub fn intent(&self, token: &Token) -> SpanId {
        self.span(&["intent", token.as_str()], 0)
    }

    /// One of the stages of that; `number` tells apart those that came again.
    pub fn stage(&self, token: &Token, stage: &str, number: u32) -> SpanId {
        self.span(&[stage, token.as_str()], number)
    }

    fn span(&self, names: &[&str], number: u32) -> SpanId {
        let mut hash = Sha256::new();
        hash.update(self.0);
        for name in names {
            hash.update(name.as_bytes());
            hash.update([0]);
        }
        hash.update(number.to_be_bytes());
        SpanId(first(&hash.finalize()))
    }
}

/// The first bytes; never zeros alone, which are no id.
fn first<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, found) in bytes.iter_mut().zip(digest) {
        *byte = *found;
    }
    if bytes == [0; N]
        && let Some(last) = bytes.last_mut()
    {
        *last = 1;
    }
    bytes
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn id(name: &str) -> Id {
        Id::new("group", name).expect("an id")
    }

    #[test]
    fn the_same_decision_has_the_same_ids_and_no_other_has() {
        let one = TraceId::of(StoreId([7; 16]), &id("web"), 12);
        assert_eq!(one, TraceId::of(StoreId([7; 16]), &id("web"), 12));
        // Another build must give the same.
        assert_eq!(one.to_string(), "cf4b876102fc1d4c8c970d3fd8091911");
        let others = [
            TraceId::of(StoreId([8; 16]), &id("web"), 12),
            TraceId::of(StoreId([7; 16]), &id("api"), 12),
            TraceId::of(StoreId([7; 16]), &id("web"), 13),
        ];
        assert!(!others.contains(&one));
        let token = |step| Token::new(StoreId([7; 16]), &id("web"), 12, step);
        assert_ne!(one.to_string(), token(0).as_str());
        let spans = [
            one.part("decision", ""),
            one.part("samples", "cpu"),
            one.part("samples", "memory"),
            one.intent(&token(0)),
            one.intent(&token(1)),
            one.stage(&token(0), "call", 0),
            one.stage(&token(0), "call", 1),
            one.stage(&token(1), "call", 0),
            others[0].part("decision", ""),
        ];
        assert_eq!(spans.iter().collect::<BTreeSet<_>>().len(), spans.len());
        assert_eq!(one.stage(&token(1), "call", 0), one.stage(&token(1), "call", 0));
    }

    #[test]
    fn a_share_is_that_share() {
        let count = |share: f64| {
            let of = |generation| TraceId::of(StoreId([7; 16]), &id("web"), generation);
            (0..10_000).filter(|generation| of(*generation).is_within(share)).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, 10_000));
        assert!((70..=130).contains(&count(0.01)), "{}", count(0.01));
    }
}
