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

mod export;
mod memory;

use std::str::FromStr;

#[doc(hidden)]
pub use memory::{alloc, bytes, clear, free, give, source};

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
        pub fn call_raw_asm(
            node: *const u8,
            component: *const u8,
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
    // SAFETY: this is what the host wrote.
    unsafe { answer(kind, out, out_len) }
}

/// Calls one instance and waits for the answer.
pub fn call_raw(to: Source, payload: &[u8]) -> Answer {
    let (mut out, mut out_len) = (std::ptr::null_mut(), 0);
    // SAFETY: all ranges live for the call; the host writes the two out values.
    let kind = unsafe {
        env::call_raw_asm(
            to.node_id.as_ptr(),
            to.component_id.as_ptr(),
            payload.as_ptr(),
            payload.len(),
            &mut out,
            &mut out_len,
        )
    };
    // SAFETY: this is what the host wrote.
    unsafe { answer(kind, out, out_len) }
}

/// What a call came to.
///
/// # Safety
/// Where `kind` is 1, the host has allocated the range with `edgeless_mem_alloc` and filled it.
unsafe fn answer(kind: i32, out: *mut u8, out_len: usize) -> Answer {
    match kind {
        0 => Answer::NoReply,
        1 => {
            // SAFETY: see above.
            let reply = unsafe { bytes(out, out_len) }.to_vec();
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

/// What `init-payload` says, or `absent` where there is none.
///
/// What cannot be read as a `T` is no reason for a default: it [`refuse`]s.
pub fn setting<T: FromStr>(payload: &[u8], absent: T) -> T {
    if payload.is_empty() {
        return absent;
    }
    let text = std::str::from_utf8(payload).unwrap_or("what is not UTF-8");
    let setting = text.trim().parse();
    setting.unwrap_or_else(|_| refuse(&format!("`{text}` is no init-payload of this function")))
}

/// Ends the instance with a log entry that says why it cannot work with what it was given.
pub fn refuse(why: &str) -> ! {
    log(Level::Error, "refused", why);
    panic!("{why}")
}
