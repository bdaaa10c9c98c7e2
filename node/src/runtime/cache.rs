//! Compiled code of one kind: once per content, in memory and on disk.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use edgeless_types::CodeDigest;

use super::kind::Kind;

/// Code in memory before what no instance uses is forgotten.
const LOADED: usize = 256;

/// Code that cannot be a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    /// It is something else.
    #[error("the code is {found}; {name} needs {needed}")]
    Kind {
        /// The function type.
        name: &'static str,
        /// What the code is.
        found: &'static str,
        /// What it should be.
        needed: &'static str,
    },
    /// It does not compile.
    #[error("the code is not WebAssembly that can be compiled: {0}")]
    Compile(String),
    /// It imports what is not there.
    #[error("the code imports `{import}`, which is not there; {there}")]
    Import {
        /// What it imports.
        import: String,
        /// What it could.
        there: String,
    },
    /// It cannot be linked.
    #[error("the code does not fit the interface: {0}")]
    Link(String),
    /// The thread that compiled it was ended.
    #[error("the compilation was ended")]
    Ended,
}

/// What core modules begin with: their magic number, version and layer.
pub(super) const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
/// What components begin with.
pub(super) const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// What code is, in words, by what it begins with.
fn described(header: &[u8]) -> &'static str {
    match header.first_chunk() {
        Some(&MODULE) => "a core module",
        Some(&COMPONENT) => "a component",
        _ => "neither a WebAssembly module nor a component",
    }
}

/// All code of a kind on a node.
pub(super) struct Cache<K: Kind>(Arc<Inner<K>>);

struct Inner<K: Kind> {
    engine: wasmtime::Engine,
    kind: Arc<K>,
    folder: PathBuf,
    loaded: Mutex<HashMap<CodeDigest, Arc<K::Ready>>>,
    /// Held while compiling, so that nothing is compiled twice.
    compiling: tokio::sync::Mutex<()>,
}

impl<K: Kind> Cache<K> {
    pub(super) fn open(engine: wasmtime::Engine, kind: Arc<K>, folder: PathBuf) -> Self {
        Self(Arc::new(Inner {
            engine,
            kind,
            folder,
            loaded: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
        }))
    }

    pub(super) fn get(&self, digest: CodeDigest) -> Option<Arc<K::Ready>> {
        self.0.loaded().get(&digest).map(Arc::clone)
    }

    pub(super) async fn load(&self, digest: CodeDigest, code: Bytes) -> Result<(), CodeError> {
        if self.get(digest).is_some() {
            return Ok(());
        }
        let _one_at_a_time = self.0.compiling.lock().await;
        if self.get(digest).is_some() {
            return Ok(());
        }
        let inner = Arc::clone(&self.0);
        let compiled = tokio::task::spawn_blocking(move || inner.compile(digest, &code)).await;
        let loaded = compiled.map_err(|_| CodeError::Ended)??;
        let mut all = self.0.loaded();
        if all.len() >= LOADED {
            // Whatever nobody runs can be had again from the disk.
            all.retain(|_, code| Arc::strong_count(code) > 1);
        }
        all.insert(digest, Arc::new(loaded));
        Ok(())
    }
}

impl<K: Kind> Inner<K> {
    fn loaded(&self) -> MutexGuard<'_, HashMap<CodeDigest, Arc<K::Ready>>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile(&self, digest: CodeDigest, code: &[u8]) -> Result<K::Ready, CodeError> {
        if !code.starts_with(&K::HEADER) {
            return Err(CodeError::Kind {
                name: K::NAME,
                found: described(code),
                needed: described(&K::HEADER),
            });
        }
        let path = self.folder.join(digest.to_string());
        let compiled = match self.read_compiled(&path) {
            Some(compiled) => compiled,
            None => {
                let compiled = K::compile(&self.engine, code)
                    .map_err(|error| CodeError::Compile(format!("{error:#}")))?;
                keep_compiled::<K>(&path, &compiled);
                compiled
            }
        };
        self.kind.link(&compiled)
    }

    fn read_compiled(&self, path: &Path) -> Option<K::Compiled> {
        if !path.exists() {
            return None;
        }
        K::read(&self.engine, path)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "compiled anew"))
            .ok()
    }
}

/// Writes compiled code as a whole or not at all.
fn keep_compiled<K: Kind>(path: &Path, compiled: &K::Compiled) {
    let write = || -> anyhow::Result<()> {
        let bytes = K::bytes(compiled).map_err(|error| anyhow::anyhow!("{error:#}"))?;
        let partial = path.with_extension("partial");
        std::fs::write(&partial, bytes)?;
        std::fs::rename(&partial, path)?;
        Ok(())
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), %error, "the compiled code is not kept");
    }
}
