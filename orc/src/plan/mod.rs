//! Decides where instances go: pure.

pub mod feasible;
pub mod strategy;

use edgeless_types::{
    NodeCapabilities, NodeHealth, NodeId, Requirements, ResourceProvider, workflow::VertexSpec,
};

/// What planning knows of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView<'a> {
    /// Its id.
    pub node_id: NodeId,
    /// What it can do.
    pub capabilities: &'a NodeCapabilities,
    /// What it provides.
    pub providers: &'a [ResourceProvider],
    /// How it was when it last said so.
    pub health: Option<&'a NodeHealth>,
    /// How many instances are there or on their way.
    pub instances: usize,
    /// Whether it takes nothing new: cordoned or leaving.
    pub closed: bool,
}

/// What is to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// What it is.
    pub spec: &'a VertexSpec,
    /// What its node must offer.
    pub requirements: &'a Requirements,
}
