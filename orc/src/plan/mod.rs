//! Decides where instances go: pure.

pub mod feasible;
pub mod fleet;
pub mod strategy;

use edgeless_types::{NodeCapabilities, NodeHealth, NodeId, Requirements, ResourceProvider};

/// Amounts that an instance asks of its node; 0: it asks for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ask {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// MiB of memory.
    pub memory_mib: u64,
}

impl Ask {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(other.cpu_millis),
            memory_mib: self.memory_mib.saturating_add(other.memory_mib),
        }
    }

    /// So many times this.
    #[must_use]
    pub fn times(self, number: u32) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_mul(number.into()),
            memory_mib: self.memory_mib.saturating_mul(number.into()),
        }
    }

    /// Whether there is as much of each as in the other.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.cpu_millis >= other.cpu_millis && self.memory_mib >= other.memory_mib
    }

    /// Whether both are about the same amounts, at least one of them.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        (self.cpu_millis > 0 && other.cpu_millis > 0)
            || (self.memory_mib > 0 && other.memory_mib > 0)
    }

    /// What is left without the other; nothing where that is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
        }
    }
}

/// What planning knows of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView<'a> {
    /// Its id.
    pub node_id: NodeId,
    /// What it can do.
    pub capabilities: &'a NodeCapabilities,
    /// What it provides.
    pub providers: &'a [ResourceProvider],
    /// How it was when it last said so.
    pub health: Option<&'a NodeHealth>,
    /// How many instances are there or on their way.
    pub instances: usize,
    /// What nobody has asked for.
    pub free: Ask,
    /// The mean transfer time of what was handled there lately, in nanoseconds.
    pub transfer_nanos: u64,
    /// Why it takes nothing new; none: it does.
    pub closed: Option<&'static str>,
}

/// What runs a vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Needs<S> {
    /// A runtime for functions.
    Runtime(S),
    /// A provider of resources of a class.
    Class(S),
}

impl Needs<String> {
    /// The same, borrowed.
    pub fn as_ref(&self) -> Needs<&str> {
        match self {
            Self::Runtime(name) => Needs::Runtime(name),
            Self::Class(name) => Needs::Class(name),
        }
    }
}

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What runs it.
    pub needs: Needs<&'a str>,
    /// What its node must offer.
    pub requirements: &'a Requirements,
}
