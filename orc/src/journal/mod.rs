//! The journal: what survives the end of ε-ORC, whatever ended it, and be ε-CON away. That is what is desired, which of
//! it sleeps and what it has saved, and which nodes are cordoned or drained. What is observed comes from the nodes.
//!
//! One thread writes ([`edgeless_daemon::writer`]); `keeper` says when, and who is answered then.

mod difference;
pub(crate) mod keeper;
mod sleepers;
mod tables;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use edgeless_daemon::writer::{Writer, Written};
use edgeless_types::{LogicalId, NodeId};

use crate::domain::VertexRequest;
pub use difference::Difference;
use tables::Tables;

/// The name of the file in the folder of ε-ORC.
pub const FILE: &str = "orc.redb";

/// Everything that was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whether it was ever said what is desired; then `vertices` are all of it, be they none.
    pub told: bool,
    /// What is desired.
    pub vertices: Vec<VertexRequest>,
    /// Those of them that have no copies, and what their last ones have saved.
    pub asleep: BTreeMap<LogicalId, Option<Bytes>>,
    /// Nodes that take nothing new.
    pub cordoned: BTreeSet<NodeId>,
    /// Those of them from which everything goes elsewhere.
    pub drained: BTreeSet<NodeId>,
}

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened, read or written.
    #[error("could not use the journal `{}`: {problem}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// The file is not what was written.
    #[error(
        "the journal `{}` is damaged: {problem}; restore it from a copy, or move it away: then ε-CON says again what \
         is desired, and cordons have to be set again",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Writes in order; cheap to clone.
#[derive(Clone)]
pub struct Journal {
    writer: Writer<Arc<Difference>>,
}

impl Journal {
    /// Opens the journal, or begins one, and reads everything.
    ///
    /// # Errors
    /// The file cannot be opened or is damaged.
    pub fn open(path: &Path) -> Result<(Self, Kept), OpenError> {
        let unusable = |error: std::io::Error| OpenError::Unusable {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(unusable)?;
        }
        let tables = Tables::open(path)?;
        let kept = tables.read(path)?;
        let again = path.to_owned();
        let reopen = move || Tables::open(&again).map_err(|error| error.to_string());
        let writer = Writer::spawn(tables, reopen).map_err(unusable)?;
        Ok((Self { writer }, kept))
    }

    /// Hands over what is to be changed; the outcome comes when it is on disk.
    pub fn submit(&self, difference: Arc<Difference>) -> Written {
        self.writer.submit(vec![difference])
    }

    /// Finishes what was handed over and lets go of the file.
    pub async fn close(&self) {
        self.writer.close().await;
    }
}

#[cfg(test)]
pub(crate) mod tests;
