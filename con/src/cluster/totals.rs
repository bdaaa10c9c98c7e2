//! What domains say of themselves, and what ε-CON asks them beside: pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeless_types::{DomainId, NodeId, ProviderId};

/// What a domain said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainUpdate {
    /// Which domain.
    pub domain_id: DomainId,
    /// Where its ε-ORC is.
    pub orchestrator_url: String,
    /// Drawn when its ε-ORC started.
    pub nonce: u64,
    /// Counts its updates since then.
    pub counter: u64,
    /// How long it may be silent.
    pub refresh_deadline: Duration,
    /// Labels of the domain itself.
    pub labels: BTreeSet<String>,
    /// Totals over its nodes; none: they are what they were.
    pub totals: Option<Totals>,
}

/// Amounts of what functions ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a core.
    pub cpu_millis: u64,
    /// MiB of memory.
    pub memory_mib: u64,
}

impl Amounts {
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

    /// What is left without the other; nothing where that is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_mib: self.memory_mib.saturating_sub(other.memory_mib),
        }
    }

    /// The greater of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_mib: self.memory_mib.max(other.memory_mib),
        }
    }

    /// Whether it has more of something than the other.
    pub const fn exceeds(self, other: Self) -> bool {
        self.cpu_millis > other.cpu_millis || self.memory_mib > other.memory_mib
    }
}

/// Totals over the nodes of a domain, those that leave excepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Nodes.
    pub num_nodes: u32,
    /// Cores over all nodes.
    pub num_cores: u32,
    /// Memory over all nodes in MiB.
    pub mem_size: u64,
    /// Nodes in a trusted execution environment.
    pub num_tee: u32,
    /// Nodes with a trusted platform module.
    pub num_tpm: u32,
    /// Labels and how many nodes have each; the most common ones.
    pub labels: BTreeMap<String, u32>,
    /// There are more labels than are named.
    pub labels_cut: bool,
    /// Runtimes and how many nodes have each.
    pub runtimes: BTreeMap<String, u32>,
    /// Classes of resources and how many nodes provide each.
    pub classes: BTreeMap<String, u32>,
    /// What may be promised, over all nodes that take something new.
    pub capacity: Amounts,
    /// What of it nobody has asked for.
    pub free: Amounts,
    /// The most of each that is free on one node.
    pub largest_free: Amounts,
    /// What the vertices ask for that are desired there, with the copies they have at least, placed or not.
    pub desired: Amounts,
    /// Counts the times a node came, left or changed what it is.
    pub membership: u64,
}

impl Totals {
    /// Whether something may fit that did not fit with `before`.
    pub(super) fn improves(&self, before: &Self) -> bool {
        let open = |totals: &Self| totals.free.plus(totals.desired);
        self.membership != before.membership
            || self.labels != before.labels
            || self.runtimes != before.runtimes
            || self.classes != before.classes
            || open(self).exceeds(open(before))
            || self.largest_free.exceeds(before.largest_free)
    }
}

/// Whether something of single nodes is in a domain, which its totals do not tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Is this node there?
    Node(NodeId),
    /// Is this provider of resources there?
    Provider(ProviderId),
    /// Does any node have this label?
    Label(String),
}

/// Questions to one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which domain.
    pub domain_id: DomainId,
    /// The life of its ε-ORC; what another one answers is of no use.
    pub nonce: u64,
    /// What is asked.
    pub questions: BTreeSet<Question>,
}

/// What a domain answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// It holds until `Totals::membership` is greater.
    pub membership: u64,
    /// Those of the questions whose answer is yes.
    pub there: BTreeSet<Question>,
}

/// Answers to questions, as long as they hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    membership: u64,
    known: BTreeMap<Question, bool>,
    /// Asked, and not answered yet.
    asking: BTreeSet<Question>,
    /// Something was not answered: it is to be asked again.
    pub(super) ask_again: bool,
}

/// Answers that are kept of one domain.
const KNOWN: usize = 65_536;
/// Questions that are asked at once.
const ASKED: usize = 4_096;

impl Facts {
    /// The answer, if there is one that holds.
    pub(super) fn get(&self, question: &Question) -> Option<bool> {
        self.known.get(question).copied()
    }

    /// The domain says how often its nodes have changed.
    pub(super) fn on_membership(&mut self, membership: u64) {
        if membership > self.membership {
            self.membership = membership;
            self.known.clear();
        }
    }

    /// Of these those that are to be asked now.
    pub(super) fn ask(&mut self, open: BTreeSet<Question>) -> BTreeSet<Question> {
        let open = open.into_iter().filter(|it| !self.asking.contains(it));
        let room = ASKED.saturating_sub(self.asking.len());
        let now: BTreeSet<_> = open.take(room).collect();
        self.asking.extend(now.iter().cloned());
        now
    }

    /// An answer, or none.
    pub(super) fn on_answer(&mut self, asked: &BTreeSet<Question>, answer: Option<Lookup>) {
        self.asking.retain(|question| !asked.contains(question));
        let Some(answer) = answer.filter(|answer| answer.membership >= self.membership) else {
            self.ask_again = true;
            return;
        };
        self.on_membership(answer.membership);
        if self.known.len() + asked.len() > KNOWN {
            self.known.clear();
        }
        let fact = |it: &Question| (it.clone(), answer.there.contains(it));
        self.known.extend(asked.iter().map(fact));
    }
}
