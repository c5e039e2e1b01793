//! Generates the code that the tests include.

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    protoc_gen_micro::compile_protos(
        [
            "proto/e2e.proto",
            "proto/json_test.proto",
            "proto/mirror.proto",
            "peers/proto/peer.proto",
        ],
        ["proto", "peers/proto", "../proto"],
    )
    .map(drop)
}
