//! Reads what was kept of orders: the log from where the store ends, and what has not come to its end.

use std::{ops::ControlFlow, path::Path, sync::Arc};

use edgeless_daemon::panic::caught;
use edgeless_orders::{
    body::Body,
    book::{Book, Effect, EndedOrder, Output, Told},
    bounds::RECORD_BYTES,
    log::{self, Log, Options},
    record::{Change, Record, What},
    store::{Keep, RowChange, Rows, Store, StoreError, Tables, Which},
    tasks::Lists,
};
use edgeless_types::OrderId;
use prost::Message;
use rustc_hash::FxHashMap;

use super::{OpenError, Settings, body_of, now};

/// A segment has room for the longest record, and for what the owner holds in reserve.
const LEAST_SEGMENT_MIB: u64 = 8;
const MOST_SEGMENT_MIB: u64 = 1024;
/// What fits the numbers that count bytes.
const MOST_LOG_MIB: u64 = 1 << 30;
const _: () = assert!((RECORD_BYTES as u64) < LEAST_SEGMENT_MIB << 20);

/// Opens log and store, and brings the store to where the log is.
pub(super) fn read(
    folder: &Path,
    settings: &Settings,
    lists: &Lists,
) -> Result<(Arc<dyn Store>, Log), OpenError> {
    // The database takes its file for what it wrote, and panics where it is not.
    let opened = caught(|| Tables::open(&folder.join("orders.redb")));
    let store = opened.unwrap_or_else(|| {
        let text = "its pages contradict one another; restore it from a copy, or move the folder `orders` away to \
                    begin anew without its orders";
        Err(StoreError(text.to_owned()))
    })?;
    check(settings).map_err(log::OpenError::Options)?;
    let applied = store.applied()?;
    let mut changed: FxHashMap<OrderId, Record> = FxHashMap::default();
    let options = Options {
        segment_bytes: settings.segment_mib << 20,
        max_bytes: settings.log_mib << 20,
        sync_delay: settings.sync_delay,
    };
    let mut through = applied;
    let log = Log::open(
        &folder.join("log"),
        options,
        applied + 1,
        |sequence, bytes| {
            let record = Record::decode(bytes).map_err(|error| error.to_string())?;
            for change in record.changes {
                changed.entry(change.id()).or_default().changes.push(change);
            }
            through = sequence;
            Ok(())
        },
    )?;
    if log.largest_record() < RECORD_BYTES {
        let text = format!(
            "its segments hold records of {} bytes, and one of an order may have {RECORD_BYTES}; make \
             `orders.segment_mib` larger",
            log.largest_record()
        );
        return Err(log::OpenError::Options(text).into());
    }
    let mut rows = Rows::default();
    rows.through = through;
    for (id, record) in changed {
        let before = store.read(id)?;
        let is_new = |change: &Change| matches!(change.what, Some(What::Accepted(_)));
        if before.is_none() && !record.changes.first().is_some_and(is_new) {
            // Forgotten meanwhile.
            continue;
        }
        let row = row_change(before, record, lists)?;
        rows.rows.insert(id, row);
    }
    if through > applied {
        tracing::info!(
            orders = rows.rows.len(),
            "orders are brought from the log to the store"
        );
        store.apply(&rows, Keep::ForGood)?;
    }
    let mut log = log;
    log.trim(through + 1);
    Ok((Arc::new(store), log))
}

/// Whether the log can be kept so; else which setting is to be mended.
fn check(settings: &Settings) -> Result<(), String> {
    let Settings {
        segment_mib,
        log_mib,
        ..
    } = *settings;
    if !(LEAST_SEGMENT_MIB..=MOST_SEGMENT_MIB).contains(&segment_mib) {
        return Err(format!(
            "`orders.segment_mib` is {segment_mib}; take {LEAST_SEGMENT_MIB} to {MOST_SEGMENT_MIB}"
        ));
    }
    let least = 2 * segment_mib;
    if !(least..=MOST_LOG_MIB).contains(&log_mib) {
        return Err(format!(
            "`orders.log_mib` is {log_mib}; take {least} to {MOST_LOG_MIB}: two segments of `orders.segment_mib` or more"
        ));
    }
    Ok(())
}

/// What changes in the log come to for a row.
fn row_change(
    before: Option<Record>,
    changes: Record,
    lists: &Lists,
) -> Result<RowChange, StoreError> {
    let had_ended = match &before {
        Some(row) => body_of(row.clone(), lists)?.is_ended(),
        None => false,
    };
    let mut rows = Rows::default();
    let told = Told::default();
    let id = changes.changes.first().map(|change| change.id());
    let all = Record {
        changes: before
            .into_iter()
            .flat_map(|row| row.changes)
            .chain(changes.changes.clone())
            .collect(),
    };
    rows.add(0, changes, &told);
    let mut row = id.and_then(|id| rows.rows.remove(&id)).unwrap_or_default();
    let body = body_of(all, lists)?;
    // What was told is counted by the store itself.
    let delivered = body.delivered.len();
    row.ended = body.ended().filter(|_| !had_ended).map(|ended| EndedOrder {
        outputs: ended.outputs + u32::try_from(delivered).unwrap_or(0),
        ..ended
    });
    Ok(row)
}

/// Puts what had not ended into the book.
pub(super) fn restore(
    book: &mut Book,
    store: &dyn Store,
    lists: &Lists,
) -> Result<Output, OpenError> {
    let mut begin = Output::default();
    let mut damaged = None;
    let mut count = 0_u64;
    store.visit(
        Which::Active,
        None,
        &mut |_, record| match body_of(record, lists) {
            Ok(body) => {
                count += 1;
                add(&mut begin, book.restore(Box::new(body), now()));
                ControlFlow::Continue(())
            }
            Err(error) => {
                damaged = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    if let Some(error) = damaged {
        return Err(error.into());
    }
    for (parent, position, child) in book.orphans() {
        if let Some(record) = store.read(child)? {
            let child: Body = body_of(record, lists)?;
            add(&mut begin, book.adopt(parent, position, &child, now()));
        }
    }
    add(&mut begin, book.resume(now()));
    for id in store.undelivered()? {
        if let Some(record) = store.read(id)? {
            begin
                .effects
                .push(Effect::Deliver(Arc::new(body_of(record, lists)?)));
        }
    }
    tracing::info!(orders = count, "active orders go on");
    Ok(begin)
}

fn add(all: &mut Output, more: Output) {
    all.records.extend(more.records);
    all.effects.extend(more.effects);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_is_wrong_is_named() {
        let checked = |segment_mib, log_mib| {
            let settings = Settings {
                segment_mib,
                log_mib,
                ..Settings::default()
            };
            check(&settings).map_err(|text| text.split(';').next().unwrap().to_owned())
        };
        assert_eq!(checked(16, 32), Ok(()));
        let log = |mib: u64| Err(format!("`orders.log_mib` is {mib}"));
        assert_eq!(checked(16, 1), log(1));
        assert_eq!(checked(16, 31), log(31));
        assert_eq!(checked(16, 1 << 60), log(1 << 60));
        let segment = |mib: u64| Err(format!("`orders.segment_mib` is {mib}"));
        assert_eq!(checked(7, 512), segment(7));
        assert_eq!(checked(1025, 1 << 20), segment(1025));
    }
}
