//! Clients alone, files in folders, an include file of another name.

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    protoc_gen_micro::Builder::new()
        .files(["../proto/shop/v1/shop.proto", "../proto/shop/money/v1/money.proto"])
        .includes(["../proto"])
        .server(false)
        .nested_layout(true)
        .include_file("all.rs")
        .compile()
        .map(drop)
}
