//! What runs here, by decision: pure. A step done twice is harmless, and an older generation
//! never overrides a newer one.

use std::collections::{BTreeMap, HashMap, VecDeque};

use bytes::Bytes;
use edgeless_types::{Generation, PhysicalId, RunningInstance};

use super::saved::Saved;

/// So many ended instances are remembered, lest a start that was overtaken by its stop revives one.
const REMEMBERED: usize = 1 << 16;

/// All instances of the node, and those that ended lately.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: HashMap<PhysicalId, Entry>,
    ended: HashMap<PhysicalId, Generation>,
    ended_order: VecDeque<PhysicalId>,
    saved: Saved,
    changes: Changes,
}

/// What steps have started and stopped, the newest of each instance; none: stopped.
pub type Changes = BTreeMap<PhysicalId, Option<RunningInstance>>;

#[derive(Debug)]
struct Entry {
    running: RunningInstance,
    phase: Phase,
    /// ε-ORC was told that it runs while it was still starting.
    told_early: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

/// What to do about a step now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Do it, then call the `finish_…` of its kind.
    Go,
    /// It is so already.
    Already,
    /// It is to be stopped and does not run; what it had saved, unless ε-ORC has that.
    Ended(Option<Bytes>),
    /// It runs already, by an older decision: lead its outputs as this one says.
    PatchInstead,
    /// Another step about the same instance is under way: ask again when that has finished.
    Wait,
    /// It must not be done, and why.
    Refuse(String),
}

impl Ledger {
    /// A start: `Go` makes the instance *starting*.
    pub fn begin_start(&mut self, wanted: &RunningInstance) -> Decision {
        let physical_id = wanted.physical_id;
        if let Some(ended) = self.ended.get(&physical_id) {
            return Decision::Refuse(format!(
                "{physical_id} ended on this node already (generation {ended})"
            ));
        }
        let Some(entry) = self.entries.get_mut(&physical_id) else {
            let entry = Entry {
                running: *wanted,
                phase: Phase::Starting,
                told_early: false,
            };
            self.entries.insert(physical_id, entry);
            return Decision::Go;
        };
        match entry.phase {
            Phase::Starting | Phase::Stopping => Decision::Wait,
            Phase::Running if entry.running.generation >= wanted.generation => Decision::Already,
            Phase::Running => {
                entry.running.generation = wanted.generation;
                Decision::PatchInstead
            }
        }
    }

    /// A start that went ahead has succeeded or failed. True when ε-ORC must be told of the
    /// failure because it took the instance for running.
    pub fn finish_start(&mut self, physical_id: PhysicalId, succeeded: bool) -> bool {
        if succeeded {
            if let Some(entry) = self.entries.get_mut(&physical_id) {
                entry.phase = Phase::Running;
                self.changes.insert(physical_id, Some(entry.running));
            }
            return false;
        }
        self.entries
            .remove(&physical_id)
            .is_some_and(|entry| entry.told_early)
    }

    /// A stop: `Go` makes the instance *stopping*.
    pub fn begin_stop(&mut self, physical_id: PhysicalId, generation: Generation) -> Decision {
        let Some(entry) = self.entries.get_mut(&physical_id) else {
            self.remember(physical_id, generation);
            return Decision::Ended(self.saved.of(physical_id));
        };
        match entry.phase {
            Phase::Starting | Phase::Stopping => Decision::Wait,
            Phase::Running if entry.running.generation > generation => {
                Decision::Refuse(overtaken(&entry.running, generation))
            }
            Phase::Running => {
                entry.running.generation = generation;
                entry.phase = Phase::Stopping;
                Decision::Go
            }
        }
    }

    /// A stop that went ahead has finished, and this is what the instance had saved.
    pub fn finish_stop(&mut self, physical_id: PhysicalId, state: Option<Bytes>) {
        if let Some(entry) = self.entries.remove(&physical_id) {
            self.remember(physical_id, entry.running.generation);
            self.changes.insert(physical_id, None);
            if let Some(state) = state {
                self.saved.keep(physical_id, state);
            }
        }
    }

    /// Takes what steps have started and stopped since the last call.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// What was saved by instances that were stopped since the last call: it goes with the next update.
    pub fn tell_saved(&mut self) -> Vec<(PhysicalId, Bytes)> {
        self.saved.tell()
    }

    /// ε-ORC has all states that were told.
    pub fn states_acknowledged(&mut self) {
        self.saved.acknowledged();
    }

    /// A patch: `Go` needs no finish.
    pub fn begin_patch(&mut self, physical_id: PhysicalId, generation: Generation) -> Decision {
        match self.entries.get_mut(&physical_id) {
            None => Decision::Refuse(format!("{physical_id} does not run on this node")),
            Some(entry) => match entry.phase {
                Phase::Starting | Phase::Stopping => Decision::Wait,
                // Its outputs lead where a newer decision says.
                Phase::Running if entry.running.generation > generation => Decision::Already,
                Phase::Running => {
                    entry.running.generation = generation;
                    Decision::Go
                }
            },
        }
    }

    /// Whether a start of this instance is under way.
    pub fn is_starting(&self, physical_id: PhysicalId) -> bool {
        let entry = self.entries.get(&physical_id);
        entry.is_some_and(|entry| entry.phase == Phase::Starting)
    }

    /// An instance ended by itself. False when it is not known to run, so that nobody need care.
    pub fn ended_by_itself(&mut self, physical_id: PhysicalId) -> bool {
        let Some(entry) = self.entries.get(&physical_id) else {
            return false;
        };
        let was_running = entry.phase == Phase::Running;
        if was_running {
            self.finish_stop(physical_id, None);
        }
        was_running
    }

    /// All that runs or is about to.
    pub fn running(&mut self) -> Vec<RunningInstance> {
        let mut running: Vec<_> = self
            .entries
            .values_mut()
            .filter(|entry| entry.phase != Phase::Stopping)
            .map(|entry| {
                entry.told_early |= entry.phase == Phase::Starting;
                entry.running
            })
            .collect();
        running.sort_unstable();
        running
    }

    /// How many instances there are, in whatever phase.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remember(&mut self, physical_id: PhysicalId, generation: Generation) {
        if self.ended.insert(physical_id, generation).is_none() {
            self.ended_order.push_back(physical_id);
        }
        if self.ended_order.len() > REMEMBERED
            && let Some(oldest) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

fn overtaken(running: &RunningInstance, generation: Generation) -> String {
    format!(
        "generation {generation} is older than generation {} of {}",
        running.generation, running.physical_id
    )
}

#[cfg(test)]
mod tests {
    use edgeless_types::{LogicalId, WorkflowId};
    use uuid::Uuid;

    use super::*;

    fn instance(generation: u64) -> RunningInstance {
        RunningInstance {
            physical_id: PhysicalId::new(Uuid::from_u128(1)),
            logical_id: LogicalId::new(Uuid::from_u128(2)),
            workflow_id: WorkflowId::new(Uuid::from_u128(3)),
            generation: Generation(generation),
            fingerprint: 0,
        }
    }

    fn started(generation: u64) -> (Ledger, PhysicalId) {
        let mut ledger = Ledger::default();
        let it = instance(generation);
        assert_eq!(ledger.begin_start(&it), Decision::Go);
        assert_eq!(ledger.begin_start(&it), Decision::Wait);
        assert!(!ledger.finish_start(it.physical_id, true));
        (ledger, it.physical_id)
    }

    #[test]
    fn a_start_done_twice_changes_nothing_and_a_newer_one_patches() {
        let (mut ledger, _) = started(2);
        assert_eq!(ledger.begin_start(&instance(1)), Decision::Already);
        assert_eq!(ledger.begin_start(&instance(2)), Decision::Already);
        assert_eq!(ledger.begin_start(&instance(3)), Decision::PatchInstead);
        assert_eq!(ledger.running(), [instance(3)]);
    }

    #[test]
    fn what_steps_have_started_and_stopped_is_told_once() {
        let (mut ledger, pid) = started(2);
        assert_eq!(ledger.take_changes(), [(pid, Some(instance(2)))].into());
        assert!(ledger.take_changes().is_empty());
        assert_eq!(ledger.begin_stop(pid, Generation(2)), Decision::Go);
        ledger.finish_stop(pid, None);
        assert_eq!(ledger.take_changes(), [(pid, None)].into());
    }

    #[test]
    fn an_older_stop_or_patch_never_overrides() {
        let (mut ledger, pid) = started(2);
        let old = Generation(1);
        assert!(matches!(ledger.begin_stop(pid, old), Decision::Refuse(_)));
        assert_eq!(ledger.begin_patch(pid, old), Decision::Already);
        assert_eq!(ledger.begin_patch(pid, Generation(2)), Decision::Go);
        assert_eq!(ledger.begin_stop(pid, Generation(2)), Decision::Go);
        assert!(ledger.running().is_empty());
        ledger.finish_stop(pid, None);
        let again = ledger.begin_stop(pid, Generation(2));
        assert_eq!(again, Decision::Ended(None));
    }

    #[test]
    fn a_stop_that_is_repeated_gives_the_state_again_until_it_is_known() {
        let (mut ledger, pid) = started(2);
        assert_eq!(ledger.begin_stop(pid, Generation(3)), Decision::Go);
        assert_eq!(ledger.begin_stop(pid, Generation(3)), Decision::Wait);
        let state = Some(Bytes::from_static(b"saved"));
        ledger.finish_stop(pid, state.clone());
        let again = ledger.begin_stop(pid, Generation(3));
        assert_eq!(again, Decision::Ended(state));
        assert_eq!(ledger.tell_saved().len(), 1);
        ledger.states_acknowledged();
        let again = ledger.begin_stop(pid, Generation(3));
        assert_eq!(again, Decision::Ended(None));
    }

    #[test]
    fn a_start_overtaken_by_its_stop_is_refused() {
        let mut ledger = Ledger::default();
        let it = instance(1);
        let stop = ledger.begin_stop(it.physical_id, it.generation);
        assert_eq!(stop, Decision::Ended(None));
        assert!(matches!(ledger.begin_start(&it), Decision::Refuse(_)));
    }

    #[test]
    fn a_failed_start_can_be_tried_again_and_is_told_if_it_was_reported() {
        let mut ledger = Ledger::default();
        let it = instance(1);
        for told in [false, true] {
            assert_eq!(ledger.begin_start(&it), Decision::Go);
            if told {
                assert_eq!(ledger.running(), [it]);
            }
            assert_eq!(ledger.finish_start(it.physical_id, false), told);
        }
    }

    #[test]
    fn what_ends_by_itself_is_gone_once() {
        let (mut ledger, pid) = started(1);
        assert!(ledger.ended_by_itself(pid));
        assert!(!ledger.ended_by_itself(pid));
        assert!(ledger.is_empty());
        assert!(matches!(
            ledger.begin_patch(pid, Generation(9)),
            Decision::Refuse(_)
        ));
    }

    #[test]
    fn memory_of_the_ended_is_bounded() {
        let mut ledger = Ledger::default();
        for id in 0..REMEMBERED as u128 + 10 {
            ledger.begin_stop(PhysicalId::new(Uuid::from_u128(id)), Generation(1));
        }
        assert_eq!(ledger.ended.len(), REMEMBERED);
        assert_eq!(ledger.ended_order.len(), REMEMBERED);
    }
}
