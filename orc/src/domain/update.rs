//! Rolling updates: another version of a vertex, one copy after the other, and back when it fails. Where only the
//! bounds of the number of copies are others, no copy is touched.

use std::time::Duration;

use edgeless_types::{LogicalId, Timestamp, WaitReason, workflow::VertexSpec};

use super::{
    Domain, StartOutcome,
    model::{ClassKey, Instance, Phase, ReplicaKey, VertexKey},
    moves::Move,
};

/// Starts of a new version that may fail before the old one comes back.
const FAILURES: u32 = 3;
/// Between two tries.
const RETRY: Duration = Duration::from_millis(500);

/// A new version on its way.
#[derive(Debug)]
pub(super) struct Update {
    /// What the vertex was before.
    pub(super) before: ClassKey,
    /// How many copies of it are to come back.
    copies: u32,
    /// How many copies of the new version stay.
    wanted: u32,
    /// Instances of the new version that failed.
    failures: u32,
    /// Not to go on before.
    not_before: Timestamp,
    /// Why the old version comes back, if it does.
    failed: Option<String>,
    /// What it was before is not known, and the copy that there is of it is kept.
    keeps: bool,
    /// Why it cannot go on now.
    pub(super) waiting: Option<String>,
}

impl Update {
    fn new(before: ClassKey, copies: u32, wanted: u32, now: Timestamp) -> Box<Self> {
        Box::new(Self {
            before,
            copies,
            wanted,
            failures: 0,
            not_before: now,
            failed: None,
            keeps: false,
            waiting: None,
        })
    }
}

impl Domain {
    /// A vertex is to be what its specification says now: a new version starts and runs before the
    /// copy of the old one goes, one after the other.
    pub(super) fn update(&mut self, key: VertexKey, spec: VertexSpec) {
        let vertex = self.model.vertex(key);
        self.given_up.remove(&vertex.logical_id);
        if *self.model.class(vertex.class).spec == spec {
            // A copy that was kept when this version failed is tried again.
            let mut replicas = vertex.replicas.iter();
            let is_kept = |it: &ReplicaKey| {
                let instance = self.model.replica(*it).instance;
                instance.is_some_and(|it| it.outdated)
            };
            if replicas.any(is_kept) {
                self.go_on_updating(key);
            }
            return;
        }
        let logical_id = vertex.logical_id;
        let class = match self.model.enter_class(spec, &mut self.fleet) {
            Ok(class) => class,
            Err(error) => {
                return self.resolve(logical_id, StartOutcome::Refused(error.to_string()));
            }
        };
        let was_scaled = self.scaled.contains_key(&key);
        let old = self.change_class(key, class);
        self.keep_same_copies(key);
        let vertex = self.model.vertex_mut(key);
        let (before, copies) = match vertex.update.take() {
            // What it was before the one that is given up.
            Some(update) => {
                self.model.leave_class(old, &mut self.fleet);
                (update.before, update.copies)
            }
            None if self.is_same_copy(old, class) => {
                return self.finish_bounds(key, old, was_scaled);
            }
            None => (old, self.copies_of(key)),
        };
        tracing::info!(%logical_id, "a vertex gets another version");
        let wanted = self.copies_after(key, before, copies, was_scaled);
        let update = Update::new(before, copies, wanted, self.now);
        self.model.vertex_mut(key).update = Some(update);
        self.updating.insert(key);
        self.scale(logical_id, self.copies_of(key));
        self.advance_update(key);
        self.touch(key);
    }

    /// Whether two classes differ only in how many copies there are to be.
    fn is_same_copy(&self, one: ClassKey, other: ClassKey) -> bool {
        let [one, other] = [one, other].map(|it| self.model.class(it).of_copy);
        one == other
    }

    /// Copies that are what the vertex says now but for the bounds of their number are of its class.
    fn keep_same_copies(&mut self, key: VertexKey) {
        let class = self.model.vertex(key).class;
        for replica in self.model.vertex(key).replicas.clone() {
            let instance = self.model.replica(replica).instance;
            let mut instance = instance.filter(|it| !it.outdated);
            if let Some(kept) = &mut instance
                && self.is_same_copy(kept.class, class)
            {
                kept.class = class;
                self.model.replica_mut(replica).instance = instance;
            }
        }
    }

    /// A vertex is of another class whose copies are the same: those that run go on, and their number follows.
    fn finish_bounds(&mut self, key: VertexKey, old: ClassKey, was_scaled: bool) {
        let logical_id = self.model.vertex(key).logical_id;
        tracing::info!(%logical_id, "a vertex gets other bounds");
        let wanted = self.copies_after(key, old, self.copies_of(key), was_scaled);
        self.model.leave_class(old, &mut self.fleet);
        self.scale(logical_id, wanted);
        self.resolve_if_known(key);
        self.touch(key);
    }

    /// How many copies there are to be of what a vertex is now, having been `before` with so many: as many as it wants
    /// at least, unless somebody has asked for more than it wanted before; none if it sleeps and may.
    fn copies_after(&self, key: VertexKey, before: ClassKey, copies: u32, was_scaled: bool) -> u32 {
        let wants = |class| &self.model.class(class).requirements;
        let (old, new) = (wants(before), wants(self.model.vertex(key).class));
        if copies == 0 && new.may_sleep() {
            return 0;
        }
        // What a policy chose that is not asked any more, nobody has asked for.
        let is_asked = !was_scaled || self.scaled.contains_key(&key);
        match copies > old.least_instances() && is_asked {
            true => copies,
            false => new.least_instances(),
        }
    }

    /// Somebody asks for so many copies of a vertex, of whatever version.
    pub(super) fn scale_as_asked(&mut self, logical_id: LogicalId, copies: u32) {
        self.scale(logical_id, copies);
        if let Some(key) = self.model.key_of(logical_id)
            && let Some(update) = &mut self.model.vertex_mut(key).update
        {
            (update.copies, update.wanted) = (copies, copies);
        }
    }

    /// Of a vertex that got another version in an earlier life, a copy of the old one was found.
    pub(super) fn go_on_updating(&mut self, key: VertexKey) {
        let vertex = self.model.vertex_mut(key);
        let class = vertex.class;
        if vertex.update.is_some() {
            return;
        }
        // What it was before is not known here: if the new version fails, the copy is kept.
        let copies = self.copies_of(key);
        let update = Update::new(class, copies, copies, self.now);
        self.model.vertex_mut(key).update = Some(update);
        self.model.share_class(class);
        self.updating.insert(key);
    }

    /// A vertex is of another class from now on; what waits of it waits for what that one wants.
    fn change_class(&mut self, key: VertexKey, class: ClassKey) -> ClassKey {
        let replicas = self.model.vertex(key).replicas.clone();
        for &replica in &replicas {
            self.release(replica);
            self.count_priority(self.priority_of(replica), false);
        }
        let old = std::mem::replace(&mut self.model.vertex_mut(key).class, class);
        let without = self.desired.minus(self.model.class(old).least_ask());
        self.desired = without.plus(self.model.class(class).least_ask());
        for &replica in &replicas {
            let priority = self.priority_of(replica);
            self.count_priority(priority, true);
            if self.model.replica(replica).instance.is_none() {
                // Why it waited was said of what it was before.
                if let Some(waiting) = &mut self.model.replica_mut(replica).waiting {
                    waiting.1 = WaitReason::Starting;
                }
                self.waiting.for_turn(replica, priority);
            }
        }
        self.enter_scaling(key);
        old
    }

    /// The next copy of a vertex gets the new version, if nothing of it is on its way.
    pub(super) fn advance_update(&mut self, key: VertexKey) {
        let vertex = self.model.vertex(key);
        let Some(update) = &vertex.update else {
            self.updating.remove(&key);
            return;
        };
        if update.not_before > self.now {
            return;
        }
        let (class, keeps, logical_id) = (vertex.class, update.keeps, vertex.logical_id);
        let (mut next, mut is_proved) = (None, false);
        let is_asleep = vertex.replicas.is_empty();
        for &replica in &vertex.replicas {
            match self.model.replica(replica).instance {
                Some(it)
                    if it.phase == Phase::Running
                        && it.class == class
                        && (keeps || !it.outdated) =>
                {
                    is_proved = true;
                }
                Some(it) if it.phase == Phase::Running => next = next.or(Some((replica, it))),
                // It begins with the new version when it finds a place, which may take long.
                None if self.fits_nowhere(replica) => {}
                Some(_) | None => return,
            }
        }
        match next {
            Some((replica, old))
                if self.replace(replica, old) == Move::Nowhere && !self.exchange(replica, old) =>
            {
                self.delay_update(key);
                let class = self.model.class(class);
                let excluded = self.fleet.excluded(class.kind, class.ask);
                let reason = WaitReason::NoFeasibleNode { excluded };
                self.note_waiting(key, Some(reason.to_string()));
                self.resolve(logical_id, StartOutcome::Waiting(reason.to_string()));
            }
            Some(_) => self.note_waiting(key, None),
            // Of one that sleeps the next copy is of the new version.
            None if is_proved || is_asleep => self.finish_update(key),
            None => self.say_if_nowhere(key),
        }
    }

    /// No copy runs, and none finds a place: whoever waits learns it.
    fn say_if_nowhere(&mut self, key: VertexKey) {
        let vertex = self.model.vertex(key);
        let logical_id = vertex.logical_id;
        let reasons = vertex.replicas.iter();
        let mut reasons = reasons.filter_map(|&it| self.model.replica(it).waiting.as_deref());
        if let Some((_, reason)) = reasons.next() {
            let reason = reason.to_string();
            self.note_waiting(key, Some(reason.clone()));
            self.resolve(logical_id, StartOutcome::Waiting(reason));
        }
    }

    /// Why an update cannot go on, or that it does.
    fn note_waiting(&mut self, key: VertexKey, reason: Option<String>) {
        if let Some(update) = &mut self.model.vertex_mut(key).update {
            update.waiting = reason;
        }
    }

    fn fits_nowhere(&self, replica: ReplicaKey) -> bool {
        let waiting = self.model.replica(replica).waiting.as_deref();
        matches!(waiting, Some((_, WaitReason::NoFeasibleNode { .. })))
    }

    /// No node has room for both versions at a time: the old one leaves first, if the new one can have its
    /// place.
    fn exchange(&mut self, replica: ReplicaKey, old: Instance) -> bool {
        let class = self.model.class_of(replica);
        let (kind, ask) = (class.kind, class.ask);
        let leaves = self.model.class(old.class).ask;
        let node_id = old.node_id;
        if !self.fleet.takes_instead(kind, ask, leaves, node_id) {
            return false;
        }
        self.reserve(replica, node_id, ask);
        self.hand_over(replica, old);
        true
    }

    fn delay_update(&mut self, key: VertexKey) {
        let not_before = self.now + RETRY;
        if let Some(update) = &mut self.model.vertex_mut(key).update {
            update.not_before = not_before;
        }
    }

    fn finish_update(&mut self, key: VertexKey) {
        self.updating.remove(&key);
        let vertex = self.model.vertex_mut(key);
        let logical_id = vertex.logical_id;
        let Some(update) = vertex.update.take() else {
            return;
        };
        self.model.leave_class(update.before, &mut self.fleet);
        match update.failed {
            None => {
                tracing::info!(%logical_id, "all copies are of the new version");
                self.scale(logical_id, update.wanted);
                self.resolve_if_known(key);
            }
            Some(reason) => {
                let text = format!("the new version failed and the old one runs again: {reason}");
                self.resolve(logical_id, StartOutcome::Refused(text));
            }
        }
        self.touch(key);
    }

    /// An instance of a vertex failed: if a new version is on its way, too many of those bring the old
    /// one back.
    pub(super) fn count_failure(&mut self, replica: ReplicaKey, failed: ClassKey, reason: &str) {
        let key = self.model.replica(replica).vertex;
        let vertex = self.model.vertex_mut(key);
        let class = vertex.class;
        let Some(update) = &mut vertex.update else {
            return;
        };
        if failed != class {
            return;
        }
        update.failures += 1;
        if update.failures < FAILURES || update.failed.is_some() {
            return self.delay_update(key);
        }
        let logical_id = vertex.logical_id;
        tracing::warn!(%logical_id, reason, "the new version fails: the old one comes back");
        update.failed = Some(reason.to_owned());
        update.waiting = None;
        self.given_up.insert(logical_id, reason.to_owned());
        let (before, copies) = (update.before, update.copies);
        update.keeps = before == class;
        self.model.share_class(before);
        let new = self.change_class(key, before);
        self.model.leave_class(new, &mut self.fleet);
        for replica in self.model.vertex(key).replicas.clone() {
            if let Some(extra) = &mut self.model.replica_mut(replica).extra {
                extra.refused_by.clear();
                extra.attempts = 0;
                extra.not_before = Timestamp::EPOCH;
            }
        }
        // As many as there were, or as somebody has asked for meanwhile.
        self.scale(logical_id, copies);
        self.touch(key);
    }
}
