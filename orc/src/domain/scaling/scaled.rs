//! What is kept of each function that is scaled.

use edgeless_types::{NodeId, PhysicalId, Timestamp, mirror::ScalingDecision};
use rustc_hash::FxHashMap;

use crate::scale::{Settings, Window};

/// What is kept of a function that is scaled.
#[derive(Debug)]
pub(in crate::domain) struct Scaled {
    pub(super) settings: Settings,
    pub(super) window: Window,
    /// When it is looked at again, if nothing comes before.
    pub(super) next: Option<Timestamp>,
    /// Messages that waited for it while it had no copy.
    pub(super) wanted: u64,
    /// Those of them that count as arrived, and will be handled.
    pub(super) ahead: u32,
    /// The copies that were decided last.
    pub(super) copies: u32,
    /// The last decision for another number.
    pub(super) decision: Option<Box<ScalingDecision>>,
    /// Where the last copy was started: the node has its code, ready to run.
    pub(super) home: Option<NodeId>,
    /// Copies that ran before this life of ε-ORC, and until when they are kept: what they had to do is not known.
    pub(super) found: Option<(u32, Timestamp)>,
    /// A copy has run.
    pub(super) has_run: bool,
    /// When its copies last had something to do, as far as nodes have said.
    pub(super) worked: FxHashMap<PhysicalId, Timestamp>,
}

impl Scaled {
    /// The most copies that there may be.
    pub(in crate::domain) fn most(&self) -> u32 {
        self.settings.max_instances
    }

    /// Messages that waited for it while it had no copy.
    pub(in crate::domain) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Mean time in seconds until a copy is ready; none before the first.
    pub(in crate::domain) fn start_time(&self) -> Option<f64> {
        self.window.start_time()
    }

    /// Arrivals within the last minute.
    #[cfg(test)]
    pub(in crate::domain) fn arrivals(&self) -> u32 {
        self.window.arrivals(60)
    }

    /// The last decision for another number of copies.
    pub(in crate::domain) fn last_decision(&self) -> Option<Box<ScalingDecision>> {
        self.decision.clone()
    }
}
