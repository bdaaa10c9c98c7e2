//! Circles of channels on which messages are delivered at least once. An acknowledgement speaks for the
//! whole way of a message, so that on a circle there would never be one.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::workflow::{Workflow, at_least_once};

/// The names along one circle, the first again at its end; none where there is no circle.
pub(super) fn tracked(workflow: &Workflow) -> Option<Vec<&str>> {
    let mut edges: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for function in &workflow.functions {
        for channel in at_least_once(&function.annotations) {
            if let Some(target) = function.output_mapping.get(&channel) {
                edges.entry(&function.name).or_default().push(target);
            }
        }
    }
    let mut finished = BTreeSet::new();
    for &start in edges.keys() {
        let mut path = Vec::new();
        if let Some(circle) = walk(start, &edges, &mut path, &mut finished) {
            return Some(circle);
        }
    }
    None
}

/// Walks on from `at`; `finished` are those from which no circle is reached.
fn walk<'a>(
    start: &'a str,
    edges: &BTreeMap<&'a str, Vec<&'a str>>,
    path: &mut Vec<&'a str>,
    finished: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    // An own stack: a chain of ten thousand functions is no reason to run out of the system's.
    let mut stack = vec![(start, 0)];
    path.push(start);
    while let Some((at, next)) = stack.pop() {
        let Some(&target) = edges.get(at).and_then(|targets| targets.get(next)) else {
            path.pop();
            finished.insert(at);
            continue;
        };
        stack.push((at, next + 1));
        if let Some(begin) = path.iter().position(|&name| name == target) {
            let mut circle = path[begin..].to_vec();
            circle.push(target);
            return Some(circle);
        }
        if !finished.contains(target) {
            stack.push((target, 0));
            path.push(target);
        }
    }
    None
}
