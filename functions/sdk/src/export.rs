//! The macro that gives a module the exports the host calls.

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
