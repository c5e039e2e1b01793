//! Handlers alone, one package from elsewhere, descriptors for reflection.

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    protoc_gen_micro::Builder::new()
        .files(["../proto/shop/v1/shop.proto"])
        .includes(["../proto"])
        .client(false)
        .extern_path(".shop.money.v1", "::messages::shop::money::v1")
        .extern_json(".shop.money.v1")
        .file_descriptor_set(true)
        .compile()
        .map(drop)
}
