//! Looks at what runs in an engine, and pauses it.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use edgeless_types::{Backlog, Demand, PhysicalId};
use tokio::sync::{mpsc, oneshot};

use crate::{
    engine::Engine,
    shard::{Inject, Look},
    stats::OperatorView,
    tap::{TapPlan, Tapped},
};

impl Engine {
    /// Every instance, as it is now.
    pub async fn inspect(&self) -> Vec<OperatorView> {
        self.of_all(Look::All).await
    }

    /// What waits for outputs that lead to no instance now.
    pub async fn demand(&self) -> Vec<Demand> {
        match self.shared.held.load(Relaxed) {
            // No shard is woken to say so.
            0 => Vec::new(),
            _ => self.of_all(Look::Demand).await,
        }
    }

    /// What waits in inboxes now.
    pub async fn backlog(&self) -> Vec<Backlog> {
        match self.shared.waiting.load(Relaxed) {
            // No shard is woken to say so.
            0 => Vec::new(),
            _ => self.of_all(Look::Backlog).await,
        }
    }

    /// Waits until something waits in an inbox; see [`Engine::backlog`].
    pub async fn begins_to_wait(&self) {
        while self.shared.waiting.load(Relaxed) == 0 {
            self.shared.waits.notified().await;
        }
    }

    /// What all instances have saved, the newest of each.
    pub async fn saved(&self) -> Vec<(PhysicalId, Bytes)> {
        self.of_all(Look::Saved).await
    }

    /// What all shards say, one after the other.
    async fn of_all<T>(&self, look: impl Fn(oneshot::Sender<Vec<T>>) -> Look) -> Vec<T> {
        let mut all = Vec::new();
        for shard in &self.shared.shards {
            let (done, said) = oneshot::channel();
            if shard.send(Inject::Look(look(done))).await.is_ok() {
                all.append(&mut said.await.unwrap_or_default());
            }
        }
        all
    }

    /// Pauses an instance, or lets it go on: while it is paused it handles nothing, its queue holds as
    /// many messages as ever, and then its senders wait. Answers whether it runs here.
    pub async fn pause(&self, physical_id: PhysicalId, paused: bool) -> bool {
        let (done, known) = oneshot::channel();
        let look = Look::Pause(physical_id, paused, done);
        self.ask(physical_id, look).await && known.await.unwrap_or(false)
    }

    /// Looks at the messages of an instance from now on, until the receiver is dropped; none: it does not
    /// run here.
    pub async fn tap(
        &self,
        physical_id: PhysicalId,
        plan: TapPlan,
    ) -> Option<mpsc::Receiver<Tapped>> {
        let (done, messages) = oneshot::channel();
        let look = Look::Tap(physical_id, plan, done);
        match self.ask(physical_id, look).await {
            true => messages.await.ok()?,
            false => None,
        }
    }

    async fn ask(&self, physical_id: PhysicalId, look: Look) -> bool {
        let Some(gate) = self.shared.gate(physical_id) else {
            return false;
        };
        let shard = &self.shared.shards[gate.shard()];
        shard.send(Inject::Look(look)).await.is_ok()
    }
}
