//! Generates the code that the tests include.

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    protoc_gen_micro::Builder::new()
        .files([
            "proto/e2e.proto",
            "proto/json_test.proto",
            "peers/proto/peer.proto",
        ])
        .includes(["proto", "peers/proto", "../proto"])
        .include_file("_micro.rs")
        .file_descriptor_set(true)
        .compile()
        .map(drop)
}
