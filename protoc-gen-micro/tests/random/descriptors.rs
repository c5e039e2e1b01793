//! Random requests, made of a tape of numbers: what a test case shrinks is the tape.

use prost_types::compiler::CodeGeneratorRequest;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, EnumValueOptions,
    FieldDescriptorProto, FieldOptions, FileDescriptorProto, MessageOptions, MethodDescriptorProto,
    MethodOptions, OneofDescriptorProto, ServiceDescriptorProto,
};

/// Words that are hard to keep, and words that others are derived from.
const WORDS: &[&str] = &[
    "type",
    "self",
    "Self",
    "super",
    "crate",
    "extern",
    "async",
    "await",
    "gen",
    "try",
    "yield",
    "match",
    "fn",
    "mod",
    "struct",
    "enum",
    "trait",
    "impl",
    "move",
    "dyn",
    "static",
    "const",
    "union",
    "raw",
    "auto",
    "default",
    "Option",
    "Some",
    "None",
    "Result",
    "Ok",
    "Err",
    "Vec",
    "String",
    "Box",
    "Arc",
    "Clone",
    "Copy",
    "Drop",
    "Eq",
    "Ord",
    "Hash",
    "Debug",
    "Default",
    "From",
    "Into",
    "TryFrom",
    "AsRef",
    "Send",
    "Sync",
    "Sized",
    "Fn",
    "Future",
    "bool",
    "u8",
    "i32",
    "i64",
    "f64",
    "str",
    "usize",
    "char",
    "core",
    "std",
    "alloc",
    "prost",
    "micro_runtime",
    "Message",
    "Oneof",
    "Enumeration",
    "Name",
    "Inner",
    "ScalarWrapper",
    "MapWrapper",
    "KeyWrapper",
    "ValueWrapper",
    "Context",
    "Error",
    "Status",
    "Server",
    "Client",
    "Call",
    "Target",
    "Method",
    "Shape",
    "Routes",
    "Handler",
    "Service",
    "Foo",
    "foo",
    "FooService",
    "FooHandler",
    "NewFooService",
    "RegisterFooHandler",
    "RegisterTypes",
    "FILE_DESCRIPTOR_SET",
    "set_x",
    "get_x",
    "push_x",
    "insert_x",
    "x",
    "set_set_x",
    "y",
    "set_y",
    "clear",
    "encode",
    "encoded_len",
    "merge",
    "fmt",
    "eq",
    "hash",
    "clone",
    "new",
    "is_valid",
    "from_i32",
    "as_str_name",
    "value",
    "key",
    "name",
    "a",
    "b",
    "c",
    "v1",
    "V1",
    "T",
    "H",
    "E",
    "V",
    "A1",
    "a_1",
    "a1",
    "_1",
    "_2b",
    "x_",
    "_x",
    "x__y",
    "xY",
    "XY",
    "kind",
    "Kind",
    "kind_one_of",
    "KindOneOf",
    "inner",
    "unary",
    "ping",
    "Ping",
    "PING",
    "ping_shape",
    "HTTPServer",
    "http_server",
    "google",
    "protobuf",
    "Empty",
    "w",
    "r",
    "req",
    "handler",
    "ctx",
    "registry",
    "Item",
    "Order",
    "Line",
    "Status2",
    "Page",
    "Query",
    "Reply",
    "Request",
];

/// Decisions, from a tape; zeros behind its end.
pub(crate) struct Tape<'t> {
    numbers: std::slice::Iter<'t, u32>,
}

impl<'t> Tape<'t> {
    pub(crate) fn new(numbers: &'t [u32]) -> Tape<'t> {
        Tape {
            numbers: numbers.iter(),
        }
    }

    /// A number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        let number = self.numbers.next().copied().unwrap_or(0);
        usize::try_from(number).unwrap_or(0) % limit.max(1)
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == chance - 1
    }
}

/// Names of one scope, each once, as protoc wants it.
#[derive(Default)]
struct Names(Vec<String>);

impl Names {
    fn fresh(&mut self, tape: &mut Tape<'_>) -> String {
        let word = WORDS[tape.below(WORDS.len())];
        let mut name = match tape.below(12) {
            0 => word.to_uppercase(),
            1 => word.to_lowercase(),
            2 => format!("{word}_{}", WORDS[tape.below(WORDS.len())]),
            3 => format!("set_{word}"),
            4 => format!("{word}Service"),
            _ => word.to_owned(),
        };
        while self.0.contains(&name) {
            name.push_str("_z");
        }
        self.0.push(name.clone());
        name
    }
}

/// What fields may refer to.
#[derive(Default)]
struct Known {
    messages: Vec<String>,
    enums: Vec<String>,
}

/// A request for some files of some packages.
pub(crate) fn request(tape: &mut Tape<'_>, parameter: &str) -> CodeGeneratorRequest {
    let mut packages = vec![String::new()];
    let mut scopes: Vec<(String, Names)> = Vec::new();
    let mut known = Known::default();
    let mut files: Vec<FileDescriptorProto> = Vec::new();
    for index in 0..1 + tape.below(5) {
        // Packages below those that are there already meet their messages' modules.
        let mut package = packages[tape.below(packages.len())].clone();
        for _ in 0..tape.below(3) {
            let mut names = Names::default();
            let segment = names.fresh(tape);
            package = join(&package, &segment);
        }
        packages.push(package.clone());
        let position = scopes.iter().position(|(name, _)| *name == package);
        let position = position.unwrap_or_else(|| {
            scopes.push((package.clone(), Names::default()));
            scopes.len() - 1
        });
        let mut names = std::mem::take(&mut scopes[position].1);
        // A package and an item of one name are an error of protoc.
        let taken = packages.iter().filter_map(|other| {
            let below = other.strip_prefix(&package)?.trim_start_matches('.');
            below.split('.').next().map(str::to_owned)
        });
        names.0.extend(taken);
        let proto2 = tape.one_in(3);
        let mut file = FileDescriptorProto {
            name: Some(format!("f{index}.proto")),
            package: Some(package.clone()).filter(|package| !package.is_empty()),
            syntax: Some(if proto2 { "proto2" } else { "proto3" }.to_owned()),
            ..FileDescriptorProto::default()
        };
        let prefix = join("", &package);
        for _ in 0..tape.below(5) {
            let item = message(tape, &prefix, &mut names, &mut known, proto2, 0);
            file.message_type.push(item);
        }
        for _ in 0..tape.below(3) {
            let item = enumeration(tape, &prefix, &mut names, &mut known);
            file.enum_type.push(item);
        }
        for _ in 0..tape.below(3) {
            if !known.messages.is_empty() {
                file.service.push(service(tape, &mut names, &known));
            }
        }
        scopes[position].1 = names;
        files.push(file);
    }
    let targets = files.iter().map(|file| file.name().to_owned()).collect();
    CodeGeneratorRequest {
        file_to_generate: targets,
        parameter: Some(parameter.to_owned()),
        proto_file: files,
        compiler_version: None,
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

fn message(
    tape: &mut Tape<'_>,
    prefix: &str,
    names: &mut Names,
    known: &mut Known,
    proto2: bool,
    depth: usize,
) -> DescriptorProto {
    let name = names.fresh(tape);
    let full = join(prefix, &name);
    let mut inside = Names::default();
    let mut result = DescriptorProto {
        name: Some(name),
        ..DescriptorProto::default()
    };
    known.messages.push(format!(".{full}"));
    if depth < 3 {
        for _ in 0..tape.below(3) {
            let nested = message(tape, &full, &mut inside, known, proto2, depth + 1);
            result.nested_type.push(nested);
        }
        for _ in 0..tape.below(2) {
            let nested = enumeration(tape, &full, &mut inside, known);
            result.enum_type.push(nested);
        }
    }
    for _ in 0..tape.below(3) {
        if tape.one_in(2) {
            result.oneof_decl.push(OneofDescriptorProto {
                name: Some(inside.fresh(tape)),
                options: None,
            });
        }
    }
    for number in 1..=tape.below(7) {
        let number = i32::try_from(number).unwrap_or(1);
        let mut item = field(tape, &full, number, &mut inside, known, proto2);
        match tape.below(6) {
            0 if !result.oneof_decl.is_empty() => {
                let index = tape.below(result.oneof_decl.len());
                item.oneof_index = i32::try_from(index).ok();
                item.label = Some(Label::Optional.into());
            }
            1 if item.label() == Label::Optional && !proto2 => item.proto3_optional = Some(true),
            2 if item.label() == Label::Repeated => map(tape, &full, &mut item, &mut result),
            _ => {}
        }
        result.field.push(item);
    }
    // protoc orders the oneofs it makes for `optional` behind the others, and refuses those without members.
    let used: Vec<i32> = result
        .field
        .iter()
        .filter_map(|field| field.oneof_index)
        .collect();
    let mut place = Vec::new();
    let mut kept = Vec::new();
    for (index, oneof) in (0..).zip(std::mem::take(&mut result.oneof_decl)) {
        place.push(i32::try_from(kept.len()).unwrap_or(0));
        if used.contains(&index) {
            kept.push(oneof);
        }
    }
    result.oneof_decl = kept;
    for (index, item) in result.field.iter_mut().enumerate() {
        if let Some(old) = item.oneof_index {
            item.oneof_index = usize::try_from(old)
                .ok()
                .and_then(|old| place.get(old).copied());
        } else if item.proto3_optional() {
            item.oneof_index = i32::try_from(result.oneof_decl.len()).ok();
            result.oneof_decl.push(OneofDescriptorProto {
                name: Some(format!("_synthetic{index}")),
                options: None,
            });
        }
    }
    result
}

fn field(
    tape: &mut Tape<'_>,
    full: &str,
    number: i32,
    names: &mut Names,
    known: &Known,
    proto2: bool,
) -> FieldDescriptorProto {
    const SCALARS: [Type; 6] = [
        Type::Int32,
        Type::String,
        Type::Bytes,
        Type::Bool,
        Type::Double,
        Type::Sint64,
    ];
    let (kind, type_name) = match tape.below(6) {
        0 | 1 if !known.enums.is_empty() => (
            Type::Enum,
            Some(known.enums[tape.below(known.enums.len())].clone()),
        ),
        2 | 3 => {
            // Often the message itself, or the last one.
            let name = match tape.below(4) {
                0 => format!(".{full}"),
                1 => known.messages[known.messages.len() - 1].clone(),
                _ => known.messages[tape.below(known.messages.len())].clone(),
            };
            (Type::Message, Some(name))
        }
        _ => (SCALARS[tape.below(SCALARS.len())], None),
    };
    let label = match tape.below(5) {
        0 | 1 => Label::Repeated,
        // A message that requires itself cannot be made, and protoc does not see it.
        2 if proto2 && kind != Type::Message => Label::Required,
        _ => Label::Optional,
    };
    FieldDescriptorProto {
        name: Some(names.fresh(tape)),
        number: Some(number),
        label: Some(label.into()),
        r#type: Some(kind.into()),
        type_name,
        options: tape.one_in(8).then(|| FieldOptions {
            deprecated: Some(true),
            ..FieldOptions::default()
        }),
        ..FieldDescriptorProto::default()
    }
}

/// Makes a repeated field a map with values of its type.
fn map(
    tape: &mut Tape<'_>,
    full: &str,
    item: &mut FieldDescriptorProto,
    message: &mut DescriptorProto,
) {
    const KEYS: [Type; 3] = [Type::String, Type::Int32, Type::Bool];
    // protoc's own rule (`MapEntryName`): in camel case, with `Entry` behind it.
    let mut name = String::new();
    let mut upper = true;
    for char in item.name().chars() {
        if char == '_' {
            upper = true;
        } else {
            name.push(if upper {
                char.to_ascii_uppercase()
            } else {
                char
            });
            upper = false;
        }
    }
    name.push_str("Entry");
    let taken = message.nested_type.iter().map(DescriptorProto::name);
    let taken = taken.chain(message.enum_type.iter().map(|item| item.name()));
    if taken.into_iter().any(|other| other == name) {
        return;
    }
    let part = |name: &str, number, kind: Type, type_name| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        type_name,
        ..FieldDescriptorProto::default()
    };
    let key = part("key", 1, KEYS[tape.below(KEYS.len())], None);
    let value = part("value", 2, item.r#type(), item.type_name.take());
    item.type_name = Some(format!(".{full}.{name}"));
    item.r#type = Some(Type::Message.into());
    message.nested_type.push(DescriptorProto {
        name: Some(name),
        field: vec![key, value],
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    });
}

fn enumeration(
    tape: &mut Tape<'_>,
    prefix: &str,
    names: &mut Names,
    known: &mut Known,
) -> EnumDescriptorProto {
    let name = names.fresh(tape);
    known.enums.push(format!(".{}", join(prefix, &name)));
    // Values are names of the scope around the enum.
    let values = (0..=tape.below(4)).map(|number| {
        let value = names.fresh(tape);
        let prefixed = format!("{}_{value}", name.to_uppercase());
        EnumValueDescriptorProto {
            name: Some(if tape.one_in(2) { prefixed } else { value }),
            number: i32::try_from(number).ok(),
            options: tape.one_in(8).then(|| EnumValueOptions {
                deprecated: Some(true),
                ..EnumValueOptions::default()
            }),
        }
    });
    let value = values.collect();
    EnumDescriptorProto {
        name: Some(name),
        value,
        ..EnumDescriptorProto::default()
    }
}

fn service(tape: &mut Tape<'_>, names: &mut Names, known: &Known) -> ServiceDescriptorProto {
    let name = names.fresh(tape);
    let mut rpcs = Names::default();
    let method = (0..tape.below(5)).map(|_| MethodDescriptorProto {
        name: Some(rpcs.fresh(tape)),
        input_type: Some(known.messages[tape.below(known.messages.len())].clone()),
        output_type: Some(known.messages[tape.below(known.messages.len())].clone()),
        client_streaming: Some(tape.one_in(3)),
        server_streaming: Some(tape.one_in(3)),
        options: tape.one_in(8).then(|| MethodOptions {
            deprecated: Some(true),
            ..MethodOptions::default()
        }),
    });
    let method = method.collect();
    ServiceDescriptorProto {
        name: Some(name),
        method,
        options: None,
    }
}
