//! The program, as protoc runs it and as people do.

#![cfg(feature = "vendored-protoc")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{TestResult, protoc, protos, request};
use prost::Message;
use prost_types::compiler::CodeGeneratorResponse;
use protoc_gen_micro::{Builder, Protoc};

const PLUGIN: &str = env!("CARGO_BIN_EXE_protoc-gen-micro");

const SHOP: &[(&str, &str)] = &[
    (
        "shop/v1/shop.proto",
        "syntax = \"proto3\";\n\
         package shop.v1;\n\
         import \"money.proto\";\n\
         import \"google/protobuf/timestamp.proto\";\n\
         // Sells.\n\
         service Shop { rpc Buy(Order) returns (stream Receipt); }\n\
         message Order { map<string, Money> lines = 1; bytes note = 2; }\n\
         message Receipt { google.protobuf.Timestamp at = 1; }\n",
    ),
    (
        "money.proto",
        "syntax = \"proto3\";\nmessage Money { int64 cents = 1; }\n",
    ),
];

/// Runs the plugin with arguments and bytes on stdin.
fn run(arguments: &[&str], stdin: &[u8]) -> TestResult<Output> {
    let mut child = Command::new(PLUGIN)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A plugin that prints its usage does not read.
        let _ = pipe.write_all(stdin);
    }
    Ok(child.wait_with_output()?)
}

/// All files below a folder, by their paths.
fn files(root: &Path) -> TestResult<BTreeMap<String, String>> {
    fn visit(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) -> TestResult {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                visit(root, &path, found)?;
            } else {
                let name = path
                    .strip_prefix(root)?
                    .to_string_lossy()
                    .replace('\\', "/");
                found.insert(name, fs::read_to_string(&path)?);
            }
        }
        Ok(())
    }
    let mut found = BTreeMap::new();
    visit(root, root, &mut found)?;
    Ok(found)
}

/// Runs protoc with the plugin and gives what it wrote.
fn through_protoc(
    folder: &Path,
    options: &[&str],
    names: &[&str],
) -> TestResult<(Output, BTreeMap<String, String>)> {
    let out = tempfile::tempdir()?;
    let mut plugin = std::ffi::OsString::from("--plugin=protoc-gen-micro=");
    plugin.push(PLUGIN);
    let mut micro_out = std::ffi::OsString::from("--micro_out=");
    micro_out.push(out.path());
    let output = protoc(&[folder])?
        .arg(plugin)
        .arg(micro_out)
        .args(options)
        .args(names)
        .output()?;
    Ok((output, files(out.path())?))
}

#[test]
fn protoc_and_build_scripts_get_the_same_code() -> TestResult {
    let folder = protos(SHOP)?;
    let names = ["shop/v1/shop.proto", "money.proto"];
    let options = [
        "--micro_opt=include_file=_micro.rs",
        "--micro_opt=btree_map=.,bytes=Order.note",
    ];
    let (output, by_plugin) = through_protoc(folder.path(), &options, &names)?;
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");

    let out = tempfile::tempdir()?;
    Builder::new()
        .files(names)
        .includes([folder.path()])
        .out_dir(out.path())
        .protoc(Protoc::Vendored)
        .btree_map(["."])
        .bytes(["Order.note"])
        .emit_rerun(false)
        .compile()?;
    assert_eq!(by_plugin, files(out.path())?);
    assert_eq!(
        by_plugin.keys().collect::<Vec<_>>(),
        ["_.rs", "_micro.rs", "shop.v1.rs"]
    );
    Ok(())
}

#[test]
fn only_packages_that_were_asked_for_are_written() -> TestResult {
    let folder = protos(SHOP)?;
    let (output, written) = through_protoc(folder.path(), &[], &["shop/v1/shop.proto"])?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(written.keys().collect::<Vec<_>>(), ["shop.v1.rs"]);
    Ok(())
}

#[test]
fn protoc_prints_what_the_plugin_finds() -> TestResult {
    let folder = protos(&[(
        "a.proto",
        "syntax = \"proto3\";\nmessage AB {}\nmessage Ab {}\n",
    )])?;
    let (output, written) = through_protoc(folder.path(), &[], &["a.proto"])?;
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8(output.stderr)?,
        "--micro_out: a.proto:3: messages \"AB\" and \"Ab\" of the files without a package both become \"Ab\"; rename one\n"
    );
    assert_eq!(written, BTreeMap::new());
    Ok(())
}

#[test]
fn protoc_accepts_the_announced_editions() -> TestResult {
    for edition in ["2023", "2024"] {
        let text = format!("edition = \"{edition}\";\nmessage M {{ int32 a = 1; }}\n");
        let folder = protos(&[("a.proto", &text)])?;
        let (output, written) = through_protoc(folder.path(), &[], &["a.proto"])?;
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        assert!(written["_.rs"].contains("pub a: ::core::option::Option<i32>"));
    }
    Ok(())
}

#[test]
fn a_later_edition_is_told_the_way_out() -> TestResult {
    let folder = protos(&[("a.proto", "\nedition = \"2026\";\nmessage M {}\n")])?;
    let (output, written) =
        through_protoc(folder.path(), &["--experimental_editions"], &["a.proto"])?;
    assert!(!output.status.success());
    // Before it, protoc says in its own words that the plugin does not announce this edition.
    let stderr = String::from_utf8(output.stderr)?;
    let expected = concat!(
        "--micro_out: a.proto:2: edition 2026 is not supported by protoc-gen-micro ",
        env!("CARGO_PKG_VERSION"),
        ", which reads proto2, proto3, and editions 2023 and 2024: write `edition = \"2024\";` in place of it, or \
         use a newer version\n"
    );
    assert_eq!(stderr, expected);
    assert_eq!(written, BTreeMap::new());
    Ok(())
}

#[test]
fn protoc_prints_which_parameters_there_are() -> TestResult {
    let folder = protos(SHOP)?;
    let (output, _) = through_protoc(folder.path(), &["--micro_opt=clients"], &["money.proto"])?;
    let stderr = String::from_utf8(output.stderr)?;
    assert!(
        stderr.starts_with(
            "--micro_out: unknown parameter \"clients\": expected one of messages, client, "
        ),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn warnings_reach_the_terminal() -> TestResult {
    let folder = protos(&[(
        "a.proto",
        "syntax = \"proto3\";\nservice A {}\nmessage AHandler {}\n",
    )])?;
    let (output, written) = through_protoc(folder.path(), &[], &["a.proto"])?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(written.len(), 1);
    assert_eq!(
        String::from_utf8(output.stderr)?,
        "warning: a.proto:2: service \"A\" of the files without a package cannot have \"AHandler\" at the \
         package's level, where another item has that name; use a::AHandler\n"
    );
    Ok(())
}

#[test]
fn a_finding_is_a_response_with_exit_status_0() -> TestResult {
    let folder = protos(SHOP)?;
    let request = request(&[folder.path()], &["money.proto"], "json=perhaps")?;
    let output = run(&[], &request.encode_to_vec())?;
    assert_eq!(output.status.code(), Some(0));
    let response = CodeGeneratorResponse::decode(output.stdout.as_slice())?;
    assert_eq!(
        response.error(),
        "parameter \"json\": expected true or false, found \"perhaps\""
    );
    assert_eq!(
        response.supported_features(),
        3,
        "proto3's optional, and editions"
    );
    assert!(response.file.is_empty());
    Ok(())
}

#[test]
fn what_is_no_request_is_told_on_stderr_with_exit_status_1() -> TestResult {
    let folder = protos(SHOP)?;
    let whole = request(&[folder.path()], &["money.proto"], "")?.encode_to_vec();
    let truncated = whole.get(..whole.len() / 2).unwrap_or_default();
    for (what, stdin) in [
        ("empty", &[][..]),
        ("garbage", b"GET / HTTP/1.1\r\n"),
        ("truncated", truncated),
    ] {
        let output = run(&[], stdin)?;
        assert_eq!(output.status.code(), Some(1), "{what}");
        assert!(output.stdout.is_empty(), "{what}");
        let stderr = String::from_utf8(output.stderr)?;
        assert!(
            stderr.starts_with("protoc-gen-micro: cannot read the code generator request: "),
            "{what}: {stderr}"
        );
        assert!(!stderr.contains("panicked"), "{what}: {stderr}");
    }
    Ok(())
}

#[test]
fn no_cut_of_a_request_makes_it_panic() -> TestResult {
    let folder = protos(SHOP)?;
    let whole = request(&[folder.path()], &["shop/v1/shop.proto"], "")?.encode_to_vec();
    for length in 0..whole.len() {
        // Cut between two fields, a request is shorter but whole; whatever is missing then is told.
        let result = protoc_gen_micro::generate(whole.get(..length).unwrap_or_default());
        if let Err(error) = result {
            assert!(
                !error.to_string().contains("prost-build"),
                "{length}: {error}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_request_without_the_file_it_asks_for() -> TestResult {
    let folder = protos(SHOP)?;
    let mut request = request(&[folder.path()], &["money.proto"], "")?;
    request.proto_file.clear();
    let output = run(&[], &request.encode_to_vec())?;
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr)?;
    assert!(
        stderr.contains("the request asks for money.proto but does not hold it"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn arguments() -> TestResult {
    for version in ["--version", "-V"] {
        let output = run(&[version], &[])?;
        assert_eq!(output.status.code(), Some(0));
        let expected = format!("protoc-gen-micro {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8(output.stdout)?, expected);
    }
    for help in ["--help", "-h"] {
        let output = run(&[help], &[])?;
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout)?;
        for part in [
            "--micro_out=src/gen",
            "extern_path",
            "runtime_path",
            "--version",
        ] {
            assert!(text.contains(part), "{part} is missing in: {text}");
        }
    }
    for wrong in [&["hello.proto"][..], &["--version", "--help"], &["-x"]] {
        let output = run(wrong, &[])?;
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty());
        let stderr = String::from_utf8(output.stderr)?;
        assert!(
            stderr.starts_with(&format!("unexpected arguments: {}\n", wrong.join(" "))),
            "{stderr}"
        );
        assert!(stderr.contains("Parameters:"), "{stderr}");
    }
    Ok(())
}
