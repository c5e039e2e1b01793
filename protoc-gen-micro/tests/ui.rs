//! What the compiler says to the mistakes that are made in handlers.
//!
//! The texts are those of one version of Rust: `.ci/run ui` runs this with it. `TRYBUILD=overwrite` writes them
//! anew, and `UPDATE_GOLDEN=1` the service that they are about.

#[path = "common/mod.rs"]
mod common;

use std::path::Path;

use common::TestResult;
use prost::Message;
use protoc_gen_micro::generate;

#[test]
fn mistakes_in_handlers_are_explained() -> TestResult {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let request = common::request(&[&folder], &["greeter.proto"], "")?;
    let generated = generate(&request.encode_to_vec())?;
    let file = generated.files.first().ok_or("expected a file")?;
    let path = folder.join("greeter.rs");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &file.content)?;
    }
    assert_eq!(
        file.content,
        std::fs::read_to_string(&path)?,
        "if that is meant: UPDATE_GOLDEN=1 TRYBUILD=overwrite .ci/run ui"
    );

    let tests = trybuild::TestCases::new();
    tests.pass("tests/ui/right.rs");
    for mistake in [
        "missing_rpc",
        "wrong_request",
        "wrong_reply",
        "wrong_stream",
        "no_handler",
        "not_send",
    ] {
        tests.compile_fail(format!("tests/ui/{mistake}.rs"));
    }
    Ok(())
}
