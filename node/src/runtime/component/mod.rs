//! `WASM_COMPONENT`: WebAssembly components of the world in `node/wit`, from any language.
//!
//! A guest is called once per event; between events it has no stack.

mod guest;
mod imports;

#[cfg(test)]
mod tests;

use std::path::Path;

use wasmtime::{
    Engine, Store,
    component::{Component, ComponentExportIndex, InstancePre, Linker, types::ComponentItem},
};

use super::{
    cache::{self, CodeError},
    guest::Birth,
    kind::Kind,
};

/// The runtime for components.
pub type Runtime = super::Runtime<Components>;

type GuestState = super::guest::GuestState<guest::Own>;

/// Components.
pub struct Components {
    linker: Linker<GuestState>,
}

/// A component that is linked, and where its handlers are.
pub struct Ready {
    pre: InstancePre<GuestState>,
    /// In the order of [`HANDLERS`].
    handlers: [ComponentExportIndex; HANDLERS.len()],
}

/// What a component must export.
const HANDLERS: [&str; 4] = ["init", "handle-cast", "handle-call", "stop"];

impl Kind for Components {
    const NAME: &'static str = "WASM_COMPONENT";
    const HEADER: [u8; 8] = cache::COMPONENT;
    type Compiled = Component;
    type Ready = Ready;
    type Own = guest::Own;
    type Guest = guest::Guest;

    fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(engine);
        imports::define(&mut linker)?;
        Ok(Self { linker })
    }

    fn compile(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
        Component::new(engine, code)
    }

    fn read(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
        #[expect(unsafe_code, reason = "compiled code can only be loaded unsafely")]
        // SAFETY: the file is in a folder of ours and was written by the cache of an engine with the same
        // compatibility hash, as a whole or not at all.
        unsafe {
            Component::deserialize_file(engine, path)
        }
    }

    fn bytes(compiled: &Component) -> wasmtime::Result<Vec<u8>> {
        compiled.serialize()
    }

    fn link(&self, component: &Component) -> Result<Ready, CodeError> {
        let types = component.component_type();
        for (name, import) in types.imports(self.linker.engine()) {
            let is_type = matches!(import.ty, ComponentItem::Type(_));
            if !is_type && !imports::NAMES.contains(&name) {
                return Err(CodeError::Import {
                    import: name.to_owned(),
                    there: format!("there are {}", imports::NAMES.join(", ")),
                });
            }
        }
        let missing = HANDLERS.map(|name| component.get_export_index(None, name).is_none());
        let missing = HANDLERS.iter().zip(missing).filter(|(_, missing)| *missing);
        let missing: Vec<_> = missing.map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            let text = format!("it lacks the exports {}", missing.join(", "));
            return Err(CodeError::Link(text));
        }
        let handlers = HANDLERS.map(|name| {
            component
                .get_export_index(None, name)
                .expect("those that are missing are named above")
        });
        let pre = self
            .linker
            .instantiate_pre(component)
            .map_err(|error| CodeError::Link(format!("{error:#}")))?;
        Ok(Ready { pre, handlers })
    }

    async fn make(
        birth: &Birth<Self>,
        store: &mut Store<GuestState>,
    ) -> wasmtime::Result<guest::Guest> {
        guest::Guest::make(birth, store).await
    }

    async fn live(store: &mut Store<GuestState>, guest: guest::Guest) -> wasmtime::Result<()> {
        guest.live(store).await
    }
}
