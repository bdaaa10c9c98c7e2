//! `RUST_WASM`: core WebAssembly modules with the EDGELESS guest interface.
//!
//! A module is compiled once per content, kept in memory and on disk. An instance is one operator
//! on one shard; its guest runs on a stack of its own for as long as it lives (see `driver.wat`), so
//! that a call which waits for its answer, or an event that computes for long, lets the neighbours run.

mod driver;
mod guest;
mod imports;
mod io;
mod memory;
mod modules;
mod operator;
mod ticker;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{Clock, Factory};
use edgeless_types::CodeDigest;
use wasmtime::{Config, InstanceAllocationStrategy, Linker, PoolingAllocationConfig};

use guest::GuestState;
pub use modules::ModuleError;
use modules::Modules;
use ticker::Ticker;

/// Bounds on every guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of one instance in bytes.
    pub memory_bytes: usize,
    /// Time for one event, of computing alone.
    pub event_time: Duration,
    /// Instances at once; reserves address space, no memory.
    pub instances: u32,
    /// Restarts of an instance within `restart_window` before it counts as failed.
    pub restarts: usize,
    /// See `restarts`.
    pub restart_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 32 << 20,
            event_time: Duration::from_secs(1),
            instances: 2_000,
            restarts: 5,
            restart_window: Duration::from_secs(60),
        }
    }
}

/// The runtime of a node.
pub struct Runtime {
    engine: wasmtime::Engine,
    modules: Modules,
    limits: Limits,
    clock: Clock,
    driver: driver::Driver,
    ticker: Ticker,
    ticking: Option<JoinHandle<()>>,
}

/// The runtime cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The WebAssembly engine refuses its settings or the machine.
    #[error("could not start the WebAssembly engine: {0}")]
    Engine(String),
    /// The folder of compiled modules cannot be made.
    #[error("could not create `{}`", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Runtime {
    /// Starts the runtime; `cache` is the folder for compiled modules.
    ///
    /// # Errors
    /// The engine does not start, or the folder cannot be made.
    pub fn start(limits: Limits, cache: &Path, clock: Clock) -> Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::Engine(format!("{error:#}"));
        let engine = wasmtime::Engine::new(&settings(limits)).map_err(failed)?;
        let mut linker = Linker::<GuestState>::new(&engine);
        imports::define(&mut linker).map_err(failed)?;
        let driver = driver::Driver::compile(&engine).map_err(failed)?;
        let (ticker, ticking) = Ticker::start(&engine, limits.event_time)
            .map_err(|error| RuntimeError::Engine(error.to_string()))?;
        let modules = Modules::open(engine.clone(), linker, cache)?;
        Ok(Self {
            engine,
            modules,
            limits,
            clock,
            driver,
            ticker,
            ticking: Some(ticking),
        })
    }

    /// Compiles a module, or finds it compiled; runs on a thread of its own where that takes long.
    ///
    /// # Errors
    /// The code is no module, or lacks exports or has imports that the interface does not know.
    pub async fn load(&self, digest: CodeDigest, code: Bytes) -> Result<(), ModuleError> {
        self.modules.load(digest, code).await
    }

    /// Whether a module is in memory.
    pub fn is_loaded(&self, digest: CodeDigest) -> bool {
        self.modules.get(digest).is_some()
    }

    /// What makes an instance of a loaded module. `None`: it is not loaded.
    pub fn factory(
        &self,
        digest: CodeDigest,
        init_payload: Option<String>,
        state: Option<Bytes>,
    ) -> Option<Factory> {
        let module = self.modules.get(digest)?;
        let (engine, limits, clock) = (self.engine.clone(), self.limits, Arc::clone(&self.clock));
        let (driver, ticker) = (self.driver.clone(), self.ticker.clone());
        Some(Box::new(move |context| {
            let birth = guest::Birth {
                engine,
                driver,
                ticker,
                module,
                me: context.me,
                limits,
                clock,
                init_payload: init_payload.map(Bytes::from),
                state,
            };
            Ok(Box::new(operator::WasmOperator::new(birth)))
        }))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.ticker.end();
        if let Some(ticking) = self.ticking.take()
            && ticking.join().is_err()
        {
            tracing::error!("the ticker of guests panicked");
        }
    }
}

fn settings(limits: Limits) -> Config {
    let memory = limits.memory_bytes.next_multiple_of(64 << 10);
    let mut pool = PoolingAllocationConfig::default();
    // Each guest has a driver beside it.
    pool.total_core_instances(limits.instances.saturating_mul(2))
        .total_memories(limits.instances)
        .total_tables(limits.instances)
        .total_stacks(limits.instances)
        .table_elements(10_000)
        .max_memory_size(memory)
        .linear_memory_keep_resident(64 << 10)
        .table_keep_resident(4 << 10)
        .max_unused_warm_slots(16);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(memory as u64)
        .memory_guard_size(64 << 10)
        .epoch_interruption(true)
        .max_wasm_stack(256 << 10)
        .async_stack_size(512 << 10)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
    config
}
