//! What may happen to a domain.

use proptest::{prelude::*, strategy::Strategy as Values};

use super::{BAD, NODES, VERTICES};

/// What may happen.
#[derive(Clone, Debug)]
pub(in crate::domain) enum Happening {
    Start(u128),
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
}

pub(in crate::domain) fn happening() -> impl Values<Value = Happening> {
    let (node, vertex) = (0..NODES, 0..VERTICES);
    prop_oneof![
        3 => vertex.clone().prop_map(Happening::Start),
        1 => (vertex.clone(), prop_oneof![1_u8..3, Just(BAD)])
            .prop_map(|(vertex, version)| Happening::Update(vertex, version)),
        1 => (vertex.clone(), 1_u32..4).prop_map(|(vertex, copies)| Happening::Scale(vertex, copies)),
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
        1 => node.prop_map(Happening::Leave),
        8 => Just(Happening::Deliver),
        1 => Just(Happening::Fail),
    ]
}
