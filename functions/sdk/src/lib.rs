//! Write a function for `RUST_WASM`: implement [`Function`], then `export!(YourType);`.
//!
//! ```ignore
//! struct Double;
//! impl Function for Double {
//!     fn init(_: &[u8], _: Option<&[u8]>) -> Self { Self }
//!     fn cast(&mut self, _: Source, payload: &[u8]) { cast("out", payload); }
//! }
//! export!(Double);
//! ```

use std::{alloc::Layout, cell::Cell};

mod env {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub fn cast_asm(
            target: *const u8,
            target_len: usize,
            payload: *const u8,
            payload_len: usize,
        );
        pub fn cast_raw_asm(
            node: *const u8,
            component: *const u8,
            payload: *const u8,
            payload_len: usize,
        );
        pub fn call_asm(
            target: *const u8,
            target_len: usize,
            payload: *const u8,
            payload_len: usize,
            out: *mut *mut u8,
            out_len: *mut usize,
        ) -> i32;
        pub fn delayed_cast_asm(
            delay_ms: i64,
            target: *const u8,
            target_len: usize,
            payload: *const u8,
            payload_len: usize,
        );
        pub fn telemetry_log_asm(
            level: usize,
            target: *const u8,
            target_len: usize,
            message: *const u8,
            message_len: usize,
        );
        pub fn slf_asm(node: *mut u8, component: *mut u8);
        pub fn sync_asm(state: *const u8, state_len: usize);
    }
}

/// An instance: where an event came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The id of its node.
    pub node_id: [u8; 16],
    /// Its own id.
    pub component_id: [u8; 16],
}

/// What a call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Handled, without an answer.
    NoReply,
    /// Handled, with this answer.
    Reply(Vec<u8>),
    /// Not handled.
    Error,
}

/// A function.
pub trait Function: Sized {
    /// Begins, with the annotation `init-payload` (empty where there is none) and what its
    /// predecessor saved with [`sync`].
    fn init(payload: &[u8], state: Option<&[u8]>) -> Self;

    /// Handles an event for which no answer is expected.
    fn cast(&mut self, source: Source, payload: &[u8]);

    /// Handles an event for which an answer is expected.
    fn call(&mut self, _source: Source, _payload: &[u8]) -> Answer {
        Answer::NoReply
    }

    /// Ends.
    fn stop(&mut self) {}
}

/// How important a log entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is odd.
    Warn = 2,
    /// Something happened.
    Info = 3,
    /// For developers.
    Debug = 4,
    /// For developers with patience.
    Trace = 5,
}

/// Sends on an output channel; `self` is the instance itself.
pub fn cast(channel: &str, payload: &[u8]) {
    // SAFETY: both ranges live for the call, and the host only reads them.
    unsafe {
        env::cast_asm(
            channel.as_ptr(),
            channel.len(),
            payload.as_ptr(),
            payload.len(),
        )
    }
}

/// Sends to one instance.
pub fn cast_raw(to: Source, payload: &[u8]) {
    // SAFETY: all ranges live for the call, and the host only reads them.
    unsafe {
        env::cast_raw_asm(
            to.node_id.as_ptr(),
            to.component_id.as_ptr(),
            payload.as_ptr(),
            payload.len(),
        );
    }
}

/// Calls on an output channel and waits for the answer.
pub fn call(channel: &str, payload: &[u8]) -> Answer {
    let (mut out, mut out_len) = (std::ptr::null_mut(), 0);
    // SAFETY: all ranges live for the call; the host writes the two out values.
    let kind = unsafe {
        env::call_asm(
            channel.as_ptr(),
            channel.len(),
            payload.as_ptr(),
            payload.len(),
            &mut out,
            &mut out_len,
        )
    };
    match kind {
        0 => Answer::NoReply,
        1 => {
            // SAFETY: on 1 the host has allocated and filled this range with `edgeless_mem_alloc`.
            let reply = unsafe { std::slice::from_raw_parts(out, out_len) }.to_vec();
            // SAFETY: the range came from `alloc` with this length.
            unsafe { free(out, out_len) };
            Answer::Reply(reply)
        }
        _ => Answer::Error,
    }
}

/// Sends on an output channel after a delay.
pub fn delayed_cast(delay_ms: u64, channel: &str, payload: &[u8]) {
    let delay = i64::try_from(delay_ms).unwrap_or(i64::MAX);
    // SAFETY: both ranges live for the call, and the host only reads them.
    unsafe {
        env::delayed_cast_asm(
            delay,
            channel.as_ptr(),
            channel.len(),
            payload.as_ptr(),
            payload.len(),
        )
    }
}

/// Writes a log entry; also a sample of the metric `target`.
pub fn log(level: Level, target: &str, value: &str) {
    // SAFETY: both ranges live for the call, and the host only reads them.
    unsafe {
        env::telemetry_log_asm(
            level as usize,
            target.as_ptr(),
            target.len(),
            value.as_ptr(),
            value.len(),
        )
    }
}

/// Who this instance is.
pub fn slf() -> Source {
    let mut me = Source {
        node_id: [0; 16],
        component_id: [0; 16],
    };
    // SAFETY: the host writes 16 bytes to each.
    unsafe { env::slf_asm(me.node_id.as_mut_ptr(), me.component_id.as_mut_ptr()) };
    me
}

/// Saves the state; it is handed to the next incarnation, also after a migration.
pub fn sync(state: &[u8]) {
    // SAFETY: the range lives for the call, and the host only reads it.
    unsafe { env::sync_asm(state.as_ptr(), state.len()) }
}

/// What one event brings in lies here, as long as it fits; handed out from front to back and taken
/// back as a whole after the event.
const ARENA: usize = 64 << 10;

struct Arena {
    start: Cell<*mut u8>,
    used: Cell<usize>,
}

// SAFETY: a guest has one thread.
unsafe impl Sync for Arena {}

static ARENA_STATE: Arena = Arena {
    start: Cell::new(std::ptr::null_mut()),
    used: Cell::new(0),
};

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len.max(1), 8).unwrap_or(Layout::new::<u64>())
}

/// Memory for the host to write to.
#[doc(hidden)]
pub fn alloc(len: usize) -> *mut u8 {
    let arena = &ARENA_STATE;
    if arena.start.get().is_null() {
        // SAFETY: the layout is not empty.
        arena.start.set(unsafe { std::alloc::alloc(layout(ARENA)) });
    }
    let used = arena.used.get();
    let end = used + len.next_multiple_of(8);
    if end <= ARENA && !arena.start.get().is_null() {
        arena.used.set(end);
        // SAFETY: `used` lies within the arena.
        return unsafe { arena.start.get().add(used) };
    }
    // SAFETY: the layout is not empty.
    unsafe { std::alloc::alloc(layout(len)) }
}

/// Takes memory back.
///
/// # Safety
/// The range came from [`alloc`] with this length and is not used any more.
#[doc(hidden)]
pub unsafe fn free(pointer: *mut u8, len: usize) {
    let start = ARENA_STATE.start.get();
    let inside = pointer >= start && pointer < start.wrapping_add(ARENA);
    if !inside && !pointer.is_null() {
        // SAFETY: what is outside of the arena came from the allocator with this layout.
        unsafe { std::alloc::dealloc(pointer, layout(len)) };
    }
}

/// The event is over: the arena starts over.
#[doc(hidden)]
pub fn clear() {
    ARENA_STATE.used.set(0);
}

/// Bytes that the host has written.
///
/// # Safety
/// The range was written by the host and lives for the event.
#[doc(hidden)]
pub unsafe fn bytes<'a>(pointer: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: see above.
    unsafe { std::slice::from_raw_parts(pointer, len) }
}

/// The source of an event.
///
/// # Safety
/// Both pointers lead to 16 bytes.
#[doc(hidden)]
pub unsafe fn source(node: *const u8, component: *const u8) -> Source {
    // SAFETY: see above.
    unsafe {
        Source {
            node_id: *node.cast(),
            component_id: *component.cast(),
        }
    }
}

/// Hands an answer to the host, which frees it.
///
/// # Safety
/// Both out pointers lead to places for a pointer and a length.
#[doc(hidden)]
pub unsafe fn give(answer: Answer, out: *mut *mut u8, out_len: *mut usize) -> i32 {
    match answer {
        Answer::NoReply => 0,
        Answer::Error => 2,
        Answer::Reply(reply) => {
            let place = alloc(reply.len());
            // SAFETY: `place` has room for the reply, and the out pointers are places.
            unsafe {
                std::ptr::copy_nonoverlapping(reply.as_ptr(), place, reply.len());
                *out = place;
                *out_len = reply.len();
            }
            1
        }
    }
}

/// Exports a type that implements [`Function`] as the module's function.
#[macro_export]
macro_rules! export {
    ($function:ty) => {
        mod exports {
            use super::*;
            use std::cell::RefCell;

            thread_local! {
                static FUNCTION: RefCell<Option<$function>> = const { RefCell::new(None) };
            }

            fn with<T>(run: impl FnOnce(&mut $function) -> T) -> Option<T> {
                FUNCTION.with_borrow_mut(|function| function.as_mut().map(run))
            }

            #[unsafe(no_mangle)]
            extern "C" fn edgeless_mem_alloc(len: usize) -> *mut u8 {
                $crate::alloc(len)
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn edgeless_mem_free(pointer: *mut u8, len: usize) {
                unsafe { $crate::free(pointer, len) }
            }

            #[unsafe(no_mangle)]
            extern "C" fn edgeless_mem_clear() {
                $crate::clear();
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn handle_init_asm(
                payload: *const u8,
                payload_len: usize,
                state: *const u8,
                state_len: usize,
            ) {
                let payload = unsafe { $crate::bytes(payload, payload_len) };
                let state = unsafe { $crate::bytes(state, state_len) };
                let state = (!state.is_empty()).then_some(state);
                let function = <$function as $crate::Function>::init(payload, state);
                FUNCTION.set(Some(function));
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn handle_cast_asm(
                node: *const u8,
                component: *const u8,
                payload: *const u8,
                payload_len: usize,
            ) {
                let source = unsafe { $crate::source(node, component) };
                let payload = unsafe { $crate::bytes(payload, payload_len) };
                with(|function| $crate::Function::cast(function, source, payload));
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn handle_call_asm(
                node: *const u8,
                component: *const u8,
                payload: *const u8,
                payload_len: usize,
                out: *mut *mut u8,
                out_len: *mut usize,
            ) -> i32 {
                let source = unsafe { $crate::source(node, component) };
                let payload = unsafe { $crate::bytes(payload, payload_len) };
                let answer = with(|function| $crate::Function::call(function, source, payload));
                unsafe { $crate::give(answer.unwrap_or($crate::Answer::Error), out, out_len) }
            }

            #[unsafe(no_mangle)]
            extern "C" fn handle_stop_asm() {
                with(|function| $crate::Function::stop(function));
            }
        }
    };
}
