//! What an update may change, and what not.

use std::collections::BTreeSet;

use edgeless_types::{
    CodeDigest,
    workflow::{FunctionSpec, ResourceSpec},
};

use super::*;
use crate::controller::accept::new_record;

type Vertices = Vec<(VertexSpec, BTreeMap<String, String>)>;

fn function(name: &str, class: &str, version: &str) -> VertexSpec {
    VertexSpec::Function(FunctionSpec {
        name: name.into(),
        class_id: class.into(),
        function_type: "RUST_WASM".into(),
        version: version.into(),
        code: CodeDigest::of(version.as_bytes()),
        outputs: BTreeSet::from(["out".to_owned()]),
        annotations: BTreeMap::new(),
    })
}

fn log(file: &str) -> VertexSpec {
    VertexSpec::Resource(ResourceSpec {
        name: "log".into(),
        class_type: "file-log".into(),
        configurations: BTreeMap::from([("filename".into(), file.into())]),
    })
}

fn to(target: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("out".into(), target.into())])
}

fn vertices(version: &str, file: &str) -> Vertices {
    vec![
        (function("f", "double", version), to("log")),
        (log(file), BTreeMap::new()),
    ]
}

/// What an update of `vertices("1", "a")` to others comes to: ids and specs, or pointers.
fn check(new: Vertices) -> Result<Vec<VertexSpec>, Vec<String>> {
    let before = new_record(
        String::new(),
        vertices("1", "a"),
        vec![],
        Default::default(),
    );
    let places = [
        ("f", "/functions/0"),
        ("g", "/functions/1"),
        ("log", "/resources/0"),
    ];
    let places = places.map(|(name, place)| (name.to_owned(), place.to_owned()));
    let checked = Checked {
        vertices: new,
        ..Checked::default()
    };
    let after = updated(&before, &checked, &places.into());
    let pointers = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.pointer);
    let after = after.map_err(|faults| pointers(faults).collect::<Vec<_>>())?;
    for (new, old) in after.iter().zip(&before.vertices) {
        assert_eq!(
            (new.logical_id, &new.outputs),
            (old.logical_id, &old.outputs)
        );
    }
    Ok(after.into_iter().map(|vertex| vertex.spec).collect())
}

#[test]
fn versions_and_configurations_may_differ_whatever_the_order() {
    let specs = vec![function("f", "double", "2"), log("b")];
    assert_eq!(check(vertices("2", "b")), Ok(specs.clone()));
    let mut turned = vertices("2", "b");
    turned.reverse();
    assert_eq!(check(turned), Ok(specs));
}

#[test]
fn other_vertices_wiring_and_classes_are_refused_with_their_places() {
    let faults = |pointers: &[&str]| Err(pointers.iter().map(|&it| it.to_owned()).collect());
    let mut more = vertices("2", "b");
    more.push((function("g", "double", "1"), BTreeMap::new()));
    assert_eq!(check(more), faults(&["/functions/1/name"]));
    let mut fewer = vertices("2", "b");
    fewer.remove(0);
    assert_eq!(check(fewer), faults(&[""]));
    let mut rewired = vertices("2", "b");
    rewired[0].1 = to("f");
    assert_eq!(check(rewired), faults(&["/functions/0/output_mapping"]));
    let mut other = vertices("2", "b");
    other[0].0 = function("f", "triple", "1");
    assert_eq!(
        check(other),
        faults(&["/functions/0/class_specification/id"])
    );
}
