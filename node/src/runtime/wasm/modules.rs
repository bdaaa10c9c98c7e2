//! Compiled modules: once per content, in memory and on disk.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use edgeless_types::CodeDigest;
use wasmtime::{InstancePre, Linker, Module};

use super::{RuntimeError, guest::GuestState, imports};

/// Modules in memory before those that no instance uses are forgotten.
const LOADED: usize = 256;

/// A module, ready to be instantiated.
pub(super) struct Loaded {
    pub(super) pre: InstancePre<GuestState>,
}

/// Code that cannot be a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// It does not compile.
    #[error("the code is not a WebAssembly module that can be compiled: {0}")]
    Compile(String),
    /// It imports what is not there.
    #[error("the code imports `{module}.{name}`, which is not there; `env` has {}", imports::NAMES.join(", "))]
    Import {
        /// The module imported from.
        module: String,
        /// The name imported.
        name: String,
    },
    /// It cannot be linked.
    #[error("the code does not fit the interface: {0}")]
    Link(String),
    /// The thread that compiled it was ended.
    #[error("the compilation was ended")]
    Ended,
}

/// All modules of a node.
pub(super) struct Modules(Arc<Inner>);

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<GuestState>,
    cache: PathBuf,
    loaded: Mutex<HashMap<CodeDigest, Arc<Loaded>>>,
    /// Held while compiling, so that nothing is compiled twice.
    compiling: tokio::sync::Mutex<()>,
}

impl Modules {
    pub(super) fn open(
        engine: wasmtime::Engine,
        linker: Linker<GuestState>,
        cache: &Path,
    ) -> Result<Self, RuntimeError> {
        // What another version or other settings have compiled is not ours to load.
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = cache.join(format!("{:016x}", hasher.finish()));
        std::fs::create_dir_all(&cache).map_err(|source| RuntimeError::Cache {
            path: cache.clone(),
            source,
        })?;
        Ok(Self(Arc::new(Inner {
            engine,
            linker,
            cache,
            loaded: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
        })))
    }

    pub(super) fn get(&self, digest: CodeDigest) -> Option<Arc<Loaded>> {
        self.0.loaded().get(&digest).map(Arc::clone)
    }

    pub(super) async fn load(&self, digest: CodeDigest, code: Bytes) -> Result<(), ModuleError> {
        if self.get(digest).is_some() {
            return Ok(());
        }
        let _one_at_a_time = self.0.compiling.lock().await;
        if self.get(digest).is_some() {
            return Ok(());
        }
        let inner = Arc::clone(&self.0);
        let compiled = tokio::task::spawn_blocking(move || inner.compile(digest, &code)).await;
        let loaded = compiled.map_err(|_| ModuleError::Ended)??;
        let mut all = self.0.loaded();
        if all.len() >= LOADED {
            // Whatever nobody runs can be had again from the disk.
            all.retain(|_, module| Arc::strong_count(module) > 1);
        }
        all.insert(digest, Arc::new(loaded));
        Ok(())
    }
}

impl Inner {
    fn loaded(&self) -> MutexGuard<'_, HashMap<CodeDigest, Arc<Loaded>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(&self, digest: CodeDigest, code: &[u8]) -> Result<Loaded, ModuleError> {
        let path = self.cache.join(digest.to_string());
        let module = match self.read_compiled(&path) {
            Some(module) => module,
            None => {
                let module = Module::new(&self.engine, code)
                    .map_err(|error| ModuleError::Compile(format!("{error:#}")))?;
                self.keep_compiled(&path, &module);
                module
            }
        };
        for import in module.imports() {
            if import.module() != "env" || !imports::NAMES.contains(&import.name()) {
                return Err(ModuleError::Import {
                    module: import.module().to_owned(),
                    name: import.name().to_owned(),
                });
            }
        }
        let pre = self
            .linker
            .instantiate_pre(&module)
            .map_err(|error| ModuleError::Link(format!("{error:#}")))?;
        Ok(Loaded { pre })
    }

    fn read_compiled(&self, path: &Path) -> Option<Module> {
        if !path.exists() {
            return None;
        }
        #[expect(unsafe_code, reason = "compiled code can only be loaded unsafely")]
        // SAFETY: the file is in a folder of ours and was written by `keep_compiled` of an engine with
        // the same compatibility hash, as a whole or not at all.
        let module = unsafe { Module::deserialize_file(&self.engine, path) };
        module
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "compiled anew"))
            .ok()
    }

    fn keep_compiled(&self, path: &Path, module: &Module) {
        let write = || -> anyhow::Result<()> {
            let bytes = module
                .serialize()
                .map_err(|error| anyhow::anyhow!("{error:#}"))?;
            let partial = path.with_extension("partial");
            std::fs::write(&partial, bytes)?;
            std::fs::rename(&partial, path)?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::warn!(path = %path.display(), %error, "the compiled module is not kept");
        }
    }
}
