//! `RUST_WASM`: core WebAssembly modules with the EDGELESS guest interface.
//!
//! A guest runs on a stack of its own for as long as it lives (see `driver.wat`), so that an event costs a
//! switch to that stack and back.

mod driver;
mod guest;
mod imports;
mod memory;

#[cfg(test)]
mod bad_guests;
#[cfg(test)]
mod tests;

use std::path::Path;

use wasmtime::{Engine, InstancePre, Linker, Module, Store, TypedFunc};

use super::{
    cache::{self, CodeError},
    guest::Birth,
    kind::Kind,
};

/// The runtime for core modules.
pub type Runtime = super::Runtime<Core>;

type GuestState = super::guest::GuestState<guest::Own>;

/// Core modules.
pub struct Core {
    linker: Linker<GuestState>,
    driver: driver::Driver,
}

impl Kind for Core {
    const NAME: &'static str = "RUST_WASM";
    const HEADER: [u8; 8] = cache::MODULE;
    type Compiled = Module;
    type Ready = InstancePre<GuestState>;
    type Own = guest::Own;
    type Guest = TypedFunc<(), ()>;

    fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        imports::define(&mut linker)?;
        let driver = driver::Driver::compile(engine)?;
        Ok(Self { linker, driver })
    }

    fn compile(engine: &Engine, code: &[u8]) -> wasmtime::Result<Module> {
        Module::new(engine, code)
    }

    fn read(engine: &Engine, path: &Path) -> wasmtime::Result<Module> {
        #[expect(unsafe_code, reason = "compiled code can only be loaded unsafely")]
        // SAFETY: the file is in a folder of ours and was written by the cache of an engine with the same
        // compatibility hash, as a whole or not at all.
        unsafe {
            Module::deserialize_file(engine, path)
        }
    }

    fn bytes(compiled: &Module) -> wasmtime::Result<Vec<u8>> {
        compiled.serialize()
    }

    fn link(&self, module: &Module) -> Result<Self::Ready, CodeError> {
        for import in module.imports() {
            if import.module() != "env" || !imports::NAMES.contains(&import.name()) {
                return Err(CodeError::Import {
                    import: format!("{}.{}", import.module(), import.name()),
                    there: format!("`env` has {}", imports::NAMES.join(", ")),
                });
            }
        }
        self.linker
            .instantiate_pre(module)
            .map_err(|error| CodeError::Link(format!("{error:#}")))
    }

    async fn make(
        birth: &Birth<Self>,
        store: &mut Store<GuestState>,
    ) -> wasmtime::Result<Self::Guest> {
        guest::make(birth, store).await
    }

    async fn live(store: &mut Store<GuestState>, run: Self::Guest) -> wasmtime::Result<()> {
        run.call_async(store, ()).await
    }
}
