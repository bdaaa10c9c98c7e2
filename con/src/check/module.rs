//! Whether code can be a function of `RUST_WASM`.

use std::collections::BTreeSet;

use wasmparser::{Parser, Payload, TypeRef};

/// What a module must export.
const EXPORTS: [&str; 7] = [
    "memory",
    "edgeless_mem_alloc",
    "edgeless_mem_free",
    "handle_init_asm",
    "handle_cast_asm",
    "handle_call_asm",
    "handle_stop_asm",
];

/// What a module may import from `env`.
const IMPORTS: [&str; 8] = [
    "cast_asm",
    "cast_raw_asm",
    "call_asm",
    "call_raw_asm",
    "delayed_cast_asm",
    "telemetry_log_asm",
    "slf_asm",
    "sync_asm",
];

/// Checks that code is a core WebAssembly module with the exports of the guest interface and no
/// imports beyond it.
///
/// # Errors
/// What is wrong, in words.
pub fn check_module(code: &[u8]) -> Result<(), String> {
    let mut exports = BTreeSet::new();
    for payload in Parser::new(0).parse_all(code) {
        let payload = payload.map_err(|error| format!("the code is not WebAssembly: {error}"))?;
        match payload {
            Payload::Version {
                encoding: wasmparser::Encoding::Component,
                ..
            } => {
                return Err("the code is a component; RUST_WASM needs a core module".to_owned());
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(|error| error.to_string())?;
                    check_import(import.module, import.name, import.ty)?;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    exports.insert(export.map_err(|error| error.to_string())?.name);
                }
            }
            _ => {}
        }
    }
    let missing: Vec<_> = EXPORTS
        .into_iter()
        .filter(|name| !exports.contains(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("the code lacks the exports {}", missing.join(", ")))
}

fn check_import(module: &str, name: &str, kind: TypeRef) -> Result<(), String> {
    let known = module == "env" && IMPORTS.contains(&name) && matches!(kind, TypeRef::Func(_));
    if known {
        return Ok(());
    }
    let there = IMPORTS.join(", ");
    Err(format!(
        "the code imports `{module}.{name}`, which is not there; `env` has {there}"
    ))
}
