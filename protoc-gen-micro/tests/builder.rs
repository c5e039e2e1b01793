//! The library as build scripts use it: with the vendored protoc, into a folder.

#![cfg(feature = "vendored-protoc")]

use std::fs;
use std::path::Path;

use protoc_gen_micro::{Builder, Protoc};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const HELLO: &str = r#"
    syntax = "proto3";
    service Hello { rpc Ping(Request) returns (Response) {} }
    message Request { string name = 1; }
    message Response { string msg = 1; }
"#;

/// A folder with these .proto files.
fn protos(files: &[(&str, &str)]) -> std::io::Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, text) in files {
        let path = folder.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)?;
    }
    Ok(folder)
}

fn builder(folder: &Path) -> Builder {
    Builder::new()
        .includes([folder])
        .out_dir(folder.join("out"))
        .protoc(Protoc::Vendored)
        .emit_rerun(false)
}

#[test]
fn writes_a_file_per_package_and_one_that_includes_them() -> TestResult {
    let shop = "syntax = \"proto3\"; package shop.v1; message Order { string id = 1; }";
    let folder = protos(&[("hello.proto", HELLO), ("shop/v1/shop.proto", shop)])?;
    let files = ["hello.proto", "shop/v1/shop.proto"].map(|name| folder.path().join(name));
    let report = builder(folder.path()).files(files).compile()?;
    let names: Vec<_> = report
        .files
        .iter()
        .filter_map(|path| path.file_name())
        .collect();
    assert_eq!(names, ["_.rs", "_micro.rs", "shop.v1.rs"]);
    assert_eq!(report.warnings, []);
    let include = fs::read_to_string(folder.path().join("out/_micro.rs"))?;
    assert!(include.contains("include!(\"_.rs\");"), "{include}");
    assert!(include.contains("pub mod shop {"), "{include}");
    assert!(include.contains("include!(\"shop.v1.rs\");"), "{include}");
    Ok(())
}

#[test]
fn a_file_that_has_not_changed_is_not_written() -> TestResult {
    let folder = protos(&[("hello.proto", HELLO)])?;
    let build = || {
        builder(folder.path())
            .files([folder.path().join("hello.proto")])
            .compile()
    };
    build()?;
    let generated = folder.path().join("out/_.rs");
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::options()
        .write(true)
        .open(&generated)?
        .set_modified(long_ago)?;
    build()?;
    assert_eq!(fs::metadata(&generated)?.modified()?, long_ago);
    Ok(())
}

#[test]
fn files_are_named_by_path_or_as_imports_name_them() -> TestResult {
    let folder = protos(&[("hello.proto", HELLO)])?;
    let by_path = builder(folder.path())
        .files([folder.path().join("hello.proto")])
        .compile()?;
    let by_name = builder(folder.path()).files(["hello.proto"]).compile()?;
    assert_eq!(by_path, by_name);
    Ok(())
}

/// What `compile` says of a file that is wrong.
fn refusal(folder: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let result = builder(folder).files([folder.join("bad.proto")]).compile();
    let error = result.err().ok_or("it was compiled")?;
    // cargo prints a build script's error by `Debug`.
    assert_eq!(format!("{error:?}"), error.to_string());
    Ok(error.to_string())
}

#[test]
fn protoc_itself_says_where_a_syntax_error_is() -> TestResult {
    let bad = "syntax = \"proto3\";\n\nmessage Order { string id = ; }\n";
    let folder = protos(&[("bad.proto", bad)])?;
    let file = folder.path().join("bad.proto").display().to_string();
    assert_eq!(
        refusal(folder.path())?,
        format!("{file}:3:29: Expected field number.")
    );
    Ok(())
}

#[test]
fn protoc_itself_says_which_import_is_missing() -> TestResult {
    let folder = protos(&[(
        "bad.proto",
        "syntax = \"proto3\";\nimport \"shop.proto\";\n",
    )])?;
    let file = folder.path().join("bad.proto").display().to_string();
    assert_eq!(
        refusal(folder.path())?,
        format!(
            "shop.proto: File not found.\n\
             {file}:2:1: Import \"shop.proto\" was not found or had errors."
        )
    );
    Ok(())
}

#[test]
fn a_finding_names_the_file_on_disk() -> TestResult {
    let folder = protos(&[(
        "bad.proto",
        "syntax = \"proto3\";\nmessage AB {}\nmessage Ab {}\n",
    )])?;
    let file = folder.path().join("bad.proto").display().to_string();
    assert_eq!(
        refusal(folder.path())?,
        format!(
            "{file}:3: messages \"AB\" and \"Ab\" of the files without a package both become \"Ab\"; rename one"
        )
    );
    Ok(())
}

#[test]
fn a_missing_protoc_names_the_ways_out() -> TestResult {
    let folder = protos(&[("bad.proto", HELLO)])?;
    let protoc = folder.path().join("no-protoc");
    let error = builder(folder.path())
        .files(["bad.proto"])
        .protoc(Protoc::Path(protoc.clone()))
        .compile()
        .err()
        .ok_or("it was compiled")?
        .to_string();
    let expected = format!(
        "cannot run protoc ({}, from Protoc::Path): ",
        protoc.display()
    );
    assert!(error.starts_with(&expected), "{error}");
    for way in [
        "`vendored-protoc`",
        "PROTOC",
        "apt-get install",
        "`Protoc::DescriptorSet`",
    ] {
        assert!(error.contains(way), "{way} is missing in: {error}");
    }
    Ok(())
}

#[test]
fn a_descriptor_set_needs_no_protoc() -> TestResult {
    let folder = protos(&[("hello.proto", HELLO)])?;
    let set = folder.path().join("set.pb");
    let status = std::process::Command::new(protoc_bin_vendored::protoc_bin_path()?)
        .args(["--include_imports", "--include_source_info", "hello.proto"])
        .arg("-I")
        .arg(folder.path())
        .arg("-o")
        .arg(&set)
        .status()?;
    assert!(status.success());
    let direct = builder(folder.path()).files(["hello.proto"]).compile()?;
    let before = fs::read_to_string(folder.path().join("out/_.rs"))?;
    for build in [
        builder(folder.path()),
        builder(folder.path()).files(["hello.proto"]),
    ] {
        let report = build.protoc(Protoc::DescriptorSet(set.clone())).compile()?;
        assert_eq!(report, direct);
        assert_eq!(fs::read_to_string(folder.path().join("out/_.rs"))?, before);
    }
    let error = builder(folder.path())
        .files(["other.proto"])
        .protoc(Protoc::DescriptorSet(set))
        .compile();
    assert_eq!(
        error.err().ok_or("it was compiled")?.to_string(),
        "other.proto is not among the descriptors: expected one of hello.proto"
    );
    Ok(())
}

#[test]
fn prost_build_itself_can_be_set() -> TestResult {
    let folder = protos(&[("hello.proto", HELLO)])?;
    builder(folder.path())
        .files(["hello.proto"])
        .prost(|config| {
            config.enable_type_names();
        })
        .compile()?;
    let generated = fs::read_to_string(folder.path().join("out/_.rs"))?;
    assert!(
        generated.contains("impl ::micro_runtime::prost::Name for Request"),
        "{generated}"
    );
    Ok(())
}

#[test]
fn nothing_to_do_is_an_error() -> TestResult {
    let folder = protos(&[])?;
    let error = builder(folder.path())
        .compile()
        .err()
        .ok_or("it was compiled")?;
    assert_eq!(
        error.to_string(),
        "there are no files to generate code for: name some with `files`"
    );
    Ok(())
}
