//! What documents say about their graphs.

use crate::{
    check::{Format, check, parse, tests::Registry},
    problem::Fault,
};

#[test]
fn delivery_at_least_once_names_channels_and_goes_round_in_no_circle() {
    let function = |name: &str, to: &str, tracked: &str| {
        serde_json::json!({
            "name": name,
            "class_specification": {"id": "double", "version": "1", "function_type": "RUST_WASM"},
            "output_mapping": {"out": to},
            "annotations": {"at_least_once": tracked},
        })
    };
    let faults = |functions: Vec<serde_json::Value>| {
        let document = serde_json::json!({"functions": functions}).to_string();
        let workflow = parse(document.as_bytes(), Format::Json).unwrap();
        check(&workflow, &Registry).err().unwrap_or_default()
    };
    let of = |faults: &[Fault], pointer: &str| {
        let found = faults.iter().find(|fault| fault.pointer == pointer);
        found.map(|fault| fault.detail.clone()).unwrap_or_default()
    };
    let wrong = faults(vec![function("a", "a", "elsewhere")]);
    let detail = of(&wrong, "/functions/0/annotations/at_least_once");
    assert!(detail.contains("elsewhere"), "{wrong:?}");
    let mut odd = function("a", "b", "out");
    odd["annotations"]["ack"] = "most".into();
    odd["annotations"]["deadline_ms"] = "5s".into();
    let odd = faults(vec![odd, function("b", "a", "x")]);
    assert!(
        of(&odd, "/functions/0/annotations/ack").contains("`primary`"),
        "{odd:?}"
    );
    let deadline = of(&odd, "/functions/0/annotations/deadline_ms");
    assert!(deadline.contains("milliseconds"), "{odd:?}");
    let circle = vec![
        function("a", "b", "out"),
        function("b", "c", "out"),
        function("c", "b", "out"),
    ];
    let circle = faults(circle);
    assert!(
        of(&circle, "/functions").contains("b → c → b"),
        "{circle:?}"
    );
    let open = vec![function("a", "b", "out"), function("b", "a", "x")];
    assert_eq!(of(&faults(open), "/functions"), "");
}

#[test]
fn a_dataflow_leaves_out_what_is_on_no_way_and_types_its_ports() {
    let function = |name: &str, to: &str, annotations: serde_json::Value| {
        let mapping = match to {
            "" => serde_json::json!({}),
            to => serde_json::json!({"out": to}),
        };
        serde_json::json!({
            "name": name,
            "class_specification": {"id": "double", "version": "1", "function_type": "RUST_WASM"},
            "output_mapping": mapping,
            "annotations": annotations,
        })
    };
    let checked = |graph: &str, functions: Vec<serde_json::Value>| {
        let document = serde_json::json!({"functions": functions, "annotations": {"graph": graph}});
        let workflow = parse(document.to_string().as_bytes(), Format::Json).unwrap();
        check(&workflow, &Registry)
    };
    let flow = |last: &str, gives: &str| {
        vec![
            function(
                "in",
                "mid",
                serde_json::json!({"role": "receiver", "gives": gives}),
            ),
            function(
                "mid",
                "end",
                serde_json::json!({"takes": "logs+metrics", "gives": "out=logs"}),
            ),
            function(
                "end",
                last,
                serde_json::json!({"role": "exporter", "takes": "logs"}),
            ),
            function("stray", "end", serde_json::json!({})),
        ]
    };
    let kept = checked("dataflow", flow("", "metrics")).unwrap();
    let names: Vec<&str> = kept.vertices.iter().map(|(spec, _)| spec.name()).collect();
    assert_eq!(names, ["in", "mid", "end"]);
    let note = "`stray` is left out: no way leads to it from a receiver";
    assert_eq!(kept.notes, [note]);
    let wrong = checked("dataflow", flow("in", "traces")).unwrap_err();
    let says: Vec<_> = wrong
        .iter()
        .map(|it| (it.pointer.as_str(), it.detail.as_str()))
        .collect();
    assert_eq!(says[0].0, "/functions/0/output_mapping/out");
    assert!(says[0].1.contains("takes metrics+logs only"), "{says:?}");
    assert!(says[1].1.contains("in → mid → end → in"), "{says:?}");
    assert!(
        checked("workflow", flow("in", "logs"))
            .unwrap()
            .notes
            .is_empty()
    );
    let odd = checked("tree", flow("", "spans")).unwrap_err();
    assert_eq!(odd[0].pointer, "/annotations/graph");
    assert_eq!(odd[1].pointer, "/functions/0/annotations/gives");
    for twice in ["metrics, logs", "out=logs, out=metrics"] {
        let odd = checked("dataflow", flow("", twice)).unwrap_err();
        assert_eq!(odd[0].pointer, "/functions/0/annotations/gives");
        assert!(odd[0].detail.contains("twice"), "{odd:?}");
    }
}
