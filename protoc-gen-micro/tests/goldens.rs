//! What is generated for small protos, byte for byte: `tests/goldens/<case>/*.proto` and, beside them, the
//! files made of them. `tests/compile.rs` compiles these.
//!
//! `UPDATE_GOLDEN=1 cargo test -p protoc-gen-micro --test goldens` writes them anew.

#![cfg(feature = "vendored-protoc")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::TestResult;
use prost::Message;
use protoc_gen_micro::{Generated, generate};

/// One folder: its name, the files to generate code for, and the parameter.
struct Case {
    name: &'static str,
    files: &'static [&'static str],
    parameter: &'static str,
    warnings: &'static [&'static str],
}

const fn case(name: &'static str, files: &'static [&'static str], parameter: &'static str) -> Case {
    Case {
        name,
        files,
        parameter,
        warnings: &[],
    }
}

const CASES: &[Case] = &[
    case("hello", &["hello.proto"], ""),
    case("kinds", &["kinds.proto"], ""),
    case("nested", &["nested.proto"], ""),
    case("well_known", &["well_known.proto"], ""),
    case("names", &["names.proto"], ""),
    Case {
        name: "clash",
        files: &["clash.proto"],
        parameter: "",
        warnings: &[
            "clash.proto:6: service \"Foo\" of package golden.clash cannot have \"FooHandler\" and \"FooService\" and \
             \"new_foo_service\" at the package's level, where another item has that name; use foo_rpc::FooHandler \
             and foo_rpc::FooService and foo_rpc::new_foo_service",
            "clash.proto:11: service \"FooService\" of package golden.clash cannot have \"FooService\" and \
             \"new_foo_service\" at the package's level, where another item has that name; use \
             foo_service::FooService and foo_service::new_foo_service",
            "clash.proto:16: service \"Bar_\" of package golden.clash cannot have \"BarService\" at the package's \
             level, where another item has that name; use bar::BarService",
        ],
    },
    case(
        "packages",
        &["a/one.proto", "a/two.proto", "b/other.proto", "top.proto"],
        "include_file",
    ),
    Case {
        name: "proto2",
        files: &["proto2.proto"],
        parameter: "",
        warnings: &[
            "proto2.proto:19: extensions are ignored (reading skips them): the range of Legacy_ (line 19); extra of \
             Legacy_ (line 28)",
        ],
    },
    Case {
        name: "editions",
        files: &["editions.proto"],
        parameter: "",
        warnings: &[
            "editions.proto:30: extensions are ignored (reading skips them): the range of Tree (line 30)",
        ],
    },
    case("ext", &["ext.proto", "plain.proto"], ""),
    Case {
        name: "elsewhere",
        files: &["elsewhere.proto"],
        parameter: "extern_path=.ext.v1=crate::ext::v1,extern_json=.ext.v1,extern_path=.plain.v1=crate::plain::v1",
        warnings: &[
            "types of package plain.v1 come from elsewhere without our JSON mapping, so these speak protobuf alone: \
             golden.elsewhere.Mixed.Plain, golden.elsewhere.PlainHolder; if they were generated with it, say \
             extern_json=.plain.v1",
        ],
    },
    Case {
        name: "stubs",
        files: &["stubs.proto"],
        parameter: "message_module=crate::stub_messages",
        warnings: &[
            "types of package golden.stubs come from elsewhere without our JSON mapping, so these speak protobuf \
             alone: golden.stubs.Part.Chat, golden.stubs.Part.Unary; if they were generated with it, say \
             extern_json=.golden.stubs",
        ],
    },
    case(
        "client_only",
        &["client_only.proto"],
        "server=false,json=false",
    ),
    case("server_only", &["server_only.proto"], "client=false"),
    case(
        "empty",
        &["empty.proto", "blank.proto"],
        "layout=nested,include_file=all.rs,default_package_filename=root",
    ),
    case(
        "deprecated",
        &["deprecated.proto", "gone.proto", "user.proto"],
        "",
    ),
    Case {
        name: "http",
        files: &["http.proto"],
        parameter: "",
        warnings: &[
            "http.proto:36: rpc \"golden.http.Orders.Wrong\": a rule of google.api.http is left out: \
             its body is \"order\", but message \"golden.http.GetRequest\" has no such field",
            "http.proto:36: rpc \"golden.http.Orders.Wrong\": a rule of google.api.http is left out: \
             its custom kind \"\" is no HTTP method; expected one such as HEAD, or \"*\" for any",
            "http.proto:36: rpc \"golden.http.Orders.Wrong\": a rule of google.api.http is left out: \
             its path is missing; expected one of get, put, post, delete, patch, custom",
            "http.proto:36: rpc \"golden.http.Orders.Wrong\": a rule of google.api.http is left out: \
             its response_body is \"order\", but message \"golden.http.Order\" has no such field",
            "http.proto:36: rpc \"golden.http.Orders.Wrong\": a rule of google.api.http is left out: \
             the path \"/v1/{id}\" has the variable \"id\", but message \"golden.http.GetRequest\" has no field \"id\"",
            "http.proto:36: rpc \"golden.http.Orders.Wrong\": a rule of google.api.http is left out: \
             the path \"/v1/{name.first}\" has the variable \"name.first\", but the field \"name\" of message \"golden.http.GetRequest\" is no message",
            "http.proto:36: rpc \"golden.http.Orders.Wrong\": a rule of google.api.http is left out: \
             the path \"/v1/{tags}\" has the variable \"tags\", but the field \"tags\" of message \"golden.http.GetRequest\" is repeated",
            "http.proto:36: rpc \"golden.http.Orders.Wrong\": a rule of google.api.http is left out: \
             the path \"v1/orders\" is no template: it does not begin with \"/\"; expected one such as /v1/{name=orders/*}:cancel",
        ],
    },
    case(
        "options",
        &["options.proto"],
        "btree_map=.,bytes=.golden.options.Sample.shared,boxed=Sample.plain,boxed=Sample.choice.held,\
         disable_comments=Sample.note,retain_enum_prefix,file_descriptor_set,\
         type_attribute=Plain=#[derive(PartialOrd\\,Ord)],field_attribute=Plain.number=#[doc = \"Counts.\"]",
    ),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goldens")
        .join(name)
}

fn request(case: &Case) -> TestResult<common::Request> {
    let (own, ext) = (folder(case.name), folder("ext"));
    // Where google/api/annotations.proto is.
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    common::request(&[&own, &ext, &shared], case.files, case.parameter)
}

fn run(case: &Case) -> TestResult<Generated> {
    let request = request(case)?;
    Ok(generate(&request.encode_to_vec())?)
}

/// All .rs files of a folder, relative to it.
fn generated_files(root: &Path, below: &Path, found: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(below)? {
        let path = entry?.path();
        if path.is_dir() {
            generated_files(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            found.insert(relative.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

#[test]
fn generated_code_is_as_reviewed() -> TestResult {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differences = Vec::new();
    for case in CASES {
        let generated = run(case).map_err(|error| format!("{}: {error}", case.name))?;
        let warnings: Vec<String> = generated.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, case.warnings, "{}", case.name);
        let root = folder(case.name);
        let mut stale = BTreeSet::new();
        generated_files(&root, &root, &mut stale)?;
        for file in &generated.files {
            stale.remove(&file.name);
            let path = root.join(&file.name);
            let before = fs::read_to_string(&path).unwrap_or_default();
            if before == file.content {
                continue;
            }
            if update {
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::write(&path, &file.content)?;
            } else {
                let line = before
                    .lines()
                    .zip(file.content.lines())
                    .take_while(|(a, b)| a == b)
                    .count()
                    + 1;
                differences.push(format!("{}:{line} differs", path.display()));
            }
        }
        for name in stale {
            if update {
                fs::remove_file(root.join(&name))?;
            } else {
                differences.push(format!(
                    "{}/{name} is not generated any more",
                    root.display()
                ));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "{}\nif that is meant: UPDATE_GOLDEN=1 cargo test -p protoc-gen-micro --test goldens",
        differences.join("\n")
    );
    Ok(())
}

#[test]
fn every_generated_file_is_rust() -> TestResult {
    for case in CASES {
        for file in run(case)?.files {
            syn::parse_file(&file.content)
                .map_err(|error| format!("{}/{}: {error}", case.name, file.name))?;
        }
    }
    Ok(())
}

#[test]
fn equal_requests_give_equal_files_whatever_the_order() -> TestResult {
    for case in CASES {
        let mut request = request(case)?;
        let first = generate(&request.encode_to_vec())?;
        assert_eq!(first, generate(&request.encode_to_vec())?, "{}", case.name);
        request.file_to_generate.reverse();
        request.proto_file.reverse();
        assert_eq!(first, generate(&request.encode_to_vec())?, "{}", case.name);
    }
    Ok(())
}

/// JSON for a package's messages may be twice as long as the messages themselves, as prost writes them.
#[test]
fn json_is_at_most_twice_as_long_as_the_messages() -> TestResult {
    let size = |case: &Case, json: bool| -> TestResult<usize> {
        let mut request = request(case)?;
        let own = Some(case.parameter).filter(|own| !own.is_empty());
        let only = format!("client=false,server=false,json={json}");
        request.parameter = Some(
            own.into_iter()
                .chain([only.as_str()])
                .collect::<Vec<_>>()
                .join(","),
        );
        let generated = generate(&request.encode_to_vec())?;
        Ok(generated.files.iter().map(|file| file.content.len()).sum())
    };
    let mut too_long = String::new();
    for case in CASES {
        let messages = size(case, false)?;
        let json = size(case, true)? - messages;
        if json > 2 * messages {
            too_long += &format!(
                "{}: {json} bytes of JSON for {messages} of messages\n",
                case.name
            );
        }
    }
    assert_eq!(too_long, "");
    Ok(())
}
