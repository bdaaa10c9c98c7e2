//! Where peers take messages: learnt from patches and from peers that open a stream.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use edgeless_types::NodeId;

/// Peers and their invocation URLs; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Peers(Arc<RwLock<HashMap<NodeId, Arc<str>>>>);

impl Peers {
    /// A peer is there now.
    pub fn learn(&self, node_id: NodeId, invocation_url: &str) {
        if invocation_url.is_empty() || self.url(node_id).as_deref() == Some(invocation_url) {
            return;
        }
        let mut peers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        peers.insert(node_id, invocation_url.into());
    }

    /// Where a peer is, if that is known.
    pub fn url(&self, node_id: NodeId) -> Option<Arc<str>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&node_id)
            .cloned()
    }
}
