//! What is left out or changed, and told: the exact texts. Those about names are with the goldens.

#![cfg(feature = "vendored-protoc")]

mod common;

use std::path::Path;

use common::{TestResult, protos};
use prost::Message;
use protoc_gen_micro::{Generated, generate};

fn generated(folder: &Path, parameter: &str) -> TestResult<Generated> {
    let request = common::request(&[folder], &["a.proto"], parameter)?;
    Ok(generate(&request.encode_to_vec())?)
}

/// The warnings for a file.
fn warnings(text: &str) -> TestResult<Vec<String>> {
    let folder = protos(&[("a.proto", text)])?;
    let generated = generated(folder.path(), "")?;
    Ok(generated.warnings.iter().map(ToString::to_string).collect())
}

const EXTENDED: &str = r#"syntax = "proto2";
package p;
message Outer {
  extensions 100 to 199;
  message Inner {
    extensions 4 to 9;
    extend Outer { optional int32 inner = 100; }
  }
}
extend Outer { optional int32 a = 101; optional int32 b = 102; }
extend Outer.Inner { optional group C = 4 {} }
message Set {
  option message_set_wire_format = true;
  extensions 4 to max;
}
"#;

#[test]
fn one_for_all_extensions_of_a_file() -> TestResult {
    assert_eq!(
        warnings(EXTENDED)?,
        [
            "a.proto:4: extensions are ignored (reading skips them): the range of Outer (line 4); the range of \
             Outer.Inner (line 6); inner of Outer (line 7); the message set Set (line 12); a, b of Outer (line 10); \
             1 more"
        ]
    );
    Ok(())
}

#[test]
fn none_for_extensions_where_no_messages_are_wanted() -> TestResult {
    let folder = protos(&[("a.proto", EXTENDED)])?;
    assert_eq!(generated(folder.path(), "messages=false")?.warnings, []);
    Ok(())
}

#[test]
fn none_for_options_that_a_file_declares() -> TestResult {
    let text = r#"
        edition = "2024";
        import "google/protobuf/descriptor.proto";
        message Details { string text = 1; }
        extend google.protobuf.MessageOptions { Details details = 50001; }
        extend google.protobuf.FeatureSet { Details own = 9999; }
        message M { option (details).text = "x"; }
    "#;
    assert_eq!(warnings(text)?, Vec::<String>::new());
    Ok(())
}

#[test]
fn messages_that_require_themselves() -> TestResult {
    let text = r#"syntax = "proto2";
package p;
message Direct {
  required Direct again = 1;
}
message There {
  required Back back = 1;
  required Leaf leaf = 2;
}
message Back {
  optional There perhaps = 1;
  required group Group = 2 {
    required There there = 1;
  }
}
message Leaf {}
"#;
    let warning = |line: u32, field: &str, message: &str| {
        format!(
            "a.proto:{line}: field \"{field}\" of p.{message} requires the message that it is in, so that none is \
             ever complete; it is taken for optional"
        )
    };
    assert_eq!(
        warnings(text)?,
        [
            warning(4, "again", "Direct"),
            warning(7, "back", "There"),
            warning(12, "group", "Back"),
            warning(13, "there", "Back.Group"),
        ]
    );
    Ok(())
}

#[test]
fn fields_that_share_a_json_name() -> TestResult {
    let text = r#"syntax = "proto2";
message M {
  optional int32 foo_1 = 1;
  optional int32 foo1 = 2;
  message Inner {
    optional int32 foo_bar = 1;
    optional int32 b = 3 [json_name = "a"];
    optional int32 a = 2 [json_name = "fooBar"];
  }
}
"#;
    assert_eq!(
        warnings(text)?,
        [
            "a.proto:3: field \"foo_1\" has the JSON name \"foo1\" of another field of M; it is \"foo_1\" in place of \
             it",
            "a.proto:8: field \"a\" has the JSON name \"fooBar\" of another field of Inner; it is \"a_\" in place of it",
        ]
    );
    Ok(())
}

#[test]
fn texts_that_are_not_utf_8() -> TestResult {
    let folder = protos(&[])?;
    std::fs::write(
        folder.path().join("a.proto"),
        b"syntax = \"proto2\";\n\
          option java_package = \"\\xff\";\n\
          // Gr\xf6\xdfe\n\
          message M {\n\
          \x20 reserved \"\\xff\";\n\
          \x20 optional string text = 1 [default = \"a\\xffb\"];\n\
          \x20 optional bytes blob = 2 [default = \"a\\xffb\"];\n\
          }\n",
    )?;
    let generated = generated(folder.path(), "")?;
    let warnings: Vec<String> = generated.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "a.proto:4: a comment here is not UTF-8; save the file as UTF-8 to keep its letters",
            "a.proto:6: the default value of field \"text\" is not UTF-8, which a string has to be here; it is \
             \"a\u{fffd}b\" in place of it",
        ]
    );
    let content = &generated.files[0].content;
    assert!(content.contains("/// Gr\u{fffd}\u{fffd}e\n"), "{content}");
    assert!(content.contains(r#"default = "a\u{fffd}b""#), "{content}");
    assert!(content.contains(r#"default = "b\"a\\xffb\"""#), "{content}");
    Ok(())
}
