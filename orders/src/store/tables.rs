//! The embedded store: tables of one file.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use edgeless_types::{OrderId, Timestamp};
use prost::Message;
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Keep, Rows, Store, StoreError, Which, write::apply};
use crate::record::{Record, What};

pub(super) type Id = [u8; 16];

pub(super) const ACTIVE: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("active");
pub(super) const ENDED: TableDefinition<'_, Id, &[u8]> = TableDefinition::new("ended");
pub(super) const FAILED: TableDefinition<'_, Id, ()> = TableDefinition::new("failed");
pub(super) const UNDELIVERED: TableDefinition<'_, Id, u32> = TableDefinition::new("undelivered");
pub(super) const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
pub(super) const APPLIED: TableDefinition<'_, (), u64> = TableDefinition::new("applied");

/// Bytes of the file that are kept in memory.
const CACHE: usize = 12 << 20;

/// The embedded store.
pub struct Tables {
    path: PathBuf,
    /// None: it failed, and is opened again when it is needed.
    database: RwLock<Option<Arc<Database>>>,
    /// What was taken since the file had all for good: a database that is opened anew does not have it.
    loose: Mutex<Vec<Rows>>,
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        Self(error.to_string())
    }
}

impl Tables {
    /// Opens the file or makes it.
    ///
    /// # Errors
    /// It cannot be opened, or is damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let tables = Self {
            path: path.to_owned(),
            database: RwLock::new(None),
            loose: Mutex::default(),
        };
        let database = tables.database()?;
        (|| {
            let transaction = database.begin_write()?;
            transaction.open_table(ACTIVE)?;
            transaction.open_table(ENDED)?;
            transaction.open_table(FAILED)?;
            transaction.open_table(UNDELIVERED)?;
            transaction.open_table(KEYS)?;
            transaction.open_table(APPLIED)?;
            transaction.commit()?;
            Ok::<_, redb::Error>(())
        })()?;
        Ok(tables)
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        if let Some(database) = &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(database));
        }
        let mut place = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*place {
            return Ok(Arc::clone(database));
        }
        let opened = Database::builder().set_cache_size(CACHE).create(&self.path);
        let opened = opened.map_err(|error| {
            StoreError(format!(
                "could not open `{}`: {error}; restore it from a copy, or move it away with the folder `log` \
                 beside it to begin anew without its orders",
                self.path.display()
            ))
        });
        let database = opened?;
        self.take_again(&database)?;
        Ok(Arc::clone(place.insert(Arc::new(database))))
    }

    /// A database that was opened anew gets what it had taken, before anybody sees it without.
    fn take_again(&self, database: &Database) -> Result<(), redb::Error> {
        let mut loose = self.loose();
        if loose.is_empty() {
            return Ok(());
        }
        let transaction = database.begin_write()?;
        let applied = transaction
            .open_table(APPLIED)?
            .get(())?
            .map(|row| row.value());
        let applied = applied.unwrap_or(0);
        for rows in loose.iter().filter(|rows| rows.through > applied) {
            apply(&transaction, rows)?;
        }
        transaction.commit()?;
        loose.clear();
        Ok(())
    }

    fn loose(&self) -> MutexGuard<'_, Vec<Rows>> {
        self.loose.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A database that has failed once refuses everything until it is opened anew.
    fn on_failure<T>(&self, outcome: Result<T, redb::Error>) -> Result<T, StoreError> {
        outcome.map_err(|error| {
            *self
                .database
                .write()
                .unwrap_or_else(PoisonError::into_inner) = None;
            error.into()
        })
    }
}

impl Store for Tables {
    fn applied(&self) -> Result<u64, StoreError> {
        let database = self.database()?;
        let read = || {
            let table = database.begin_read()?.open_table(APPLIED)?;
            Ok::<_, redb::Error>(table.get(())?.map_or(0, |row| row.value()))
        };
        Ok(read()?)
    }

    fn apply(&self, rows: &Rows, keep: Keep) -> Result<(), StoreError> {
        let database = self.database()?;
        let write = || {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(match keep {
                Keep::ForGood => Durability::Immediate,
                Keep::Loosely => Durability::None,
            })?;
            apply(&transaction, rows)?;
            transaction.commit()?;
            Ok(())
        };
        let outcome = write();
        drop(database);
        self.on_failure(outcome)?;
        match keep {
            Keep::ForGood => self.loose().clear(),
            Keep::Loosely => self.loose().push(rows.clone()),
        }
        Ok(())
    }

    fn read(&self, id: OrderId) -> Result<Option<Record>, StoreError> {
        let database = self.database()?;
        let read = || {
            let transaction = database.begin_read()?;
            let key = id.uuid().into_bytes();
            for table in [ACTIVE, ENDED] {
                if let Some(row) = transaction.open_table(table)?.get(key)? {
                    return Ok(Some(decode(row.value())));
                }
            }
            Ok::<_, redb::Error>(None)
        };
        read()?.transpose()
    }

    fn find(&self, client: &str, key: &str) -> Result<Option<(OrderId, [u8; 32])>, StoreError> {
        let database = self.database()?;
        let read = || {
            let table = database.begin_read()?.open_table(KEYS)?;
            let found = table.get(key_of(client, key).as_str())?;
            Ok::<_, redb::Error>(found.and_then(|row| {
                let (id, digest) = row.value().split_at_checked(16)?;
                Some((crate::record::id_of(id)?, digest.try_into().ok()?))
            }))
        };
        Ok(read()?)
    }

    fn visit(
        &self,
        which: Which,
        below: Option<OrderId>,
        each: &mut dyn FnMut(OrderId, Record) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let database = self.database()?;
        let open = || {
            let transaction = database.begin_read()?;
            let tables = (
                transaction.open_table(ACTIVE)?,
                transaction.open_table(ENDED)?,
                transaction.open_table(FAILED)?,
            );
            Ok::<_, redb::Error>(tables)
        };
        let (active, ended, failed) = open()?;
        match which {
            Which::Active => merge(Some(&active), None, below, each),
            Which::Ended => merge(None, Some(&ended), below, each),
            Which::All => merge(Some(&active), Some(&ended), below, each),
            Which::Failed => {
                let below = below.map_or([0xff; 16], |id| id.uuid().into_bytes());
                let mut visit = || {
                    for row in failed.range::<Id>(..below)?.rev() {
                        let key = row?.0.value();
                        let Some(row) = ended.get(key)? else { continue };
                        let Ok(record) = decode(row.value()) else {
                            continue;
                        };
                        if each(id_of(key), record).is_break() {
                            break;
                        }
                    }
                    Ok::<_, redb::Error>(())
                };
                Ok(visit()?)
            }
        }
    }

    fn undelivered(&self) -> Result<Vec<OrderId>, StoreError> {
        let database = self.database()?;
        let read = || {
            let table = database.begin_read()?.open_table(UNDELIVERED)?;
            let mut ids = Vec::new();
            for row in table.iter()? {
                ids.push(id_of(row?.0.value()));
            }
            Ok::<_, redb::Error>(ids)
        };
        Ok(read()?)
    }

    fn forget(&self, before: Timestamp, most: usize) -> Result<usize, StoreError> {
        let database = self.database()?;
        let millis = before.as_nanos() / 1_000_000;
        let end = uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid();
        let write = || {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::None)?;
            let mut forgotten = Vec::new();
            {
                let mut ended = transaction.open_table(ENDED)?;
                let mut failed = transaction.open_table(FAILED)?;
                let mut keys = transaction.open_table(KEYS)?;
                let undelivered = transaction.open_table(UNDELIVERED)?;
                for row in ended.range::<Id>(..end.into_bytes())? {
                    let (key, row) = row?;
                    if undelivered.get(key.value())?.is_none() {
                        forgotten.push((key.value(), idempotency_key(row.value())));
                    }
                    if forgotten.len() >= most {
                        break;
                    }
                }
                for (key, idempotency_key) in &forgotten {
                    ended.remove(key)?;
                    failed.remove(key)?;
                    if let Some(idempotency_key) = idempotency_key {
                        keys.remove(idempotency_key.as_str())?;
                    }
                }
            }
            match forgotten.is_empty() {
                true => transaction.abort()?,
                false => transaction.commit()?,
            }
            Ok(forgotten.len())
        };
        let outcome = write();
        drop(database);
        self.on_failure(outcome)
    }
}

type Row = (Id, Result<Record, StoreError>);

/// Visits two tables as if they were one.
fn merge(
    first: Option<&ReadOnlyTable<Id, &[u8]>>,
    second: Option<&ReadOnlyTable<Id, &[u8]>>,
    below: Option<OrderId>,
    each: &mut dyn FnMut(OrderId, Record) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let below = below.map_or([0xff; 16], |id| id.uuid().into_bytes());
    let rows = |table: Option<&ReadOnlyTable<Id, &[u8]>>| {
        let range = table.map(|table| table.range::<Id>(..below)).transpose();
        let range = range.map_err(redb::Error::from)?;
        let row = |row: Result<(redb::AccessGuard<'_, Id>, redb::AccessGuard<'_, &[u8]>), _>| {
            let (key, value) = row.map_err(redb::Error::from)?;
            Ok::<Row, redb::Error>((key.value(), decode(value.value())))
        };
        Ok::<_, redb::Error>(range.into_iter().flat_map(|range| range.rev()).map(row))
    };
    let (mut first, mut second) = (rows(first)?.peekable(), rows(second)?.peekable());
    loop {
        let key = |row: Option<&Result<Row, redb::Error>>| {
            row.and_then(|row| row.as_ref().ok().map(|row| row.0))
        };
        let next = match key(first.peek()) >= key(second.peek()) {
            true => first.next().or_else(|| second.next()),
            false => second.next(),
        };
        let Some(next) = next else { return Ok(()) };
        let (key, record) = next?;
        if each(id_of(key), record?).is_break() {
            return Ok(());
        }
    }
}

fn id_of(key: Id) -> OrderId {
    OrderId::new(uuid::Uuid::from_bytes(key))
}

pub(super) fn key_of(client: &str, key: &str) -> String {
    format!("{client}\0{key}")
}

fn idempotency_key(row: &[u8]) -> Option<String> {
    let record = decode(row).ok()?;
    match record.changes.into_iter().next()?.what? {
        What::Accepted(accepted) if !accepted.key.is_empty() => {
            Some(key_of(&accepted.client, &accepted.key))
        }
        _ => None,
    }
}

fn decode(row: &[u8]) -> Result<Record, StoreError> {
    Record::decode(row).map_err(|error| StoreError(format!("a row is damaged: {error}")))
}

#[cfg(test)]
mod tests {
    use crate::{
        book::Told,
        record::{Change, Done},
    };

    use super::*;

    fn change(number: u64, what: What) -> (OrderId, Record) {
        let id = OrderId::from_pair((number, number));
        let at = Timestamp::default();
        (id, Record::of(Change::new(id, at, what)))
    }

    fn batch(sequence: u64, record: Record) -> Rows {
        let mut rows = Rows::default();
        rows.add(sequence, record, &Told::default());
        rows
    }

    #[test]
    fn what_was_taken_loosely_is_there_when_the_database_failed_and_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.redb");
        let tables = Tables::open(&path).unwrap();
        let fails = || {
            let error = redb::Error::Io(std::io::Error::other("no space"));
            tables.on_failure::<()>(Err(error)).unwrap_err();
        };
        let accepted = || What::Accepted(Box::default());
        let (first, record) = change(1, accepted());
        tables.apply(&batch(1, record), Keep::ForGood).unwrap();
        let (second, record) = change(2, accepted());
        tables.apply(&batch(2, record), Keep::Loosely).unwrap();
        fails();
        assert_eq!(tables.applied(), Ok(2));
        let (_, record) = change(2, What::Done(Done::default()));
        tables.apply(&batch(3, record), Keep::Loosely).unwrap();
        fails();
        fails();
        let changes = |id| tables.read(id).unwrap().unwrap().changes.len();
        assert_eq!((changes(first), changes(second)), (1, 2));
        drop(tables);
        let tables = Tables::open(&path).unwrap();
        assert_eq!(tables.applied(), Ok(3), "it is kept for good then");
    }
}
