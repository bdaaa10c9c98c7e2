//! The configuration files of the daemons in the box.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Which ports the box uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Those of the documentation.
    Usual,
    /// Whatever is free.
    Free,
}

impl Ports {
    /// The address for a usual port.
    pub fn url(self, usual: u16) -> String {
        let port = match self {
            Self::Usual => usual,
            Self::Free => 0,
        };
        format!("http://127.0.0.1:{port}")
    }
}

/// What makes one node differ from another.
#[derive(Debug)]
pub struct NodeFile<'a> {
    /// Counts from 1.
    pub number: u16,
    /// Its folder.
    pub dir: PathBuf,
    /// Where ε-ORC takes registrations.
    pub node_register_url: &'a str,
    /// Where its HTTP ingress listens.
    pub http_ingress_url: String,
}
