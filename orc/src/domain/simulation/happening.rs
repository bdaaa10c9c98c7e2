//! What may happen to a domain.

use std::collections::BTreeSet;

use edgeless_types::intent::Intent;
use proptest::{prelude::*, strategy::Strategy as Values};

use super::{BAD, Command, NODES, Simulation, VERTICES, logical_id, node_id, request};

/// What may happen.
#[derive(Clone, Debug)]
pub(in crate::domain) enum Happening {
    Start(u128),
    /// Two in one request.
    StartBoth(u128, u128),
    /// A vertex is to be of another version.
    Update(u128, u8),
    Scale(u128, u32),
    Stop(u128),
    Refresh(u128),
    Restart(u128),
    /// ε-ORC dies and returns; its journal tells it what is desired.
    RestartDomain,
    Silence(u64),
    Migrate(u128, u128),
    Cordon(u128),
    Drain(u128),
    Rebalance,
    Uncordon(u128),
    Leave(u128),
    Deliver,
    Fail,
    /// An instance ends by itself.
    Trap(u128),
    /// An instance saves its state.
    Save(u128),
    /// The output of a vertex leads elsewhere.
    Patch(u128, u128),
    /// A node has other labels.
    Change(u128),
    /// The domain enters a cluster.
    Reset,
}

pub(in crate::domain) fn happening() -> impl Values<Value = Happening> {
    let (node, vertex) = (0..NODES, 0..VERTICES);
    prop_oneof![
        3 => vertex.clone().prop_map(Happening::Start),
        1 => (vertex.clone(), prop_oneof![1_u8..3, Just(BAD)])
            .prop_map(|(vertex, version)| Happening::Update(vertex, version)),
        1 => (vertex.clone(), 1_u32..4).prop_map(|(vertex, copies)| Happening::Scale(vertex, copies)),
        1 => (vertex.clone(), vertex.clone()).prop_map(|(one, two)| Happening::StartBoth(one, two)),
        1 => (vertex.clone(), vertex.clone()).prop_map(|(of, to)| Happening::Patch(of, to)),
        1 => vertex.clone().prop_map(Happening::Stop),
        6 => node.clone().prop_map(Happening::Refresh),
        1 => node.clone().prop_map(Happening::Restart),
        1 => Just(Happening::RestartDomain),
        2 => (0_u64..1_500).prop_map(Happening::Silence),
        1 => (vertex, node.clone()).prop_map(|(vertex, node)| Happening::Migrate(vertex, node)),
        1 => node.clone().prop_map(Happening::Cordon),
        1 => node.clone().prop_map(Happening::Drain),
        1 => Just(Happening::Rebalance),
        1 => node.clone().prop_map(Happening::Uncordon),
        1 => node.clone().prop_map(Happening::Leave),
        1 => node.clone().prop_map(Happening::Trap),
        1 => node.clone().prop_map(Happening::Save),
        1 => node.prop_map(Happening::Change),
        8 => Just(Happening::Deliver),
        1 => Just(Happening::Fail),
        1 => prop_oneof![4 => Just(Happening::Deliver), 1 => Just(Happening::Reset)],
    ]
}

impl Simulation {
    pub(super) fn close_or_open(&mut self, happening: &Happening) {
        match *happening {
            Happening::Cordon(number) => {
                let node_id = node_id(number);
                let done = self.intent(Intent::Cordon { node_id });
                self.cordoned.extend(done.then_some(node_id));
            }
            Happening::Drain(number) => {
                let node_id = node_id(number);
                let done = self.intent(Intent::Drain { node_id });
                self.cordoned.extend(done.then_some(node_id));
                self.drained.extend(done.then_some(node_id));
            }
            Happening::Uncordon(number) => {
                // Its effects are allowed to use the node already.
                let was = self.cordoned.remove(&node_id(number));
                self.drained.remove(&node_id(number));
                let done = self.intent(Intent::Uncordon {
                    node_id: node_id(number),
                });
                if was && !done {
                    self.cordoned.insert(node_id(number));
                }
            }
            _ => {}
        }
    }

    /// What happens seldom.
    pub(super) fn happen_seldom(&mut self, happening: &Happening) {
        match *happening {
            Happening::StartBoth(one, two) => {
                let numbers = BTreeSet::from([one, two]);
                let vertices = numbers.iter().map(|&it| request(it, self.desire(it)));
                let (vertices, ticket) = (vertices.collect(), self.ticket());
                self.asked.insert(ticket, numbers.into_iter().collect());
                self.command(Command::Start { vertices, ticket });
            }
            Happening::Trap(number) => {
                self.nodes.get_mut(&node_id(number)).unwrap().trap();
                self.refresh(node_id(number), false);
            }
            Happening::Save(number) => {
                self.nodes.get_mut(&node_id(number)).unwrap().save();
                self.refresh(node_id(number), false);
            }
            Happening::Patch(of, to) => {
                let outputs = [("out".to_owned(), logical_id(to))].into();
                self.command(Command::Patch(vec![(logical_id(of), outputs)]));
            }
            Happening::Change(number) => {
                let node = self.nodes.get_mut(&node_id(number)).unwrap();
                node.changed = !node.changed;
                self.refresh(node_id(number), true);
            }
            Happening::Reset => {
                self.desired.clear();
                self.command(Command::Reset);
            }
            _ => {}
        }
    }
}
