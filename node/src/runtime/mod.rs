//! Runtimes: what can run the code of a function.
//!
//! Code is compiled once per content, kept in memory and on disk. An instance is one operator on one
//! shard; its guest lives in a future of its own, so that a call which waits for its answer, or an event
//! that computes for long, lets the neighbours run.

mod arena;
mod cache;
pub mod component;
mod guest;
mod io;
mod kind;
mod machine;
mod operator;
mod restarts;
#[cfg(test)]
mod testing;
mod ticker;
pub mod wasm;

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use edgeless_dataflow::{Clock, Factory};
use edgeless_types::CodeDigest;

use cache::Cache;
pub use cache::CodeError;
pub use kind::Kind;
use machine::Machine;
pub use machine::{Limits, RuntimeError};
use ticker::Ticking;

/// All runtimes of a node; they share one engine.
pub struct Runtimes {
    /// For `RUST_WASM`.
    pub wasm: wasm::Runtime,
    /// For `WASM_COMPONENT`.
    pub component: component::Runtime,
}

impl Runtimes {
    /// The function types there are, as a node announces them.
    pub const NAMES: [&str; 2] = [wasm::Core::NAME, component::Components::NAME];

    /// Starts the runtimes; `cache` is the folder for compiled code.
    ///
    /// # Errors
    /// The engine does not start, or the folder cannot be made.
    pub fn start(limits: Limits, cache: &Path, clock: Clock) -> Result<Self, RuntimeError> {
        let (machine, ticking) = Machine::start(limits, clock)?;
        let ticking = Arc::new(ticking);
        Ok(Self {
            wasm: Runtime::new(machine.clone(), cache, Arc::clone(&ticking))?,
            component: Runtime::new(machine, cache, ticking)?,
        })
    }
}

/// The runtime for one kind of code.
pub struct Runtime<K: Kind> {
    machine: Machine,
    kind: Arc<K>,
    cache: Cache<K>,
    _ticking: Arc<Ticking>,
}

impl<K: Kind> Runtime<K> {
    fn new(machine: Machine, cache: &Path, ticking: Arc<Ticking>) -> Result<Self, RuntimeError> {
        let kind = Arc::new(K::new(&machine.engine)?);
        let folder = machine::cache_folder(&machine.engine, cache)?;
        let cache = Cache::open(machine.engine.clone(), Arc::clone(&kind), folder);
        Ok(Self {
            machine,
            kind,
            cache,
            _ticking: ticking,
        })
    }

    /// Compiles code, or finds it compiled; runs on a thread of its own where that takes long.
    ///
    /// # Errors
    /// The code is of another kind, or does not fit the interface.
    pub async fn load(&self, digest: CodeDigest, code: Bytes) -> Result<(), CodeError> {
        self.cache.load(digest, code).await
    }

    /// Whether code is in memory.
    pub fn is_loaded(&self, digest: CodeDigest) -> bool {
        self.cache.get(digest).is_some()
    }

    /// What makes an instance of loaded code. `None`: it is not loaded.
    pub fn factory(
        &self,
        digest: CodeDigest,
        init_payload: Option<String>,
        state: Option<Bytes>,
    ) -> Option<Factory> {
        let code = self.cache.get(digest)?;
        let (machine, kind) = (self.machine.clone(), Arc::clone(&self.kind));
        Some(Box::new(move |context| {
            let birth = guest::Birth {
                machine,
                kind,
                code,
                me: context.me,
                init_payload: init_payload.map(Bytes::from),
                state,
            };
            Ok(Box::new(operator::GuestOperator::new(birth)))
        }))
    }
}
