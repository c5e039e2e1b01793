//! Editions: what their features come to. A file that spells the meaning of proto2 or proto3 out in features has to
//! give the same code, byte for byte, as the file of that syntax.

#![cfg(feature = "vendored-protoc")]

mod common;

use common::{TestResult, protos};
use prost::Message;
use protoc_gen_micro::{Generated, generate};

/// What is generated for one file.
fn generated(text: &str) -> TestResult<Generated> {
    let folder = protos(&[("same.proto", text)])?;
    let request = common::request(&[folder.path()], &["same.proto"], "")?;
    Ok(generate(&request.encode_to_vec())?)
}

/// Holds that two files come to the same code.
fn equal(one: &str, other: &str) -> TestResult {
    let (one, other) = (generated(one)?, generated(other)?);
    for (one, other) in one.files.iter().zip(&other.files) {
        let lines = one.content.lines().zip(other.content.lines());
        for (line, (one, other)) in (1..).zip(lines) {
            assert_eq!(one, other, "in line {line}");
        }
    }
    assert_eq!(one.files, other.files);
    Ok(())
}

const PROTO2: &str = r#"
    syntax = "proto2";
    package same;
    // Everything that proto2 can say and proto3 cannot.
    message All {
      required string name = 1;
      optional int32 count = 2 [default = -7];
      optional Color color = 3 [default = BLUE];
      optional bytes blob = 4 [default = "\001\"x"];
      repeated int32 expanded = 5;
      repeated int32 packed = 6 [packed = true];
      repeated Color colors = 7 [deprecated = true];
      repeated group Item = 8 { required int64 id = 1; }
      optional group Single = 9 { optional All all = 1; }
      required group Needed = 10 {}
      required All all = 11;
      optional All perhaps = 12;
      repeated All list = 13;
      map<string, All> by_name = 14;
      map<int32, Zero> zeros = 15;
      oneof choice {
        string text = 16;
        group Grouped = 17 { optional string text = 1; }
        All message = 18;
        Color picked = 19;
      }
      optional string text_with_default = 20 [default = "a\tb"];
      optional double ratio = 21 [default = inf];
      required Color needed_color = 22 [default = BLUE];
      message Nested { required bool flag = 1; }
      enum Color { RED = 1; BLUE = 2; }
      enum Zero { ZERO = 0; }
    }
"#;

#[test]
fn proto2_said_in_an_edition_gives_the_same_code() -> TestResult {
    for edition in ["2023", "2024"] {
        let text = format!(
            r#"
    edition = "{edition}";
    package same;
    option features.enum_type = CLOSED;
    option features.repeated_field_encoding = EXPANDED;
    option features.utf8_validation = NONE;
    option features.json_format = LEGACY_BEST_EFFORT;
    // Everything that proto2 can say and proto3 cannot.
    message All {{
      string name = 1 [features.field_presence = LEGACY_REQUIRED];
      int32 count = 2 [default = -7];
      Color color = 3 [default = BLUE];
      bytes blob = 4 [default = "\001\"x"];
      repeated int32 expanded = 5;
      repeated int32 packed = 6 [features.repeated_field_encoding = PACKED];
      repeated Color colors = 7 [deprecated = true];
      repeated Item item = 8 [features.message_encoding = DELIMITED];
      message Item {{ int64 id = 1 [features.field_presence = LEGACY_REQUIRED]; }}
      Single single = 9 [features.message_encoding = DELIMITED];
      message Single {{ All all = 1; }}
      Needed needed = 10 [
        features.message_encoding = DELIMITED,
        features.field_presence = LEGACY_REQUIRED
      ];
      message Needed {{}}
      All all = 11 [features.field_presence = LEGACY_REQUIRED];
      All perhaps = 12;
      repeated All list = 13;
      map<string, All> by_name = 14;
      map<int32, Zero> zeros = 15;
      oneof choice {{
        string text = 16;
        Grouped grouped = 17 [features.message_encoding = DELIMITED];
        All message = 18;
        Color picked = 19;
      }}
      message Grouped {{ string text = 1; }}
      string text_with_default = 20 [default = "a\tb"];
      double ratio = 21 [default = inf];
      Color needed_color = 22 [features.field_presence = LEGACY_REQUIRED, default = BLUE];
      message Nested {{ bool flag = 1 [features.field_presence = LEGACY_REQUIRED]; }}
      enum Color {{ RED = 1; BLUE = 2; }}
      enum Zero {{ ZERO = 0; }}
    }}
"#
        );
        equal(PROTO2, &text)?;
    }
    Ok(())
}

const PROTO3: &str = r#"
    syntax = "proto3";
    package same;
    import "google/protobuf/timestamp.proto";
    message All {
      int32 count = 1;
      optional int32 perhaps = 2;
      string text = 3;
      optional string perhaps_text = 4;
      Color color = 5;
      optional Color perhaps_color = 6;
      repeated double packed = 7;
      repeated double expanded = 8 [packed = false];
      repeated Color colors = 9 [deprecated = true];
      All all = 10;
      repeated All list = 11;
      map<string, bytes> map = 12;
      map<string, All> messages = 13;
      google.protobuf.Timestamp at = 14;
      oneof choice { int32 number = 15; Color picked = 16; Nested nested = 17; }
      message Nested { bool flag = 1; }
      enum Color { RED = 0; BLUE = 2; }
    }
"#;

#[test]
fn proto3_said_in_an_edition_gives_the_same_code() -> TestResult {
    for edition in ["2023", "2024"] {
        let text = format!(
            r#"
    edition = "{edition}";
    package same;
    import "google/protobuf/timestamp.proto";
    option features.field_presence = IMPLICIT;
    message All {{
      int32 count = 1;
      int32 perhaps = 2 [features.field_presence = EXPLICIT];
      string text = 3;
      string perhaps_text = 4 [features.field_presence = EXPLICIT];
      Color color = 5;
      Color perhaps_color = 6 [features.field_presence = EXPLICIT];
      repeated double packed = 7;
      repeated double expanded = 8 [features.repeated_field_encoding = EXPANDED];
      repeated Color colors = 9 [deprecated = true];
      All all = 10;
      repeated All list = 11;
      map<string, bytes> map = 12;
      map<string, All> messages = 13;
      google.protobuf.Timestamp at = 14;
      oneof choice {{ int32 number = 15; Color picked = 16; Nested nested = 17; }}
      message Nested {{ bool flag = 1; }}
      enum Color {{ RED = 0; BLUE = 2; }}
    }}
"#
        );
        equal(PROTO3, &text)?;
    }
    Ok(())
}

/// The finding for a file that protoc wrote for `text`, with these bytes after it.
fn refusal(text: &str, more: &[u8]) -> TestResult<String> {
    let folder = protos(&[("a.proto", text)])?;
    let mut request = common::request(&[folder.path()], &["a.proto"], "")?;
    if let Some(file) = request.proto_file.first_mut() {
        file.extend_from_slice(more);
    }
    match generate(&request.encode_to_vec()) {
        Ok(_) => Err("this was taken".into()),
        Err(error) => Ok(error.to_string()),
    }
}

const PLAIN: &str = "edition = \"2023\";\noption features.field_presence = IMPLICIT;\nmessage M {\n  int32 a = 1;\n}\n";

#[test]
fn features_of_later_versions_are_found() -> TestResult {
    let unknown = |line: u32, feature: &str| {
        format!(
            "a.proto:{line}: features.{feature} is set to the number 9, which protoc-gen-micro {} does not know; use \
             a newer version",
            env!("CARGO_PKG_VERSION")
        )
    };
    // FileDescriptorProto.options.features.field_presence = 9.
    let of_file = refusal(PLAIN, &[0x42, 5, 0x92, 3, 2, 0x08, 9])?;
    assert_eq!(of_file, unknown(2, "field_presence"));
    // One more message: .message_type{name: "N", options.features.message_encoding = 9}. It has no line.
    let message = [0x22, 9, 0x0a, 1, b'N', 0x3a, 4, 0x62, 2, 0x28, 9];
    let of_message = refusal(PLAIN, &message)?;
    assert_eq!(
        of_message,
        unknown(0, "message_encoding").replace("a.proto:0:", "a.proto:")
    );
    Ok(())
}

#[test]
fn what_is_no_edition_is_refused() -> TestResult {
    let unsupported = |what: &str| {
        format!(
            "a.proto:1: {what} is not supported by protoc-gen-micro {}, which reads proto2, proto3, and editions 2023 \
             and 2024: write `edition = \"2024\";` in place of it, or use a newer version",
            env!("CARGO_PKG_VERSION")
        )
    };
    // FileDescriptorProto: 12 is `syntax`, 14 `edition`; the last one counts.
    for (more, what) in [
        (&[0x70, 0xea, 7][..], "edition 2026"),
        (&[0x70, 0x8f, 0x4e], "edition UNSTABLE"),
        (&[0x70, 0x84, 7], "edition number 900"),
        (&[0x70, 0xe6, 7], "edition number 998"),
        (
            &[0x70, 0xff, 0xff, 0xff, 0xff, 7],
            "edition number 2147483647",
        ),
    ] {
        assert_eq!(refusal(PLAIN, more)?, unsupported(what));
    }
    let proto3 = "syntax = \"proto3\";\nmessage M {}\n";
    for (more, what) in [
        (&b"\x62\x08editions"[..], "an edition without a number"),
        (b"\x62\x06proto4", "syntax \"proto4\""),
    ] {
        assert_eq!(refusal(proto3, more)?, unsupported(what));
    }
    Ok(())
}

#[test]
fn no_changed_byte_makes_it_panic() -> TestResult {
    let text = r#"
        edition = "2023";
        option features.message_encoding = DELIMITED;
        message M {
          M m = 1 [features.field_presence = LEGACY_REQUIRED];
          oneof o { string s = 2 [default = "x"]; }
          repeated E e = 3 [features.repeated_field_encoding = EXPANDED];
          map<int32, M> by = 4;
          extensions 9;
        }
        enum E { option allow_alias = true; A = 0; B = 0; }
    "#;
    let folder = protos(&[("a.proto", text)])?;
    let request = common::request(&[folder.path()], &["a.proto"], "")?.encode_to_vec();
    let mut taken = 0;
    for at in 0..request.len() {
        let mut request = request.clone();
        request[at] ^= 1 << (at % 8);
        taken += usize::from(generate(&request).is_ok());
    }
    // Many of the bytes are positions.
    assert!(
        taken > request.len() / 2,
        "only {taken} of {}",
        request.len()
    );
    Ok(())
}
