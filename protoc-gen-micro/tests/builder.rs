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

/// A program that answers as this script says.
#[cfg(unix)]
fn program(folder: &Path, script: &str) -> std::io::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;

    let path = folder.join("program");
    fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[cfg(unix)]
fn refusal_by(script: &str) -> Result<(String, String), Box<dyn std::error::Error>> {
    let folder = protos(&[("hello.proto", HELLO)])?;
    let program = program(folder.path(), script)?;
    let error = builder(folder.path())
        .files(["hello.proto"])
        .protoc(Protoc::Path(program.clone()))
        .compile();
    let error = error.err().ok_or("it was compiled")?.to_string();
    Ok((program.display().to_string(), error))
}

#[cfg(unix)]
#[test]
fn a_program_that_is_no_protoc_is_named() -> TestResult {
    let (program, error) = refusal_by("echo 'unknown option' >&2; exit 3")?;
    let expected = format!(
        "{program} (from Protoc::Path) is no protoc: it ended with exit status: 3 and said unknown option\n"
    );
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("`Protoc::DescriptorSet`"), "{error}");
    let (program, error) = refusal_by("exit 0")?;
    let expected = format!(
        "{program} (from Protoc::Path) is no protoc: it ended with exit status: 0 and said nothing\n"
    );
    assert!(error.starts_with(&expected), "{error}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_protoc_that_is_too_old_is_told() -> TestResult {
    let complaint = "hello.proto: This file contains proto3 optional fields, but \
                     --experimental_allow_proto3_optional was not set.";
    let script = format!(
        "[ \"$1\" = --version ] && exec echo 'libprotoc 3.12.4'\necho '{complaint}' >&2; exit 1"
    );
    let (program, error) = refusal_by(&script)?;
    let expected = format!(
        "{complaint}\nthis is protoc 3.12.4 ({program}, from Protoc::Path), and `optional` in proto3 needs 3.15 \
         or later\n"
    );
    assert!(error.starts_with(&expected), "{error}");
    assert!(error.contains("`vendored-protoc`"), "{error}");
    Ok(())
}

#[test]
fn services_alone_for_a_prost_build_call_of_ones_own() -> TestResult {
    let kinds = r#"
        syntax = "proto3";
        package shop.v1;
        import "hello.proto";
        import "google/protobuf/empty.proto";
        import "google/protobuf/wrappers.proto";
        // Orders.
        service Orders {
            // Places one.
            rpc Place(Order) returns (google.protobuf.Empty) {
                option idempotency_level = IDEMPOTENT;
            }
            rpc Watch(.Request) returns (stream Order.Line);
            rpc Check(google.protobuf.BoolValue) returns (google.protobuf.StringValue);
        }
        message Order { message Line {} }
    "#;
    let folder = protos(&[("hello.proto", HELLO), ("shop.proto", kinds)])?;
    let generate = |generator| -> Result<String, Box<dyn std::error::Error>> {
        prost_build::Config::new()
            .protoc_executable(protoc_bin_vendored::protoc_bin_path()?)
            .out_dir(folder.path())
            .service_generator(generator)
            .compile_protos(
                &["hello.proto", "shop.proto"],
                &[folder.path(), &protoc_bin_vendored::include_path()?],
            )?;
        let text = fs::read_to_string(folder.path().join("shop.v1.rs"))?;
        syn::parse_file(&text)?;
        Ok(text)
    };
    let text = generate(protoc_gen_micro::service_generator())?;
    for expected in [
        "/// Places one.\n        fn place(",
        "pub static PLACE: Method<super::Order, ()>",
        ".idempotency(Idempotency::Idempotent)",
        "pub static WATCH: Method<super::super::super::Request, super::order::Line>",
        "pub static CHECK: Method<bool, ::prost::alloc::string::String>",
        "pub use __orders_exports::*;",
        "pub use super::__orders::{",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let client = Builder::new().server(false).runtime_path("crate::runtime");
    let text = generate(client.service_generator()?)?;
    assert!(!text.contains("OrdersHandler"), "{text}");
    assert!(
        text.contains("use crate::runtime::{Call, Client};"),
        "{text}"
    );

    let error = Builder::new().runtime_path("no path").service_generator();
    let error = error.err().ok_or("it was taken")?.to_string();
    assert!(error.contains("no path"), "{error}");
    Ok(())
}

#[test]
fn what_a_prost_build_call_cannot_be_told_the_compiler_is() -> TestResult {
    let twice = "syntax = \"proto3\"; service S { rpc GetFoo(M) returns (M); rpc get_foo(M) returns (M); } message M {}";
    let folder = protos(&[("twice.proto", twice)])?;
    prost_build::Config::new()
        .protoc_executable(protoc_bin_vendored::protoc_bin_path()?)
        .out_dir(folder.path())
        .service_generator(protoc_gen_micro::service_generator())
        .compile_protos(&["twice.proto"], &[folder.path()])?;
    let text = fs::read_to_string(folder.path().join("_.rs"))?;
    let expected = r#""protoc-gen-micro: service \"S\": more than one of its methods becomes \"get_foo\"; rename one""#;
    assert!(text.contains("::core::compile_error!("), "{text}");
    assert!(text.contains(expected), "{text}");
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
fn packages_are_left_out_with_those_below_them() -> TestResult {
    let shop = |package: &str, import: &str| {
        format!("syntax = \"proto3\"; package {package}; {import} message M {{}}")
    };
    let folder = protos(&[
        (
            "a.proto",
            &shop("shop", "import \"b.proto\"; import \"c.proto\";"),
        ),
        ("b.proto", &shop("shop.money.v1", "")),
        ("c.proto", &shop("shop.moneys", "")),
    ])?;
    for package in ["shop.money", ".shop.money", "shop.money.v1"] {
        let report = builder(folder.path())
            .files(["a.proto", "b.proto", "c.proto"])
            .exclude_package(package)
            .compile()?;
        let names = report.files.iter().filter_map(|path| path.file_name());
        let names: Vec<_> = names.collect();
        assert_eq!(
            names,
            ["_micro.rs", "shop.moneys.rs", "shop.rs"],
            "{package}"
        );
    }
    Ok(())
}

#[test]
fn each_packages_descriptors_hold_all_that_it_imports() -> TestResult {
    use prost::Message as _;

    let top =
        "syntax = \"proto3\"; package top; import \"middle.proto\"; message T { middle.M m = 1; }";
    let middle = "syntax = \"proto3\"; package middle; import public \"bottom.proto\"; import \"google/protobuf/any.proto\"; message M {}";
    let bottom = "syntax = \"proto3\"; package bottom; message B {}";
    let folder = protos(&[
        ("top.proto", top),
        ("middle.proto", middle),
        ("bottom.proto", bottom),
    ])?;
    builder(folder.path())
        .files(["top.proto", "bottom.proto"])
        .file_descriptor_set(true)
        .compile()?;
    let descriptors = |name: &str| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let text = fs::read_to_string(folder.path().join("out").join(name))?;
        let file = syn::parse_file(&text)?;
        let bytes = file.items.iter().find_map(|item| match item {
            syn::Item::Const(item) if item.ident == "FILE_DESCRIPTOR_SET" => match &*item.expr {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::ByteStr(bytes),
                    ..
                }) => Some(bytes.value()),
                _ => None,
            },
            _ => None,
        });
        let set = prost_types::FileDescriptorSet::decode(bytes.ok_or("it has none")?.as_slice())?;
        Ok(set.file.iter().map(|file| file.name().to_owned()).collect())
    };
    assert_eq!(
        descriptors("top.rs")?,
        [
            "bottom.proto",
            "google/protobuf/any.proto",
            "middle.proto",
            "top.proto"
        ]
    );
    assert_eq!(descriptors("bottom.rs")?, ["bottom.proto"]);
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

/// prost-build's code is laid out in one of two ways, the slower of which takes whatever users add to it.
#[test]
fn a_change_that_changes_nothing_gives_the_same_files() -> TestResult {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    for case in ["clash", "kinds", "names", "nested", "proto2", "well_known"] {
        let proto = goldens.join(case).join(format!("{case}.proto"));
        let out = tempfile::tempdir()?;
        let compile = |builder: Builder, folder: &str| -> TestResult {
            builder
                .files([&proto])
                .includes([goldens.join(case)])
                .out_dir(out.path().join(folder))
                .protoc(Protoc::Vendored)
                .emit_rerun(false)
                .compile()?;
            Ok(())
        };
        compile(Builder::new(), "plain")?;
        compile(Builder::new().prost(|_| {}), "changed")?;
        let mut count = 0;
        for entry in fs::read_dir(out.path().join("plain"))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            let changed = fs::read_to_string(out.path().join("changed").join(name))?;
            assert_eq!(fs::read_to_string(&path)?, changed, "{case}: {name:?}");
            count += 1;
        }
        assert!(
            count >= 2,
            "{case}: expected a package and the file that includes it"
        );
    }
    Ok(())
}

/// Packages are generated one by one; what their messages derive depends on messages of others.
#[test]
fn messages_derive_what_those_of_other_packages_allow() -> TestResult {
    let a = r#"
        syntax = "proto3"; package a;
        import "b.proto";
        message Whole { b.Number inner = 1; }
        message Broken { b.Outer.Fraction inner = 1; }
        message Named { b.Text inner = 1; }
    "#;
    let b = r#"
        syntax = "proto3"; package b;
        import "c.proto";
        message Number { c.Deep deep = 1; c.Kind kind = 2; }
        message Outer { message Fraction { c.Half half = 1; } map<string, c.Deep> unused = 2; }
        message Text { c.Tree tree = 1; }
    "#;
    let c = r#"
        syntax = "proto3"; package c;
        enum Kind { KIND_NONE = 0; }
        message Deep { int32 number = 1; }
        message Half { double value = 1; }
        message Tree { Tree left = 1; string name = 2; }
    "#;
    let folder = protos(&[("a.proto", a), ("b.proto", b), ("c.proto", c)])?;
    // One is generated, three are: the same file.
    for files in [&["a.proto"][..], &["a.proto", "b.proto", "c.proto"]] {
        let files = files.iter().map(|name| folder.path().join(name));
        builder(folder.path()).files(files).compile()?;
        let text = fs::read_to_string(folder.path().join("out/a.rs"))?;
        for (name, derived) in [
            ("Whole", "Clone, Copy, PartialEq, Eq, Hash, "),
            ("Broken", "Clone, Copy, PartialEq, "),
            ("Named", "Clone, PartialEq, "),
        ] {
            let before = text.split(&format!("pub struct {name} ")).next();
            let derive = before.and_then(|before| before.rsplit("#[derive(").next());
            let expected = format!("{derived}::micro_runtime::prost::Message)]");
            assert!(
                derive.is_some_and(|derive| derive.starts_with(&expected)),
                "{name}: expected {expected} in\n{text}"
            );
        }
    }
    Ok(())
}
