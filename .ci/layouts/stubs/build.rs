//! Services over the messages of another crate, which has our JSON mapping.

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    let report = protoc_gen_micro::Builder::new()
        .files(["../proto/shop/v1/shop.proto"])
        .includes(["../proto", "@root@/proto"])
        .message_module("::messages")
        .extern_json(".")
        .compile()?;
    assert_eq!(report.warnings, []);
    Ok(())
}
