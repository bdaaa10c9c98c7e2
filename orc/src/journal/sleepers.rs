//! In the file of the journal: vertices without copies, and what their last ones have saved.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction,
};

use edgeless_types::LogicalId;

use super::{
    difference::{Difference, Sleep},
    tables::named,
};

/// What the last copy has saved, if it did.
const ASLEEP: TableDefinition<'_, u128, Option<&[u8]>> = TableDefinition::new("asleep");

/// There is the table.
pub(super) fn make(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(ASLEEP)?;
    Ok(())
}

/// About how many bytes are kept.
pub(super) fn bytes(transaction: &ReadTransaction) -> Result<u64, redb::Error> {
    let mut bytes = 0;
    for row in transaction.open_table(ASLEEP)?.iter()? {
        bytes += 24 + row?.1.value().map_or(0, |state| state.len() as u64);
    }
    Ok(bytes)
}

/// All that is kept.
pub(super) fn read(
    transaction: &ReadTransaction,
) -> Result<BTreeMap<LogicalId, Option<Bytes>>, redb::Error> {
    let mut all = BTreeMap::new();
    for row in transaction.open_table(ASLEEP)?.iter()? {
        let (id, state) = row?;
        let state = state.value().map(Bytes::copy_from_slice);
        all.insert(named(id.value()), state);
    }
    Ok(all)
}

/// Writes what has become of sleepers; `vertices` are those that are desired by then.
pub(super) fn write<V: redb::Value + 'static>(
    transaction: &WriteTransaction,
    difference: &Difference,
    vertices: &impl ReadableTable<u128, V>,
) -> Result<(), redb::Error> {
    let mut asleep = transaction.open_table(ASLEEP)?;
    if difference.anew && !asleep.is_empty()? {
        asleep.retain(|id, _| difference.vertices.contains_key(&named(id)))?;
    }
    for (logical_id, sleep) in &difference.sleeps {
        let id = logical_id.uuid().as_u128();
        match sleep {
            // It may have been stopped meanwhile.
            Sleep::Asleep(state) if vertices.get(id)?.is_some() => {
                asleep.insert(id, state.as_deref())?;
            }
            Sleep::Asleep(_) | Sleep::Awake => {
                asleep.remove(id)?;
            }
        }
    }
    Ok(())
}
