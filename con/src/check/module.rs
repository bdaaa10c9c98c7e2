//! Whether code can be a function of `RUST_WASM`.

use wasmparser::{
    Validator, WasmFeatures,
    types::{EntityType, Types},
};

/// How many parameters a function has, and how many results. All are `i32` but where noted.
type Shape = (usize, usize);

/// The functions that a module must export.
const EXPORTS: [(&str, Shape); 6] = [
    ("edgeless_mem_alloc", (1, 1)),
    ("edgeless_mem_free", (2, 0)),
    ("handle_init_asm", (4, 0)),
    ("handle_cast_asm", (4, 0)),
    ("handle_call_asm", (6, 1)),
    ("handle_stop_asm", (0, 0)),
];
/// What it may export besides: called after each event.
const CLEAR: (&str, Shape) = ("edgeless_mem_clear", (0, 0));

/// What a module may import from `env`.
const IMPORTS: [(&str, Shape); 8] = [
    ("cast_asm", (4, 0)),
    ("cast_raw_asm", (4, 0)),
    ("call_asm", (6, 1)),
    ("call_raw_asm", (6, 1)),
    (DELAYED, (5, 0)),
    ("telemetry_log_asm", (5, 0)),
    ("slf_asm", (2, 0)),
    ("sync_asm", (2, 0)),
];
/// Its first parameter, a delay in milliseconds, is an `i64`.
const DELAYED: &str = "delayed_cast_asm";

/// Checks that code is a valid core WebAssembly module with the exports of the guest interface and no
/// imports beyond it.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check_module(code: &[u8]) -> Result<(), String> {
    if !code.starts_with(b"\0asm") {
        return Err("the code is not WebAssembly: it does not begin with `\\0asm`".to_owned());
    }
    if wasmparser::Parser::is_component(code) {
        return Err("the code is a component; RUST_WASM needs a core module".to_owned());
    }
    let features = WasmFeatures::WASM2
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY;
    let types = Validator::new_with_features(features)
        .validate_all(code)
        .map_err(|error| format!("the code is not valid WebAssembly: {error}"))?;
    for (module, name, kind) in types.as_ref().core_imports().into_iter().flatten() {
        let known = IMPORTS.iter().find(|(known, _)| *known == name);
        let Some(&(_, shape)) = known.filter(|_| module == "env") else {
            let there = IMPORTS.map(|(name, _)| name).join(", ");
            return Err(format!(
                "the code imports `{module}.{name}`, which is not there; `env` has {there}"
            ));
        };
        check_shape(&types, kind, name, shape)
            .map_err(|says| format!("the code imports `env.{name}`, which {says}"))?;
    }
    check_exports(&types)
}

fn check_exports(types: &Types) -> Result<(), String> {
    let find = |wanted: &str| {
        let mut exports = types.as_ref().core_exports().into_iter().flatten();
        exports.find(|(name, _)| *name == wanted)
    };
    let mut missing: Vec<_> = EXPORTS.map(|(name, _)| name).to_vec();
    missing.insert(0, "memory");
    missing.retain(|name| find(name).is_none());
    if !missing.is_empty() {
        return Err(format!("the code lacks the exports {}", missing.join(", ")));
    }
    match find("memory") {
        Some((_, EntityType::Memory(memory))) if !memory.memory64 && !memory.shared => {}
        _ => return Err("the export `memory` must be an unshared memory of 32 bits".to_owned()),
    }
    for (name, shape) in EXPORTS.into_iter().chain([CLEAR]) {
        if let Some((_, kind)) = find(name) {
            check_shape(types, kind, name, shape)
                .map_err(|says| format!("the code exports `{name}`, which {says}"))?;
        }
    }
    Ok(())
}

/// What it is instead, in words.
fn check_shape(types: &Types, kind: EntityType, name: &str, shape: Shape) -> Result<(), String> {
    let mut wanted = wasmparser::FuncType::new(
        vec![wasmparser::ValType::I32; shape.0],
        vec![wasmparser::ValType::I32; shape.1],
    );
    if name == DELAYED {
        let rest = std::iter::repeat_n(wasmparser::ValType::I32, shape.0 - 1);
        wanted = wasmparser::FuncType::new([wasmparser::ValType::I64].into_iter().chain(rest), []);
    }
    let EntityType::Func(id) = kind else {
        return Err("must be a function".to_owned());
    };
    let found = types[id].unwrap_func();
    if *found == wanted {
        return Ok(());
    }
    Err(format!("must be {wanted}, not {found}"))
}
