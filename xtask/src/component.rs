//! Makes components of core modules, without a tool of the system.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::process;

/// What bindings leave in a module that says which world it is of.
const MARK: &[u8] = b"component-type";

/// The component that a core module is the inside of. A module without bindings is taken to be of the
/// world in `node/wit`.
///
/// # Errors
/// The imports and exports of the module are not those of its world.
pub(crate) fn encode(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut module = module.to_vec();
    if !module.windows(MARK.len()).any(|bytes| bytes == MARK) {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_path(process::root().join("node/wit"))?;
        let world = resolve.select_world(&[package], Some("function"))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    }
    ComponentEncoder::default()
        .module(&module)?
        .validate(true)
        .encode()
}
