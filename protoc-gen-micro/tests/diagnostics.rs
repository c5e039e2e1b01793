//! What the generator says of what it cannot take, word for word.

#![cfg(feature = "vendored-protoc")]

mod common;

use common::{TestResult, protos, request};
use prost::Message;
use prost_types::compiler::CodeGeneratorRequest;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use protoc_gen_micro::generate;

/// The findings for one file and a parameter, as they are printed.
fn findings(proto: &str, parameter: &str) -> TestResult<String> {
    let folder = protos(&[("a.proto", proto)])?;
    let request = request(&[folder.path()], &["a.proto"], parameter)?;
    refusal(&request)
}

fn refusal(request: &impl Message) -> TestResult<String> {
    let error = generate(&request.encode_to_vec())
        .err()
        .ok_or("code was generated")?;
    assert!(!error.is_unreadable(), "{error}");
    Ok(error.to_string())
}

/// A proto2 file of package `p`, whose first line is line 3.
fn proto2(text: &str) -> String {
    format!("syntax = \"proto2\";\npackage p;\n{text}")
}

/// A proto3 file of package `p`, whose first line is line 3.
fn proto3(text: &str) -> String {
    format!("syntax = \"proto3\";\npackage p;\n{text}")
}

#[test]
fn rpcs_that_become_one_function() -> TestResult {
    let text = proto3(
        "message M {}\n\
         service S {\n\
         rpc GetFoo(M) returns (M);\n\
         rpc get_foo(M) returns (M);\n\
         }\n",
    );
    assert_eq!(
        findings(&text, "")?,
        "a.proto:6: methods \"GetFoo\" and \"get_foo\" of service p.S both become \"get_foo\"; rename one"
    );
    // Without handlers and clients there is no such function.
    assert!(findings(&text, "client=false,server=false").is_err());
    Ok(())
}

#[test]
fn services_that_become_one() -> TestResult {
    assert_eq!(
        findings(&proto3("service Greeter {}\nservice greeter {}\n"), "")?,
        "a.proto:4: services \"Greeter\" and \"greeter\" of package p both become \"Greeter\"; rename one"
    );
    Ok(())
}

#[test]
fn types_that_become_one() -> TestResult {
    assert_eq!(
        findings(&proto3("message HTTPReq {}\nenum HttpReq { A = 0; }\n"), "")?,
        "a.proto:4: message \"HTTPReq\" and enum \"HttpReq\" of package p both become \"HttpReq\"; rename one"
    );
    Ok(())
}

#[test]
fn nested_types_that_become_one() -> TestResult {
    assert_eq!(
        findings(
            &proto3("message M {\nmessage AB {}\nmessage Ab {}\n}\n"),
            ""
        )?,
        "a.proto:5: messages \"AB\" and \"Ab\" of message p.M both become \"Ab\"; rename one"
    );
    Ok(())
}

#[test]
fn fields_that_become_one() -> TestResult {
    let proto2 = "syntax = \"proto2\";\npackage p;\nmessage M {\noptional int32 fooBar = 1;\noptional int32 foo_bar = 2;\n}\n";
    assert_eq!(
        findings(proto2, "")?,
        "a.proto:5: fields \"fooBar\" and \"foo_bar\" of message p.M both become \"foo_bar\"; rename one"
    );
    Ok(())
}

#[test]
fn a_field_and_a_oneof_that_become_one() -> TestResult {
    assert_eq!(
        findings(
            &proto3("message M {\nint32 fooBar = 1;\noneof foo_bar { int32 b = 2; }\n}\n"),
            ""
        )?,
        "a.proto:5: field \"fooBar\" and oneof \"foo_bar\" of message p.M both become \"foo_bar\"; rename one"
    );
    Ok(())
}

#[test]
fn members_of_a_oneof_that_become_one() -> TestResult {
    let proto2 = "syntax = \"proto2\";\npackage p;\nmessage M {\noneof o {\nint32 fooBar = 1;\nint32 foo_bar = 2;\n}\n}\n";
    assert_eq!(
        findings(proto2, "")?,
        "a.proto:6: fields \"fooBar\" and \"foo_bar\" of oneof p.M.o both become \"FooBar\"; rename one"
    );
    Ok(())
}

#[test]
fn enum_values_that_become_one() -> TestResult {
    // protoc refuses these itself, but for this option.
    let text = proto2(
        "enum State {\noption deprecated_legacy_json_field_conflicts = true;\nSTATE_ON = 0;\nON = 1;\n}\n",
    );
    assert_eq!(
        findings(&text, "")?,
        "a.proto:6: values \"STATE_ON\" and \"ON\" of enum p.State both become \"On\"; rename one, or keep the \
         prefixes with retain_enum_prefix"
    );
    assert!(findings(&text, "retain_enum_prefix").is_err());
    Ok(())
}

#[test]
fn enum_values_of_an_imported_file() -> TestResult {
    let imported = proto2(
        "message M {\nenum State {\noption deprecated_legacy_json_field_conflicts = true;\nSTATE_ON = 0;\nON = 1;\n}\n}\n",
    );
    let importing =
        "syntax = \"proto3\";\npackage q;\nimport \"b.proto\";\nmessage N { p.M m = 1; }\n";
    let folder = protos(&[("a.proto", importing), ("b.proto", &imported)])?;
    assert_eq!(
        refusal(&request(&[folder.path()], &["a.proto"], "")?)?,
        "b.proto:7: values \"STATE_ON\" and \"ON\" of enum p.M.State both become \"On\"; rename one, or keep the \
         prefixes with retain_enum_prefix"
    );
    Ok(())
}

/// Message `p.V1` with types inside, and package `p.v1`, which uses it.
fn one_module(inner: &str) -> TestResult<tempfile::TempDir> {
    Ok(protos(&[
        (
            "a.proto",
            "syntax = \"proto3\";\npackage p;\n\nmessage V1 {\nmessage Inner {}\n}\n",
        ),
        (
            "b.proto",
            &format!(
                "syntax = \"proto3\";\npackage p.v1;\nimport \"a.proto\";\n{inner}\nmessage User {{ p.V1 v1 = 1; }}\n"
            ),
        ),
    ])?)
}

#[test]
fn a_message_and_a_package_in_one_module_with_one_name() -> TestResult {
    let folder = one_module("message Inner {}")?;
    assert_eq!(
        refusal(&request(&[folder.path()], &["a.proto", "b.proto"], "")?)?,
        "b.proto:4: message \"Inner\" of message p.V1 and message \"Inner\" of package p.v1 both become \"Inner\"; \
         rename one (the other is at a.proto:5)"
    );
    Ok(())
}

#[test]
fn a_message_and_a_package_of_two_runs_need_one_module() -> TestResult {
    let folder = one_module("")?;
    let request = |parameter| request(&[folder.path()], &["b.proto"], parameter);
    assert_eq!(
        refusal(&request("")?)?,
        "a.proto:4: the types inside message \"V1\" of package p need the module \"p::v1\", and so does package p.v1, \
         but package p is not generated in this run; generate both in one run, or say with extern_path where it is, \
         or rename one"
    );
    // Where it is said, there is no such module here.
    generate(&request("extern_path=.p.V1=::p::V1")?.encode_to_vec())?;
    Ok(())
}

#[test]
fn items_of_two_files_name_both() -> TestResult {
    let folder = protos(&[
        (
            "a.proto",
            "syntax = \"proto3\";\npackage p;\nmessage HTTPReq {}\n",
        ),
        (
            "b.proto",
            "syntax = \"proto3\";\npackage p;\n\nmessage HttpReq {}\n",
        ),
    ])?;
    assert_eq!(
        refusal(&request(&[folder.path()], &["b.proto", "a.proto"], "")?)?,
        "b.proto:4: messages \"HTTPReq\" and \"HttpReq\" of package p both become \"HttpReq\"; rename one \
         (the other is at a.proto:3)"
    );
    Ok(())
}

#[test]
fn everything_that_is_wrong_is_said_at_once() -> TestResult {
    let text = proto2(
        "message M {\nmessage AB {}\nmessage Ab {}\n}\n\
         enum State { option deprecated_legacy_json_field_conflicts = true; STATE_ON = 0; ON = 1; }\n\
         service S {\nrpc A(M) returns (M);\nrpc a(M) returns (M);\n}\n\
         message _ {}\n",
    );
    assert_eq!(
        findings(&text, "type_attribute=.=derive")?,
        "type_attribute: expected Rust attributes such as #[derive(Eq)] for \".\", found `derive`: \
         unexpected token\n\
         a.proto:5: messages \"AB\" and \"Ab\" of message p.M both become \"Ab\"; rename one\n\
         a.proto:7: values \"STATE_ON\" and \"ON\" of enum p.State both become \"On\"; rename one, or keep the \
         prefixes with retain_enum_prefix\n\
         a.proto:10: methods \"A\" and \"a\" of service p.S both become \"a\"; rename one\n\
         a.proto:12: the message name \"_\" has no letter or digit to make a Rust name of; rename it"
    );
    Ok(())
}

#[test]
fn parameters() -> TestResult {
    let text = proto3("message M {}\n");
    for (parameter, expected) in [
        (
            "layout=deep",
            "parameter \"layout\": expected flat or nested, found \"deep\"",
        ),
        (
            "runtime_path=1",
            "runtime_path: expected an absolute Rust path such as ::micro_runtime, found \"1\"",
        ),
        (
            "runtime_path=super::micro",
            "runtime_path: expected an absolute Rust path such as ::micro_runtime, found \"super::micro\"",
        ),
        (
            "extern_path=p=::p",
            "extern_path: expected a proto path such as .shop.v1 or .shop.v1.Order, found \"p\"",
        ),
        (
            "extern_path=.p=super::p",
            "extern_path: expected an absolute Rust path such as ::shop or crate::shop, found \"super::p\"",
        ),
        (
            "extern_path=.p=::a,extern_path=.p=::b",
            "extern_path: \".p\" is there twice",
        ),
        (
            "message_module=::a,extern_path=.=::b",
            "extern_path: \".\" is there twice",
        ),
        (
            "type_attribute=.p.M=derive(Eq)",
            "type_attribute: expected Rust attributes such as #[derive(Eq)] for \".p.M\", found `derive(Eq)`: \
             unexpected token",
        ),
    ] {
        assert_eq!(findings(&text, parameter)?, expected, "{parameter}");
    }
    Ok(())
}

/// A request that no protoc made.
fn handmade(file: FileDescriptorProto) -> CodeGeneratorRequest {
    CodeGeneratorRequest {
        file_to_generate: vec![file.name().to_owned()],
        proto_file: vec![file],
        ..CodeGeneratorRequest::default()
    }
}

#[test]
fn requests_of_other_tools_are_checked() -> TestResult {
    let file = FileDescriptorProto {
        name: Some("a.proto".into()),
        package: Some("p".into()),
        syntax: Some("proto3".into()),
        message_type: vec![DescriptorProto {
            name: Some("not a name".into()),
            field: vec![FieldDescriptorProto {
                name: Some("field".into()),
                number: Some(1),
                r#type: Some(prost_types::field_descriptor_proto::Type::Message.into()),
                type_name: Some(".p.Missing".into()),
                ..FieldDescriptorProto::default()
            }],
            ..DescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    assert_eq!(
        refusal(&handmade(file))?,
        "a.proto: \"field\" refers to the type \".p.Missing\", which is in none of the files of the request\n\
         a.proto: the message name \"not a name\" is not an identifier"
    );
    Ok(())
}

#[test]
fn fields_and_enums_of_other_tools_are_checked() -> TestResult {
    let field = |name: &str, number, default: Option<&str>| FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        r#type: Some(prost_types::field_descriptor_proto::Type::Int32.into()),
        default_value: default.map(Into::into),
        ..FieldDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("a.proto".into()),
        message_type: vec![DescriptorProto {
            name: Some("M".into()),
            field: vec![
                field("zero", 0, None),
                field("one", 1, Some("1.5")),
                field("more", 1, Some("-1")),
                field("late", 536_870_912, None),
            ],
            ..DescriptorProto::default()
        }],
        enum_type: vec![EnumDescriptorProto {
            name: Some("E".into()),
            ..EnumDescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    assert_eq!(
        refusal(&handmade(file))?,
        "a.proto: enum \"E\" has no values; it needs one\n\
         a.proto: field \"late\" has the number 536870912, expected one from 1 to 536870911\n\
         a.proto: field \"more\" has the number 1 of another field; give it one of its own\n\
         a.proto: field \"one\" has the default value \"1.5\", expected an int32\n\
         a.proto: field \"zero\" has the number 0, expected one from 1 to 536870911"
    );
    Ok(())
}

#[test]
fn types_that_prost_types_does_not_have() -> TestResult {
    let text = "edition = \"2023\";\n\
                import \"google/protobuf/descriptor.proto\";\n\
                message M {\n\
                  google.protobuf.FeatureSet features = 1;\n\
                  google.protobuf.FileOptions options = 2;\n\
                  repeated google.protobuf.FeatureSet.EnumType kinds = 3;\n\
                }\n\
                service S {\n\
                  rpc Get(google.protobuf.FeatureSetDefaults) returns (M);\n\
                }\n";
    let needs = |line, what, name| {
        format!(
            "a.proto:{line}: {what} needs google.protobuf.{name}, which prost-types does not have; say \
             compile_well_known_types, and generate google/protobuf/descriptor.proto too"
        )
    };
    assert_eq!(
        findings(text, "")?,
        [
            needs(4, "field \"features\"", "FeatureSet"),
            needs(6, "field \"kinds\"", "FeatureSet.EnumType"),
            needs(9, "rpc \"Get\"", "FeatureSetDefaults"),
        ]
        .join("\n")
    );
    let folder = protos(&[("a.proto", text)])?;
    for parameter in [
        "compile_well_known_types",
        "extern_path=.google.protobuf.FeatureSet=::mine::FeatureSet,\
         extern_path=.google.protobuf.FeatureSetDefaults=::mine::FeatureSetDefaults",
    ] {
        let request = request(&[folder.path()], &["a.proto"], parameter)?;
        generate(&request.encode_to_vec())?;
    }
    Ok(())
}

#[test]
fn a_panic_of_prost_build_is_a_finding() -> TestResult {
    // A map's entry without its fields, which protoc never sends.
    let file = FileDescriptorProto {
        name: Some("a.proto".into()),
        syntax: Some("proto3".into()),
        message_type: vec![DescriptorProto {
            name: Some("M".into()),
            nested_type: vec![DescriptorProto {
                name: Some("XEntry".into()),
                options: Some(prost_types::MessageOptions {
                    map_entry: Some(true),
                    ..prost_types::MessageOptions::default()
                }),
                ..DescriptorProto::default()
            }],
            ..DescriptorProto::default()
        }],
        ..FileDescriptorProto::default()
    };
    assert_eq!(
        refusal(&handmade(file))?,
        "prost-build cannot generate these messages: index out of bounds: the len is 0 but the index is 0"
    );
    Ok(())
}
