//! Generates the code that the tests include.

use std::path::PathBuf;

use protoc_gen_micro::{BuildError, Builder};

fn main() -> Result<(), BuildError> {
    constructs()?;
    Builder::new()
        .files([
            "proto/e2e.proto",
            "proto/json_test.proto",
            "proto/json_types.proto",
            "proto/mirror.proto",
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
    Builder::new()
        .files(known.map(|name| format!("google/protobuf/{name}.proto")))
        .files(["proto/json_test.proto"])
        .includes(["proto"])
        .out_dir(own)
        .include_file("_micro.rs")
        .compile_well_known_types()
        .compile()
        .map(drop)
}

/// The code for `tests/constructs`, in a folder of its own: no other test is to wait for it.
fn constructs() -> Result<(), BuildError> {
    println!("cargo::rerun-if-changed=proto/constructs");
    let names = [
        "conflicts",
        "defaults",
        "edition2023",
        "edition2024",
        "maps",
        "option",
        "other",
        "proto2",
        "proto3",
        "recursion",
        "visible",
        "ways",
    ];
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("constructs");
    Builder::new()
        .files(names.map(|name| format!("proto/constructs/{name}.proto")))
        .includes(["proto"])
        .btree_map([".constructs.maps"])
        .bytes([".constructs.defaults.Required", ".constructs.proto3"])
        .include_file("mod.rs")
        .file_descriptor_set(true)
        .out_dir(out)
        // It would print the warnings too, which are meant.
        .emit_rerun(false)
        .compile()
        .map(drop)
}
