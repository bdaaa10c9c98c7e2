//! What each strategy prefers.

use edgeless_types::{NodeCapabilities, NodeHealth};
use rand::SeedableRng;
use uuid::Uuid;

use super::*;

fn id(number: usize) -> NodeId {
    NodeId::new(Uuid::from_u128(number as u128))
}

/// How often each of three nodes (1, 2 and 4 cores) is chosen in so many choices of that much processor time.
fn check(
    kind: StrategyKind,
    health: &[NodeHealth; 3],
    choices: usize,
    cpu_millis: u64,
) -> [usize; 3] {
    let capabilities = [1, 2, 4].map(|num_cores| NodeCapabilities {
        num_cores,
        clock_freq_cpu: 1_000.0,
        mem_size: 1_000,
        ..NodeCapabilities::default()
    });
    let ask = Ask {
        cpu_millis,
        memory_mib: 0,
    };
    let (mut order, mut rng) = (kind.build(), StdRng::seed_from_u64(1));
    let mut chosen = [0; 3];
    for _ in 0..choices {
        let free = |index: usize| {
            let asked = chosen[index] as u64 * cpu_millis;
            u64::from(capabilities[index].num_cores) * 1_000 - asked
        };
        for index in 0..3 {
            order.put(&NodeView {
                node_id: id(index),
                capabilities: &capabilities[index],
                providers: &[],
                health: Some(&health[index]),
                instances: chosen[index],
                free: Ask {
                    cpu_millis: free(index),
                    memory_mib: 0,
                },
                transfer_nanos: 0,
                closed: None,
            });
        }
        let index = |node_id| (0..3).find(|&index| id(index) == node_id).unwrap();
        let node_id = order.next(ask, &mut rng, &mut |it| free(index(it)) >= cpu_millis);
        chosen[index(node_id.unwrap())] += 1;
    }
    chosen
}

#[test]
fn random_follows_cores_times_clock() {
    let [one, two, four] = check(StrategyKind::Random, &Default::default(), 700, 0);
    assert!((60..140).contains(&one), "{one}");
    assert!((150..250).contains(&two), "{two}");
    assert!((340..460).contains(&four), "{four}");
}

#[test]
fn round_robin_gives_each_its_turn() {
    assert_eq!(
        check(StrategyKind::RoundRobin, &Default::default(), 700, 0),
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
    let kind = StrategyKind::LeastLoaded;
    let chosen = check(kind, &std::array::from_fn(|_| idle.clone()), 700, 0);
    assert!(chosen[0] < chosen[1] && chosen[1] < chosen[2], "{chosen:?}");
    let chosen = check(kind, &[idle.clone(), idle, busy], 700, 0);
    assert!(chosen[2] < 50, "{chosen:?}");
}

#[test]
fn bin_pack_fills_one_node_before_the_next() {
    let kind = StrategyKind::BinPack;
    assert_eq!(check(kind, &Default::default(), 3, 300), [3, 0, 0]);
    assert_eq!(check(kind, &Default::default(), 9, 300), [3, 6, 0]);
    assert_eq!(check(kind, &Default::default(), 22, 300), [3, 6, 13]);
    // Whoever asks for nothing goes where the least is left.
    assert_eq!(check(kind, &Default::default(), 5, 0), [5, 0, 0]);
}
