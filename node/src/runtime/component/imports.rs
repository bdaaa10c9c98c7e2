//! What a component may import: the interfaces of `node/wit`.

use std::time::Duration;

use bytes::Bytes;
use edgeless_dataflow::{Action, Answer, Destination};
use wasmtime::{
    StoreContextMut,
    component::{ComponentType, Lift, Linker, Lower, WasmList, WasmStr},
};

use super::{GuestState, guest::WireId};
use crate::runtime::guest::channel_name;

/// Names of everything a component may import.
pub(super) const NAMES: [&str; 5] = [TYPES, MESSAGES, LOGS, STATE, ENV];

/// It has types alone, so that nothing is defined for it.
const TYPES: &str = "edgeless:guest/types@0.1.0";
const MESSAGES: &str = "edgeless:guest/messages@0.1.0";
const LOGS: &str = "edgeless:guest/logs@0.1.0";
const STATE: &str = "edgeless:guest/state@0.1.0";
const ENV: &str = "edgeless:guest/env@0.1.0";

type Guest<'a> = StoreContextMut<'a, GuestState>;
type Outcome<T> = wasmtime::Result<T>;

/// How much a log entry matters.
#[derive(Clone, Copy, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "only guests make values of it")]
enum Level {
    #[component(name = "error")]
    Error,
    #[component(name = "warn")]
    Warn,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
    #[component(name = "trace")]
    Trace,
}

/// Defines all imports.
pub(super) fn define(linker: &mut Linker<GuestState>) -> Outcome<()> {
    define_messages(linker)?;
    linker.instance(LOGS)?.func_wrap(
        "log",
        |mut guest: Guest<'_>, (level, target, text): (Level, String, String)| {
            // Levels are counted from 1.
            guest.data_mut().log(level as i32 + 1, target, text)
        },
    )?;
    linker.instance(STATE)?.func_wrap(
        "save",
        |mut guest: Guest<'_>, (state,): (WasmList<u8>,)| {
            let state = bytes(&mut guest, &state);
            guest.data_mut().save(state)
        },
    )?;
    let mut env = linker.instance(ENV)?;
    env.func_wrap("me", |guest: Guest<'_>, (): ()| {
        Ok((WireId::from(guest.data().me),))
    })?;
    env.func_wrap("init-payload", |guest: Guest<'_>, (): ()| {
        Ok((guest.data().own.init_payload.clone(),))
    })
}

fn define_messages(linker: &mut Linker<GuestState>) -> Outcome<()> {
    let mut messages = linker.instance(MESSAGES)?;
    messages.func_wrap(
        "cast",
        |mut guest: Guest<'_>, (to, payload): (WasmStr, WasmList<u8>)| {
            let to = channel(&guest, &to)?;
            let payload = bytes(&mut guest, &payload);
            guest.data_mut().act(Action::Cast(to, payload))
        },
    )?;
    messages.func_wrap(
        "cast-to",
        |mut guest: Guest<'_>, (to, payload): (WireId, WasmList<u8>)| {
            let payload = bytes(&mut guest, &payload);
            let to = Destination::Instance(to.into());
            guest.data_mut().act(Action::Cast(to, payload))
        },
    )?;
    messages.func_wrap(
        "delayed-cast",
        |mut guest: Guest<'_>, (delay_ms, to, payload): (u64, WasmStr, WasmList<u8>)| {
            let to = channel(&guest, &to)?;
            let payload = bytes(&mut guest, &payload);
            let delay = Duration::from_millis(delay_ms);
            guest.data_mut().act(Action::Delayed(delay, to, payload))
        },
    )?;
    messages.func_wrap_async(
        "call",
        |mut guest: Guest<'_>, (to, payload): (WasmStr, WasmList<u8>)| {
            Box::new(async move {
                let to = channel(&guest, &to)?;
                let payload = bytes(&mut guest, &payload);
                Ok((call(guest, to, payload).await,))
            })
        },
    )?;
    messages.func_wrap_async(
        "call-to",
        |mut guest: Guest<'_>, (to, payload): (WireId, WasmList<u8>)| {
            Box::new(async move {
                let payload = bytes(&mut guest, &payload);
                let to = Destination::Instance(to.into());
                Ok((call(guest, to, payload).await,))
            })
        },
    )
}

/// A copy of a list in the memory of the guest.
fn bytes(guest: &mut Guest<'_>, list: &WasmList<u8>) -> Bytes {
    let mut arena = std::mem::take(&mut guest.data_mut().arena);
    let bytes = arena.keep(list.as_le_slice(&*guest));
    guest.data_mut().arena = arena;
    bytes
}

fn channel(guest: &Guest<'_>, name: &WasmStr) -> Outcome<Destination> {
    let name = name.to_str(guest)?;
    channel_name(name.as_bytes()).map(Destination::Channel)
}

async fn call(guest: Guest<'_>, to: Destination, payload: Bytes) -> Result<Option<Bytes>, String> {
    let io = guest.data().io.clone();
    let answer = io.call(to, payload).await;
    guest.data().resume();
    match answer {
        Answer::NoReply => Ok(None),
        Answer::Reply(reply) => Ok(Some(reply)),
        Answer::Error(text) => Err(text),
    }
}
