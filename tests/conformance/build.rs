//! Generates the suite's messages, if `MICRO_CONFORMANCE_PROTOS` names the folder that holds them.
//!
//! They are not ours, so they are not kept here. `.ci/steps/conformance.sh` gets them along with the suite, and sets
//! the variable. Without it the rest of the workspace builds all the same.

use std::path::PathBuf;

/// Every message that the suite asks for, and its own protocol.
const FILES: [&str; 6] = [
    "conformance/conformance.proto",
    "google/protobuf/test_messages_edition2023.proto",
    "google/protobuf/test_messages_proto2.proto",
    "google/protobuf/test_messages_proto2_editions.proto",
    "google/protobuf/test_messages_proto3.proto",
    "google/protobuf/test_messages_proto3_editions.proto",
];

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    println!("cargo::rustc-check-cfg=cfg(has_protos)");
    println!("cargo::rerun-if-env-changed=MICRO_CONFORMANCE_PROTOS");
    let Some(folder) = std::env::var_os("MICRO_CONFORMANCE_PROTOS").map(PathBuf::from) else {
        println!("cargo::rerun-if-changed=build.rs");
        return Ok(());
    };
    println!("cargo::rustc-cfg=has_protos");
    protoc_gen_micro::compile_protos(FILES.map(|file| folder.join(file)), [&folder]).map(drop)
}
