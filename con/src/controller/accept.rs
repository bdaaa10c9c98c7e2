//! Accepting a workflow: checked whole, made durable, started; all of it or nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use edgeless_types::{
    CodeDigest, DomainId, DomainRequirements, LogicalId, WaitReason, WorkflowId,
    workflow::{VertexSpec, Workflow},
};

use super::{Controller, Inner, keys::Verdict, now, unknown_workflow};
use crate::{
    check::{self, Checked, Known, RegisteredClass},
    orc_client::Started,
    problem::Refusal,
    status::{self, WorkflowStatus},
    store::{KeyRecord, VertexRecord, WorkflowRecord, Write},
};

/// Documents with more bytes of code than this are checked beside the other requests.
const SLOW_CHECK_BYTES: usize = 64 << 10;

/// Whether a workflow that nobody can run now is accepted as waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It is.
    Yes,
    /// It is refused.
    No,
}

/// Whether code that a workflow names by its digest has to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// It has.
    Kept,
    /// It may be uploaded later.
    Promised,
}

/// What is known, with all code that is named.
struct Promised<'a>(&'a Inner);

impl Known for Promised<'_> {
    fn class(&self, id: &str, version: &str) -> Option<RegisteredClass> {
        self.0.class(id, version)
    }

    fn has_code(&self, _: CodeDigest) -> bool {
        true
    }
}

/// What the vertices of a workflow came to in one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All run or are on their way.
    Good,
    /// Some vertex finds no place there now.
    Infeasible(String),
    /// Some vertex is wrong for any domain.
    Refused(String),
}

impl Controller {
    /// Accepts a workflow: checks it, keeps it, has it started, and says how it is.
    ///
    /// # Errors
    /// It is wrong, nobody can run it, or it cannot be kept. Then nothing of it is left.
    pub async fn start(
        &self,
        workflow: Workflow,
        wait: Wait,
        key: Option<(String, CodeDigest)>,
    ) -> Result<WorkflowStatus, Refusal> {
        let con = self.clone();
        let begun = Instant::now();
        let started = self.carry_through(async move {
            match key {
                None => con.accept(workflow, wait, None).await,
                Some((key, body)) => con.start_once(workflow, wait, key, body).await,
            }
        });
        let started = started.await;
        self.0.metrics.started(&started, begun.elapsed());
        started
    }

    /// Starts a workflow unless a request with the same key has done so.
    async fn start_once(
        &self,
        workflow: Workflow,
        wait: Wait,
        key: String,
        body: CodeDigest,
    ) -> Result<WorkflowStatus, Refusal> {
        loop {
            let verdict = self.state().keys.claim(&key, body);
            match verdict {
                Verdict::New(in_use) => {
                    let started = self.accept(workflow, wait, Some((key.clone(), body))).await;
                    if let Err(refusal) = &started {
                        self.free(key, refusal).await;
                    }
                    drop(in_use);
                    return started;
                }
                // An error says that the sender is gone, which is what is waited for.
                Verdict::Busy(mut ended) => drop(ended.changed().await),
                Verdict::Done(KeyRecord { workflow_id, .. }) => {
                    return self.inspect(workflow_id).await.map_err(|_| {
                        Refusal::Conflict(format!(
                            "the idempotency key `{key}` started the workflow {workflow_id}, \
                             which was stopped since; use another key"
                        ))
                    });
                }
                Verdict::Other => {
                    return Err(Refusal::Conflict(format!(
                        "the idempotency key `{key}` was used with another body"
                    )));
                }
            }
        }
    }

    /// A request came to nothing: its key may be used again.
    async fn free(&self, key: String, refusal: &Refusal) {
        let may_be_kept = !matches!(refusal, Refusal::Invalid { .. });
        self.state().keys.release(&key);
        if may_be_kept {
            self.keep(vec![Write::KeyGone(key)]).await;
        }
    }

    async fn accept(
        &self,
        workflow: Workflow,
        wait: Wait,
        key: Option<(String, CodeDigest)>,
    ) -> Result<WorkflowStatus, Refusal> {
        let name = workflow.name.clone().unwrap_or_default();
        let Checked {
            vertices,
            code,
            notes,
            domains,
        } = self.check(workflow, Code::Kept).await?;
        for (digest, code) in code {
            let put = self.0.code.put(digest, code).await;
            put.map_err(|error| Refusal::Store(error.to_string()))?;
        }
        let mut record = new_record(name, vertices, notes, domains);
        let choice = self.choose(&record, &BTreeSet::new()).await;
        match (choice, wait) {
            (Ok(domain_id), _) => record.domain_id = Some(domain_id),
            (Err(_), Wait::Yes) => {}
            (Err(reason), Wait::No) => return Err(Refusal::Infeasible(reason)),
        }
        let record = Arc::new(record);
        let mut writes = vec![Write::Workflow(Arc::clone(&record))];
        let key = key.map(|(key, body)| {
            let (workflow_id, used) = (record.workflow_id, record.accepted);
            let used = KeyRecord {
                body,
                workflow_id,
                used,
            };
            writes.push(Write::Key(key.clone(), used.clone()));
            (key, used)
        });
        let _changing = self.change(record.workflow_id)?;
        self.state().cluster.reserve(&record);
        let kept = self.0.store.write(writes).await;
        {
            let mut state = self.state();
            state.cluster.release(&record);
            kept.map_err(|error| Refusal::Store(error.to_string()))?;
            state.cluster.put(Arc::clone(&record));
        }
        let begun = self.begin(record, wait).await;
        let (Some((key, used)), Ok(_)) = (key, &begun) else {
            return begun;
        };
        self.state().keys.done(key, used);
        begun
    }

    /// Whether a workflow would be accepted as waiting.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn check_only(&self, workflow: Workflow) -> Result<(), Refusal> {
        self.check(workflow, Code::Kept).await.map(drop)
    }

    pub(super) async fn check(&self, workflow: Workflow, code: Code) -> Result<Checked, Refusal> {
        let inner = Arc::clone(&self.0);
        let is_slow = check::inline_bytes(&workflow) > SLOW_CHECK_BYTES;
        let check = move || match code {
            Code::Kept => check::check(&workflow, &*inner),
            Code::Promised => check::check(&workflow, &Promised(&inner)),
        };
        let checked = match is_slow {
            false => check(),
            true => {
                let checked = tokio::task::spawn_blocking(check).await;
                checked.map_err(|_| Refusal::Ending)?
            }
        };
        checked.map_err(|faults| Refusal::Invalid { faults })
    }

    /// Has a workflow started. One that cannot run is taken back unless it may wait.
    async fn begin(
        &self,
        mut record: Arc<WorkflowRecord>,
        wait: Wait,
    ) -> Result<WorkflowStatus, Refusal> {
        let mut tried = BTreeSet::new();
        loop {
            let Some(domain_id) = record.domain_id.clone() else {
                let choice = self.choose(&record, &tried).await;
                let reason = choice
                    .err()
                    .unwrap_or_else(|| "it is being placed".to_owned());
                return Ok(status::of_workflow(&record, Err(reason)));
            };
            let started = match self.link(&domain_id) {
                Some(link) => link.start(Arc::clone(&record)).await,
                None => Err("its domain is not there".to_owned()),
            };
            let outcomes = match started {
                Ok(outcomes) => outcomes,
                // It is kept, and the domain is told again.
                Err(reason) => return Ok(status::of_workflow(&record, Err(reason))),
            };
            if self.withdraw_unless_current(&record).await {
                return self.look_at(record.workflow_id).await;
            }
            let (reason, next) = match judge(&record, &outcomes) {
                Outcome::Good => return Ok(status::of_started(&record, outcomes, now())),
                Outcome::Refused(reason) => (reason, None),
                Outcome::Infeasible(reason) => {
                    tried.insert(domain_id.clone());
                    let next = self.choose(&record, &tried).await.ok();
                    if next.is_none() && wait == Wait::Yes {
                        return Ok(status::of_started(&record, outcomes, now()));
                    }
                    (reason, next)
                }
            };
            let Some(next) = next else {
                self.take_back(&record).await?;
                return Err(Refusal::Infeasible(format!("{domain_id}: {reason}")));
            };
            record = self.reassign(&record, next).await?;
        }
    }

    /// Stops what was started while its workflow was stopped or moved; true: it was.
    pub(super) async fn withdraw_unless_current(&self, record: &WorkflowRecord) -> bool {
        let place = {
            let state = self.state();
            let current = state.cluster.workflow(record.workflow_id);
            current.map(|current| current.domain_id.clone())
        };
        if place.as_ref() == Some(&record.domain_id) {
            return false;
        }
        self.stop_there(record).await;
        true
    }

    /// Removes a workflow that cannot run, as if it had never been accepted.
    async fn take_back(&self, record: &WorkflowRecord) -> Result<(), Refusal> {
        match self.stop_now(record.workflow_id).await {
            // Somebody else has stopped it meanwhile.
            Ok(()) | Err(Refusal::Unknown { .. }) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// Puts a workflow into another domain, and stops it where it was.
    pub(super) async fn reassign(
        &self,
        record: &WorkflowRecord,
        next: DomainId,
    ) -> Result<Arc<WorkflowRecord>, Refusal> {
        let workflow_id = record.workflow_id;
        let assigned = {
            let cluster = &mut self.state().cluster;
            cluster.end_move(workflow_id);
            cluster.assign(workflow_id, Some(next.clone()))
        };
        let assigned = assigned.ok_or_else(|| unknown_workflow(workflow_id))?;
        let kept = self
            .0
            .store
            .write(vec![Write::Moved(workflow_id, next)])
            .await;
        if let Err(error) = kept {
            let before = record.domain_id.clone();
            self.state().cluster.assign(workflow_id, before);
            self.owe(record.domain_id.as_ref());
            return Err(Refusal::Store(error.to_string()));
        }
        self.stop_there(record).await;
        Ok(assigned)
    }
}

/// What the outcomes, one per vertex in their order, mean for the workflow as a whole, with the reasons.
pub fn judge(record: &WorkflowRecord, outcomes: &[Started]) -> Outcome {
    let on_its_way = WaitReason::Starting.to_string();
    let mut refused = Vec::new();
    let mut infeasible = Vec::new();
    for (vertex, outcome) in record.vertices.iter().zip(outcomes) {
        let name = vertex.spec.name();
        match outcome {
            // A copy that finds no place keeps nothing from running.
            Started::Running(..) => {}
            Started::Waiting(reason) if *reason == on_its_way => {}
            Started::Waiting(reason) => infeasible.push(format!("`{name}`: {reason}")),
            Started::Refused(reason) => refused.push(format!("`{name}`: {reason}")),
        }
    }
    match (refused.is_empty(), infeasible.is_empty()) {
        (false, _) => Outcome::Refused(refused.join("; ")),
        (true, false) => Outcome::Infeasible(infeasible.join("; ")),
        (true, true) => Outcome::Good,
    }
}

/// Draws the ids of a workflow and resolves its mappings, so that one start says everything.
pub(crate) fn new_record(
    name: String,
    vertices: Vec<(VertexSpec, BTreeMap<String, String>)>,
    notes: Vec<String>,
    domains: DomainRequirements,
) -> WorkflowRecord {
    let mut rng = rand::rng();
    let ids: BTreeMap<String, LogicalId> = vertices
        .iter()
        .map(|(spec, _)| (spec.name().to_owned(), LogicalId::random(&mut rng)))
        .collect();
    let vertex = |(spec, mapping): (VertexSpec, _)| VertexRecord {
        logical_id: ids[spec.name()],
        outputs: check::resolve(&mapping, &ids),
        spec,
    };
    WorkflowRecord {
        workflow_id: WorkflowId::random(&mut rng),
        name,
        accepted: now(),
        domain_id: None,
        vertices: vertices.into_iter().map(vertex).collect(),
        notes,
        domains,
        update: None,
    }
}
