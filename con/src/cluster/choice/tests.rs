//! Random domains and workflows, and bursts of them.

use std::sync::Arc;

use edgeless_types::Timestamp;
use proptest::prelude::*;

use super::{
    super::{
        DomainUpdate, Totals,
        simulation::{at, domain, function, record, update},
    },
    *,
};

const LABELS: [&str; 3] = ["a", "b", "c"];

/// A domain of one node, so that a function that fits there fits on one node.
#[derive(Clone, Debug)]
struct Place {
    cpu_millis: u64,
    memory_mib: u64,
    node_labels: BTreeSet<usize>,
    own_labels: BTreeSet<usize>,
    tee: bool,
}

/// What a workflow of one function wants.
#[derive(Clone, Debug)]
struct Wish {
    cpu_millis: u64,
    memory_mib: u64,
    node_label: Option<usize>,
    own_label: Option<usize>,
    named: Option<usize>,
    tee: bool,
}

fn place() -> impl Strategy<Value = Place> {
    let labels = || prop::collection::btree_set(0..LABELS.len(), 0..3);
    (
        0_u64..3_000,
        0_u64..3_000,
        labels(),
        labels(),
        any::<bool>(),
    )
        .prop_map(
            |(cpu_millis, memory_mib, node_labels, own_labels, tee)| Place {
                cpu_millis,
                memory_mib,
                node_labels,
                own_labels,
                tee,
            },
        )
}

fn wish() -> impl Strategy<Value = Wish> {
    let label = || prop::option::weighted(0.3, 0..LABELS.len());
    let named = prop::option::weighted(0.2, 0_usize..4);
    let tee = prop::bool::weighted(0.2);
    (0_u64..2_000, 0_u64..2_000, label(), label(), named, tee).prop_map(
        |(cpu_millis, memory_mib, node_label, own_label, named, tee)| Wish {
            cpu_millis,
            memory_mib,
            node_label,
            own_label,
            named,
            tee,
        },
    )
}

fn name(index: usize) -> String {
    format!("d{index}")
}

fn update_of(index: usize, place: &Place, counter: u64) -> DomainUpdate {
    let amounts = Amounts {
        cpu_millis: place.cpu_millis,
        memory_mib: place.memory_mib,
    };
    let named = |labels: &BTreeSet<usize>| -> BTreeSet<String> {
        labels.iter().map(|&it| LABELS[it].to_owned()).collect()
    };
    let mut update = update(&name(index), 1, counter, "file-log");
    update.labels = named(&place.own_labels);
    update.totals = Some(Totals {
        num_tee: u32::from(place.tee),
        labels: named(&place.node_labels)
            .into_iter()
            .map(|it| (it, 1))
            .collect(),
        capacity: amounts,
        free: amounts,
        largest_free: amounts,
        ..update.totals.unwrap_or_default()
    });
    update
}

fn workflow(number: u128, wish: &Wish) -> WorkflowRecord {
    let mut annotations = BTreeMap::new();
    for (key, amount) in [
        ("cpu_millis", wish.cpu_millis),
        ("memory_mib", wish.memory_mib),
    ] {
        if amount > 0 {
            annotations.insert(key.to_owned(), amount.to_string());
        }
    }
    if let Some(label) = wish.node_label {
        annotations.insert("label_match_all".to_owned(), LABELS[label].to_owned());
    }
    if wish.tee {
        annotations.insert("tee".to_owned(), "required".to_owned());
    }
    let mut record = record(number, "file-log");
    record
        .vertices
        .push(function((number << 8) + 1, annotations));
    let own = wish.own_label.map(|label| LABELS[label].to_owned());
    record.domains.label_match_all = own.into_iter().collect();
    let named = wish.named.map(|index| domain(&name(index)));
    record.domains.match_any = named.into_iter().collect();
    record
}

/// The same question as asked of the whole cluster, in the simplest words.
fn fits(index: usize, place: &Place, wish: &Wish, used: (u64, u64)) -> bool {
    place.cpu_millis >= used.0 + wish.cpu_millis
        && place.memory_mib >= used.1 + wish.memory_mib
        && wish
            .node_label
            .is_none_or(|it| place.node_labels.contains(&it))
        && wish
            .own_label
            .is_none_or(|it| place.own_labels.contains(&it))
        && wish.named.is_none_or(|it| it == index)
        && (place.tee || !wish.tee)
}

proptest! {
    #[test]
    fn what_is_chosen_has_what_is_needed_and_nothing_waits_that_fits(
        places in prop::collection::vec(place(), 0..4),
        wishes in prop::collection::vec(wish(), 0..20),
    ) {
        let mut cluster = Cluster::default();
        for (index, place) in places.iter().enumerate() {
            cluster.on_update(update_of(index, place, 1), at(0));
            cluster.on_update(update_of(index, place, 2), at(0));
        }
        let mut used = vec![(0, 0); places.len()];
        for (number, wish) in wishes.iter().enumerate() {
            let mut record = workflow(number as u128 + 1, wish);
            let fit = |index: &usize| fits(*index, &places[*index], wish, used[*index]);
            match cluster.choose(&record, &BTreeSet::new()) {
                Ok(domain_id) => {
                    let index = (0..places.len()).find(|&it| name(it) == domain_id.as_str());
                    let index = index.expect("a domain that there is");
                    prop_assert!(fit(&index), "{domain_id} lacks something for {wish:?}");
                    used[index].0 += wish.cpu_millis;
                    used[index].1 += wish.memory_mib;
                    record.domain_id = Some(domain_id);
                    cluster.put(Arc::new(record));
                }
                Err(none) => {
                    prop_assert_eq!((0..places.len()).find(fit), None, "{}", none.reason);
                    for index in 0..places.len() {
                        let named = none.reason.contains(&format!("{}: ", name(index)));
                        prop_assert!(named, "{} is missing in {}", name(index), none.reason);
                    }
                }
            }
        }
    }
}

/// A burst of workflows between two reports of three domains; how many go where.
fn burst(cores: [u64; 3], wish: &Wish) -> Vec<usize> {
    let mut cluster = Cluster::default();
    for (index, cores) in cores.into_iter().enumerate() {
        let place = Place {
            cpu_millis: cores * 1_000,
            memory_mib: cores * 1_024,
            node_labels: BTreeSet::new(),
            own_labels: BTreeSet::new(),
            tee: false,
        };
        cluster.on_update(update_of(index, &place, 1), Timestamp::EPOCH);
        cluster.on_update(update_of(index, &place, 2), Timestamp::EPOCH);
    }
    for number in 1..=1_000 {
        let mut record = workflow(number, wish);
        record.domain_id = cluster.choose(&record, &BTreeSet::new()).ok();
        cluster.put(Arc::new(record));
    }
    let count = |index: usize| cluster.count(&domain(&name(index)));
    (0..cores.len()).map(count).collect()
}

#[test]
fn a_burst_is_split_in_proportion_to_what_domains_have() {
    let nothing = Wish {
        cpu_millis: 0,
        memory_mib: 0,
        node_label: None,
        own_label: None,
        named: None,
        tee: false,
    };
    let something = Wish {
        cpu_millis: 80,
        ..nothing
    };
    // 1,000 workflows of 80 thousandths fill 80 of the 100 cores.
    for wish in [&nothing, &something] {
        let counts = burst([10, 20, 70], wish);
        for (count, expected) in counts.iter().zip([100, 200, 700]) {
            assert!(count.abs_diff(expected) <= 10, "{counts:?}");
        }
    }
}

#[test]
fn what_a_domain_was_given_counts_once_before_and_after_its_report() {
    let mut cluster = Cluster::default();
    let place = Place {
        cpu_millis: 3_000,
        memory_mib: 3_000,
        node_labels: BTreeSet::new(),
        own_labels: BTreeSet::new(),
        tee: false,
    };
    let mut wish = Wish {
        cpu_millis: 1_000,
        memory_mib: 0,
        node_label: None,
        own_label: None,
        named: None,
        tee: false,
    };
    cluster.on_update(update_of(0, &place, 1), at(0));
    cluster.on_update(update_of(0, &place, 2), at(0));
    let mut first = workflow(1, &wish);
    first.domain_id = Some(domain("d0"));
    // About to be put there, put there, and reported: it is the same thousand.
    let free = |cluster: &Cluster| cluster.available(&domain("d0")).cpu_millis;
    cluster.reserve(&first);
    assert_eq!(free(&cluster), 2_000);
    cluster.release(&first);
    cluster.put(Arc::new(first.clone()));
    assert_eq!(free(&cluster), 2_000);
    let mut report = update_of(0, &place, 3);
    if let Some(totals) = &mut report.totals {
        totals.free.cpu_millis = 2_000;
        totals.desired.cpu_millis = 1_000;
    }
    cluster.on_update(report, at(1));
    assert_eq!(free(&cluster), 2_000);
    wish.cpu_millis = 2_500;
    let second = workflow(2, &wish);
    let none = cluster.choose(&second, &BTreeSet::new()).unwrap_err();
    let says = "d0: its functions ask for 2500 cpu_millis, and no more than 2000 is free there";
    assert_eq!(none.reason, says);
    // What it has not stopped yet will be free.
    cluster.remove(first.workflow_id);
    assert_eq!(free(&cluster), 3_000);
    assert!(cluster.choose(&second, &BTreeSet::new()).is_ok());
}

#[test]
fn copies_that_are_to_run_at_least_are_promised_before_their_domain_counts_them() {
    let mut cluster = Cluster::default();
    for (name, counter) in [("a", 1), ("a", 2), ("b", 1), ("b", 2)] {
        let mut update = update(name, 1, counter, "file-log");
        if let Some(totals) = &mut update.totals {
            totals.free.cpu_millis = 4_000;
        }
        cluster.on_update(update, at(0));
    }
    let free = |cluster: &Cluster, name: &str| cluster.available(&domain(name)).cpu_millis;
    let begin = free(&cluster, "a");
    let mut record = record(1, "file-log");
    let annotations = [("cpu_millis", "1000"), ("min_instances", "3")];
    let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
    record.vertices.push(function(9, annotations.into()));
    record.domain_id = Some(domain("a"));
    let workflow_id = record.workflow_id;
    cluster.put(Arc::new(record));
    assert_eq!(free(&cluster, "a"), begin - 3_000);
    // The domain has placed all of them.
    let mut report = update("a", 1, 3, "file-log");
    if let Some(totals) = &mut report.totals {
        totals.free.cpu_millis = begin - 3_000;
        totals.desired.cpu_millis = 3_000;
    }
    cluster.on_update(report, at(1));
    assert_eq!(free(&cluster, "a"), begin - 3_000);
    // It is lost, and all copies are to run elsewhere.
    let elsewhere = free(&cluster, "b");
    cluster.assign(workflow_id, Some(domain("b")));
    assert_eq!(free(&cluster, "a"), begin, "they will be stopped");
    assert_eq!(free(&cluster, "b"), elsewhere - 3_000);
}

#[test]
fn what_waits_for_an_answer_is_placed_when_it_comes() {
    let id = "7d1b8ba2-6d6b-4b0c-8fd5-4b4a7b9e6b64";
    let mut cluster = Cluster::default();
    for (name, counter) in [("a", 1), ("a", 2), ("b", 1), ("b", 2)] {
        cluster.on_update(update(name, 1, counter, "file-log"), at(0));
    }
    let mut record = record(1, "file-log");
    let annotations = [("node_id_match_any".to_owned(), id.to_owned())];
    record.vertices.push(function(9, annotations.into()));
    let workflow_id = record.workflow_id;
    cluster.put(Arc::new(record));
    let effects = cluster.on_tick(at(1));
    let asks: Vec<Ask> = effects
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Ask(ask) => Some(ask),
            _ => None,
        })
        .collect();
    assert_eq!(asks.len(), 2);
    assert_eq!(cluster.on_tick(at(1)), [], "nothing is asked twice");
    assert_eq!(cluster.on_answer(&asks[0], None), []);
    let answer = Lookup {
        membership: 1,
        there: asks[1].questions.clone(),
    };
    let effects = cluster.on_answer(&asks[1], Some(answer));
    let assigned = Effect::Assigned(domain("b"), vec![workflow_id]);
    assert!(effects.contains(&assigned), "{effects:?}");
}

#[test]
fn those_of_lower_priority_and_those_that_go_make_room() {
    let mut cluster = Cluster::default();
    let report = |cluster: &mut Cluster, counter: u64, free: u64| {
        let mut update = update("a", 1, counter, "file-log");
        if let Some(totals) = &mut update.totals {
            totals.runtimes = [("RUST_WASM".to_owned(), 1)].into();
            totals.free.cpu_millis = free;
            totals.largest_free.cpu_millis = free;
            totals.desired.cpu_millis = 4_000 - free;
        }
        cluster.on_update(update, at(0));
    };
    report(&mut cluster, 1, 4_000);
    report(&mut cluster, 2, 4_000);
    let asking = |number: u128, cpu_millis: &str, priority: &str| {
        let mut record = record(number, "file-log");
        let annotations = [("cpu_millis", cpu_millis), ("priority", priority)];
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let named = function(number, annotations.into());
        record.vertices.push(named);
        record
    };
    let mut low = asking(1, "4000", "0");
    low.domain_id = Some(domain("a"));
    cluster.put(Arc::new(low.clone()));
    report(&mut cluster, 3, 0);
    let finds = |cluster: &Cluster, record: &WorkflowRecord| {
        let found = cluster.choose(record, &BTreeSet::new()).is_ok();
        assert_eq!(cluster.could_run(record, &domain("a")).is_ok(), found);
        found
    };
    assert!(
        !finds(&cluster, &asking(2, "4000", "0")),
        "of the same priority"
    );
    assert!(finds(&cluster, &asking(3, "4000", "1")));
    let too_large = asking(4, "4001", "1");
    assert!(!finds(&cluster, &too_large), "more than there is");
    let lacks = cluster.could_run(&too_large, &domain("a")).unwrap_err();
    let names_it = lacks.reason.contains("domain");
    assert!(!names_it, "whoever asks names it: {}", lacks.reason);
    // It is stopped, which the domain has not said yet.
    cluster.remove(low.workflow_id);
    assert!(finds(&cluster, &asking(2, "4000", "0")));
}
