//! Writes a batch into the tables of the embedded store.

use redb::{ReadableTable, Table, WriteTransaction};

use super::{
    RowChange, Rows,
    pace::Pace,
    tables::{ACTIVE, APPLIED, ENDED, FAILED, Id, KEYS, UNDELIVERED, key_of},
};
use crate::record::EndCode;

/// All changes of a batch.
pub(super) fn apply(transaction: &WriteTransaction, rows: &Rows) -> Result<(), redb::Error> {
    let mut active = transaction.open_table(ACTIVE)?;
    let mut ended = transaction.open_table(ENDED)?;
    let mut failed = transaction.open_table(FAILED)?;
    let mut undelivered = transaction.open_table(UNDELIVERED)?;
    let mut keys = transaction.open_table(KEYS)?;
    let mut order: Vec<_> = rows.rows.iter().collect();
    // Rows that come in their order fill pages one after the other.
    order.sort_unstable_by_key(|(id, _)| **id);
    let mut pace = Pace::new(rows.bytes());
    for (id, row) in order {
        pace.step();
        let key = id.uuid().into_bytes();
        write_row(&mut active, &mut ended, key, row)?;
        if let Some((client, text, digest)) = &row.key {
            let value = [&key[..], digest].concat();
            keys.insert(key_of(client, text).as_str(), value.as_slice())?;
        }
        if row.ended.is_some_and(|ended| ended.code == EndCode::Failed) {
            failed.insert(key, ())?;
        }
        let told = row
            .ended
            .map(|ended| ended.outputs)
            .filter(|outputs| *outputs > 0);
        if told.is_some() || row.delivered > 0 {
            let before = undelivered.get(key)?.map_or(0, |row| row.value());
            // What was told in the batch of the end counts among what was to be told.
            let left = told.unwrap_or(before).saturating_sub(row.delivered);
            match left {
                0 => drop(undelivered.remove(key)?),
                left => drop(undelivered.insert(key, left)?),
            }
        }
    }
    if rows.through > 0 {
        transaction.open_table(APPLIED)?.insert((), rows.through)?;
    }
    Ok(())
}

fn write_row(
    active: &mut Table<'_, Id, &[u8]>,
    ended: &mut Table<'_, Id, &[u8]>,
    key: Id,
    row: &RowChange,
) -> Result<(), redb::Error> {
    let whole = |before: Option<&[u8]>| [before.unwrap_or_default(), &row.append].concat();
    if row.is_new {
        match row.ended.is_some() {
            true => ended.insert(key, row.append.as_slice())?,
            false => active.insert(key, row.append.as_slice())?,
        };
        return Ok(());
    }
    let before = match row.ended.is_some() {
        true => active.remove(key)?.map(|row| row.value().to_vec()),
        false => active.get(key)?.map(|row| row.value().to_vec()),
    };
    match (before, row.ended.is_some()) {
        (Some(before), true) => ended.insert(key, whole(Some(&before)).as_slice())?,
        (Some(before), false) => active.insert(key, whole(Some(&before)).as_slice())?,
        (None, _) => {
            let Some(before) = ended.get(key)?.map(|row| row.value().to_vec()) else {
                // Forgotten meanwhile.
                return Ok(());
            };
            ended.insert(key, whole(Some(&before)).as_slice())?
        }
    };
    Ok(())
}
