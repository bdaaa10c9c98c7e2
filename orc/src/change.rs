//! What changed in a domain, as mirror and datasets are told.

use std::sync::Arc;

use edgeless_types::{
    DomainId, LogicalId, NodeCapabilities, NodeHealth, NodeId, ProviderId, ResourceProvider,
    Samples, Timestamp, WorkflowId,
    intent::IntentOutcome,
    mirror::{ActiveInstance, Bottleneck, Dependencies, ScalingDecision},
};

/// One change and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

impl Change {
    /// About how much memory it takes, in samples.
    pub(crate) fn weight(&self) -> usize {
        match &self.what {
            What::Samples(_, samples) => {
                1 + samples.times.len() + 4 * samples.logs.len() + samples.summaries.len()
            }
            What::Instance(_) => 20,
            What::Reset(_)
            | What::Node(..)
            | What::NodeGone(_)
            | What::Health(..)
            | What::Provider(_)
            | What::ProviderGone(_)
            | What::InstanceGone(_)
            | What::Dependencies(..)
            | What::DependenciesGone(_)
            | What::Intent(_)
            | What::Bottleneck(..)
            | What::Scaling(_) => 4,
        }
    }
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Everything before is void: this domain begins.
    Reset(DomainId),
    /// A node joined or its capabilities changed.
    Node(NodeId, Arc<NodeCapabilities>),
    /// A node left or was lost.
    NodeGone(NodeId),
    /// A node said how it is.
    Health(NodeId, NodeHealth),
    /// A provider was announced.
    Provider(ResourceProvider),
    /// A provider left with its node.
    ProviderGone(ProviderId),
    /// A vertex is desired, or where it runs changed.
    Instance(Box<ActiveInstance>),
    /// A vertex is not desired any more.
    InstanceGone(LogicalId),
    /// Where the outputs of a vertex lead.
    Dependencies(LogicalId, Dependencies),
    /// The vertex is gone, and so are its dependencies.
    DependenciesGone(LogicalId),
    /// What a node measured.
    Samples(NodeId, Arc<Samples>),
    /// Another number of copies of a function was decided.
    Scaling(Box<ScalingDecision>),
    /// What limits a workflow; none: nothing happens any more.
    Bottleneck(WorkflowId, Option<Box<Bottleneck>>),
    /// What became of an intent.
    Intent(IntentOutcome),
}
