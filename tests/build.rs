//! Generates the code that the tests include.

use std::path::PathBuf;

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    protoc_gen_micro::Builder::new()
        .files([
            "proto/e2e.proto",
            "proto/json_test.proto",
            "proto/json_types.proto",
            "peers/proto/peer.proto",
        ])
        .includes(["proto", "peers/proto", "../proto"])
        .include_file("_micro.rs")
        .file_descriptor_set(true)
        .compile()?;

    // Once more, with the well-known types compiled too.
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from);
    let own = out.unwrap_or_default().join("own");
    std::fs::create_dir_all(&own).expect("a folder below OUT_DIR can be made");
    let known = [
        "any",
        "duration",
        "empty",
        "field_mask",
        "struct",
        "timestamp",
        "wrappers",
    ];
    protoc_gen_micro::Builder::new()
        .files(known.map(|name| format!("google/protobuf/{name}.proto")))
        .files(["proto/json_test.proto"])
        .includes(["proto"])
        .out_dir(own)
        .include_file("_micro.rs")
        .compile_well_known_types()
        .compile()
        .map(drop)
}
