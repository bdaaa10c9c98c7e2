//! Compiles the `.proto` files with a compiler written in Rust, so that no system tool is needed.

use std::error::Error;

const FILES: [&str; 6] = [
    "edgeless/common.proto",
    "edgeless/node.proto",
    "edgeless/invocation.proto",
    "edgeless/domain.proto",
    "edgeless/workflow.proto",
    "edgeless/orders.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    // Payloads, code and state are shared, never copied; ids are short and live briefly.
    tonic_prost_build::configure()
        .bytes(".edgeless.v1")
        .compile_fds(descriptors)?;
    Ok(())
}
