//! Several engines over a network that delays, loses what is under way when a link breaks, and has a node
//! die and come back as another: what is delivered at least once is never lost.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{Engine, Outputs, Remote};
use edgeless_types::{
    Generation, InstanceId, NodeId,
    message::{Message, Signal},
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::task::AbortHandle;

use crate::world::{Plan, Seen, engine, instance, node, plan, settled, simulate, start};

/// Messages on one link at a time.
const LINK: usize = 64;

/// Engines by node, each with what kills it.
type Engines = BTreeMap<NodeId, (Engine, Vec<AbortHandle>)>;

thread_local! {
    /// The engines of this simulation, by node: they run on this thread.
    static ENGINES: RefCell<Engines> = const { RefCell::new(BTreeMap::new()) };
}

/// What is under way from one node to another.
#[derive(Debug)]
enum Thing {
    Message(Box<Message>),
    Signal(Signal),
}

#[derive(Debug, Default)]
struct Link {
    under_way: VecDeque<Thing>,
    /// Whether things arrive.
    down: bool,
}

/// All links, by sender and receiver.
#[derive(Clone, Debug, Default)]
struct Net(Arc<Mutex<BTreeMap<(NodeId, NodeId), Link>>>);

struct Wire {
    net: Net,
    from: NodeId,
}

impl Remote for Wire {
    fn send(&self, _: usize, to: NodeId, message: Message) -> Result<(), Message> {
        let mut links = self.net.0.lock().unwrap();
        let link = links.entry((self.from, to)).or_default();
        if link.under_way.len() >= LINK {
            return Err(message);
        }
        link.under_way.push_back(Thing::Message(Box::new(message)));
        Ok(())
    }

    fn signal(&self, _: usize, signal: Signal) {
        let mut links = self.net.0.lock().unwrap();
        let link = links.entry((self.from, signal.to.node_id)).or_default();
        link.under_way.push_back(Thing::Signal(signal));
    }
}

impl Net {
    /// Delivers what is under way, each link some of it at a time, for ever.
    async fn run(self, seed: u64) {
        let mut chance = SmallRng::seed_from_u64(seed);
        loop {
            tokio::time::sleep(Duration::from_millis(chance.random_range(1..10))).await;
            let ways: Vec<_> = self.0.lock().unwrap().keys().copied().collect();
            for way in ways {
                let things: Vec<Thing> = {
                    let mut links = self.0.lock().unwrap();
                    let Some(link) = links.get_mut(&way).filter(|link| !link.down) else {
                        continue;
                    };
                    let some = chance.random_range(0..=link.under_way.len());
                    link.under_way.drain(..some).collect()
                };
                deliver(way.1, things).await;
            }
        }
    }

    /// All links to and from a node break, what is under way is lost, and nothing arrives for a while.
    fn cut(&self, node_id: NodeId, down: bool) {
        for ((from, to), link) in self.0.lock().unwrap().iter_mut() {
            if *from == node_id || *to == node_id {
                link.down = down;
                link.under_way.clear();
            }
        }
    }
}

async fn deliver(to: NodeId, things: Vec<Thing>) {
    let engine = ENGINES.with_borrow(|engines| engines.get(&to).map(|it| it.0.clone()));
    let Some(engine) = engine else { return };
    for thing in things {
        match thing {
            Thing::Signal(signal) => engine.deliver_signals(vec![signal]).await,
            Thing::Message(message) => engine.deliver(vec![*message]).await,
        }
    }
}

/// A cluster of engines over which the vertices of a graph are spread.
struct Cluster {
    plan: Plan,
    net: Net,
    seen: Seen,
    /// Where each vertex is, the entry last.
    places: Vec<InstanceId>,
}

impl Cluster {
    async fn start(plan: &Plan, nodes: u128) -> (Self, edgeless_dataflow::Port) {
        let (net, seen) = (Net::default(), Seen::default());
        for number in 1..=nodes {
            join(plan, &net, node(number));
        }
        tokio::task::spawn_local(net.clone().run(plan.seed));
        let on = |vertex: usize| node(1 + vertex as u128 % nodes);
        // The entry is on the first node.
        let places = (0..plan.vertices).map(|vertex| instance(on(vertex), vertex + 1));
        let entry = instance(node(1), plan.vertices + 1);
        let places: Vec<_> = places.chain([entry]).collect();
        let mut ports = Vec::new();
        for (vertex, &me) in places.iter().enumerate() {
            let engine = engine_of(me.node_id);
            ports.push(start(&engine, plan, &seen, vertex, me, |to| places[to]).await);
        }
        let cluster = Self {
            plan: plan.clone(),
            net,
            seen,
            places,
        };
        (cluster, ports.pop().unwrap())
    }

    /// A node dies; a new one comes in its place, with new instances of what ran there.
    async fn replace(&mut self, old: NodeId, new: NodeId) {
        self.net.cut(old, true);
        let killed = ENGINES.with_borrow_mut(|engines| engines.remove(&old));
        killed.unwrap().1.iter().for_each(AbortHandle::abort);
        join(&self.plan, &self.net, new);
        let moved: Vec<usize> = (0..self.plan.vertices)
            .filter(|&vertex| self.places[vertex].node_id == old)
            .collect();
        for &vertex in &moved {
            self.seen.ended(self.places[vertex].physical_id);
            // Never the same id twice.
            let number = new.uuid().as_u128() as usize * 1_000 + vertex;
            self.places[vertex] = instance(new, number);
        }
        for &vertex in &moved {
            let (me, places) = (self.places[vertex], &self.places);
            let engine = engine_of(new);
            start(&engine, &self.plan, &self.seen, vertex, me, |to| places[to]).await;
        }
        for (vertex, me) in self.places.iter().enumerate() {
            let targets = self.plan.targets(vertex).into_iter();
            let leads = targets.map(|to| (format!("to {to}"), vec![self.places[to]]));
            let outputs = Outputs::new(leads.collect());
            let engine = engine_of(me.node_id);
            engine.patch(me.physical_id, Generation(2), outputs).await;
        }
    }
}

fn join(plan: &Plan, net: &Net, node_id: NodeId) {
    let net = net.clone();
    let wire = Wire { net, from: node_id };
    let engine = engine(plan, node_id, Arc::new(wire));
    ENGINES.with_borrow_mut(|engines| engines.insert(node_id, engine));
}

fn engine_of(node_id: NodeId) -> Engine {
    ENGINES.with_borrow(|engines| engines[&node_id].0.clone())
}

/// What happens to the network while messages pass.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// All links of a node break, for so many milliseconds.
    Break(u128, u64),
    /// A node other than the first dies, and another takes its place.
    Die,
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        3 => (1_u128..4, 1_u64..8_000).prop_map(|(node, millis)| Trouble::Break(node, millis)),
        1 => Just(Trouble::Die),
    ]
}

async fn run(plan: &Plan, nodes: u128, troubles: &[Trouble]) -> (Seen, bool, u64) {
    ENGINES.with_borrow_mut(BTreeMap::clear);
    let (mut cluster, entry) = Cluster::start(plan, nodes).await;
    let messages = plan.messages;
    let sending = tokio::task::spawn_local(async move {
        for number in 0..messages {
            let payload = Bytes::copy_from_slice(&number.to_be_bytes());
            entry.cast("to 0", payload).await.unwrap();
        }
    });
    let mut chance = SmallRng::seed_from_u64(plan.seed);
    let mut alive: Vec<u128> = (1..=nodes).collect();
    for trouble in troubles {
        tokio::time::sleep(Duration::from_millis(chance.random_range(1..300))).await;
        match *trouble {
            Trouble::Break(which, millis) => {
                let node_id = node(alive[which as usize % alive.len()]);
                cluster.net.cut(node_id, true);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                cluster.net.cut(node_id, false);
            }
            Trouble::Die => {
                let old = alive.pop().unwrap();
                let new = old + 100;
                alive.push(new);
                cluster.replace(node(old), node(new)).await;
            }
        }
    }
    sending.await.unwrap();
    let engines: Vec<Engine> = alive.iter().map(|&it| engine_of(node(it))).collect();
    let sinks: Vec<usize> = (0..plan.vertices)
        .filter(|&vertex| plan.ways()[vertex] > 0)
        .collect();
    let all_there = || {
        let done = cluster.seen.done();
        let there = |vertex: &usize| (0..messages).all(|it| done.contains_key(&(*vertex, it)));
        sinks.iter().all(there)
    };
    let settled = settled(&engines, all_there).await;
    let counters = engines.iter().map(Engine::counters);
    let again: u64 = counters.map(|it| it.redelivered.load(SeqCst)).sum();
    ENGINES.with_borrow_mut(BTreeMap::clear);
    (cluster.seen, settled, again)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_network_does_all_is_there_and_acknowledged(
        plan in plan(Just(true)),
        nodes in 2_u128..5,
        troubles in prop::collection::vec(trouble(), 0..4),
    ) {
        let (seen, settled, again) = simulate(run(&plan, nodes, &troubles));
        prop_assert!(settled, "something is lost or left over");
        prop_assert_eq!(seen.after_end(), 0, "an instance that has ended got messages");
        let nobody_died = !troubles.iter().any(|it| matches!(it, Trouble::Die));
        if nobody_died {
            // What came a second time was known, however often it was sent.
            for (vertex, ways) in plan.ways().into_iter().enumerate() {
                for number in 0..plan.messages {
                    let times = seen.done().get(&(vertex, number)).copied().unwrap_or_default();
                    prop_assert_eq!(times, ways, "payload {} at vertex {}, {} sent again", number, vertex, again);
                }
            }
        }
    }

    #[test]
    fn the_same_seed_is_the_same_run(
        plan in plan(Just(true)),
        troubles in prop::collection::vec(trouble(), 0..3),
    ) {
        let first = simulate(run(&plan, 3, &troubles)).0.trace();
        prop_assert_eq!(first, simulate(run(&plan, 3, &troubles)).0.trace());
    }
}
