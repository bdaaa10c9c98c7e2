//! The file of the journal: tables of an embedded store. Every page has a checksum; a commit that was torn by a crash
//! is as if it had not been, and whoever waits for it was not answered.
//!
//! A vertex has a small row that names its spec by its digest, so that the spec of thousands of vertices is kept once.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap},
    path::Path,
    rc::Rc,
    sync::Arc,
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, ReadableTableMetadata,
    StorageError, TableDefinition, WriteTransaction,
};
use uuid::Uuid;

use edgeless_daemon::{panic::caught, writer::Committed};
use edgeless_types::{
    LogicalId, NodeId, WorkflowId,
    workflow::{OutputMapping, VertexSpec},
};

use super::{
    Kept, OpenError,
    difference::{Change, Difference, Gate, Row},
    sleepers,
};
use crate::domain::VertexRequest;

type Digest = [u8; 32];
/// Workflow, spec, outputs.
type Vertex<'a> = (u128, Digest, Vec<(&'a str, u128)>);

const VERTICES: TableDefinition<'_, u128, Vertex<'_>> = TableDefinition::new("vertices");
const SPECS: TableDefinition<'_, Digest, &[u8]> = TableDefinition::new("specs");
const CORDONED: TableDefinition<'_, u128, ()> = TableDefinition::new("cordoned");
const DRAINED: TableDefinition<'_, u128, ()> = TableDefinition::new("drained");
const ABOUT: TableDefinition<'_, &str, u64> = TableDefinition::new("about");

/// In `ABOUT`: how the tables are to be read.
const FORMAT: (&str, u64) = ("format", 1);
/// In `ABOUT`: it was said before what is desired, be it nothing.
const TOLD: &str = "told";

/// Memory for pages; the tables are read once and then written to.
const CACHE: usize = 32 << 20;
/// A file of this size is compacted when it is opened and most of it is unused.
const LARGE: u64 = 64 << 20;

/// The tables, open.
#[derive(Debug)]
pub(super) struct Tables {
    database: Database,
    /// How many vertices have each spec.
    uses: HashMap<Digest, u32>,
}

/// Why the file cannot be used.
enum Trouble {
    /// It is not what was written.
    Damaged(String),
    /// The system does not let us, or another process has it.
    Unusable(String),
}

impl From<redb::Error> for Trouble {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Self::Damaged("it ends too early".to_owned())
            }
            redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Self::Damaged(error.to_string())
            }
            redb::Error::Io(error) => Self::Unusable(error.to_string()),
            redb::Error::DatabaseAlreadyOpen => Self::Unusable(
                "another process has it open; is an ε-ORC running with this folder?".to_owned(),
            ),
            error => Self::Damaged(error.to_string()),
        }
    }
}

macro_rules! trouble_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Trouble {
            fn from(error: $error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}
trouble_from!(
    DatabaseError,
    StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::CompactionError
);

impl Tables {
    /// Opens the file, or makes it, and checks all of it.
    ///
    /// # Errors
    /// The file cannot be opened, or is damaged.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        guarded(path, || open(path))
    }

    /// Reads what is kept.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(super) fn read(&self, path: &Path) -> Result<Kept, OpenError> {
        guarded(path, || self.read_all())
    }
}

fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, Trouble>) -> Result<T, OpenError> {
    // The store takes its file for what it wrote, and panics where it is not.
    let trouble = match caught(work) {
        Some(Ok(outcome)) => return Ok(outcome),
        Some(Err(trouble)) => trouble,
        None => Trouble::Damaged("its pages contradict one another".to_owned()),
    };
    let path = path.to_owned();
    Err(match trouble {
        Trouble::Damaged(problem) => OpenError::Damaged { path, problem },
        Trouble::Unusable(problem) => OpenError::Unusable { path, problem },
    })
}

fn open(path: &Path) -> Result<Tables, Trouble> {
    let repaired = Rc::new(Cell::new(false));
    let seen = Rc::clone(&repaired);
    let mut database = Builder::new()
        .set_cache_size(CACHE)
        .set_repair_callback(move |_| seen.set(true))
        .create(path)?;
    // After a crash all was checked already.
    if !repaired.get() && !database.check_integrity()? {
        tracing::warn!(path = %path.display(), "the last record of the journal was torn: it is left out");
    }
    let transaction = database.begin_write()?;
    let format = make_tables(&transaction)?;
    transaction.commit().map_err(Trouble::from)?;
    if format != FORMAT.1 {
        let problem = format!("its format is {format}, and this ε-ORC reads {}", FORMAT.1);
        return Err(Trouble::Unusable(problem));
    }
    let mut tables = Tables {
        database,
        uses: HashMap::new(),
    };
    let bytes = tables.count()?;
    let length = std::fs::metadata(path).map_or(0, |it| it.len());
    if length > LARGE && length > 8 * bytes {
        tracing::info!(length, "the journal is compacted");
        tables.database.compact()?;
    }
    Ok(tables)
}

fn make_tables(transaction: &WriteTransaction) -> Result<u64, Trouble> {
    transaction.open_table(VERTICES)?;
    transaction.open_table(SPECS)?;
    transaction.open_table(CORDONED)?;
    transaction.open_table(DRAINED)?;
    sleepers::make(transaction)?;
    let mut about = transaction.open_table(ABOUT)?;
    let format = about.get(FORMAT.0)?.map(|it| it.value());
    if format.is_none() {
        about.insert(FORMAT.0, FORMAT.1)?;
    }
    Ok(format.unwrap_or(FORMAT.1))
}

impl Tables {
    /// Counts the uses of specs; about how many bytes are kept.
    fn count(&mut self) -> Result<u64, Trouble> {
        let transaction = self.database.begin_read()?;
        let mut bytes = 0;
        for row in transaction.open_table(VERTICES)?.iter()? {
            let row = row?.1;
            let (_, digest, outputs) = row.value();
            *self.uses.entry(digest).or_default() += 1;
            bytes += 64 + outputs.iter().map(|it| it.0.len() as u64 + 17).sum::<u64>();
        }
        for row in transaction.open_table(SPECS)?.iter()? {
            bytes += row?.1.value().len() as u64;
        }
        bytes += sleepers::bytes(&transaction)?;
        Ok(bytes)
    }

    fn read_all(&self) -> Result<Kept, Trouble> {
        let transaction = self.database.begin_read()?;
        let mut specs = HashMap::new();
        for row in transaction.open_table(SPECS)?.iter()? {
            let (digest, json) = row?;
            let spec: VertexSpec = serde_json::from_slice(json.value())
                .map_err(|error| Trouble::Damaged(format!("a spec cannot be read: {error}")))?;
            specs.insert(digest.value(), spec);
        }
        let table = transaction.open_table(VERTICES)?;
        let mut vertices = Vec::with_capacity(usize::try_from(table.len()?).unwrap_or(0));
        for row in table.iter()? {
            let (logical_id, row) = row?;
            let logical_id = named(logical_id.value());
            let (workflow_id, digest, outputs) = row.value();
            let Some(spec) = specs.get(&digest) else {
                let problem = format!("the spec of vertex {logical_id} is missing");
                return Err(Trouble::Damaged(problem));
            };
            let output = |(channel, target): (&str, u128)| (channel.to_owned(), named(target));
            vertices.push(VertexRequest {
                logical_id,
                workflow_id: WorkflowId::new(Uuid::from_u128(workflow_id)),
                spec: spec.clone(),
                outputs: outputs.into_iter().map(output).collect(),
            });
        }
        let mut nodes = [BTreeSet::new(), BTreeSet::new()];
        for (table, nodes) in [CORDONED, DRAINED].into_iter().zip(&mut nodes) {
            for row in transaction.open_table(table)?.iter()? {
                nodes.insert(NodeId::new(Uuid::from_u128(row?.0.value())));
            }
        }
        let [cordoned, drained] = nodes;
        let told = transaction.open_table(ABOUT)?.get(TOLD)?.is_some();
        Ok(Kept {
            told,
            vertices,
            asleep: sleepers::read(&transaction)?,
            cordoned,
            drained,
        })
    }

    fn write(&mut self, differences: &[Arc<Difference>]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut uses = Uses::default();
        for difference in differences {
            write_vertices(&transaction, difference, &mut uses)?;
            sleepers::write(&transaction, difference, &transaction.open_table(VERTICES)?)?;
            write_gates(&transaction, difference)?;
            if difference.anew || !difference.vertices.is_empty() {
                transaction.open_table(ABOUT)?.insert(TOLD, 1)?;
            }
        }
        let mut specs = transaction.open_table(SPECS)?;
        for (digest, change) in &uses.changes {
            let before = self.uses.get(digest).copied().unwrap_or(0);
            match (before, i64::from(before) + change) {
                (0, 1..) => {
                    let json = uses.named.get(digest).copied().unwrap_or_default();
                    specs.insert(digest, json)?;
                }
                (1.., 0) => {
                    specs.remove(digest)?;
                }
                _ => {}
            }
        }
        drop(specs);
        let changes = uses.changes;
        transaction.commit()?;
        for (digest, change) in changes {
            let count = self.uses.entry(digest).or_default();
            *count = count.saturating_add_signed(i32::try_from(change).unwrap_or(0));
            if *count == 0 {
                self.uses.remove(&digest);
            }
        }
        Ok(())
    }
}

/// By how much the uses of specs change in a commit, and the specs it names.
#[derive(Default)]
struct Uses<'a> {
    changes: HashMap<Digest, i64>,
    named: HashMap<Digest, &'a [u8]>,
}

impl<'a> Uses<'a> {
    fn more(&mut self, row: &'a Row) {
        let digest = *row.spec.digest.as_bytes();
        *self.changes.entry(digest).or_default() += 1;
        self.named.insert(digest, &row.spec.json);
    }

    fn less(&mut self, digest: Digest) {
        *self.changes.entry(digest).or_default() -= 1;
    }
}

fn write_gates(transaction: &WriteTransaction, difference: &Difference) -> Result<(), redb::Error> {
    let mut cordoned = transaction.open_table(CORDONED)?;
    let mut drained = transaction.open_table(DRAINED)?;
    for (node_id, &gate) in &difference.gates {
        let node_id = node_id.uuid().as_u128();
        if gate == Gate::Open {
            cordoned.remove(node_id)?;
            drained.remove(node_id)?;
        } else {
            cordoned.insert(node_id, ())?;
        }
        if gate == Gate::Drained {
            drained.insert(node_id, ())?;
        }
    }
    Ok(())
}

fn write_vertices<'a>(
    transaction: &WriteTransaction,
    difference: &'a Difference,
    uses: &mut Uses<'a>,
) -> Result<(), redb::Error> {
    let mut vertices = transaction.open_table(VERTICES)?;
    if difference.anew {
        vertices.retain(|id, row| {
            let stays = difference.vertices.contains_key(&named(id));
            if !stays {
                uses.less(row.1);
            }
            stays
        })?;
    }
    for (logical_id, change) in &difference.vertices {
        let key = logical_id.uuid().as_u128();
        match change {
            Change::Is(row) => {
                let new = (
                    row.workflow_id.uuid().as_u128(),
                    *row.spec.digest.as_bytes(),
                    outputs_row(&row.outputs),
                );
                if vertices.get(key)?.is_some_and(|old| old.value() == new) {
                    continue;
                }
                if let Some(old) = vertices.insert(key, new)? {
                    uses.less(old.value().1);
                }
                uses.more(row);
            }
            Change::Outputs(outputs) => {
                let old = vertices.get(key)?.map(|old| (old.value().0, old.value().1));
                if let Some((workflow_id, digest)) = old {
                    vertices.insert(key, (workflow_id, digest, outputs_row(outputs)))?;
                }
            }
            Change::Gone => {
                if let Some(old) = vertices.remove(key)? {
                    uses.less(old.value().1);
                }
            }
        }
    }
    Ok(())
}

/// A vertex by the number under which it is kept.
pub(super) fn named(id: u128) -> LogicalId {
    LogicalId::new(Uuid::from_u128(id))
}

fn outputs_row(outputs: &OutputMapping) -> Vec<(&str, u128)> {
    let outputs = outputs.iter();
    outputs
        .map(|(channel, target)| (channel.as_str(), target.uuid().as_u128()))
        .collect()
}

#[cfg(test)]
impl Tables {
    /// How many specs are kept.
    pub(super) fn specs(&self) -> u64 {
        let transaction = self.database.begin_read().unwrap();
        transaction.open_table(SPECS).unwrap().len().unwrap()
    }
}

impl Committed for Tables {
    type Write = Arc<Difference>;

    fn commit(&mut self, writes: &[Arc<Difference>]) -> Result<(), String> {
        self.write(writes).map_err(|error| error.to_string())
    }
}
