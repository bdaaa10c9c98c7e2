//! What survives `kill -9`: workflows, registered functions, idempotency keys, known domains.
//!
//! One thread writes; requests that come together share one commit.

use std::{collections::BTreeSet, path::Path};

use edgeless_types::{
    CodeDigest, LogicalId, Timestamp, WorkflowId,
    workflow::{OutputMapping, VertexSpec},
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};

const WORKFLOWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("workflows");
const FUNCTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("functions");
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("idempotency_keys");
const DOMAINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("domains");

/// Writes that wait for the disk.
const QUEUE: usize = 4_096;

/// A workflow as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkflowRecord {
    /// Its id.
    pub workflow_id: WorkflowId,
    /// For people.
    pub name: String,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// The domain it is in; none: it waits for one.
    pub domain_id: Option<String>,
    /// Its vertices.
    pub vertices: Vec<VertexRecord>,
}

/// A vertex as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VertexRecord {
    /// Its id.
    pub logical_id: LogicalId,
    /// What it is.
    pub spec: VertexSpec,
    /// Where its outputs lead.
    pub outputs: OutputMapping,
}

/// A class in the function registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// Its name.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its runtime.
    pub function_type: String,
    /// Its output channels.
    pub outputs: BTreeSet<String>,
    /// Its code.
    pub code: CodeDigest,
}

/// What came of a request with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// SHA-256 of the body.
    pub body: CodeDigest,
    /// The workflow.
    pub workflow_id: WorkflowId,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A workflow is new or changed.
    Workflow(Box<WorkflowRecord>),
    /// A workflow is gone.
    WorkflowGone(WorkflowId),
    /// A class is new or replaced.
    Function(FunctionRecord),
    /// A key was used.
    Key(String, KeyRecord),
    /// A domain has entered the cluster.
    Domain(String),
}

/// Everything that was kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// All workflows.
    pub workflows: Vec<WorkflowRecord>,
    /// All classes.
    pub functions: Vec<FunctionRecord>,
    /// All keys.
    pub keys: Vec<(String, KeyRecord)>,
    /// All domains that ever entered.
    pub domains: BTreeSet<String>,
}

/// The store cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is not there or damaged.
    #[error(
        "could not open the store `{path}`: {problem}; restore it from a copy, or move it away to begin anew without its workflows"
    )]
    Store {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// A write that is not on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WriteError(String);

type Request = (Vec<Write>, oneshot::Sender<Result<(), WriteError>>);

/// Writes in order; cheap to clone.
#[derive(Clone)]
pub struct Store {
    requests: mpsc::Sender<Request>,
}

impl Store {
    /// Opens the store and reads everything.
    ///
    /// # Errors
    /// The file cannot be opened or is damaged.
    pub fn open(path: &Path) -> Result<(Self, Kept), OpenError> {
        let failed = |problem: String| OpenError::Store {
            path: path.display().to_string(),
            problem,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
        }
        let database = Database::create(path).map_err(|error| failed(error.to_string()))?;
        write(&database, &[]).map_err(|error| failed(error.0))?;
        let kept = read(&database).map_err(failed)?;
        let (requests, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || run(&database, queue))
            .map_err(|error| failed(error.to_string()))?;
        Ok((Self { requests }, kept))
    }

    /// Returns when the writes are on disk.
    ///
    /// # Errors
    /// The disk refuses them.
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), WriteError> {
        let (done, written) = oneshot::channel();
        let ended = || WriteError("the store has ended".to_owned());
        self.requests
            .send((writes, done))
            .await
            .map_err(|_| ended())?;
        written.await.map_err(|_| ended())?
    }
}

fn run(database: &Database, mut queue: mpsc::Receiver<Request>) {
    let mut batch = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        batch.push(first);
        while let Ok(next) = queue.try_recv() {
            batch.push(next);
        }
        let writes: Vec<Write> = batch
            .iter_mut()
            .flat_map(|(writes, _)| std::mem::take(writes))
            .collect();
        let outcome = write(database, &writes);
        for (_, done) in batch.drain(..) {
            if done.send(outcome.clone()).is_err() {
                tracing::debug!("nobody waited for a write");
            }
        }
    }
}

fn write(database: &Database, writes: &[Write]) -> Result<(), WriteError> {
    let commit = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut workflows = transaction.open_table(WORKFLOWS)?;
            let mut functions = transaction.open_table(FUNCTIONS)?;
            let mut keys = transaction.open_table(KEYS)?;
            let mut domains = transaction.open_table(DOMAINS)?;
            for write in writes {
                match write {
                    Write::Workflow(record) => {
                        let key = record.workflow_id.to_string();
                        workflows.insert(key.as_str(), json(&**record).as_slice())?;
                    }
                    Write::WorkflowGone(workflow_id) => {
                        workflows.remove(workflow_id.to_string().as_str())?;
                    }
                    Write::Function(record) => {
                        let key = format!("{}/{}", record.id, record.version);
                        functions.insert(key.as_str(), json(record).as_slice())?;
                    }
                    Write::Key(key, record) => {
                        keys.insert(key.as_str(), json(record).as_slice())?;
                    }
                    Write::Domain(domain_id) => {
                        domains.insert(domain_id.as_str(), &[][..])?;
                    }
                }
            }
        }
        transaction.commit()?;
        Ok(())
    };
    commit().map_err(|error| WriteError(error.to_string()))
}

fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("our records have string keys and serialise")
}

fn read(database: &Database) -> Result<Kept, String> {
    let workflows = read_table::<WorkflowRecord>(database, WORKFLOWS)?;
    let functions = read_table::<FunctionRecord>(database, FUNCTIONS)?;
    let transaction = database.begin_read().map_err(|error| error.to_string())?;
    let domains = transaction
        .open_table(DOMAINS)
        .map_err(|error| error.to_string())?;
    let mut known = BTreeSet::new();
    for row in domains.iter().map_err(|error| error.to_string())? {
        known.insert(row.map_err(|error| error.to_string())?.0.value().to_owned());
    }
    Ok(Kept {
        workflows: workflows.into_iter().map(|(_, record)| record).collect(),
        functions: functions.into_iter().map(|(_, record)| record).collect(),
        keys: read_table(database, KEYS)?,
        domains: known,
    })
}

fn read_table<T: DeserializeOwned>(
    database: &Database,
    table: TableDefinition<'_, &str, &[u8]>,
) -> Result<Vec<(String, T)>, String> {
    let transaction = database.begin_read().map_err(|error| error.to_string())?;
    let table = transaction
        .open_table(table)
        .map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    for row in table.iter().map_err(|error| error.to_string())? {
        let (key, value) = row.map_err(|error| error.to_string())?;
        let record = serde_json::from_slice(value.value())
            .map_err(|error| format!("the record `{}` is damaged: {error}", key.value()))?;
        records.push((key.value().to_owned(), record));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_there_after_opening_again_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("con.redb");
        let record = WorkflowRecord {
            workflow_id: WorkflowId::new(Uuid::from_u128(1)),
            name: "w".into(),
            accepted: Timestamp::from_nanos(1),
            domain_id: Some("d".into()),
            vertices: vec![],
        };
        let (store, kept) = Store::open(&path).unwrap();
        assert_eq!(kept, Kept::default());
        let writes = vec![
            Write::Workflow(Box::new(record.clone())),
            Write::Domain("d".to_owned()),
        ];
        store.write(writes).await.unwrap();
        drop(store);
        let kept = loop {
            // The writing thread lets go of the file when it sees that nobody writes any more.
            if let Ok((_, kept)) = Store::open(&path) {
                break kept;
            }
        };
        assert_eq!(kept.workflows, [record]);
        assert!(kept.domains.contains("d"));

        let damaged = folder.path().join("damaged.redb");
        std::fs::write(&damaged, "this is no database, whatever its name says").unwrap();
        let error = Store::open(&damaged).err().unwrap();
        assert!(error.to_string().contains("damaged.redb"), "{error}");
    }
}
