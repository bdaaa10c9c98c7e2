//! Compiles a graph before it runs. Pure.
//!
//! Ports are typed: what a vertex gives must be taken where it leads. Of a dataflow, parts that are on no
//! way from a receiver to an exporter are removed, each with a note, and cycles are refused. Branchless
//! chains are found: on one shard, a message passes such a chain without a queue between.

use std::{collections::BTreeSet, fmt, str::FromStr};

/// The kinds of messages a port takes or gives: any, or some of events, metrics, logs and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u8);

/// The names of kinds, by bit.
const KINDS: [&str; 4] = ["events", "metrics", "logs", "traces"];

impl Kinds {
    /// Whatever it is: such a port fits every other.
    pub const ANY: Self = Self((1 << KINDS.len()) - 1);

    /// Those of `self` that are not in `other`.
    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether a port that gives this may lead to one that takes `taken`.
    pub fn fits(self, taken: Self) -> bool {
        self == Self::ANY || self.without(taken).0 == 0
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("any");
        }
        let names = KINDS.iter().enumerate();
        let names = names.filter(|(bit, _)| self.0 & (1 << bit) != 0);
        let names: Vec<_> = names.map(|(_, &name)| name).collect();
        f.write_str(&names.join("+"))
    }
}

impl FromStr for Kinds {
    type Err = String;

    /// `any`, or some of the names joined by `+`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bits = 0;
        for name in text.split('+').map(str::trim) {
            if name == "any" {
                return Ok(Self::ANY);
            }
            let bit = KINDS.iter().position(|&it| it == name).ok_or_else(|| {
                format!(
                    "`{name}` is no kind of message; there are: any, {}",
                    KINDS.join(", ")
                )
            })?;
            bits |= 1 << bit;
        }
        Ok(Self(bits))
    }
}

/// What a vertex is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Messages begin here.
    Receiver,
    /// It works on what comes.
    Processor,
    /// Messages end here.
    Exporter,
}

/// One vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vertex {
    /// Its name.
    pub name: String,
    /// What it is for; only dataflows ask.
    pub role: Role,
    /// What it takes.
    pub takes: Kinds,
    /// Where its channels lead.
    pub outputs: Vec<Output>,
}

/// One channel of a vertex.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The name of the channel.
    pub channel: String,
    /// What it gives.
    pub gives: Kinds,
    /// Whether its messages are delivered at least once.
    pub tracked: bool,
    /// The place of the vertex it leads to.
    pub to: usize,
}

/// What kind of graph it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Functions and resources, in cycles as well; nothing is removed.
    Workflow,
    /// From receivers to exporters, without cycles.
    Dataflow,
}

/// Why a graph cannot run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Ports do not fit.
    #[error("gives {gives}, but `{to}` takes {takes} only")]
    Port {
        /// The place of the vertex.
        vertex: usize,
        /// Its channel.
        channel: String,
        /// What the channel gives.
        gives: Kinds,
        /// The name of the vertex it leads to.
        to: String,
        /// What that takes.
        takes: Kinds,
    },
    /// A dataflow has a cycle.
    #[error("a dataflow has no cycles: {}; leave one of its channels out", .0.join(" → "))]
    Cycle(Vec<String>),
    /// Messages on a cycle cannot be delivered at least once: an acknowledgement speaks for the whole
    /// way, so there would never be one.
    #[error("delivery at least once cannot go round in a circle: {}; leave one of its channels out", .0.join(" → "))]
    TrackedCycle(Vec<String>),
    /// A dataflow has no way at all.
    #[error("no way leads from a receiver to an exporter: nothing of it would run")]
    Nothing,
}

/// Why a vertex was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dead {
    /// No way leads to it from a receiver.
    Unfed,
    /// No way leads from it to an exporter.
    Unheard,
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unfed => "no way leads to it from a receiver",
            Self::Unheard => "no way leads from it to an exporter",
        })
    }
}

/// A graph that can run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// The places of vertices that are left out, and why.
    pub removed: Vec<(usize, Dead)>,
    /// Branchless chains of at least two vertices, each from its first to its last.
    pub chains: Vec<Vec<usize>>,
}

/// Compiles a graph.
///
/// # Errors
/// All that is wrong with it.
pub fn compile(vertices: &[Vertex], shape: Shape) -> Result<Compiled, Vec<Problem>> {
    let mut problems = ports(vertices);
    let names = |cycle: Vec<usize>| {
        let names = cycle.into_iter().map(|at| vertices[at].name.clone());
        names.collect()
    };
    if let Some(circle) = cycle(vertices, |output| output.tracked) {
        problems.push(Problem::TrackedCycle(names(circle)));
    }
    let mut removed = Vec::new();
    if shape == Shape::Dataflow {
        match cycle(vertices, |_| true) {
            Some(circle) => problems.push(Problem::Cycle(names(circle))),
            None => removed = dead(vertices),
        }
        if removed.len() == vertices.len() {
            problems.push(Problem::Nothing);
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let gone = removed.iter().map(|&(at, _)| at).collect();
    let chains = chains(vertices, &gone);
    Ok(Compiled { removed, chains })
}

fn ports(vertices: &[Vertex]) -> Vec<Problem> {
    let outputs = vertices.iter().enumerate();
    let outputs = outputs.flat_map(|(at, vertex)| vertex.outputs.iter().map(move |it| (at, it)));
    let wrong = outputs.filter(|(_, output)| !output.gives.fits(vertices[output.to].takes));
    wrong
        .map(|(vertex, output)| Problem::Port {
            vertex,
            channel: output.channel.clone(),
            gives: output.gives,
            to: vertices[output.to].name.clone(),
            takes: vertices[output.to].takes,
        })
        .collect()
}

/// The vertices along one cycle of such channels, the first again at its end.
fn cycle(vertices: &[Vertex], follow: impl Fn(&Output) -> bool) -> Option<Vec<usize>> {
    let mut finished = vec![false; vertices.len()];
    let mut on_path = vec![false; vertices.len()];
    for start in 0..vertices.len() {
        if finished[start] {
            continue;
        }
        // An own stack: a chain of ten thousand vertices is no reason to run out of the system's.
        let mut path = vec![(start, 0)];
        on_path[start] = true;
        while let Some((at, next)) = path.pop() {
            let Some(output) = vertices[at].outputs.get(next) else {
                on_path[at] = false;
                finished[at] = true;
                continue;
            };
            path.push((at, next + 1));
            let to = output.to;
            if !follow(output) || finished[to] {
                continue;
            }
            if on_path[to] {
                let circle = path.iter().map(|&(it, _)| it).skip_while(|&it| it != to);
                return Some(circle.chain([to]).collect());
            }
            on_path[to] = true;
            path.push((to, 0));
        }
    }
    None
}

/// Vertices on no way from a receiver to an exporter.
fn dead(vertices: &[Vertex]) -> Vec<(usize, Dead)> {
    let all = || vertices.iter().enumerate();
    let of = |role| {
        all()
            .filter(move |(_, it)| it.role == role)
            .map(|(at, _)| at)
    };
    let ahead = |at: usize| vertices[at].outputs.iter().map(|it| it.to).collect();
    let mut sources = vec![Vec::new(); vertices.len()];
    for (at, vertex) in all() {
        for output in &vertex.outputs {
            sources[output.to].push(at);
        }
    }
    let fed = reached(vertices.len(), of(Role::Receiver), ahead);
    let heard = reached(vertices.len(), of(Role::Exporter), |at| sources[at].clone());
    let why = |at: usize| match (fed[at], heard[at]) {
        (true, true) => None,
        (false, _) => Some((at, Dead::Unfed)),
        (true, false) => Some((at, Dead::Unheard)),
    };
    (0..vertices.len()).filter_map(why).collect()
}

/// What is reached from some vertices, themselves included.
fn reached(
    number: usize,
    from: impl Iterator<Item = usize>,
    next: impl Fn(usize) -> Vec<usize>,
) -> Vec<bool> {
    let mut reached = vec![false; number];
    let mut open: Vec<usize> = from.collect();
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut reached[at], true) {
            open.extend(next(at));
        }
    }
    reached
}

/// Maximal chains in which each vertex but the last leads to the next alone, and each but the first is
/// led to by the one before alone.
fn chains(vertices: &[Vertex], gone: &BTreeSet<usize>) -> Vec<Vec<usize>> {
    let mut incoming = vec![0_usize; vertices.len()];
    let mut next = vec![None; vertices.len()];
    for (at, vertex) in vertices.iter().enumerate() {
        if gone.contains(&at) {
            continue;
        }
        let outputs = vertex.outputs.iter().filter(|it| !gone.contains(&it.to));
        let outputs: Vec<usize> = outputs.map(|it| it.to).collect();
        for &to in &outputs {
            incoming[to] += 1;
        }
        if let [only] = outputs[..] {
            next[at] = Some(only);
        }
    }
    let joins = |at: usize| next[at].filter(|&to| incoming[to] == 1 && to != at);
    let mut joined = vec![false; vertices.len()];
    for to in (0..vertices.len()).filter_map(joins) {
        joined[to] = true;
    }
    // A ring has no first vertex, and is no chain.
    let firsts = (0..vertices.len()).filter(|&at| !joined[at] && joins(at).is_some());
    firsts
        .map(|first| std::iter::successors(Some(first), |&at| joins(at)).collect())
        .collect()
}

#[cfg(test)]
mod tests;
