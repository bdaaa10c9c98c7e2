//! What all guests of a node share: the WebAssembly engine with its pool, their bounds and clocks.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use edgeless_dataflow::Clock;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::ticker::{Ticker, Ticking};

/// Bounds on every guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of one instance in bytes.
    pub memory_bytes: usize,
    /// Time for one event, of computing alone.
    pub event_time: Duration,
    /// Messages, log entries and states that one event may send.
    pub event_actions: usize,
    /// Bytes of payloads, log entries and states that one event may send.
    pub event_bytes: usize,
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
            event_actions: 1 << 16,
            event_bytes: 128 << 20,
            instances: 2_000,
            restarts: 5,
            restart_window: Duration::from_secs(60),
        }
    }
}

/// The runtimes cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The WebAssembly engine refuses its settings or the machine.
    #[error("could not start the WebAssembly engine: {0}")]
    Engine(String),
    /// The folder of compiled code cannot be made.
    #[error("could not create `{}`", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<wasmtime::Error> for RuntimeError {
    fn from(error: wasmtime::Error) -> Self {
        Self::Engine(format!("{error:#}"))
    }
}

/// What makes and runs guests; cheap to clone.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) engine: wasmtime::Engine,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) ticker: Ticker,
}

impl Machine {
    /// Starts the engine and the ticker, which runs for as long as what is answered lives.
    pub(super) fn start(limits: Limits, clock: Clock) -> Result<(Self, Ticking), RuntimeError> {
        let engine = wasmtime::Engine::new(&settings(limits))?;
        let (ticker, ticking) = Ticker::start(&engine, limits.event_time)
            .map_err(|error| RuntimeError::Engine(error.to_string()))?;
        let machine = Self {
            engine,
            limits,
            clock,
            ticker,
        };
        Ok((machine, ticking))
    }
}

/// Creates the folder for what an engine of these settings compiles. What another version or other
/// settings have compiled is not ours to load.
pub(super) fn cache_folder(
    engine: &wasmtime::Engine,
    cache: &Path,
) -> Result<PathBuf, RuntimeError> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let path = cache.join(format!("{:016x}", hasher.finish()));
    match std::fs::create_dir_all(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(RuntimeError::Cache { path, source }),
    }
}

fn settings(limits: Limits) -> Config {
    let memory = limits.memory_bytes.next_multiple_of(64 << 10);
    let mut pool = PoolingAllocationConfig::default();
    // A guest has a driver beside it, or consists of a few modules with a table between them; only one
    // of them has a memory.
    pool.total_core_instances(limits.instances.saturating_mul(4))
        .total_component_instances(limits.instances)
        .total_memories(limits.instances)
        .max_memories_per_component(1)
        .total_tables(limits.instances.saturating_mul(2))
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
