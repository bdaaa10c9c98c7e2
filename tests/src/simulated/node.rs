//! One simulated node: who it is and what it was told to run.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use edgeless_proto::{convert::id_bytes, v1};
use edgeless_types::NodeId;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::tally::Change;

/// Hosts of the last two bytes of an address.
const HOSTS: usize = 250;

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    /// From 0.
    pub(super) index: usize,
    pub(super) node_id: NodeId,
    pub(super) address: Ipv4Addr,
    pub(super) agent_url: String,
    /// It refreshes and answers no more.
    pub(super) dead: CancellationToken,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    running: HashMap<Bytes, Running>,
    refreshed: Option<Instant>,
}

/// What is known of an instance.
#[derive(Debug)]
struct Running {
    logical_id: [u8; 16],
    workflow_id: [u8; 16],
    generation: u64,
    fingerprint: u64,
    /// Outputs that lead to no instance.
    holding: u32,
}

impl Node {
    pub(super) fn new(index: usize, port: u16) -> Self {
        let address = address(index);
        Self {
            index,
            node_id: NodeId::new(Uuid::from_u128((0x51 << 120) + 1 + index as u128)),
            address,
            agent_url: format!("http://{address}:{port}"),
            dead: CancellationToken::new(),
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a step; nothing when it changes nothing.
    pub(super) fn apply(&self, step: v1::Step) -> Change {
        let mut change = Change::default();
        let mut inner = self.inner();
        match step.kind {
            Some(v1::step::Kind::Start(start)) => {
                let instance = start.instance.unwrap_or_default();
                let holding = holding(&start.outputs);
                let running = Running {
                    logical_id: bytes(&instance.logical_id),
                    workflow_id: bytes(&instance.workflow_id),
                    generation: instance.generation,
                    fingerprint: instance.fingerprint,
                    holding,
                };
                change.started(1, holding);
                if let Some(before) = inner.running.insert(own(&instance.physical_id), running) {
                    change.stopped(1, before.holding);
                }
            }
            Some(v1::step::Kind::Patch(patch)) => {
                if let Some(running) = inner.running.get_mut(&patch.physical_id)
                    && running.generation < patch.generation
                {
                    let holding = holding(&patch.outputs);
                    change.patched(running.holding, holding);
                    running.holding = holding;
                    running.generation = patch.generation;
                }
            }
            Some(v1::step::Kind::Stop(stop)) => {
                if let Some(before) = inner.running.remove(&stop.physical_id) {
                    change.stopped(1, before.holding);
                }
            }
            None => {}
        }
        change
    }

    /// All that runs, as a report has it.
    pub(super) fn running(&self) -> v1::RunningSet {
        let inner = self.inner();
        let instance = |(physical_id, running): (&Bytes, &Running)| v1::RunningInstance {
            physical_id: physical_id.clone(),
            logical_id: Bytes::copy_from_slice(&running.logical_id),
            workflow_id: Bytes::copy_from_slice(&running.workflow_id),
            generation: running.generation,
            fingerprint: running.fingerprint,
        };
        v1::RunningSet {
            instances: inner.running.iter().map(instance).collect(),
        }
    }

    /// Up to so many of the instances that run; the node's own id when none does.
    pub(super) fn measured(&self, most: usize) -> Vec<Bytes> {
        let inner = self.inner();
        let mut ids: Vec<Bytes> = inner.running.keys().take(most).cloned().collect();
        if ids.is_empty() {
            ids.push(id_bytes(&self.node_id));
        }
        ids
    }

    pub(super) fn instances(&self) -> usize {
        self.inner().running.len()
    }

    /// Forgets all that runs; how many instances that were, and how many of their outputs led nowhere.
    pub(super) fn clear(&self) -> (i64, i64) {
        let running = std::mem::take(&mut self.inner().running);
        let holding = running.values().map(|it| i64::from(it.holding)).sum();
        (i64::try_from(running.len()).unwrap_or(i64::MAX), holding)
    }

    /// When the last refresh that was answered was sent.
    pub(super) fn refreshed(&self) -> Option<Instant> {
        self.inner().refreshed
    }

    pub(super) fn set_refreshed(&self, at: Instant) {
        self.inner().refreshed = Some(at);
    }
}

/// A copy that does not keep the message alive that it came with.
fn own(id: &Bytes) -> Bytes {
    Bytes::copy_from_slice(id)
}

fn bytes(id: &[u8]) -> [u8; 16] {
    id.try_into().unwrap_or_default()
}

fn holding(outputs: &[v1::Output]) -> u32 {
    let number = outputs.iter().filter(|it| it.instances.is_empty()).count();
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The address of a node: 127.1.0.1 is the first.
fn address(index: usize) -> Ipv4Addr {
    let byte = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
    let (net, rest) = (index / (HOSTS * HOSTS), index % (HOSTS * HOSTS));
    Ipv4Addr::new(
        127,
        byte(1 + net),
        byte(rest / HOSTS),
        byte(1 + rest % HOSTS),
    )
}
