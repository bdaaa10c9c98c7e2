//! Making a guest from a core module: memory, exports, its start.

use edgeless_types::message::Message;
use wasmtime::{Memory, Store, TypedFunc};

use super::GuestState;
use crate::runtime::guest;

/// What a core module needs besides what all guests do.
#[derive(Default)]
pub struct Own {
    pub(super) memory: Option<Memory>,
    pub(super) allocate: Option<TypedFunc<i32, i32>>,
    /// It allocates memory for the answer to a call.
    pub(super) allocates: bool,
    /// The event that is being handled.
    pub(super) event: Option<Message>,
}

impl Own {
    /// What allocates memory in the guest; an error before it is instantiated.
    pub(super) fn allocate(&self) -> wasmtime::Result<TypedFunc<i32, i32>> {
        self.allocate
            .clone()
            .ok_or_else(|| wasmtime::Error::msg("the guest is not ready"))
    }
}

type Birth = guest::Birth<super::Core>;

/// Makes a guest; answers what runs it.
pub(super) async fn make(
    birth: &Birth,
    store: &mut Store<GuestState>,
) -> wasmtime::Result<TypedFunc<(), ()>> {
    let instance = birth.code.instantiate_async(&mut *store).await?;
    let memory = instance
        .get_memory(&mut *store, "memory")
        .ok_or_else(|| wasmtime::Error::msg("the export `memory` is missing"))?;
    let allocate = instance.get_typed_func(&mut *store, "edgeless_mem_alloc")?;
    store.data_mut().own.memory = Some(memory);
    store.data_mut().own.allocate = Some(allocate);
    init(store, instance, birth).await?;
    birth.kind.driver.attach(store, instance).await
}

async fn init(
    store: &mut Store<GuestState>,
    instance: wasmtime::Instance,
    birth: &Birth,
) -> wasmtime::Result<()> {
    store.data_mut().begin();
    store.set_epoch_deadline(1);
    let init: TypedFunc<(i32, i32, i32, i32), ()> =
        instance.get_typed_func(&mut *store, "handle_init_asm")?;
    let free: TypedFunc<(i32, i32), ()> =
        instance.get_typed_func(&mut *store, "edgeless_mem_free")?;
    let payload = put(store, birth.init_payload.as_deref().unwrap_or_default()).await?;
    let state = put(store, birth.state.as_deref().unwrap_or_default()).await?;
    let arguments = (payload.0, payload.1, state.0, state.1);
    init.call_async(&mut *store, arguments).await?;
    for range in [payload, state] {
        if range.1 > 0 {
            free.call_async(&mut *store, range).await?;
        }
    }
    match instance.get_typed_func::<(), ()>(&mut *store, "edgeless_mem_clear") {
        Ok(clear) => clear.call_async(&mut *store, ()).await,
        Err(_) => Ok(()),
    }
}

/// Bytes in guest memory; nothing is absent.
async fn put(store: &mut Store<GuestState>, bytes: &[u8]) -> wasmtime::Result<(i32, i32)> {
    if bytes.is_empty() {
        return Ok((0, 0));
    }
    let length = i32::try_from(bytes.len())?;
    let allocate = store.data().own.allocate()?;
    let pointer = allocate.call_async(&mut *store, length).await;
    let pointer = pointer.and_then(allocated)?;
    let memory = store.data().own.memory;
    let memory = memory.ok_or_else(|| wasmtime::Error::msg("the guest is not ready"))?;
    memory.write(&mut *store, pointer.cast_unsigned() as usize, bytes)?;
    Ok((pointer, length))
}

/// What `edgeless_mem_alloc` gave; address 0 says that there is no memory.
pub(super) fn allocated(pointer: i32) -> wasmtime::Result<i32> {
    match pointer {
        0 => Err(wasmtime::Error::msg(
            "out of memory: edgeless_mem_alloc gave none",
        )),
        pointer => Ok(pointer),
    }
}
