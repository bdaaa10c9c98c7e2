//! Reading and writing the memory of a guest. Every pointer of a guest is checked.

use bytes::Bytes;
use edgeless_dataflow::ChannelName;
use edgeless_types::{InstanceId, NodeId, PhysicalId};
use uuid::Uuid;
use wasmtime::{Caller, Memory};

use super::GuestState;
use crate::runtime::guest::{LOG_BYTES, channel_name};

/// A pointer and a length as the guest passes them.
pub(super) type Range = (i32, i32);

/// The memory of the calling guest.
pub(super) fn of(caller: &Caller<'_, GuestState>) -> wasmtime::Result<Memory> {
    caller
        .data()
        .own
        .memory
        .ok_or_else(|| wasmtime::Error::msg("the guest has no memory yet"))
}

/// The bytes of a range; an error when it is not inside the memory.
pub(super) fn slice<'a>(
    caller: &'a Caller<'_, GuestState>,
    (pointer, length): Range,
) -> wasmtime::Result<&'a [u8]> {
    let (start, length) = (
        pointer.cast_unsigned() as usize,
        length.cast_unsigned() as usize,
    );
    let data = of(caller)?.data(caller);
    data.get(start..start.saturating_add(length))
        .ok_or_else(|| {
            wasmtime::Error::msg(format!(
                "bad pointer: {length} bytes at {start} are outside of the memory of {} bytes",
                data.len()
            ))
        })
}

/// A copy of the bytes of a range.
pub(super) fn bytes(caller: &mut Caller<'_, GuestState>, range: Range) -> wasmtime::Result<Bytes> {
    if range.1 == 0 {
        return Ok(Bytes::new());
    }
    // For what is wrong with the range, in words.
    slice(caller, range)?;
    let (start, length) = (
        range.0.cast_unsigned() as usize,
        range.1.cast_unsigned() as usize,
    );
    let (data, state) = of(caller)?.data_and_store_mut(caller);
    Ok(state.arena.keep(&data[start..start + length]))
}

/// The name of a channel.
pub(super) fn channel(
    caller: &Caller<'_, GuestState>,
    range: Range,
) -> wasmtime::Result<ChannelName> {
    channel_name(slice(caller, range)?)
}

/// Text of a log entry; what is not UTF-8 in it is replaced, and what is too long is not copied.
pub(super) fn text(caller: &Caller<'_, GuestState>, range: Range) -> wasmtime::Result<String> {
    let bytes = slice(caller, range)?;
    // A character that is torn here lies beyond what is kept.
    let bytes = &bytes[..bytes.len().min(LOG_BYTES + 4)];
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The ids of an instance, 16 bytes each.
pub(super) fn instance(
    caller: &Caller<'_, GuestState>,
    node: i32,
    component: i32,
) -> wasmtime::Result<InstanceId> {
    let uuid = |pointer| {
        let bytes = slice(caller, (pointer, 16))?;
        Uuid::from_slice(bytes).map_err(|error| wasmtime::Error::msg(error.to_string()))
    };
    Ok(InstanceId {
        node_id: NodeId::new(uuid(node)?),
        physical_id: PhysicalId::new(uuid(component)?),
    })
}

/// Writes bytes at a pointer of the guest.
pub(super) fn write(
    caller: &mut Caller<'_, GuestState>,
    pointer: i32,
    bytes: &[u8],
) -> wasmtime::Result<()> {
    let memory = of(caller)?;
    memory
        .write(caller, pointer.cast_unsigned() as usize, bytes)
        .map_err(|_| {
            wasmtime::Error::msg(format!(
                "bad pointer: cannot write {} bytes at it",
                bytes.len()
            ))
        })
}
