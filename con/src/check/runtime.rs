//! The runtimes there are, and whether code can be a function of one.

use super::{component::check_component, module::check_module};

/// The runtimes there are; the first where none is said.
pub const RUNTIMES: [&str; 2] = [RUST_WASM, WASM_COMPONENT];
const RUST_WASM: &str = "RUST_WASM";
const WASM_COMPONENT: &str = "WASM_COMPONENT";

/// Checks that code can be a function of a runtime; without one, of any.
///
/// # Errors
/// What is wrong, in words.
pub fn check_code(function_type: Option<&str>, code: &[u8]) -> Result<(), String> {
    match function_type {
        Some(WASM_COMPONENT) => check_component(code),
        None if wasmparser::Parser::is_component(code) => check_component(code),
        Some(_) | None => check_module(code),
    }
}
