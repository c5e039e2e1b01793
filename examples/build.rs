//! Generates the code of every example's proto.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    protoc_gen_micro::compile_protos(
        [
            "../proto/hello.proto",
            "proto/numbers.proto",
            "proto/orders.proto",
        ],
        ["../proto", "proto"],
    )?;
    Ok(())
}
