//! Histories of a fleet, against a search through all nodes.

use std::collections::BTreeSet;

use edgeless_types::{
    Presence, Requirements,
    workflow::{ResourceSpec, VertexSpec},
};
use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};
use uuid::Uuid;

use super::*;
use crate::plan::{Needs, NodeView, Wanted};

const NODES: u128 = 6;
const KINDS: u8 = 6;

#[derive(Clone, Debug)]
enum Happening {
    Put(u128, u32, u8),
    Remove(u128),
    Close(u128, bool),
    Health(u128, u32),
    /// One more of that kind with that ask.
    Place(u8, u64, u64),
    /// One of those that were placed goes.
    Stop(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    let node = 0..NODES;
    prop_oneof![
        2 => (node.clone(), 1..4_u32, 0..8_u8).prop_map(|(id, cores, has)| Happening::Put(id, cores, has)),
        1 => node.clone().prop_map(Happening::Remove),
        1 => (node.clone(), any::<bool>()).prop_map(|(id, closed)| Happening::Close(id, closed)),
        1 => (node, 0..500_u32).prop_map(|(id, load)| Happening::Health(id, load)),
        6 => (0..KINDS, 0..900_u64, 0..400_u64).prop_map(|(kind, cpu, memory)| Happening::Place(kind, cpu, memory)),
        3 => any::<usize>().prop_map(Happening::Stop),
    ]
}

fn strategies() -> impl Strategy<Value = StrategyKind> {
    prop_oneof![
        Just(StrategyKind::Random),
        Just(StrategyKind::RoundRobin),
        Just(StrategyKind::LeastLoaded),
        Just(StrategyKind::BinPack),
        Just(StrategyKind::Spread),
        Just(StrategyKind::Affine),
    ]
}

fn node(number: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(number))
}

fn capabilities(cores: u32, has: u8) -> NodeCapabilities {
    let labels = ["a", "b"].into_iter().enumerate();
    let labels = labels.filter(|(bit, _)| has & 1 << bit != 0);
    NodeCapabilities {
        num_cores: cores,
        mem_size: 1_000,
        labels: labels.map(|(_, label)| label.to_owned()).collect(),
        has_tpm: has & 4 != 0,
        runtimes: vec!["R".to_owned()],
        ..NodeCapabilities::default()
    }
}

/// What a kind wants, by its number.
fn requirements(kind: u8) -> Requirements {
    let list = |labels: &[&str]| labels.iter().map(|&it| it.to_owned()).collect();
    let mut requirements = Requirements::default();
    match kind {
        1 => requirements.label_match_all = list(&["a"]),
        2 => requirements.label_match_all = list(&["b", "a"]),
        3 => requirements.tpm = Presence::Required,
        4 => requirements.node_id_match_any = vec![node(1), node(2)],
        _ => {}
    }
    requirements
}

fn kind(number: u8) -> Kind {
    let resource = ResourceSpec {
        name: "r".into(),
        class_type: "nobody has it".into(),
        configurations: BTreeMap::new(),
    };
    match number {
        5 => Kind::of(&VertexSpec::Resource(resource), &requirements(5)),
        _ => Kind {
            needs: Needs::Runtime("R".to_owned()),
            requirements: requirements(number),
        },
    }
}

/// What is true, kept without any index.
#[derive(Default)]
struct Truth {
    nodes: BTreeMap<NodeId, (NodeCapabilities, bool)>,
    placed: Vec<(NodeId, Ask)>,
}

impl Truth {
    fn free(&self, node_id: NodeId) -> Ask {
        let mine = self.placed.iter().filter(|(home, _)| *home == node_id);
        let asked = mine.fold(Ask::default(), |sum, (_, ask)| sum.plus(*ask));
        let cores = self.nodes[&node_id].0.num_cores;
        let all = Ask {
            cpu_millis: u64::from(cores) * 1_000,
            memory_mib: 1_000,
        };
        all.minus(asked)
    }

    fn takes(&self, kind: &Kind, ask: Ask, node_id: NodeId) -> bool {
        let Some((capabilities, closed)) = self.nodes.get(&node_id) else {
            return false;
        };
        let free = self.free(node_id);
        let view = NodeView {
            node_id,
            capabilities,
            providers: &[],
            health: None,
            instances: 0,
            free,
            transfer_nanos: 0,
            closed: closed.then_some("closed"),
        };
        let wanted: Wanted<'_> = kind.wanted();
        feasible::unmet(wanted, &view).is_none()
            && ask.cpu_millis <= free.cpu_millis
            && ask.memory_mib <= free.memory_mib
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_choice_is_a_node_that_takes_it_and_there_is_one_if_any_does(
        strategy in strategies(),
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let mut fleet = Fleet::new(strategy, Overcommit::default());
        let kinds: Vec<_> = (0..KINDS).map(|it| fleet.enter(kind(it))).collect();
        let (mut truth, mut rng) = (Truth::default(), StdRng::seed_from_u64(7));
        for happening in happenings {
            match happening {
                Happening::Put(number, cores, has) => {
                    let id = node(number);
                    let capabilities = capabilities(cores, has);
                    fleet.put(id, Arc::new(capabilities.clone()), Arc::new([]));
                    let closed = truth.nodes.get(&id).is_some_and(|(_, closed)| *closed);
                    truth.nodes.insert(id, (capabilities, closed));
                }
                Happening::Remove(number) => {
                    let id = node(number);
                    fleet.remove(id);
                    truth.nodes.remove(&id);
                    truth.placed.retain(|(home, _)| *home != id);
                }
                Happening::Close(number, closed) => {
                    fleet.set_closed(node(number), closed.then_some("closed"));
                    if let Some((_, is)) = truth.nodes.get_mut(&node(number)) {
                        *is = closed;
                    }
                }
                Happening::Health(number, load_avg_1) => {
                    let health = NodeHealth { load_avg_1, ..NodeHealth::default() };
                    fleet.set_health(node(number), health);
                }
                Happening::Place(number, cpu_millis, memory_mib) => {
                    let ask = Ask { cpu_millis, memory_mib };
                    let (id, wanted) = (kinds[usize::from(number)], kind(number));
                    let nodes = truth.nodes.keys().copied();
                    let able: BTreeSet<_> = nodes.filter(|&it| truth.takes(&wanted, ask, it)).collect();
                    for &it in truth.nodes.keys() {
                        prop_assert_eq!(fleet.takes(id, ask, it).is_ok(), able.contains(&it));
                    }
                    prop_assert_eq!(fleet.has_room(id, ask, &[]), !able.is_empty());
                    prop_assert!(!fleet.has_room(id, ask, &Vec::from_iter(able.clone())));
                    match fleet.choose(id, ask, &Wish::default(), &mut rng) {
                        Choice::Node(chosen) => {
                            prop_assert!(able.contains(&chosen));
                            fleet.take(chosen, ask);
                            truth.placed.push((chosen, ask));
                        }
                        Choice::Busy | Choice::Nowhere => {
                            let excluded = fleet.excluded(id, ask);
                            prop_assert!(able.is_empty());
                            let number = |line: &String| {
                                let number = line.rsplit(": ").next()?.split(' ').next()?;
                                number.parse::<usize>().ok()
                            };
                            let sum: usize = excluded.iter().filter_map(number).sum();
                            prop_assert_eq!(sum, truth.nodes.len(), "{:?}", excluded);
                        }
                    }
                }
                Happening::Stop(which) => {
                    if !truth.placed.is_empty() {
                        let which = which % truth.placed.len();
                        let (home, ask) = truth.placed.swap_remove(which);
                        fleet.give_back(home, ask);
                    }
                }
            }
        }
    }
}

#[test]
fn nodes_that_refused_are_tried_again_only_when_nobody_else_is_there() {
    let mut fleet = Fleet::new(StrategyKind::RoundRobin, Overcommit::default());
    let any = fleet.enter(kind(0));
    for number in 0..2 {
        fleet.put(node(number), Arc::new(capabilities(1, 0)), Arc::new([]));
    }
    let mut rng = StdRng::seed_from_u64(1);
    let mut choose = |not: &[u128]| {
        let refused: Vec<_> = not.iter().map(|&it| node(it)).collect();
        let wish = Wish {
            refused: &refused,
            ..Wish::default()
        };
        fleet.choose(any, Ask::default(), &wish, &mut rng)
    };
    assert_eq!(choose(&[0]), Choice::Node(node(1)));
    assert_eq!(choose(&[0]), Choice::Node(node(1)));
    assert!(matches!(choose(&[0, 1]), Choice::Node(_)));
}

#[test]
fn kinds_that_nobody_uses_are_forgotten_and_overcommitment_makes_room() {
    let overcommit = Overcommit {
        cpu: 2.0,
        memory: 0.5,
    };
    let mut fleet = Fleet::new(StrategyKind::BinPack, overcommit);
    let (first, second) = (fleet.enter(kind(1)), fleet.enter(kind(1)));
    assert_eq!(first, second);
    fleet.put(node(1), Arc::new(capabilities(1, 1)), Arc::new([]));
    let ask = |cpu_millis, memory_mib| Ask {
        cpu_millis,
        memory_mib,
    };
    assert_eq!(fleet.takes(first, ask(2_000, 500), node(1)), Ok(()));
    assert_eq!(
        fleet.takes(first, ask(2_001, 0), node(1)),
        Err("cpu_millis")
    );
    assert_eq!(fleet.takes(first, ask(0, 501), node(1)), Err("memory_mib"));
    fleet.leave(first);
    assert_eq!(fleet.kinds.len(), 1);
    fleet.leave(second);
    assert!(fleet.kinds.is_empty() && fleet.by_kind.is_empty());
}
