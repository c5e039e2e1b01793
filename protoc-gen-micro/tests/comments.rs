//! Whatever is in a proto's comments, none of it becomes a test of the user's documentation.
//!
//! The comments are random pieces of Markdown, and what comes out is read by the parser that rustdoc has.

use proptest::prelude::*;
use prost::Message;
use prost_types::compiler::CodeGeneratorRequest;
use prost_types::source_code_info::Location;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, MethodDescriptorProto,
    ServiceDescriptorProto, SourceCodeInfo,
};
use protoc_gen_micro::generate;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};

/// Pieces of lines, and line ends.
const PIECES: &[&str] = &[
    "\n",
    "\n",
    "\n",
    "\n\n",
    "\n\n",
    " ",
    "  ",
    "    ",
    "\t",
    "```",
    "```rust",
    "```rust,no_run",
    "```text",
    "```compile_fail",
    "````",
    "````rust",
    "~~~",
    "~~~rust",
    "~~~~",
    "``",
    "`",
    "- ",
    "* ",
    "1. ",
    "10) ",
    "> ",
    ">",
    "# ",
    "###",
    "---",
    "===",
    "***",
    "text",
    "let x = 1;",
    "fn main() {}",
    "<pre>",
    "</pre>",
    "<details>",
    "<!--",
    "-->",
    "<T>",
    "&amp;",
    "[a]",
    "[a]: b",
    "[^1]",
    "[^1]: note",
    "](c)",
    "![",
    "|",
    "|---|",
    "\\",
    "\\`",
    "*/",
    "/*",
    "//",
    "/",
    "!",
    "$$",
    "$",
    "+++",
    "~",
    "**",
    "_",
    "- [ ] ",
    ": ",
    "::: x",
    "{.rust}",
    "é",
    "\u{202e}",
    "https://example.com/?a=[b]",
    "\r",
    "rust",
    "text,rust",
    ",",
    "ignore",
    "should_panic",
    "edition2021",
];

fn file(comment: &str, trailing: &str) -> FileDescriptorProto {
    let at = |path: &[i32]| Location {
        path: path.to_vec(),
        span: vec![0, 0, 1],
        leading_comments: Some(comment.to_owned()),
        trailing_comments: Some(trailing.to_owned()),
        ..Location::default()
    };
    FileDescriptorProto {
        name: Some("a.proto".into()),
        syntax: Some("proto3".into()),
        message_type: vec![DescriptorProto {
            name: Some("M".into()),
            field: vec![FieldDescriptorProto {
                name: Some("a".into()),
                number: Some(1),
                r#type: Some(prost_types::field_descriptor_proto::Type::Int32.into()),
                ..FieldDescriptorProto::default()
            }],
            ..DescriptorProto::default()
        }],
        service: vec![ServiceDescriptorProto {
            name: Some("S".into()),
            method: vec![MethodDescriptorProto {
                name: Some("Get".into()),
                input_type: Some(".M".into()),
                output_type: Some(".M".into()),
                ..MethodDescriptorProto::default()
            }],
            ..ServiceDescriptorProto::default()
        }],
        source_code_info: Some(SourceCodeInfo {
            location: vec![
                at(&[4, 0]),
                at(&[4, 0, 2, 0]),
                at(&[6, 0]),
                at(&[6, 0, 2, 0]),
            ],
        }),
        ..FileDescriptorProto::default()
    }
}

/// The comments of a file, each as rustdoc reads it: without what all lines are indented by.
fn comments(text: &str) -> Vec<String> {
    let mut found: Vec<Vec<&str>> = vec![Vec::new()];
    for line in text.lines() {
        match (line.trim_start().strip_prefix("///"), found.last_mut()) {
            (Some(comment), Some(last)) => last.push(comment),
            _ => found.push(Vec::new()),
        }
    }
    found.retain(|lines| !lines.is_empty());
    let dedent = |lines: Vec<&str>| {
        let indent = |line: &&str| line.len() - line.trim_start_matches(' ').len();
        let shared = lines
            .iter()
            .filter(|line| !line.trim().is_empty())
            .map(indent)
            .min();
        let lines = lines
            .iter()
            .map(|line| line.get(shared.unwrap_or(0)..).unwrap_or(""));
        lines.collect::<Vec<_>>().join("\n")
    };
    found.into_iter().map(dedent).collect()
}

/// The code blocks that rustdoc would run.
fn alive(comment: &str) -> Vec<String> {
    // Those of rustdoc (`main_body_opts`).
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_SMART_PUNCTUATION;
    let blocks = Parser::new_ext(comment, options).filter_map(|event| match event {
        Event::Start(Tag::CodeBlock(kind)) => Some(kind),
        _ => None,
    });
    let alive = blocks.filter_map(|kind| match kind {
        CodeBlockKind::Indented => Some("indented".to_owned()),
        CodeBlockKind::Fenced(info) if info.as_ref() == "text" => None,
        CodeBlockKind::Fenced(info) => Some(format!("fenced {info:?}")),
    });
    alive.collect()
}

proptest! {
    #[test]
    fn no_comment_becomes_a_test(
        leading in proptest::collection::vec(0..PIECES.len(), 0..40),
        trailing in proptest::collection::vec(0..PIECES.len(), 0..12),
    ) {
        let text = |pieces: Vec<usize>| pieces.into_iter().map(|piece| PIECES[piece]).collect::<String>();
        let (leading, trailing) = (text(leading), text(trailing));
        let request = CodeGeneratorRequest {
            file_to_generate: vec!["a.proto".into()],
            parameter: None,
            proto_file: vec![file(&leading, &trailing)],
            compiler_version: None,
        };
        let generated = generate(&request.encode_to_vec());
        prop_assert!(generated.is_ok(), "{:?}", generated);
        for file in generated.iter().flat_map(|generated| &generated.files) {
            prop_assert!(syn::parse_file(&file.content).is_ok(), "{}", file.content);
            for comment in comments(&file.content) {
                let alive = alive(&comment);
                prop_assert!(alive.is_empty(), "{alive:?} in\n{comment}\nof {leading:?} and {trailing:?}");
            }
        }
    }
}
