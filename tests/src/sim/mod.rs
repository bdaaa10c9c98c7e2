//! The whole control plane in one process, one thread and no time at all: ε-CON, two domains, their nodes,
//! clients, Redis, disks and the network between them, all from one seed.
//!
//! The state machines are the real ones: `edgeless_con::cluster`, `edgeless_orc::domain`, fence and journal's
//! differences, of the nodes the ledger and the report. What the shells around them do (workers, deadlines, retries, writes before
//! acknowledgements, the mirror) is written anew here, as briefly as it can be, without tasks and clocks:
//! `con`, `choice`, `link` and `disk`, `orc`, `worker`, `subscription`, `journal` and `mirror`, `node`. `net` has the queue of events and the network,
//! `faults` what happens, `check` and `quiet` what has to hold.
//!
//! A history has a time of faults, then everything is healed, and when all is quiet it is checked whole.
//! Equal seeds give equal histories.

mod check;
mod choice;
mod con;
mod disk;
mod faults;
mod journal;
mod link;
mod mirror;
mod net;
mod node;
mod orc;
mod quiet;
mod states;
mod subscription;
mod worker;

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use edgeless_types::NodeId;
use rand::Rng;
use uuid::Uuid;

use self::{
    check::Watch,
    con::Con,
    faults::Client,
    net::{Body, Context, Event, Place, Request, Timer},
    node::Node,
    orc::Orc,
};

/// Events that are shown of a seed that fails.
const SHOWN: usize = 60;

/// Something that is done wrong on purpose, to see that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Nodes carry out a patch that is older than the last.
    NodeIgnoresGenerations,
    /// ε-ORC does not stop copies that are not desired.
    StraysStay,
    /// ε-ORC acknowledges a cordon and goes on as before.
    CordonsAreForgotten,
    /// Other numbers of copies are asked for in vain.
    NothingIsScaled,
    /// Nodes that come and go get new copies at once.
    NobodyRests,
    /// ε-ORC carries out orders of ε-CON as they come, late ones and repeated ones as well.
    OrdersAreNotFenced,
    /// ε-ORC does not keep what instances save.
    StatesAreForgotten,
    /// Nodes answer a stop that is repeated as if nothing had been saved.
    StopsAreNotRepeated,
    /// ε-CON numbers its lives by its clock alone.
    LivesFollowTheClock,
    /// ε-CON acknowledges before its disk has.
    AcknowledgesBeforeDisk,
    /// ε-ORC does not read the cordons of its journal.
    JournalForgetsCordons,
    /// The mirror deletes nothing.
    MirrorForgetsDeletes,
}

/// A seed whose history breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// The invariant, in words.
    pub invariant: String,
    /// The last events before that was noticed, oldest first.
    pub events: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            invariant,
            events,
        } = self;
        for event in events {
            writeln!(f, "{event}")?;
        }
        writeln!(f, "seed {seed}: {invariant}")?;
        write!(
            f,
            "replay: SEED={seed} cargo test -p edgeless-tests --test simulation replay -- --nocapture"
        )
    }
}

impl std::error::Error for Broken {}

/// Plays the history of a seed; how many events it had.
///
/// # Errors
/// An invariant does not hold, or some part of the control plane panics.
pub fn play(seed: u64, sabotage: Option<Sabotage>) -> Result<u64, Box<Broken>> {
    play_and_show(seed, sabotage, SHOWN)
}

/// The same; of a history that breaks an invariant the last `shown` events are noted.
///
/// # Errors
/// As above.
pub fn play_and_show(
    seed: u64,
    sabotage: Option<Sabotage>,
    shown: usize,
) -> Result<u64, Box<Broken>> {
    let (quick, _) = history(seed, sabotage, 0);
    if let Ok(events) = quick {
        return Ok(events);
    }
    // Events are only noted where somebody reads them.
    let (again, events) = history(seed, sabotage, shown);
    let invariant = match again {
        Ok(_) => "a second run of the same seed went another way".to_owned(),
        Err(invariant) => invariant,
    };
    Err(Box::new(Broken {
        seed,
        invariant,
        events,
    }))
}

/// How many seeds are played in a second, over at least `time`; the same few hundred again and again.
///
/// # Errors
/// A seed fails.
pub fn seeds_per_second(time: Duration) -> Result<f64, Box<Broken>> {
    let begin = Instant::now();
    let mut seeds = 0_u32;
    while begin.elapsed() < time {
        play((seeds % 300).into(), None)?;
        seeds += 1;
    }
    Ok(f64::from(seeds) / begin.elapsed().as_secs_f64())
}

fn history(
    seed: u64,
    sabotage: Option<Sabotage>,
    shown: usize,
) -> (Result<u64, String>, Vec<String>) {
    let mut world = World::new(seed, sabotage, shown);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let outcome = match ran {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        }
    };
    (outcome, world.context.noted())
}

struct World {
    context: Context,
    con: Con,
    orcs: Vec<Orc>,
    nodes: Vec<Node>,
    client: Client,
    watch: Watch,
}

impl World {
    fn new(seed: u64, sabotage: Option<Sabotage>, shown: usize) -> Self {
        let mut context = Context::new(seed, sabotage, shown);
        let number = context.rng.random_range(4..=8);
        let mut nodes = Vec::new();
        for number in 0..number {
            let node_id = NodeId::new(Uuid::from_u128(1 + number as u128));
            let capabilities = node::capabilities(&mut context);
            let classes: &[&str] = match number % 4 {
                0 | 1 => &["file-log"],
                2 => &["redis"],
                _ => &[],
            };
            nodes.push(Node::new(
                number,
                number % 2,
                node_id,
                capabilities,
                classes,
            ));
        }
        let by_id = |domain: usize| -> BTreeMap<_, _> {
            let of = nodes.iter().filter(|node| node.domain == domain);
            of.map(|node| (node.node_id, node.number)).collect()
        };
        let orcs = (0..2).map(|number| Orc::new(number, by_id(number)));
        Self {
            orcs: orcs.collect(),
            context,
            con: Con::new(),
            nodes,
            client: Client::default(),
            watch: Watch::default(),
        }
    }

    fn run(&mut self) -> Result<u64, String> {
        self.draw();
        while let Some(event) = self.context.pop() {
            let is_over = match event {
                Event::World(event) => self.happen(event),
                Event::Timer { place, life, timer } => {
                    if self.context.life(place) == Some(life) {
                        self.on_timer(place, timer);
                    }
                    false
                }
                Event::Deliver {
                    from,
                    to,
                    life,
                    call,
                    body,
                } => {
                    let there = self.context.life(to);
                    if there.is_some() && life.is_none_or(|life| there == Some(life)) {
                        self.deliver(from, to, call, body);
                    } else {
                        self.context.undelivered(from, to, call, &body);
                    }
                    false
                }
            };
            if let Some(broken) = self.context.broken.take() {
                return Err(broken);
            }
            if is_over {
                break;
            }
        }
        Ok(self.context.events)
    }

    fn on_timer(&mut self, place: Place, timer: Timer) {
        let context = &mut self.context;
        match place {
            Place::Client => self.client.on_timer(&timer),
            Place::Con => self.con.on_timer(timer, context),
            Place::Orc(number) => self.orcs[number].on_timer(&timer, context),
            Place::Node(number) => self.nodes[number].on_timer(&timer, context),
        }
    }

    fn deliver(&mut self, from: (Place, u64), to: Place, call: u64, body: Body) {
        let context = &mut self.context;
        match (to, body) {
            (Place::Client, Body::Reply(reply)) => self.client.on_reply(call, reply, context),
            (Place::Con, Body::Reply(reply)) => self.con.on_reply(call, &reply, context),
            (Place::Con, Body::Request(request)) => {
                self.con.on_request((from, call), request, context);
            }
            (Place::Orc(number), Body::Reply(reply)) => {
                self.orcs[number].on_reply(call, reply, context);
            }
            (Place::Orc(number), Body::Request(request)) => {
                self.orcs[number].on_request(from, call, request, context);
            }
            (Place::Node(number), Body::Reply(reply)) => {
                self.nodes[number].on_reply(call, &reply, context);
            }
            (Place::Node(number), Body::Request(Request::Apply(steps))) => {
                self.nodes[number].apply(from, call, steps, context);
            }
            (Place::Client | Place::Node(_), Body::Request(_)) => {}
        }
    }
}
