//! Whether a domain could run a workflow, as far as its totals tell: pure. Which node it would be
//! is for its ε-ORC to find.

use std::collections::BTreeSet;

use edgeless_types::{DomainId, DomainRequirements, Presence, Requirements, workflow::VertexSpec};

use super::{
    Domain,
    totals::{Amounts, Question, Totals},
};
use crate::store::WorkflowRecord;

/// What a vertex counts for at least when domains are compared, so that those that ask for nothing
/// are spread as well.
const LEAST: Amounts = Amounts {
    cpu_millis: 10,
    memory_mib: 16,
};

/// What a workflow asks for in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// What its functions ask for, with the copies they have at least.
    pub(super) ask: Amounts,
    /// The same, where each copy counts for a little at least.
    pub(super) weight: Amounts,
}

impl Load {
    pub(super) fn of(record: &WorkflowRecord) -> Self {
        let mut load = Self::default();
        for vertex in &record.vertices {
            let requirements = requirements(&vertex.spec);
            let (ask, copies) = (ask(&requirements), requirements.least_instances());
            load.ask = load.ask.plus(ask.times(copies));
            load.weight = load.weight.plus(ask.max(LEAST).times(copies));
        }
        load
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            ask: self.ask.plus(other.ask),
            weight: self.weight.plus(other.weight),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            ask: self.ask.minus(other.ask),
            weight: self.weight.minus(other.weight),
        }
    }
}

/// What the functions of a workflow ask for that ask for something, with the copies they have at least, and with
/// what priority.
pub(super) fn asks(record: &WorkflowRecord) -> impl Iterator<Item = (i32, Amounts)> {
    record.vertices.iter().filter_map(|vertex| {
        let requirements = requirements(&vertex.spec);
        let ask = ask(&requirements).times(requirements.least_instances());
        (ask != Amounts::default()).then_some((requirements.priority, ask))
    })
}

/// What a domain has for a workflow.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// What is free and not promised to anything.
    pub(super) available: Amounts,
    /// What those of lower priority have, who make room.
    pub(super) lower: Amounts,
    /// What of the available is still held by what is going.
    pub(super) going: Amounts,
}

impl From<Amounts> for Room {
    fn from(available: Amounts) -> Self {
        Self {
            available,
            ..Self::default()
        }
    }
}

/// Whether a domain could run a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It could.
    Could,
    /// It cannot; what it lacks.
    Lacks(String),
    /// It could, if one of these is there.
    Open(BTreeSet<Question>),
}

/// What a workflow needs, read once for all domains.
pub(super) struct Needs<'a> {
    domains: &'a DomainRequirements,
    classes: BTreeSet<&'a str>,
    runtimes: BTreeSet<&'a str>,
    functions: Vec<(&'a str, Requirements)>,
    pub(super) load: Load,
    /// What its functions ask for, each once: with a copy of each it runs.
    once: Amounts,
    /// The highest priority among those that ask for something.
    pub(super) priority: Option<i32>,
}

impl<'a> Needs<'a> {
    pub(super) fn of(record: &'a WorkflowRecord) -> Self {
        let mut needs = Self {
            domains: &record.domains,
            classes: BTreeSet::new(),
            runtimes: BTreeSet::new(),
            functions: Vec::new(),
            load: Load::of(record),
            once: Amounts::default(),
            priority: asks(record).map(|(priority, _)| priority).max(),
        };
        for vertex in &record.vertices {
            match &vertex.spec {
                VertexSpec::Resource(resource) => {
                    needs.classes.insert(&resource.class_type);
                }
                VertexSpec::Function(function) => {
                    needs.runtimes.insert(&function.function_type);
                    let requirements = requirements(&vertex.spec);
                    needs.once = needs.once.plus(ask(&requirements));
                    if requirements != Requirements::default() {
                        needs.functions.push((&function.name, requirements));
                    }
                }
            }
        }
        needs
    }

    /// Whether a domain could run it that has this for it.
    pub(super) fn look(&self, id: &DomainId, domain: &Domain, room: impl Into<Room>) -> Verdict {
        if let Some(reason) = self.unmet(id, domain, room.into()) {
            return Verdict::Lacks(reason);
        }
        let mut open = BTreeSet::new();
        for (name, requirements) in &self.functions {
            if let Err(reason) = of_single_nodes(requirements, domain, &mut open) {
                return Verdict::Lacks(format!("function `{name}`: {reason}"));
            }
        }
        match open.is_empty() {
            true => Verdict::Could,
            false => Verdict::Open(open),
        }
    }

    /// The first thing that its totals tell a domain lacks.
    fn unmet(&self, id: &DomainId, domain: &Domain, room: Room) -> Option<String> {
        let DomainRequirements {
            match_any,
            label_match_all,
        } = self.domains;
        if !match_any.is_empty() && !match_any.contains(id) {
            return Some("it is not among `domain_match_any`".to_owned());
        }
        let missing = |label: &&String| !domain.labels.contains(*label);
        if let Some(label) = label_match_all.iter().find(missing) {
            return Some(format!("the domain does not have the label `{label}`"));
        }
        let totals = &domain.totals;
        let missing = |class: &&&str| !totals.classes.contains_key(**class);
        if let Some(class) = self.classes.iter().find(missing) {
            return Some(format!("no node provides `{class}`"));
        }
        let missing = |runtime: &&&str| !totals.runtimes.contains_key(**runtime);
        if let Some(runtime) = self.runtimes.iter().find(missing) {
            return Some(format!("no node has the runtime `{runtime}`"));
        }
        let unmet = self.functions.iter().find_map(|(name, requirements)| {
            let reason = unmet(requirements, totals, room.lower.plus(room.going))?;
            Some(format!("function `{name}`: {reason}"))
        });
        unmet.or_else(|| {
            let lack = lack(self.once, room.available.plus(room.lower))?;
            Some(format!("its functions ask for {lack} is free there"))
        })
    }
}

/// Why no single node could run a function, whatever nodes there are. On which of them others hold what they will
/// give up is for ε-ORC to find.
fn unmet(requirements: &Requirements, totals: &Totals, held: Amounts) -> Option<String> {
    let Requirements {
        label_match_all,
        node_id_match_any: _, // Nodes and providers are not in the totals.
        resource_match_all: _,
        tee,
        tpm,
        max_instances: _, // Bounds the number of copies, not the choice of a domain.
        cpu_millis: _,    // Both are in the amounts.
        memory_mib: _,
        min_instances: _,
        priority: _,
        label_prefer: _,
        affinity_with: _,
        anti_affinity_with: _,
        spread_by: _,
    } = requirements;
    if !totals.labels_cut {
        let missing = |label: &&String| !totals.labels.contains_key(*label);
        if let Some(label) = label_match_all.iter().find(missing) {
            return Some(no_label(label));
        }
    }
    if *tee == Presence::Required && totals.num_tee == 0 {
        return Some("no node runs in a trusted execution environment".to_owned());
    }
    if *tpm == Presence::Required && totals.num_tpm == 0 {
        return Some("no node has a trusted platform module".to_owned());
    }
    let lack = lack(ask(requirements), totals.largest_free.plus(held))?;
    Some(format!("asks for {lack} is free on any one node"))
}

/// What is known of single nodes; what is not is `open`.
///
/// # Errors
/// What is known not to be there.
fn of_single_nodes(
    requirements: &Requirements,
    domain: &Domain,
    open: &mut BTreeSet<Question>,
) -> Result<(), String> {
    for label in &requirements.label_match_all {
        if domain.totals.labels.contains_key(label) {
            continue;
        }
        let question = Question::Label(label.clone());
        match domain.facts.get(&question) {
            Some(true) => {}
            Some(false) => return Err(no_label(label)),
            None => {
                open.insert(question);
            }
        }
    }
    for provider in &requirements.resource_match_all {
        let question = Question::Provider(provider.clone());
        match domain.facts.get(&question) {
            Some(true) => {}
            Some(false) => return Err(format!("there is no provider `{provider}`")),
            None => {
                open.insert(question);
            }
        }
    }
    let nodes = requirements.node_id_match_any.iter();
    let nodes: Vec<_> = nodes.map(|&node_id| Question::Node(node_id)).collect();
    let known: Vec<_> = nodes.iter().map(|node| domain.facts.get(node)).collect();
    if nodes.is_empty() || known.contains(&Some(true)) {
        return Ok(());
    }
    if !known.contains(&None) {
        return Err("none of the nodes of `node_id_match_any` is there".to_owned());
    }
    let unknown = nodes.into_iter().zip(known);
    let unknown = unknown.filter_map(|(node, known)| known.is_none().then_some(node));
    open.extend(unknown);
    Ok(())
}

fn no_label(label: &str) -> String {
    format!("no node has the label `{label}`")
}

/// What is asked for beyond what there is; who asks for nothing finds enough of it anywhere.
fn lack(ask: Amounts, there: Amounts) -> Option<String> {
    if ask.cpu_millis > there.cpu_millis {
        let (asked, free) = (ask.cpu_millis, there.cpu_millis);
        return Some(format!("{asked} cpu_millis, and no more than {free}"));
    }
    let (asked, free) = (ask.memory_mib, there.memory_mib);
    (asked > free).then(|| format!("{asked} memory_mib, and no more than {free}"))
}

fn ask(requirements: &Requirements) -> Amounts {
    Amounts {
        cpu_millis: requirements.cpu_millis.map_or(0, |it| it.get().into()),
        memory_mib: requirements.memory_mib.map_or(0, |it| it.get().into()),
    }
}

fn requirements(spec: &VertexSpec) -> Requirements {
    match spec {
        VertexSpec::Resource(_) => Requirements::default(),
        VertexSpec::Function(function) => Requirements::from_annotations(&function.annotations)
            .expect("annotations were checked before the workflow was accepted"),
    }
}

#[cfg(test)]
mod tests {
    use edgeless_types::ProviderId;

    use super::{super::simulation, *};

    fn function(annotation: (&str, &str)) -> WorkflowRecord {
        let mut record = simulation::record(1, "file-log");
        let annotations = [(annotation.0.to_owned(), annotation.1.to_owned())];
        record
            .vertices
            .push(simulation::function(9, annotations.into()));
        record
    }

    fn check(record: &WorkflowRecord, meet: impl FnOnce(&mut Domain), says: &str) {
        let mut domain = simulation::known_domain();
        let needs = Needs::of(record);
        let id = DomainId::new("d");
        let look = |domain: &Domain| needs.look(&id, domain, domain.totals.free);
        let Verdict::Lacks(reason) = look(&domain) else {
            panic!("it does not lack `{says}`");
        };
        assert!(reason.contains(says), "{reason}");
        meet(&mut domain);
        assert_eq!(look(&domain), Verdict::Could);
    }

    #[test]
    fn every_requirement_is_missed_and_met() {
        check(
            &function(("label_match_all", "a")),
            |domain| domain.totals.labels = [("a".to_owned(), 1)].into(),
            "label `a`",
        );
        check(
            &function(("tee", "required")),
            |domain| domain.totals.num_tee = 1,
            "trusted execution",
        );
        check(
            &function(("tpm", "required")),
            |domain| domain.totals.num_tpm = 1,
            "trusted platform",
        );
        check(
            &function(("cpu_millis", "5000")),
            |domain| {
                domain.totals.free.cpu_millis = 6_000;
                domain.totals.largest_free.cpu_millis = 5_000;
            },
            "5000 cpu_millis, and no more than 4000 is free on any one node",
        );
    }

    #[test]
    fn what_is_asked_for_in_sum_has_to_be_free() {
        let mut record = function(("memory_mib", "600"));
        let second = function(("memory_mib", "600")).vertices.remove(1);
        record.vertices.push(second);
        check(
            &record,
            |domain| domain.totals.free.memory_mib = 1_200,
            "1200 memory_mib, and no more than 1000 is free there",
        );
    }

    #[test]
    fn domains_are_named_or_have_labels() {
        let mut record = simulation::record(1, "file-log");
        record.domains.label_match_all = vec!["region=eu".to_owned()];
        let meet = |domain: &mut Domain| domain.labels = ["region=eu".to_owned()].into();
        check(&record, meet, "label `region=eu`");
        record.domains.match_any = vec![DomainId::new("e")];
        let needs = Needs::of(&record);
        let domain = simulation::known_domain();
        let verdict = needs.look(&DomainId::new("d"), &domain, domain.totals.free);
        let reason = "it is not among `domain_match_any`".to_owned();
        assert_eq!(verdict, Verdict::Lacks(reason));
    }

    #[test]
    fn what_only_single_nodes_have_is_asked_for_once() {
        let id = "7d1b8ba2-6d6b-4b0c-8fd5-4b4a7b9e6b64";
        for (annotation, question) in [
            (
                ("node_id_match_any", id),
                Question::Node(id.parse().unwrap()),
            ),
            (
                ("resource_match_all", "p"),
                Question::Provider(ProviderId::new("p")),
            ),
            (("label_match_all", "a"), Question::Label("a".to_owned())),
        ] {
            let record = function(annotation);
            let needs = Needs::of(&record);
            let mut domain = simulation::known_domain();
            domain.totals.labels_cut = true;
            let look =
                |domain: &Domain| needs.look(&DomainId::new("d"), domain, domain.totals.free);
            let open = BTreeSet::from([question]);
            assert_eq!(look(&domain), Verdict::Open(open.clone()));
            assert_eq!(domain.facts.ask(open.clone()), open);
            assert!(
                domain.facts.ask(open.clone()).is_empty(),
                "it is being asked"
            );
            for (there, verdict) in [(open.clone(), true), (BTreeSet::new(), false)] {
                let answer = super::super::Lookup {
                    membership: 1,
                    there,
                };
                domain.facts.on_answer(&open, Some(answer));
                assert_eq!(look(&domain) == Verdict::Could, verdict);
            }
            domain.facts.on_membership(2);
            assert_eq!(look(&domain), Verdict::Open(open));
        }
    }

    #[test]
    fn classes_and_runtimes_are_needed() {
        let record = simulation::record(1, "redis");
        let needs = Needs::of(&record);
        let domain = simulation::known_domain();
        let verdict = needs.look(&DomainId::new("d"), &domain, domain.totals.free);
        assert_eq!(
            verdict,
            Verdict::Lacks("no node provides `redis`".to_owned())
        );
    }
}
