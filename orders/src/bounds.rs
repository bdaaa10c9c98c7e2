//! How long what is kept may be. Everything that comes from outside is bounded where it is taken, so that no record is
//! longer than the log takes.

use crate::{submission::METADATA_BYTES, tasks::MAX_TASKS};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// The longest input that a client sends, in bytes of JSON.
pub const INPUT_BYTES: usize = MIB;
/// The longest result of a task, in bytes of JSON; that of a group, or of a task with the orders it gave rise to, is
/// one result.
pub const RESULT_BYTES: usize = MIB + 64 * KIB;
/// The longest list of tasks, in bytes of JSON.
pub const LIST_BYTES: usize = MIB;
/// The longest output, in bytes of JSON.
pub const OUTPUT_BYTES: usize = 4 * KIB;
/// How many outputs a contract may have.
pub const OUTPUTS: usize = 16;
/// The most that an order can take over from the failed one it takes up again, in bytes of results.
pub const CARRIED_BYTES: usize = 4 * MIB;
/// How many orders one task may give rise to.
pub const SPAWN_ORDERS: usize = 1_000;
/// All orders that one task gives rise to, in bytes of what is kept of them.
pub const SPAWN_BYTES: usize = 4 * MIB;
/// With more than this in a record, what follows from it for the order above is a record of its own.
pub const TOGETHER_BYTES: usize = 4 * MIB;
/// The longest record.
pub const RECORD_BYTES: usize = 7 * MIB;

/// Characters of a reason, and of one that a client gives.
const REASON: usize = 200;
const CLIENT_REASON: usize = 500;
/// The longest name of whoever did a task, in bytes.
const INSTANCE: usize = 256;
/// Names, ids, times, keys and reasons of one change; at most.
const SMALL: usize = 16 * KIB;

/// An order as it is accepted, without what it takes over.
const ACCEPTED: usize =
    RESULT_BYTES + LIST_BYTES + METADATA_BYTES + (OUTPUTS + 1) * (OUTPUT_BYTES + 1) + SMALL;
/// What it takes over.
const CARRIED: usize = CARRIED_BYTES + MAX_TASKS * 2 * INSTANCE;
/// A task that gives rise to orders, with them.
const SPAWNED: usize =
    RESULT_BYTES + SPAWN_BYTES + 2 * SMALL + SPAWN_ORDERS * 2 * size_of::<u128>();
/// What a task comes to for its order, and that for the order above.
const FOLLOWED: usize = TOGETHER_BYTES + RESULT_BYTES + 3 * SMALL;

const _: () = assert!(INPUT_BYTES <= RESULT_BYTES);
const _: () = assert!(ACCEPTED + CARRIED <= RECORD_BYTES);
const _: () = assert!(SPAWNED <= RECORD_BYTES);
const _: () = assert!(FOLLOWED + SMALL <= RECORD_BYTES);

/// The beginning of a reason.
pub fn short(text: &str) -> &str {
    first(text, REASON)
}

/// The beginning of a reason that a client gives.
pub fn client_reason(text: &str) -> &str {
    first(text, CLIENT_REASON)
}

/// The beginning of the name of whoever did a task.
pub fn instance(text: &str) -> &str {
    &text[..text.floor_char_boundary(INSTANCE)]
}

fn first(text: &str, characters: usize) -> &str {
    let end = text.char_indices().nth(characters);
    &text[..end.map_or(text.len(), |(at, _)| at)]
}
