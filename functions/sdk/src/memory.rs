//! Memory that host and guest hand each other: an arena for what one event brings in. The guest's own
//! values live in its normal heap, which the end of an event does not touch.

use std::{alloc::Layout, cell::Cell};

use crate::{Answer, Source};

/// What one event brings in lies here, as long as it fits; handed out from front to back and taken
/// back as a whole after the event.
const ARENA: usize = 64 << 10;

/// What the arena hands out begins at a multiple of this.
const ALIGN: usize = 8;

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

/// The shape of memory outside of the arena; nothing for a length no memory has.
fn layout(len: usize) -> Option<Layout> {
    Layout::from_size_align(len.max(1), ALIGN).ok()
}

/// Where the next `len` bytes of an arena of which `used` are taken begin and end; nothing when they
/// do not fit. They are never empty, so that each place lies inside.
fn place(used: usize, len: usize) -> Option<(usize, usize)> {
    let len = len.max(1).checked_next_multiple_of(ALIGN)?;
    let end = used.checked_add(len)?;
    (end <= ARENA).then_some((used, end))
}

/// Memory for the host to write to; null when there is none.
#[doc(hidden)]
pub fn alloc(len: usize) -> *mut u8 {
    let arena = &ARENA_STATE;
    if arena.start.get().is_null()
        && let Some(layout) = layout(ARENA)
    {
        // SAFETY: the layout is not empty.
        arena.start.set(unsafe { std::alloc::alloc(layout) });
    }
    if let Some((begin, end)) = place(arena.used.get(), len)
        && !arena.start.get().is_null()
    {
        arena.used.set(end);
        // SAFETY: `begin` lies within the arena.
        return unsafe { arena.start.get().add(begin) };
    }
    match layout(len) {
        // SAFETY: the layout is not empty.
        Some(layout) => unsafe { std::alloc::alloc(layout) },
        None => std::ptr::null_mut(),
    }
}

/// Takes memory back.
///
/// # Safety
/// The range came from [`alloc`] with this length and is not used any more.
#[doc(hidden)]
pub unsafe fn free(pointer: *mut u8, len: usize) {
    let start = ARENA_STATE.start.get();
    let inside = pointer >= start && pointer < start.wrapping_add(ARENA);
    if !inside
        && !pointer.is_null()
        && let Some(layout) = layout(len)
    {
        // SAFETY: what is outside of the arena came from the allocator with this layout.
        unsafe { std::alloc::dealloc(pointer, layout) };
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
            if place.is_null() {
                return 2;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_one_another_aligned() {
        assert_eq!(place(0, 1), Some((0, 8)));
        assert_eq!(place(8, 9), Some((8, 24)));
        assert_eq!(place(ARENA - 8, 8), Some((ARENA - 8, ARENA)));
    }

    #[test]
    fn what_does_not_fit_has_no_place() {
        assert_eq!(place(ARENA - 8, 9), None);
        assert_eq!(place(8, usize::MAX), None);
        assert_eq!(place(8, usize::MAX - 8), None);
    }

    #[test]
    fn an_empty_range_at_the_end_of_a_full_arena_is_not_in_it() {
        assert_eq!(place(ARENA, 0), None);
    }

    #[test]
    fn memory_is_taken_back_from_arena_and_heap() {
        for len in [0, 1, ARENA, 0, 3 * ARENA, 5] {
            let pointer = alloc(len);
            assert!(!pointer.is_null());
            // SAFETY: the range has this length and nobody else uses it.
            unsafe {
                pointer.write_bytes(7, len);
                free(pointer, len);
            }
        }
        assert!(alloc(usize::MAX).is_null());
        clear();
    }
}
