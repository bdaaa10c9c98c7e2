//! What holds when all has been healed and nothing has happened for a while.

use std::collections::BTreeMap;

use edgeless_con::store::VertexRecord;
use edgeless_types::{InstanceId, LogicalId, workflow::VertexSpec};

use super::{
    World,
    check::{allowed, ask, excess, fits, leads_to, unmet},
    mirror,
    node::Node,
};

/// Every vertex that ε-CON desires of a domain, and of which.
type Expected<'a> = BTreeMap<LogicalId, (usize, &'a VertexRecord)>;

/// What runs on all nodes.
type Running = BTreeMap<LogicalId, Vec<InstanceId>>;

/// The first thing that does not hold, in words.
pub(super) fn check(world: &World) -> Result<(), String> {
    let expected = workflows(world)?;
    domains(world, &expected)?;
    let running = nodes(world, &expected)?;
    for (logical_id, (domain, vertex)) in &expected {
        check_vertex(world, *logical_id, *domain, &vertex.spec, &running)?;
    }
    outputs(world, &running)
}

/// Nothing that was acknowledged is forgotten; what could run is in a domain.
fn workflows(world: &World) -> Result<Expected<'_>, String> {
    let cluster = world.con.cluster.as_ref().ok_or("ε-CON is not there")?;
    for (workflow_id, name) in &world.client.accepted {
        let is_there = cluster.workflow(*workflow_id).is_some();
        if !is_there && !world.client.stopping.contains(workflow_id) {
            return Err(format!("workflow {name} was accepted and is forgotten"));
        }
        if is_there && world.client.stopped.contains(workflow_id) {
            return Err(format!("workflow {name} was stopped and is back"));
        }
    }
    let mut expected = BTreeMap::new();
    for record in cluster.workflows() {
        let name = &record.name;
        if let Some(reason) = world.client.refused.get(name) {
            return Err(format!(
                "workflow {name} was refused ({reason}) and is there"
            ));
        }
        let mut kept = world.con.disk.workflows.get(&record.workflow_id).cloned();
        if let Some(kept) = kept.as_mut().filter(|_| world.con.disk.has_refused) {
            kept.domain_id.clone_from(&record.domain_id);
        }
        if kept.as_ref() != Some(&**record) {
            return Err(format!("workflow {name} is not on disk as it is known"));
        }
        let Some(domain_id) = &record.domain_id else {
            for could in cluster.domains().keys() {
                match cluster.could_run(record, could) {
                    Ok(()) => {
                        return Err(format!(
                            "workflow {name} is in stand-by; {could} could run it"
                        ));
                    }
                    Err(none) if !none.open.is_empty() => {
                        return Err(format!("{could} was not asked whether {name} could run"));
                    }
                    Err(_) => {}
                }
            }
            continue;
        };
        let mut orcs = world.orcs.iter();
        let orc = orcs.find(|orc| orc.domain_id == *domain_id);
        let number = orc
            .ok_or("a workflow is in no domain of this world")?
            .number;
        for vertex in &record.vertices {
            expected.insert(vertex.logical_id, (number, vertex));
        }
    }
    Ok(expected)
}

/// Domains desire what ε-CON desires of them, and their mirrors say what they know.
fn domains(world: &World, expected: &Expected<'_>) -> Result<(), String> {
    for orc in &world.orcs {
        let domain_id = &orc.domain_id;
        let alive = orc.alive.as_ref().ok_or("an ε-ORC is not there")?;
        for active in alive.domain.active_instances() {
            let known = expected.get(&active.logical_id);
            if known.is_none_or(|(number, _)| *number != orc.number) {
                let logical_id = active.logical_id;
                return Err(format!("{domain_id} desires {logical_id}, ε-CON does not"));
            }
        }
        for node in alive.domain.node_reports() {
            if orc.cordons.contains(&node.node_id) && !node.cordoned {
                let node_id = node.node_id;
                return Err(format!(
                    "the cordon of {node_id} was acknowledged and does not hold"
                ));
            }
        }
        let now = alive.now(&world.context);
        if let Some(difference) = mirror::difference(&orc.redis, &alive.domain, now) {
            return Err(format!("the mirror of {domain_id}: {difference}"));
        }
    }
    Ok(())
}

/// Nodes run nothing else, and no more than they have room for.
fn nodes(world: &World, expected: &Expected<'_>) -> Result<Running, String> {
    let mut running = Running::new();
    for node in &world.nodes {
        let number = node.number;
        let asks = node.running.values().map(|it| ask(&it.spec));
        let alive = world.orcs[node.domain].alive.as_ref();
        let asked = alive.map(|it| &it.asked);
        // What runs already is adopted, also where an earlier life was about to make room: it goes if it fits elsewhere.
        let was_asked = |id| asked.is_some_and(|it| it.has(node.node_id, id));
        let is_own = node.running.keys().all(|&id| was_asked(id));
        if is_own && !fits(asks, &node.profile.capabilities) {
            let shown = node
                .running
                .values()
                .map(|it| (it.spec.name(), ask(&it.spec)));
            let shown: Vec<_> = shown.collect();
            return Err(format!(
                "node {number} has more than it has room for: {shown:?}"
            ));
        }
        if !is_own {
            could_leave(world, node)?;
        }
        for (&physical_id, it) in &node.running {
            let logical_id = it.instance.logical_id;
            if expected.get(&logical_id).map(|(domain, _)| *domain) != Some(node.domain) {
                return Err(format!(
                    "node {number} runs {physical_id} of {logical_id}, which is not desired there"
                ));
            }
            let node_id = node.node_id;
            let instance = InstanceId {
                node_id,
                physical_id,
            };
            running.entry(logical_id).or_default().push(instance);
        }
    }
    Ok(running)
}

/// What a node has no room for fits nowhere else.
fn could_leave(world: &World, node: &Node) -> Result<(), String> {
    let asks = node.running.values().map(|it| ask(&it.spec));
    let short = excess(asks, &node.profile.capabilities);
    let takes = |it: (u64, u64)| (it.0 > 0 && short.0 > 0) || (it.1 > 0 && short.1 > 0);
    let leaving = node.running.values().filter(|it| takes(ask(&it.spec)));
    for it in leaving {
        if let Some(other) = could_take(world, node.domain, &it.spec) {
            let name = it.spec.name();
            return Err(format!(
                "node {} has more than it has room for, and {name} could go to node {}",
                node.number, other.number
            ));
        }
    }
    Ok(())
}

/// Senders know where their targets are.
fn outputs(world: &World, running: &Running) -> Result<(), String> {
    for node in &world.nodes {
        for it in node.running.values() {
            for output in &it.outputs {
                let mut there = running.get(&output.logical_id).cloned().unwrap_or_default();
                let mut leads = leads_to(output);
                there.sort();
                leads.sort();
                if leads != there {
                    return Err(format!(
                        "`{}` of {} on node {} leads to {leads:?}, not to {there:?}",
                        output.channel, it.instance.physical_id, node.number
                    ));
                }
            }
        }
    }
    Ok(())
}

/// It has the copies that it wants, as its domain says; or no node could take another.
fn check_vertex(
    world: &World,
    logical_id: LogicalId,
    domain: usize,
    spec: &VertexSpec,
    running: &Running,
) -> Result<(), String> {
    let alive = world.orcs[domain]
        .alive
        .as_ref()
        .ok_or("an ε-ORC is not there")?;
    let copies = running.get(&logical_id).cloned().unwrap_or_default();
    let wanted = allowed(spec, alive.scaled(logical_id));
    if copies.len() > wanted {
        return Err(format!(
            "{} runs {} times, not {wanted}: {copies:?}",
            spec.name(),
            copies.len()
        ));
    }
    let active = alive.domain.active_instance(logical_id);
    let active = active
        .ok_or_else(|| format!("{} ({logical_id}) is not desired by d{domain}", spec.name()))?;
    let mut told: Vec<_> = active
        .instances
        .iter()
        .map(|it| (it.node_id, it.physical_id))
        .collect();
    let mut is: Vec<_> = copies
        .iter()
        .map(|it| (it.node_id, it.physical_id))
        .collect();
    told.sort();
    is.sort();
    if told != is {
        return Err(format!(
            "{} runs as {is:?}, its domain says {told:?}",
            spec.name()
        ));
    }
    if is.len() == wanted {
        return Ok(());
    }
    match could_take(world, domain, spec) {
        Some(node) => Err(format!(
            "{} ({logical_id}) has {} of {wanted} copies ({:?}), though node {} could take one",
            spec.name(),
            is.len(),
            active.waiting,
            node.number
        )),
        None => Ok(()),
    }
}

/// A node of a domain that takes something new, meets what a vertex wants, and has room for it.
fn could_take<'a>(world: &'a World, domain: usize, spec: &VertexSpec) -> Option<&'a Node> {
    let alive = world.orcs[domain].alive.as_ref()?;
    let reports = alive.domain.node_reports();
    let mut of_domain = world.nodes.iter().filter(|node| node.domain == domain);
    of_domain.find(|node| {
        let (capabilities, providers) = (&node.profile.capabilities, &node.profile.providers);
        let mut reports = reports.iter();
        let is_open = reports.any(|it| it.node_id == node.node_id && !it.cordoned);
        let asks = node.running.values().map(|it| ask(&it.spec));
        is_open
            && unmet(spec, node.node_id, capabilities, providers).is_none()
            && fits(asks.chain([ask(spec)]), capabilities)
    })
}
