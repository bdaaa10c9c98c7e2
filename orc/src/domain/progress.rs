//! How far the updates of vertices are, for those who look.

use edgeless_types::{LogicalId, mirror::ActiveInstance};

use super::{
    Domain,
    model::{Phase, ReplicaKey, Vertex},
};

/// A vertex as ε-CON sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct VertexReport {
    /// As the mirror shows it.
    pub active: ActiveInstance,
    /// Of what it is desired to be; see [`edgeless_types::workflow::VertexSpec::fingerprint`].
    pub fingerprint: u64,
    /// The last update, if it is under way or was given up.
    pub update: Option<Progress>,
}

/// How far an update of a vertex is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Copies that are desired.
    pub copies: u32,
    /// Those of them that are of the new version and run.
    pub updated: u32,
    /// Why it cannot go on now.
    pub waiting: Option<String>,
    /// Why the old version goes on or comes back.
    pub given_up: Option<String>,
}

impl Domain {
    /// A vertex; none: it is not desired.
    pub fn vertex_report(&self, logical_id: LogicalId) -> Option<VertexReport> {
        let key = self.model.key_of(logical_id)?;
        Some(self.report(self.model.vertex(key)))
    }

    /// All vertices.
    pub fn vertex_reports(&self) -> Vec<VertexReport> {
        let vertices = self.model.vertices();
        let mut all: Vec<_> = vertices.map(|(_, vertex)| self.report(vertex)).collect();
        all.sort_unstable_by_key(|it| it.active.logical_id);
        all
    }

    fn report(&self, vertex: &Vertex) -> VertexReport {
        VertexReport {
            active: self.active(vertex),
            fingerprint: self.model.class(vertex.class).fingerprint,
            update: self.progress(vertex),
        }
    }

    fn progress(&self, vertex: &Vertex) -> Option<Progress> {
        let given_up = self.given_up.get(&vertex.logical_id).cloned();
        let update = vertex.update.as_deref();
        if update.is_none() && given_up.is_none() {
            return None;
        }
        let is_new = |it: &&ReplicaKey| {
            let instance = self.model.replica(**it).instance;
            let running = instance.filter(|it| it.phase == Phase::Running);
            running.is_some_and(|it| it.class == vertex.class && !it.outdated)
        };
        let updated = match given_up {
            Some(_) => 0,
            None => vertex.replicas.iter().filter(is_new).count(),
        };
        let key = self.model.key_of(vertex.logical_id);
        Some(Progress {
            copies: key.map_or(0, |key| self.copies_of(key)),
            updated: u32::try_from(updated).unwrap_or(u32::MAX),
            waiting: update.and_then(|it| it.waiting.clone()),
            given_up,
        })
    }
}
