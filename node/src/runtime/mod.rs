//! Runtimes: what can run the code of a function.

pub mod wasm;
