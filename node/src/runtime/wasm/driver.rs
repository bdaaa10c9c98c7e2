//! What drives a guest: a small module beside it, whose one call lasts as long as the guest lives.
//!
//! An event then costs a switch to the stack of the guest and back, and nothing is made, looked up or
//! locked for it.

use edgeless_dataflow::{Action, Answer, CallRef};
use edgeless_types::message::MessageKind;
use wasmtime::{AsContextMut, Caller, Extern, Instance, Linker, Module, Store, TypedFunc};

use super::{GuestState, guest::allocated, memory};
use crate::runtime::io::{Finished, Given};

/// Where the ids of the source lie in an event, and then its payload.
const NODE: usize = 16;
const IDS: usize = 32;

/// Kinds of what is next, as `driver.wat` knows them.
const CAST: i32 = 0;
const CALL: i32 = 1;
const STOP: i32 = 2;

type Guest<'a> = Caller<'a, GuestState>;

/// The compiled driver; cheap to clone.
#[derive(Clone)]
pub(super) struct Driver {
    module: Module,
    linker: std::sync::Arc<Linker<GuestState>>,
}

impl Driver {
    /// Compiles the driver.
    pub(super) fn compile(engine: &wasmtime::Engine) -> wasmtime::Result<Self> {
        let module = Module::new(engine, wat::parse_str(include_str!("driver.wat"))?)?;
        let mut linker = Linker::new(engine);
        linker.func_wrap_async("host", "next", |guest: Guest<'_>, (): ()| {
            Box::new(next(guest))
        })?;
        linker.func_wrap("host", "fill", fill)?;
        linker.func_wrap("host", "place", place)?;
        linker.func_wrap("host", "answer", answer)?;
        linker.func_wrap("guest", "edgeless_mem_clear", || {})?;
        Ok(Self {
            module,
            linker: std::sync::Arc::new(linker),
        })
    }

    /// Puts a driver beside a guest; answers what runs it.
    pub(super) async fn attach(
        &self,
        store: &mut Store<GuestState>,
        guest: Instance,
    ) -> wasmtime::Result<TypedFunc<(), ()>> {
        let mut imports: Vec<Extern> = Vec::new();
        for import in self.module.imports() {
            let (module, name) = (import.module(), import.name());
            let own = match module {
                "guest" => guest.get_func(&mut *store, name),
                _ => None,
            };
            imports.push(match own {
                Some(function) => function.into(),
                None => self
                    .linker
                    .get(&mut *store, module, name)
                    .map_err(|_| wasmtime::Error::msg(format!("the export `{name}` is missing")))?,
            });
        }
        let driver = Instance::new_async(&mut *store, &self.module, &imports).await?;
        driver.get_typed_func(&mut *store, "run")
    }
}

/// Says that the event before is handled, and waits for the next.
async fn next(mut guest: Guest<'_>) -> wasmtime::Result<(i32, i32)> {
    let state = guest.data_mut();
    (state.own.event, state.call) = (None, None);
    let io = state.io.clone();
    io.finish(Finished::Ready);
    let given = io.given().await;
    guest.data_mut().begin();
    guest.as_context_mut().set_epoch_deadline(1);
    match given {
        Given::Stop => Ok((STOP, 0)),
        Given::Message(message) => {
            let kind = match message.kind {
                MessageKind::Call => CALL,
                _ => CAST,
            };
            let length = i32::try_from(IDS + message.payload.len())?;
            let state = guest.data_mut();
            state.call = CallRef::of_call(&message);
            state.own.event = Some(message);
            Ok((kind, length))
        }
    }
}

fn fill(mut guest: Guest<'_>, pointer: i32) -> wasmtime::Result<()> {
    let start = allocated(pointer)?.cast_unsigned() as usize;
    let (bytes, state) = memory::of(&guest)?.data_and_store_mut(&mut guest);
    let Some(event) = &state.own.event else {
        return Err(wasmtime::Error::msg("there is no event"));
    };
    let end = start.saturating_add(IDS + event.payload.len());
    let place = bytes
        .get_mut(start..end)
        .ok_or_else(|| wasmtime::Error::msg("bad pointer from edgeless_mem_alloc"))?;
    place[..NODE].copy_from_slice(event.source.node_id.uuid().as_bytes());
    place[NODE..IDS].copy_from_slice(event.source.physical_id.uuid().as_bytes());
    place[IDS..].copy_from_slice(&event.payload);
    Ok(())
}

fn place(mut guest: Guest<'_>, pointer: i32) -> wasmtime::Result<()> {
    memory::write(&mut guest, allocated(pointer)?, &[0; 8])
}

fn answer(mut guest: Guest<'_>, kind: i32, out: i32) -> wasmtime::Result<(i32, i32)> {
    let (answer, range) = match kind {
        0 => (Answer::NoReply, (0, 0)),
        1 => {
            let out = memory::slice(&guest, (out, 8))?;
            let word = |at: usize| {
                let bytes = out[at..at + 4].try_into();
                bytes.map_or(0, i32::from_le_bytes)
            };
            let range = (word(0), word(4));
            let reply = memory::bytes(&mut guest, range)?;
            (Answer::Reply(reply), range)
        }
        _ => {
            let text = match guest.data_mut().failed_call.take() {
                Some(why) => {
                    format!("the function answered with an error after its call failed: {why}")
                }
                None => "the function answered with an error".to_owned(),
            };
            (Answer::Error(text), (0, 0))
        }
    };
    let state = guest.data_mut();
    if let Some(call) = state.call.take() {
        state.io.act(Action::Answer(call, answer));
    }
    Ok(range)
}
