//! Generates the code that the tests include.

fn main() -> Result<(), protoc_gen_micro::BuildError> {
    protoc_gen_micro::Builder::new()
        .files(["proto/json_test.proto"])
        .includes(["proto"])
        .include_file("_json.rs")
        .compile()?;
    Ok(())
}
