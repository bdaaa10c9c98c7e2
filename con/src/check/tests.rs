//! Bad workflows, and the pointers at what is wrong with them.

use serde_json::{Value, json};

use super::{module::check_module, *};

pub(super) struct Registry;

impl Known for Registry {
    fn class(&self, id: &str, version: &str) -> Option<RegisteredClass> {
        (id == "double" && version == "1").then(|| RegisteredClass {
            function_type: "RUST_WASM".to_owned(),
            code: CodeDigest::of(b"double"),
            outputs: ["out".to_owned()].into(),
        })
    }

    fn has_code(&self, _: CodeDigest) -> bool {
        false
    }
}

fn good() -> Value {
    json!({
        "functions": [{
            "name": "f",
            "class_specification":
                {"id": "double", "function_type": "RUST_WASM", "version": "1"},
            "output_mapping": {"out": "log"},
        }],
        "resources": [{
            "name": "log",
            "class_type": "file-log",
            "configurations": {"filename": "a.log"},
        }],
    })
}

fn faults(document: &Value) -> Vec<String> {
    let workflow = match parse(document.to_string().as_bytes(), Format::Json) {
        Ok(workflow) => workflow,
        Err(fault) => return vec![fault.pointer],
    };
    match check(&workflow, &Registry) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.into_iter().map(|fault| fault.pointer).collect(),
    }
}

fn wrong(pointer: &str, value: Value, expected: &str) {
    let mut document = good();
    match pointer.rsplit_once('/') {
        Some((parent, key)) if document.pointer(pointer).is_none() => {
            document.pointer_mut(parent).unwrap()[key] = value;
        }
        Some(_) | None => *document.pointer_mut(pointer).unwrap() = value,
    }
    assert_eq!(faults(&document), [expected], "{document}");
}

#[test]
fn a_right_workflow_has_no_faults() {
    assert!(faults(&good()).is_empty());
}

#[test]
fn each_fault_has_its_pointer() {
    let function = "/functions/0";
    let class = "/functions/0/class_specification";
    wrong("/colour", json!("red"), "/colour");
    wrong(
        &format!("{function}/name"),
        json!("log"),
        "/resources/0/name",
    );
    wrong(&format!("{function}/name"), json!(" "), "/functions/0/name");
    wrong(&format!("{function}/name"), json!(7), "/functions/0/name");
    wrong(
        &format!("{function}/output_mapping/out"),
        json!("nowhere"),
        "/functions/0/output_mapping/out",
    );
    wrong(
        &format!("{function}/output_mapping/other"),
        json!("log"),
        "/functions/0/output_mapping/other",
    );
    wrong(
        &format!("{class}/function_type"),
        json!("COBOL"),
        &format!("{class}/function_type"),
    );
    wrong(
        &format!("{class}/version"),
        json!("2"),
        &format!("{class}/version"),
    );
    wrong(
        &format!("{class}/code"),
        json!("%%%"),
        &format!("{class}/code"),
    );
    wrong(
        &format!("{class}/code"),
        json!("aGVsbG8="),
        &format!("{class}/code"),
    );
    wrong(
        &format!("{function}/annotations"),
        json!({"max_instances": "many"}),
        "/functions/0/annotations/max_instances",
    );
    wrong(
        &format!("{function}/annotations"),
        json!({"anti_affinity_with": "nobody"}),
        "/functions/0/annotations/anti_affinity_with",
    );
    wrong(
        "/resources/0/class_type",
        json!("teleporter"),
        "/resources/0/class_type",
    );
    wrong(
        "/resources/0/configurations/colour",
        json!("red"),
        "/resources/0/configurations/colour",
    );
    assert_eq!(faults(&json!({})), [""]);
}

#[test]
fn text_that_is_no_document_says_where() {
    let fault = parse(b"{\n  nonsense", Format::Json).unwrap_err();
    assert!(fault.detail.contains("line 2"), "{fault:?}");
    assert!(parse(b"a: [", Format::Yaml).is_err());
    let yaml = "functions: []\nresources:\n- {name: l, class_type: file-log}\n";
    assert_eq!(
        parse(yaml.as_bytes(), Format::Yaml)
            .unwrap()
            .resources
            .len(),
        1
    );
}

#[test]
fn code_without_the_interface_is_refused() {
    let code = wat::parse_str("(module)").unwrap();
    assert!(check_module(&code).unwrap_err().contains("handle_cast_asm"));
    let code = wat::parse_str(r#"(module (import "wasi" "fd_write" (func)))"#).unwrap();
    assert!(check_module(&code).unwrap_err().contains("wasi.fd_write"));
    let wrong = r#"(module (import "env" "cast_asm" (func (param i64))))"#;
    let says = check_module(&wat::parse_str(wrong).unwrap()).unwrap_err();
    assert!(
        says.contains("env.cast_asm") && says.contains("i64"),
        "{says}"
    );
    let body = wat::parse_str("(module (func (result i32) i64.const 1))");
    let says = check_module(&body.unwrap()).unwrap_err();
    assert!(says.contains("not valid WebAssembly"), "{says}");
    assert!(check_module(b"\0asm\x01\0\0\0\xff").is_err(), "torn");
    let component = wat::parse_str("(component)").unwrap();
    assert!(check_module(&component).unwrap_err().contains("component"));
}

#[test]
fn exports_must_have_the_shapes_of_the_interface() {
    let module = |free: &str, memory: &str| {
        let text = format!(
            r#"(module (memory (export "memory") {memory})
              (func (export "edgeless_mem_alloc") (param i32) (result i32) (i32.const 0))
              (func (export "edgeless_mem_free") {free})
              (func (export "handle_init_asm") (param i32 i32 i32 i32))
              (func (export "handle_cast_asm") (param i32 i32 i32 i32))
              (func (export "handle_call_asm") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 0))
              (func (export "handle_stop_asm")))"#
        );
        check_module(&wat::parse_str(text).unwrap())
    };
    assert_eq!(module("(param i32 i32)", "1"), Ok(()));
    let says = module("(param i32)", "1").unwrap_err();
    assert!(says.contains("edgeless_mem_free"), "{says}");
    assert!(module("(param i32 i32)", "i64 1").is_err());
}

/// A component, with the types of the world, of imports and then exports.
fn component(parts: &str) -> Result<(), String> {
    let text = format!(
        r#"(component
          (import "edgeless:guest/types@0.1.0" (instance $types
            (type $uuid-record (record (field "high" u64) (field "low" u64)))
            (export "uuid" (type $uuid (eq $uuid-record)))
            (type $id-record (record (field "node" $uuid) (field "instance" $uuid)))
            (export "instance-id" (type (eq $id-record)))))
          (alias export $types "instance-id" (type $id))
          {parts})"#
    );
    super::check_code(Some("WASM_COMPONENT"), &wat::parse_str(text).unwrap())
}

/// Exports that are right but for the type of `stop`.
fn exports(stop: &str) -> String {
    format!(
        r#"(core module $M
            (memory (export "memory") 1)
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
            (func (export "init") (param i32 i32 i32 i32 i32 i32))
            (func (export "cast") (param i64 i64 i64 i64 i32 i32))
            (func (export "call") (param i64 i64 i64 i64 i32 i32) (result i32) (i32.const 0))
            (func (export "stop") {stop}))
          (core instance $m (instantiate $M))
          (alias core export $m "memory" (core memory $memory))
          (alias core export $m "realloc" (core func $realloc))
          (func (export "init") (param "payload" (option (list u8))) (param "state" (option (list u8)))
            (canon lift (core func $m "init") (memory $memory) (realloc $realloc)))
          (func (export "handle-cast") (param "source" $id) (param "payload" (list u8))
            (canon lift (core func $m "cast") (memory $memory) (realloc $realloc)))
          (func (export "handle-call") (param "source" $id) (param "payload" (list u8))
            (result (result (option (list u8)) (error string)))
            (canon lift (core func $m "call") (memory $memory) (realloc $realloc)))
          (func (export "stop") {} (canon lift (core func $m "stop")))"#,
        stop.replace("i32", r#""now" u32"#)
    )
}

#[test]
fn components_of_the_world_are_accepted_and_others_named() {
    assert_eq!(component(&exports("")), Ok(()));
    let examples: [&[u8]; 2] = [
        include_bytes!("../../../functions/component_noop/component_noop.wasm"),
        include_bytes!("../../../functions/sum_in_c/sum_in_c.wasm"),
    ];
    assert_eq!(
        examples.map(|code| check_code(None, code)),
        [Ok(()), Ok(())]
    );
    let says = component("").unwrap_err();
    let all = "lacks the exports init, handle-cast, handle-call, stop";
    assert!(says.contains(all), "{says}");
    let says = component(&exports("(param i32)")).unwrap_err();
    let shapes = "exports `stop`, which must be func(), not func(now: u32)";
    assert!(says.contains(shapes), "{says}");
    for (import, named) in [
        (r#""wasi:cli/stdout@0.2.0" (instance)"#, "wasi:cli/stdout"),
        (
            r#""edgeless:guest/state@0.1.0" (instance (export "load" (func)))"#,
            "`load`, which it does not have",
        ),
        (
            r#""edgeless:guest/state@0.1.0" (instance (export "save" (func (param "state" string))))"#,
            "must be func(state: list<u8>), not func(state: string)",
        ),
        (
            r#""edgeless:guest/env@0.1.0" (func)"#,
            "must be an instance",
        ),
    ] {
        let says = component(&format!("(import {import}) {}", exports(""))).unwrap_err();
        assert!(says.contains(named), "{says}");
    }
}

#[test]
fn modules_and_components_are_not_mixed_up() {
    let module = wat::parse_str("(module)").unwrap();
    let says = check_code(Some("WASM_COMPONENT"), &module).unwrap_err();
    let named = "is a core module; WASM_COMPONENT needs a component";
    assert!(says.contains(named), "{says}");
    assert!(check_code(Some("WASM_COMPONENT"), b"text").is_err());
    // Without a type, code is what it is.
    let says = check_code(None, &module).unwrap_err();
    assert!(says.contains("handle_cast_asm"), "{says}");
    let says = check_code(None, &wat::parse_str("(component)").unwrap()).unwrap_err();
    assert!(says.contains("handle-cast"), "{says}");
    let class = "/functions/0/class_specification/function_type";
    wrong(class, json!("WASM_COMPONENT"), class);
}

#[test]
fn odd_ids_and_versions_of_classes_are_refused() {
    for fine in ["double", "0.1.0-rc.1+5", "größe", "org:name@2"] {
        assert_eq!(super::check_name(fine), Ok(()));
    }
    for odd in ["", " ", "a/b", "a b", "..", "a\n", &"x".repeat(200)] {
        assert!(super::check_name(odd).is_err(), "{odd}");
    }
}

#[test]
fn lists_are_no_objects_and_no_key_stands_twice() {
    let says = |text: &str| parse(text.as_bytes(), Format::Json).unwrap_err();
    assert_eq!(says("[]").detail, "must be an object, not a list");
    assert_eq!(says("null").detail, "must be an object, not null");
    assert_eq!(says(r#"{"functions": [[]]}"#).pointer, "/functions/0");
    let class = says(r#"{"functions": [{"name": "a", "class_specification": ["f"]}]}"#);
    assert_eq!(class.pointer, "/functions/0/class_specification");
    let twice = says(r#"{"name": "a", "name": "b"}"#);
    assert!(twice.detail.contains("`name` stands twice"), "{twice:?}");
}

#[test]
fn names_have_no_control_characters_and_an_end() {
    wrong("/name", json!("a\u{1b}[31m"), "/name");
    wrong(
        "/functions/0/name",
        json!("x".repeat(300)),
        "/functions/0/name",
    );
}

#[test]
fn what_is_required_of_the_domain_must_be_possible() {
    wrong(
        "/annotations",
        json!({"domain_label_match_all": "a,,b"}),
        "/annotations/domain_label_match_all",
    );
    let mut document = good();
    document["annotations"] = json!({"domain_match_any": "a,b"});
    document["functions"][0]["annotations"] = json!({"domain_match_any": "c"});
    assert_eq!(
        faults(&document),
        ["/functions/0/annotations/domain_match_any"]
    );
}

#[test]
fn all_copies_of_a_workflow_are_counted() {
    let of_copies = |functions: usize, copies: &str| {
        let mut document = good();
        let mut function = document["functions"][0].clone();
        function["annotations"] = json!({ "min_instances": copies });
        let named = (0..functions).map(|number| {
            let mut function = function.clone();
            function["name"] = json!(format!("f{number}"));
            function
        });
        document["functions"] = named.collect();
        faults(&document)
    };
    assert!(of_copies(9, "1000").is_empty());
    assert_eq!(
        of_copies(10, "1000"),
        [""],
        "with the resource one too many"
    );
    assert_eq!(
        of_copies(1, "100000000"),
        ["/functions/0/annotations/min_instances"]
    );
}

#[test]
fn nothing_is_to_run_near_a_vertex_and_apart_from_it() {
    wrong(
        "/functions/0/annotations",
        json!({"affinity_with": "log", "anti_affinity_with": "f,log"}),
        "/functions/0/annotations/anti_affinity_with",
    );
}

#[test]
fn annotations_of_scaling_without_effect_are_faults_that_say_what_to_do() {
    let told = |annotations: Value| {
        let mut document = good();
        document["functions"][0]["annotations"] = annotations;
        let workflow = parse(document.to_string().as_bytes(), Format::Json).unwrap();
        let faults = check(&workflow, &Registry).err().unwrap_or_default();
        let told = faults.into_iter().map(|fault| {
            let key = fault.pointer.strip_prefix("/functions/0/annotations/");
            format!("{}: {}", key.unwrap(), fault.detail)
        });
        told.collect::<Vec<_>>()
    };
    let idle = [
        "idle_after: has no effect unless `min_instances` is `0`; write that as well, or leave it out",
    ];
    assert_eq!(told(json!({"idle_after": "60s"})), idle);
    assert_eq!(
        told(json!({"idle_after": "60s", "min_instances": "1"})),
        idle
    );
    let both = told(
        json!({"scale_policy": "fixed", "min_instances": "3", "max_instances": "8", "idle_after": "1s"}),
    );
    assert_eq!(both.len(), 2, "{both:?}");
    let right = json!({"scale_policy": "queue", "min_instances": "0", "idle_after": "60s"});
    assert!(told(right).is_empty());
}
