//! Whether code can be a function of `WASM_COMPONENT`: a component of the world in `node/wit`.

use wasmparser::{
    Parser, Payload, Validator, WasmFeatures,
    component_types::{ComponentDefinedType, ComponentEntityType, ComponentValType},
    types::Types,
};

/// The functions that a component must export.
const EXPORTS: [(&str, &str); 4] = [
    (
        "init",
        "func(payload: option<list<u8>>, state: option<list<u8>>)",
    ),
    ("handle-cast", "func(source: @id, payload: list<u8>)"),
    (
        "handle-call",
        "func(source: @id, payload: list<u8>) -> result<option<list<u8>>, string>",
    ),
    ("stop", "func()"),
];

/// The functions that it may import, and from where. All of `types` is types.
const IMPORTS: [(&str, &[(&str, &str)]); 5] = [
    ("edgeless:guest/types@0.1.0", &[]),
    (
        "edgeless:guest/messages@0.1.0",
        &[
            ("cast", "func(channel: string, payload: list<u8>)"),
            ("cast-to", "func(target: @id, payload: list<u8>)"),
            (
                "call",
                "func(channel: string, payload: list<u8>) -> result<option<list<u8>>, string>",
            ),
            (
                "call-to",
                "func(target: @id, payload: list<u8>) -> result<option<list<u8>>, string>",
            ),
            (
                "delayed-cast",
                "func(delay-ms: u64, channel: string, payload: list<u8>)",
            ),
        ],
    ),
    (
        "edgeless:guest/logs@0.1.0",
        &[("log", "func(level: @level, target: string, text: string)")],
    ),
    (
        "edgeless:guest/state@0.1.0",
        &[("save", "func(state: list<u8>)")],
    ),
    (
        "edgeless:guest/env@0.1.0",
        &[
            ("me", "func() -> @id"),
            ("init-payload", "func() -> option<list<u8>>"),
        ],
    ),
];

/// What `@id` and `@level` stand for above, as types are told.
const NAMED: [(&str, &str); 2] = [
    (
        "@id",
        "record{node: record{high: u64, low: u64}, instance: record{high: u64, low: u64}}",
    ),
    ("@level", "enum{error, warn, info, debug, trace}"),
];

/// Checks that code is a valid component with the exports of the world and no imports beyond it.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check_component(code: &[u8]) -> Result<(), String> {
    if !code.starts_with(b"\0asm") {
        return Err("the code is not WebAssembly: it does not begin with `\\0asm`".to_owned());
    }
    if Parser::is_core_wasm(code) {
        return Err("the code is a core module; WASM_COMPONENT needs a component".to_owned());
    }
    let features = WasmFeatures::WASM2
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::COMPONENT_MODEL;
    let types = Validator::new_with_features(features)
        .validate_all(code)
        .map_err(|error| format!("the code is not a valid component: {error}"))?;
    for name in imports(code).map_err(|error| error.to_string())? {
        check_import(&types, name)?;
    }
    let find = |name| types.as_ref().component_item_for_export(name);
    let missing = EXPORTS.map(|(name, _)| name).into_iter();
    let missing: Vec<_> = missing.filter(|name| find(name).is_none()).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(format!("the component lacks the exports {missing}"));
    }
    for (name, wanted) in EXPORTS {
        if let Some(item) = find(name) {
            check_function(&types, &item.ty, wanted)
                .map_err(|says| format!("the component exports `{name}`, which {says}"))?;
        }
    }
    Ok(())
}

/// The names of what the outermost component imports.
fn imports(code: &[u8]) -> wasmparser::Result<Vec<&str>> {
    let (mut names, mut depth) = (Vec::new(), 0);
    for payload in Parser::new(0).parse_all(code) {
        match payload? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    names.push(import?.name.name);
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn check_import(types: &Types, name: &str) -> Result<(), String> {
    let item = types.as_ref().component_item_for_import(name);
    if let Some(ComponentEntityType::Type { .. }) = item.map(|item| item.ty) {
        return Ok(()); // A name for a type; what it is shows where it is used.
    }
    let Some((_, functions)) = IMPORTS.iter().find(|(known, _)| *known == name) else {
        let there = IMPORTS.map(|(name, _)| name).join(", ");
        return Err(format!(
            "the component imports `{name}`, which is not there; there are {there}"
        ));
    };
    let Some(ComponentEntityType::Instance(instance)) = item.map(|item| item.ty) else {
        return Err(format!("the import `{name}` must be an instance"));
    };
    for (function, item) in &types[instance].exports {
        if let ComponentEntityType::Type { .. } = item.ty {
            continue;
        }
        let Some((_, wanted)) = functions.iter().find(|(known, _)| known == function) else {
            return Err(format!(
                "the component imports `{name}` with `{function}`, which it does not have"
            ));
        };
        check_function(types, &item.ty, wanted).map_err(|says| {
            format!("the component imports `{function}` of `{name}`, which {says}")
        })?;
    }
    Ok(())
}

/// What it is instead, in words.
fn check_function(types: &Types, kind: &ComponentEntityType, wanted: &str) -> Result<(), String> {
    let ComponentEntityType::Func(id) = *kind else {
        return Err("must be a function".to_owned());
    };
    let function = &types[id];
    let parameters = function.params.iter();
    let parameters: Vec<_> = parameters
        .map(|(name, kind)| format!("{name}: {}", told(types, kind)))
        .collect();
    let result = function.result.as_ref();
    let result = result.map_or_else(String::new, |kind| format!(" -> {}", told(types, kind)));
    let asynchronous = if function.async_ { "async " } else { "" };
    let found = format!("{asynchronous}func({}){result}", parameters.join(", "));
    let wanted = NAMED
        .iter()
        .fold(wanted.to_owned(), |text, (name, meaning)| {
            text.replace(name, meaning)
        });
    if found == wanted {
        return Ok(());
    }
    Err(format!("must be {wanted}, not {found}"))
}

/// A type in words.
fn told(types: &Types, kind: &ComponentValType) -> String {
    let id = match kind {
        ComponentValType::Primitive(primitive) => return primitive.to_string(),
        ComponentValType::Type(id) => *id,
    };
    let inner = |kind: &Option<ComponentValType>| match kind {
        Some(kind) => told(types, kind),
        None => "_".to_owned(),
    };
    match &types[id] {
        ComponentDefinedType::Primitive(primitive) => primitive.to_string(),
        ComponentDefinedType::List { element, .. } => format!("list<{}>", told(types, element)),
        ComponentDefinedType::Option { ty, .. } => format!("option<{}>", told(types, ty)),
        ComponentDefinedType::Result { ok, err, .. } => {
            format!("result<{}, {}>", inner(ok), inner(err))
        }
        ComponentDefinedType::Record(record) => {
            let fields = record.fields.iter();
            let fields: Vec<_> = fields
                .map(|(name, kind)| format!("{name}: {}", told(types, kind)))
                .collect();
            format!("record{{{}}}", fields.join(", "))
        }
        ComponentDefinedType::Enum(cases) => {
            let cases: Vec<_> = cases.iter().map(|case| case.as_str()).collect();
            format!("enum{{{}}}", cases.join(", "))
        }
        ComponentDefinedType::Tuple(tuple) => {
            let parts: Vec<_> = tuple.types.iter().map(|kind| told(types, kind)).collect();
            format!("tuple<{}>", parts.join(", "))
        }
        // The interface has none of the others, so that their names alone are of use.
        ComponentDefinedType::Variant(_) => "variant".to_owned(),
        ComponentDefinedType::Flags(_) => "flags".to_owned(),
        _ => "another type".to_owned(),
    }
}
