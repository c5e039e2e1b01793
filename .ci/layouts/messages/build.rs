//! Messages, with JSON; no services.

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    protoc_gen_micro::Builder::new()
        .files(["../proto/shop/v1/shop.proto", "../proto/shop/money/v1/money.proto"])
        .includes(["../proto"])
        .client(false)
        .server(false)
        .compile()
        .map(drop)
}
