//! The compiler of graphs: ports, cycles, dead parts and chains.

use proptest::prelude::*;

use super::*;

/// Vertices from lines such as `r receiver: out=a metrics, log=b`; those without outputs end in `:`.
fn graph(text: &str) -> Vec<Vertex> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    let name = |line: &str| line.split([' ', ':']).next().unwrap().to_owned();
    let names: Vec<String> = lines.iter().map(|line| name(line)).collect();
    let vertex = |line: &&str| {
        let (head, outputs) = line.split_once(':').unwrap();
        let words: Vec<&str> = head.split(' ').collect();
        let role = match words.get(1) {
            Some(&"receiver") => Role::Receiver,
            Some(&"exporter") => Role::Exporter,
            _ => Role::Processor,
        };
        let output = |text: &str| {
            let words: Vec<&str> = text.trim().split(['=', ' ']).collect();
            Output {
                channel: words[0].to_owned(),
                gives: words.get(2).map_or(Kinds::ANY, |it| it.parse().unwrap()),
                tracked: words.contains(&"tracked"),
                to: names.iter().position(|name| name == words[1]).unwrap(),
            }
        };
        Vertex {
            name: words[0].to_owned(),
            role,
            takes: words.get(2).map_or(Kinds::ANY, |it| it.parse().unwrap()),
            outputs: outputs
                .split(',')
                .filter(|it| !it.trim().is_empty())
                .map(output)
                .collect(),
        }
    };
    lines.iter().map(vertex).collect()
}

fn says(text: &str, shape: Shape) -> Vec<String> {
    let problems = compile(&graph(text), shape).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn ports_fit_when_all_that_is_given_is_taken() {
    let fits = |gives: &str, takes: &str| {
        let kinds = |text: &str| text.parse::<Kinds>().unwrap();
        kinds(gives).fits(kinds(takes))
    };
    assert!(fits("metrics", "metrics+logs") && fits("any", "logs") && fits("logs", "any"));
    assert!(!fits("metrics+logs", "metrics") && !fits("traces", "events"));
    assert_eq!(
        "logs + metrics".parse::<Kinds>().unwrap().to_string(),
        "metrics+logs"
    );
    assert!(
        "spans"
            .parse::<Kinds>()
            .unwrap_err()
            .contains("there are: any, events")
    );
    let wrong = says(
        "r receiver: out=e metrics+logs
         e exporter metrics:",
        Shape::Workflow,
    );
    assert_eq!(wrong, ["gives metrics+logs, but `e` takes metrics only"]);
}

#[test]
fn cycles_are_for_workflows_and_never_for_what_is_delivered_at_least_once() {
    let ring = "a: out=b
                b: out=c
                c: out=b";
    assert!(compile(&graph(ring), Shape::Workflow).is_ok());
    let wrong = says(ring, Shape::Dataflow);
    assert!(wrong[0].contains("b → c → b"), "{wrong:?}");
    let wrong = says("a: out=a any tracked", Shape::Workflow);
    assert!(wrong[0].contains("a → a"), "{wrong:?}");
    let half = "a: out=b any tracked
                b: out=a";
    assert!(compile(&graph(half), Shape::Workflow).is_ok());
}

#[test]
fn what_is_on_no_way_is_removed_and_it_is_said_why() {
    let text = "r receiver: out=p, log=q
                p: out=e
                e exporter:
                q: out=s
                s:
                x: out=e
                idle receiver:";
    let compiled = compile(&graph(text), Shape::Dataflow).unwrap();
    let unheard = |at| (at, Dead::Unheard);
    let removed = [unheard(3), unheard(4), (5, Dead::Unfed), unheard(6)];
    assert_eq!(compiled.removed, removed);
    assert_eq!(compiled.chains, [[0, 1, 2]]);
    assert_eq!(compile(&graph(text), Shape::Workflow).unwrap().removed, []);
    let wrong = says("r receiver:\n e exporter:", Shape::Dataflow);
    assert!(
        wrong[0].starts_with("no way leads from a receiver"),
        "{wrong:?}"
    );
}

#[test]
fn chains_end_where_ways_part_or_meet() {
    let text = "a: out=b
                b: out=c, other=d
                c: out=e
                d: out=e
                e: out=f
                f:
                ring1: out=ring2
                ring2: out=ring1";
    let compiled = compile(&graph(text), Shape::Workflow).unwrap();
    assert_eq!(compiled.chains, [vec![0, 1], vec![4, 5]]);
}

fn random() -> impl Strategy<Value = Vec<Vertex>> {
    let role = prop_oneof![
        Just(Role::Receiver),
        Just(Role::Processor),
        Just(Role::Exporter)
    ];
    prop::collection::vec(
        (
            role,
            prop::collection::vec((0_usize..12, any::<bool>()), 0..4),
        ),
        1..12,
    )
    .prop_map(|all| {
        let number = all.len();
        let vertex = |(at, (role, outputs)): (usize, (Role, Vec<(usize, bool)>))| Vertex {
            name: at.to_string(),
            role,
            takes: Kinds::ANY,
            outputs: outputs
                .into_iter()
                .enumerate()
                .map(|(channel, (to, tracked))| Output {
                    channel: channel.to_string(),
                    gives: Kinds::ANY,
                    tracked,
                    to: to % number,
                })
                .collect(),
        };
        all.into_iter().enumerate().map(vertex).collect()
    })
}

proptest! {
    #[test]
    fn what_is_kept_is_on_a_way_and_a_named_cycle_is_one(vertices in random()) {
        match compile(&vertices, Shape::Dataflow) {
            Ok(compiled) => {
                let gone: BTreeSet<usize> = compiled.removed.iter().map(|&(at, _)| at).collect();
                for (at, vertex) in vertices.iter().enumerate().filter(|(at, _)| !gone.contains(at)) {
                    let ahead = vertex.outputs.iter().any(|it| !gone.contains(&it.to));
                    prop_assert!(ahead || vertex.role == Role::Exporter);
                    let mut others = vertices.iter().enumerate();
                    let behind = others.any(|(other, it)| {
                        !gone.contains(&other) && it.outputs.iter().any(|it| it.to == at)
                    });
                    prop_assert!(behind || vertex.role == Role::Receiver);
                }
                for chain in &compiled.chains {
                    prop_assert!(chain.len() > 1 && chain.iter().all(|at| !gone.contains(at)));
                }
                let mut all: Vec<usize> = compiled.chains.concat();
                let number = all.len();
                all.sort_unstable();
                all.dedup();
                prop_assert_eq!(all.len(), number, "no vertex is in two chains");
            }
            Err(problems) => {
                for problem in problems {
                    if let Problem::Cycle(names) | Problem::TrackedCycle(names) = problem {
                        prop_assert_eq!(names.first(), names.last());
                        for pair in names.windows(2) {
                            let places: Vec<usize> = pair.iter().map(|it| it.parse().unwrap()).collect();
                            prop_assert!(vertices[places[0]].outputs.iter().any(|it| it.to == places[1]));
                        }
                    }
                }
            }
        }
    }
}
