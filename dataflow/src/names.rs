//! Names of messages that are made of others: the same each time, and evenly spread. Pure.

use edgeless_types::{PhysicalId, message::MessageId};

/// A message at a receiver in 64 bits; that two of those remembered are alike is less likely than one
/// in 2^49.
pub(crate) fn fingerprint(me: PhysicalId, id: MessageId) -> u64 {
    let (high, low) = me.uuid().as_u64_pair();
    // Ids that count up must not meet those of instances whose names count up.
    mix(mix(mix(id.origin ^ high) ^ id.sequence) ^ low)
}

/// The id of the `number`th message that comes of another: the same each time.
pub(crate) fn derived(parent: MessageId, number: u64) -> MessageId {
    let half = |seed: u64| {
        let mut mixed = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for word in [parent.origin, parent.sequence] {
            mixed = mix(mixed ^ word);
        }
        mixed
    };
    MessageId {
        origin: half(0x243f_6a88_85a3_08d3),
        sequence: half(0x1319_8a2e_0370_7344),
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The id of a message that comes of several: the same each time that it comes of the same ones in the
/// same order. `one` and `other` are the ids that it
/// would have if it came of one alone.
pub(crate) fn joined(one: MessageId, other: MessageId) -> MessageId {
    MessageId {
        origin: mix(one.origin).wrapping_add(other.origin),
        sequence: mix(one.sequence).wrapping_add(other.sequence),
    }
}
