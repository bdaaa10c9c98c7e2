//! What a guest may call: the module `env`.

use std::time::Duration;

use bytes::Bytes;
use edgeless_dataflow::{Action, Answer, Destination};
use wasmtime::{Caller, Linker};

use super::{GuestState, memory};

/// Names of everything a guest may import from `env`.
pub(super) const NAMES: [&str; 8] = [
    "cast_asm",
    "cast_raw_asm",
    "call_asm",
    "call_raw_asm",
    "delayed_cast_asm",
    "telemetry_log_asm",
    "slf_asm",
    "sync_asm",
];

type Guest<'a> = Caller<'a, GuestState>;
type Outcome<T> = wasmtime::Result<T>;

/// Defines all imports.
pub(super) fn define(linker: &mut Linker<GuestState>) -> Outcome<()> {
    linker.func_wrap("env", "cast_asm", cast)?;
    linker.func_wrap("env", "cast_raw_asm", cast_raw)?;
    linker.func_wrap("env", "delayed_cast_asm", delayed_cast)?;
    linker.func_wrap("env", "telemetry_log_asm", telemetry_log)?;
    linker.func_wrap("env", "slf_asm", slf)?;
    linker.func_wrap("env", "sync_asm", sync)?;
    linker.func_wrap_async(
        "env",
        "call_asm",
        |guest: Guest<'_>, arguments: (i32, i32, i32, i32, i32, i32)| {
            let (target, target_length, pointer, length, out_pointer, out_length) = arguments;
            Box::new(async move {
                let to = memory::channel(&guest, (target, target_length))?;
                let to = Destination::Channel(to);
                call(guest, to, (pointer, length), (out_pointer, out_length)).await
            })
        },
    )?;
    linker.func_wrap_async(
        "env",
        "call_raw_asm",
        |guest: Guest<'_>, arguments: (i32, i32, i32, i32, i32, i32)| {
            let (node, component, pointer, length, out_pointer, out_length) = arguments;
            Box::new(async move {
                let to = memory::instance(&guest, node, component)?;
                let to = Destination::Instance(to);
                call(guest, to, (pointer, length), (out_pointer, out_length)).await
            })
        },
    )?;
    Ok(())
}

fn cast(
    mut guest: Guest<'_>,
    target: i32,
    target_length: i32,
    pointer: i32,
    length: i32,
) -> Outcome<()> {
    let to = Destination::Channel(memory::channel(&guest, (target, target_length))?);
    let payload = memory::bytes(&mut guest, (pointer, length))?;
    guest.data_mut().act(Action::Cast(to, payload))
}

fn cast_raw(
    mut guest: Guest<'_>,
    node: i32,
    component: i32,
    pointer: i32,
    length: i32,
) -> Outcome<()> {
    let to = Destination::Instance(memory::instance(&guest, node, component)?);
    let payload = memory::bytes(&mut guest, (pointer, length))?;
    guest.data_mut().act(Action::Cast(to, payload))
}

fn delayed_cast(
    mut guest: Guest<'_>,
    delay_ms: i64,
    target: i32,
    target_length: i32,
    pointer: i32,
    length: i32,
) -> Outcome<()> {
    let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
    let to = Destination::Channel(memory::channel(&guest, (target, target_length))?);
    let payload = memory::bytes(&mut guest, (pointer, length))?;
    guest.data_mut().act(Action::Delayed(delay, to, payload))
}

fn telemetry_log(
    mut guest: Guest<'_>,
    level: i32,
    target: i32,
    target_length: i32,
    message: i32,
    message_length: i32,
) -> Outcome<()> {
    let target = memory::text(&guest, (target, target_length))?;
    let value = memory::text(&guest, (message, message_length))?;
    guest.data_mut().log(level, target, value)
}

fn slf(mut guest: Guest<'_>, out_node: i32, out_component: i32) -> Outcome<()> {
    let me = guest.data().me;
    memory::write(&mut guest, out_node, me.node_id.uuid().as_bytes())?;
    memory::write(&mut guest, out_component, me.physical_id.uuid().as_bytes())
}

fn sync(mut guest: Guest<'_>, pointer: i32, length: i32) -> Outcome<()> {
    let state = memory::bytes(&mut guest, (pointer, length))?;
    guest.data_mut().save(state)
}

async fn call(
    mut guest: Guest<'_>,
    to: Destination,
    payload: memory::Range,
    (out_pointer, out_length): (i32, i32),
) -> Outcome<i32> {
    if guest.data().own.allocates {
        // Else each answer could ask for another, each on a stack of its own.
        return Err(wasmtime::Error::msg(
            "edgeless_mem_alloc calls while it is asked for memory for an answer",
        ));
    }
    let payload = memory::bytes(&mut guest, payload)?;
    let io = guest.data().io.clone();
    let answer = io.call(to, payload).await;
    guest.data().resume();
    match answer {
        Answer::NoReply => Ok(0),
        Answer::Reply(reply) => {
            write_answer(&mut guest, &reply, out_pointer, out_length).await?;
            Ok(1)
        }
        Answer::Error(text) => {
            guest.data_mut().failed_call = Some(text);
            Ok(2)
        }
    }
}

async fn write_answer(
    guest: &mut Guest<'_>,
    answer: &Bytes,
    out_pointer: i32,
    out_length: i32,
) -> Outcome<()> {
    let allocate = guest.data().own.allocate()?;
    let length = i32::try_from(answer.len())?;
    guest.data_mut().own.allocates = true;
    let allocated = allocate.call_async(&mut *guest, length).await;
    guest.data_mut().own.allocates = false;
    let pointer = allocated.and_then(super::guest::allocated)?;
    memory::write(guest, pointer, answer)?;
    memory::write(guest, out_pointer, &pointer.to_le_bytes())?;
    memory::write(guest, out_length, &length.to_le_bytes())
}
