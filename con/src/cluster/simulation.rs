//! Random histories of a cluster: domains that fall silent, restart, lose what they are told and
//! come back, while workflows are accepted, stopped and moved.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::{
    CodeDigest, DomainRequirements, LogicalId,
    workflow::{FunctionSpec, OutputMapping, ResourceSpec, VertexSpec},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::store::VertexRecord;

/// A workflow with one resource of a class.
pub(super) fn record(number: u128, class: &str) -> WorkflowRecord {
    WorkflowRecord {
        workflow_id: WorkflowId::new(Uuid::from_u128(number)),
        name: String::new(),
        accepted: Timestamp::EPOCH,
        domain_id: None,
        vertices: vec![VertexRecord {
            logical_id: LogicalId::new(Uuid::from_u128(number << 8)),
            spec: VertexSpec::Resource(ResourceSpec {
                name: "r".to_owned(),
                class_type: class.to_owned(),
                configurations: BTreeMap::new(),
            }),
            outputs: OutputMapping::new(),
        }],
        notes: Vec::new(),
        domains: DomainRequirements::default(),
        update: None,
    }
}

/// A function with annotations.
pub(super) fn function(number: u128, annotations: BTreeMap<String, String>) -> VertexRecord {
    VertexRecord {
        logical_id: LogicalId::new(Uuid::from_u128(number)),
        spec: VertexSpec::Function(FunctionSpec {
            name: "f".to_owned(),
            class_id: "double".to_owned(),
            function_type: "RUST_WASM".to_owned(),
            version: "1".to_owned(),
            code: CodeDigest::of(b""),
            outputs: BTreeSet::new(),
            annotations,
        }),
        outputs: OutputMapping::new(),
    }
}

/// A domain with 4 cores and file-log.
pub(super) fn known_domain() -> Domain {
    let update = update("d", 1, 1, "file-log");
    Domain {
        orchestrator_url: update.orchestrator_url,
        nonce: 1,
        counter: 1,
        labels: BTreeSet::new(),
        totals: update.totals.unwrap_or_default(),
        deadline: at(0),
        former: None,
        facts: Facts::default(),
    }
}

pub(super) fn domain(name: &str) -> DomainId {
    DomainId::new(name)
}

pub(super) fn update(name: &str, nonce: u64, counter: u64, class: &str) -> DomainUpdate {
    DomainUpdate {
        domain_id: domain(name),
        orchestrator_url: format!("http://{name}:1"),
        nonce,
        counter,
        refresh_deadline: Duration::from_secs(3),
        labels: BTreeSet::new(),
        totals: Some(totals(class)),
    }
}

fn totals(class: &str) -> Totals {
    let amounts = Amounts {
        cpu_millis: 4_000,
        memory_mib: 1_000,
    };
    Totals {
        num_cores: 4,
        classes: [(class.to_owned(), 1)].into(),
        runtimes: [("RUST_WASM".to_owned(), 1)].into(),
        capacity: amounts,
        free: amounts,
        largest_free: amounts,
        ..Totals::default()
    }
}

pub(super) fn at(secs: u64) -> Timestamp {
    Timestamp::from_nanos(secs * 1_000_000_000)
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const CLASSES: [&str; 2] = ["file-log", "redis"];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    /// A domain refreshes, with a class of resources.
    Refresh(usize, usize),
    /// A domain restarts: it knows nothing, and refreshes.
    Restart(usize, usize),
    /// A domain can or cannot be reached.
    Reachable(usize, bool),
    /// Seconds pass.
    Pass(u64),
    /// A workflow that needs a class is accepted.
    Accept(usize),
    /// Some workflow is stopped.
    Stop(usize),
    /// Some workflow is asked to move to a domain.
    Move(usize, usize),
    /// ε-CON is killed and comes back with what it kept.
    Kill,
}

fn happening() -> impl Strategy<Value = Happening> {
    let (name, class) = (0..NAMES.len(), 0..CLASSES.len());
    prop_oneof![
        4 => (name.clone(), class.clone()).prop_map(|(name, class)| Happening::Refresh(name, class)),
        1 => (name.clone(), class.clone()).prop_map(|(name, class)| Happening::Restart(name, class)),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, is)| Happening::Reachable(name, is)),
        2 => (1_u64..5).prop_map(Happening::Pass),
        4 => class.prop_map(Happening::Accept),
        2 => (0_usize..50).prop_map(Happening::Stop),
        1 => (0_usize..50, name).prop_map(|(which, name)| Happening::Move(which, name)),
        1 => Just(Happening::Kill),
    ]
}

/// The world around a cluster: what was kept, and what each domain was told.
#[derive(Default)]
struct World {
    cluster: Cluster,
    now: u64,
    next: u128,
    kept: BTreeMap<WorkflowId, WorkflowRecord>,
    entered: BTreeSet<DomainId>,
    lives: BTreeMap<DomainId, (u64, u64)>,
    /// What each domain has said of its nodes, and was answered.
    said: BTreeMap<DomainId, usize>,
    told: BTreeMap<DomainId, BTreeSet<LogicalId>>,
    unreachable: BTreeSet<DomainId>,
    /// Domains that missed something: the shell reconciles them until it succeeds.
    owed: BTreeSet<DomainId>,
}

impl World {
    fn refresh(&mut self, name: usize, class: usize, restart: bool) {
        let domain_id = domain(NAMES[name]);
        if restart {
            self.told.remove(&domain_id);
            self.said.remove(&domain_id);
        }
        let life = self.lives.entry(domain_id.clone()).or_insert((1, 0));
        *life = if restart {
            (life.0 + 1, 1)
        } else {
            (life.0, life.1 + 1)
        };
        if self.unreachable.contains(&domain_id) {
            return;
        }
        let mut update = update(NAMES[name], life.0, life.1, CLASSES[class]);
        if self.said.get(&domain_id) == Some(&class) {
            update.totals = None;
        }
        let (answer, effects) = self.cluster.on_update(update, at(self.now));
        self.carry_out(effects);
        match answer {
            Answer::Taken => {
                self.said.insert(domain_id, class);
            }
            Answer::Reset => {
                self.said.remove(&domain_id);
                self.told.remove(&domain_id);
            }
            Answer::WantTotals => {
                // It was said to another life of ε-CON, or before the domain was lost.
                assert!(self.said.remove(&domain_id).is_some());
                self.refresh(name, class, false);
            }
            Answer::Duplicate(url) => unreachable!("there is one domain at {url}"),
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Meet { .. } | Effect::Lost(_) | Effect::Ask(_) => {}
                Effect::Entered(domain_id) => {
                    self.entered.insert(domain_id);
                }
                Effect::Assigned(domain_id, workflow_ids) => {
                    for workflow_id in workflow_ids {
                        if let Some(record) = self.kept.get_mut(&workflow_id) {
                            record.domain_id = Some(domain_id.clone());
                        }
                    }
                }
                Effect::Reconcile(domain_id) => {
                    self.owed.insert(domain_id);
                }
                Effect::Start(domain_id, workflow_ids) => {
                    let records = workflow_ids
                        .iter()
                        .filter_map(|id| self.cluster.workflow(*id));
                    let ids: Vec<_> = records.flat_map(|record| logical_ids(record)).collect();
                    self.tell(domain_id, |told| told.extend(ids));
                }
            }
        }
        self.pay();
    }

    fn stop(&mut self, domain_id: DomainId, record: &WorkflowRecord) {
        let ids: BTreeSet<_> = logical_ids(record).into_iter().collect();
        self.tell(domain_id, |told| told.retain(|id| !ids.contains(id)));
        self.pay();
    }

    fn tell(&mut self, domain_id: DomainId, change: impl FnOnce(&mut BTreeSet<LogicalId>)) {
        if self.unreachable.contains(&domain_id) {
            self.owed.insert(domain_id);
        } else {
            change(self.told.entry(domain_id).or_default());
        }
    }

    fn pay(&mut self) {
        for domain_id in std::mem::take(&mut self.owed) {
            let desired = self.cluster.desired(&domain_id);
            let all = desired
                .iter()
                .flat_map(|record| logical_ids(record))
                .collect();
            self.tell(domain_id, |told| *told = all);
        }
    }

    fn accept(&mut self, class: usize) {
        self.next += 1;
        let mut record = record(self.next, CLASSES[class]);
        record.domain_id = self.cluster.choose(&record, &BTreeSet::new()).ok();
        self.kept.insert(record.workflow_id, record.clone());
        self.cluster.put(Arc::new(record.clone()));
        if let Some(domain_id) = record.domain_id {
            self.carry_out(vec![Effect::Start(domain_id, vec![record.workflow_id])]);
        }
    }

    fn some_workflow(&self, which: usize) -> Option<WorkflowId> {
        let known = self.kept.len();
        self.kept.keys().nth(which.checked_rem(known)?).copied()
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Refresh(name, class) => self.refresh(name, class, false),
            Happening::Restart(name, class) => self.refresh(name, class, true),
            Happening::Reachable(name, true) => {
                self.unreachable.remove(&domain(NAMES[name]));
                self.pay();
            }
            Happening::Reachable(name, false) => {
                self.unreachable.insert(domain(NAMES[name]));
            }
            Happening::Pass(seconds) => {
                self.now += seconds;
                let effects = self.cluster.on_tick(at(self.now));
                self.carry_out(effects);
            }
            Happening::Accept(class) => self.accept(class),
            Happening::Stop(which) => {
                let Some(workflow_id) = self.some_workflow(which) else {
                    return;
                };
                self.kept.remove(&workflow_id);
                let record = self.cluster.remove(workflow_id).unwrap();
                if let Some(domain_id) = record.domain_id.clone() {
                    self.stop(domain_id, &record);
                }
            }
            Happening::Move(which, name) => self.move_one(which, &domain(NAMES[name])),
            Happening::Kill => {
                let kept = self.kept.values().cloned().collect();
                self.cluster = Cluster::new(kept, self.entered.clone(), at(self.now));
                self.owed.clear();
            }
        }
    }

    fn move_one(&mut self, which: usize, domain_id: &DomainId) {
        let Some(workflow_id) = self.some_workflow(which) else {
            return;
        };
        let record = Arc::clone(self.cluster.workflow(workflow_id).unwrap());
        if self.cluster.could_run(&record, domain_id).is_err() {
            return;
        }
        self.cluster.assign(workflow_id, Some(domain_id.clone()));
        self.carry_out(vec![
            Effect::Assigned(domain_id.clone(), vec![workflow_id]),
            Effect::Start(domain_id.clone(), vec![workflow_id]),
        ]);
        if let Some(before) = record.domain_id.clone()
            && before != *domain_id
        {
            self.stop(before, &record);
        }
    }

    /// Everybody can be reached, and all domains but those that stay away refresh for a while.
    fn calm_down(&mut self) {
        self.unreachable.clear();
        self.pay();
        for _ in 0..20 {
            self.now += 2;
            self.refresh(0, 0, false);
            self.refresh(1, 1, false);
            let effects = self.cluster.on_tick(at(self.now));
            self.carry_out(effects);
        }
    }
}

fn logical_ids(record: &WorkflowRecord) -> Vec<LogicalId> {
    let vertices = record.vertices.iter();
    vertices.map(|vertex| vertex.logical_id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_each_workflow_ends_in_one_domain_that_was_told_of_it(
        history in prop::collection::vec(happening(), 1..60)
    ) {
        let mut world = World::default();
        for happening in &history {
            world.happen(happening);
        }
        world.calm_down();
        // `a` has file-log and `b` redis, so that everything fits somewhere; `c` is away.
        let cluster = &world.cluster;
        prop_assert_eq!(cluster.workflows().len(), world.kept.len());
        prop_assert_eq!(cluster.stand_by() + cluster.count(&domain("c")), 0);
        for place in ["a", "b"].map(domain) {
            let desired = cluster.desired(&place);
            let expected: BTreeSet<_> = desired.iter().flat_map(|it| logical_ids(it)).collect();
            let told = world.told.get(&place).cloned().unwrap_or_default();
            prop_assert_eq!(told, expected, "what {} was told", place);
        }
        for record in cluster.workflows() {
            prop_assert_eq!(Some(&**record), world.kept.get(&record.workflow_id));
        }
    }
}
