//! Which of the feasible nodes gets an instance.

mod least_loaded;
mod random;
mod round_robin;

use edgeless_types::NodeId;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::NodeView;

/// Chooses among feasible nodes. Seedable: the same nodes, generator and history give the same
/// choice.
pub trait Strategy: Send {
    /// One of `feasible`, which is not empty and in ascending order of ids.
    fn choose(&mut self, feasible: &[NodeView<'_>], rng: &mut StdRng) -> NodeId;
}

/// The strategies there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrategyKind {
    /// A random node, weighted by cores × clock.
    Random,
    /// One after the other.
    #[default]
    RoundRobin,
    /// The node with the least reported load, used memory and instances.
    LeastLoaded,
}

impl StrategyKind {
    /// Makes the strategy.
    pub fn build(self) -> Box<dyn Strategy> {
        match self {
            Self::Random => Box::new(random::Random),
            Self::RoundRobin => Box::new(round_robin::RoundRobin::default()),
            Self::LeastLoaded => Box::new(least_loaded::LeastLoaded),
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeless_types::{NodeCapabilities, NodeHealth};
    use rand::SeedableRng;
    use uuid::Uuid;

    use super::*;

    /// How often each of three nodes (1, 2 and 4 cores) is chosen in 700 choices.
    fn check(kind: StrategyKind, health: &[NodeHealth; 3]) -> [u32; 3] {
        let capabilities = [1, 2, 4].map(|num_cores| NodeCapabilities {
            num_cores,
            clock_freq_cpu: 1_000.0,
            mem_size: 1_000,
            ..NodeCapabilities::default()
        });
        let mut strategy = kind.build();
        let mut rng = StdRng::seed_from_u64(1);
        let mut chosen = [0; 3];
        for _ in 0..700 {
            let nodes: Vec<_> = (0..3)
                .map(|index| NodeView {
                    node_id: NodeId::new(Uuid::from_u128(index as u128)),
                    capabilities: &capabilities[index],
                    providers: &[],
                    health: Some(&health[index]),
                    instances: chosen[index] as usize,
                    closed: false,
                })
                .collect();
            let node_id = strategy.choose(&nodes, &mut rng);
            let index = nodes
                .iter()
                .position(|node| node.node_id == node_id)
                .unwrap();
            chosen[index] += 1;
        }
        chosen
    }

    #[test]
    fn random_follows_cores_times_clock() {
        let [one, two, four] = check(StrategyKind::Random, &Default::default());
        assert!((60..140).contains(&one), "{one}");
        assert!((150..250).contains(&two), "{two}");
        assert!((340..460).contains(&four), "{four}");
    }

    #[test]
    fn round_robin_gives_each_its_turn() {
        assert_eq!(
            check(StrategyKind::RoundRobin, &Default::default()),
            [234, 233, 233]
        );
    }

    #[test]
    fn least_loaded_fills_by_cores_and_avoids_the_busy() {
        let idle = NodeHealth {
            mem_available: 1_000,
            ..NodeHealth::default()
        };
        let busy = NodeHealth {
            load_avg_1: 10_000,
            mem_available: 1_000,
            ..NodeHealth::default()
        };
        let chosen = check(
            StrategyKind::LeastLoaded,
            &std::array::from_fn(|_| idle.clone()),
        );
        assert!(chosen[0] < chosen[1] && chosen[1] < chosen[2], "{chosen:?}");
        let chosen = check(StrategyKind::LeastLoaded, &[idle.clone(), idle, busy]);
        assert!(chosen[2] < 50, "{chosen:?}");
    }
}
