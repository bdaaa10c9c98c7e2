//! What survives `kill -9`: workflows, registered functions, idempotency keys, known domains.
//!
//! One thread writes; requests that come together share one commit.

mod error;
mod update;

use std::{collections::BTreeSet, path::Path, sync::Arc};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, Table, TableDefinition};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use edgeless_orders::contract::Contract;

use crate::orders::ServiceRecord;
use edgeless_daemon::{
    panic::caught,
    status::Readiness,
    writer::{Committed, WriteError, Writer},
};
use edgeless_types::{
    CodeDigest, DomainId, DomainRequirements, LogicalId, Timestamp, WorkflowId,
    workflow::{OutputMapping, VertexSpec},
};

pub use error::OpenError;
pub use update::{Former, UpdateRecord, UpdateStage};

const WORKFLOWS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("workflows");
const FUNCTIONS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("functions");
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("idempotency_keys");
const LIFE: TableDefinition<'_, &str, u64> = TableDefinition::new("life");
const TRIAL: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("trial");
const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");
const CLIENTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("clients");
const DOMAINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("domains");

/// The part of `/readyz`.
const PART: &str = "store";
/// What a disk has to take that has refused something: more than most requests.
const TRIAL_BYTES: usize = 64 << 10;

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
    pub domain_id: Option<DomainId>,
    /// Its vertices.
    pub vertices: Vec<VertexRecord>,
    /// What was left out, and why.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What its domain must be.
    #[serde(default)]
    pub domains: DomainRequirements,
    /// Its last update.
    #[serde(default)]
    pub update: Option<UpdateRecord>,
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
    /// When.
    pub used: Timestamp,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A workflow is new.
    Workflow(Arc<WorkflowRecord>),
    /// A workflow is in another domain, unless it is gone by now.
    Moved(WorkflowId, DomainId),
    /// A workflow has other vertices, unless it is gone by now; it stays where it is.
    Updated(Arc<WorkflowRecord>),
    /// A workflow is gone.
    WorkflowGone(WorkflowId),
    /// A class is new or replaced.
    Function(FunctionRecord),
    /// A key was used.
    Key(String, KeyRecord),
    /// A key is forgotten.
    KeyGone(String),
    /// A service is new, changed or gone.
    Service(String, Option<Box<ServiceRecord>>),
    /// A client of orders is new, changed or gone.
    Client(String, Option<Box<Contract>>),
    /// A domain has entered the cluster.
    Domain(DomainId),
    /// ε-CON begins this life.
    Life(u64),
    /// So many bytes of no meaning instead of those before: whether the disk takes them.
    Trial(usize),
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
    /// All services by name.
    pub services: Vec<(String, ServiceRecord)>,
    /// All clients of orders by name.
    pub clients: Vec<(String, Contract)>,
    /// All domains that ever entered.
    pub domains: BTreeSet<DomainId>,
    /// The last life of ε-CON; 0: there was none.
    pub life: u64,
}

/// Writes in order; cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: Writer<Write>,
    readiness: Readiness,
}

impl Store {
    /// Opens the store and reads everything. Whether it can be written is shown in `/readyz`.
    ///
    /// # Errors
    /// The file cannot be opened or is damaged.
    pub fn open(path: &Path, readiness: Readiness) -> Result<(Self, Kept), OpenError> {
        let failed = |problem: String| OpenError::Store {
            path: path.display().to_string(),
            problem,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
        }
        let open = || {
            let mut tables = Tables::open(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => OpenError::InUse {
                    path: path.display().to_string(),
                },
                error => failed(error.to_string()),
            })?;
            // Makes the tables, and shows that the file can be written.
            tables.commit(&[]).map_err(failed)?;
            let kept = read(&tables.0).map_err(failed)?;
            Ok((tables, kept))
        };
        // The database takes its file for what it wrote, and panics where it is not.
        let opened = caught(open);
        let contradictory = || Err(failed("its pages contradict one another".to_owned()));
        let (tables, kept) = opened.unwrap_or_else(contradictory)?;
        let path = path.to_owned();
        let again = move || Tables::open(&path).map_err(|error| error.to_string());
        let writer = Writer::spawn(tables, again).map_err(|error| failed(error.to_string()))?;
        Ok((Self { writer, readiness }, kept))
    }

    /// Returns when the writes are on disk, all of them or none.
    ///
    /// # Errors
    /// The disk refuses them, or the store is closed.
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), WriteError> {
        let outcome = self.writer.write(writes).await;
        match &outcome {
            Ok(()) => {
                if self.readiness.restore(PART) {
                    tracing::info!("the store is written again");
                }
            }
            Err(error) => {
                let reason = format!("the store cannot be written: {error}");
                if self.readiness.degrade(PART, reason) {
                    tracing::error!(%error, "the store cannot be written");
                }
            }
        }
        outcome
    }

    /// Finds out whether a disk that has refused something goes on doing so, though nobody asks for anything.
    pub async fn try_again(&self) {
        let refuses = self.readiness.report().reasons.contains_key(PART);
        if refuses && self.write(vec![Write::Trial(TRIAL_BYTES)]).await.is_ok() {
            // What fails now is shown.
            self.write(vec![Write::Trial(0)]).await.ok();
        }
    }

    /// Finishes what was asked for before and lets go of the file.
    pub async fn close(&self) {
        self.writer.close().await;
    }
}

struct Tables(Database);

impl Tables {
    fn open(path: &Path) -> Result<Self, DatabaseError> {
        Database::create(path).map(Self)
    }
}

impl Committed for Tables {
    type Write = Write;

    fn commit(&mut self, writes: &[Write]) -> Result<(), String> {
        write(&self.0, writes).map_err(|error| error.to_string())
    }
}

fn write(database: &Database, writes: &[Write]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut workflows = transaction.open_table(WORKFLOWS)?;
        let mut functions = transaction.open_table(FUNCTIONS)?;
        let mut keys = transaction.open_table(KEYS)?;
        let mut domains = transaction.open_table(DOMAINS)?;
        let mut services = transaction.open_table(SERVICES)?;
        let mut clients = transaction.open_table(CLIENTS)?;
        let mut life = transaction.open_table(LIFE)?;
        let mut trial = transaction.open_table(TRIAL)?;
        for write in writes {
            match write {
                Write::Workflow(record) => {
                    let key = record.workflow_id.to_string();
                    workflows.insert(key.as_str(), json(&**record).as_slice())?;
                }
                Write::Moved(workflow_id, domain_id) => {
                    change(&mut workflows, *workflow_id, |kept| WorkflowRecord {
                        domain_id: Some(domain_id.clone()),
                        ..kept
                    })?;
                }
                Write::Updated(record) => {
                    change(&mut workflows, record.workflow_id, |kept| WorkflowRecord {
                        domain_id: kept.domain_id,
                        ..(**record).clone()
                    })?;
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
                Write::KeyGone(key) => {
                    keys.remove(key.as_str())?;
                }
                Write::Service(name, record) => put(&mut services, name, record.as_deref())?,
                Write::Client(name, contract) => put(&mut clients, name, contract.as_deref())?,
                Write::Life(number) => {
                    life.insert("life", number)?;
                }
                Write::Trial(bytes) => {
                    trial.insert("trial", vec![0; *bytes].as_slice())?;
                }
                Write::Domain(domain_id) => {
                    domains.insert(domain_id.as_str(), &[][..])?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Puts a record into its table, or takes it out.
fn put(
    table: &mut Table<'_, &str, &[u8]>,
    name: &str,
    record: Option<&impl Serialize>,
) -> Result<(), redb::Error> {
    match record {
        Some(record) => drop(table.insert(name, json(record).as_slice())?),
        None => drop(table.remove(name)?),
    }
    Ok(())
}

/// Changes a workflow that is kept; one that is gone stays gone.
fn change(
    workflows: &mut Table<'_, &str, &[u8]>,
    workflow_id: WorkflowId,
    change: impl FnOnce(WorkflowRecord) -> WorkflowRecord,
) -> Result<(), redb::Error> {
    let key = workflow_id.to_string();
    let kept = workflows.get(key.as_str())?;
    let Some(kept) = kept.map(|row| record(&key, row.value())) else {
        return Ok(());
    };
    let changed = change(kept.map_err(redb::Error::Corrupted)?);
    workflows.insert(key.as_str(), json(&changed).as_slice())?;
    Ok(())
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
        let row = row.map_err(|error| error.to_string())?;
        known.insert(DomainId::new(row.0.value()));
    }
    let life = transaction
        .open_table(LIFE)
        .map_err(|error| error.to_string())?;
    let life = life.get("life").map_err(|error| error.to_string())?;
    Ok(Kept {
        life: life.map_or(0, |number| number.value()),
        workflows: workflows.into_iter().map(|(_, record)| record).collect(),
        functions: functions.into_iter().map(|(_, record)| record).collect(),
        keys: read_table(database, KEYS)?,
        services: read_table(database, SERVICES)?,
        clients: read_table(database, CLIENTS)?,
        domains: known,
    })
}

fn record<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| format!("the record `{key}` is damaged: {error}"))
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
        let record = record(key.value(), value.value())?;
        records.push((key.value().to_owned(), record));
    }
    Ok(records)
}

#[cfg(test)]
pub(crate) mod tests;
