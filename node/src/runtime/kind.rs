//! What kinds of guest code differ in; all else is the same for each.

use std::{future::Future, path::Path};

use wasmtime::{Engine, Store};

use super::{
    cache::CodeError,
    guest::{Birth, GuestState},
};

/// A kind of guest code: how it is compiled, linked, made and driven.
pub trait Kind: Sized + Send + Sync + 'static {
    /// The function type, as workflows and capabilities name it.
    const NAME: &'static str;
    /// What its code begins with.
    const HEADER: [u8; 8];
    /// Compiled code.
    type Compiled: Send;
    /// Code that is linked, ready to be instantiated.
    type Ready: Send + Sync;
    /// What it keeps in the store of a guest besides what all do.
    type Own: Default + Send + 'static;
    /// A guest in its store.
    type Guest;

    /// Prepares the interface that guests import.
    ///
    /// # Errors
    /// The engine refuses it.
    fn new(engine: &Engine) -> wasmtime::Result<Self>;

    /// Compiles code.
    ///
    /// # Errors
    /// It is not valid, or uses what the engine does not have.
    fn compile(engine: &Engine, code: &[u8]) -> wasmtime::Result<Self::Compiled>;

    /// Reads compiled code from a file which the cache has written.
    ///
    /// # Errors
    /// The file cannot be read, or is of another engine.
    fn read(engine: &Engine, path: &Path) -> wasmtime::Result<Self::Compiled>;

    /// Compiled code as bytes.
    ///
    /// # Errors
    /// The engine cannot put it into words.
    fn bytes(compiled: &Self::Compiled) -> wasmtime::Result<Vec<u8>>;

    /// Links code with the interface.
    ///
    /// # Errors
    /// It imports what is not there, or lacks what must be.
    fn link(&self, compiled: &Self::Compiled) -> Result<Self::Ready, CodeError>;

    /// Makes a guest and starts it with its payload and state.
    ///
    /// # Errors
    /// It traps or does not fit the interface.
    fn make(
        birth: &Birth<Self>,
        store: &mut Store<GuestState<Self::Own>>,
    ) -> impl Future<Output = wasmtime::Result<Self::Guest>>;

    /// Hands it one event after the other, until it is told to stop.
    ///
    /// # Errors
    /// The handling of an event trapped.
    fn live(
        store: &mut Store<GuestState<Self::Own>>,
        guest: Self::Guest,
    ) -> impl Future<Output = wasmtime::Result<()>>;
}
