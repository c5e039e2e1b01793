//! [`Types`]: every message and enum of a run, and the Rust path of each.

use std::collections::{BTreeMap, HashMap, HashSet};

use proc_macro2::Ident;
use prost_types::field_descriptor_proto::Type;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

use super::names::{self, RustNames, camel, go_camel, snake};
use crate::options::Options;

/// The types of `google.protobuf` that are in prost-types, with what is nested in them. The runtime has the JSON of
/// them all: for some a form of their own, for the others an object of their fields.
const WELL_KNOWN_JSON: &[&str] = &[
    "Any",
    "Api",
    "BoolValue",
    "BytesValue",
    "DescriptorProto",
    "DoubleValue",
    "Duration",
    "Empty",
    "Enum",
    "EnumDescriptorProto",
    "EnumOptions",
    "EnumValue",
    "EnumValueDescriptorProto",
    "EnumValueOptions",
    "ExtensionRangeOptions",
    "Field",
    "FieldDescriptorProto",
    "FieldMask",
    "FieldOptions",
    "FileDescriptorProto",
    "FileDescriptorSet",
    "FileOptions",
    "FloatValue",
    "GeneratedCodeInfo",
    "Int32Value",
    "Int64Value",
    "ListValue",
    "MessageOptions",
    "Method",
    "MethodDescriptorProto",
    "MethodOptions",
    "Mixin",
    "NullValue",
    "OneofDescriptorProto",
    "OneofOptions",
    "Option",
    "ServiceDescriptorProto",
    "ServiceOptions",
    "SourceCodeInfo",
    "SourceContext",
    "StringValue",
    "Struct",
    "Syntax",
    "Timestamp",
    "Type",
    "UInt32Value",
    "UInt64Value",
    "UninterpretedOption",
    "Value",
];

/// All types of a run.
pub(crate) struct Types<'a> {
    entries: HashMap<String, Entry<'a>>,
    externs: Externs,
    without_json: HashSet<String>,
}

/// One message or enum.
struct Entry<'a> {
    /// The modules of its package.
    package: Vec<String>,
    /// Below them, the modules of the messages it is nested in.
    nesting: Vec<String>,
    /// Its own name in the proto.
    name: &'a str,
    /// What it is.
    descriptor: Descriptor<'a>,
    /// Its path, if it comes from elsewhere.
    elsewhere: Option<String>,
}

/// What a type is.
#[derive(Clone, Copy)]
enum Descriptor<'a> {
    Message(&'a DescriptorProto),
    Enum(&'a EnumDescriptorProto),
}

/// Proto paths (of packages and types) that live elsewhere.
struct Externs {
    paths: BTreeMap<String, String>,
}

/// [`Types`] as seen from the module of one package, by one thread: syn's paths cannot be shared.
#[derive(Clone, Copy)]
pub(crate) struct PackageNames<'a> {
    types: &'a Types<'a>,
    package: &'a [String],
    runtime: &'a syn::Path,
}

// ===== impl Types =====

impl<'a> Types<'a> {
    /// Collects the types of all files.
    pub(crate) fn new(
        files: impl Iterator<Item = &'a FileDescriptorProto>,
        options: &Options,
        extern_path: &[(String, String)],
    ) -> Types<'a> {
        let mut types = Types {
            entries: HashMap::new(),
            externs: Externs::new(options, extern_path),
            without_json: HashSet::new(),
        };
        for file in files {
            let package = package_modules(file.package());
            let prefix = full_path(file);
            for message in &file.message_type {
                types.add_message(&prefix, &package, &[], message);
            }
            for item in &file.enum_type {
                types.add(&prefix, &package, &[], Descriptor::Enum(item));
            }
        }
        types.find_without_json(options);
        types
    }

    fn add_message(
        &mut self,
        prefix: &str,
        package: &[String],
        nesting: &[String],
        message: &'a DescriptorProto,
    ) {
        let full = format!("{prefix}.{}", message.name());
        self.add(prefix, package, nesting, Descriptor::Message(message));
        let mut inner = nesting.to_vec();
        inner.push(snake(message.name()));
        for nested in &message.nested_type {
            self.add_message(&full, package, &inner, nested);
        }
        for item in &message.enum_type {
            self.add(&full, package, &inner, Descriptor::Enum(item));
        }
    }

    fn add(
        &mut self,
        prefix: &str,
        package: &[String],
        nesting: &[String],
        descriptor: Descriptor<'a>,
    ) {
        let name = match descriptor {
            Descriptor::Message(message) => message.name(),
            Descriptor::Enum(item) => item.name(),
        };
        let full = format!("{prefix}.{name}");
        let elsewhere = self.externs.resolve(&full);
        let entry = Entry {
            package: package.to_vec(),
            nesting: nesting.to_vec(),
            name,
            descriptor,
            elsewhere,
        };
        self.entries.insert(full, entry);
    }

    /// Finds the messages and enums without our JSON mapping: those from elsewhere, but for the ones that are known
    /// to have it, and then whatever holds one of them.
    fn find_without_json(&mut self, options: &Options) {
        let is_well_known = |full: &str| {
            let name = full.strip_prefix(".google.protobuf.");
            let outermost = name.and_then(|name| name.split('.').next());
            outermost.is_some_and(|name| WELL_KNOWN_JSON.contains(&name))
        };
        let elsewhere_with_json = |full: &str| {
            is_well_known(full) || options.extern_json.iter().any(|path| is_below(full, path))
        };
        let mut holders: HashMap<&str, Vec<&str>> = HashMap::new();
        let mut found: Vec<&str> = Vec::new();
        for (full, entry) in &self.entries {
            if entry.elsewhere.is_some() {
                if !elsewhere_with_json(full) {
                    found.push(full);
                }
                continue;
            }
            for field in entry
                .message()
                .map(|message| &message.field)
                .into_iter()
                .flatten()
            {
                if matches!(field.r#type(), Type::Message | Type::Group | Type::Enum) {
                    holders.entry(field.type_name()).or_default().push(full);
                }
            }
            // A map is a field of its entry's type, and the entry is nested in the message: nothing to add.
        }
        let mut without = HashSet::new();
        while let Some(full) = found.pop() {
            if without.insert(full.to_owned()) {
                found.extend(holders.get(full).into_iter().flatten());
            }
        }
        self.without_json = without;
    }

    /// The names as seen from the package whose modules these are.
    pub(crate) fn seen_from(
        &'a self,
        package: &'a [String],
        runtime: &'a syn::Path,
    ) -> PackageNames<'a> {
        PackageNames {
            types: self,
            package,
            runtime,
        }
    }

    /// A message's descriptor.
    pub(crate) fn message(&self, proto_name: &str) -> Option<&'a DescriptorProto> {
        self.entries.get(proto_name).and_then(Entry::message)
    }

    /// An enum's descriptor.
    pub(crate) fn enumeration(&self, proto_name: &str) -> Option<&'a EnumDescriptorProto> {
        match self.entries.get(proto_name)?.descriptor {
            Descriptor::Enum(item) => Some(item),
            Descriptor::Message(_) => None,
        }
    }

    /// Whether a type comes from elsewhere.
    pub(crate) fn is_elsewhere(&self, proto_name: &str) -> bool {
        self.entries
            .get(proto_name)
            .is_some_and(|entry| entry.elsewhere.is_some())
    }

    /// The modules of the package that a type is in.
    pub(crate) fn package_of(&self, proto_name: &str) -> Option<&[String]> {
        let entry = self.entries.get(proto_name)?;
        Some(&entry.package)
    }

    /// The path of a type that comes from elsewhere.
    pub(crate) fn path_elsewhere(&self, proto_name: &str) -> Option<&str> {
        self.entries.get(proto_name)?.elsewhere.as_deref()
    }

    /// Whether there is such a type.
    pub(crate) fn contains(&self, proto_name: &str) -> bool {
        self.entries.contains_key(proto_name)
    }

    /// The proto package that a type is in, without its dot.
    pub(crate) fn proto_package<'n>(&self, proto_name: &'n str) -> &'n str {
        let mut rest = proto_name;
        while self.entries.contains_key(rest) {
            rest = rest.rsplit_once('.').map_or("", |(outer, _)| outer);
        }
        rest.trim_start_matches('.')
    }

    /// The name of a type as Go has it: nested ones joined by underscores (`Order_Item`).
    pub(crate) fn go_name(&self, proto_name: &str) -> String {
        let mut parts = Vec::new();
        let mut rest = proto_name;
        while self.entries.contains_key(rest) {
            let Some((outer, name)) = rest.rsplit_once('.') else {
                break;
            };
            parts.push(go_camel(name));
            rest = outer;
        }
        parts.reverse();
        parts.join("_")
    }
}

// ===== impl Entry =====

impl<'a> Entry<'a> {
    fn message(&self) -> Option<&'a DescriptorProto> {
        match self.descriptor {
            Descriptor::Message(message) => Some(message),
            Descriptor::Enum(_) => None,
        }
    }
}

// ===== impl Externs =====

impl Externs {
    fn new(options: &Options, extern_path: &[(String, String)]) -> Externs {
        let mut paths: BTreeMap<String, String> = extern_path.iter().cloned().collect();
        if !options.compile_well_known_types {
            let mut add =
                |name: &str, path: String| paths.insert(format!(".google.protobuf{name}"), path);
            add("", prost_types_path(options));
            add(".Empty", "()".to_owned());
            add(".BytesValue", "::std::vec::Vec<u8>".to_owned());
            add(".StringValue", "::std::string::String".to_owned());
            for (name, primitive) in [
                (".BoolValue", "bool"),
                (".DoubleValue", "f64"),
                (".FloatValue", "f32"),
                (".Int32Value", "i32"),
                (".Int64Value", "i64"),
                (".UInt32Value", "u32"),
                (".UInt64Value", "u64"),
            ] {
                add(name, primitive.to_owned());
            }
        }
        Externs { paths }
    }

    /// The path of a type that lives elsewhere, by its own entry or the longest entry above it.
    fn resolve(&self, proto_name: &str) -> Option<String> {
        if let Some(path) = self.paths.get(proto_name) {
            return Some(path.clone());
        }
        for (index, _) in proto_name.rmatch_indices('.') {
            let (above, below) = proto_name.split_at(index);
            let Some(path) = self.paths.get(above) else {
                continue;
            };
            let (modules, name) = below.rsplit_once('.').unwrap_or(("", below));
            // prost-build converts the user's own segments too, but for a leading `crate`.
            let segments = path
                .split("::")
                .chain(modules.split('.').filter(|segment| !segment.is_empty()));
            let mut resolved: Vec<String> = segments
                .enumerate()
                .map(|(index, segment)| match segment {
                    "crate" if index == 0 => "crate".to_owned(),
                    other => snake(other),
                })
                .collect();
            resolved.push(camel(name));
            return Some(resolved.join("::"));
        }
        None
    }
}

// ===== impl PackageNames =====

impl PackageNames<'_> {
    /// The path from here, `depth` modules below the package, to an item in `nesting` of `package`.
    fn relative(&self, depth: usize, package: &[String], nesting: &[String], name: &str) -> String {
        let shared = self
            .package
            .iter()
            .zip(package)
            .take_while(|(a, b)| a == b)
            .count();
        let up = depth + self.package.len() - shared;
        let down = package[shared..].iter().chain(nesting).map(String::as_str);
        let segments: Vec<&str> = std::iter::repeat_n("super", up)
            .chain(down)
            .chain([name])
            .collect();
        segments.join("::")
    }
}

impl RustNames for PackageNames<'_> {
    fn type_path(&self, proto_name: &str, from_depth: usize) -> syn::Type {
        let path = match self.types.entries.get(proto_name) {
            Some(Entry {
                elsewhere: Some(path),
                ..
            }) => path.clone(),
            Some(entry) => self.relative(
                from_depth,
                &entry.package,
                &entry.nesting,
                &camel(entry.name),
            ),
            // References are checked before anything is named, so this is never reached with a protoc's output.
            None => camel(proto_name),
        };
        parse_type(&path)
    }

    fn field_ident(&self, proto_field: &str) -> Ident {
        names::ident(&snake(proto_field))
    }

    fn oneof_path(&self, message: &str, oneof: &str, from_depth: usize) -> syn::Type {
        let Some(entry) = self.types.entries.get(message) else {
            return parse_type(&camel(oneof));
        };
        let mut nesting = entry.nesting.clone();
        nesting.push(snake(entry.name));
        let name = entry
            .message()
            .map_or_else(|| camel(oneof), |message| oneof_name(message, oneof));
        parse_type(&self.relative(from_depth, &entry.package, &nesting, &name))
    }

    fn oneof_variant_ident(&self, field: &str) -> Ident {
        names::ident(&camel(field))
    }

    fn has_json(&self, message: &str) -> bool {
        self.types.contains(message) && !self.types.without_json.contains(message)
    }

    fn is_local(&self, proto_name: &str) -> bool {
        self.types
            .entries
            .get(proto_name)
            .is_some_and(|entry| entry.elsewhere.is_none())
    }

    fn runtime(&self) -> &syn::Path {
        self.runtime
    }
}

/// A file's package with its dot; nothing without one.
pub(crate) fn full_path(file: &FileDescriptorProto) -> String {
    match file.package() {
        "" => String::new(),
        package => format!(".{package}"),
    }
}

/// Whether prost-build takes a file for proto2.
pub(crate) fn is_proto2(file: &FileDescriptorProto) -> bool {
    file.syntax.as_deref() != Some("proto3")
}

/// Whether a message stands for the entries of a map.
pub(crate) fn is_map_entry(message: &DescriptorProto) -> bool {
    message
        .options
        .as_ref()
        .is_some_and(|options| options.map_entry())
}

/// The entries of a map field, in the message whose full path (with its dot) this is.
pub(crate) fn map_entry<'m>(
    full: &str,
    message: &'m DescriptorProto,
    field: &FieldDescriptorProto,
) -> Option<&'m DescriptorProto> {
    let name = field.type_name().strip_prefix(full)?.strip_prefix('.')?;
    let mut nested = message.nested_type.iter();
    nested.find(|nested| is_map_entry(nested) && nested.name() == name)
}

/// The modules of a package.
pub(crate) fn package_modules(package: &str) -> Vec<String> {
    package
        .split('.')
        .filter(|segment| !segment.is_empty())
        .map(snake)
        .collect()
}

/// The runtime's re-export of prost.
pub(crate) fn prost_path(options: &Options) -> String {
    format!("{}::prost", options.runtime_path)
}

/// The runtime's re-export of prost-types.
pub(crate) fn prost_types_path(options: &Options) -> String {
    format!("{}::prost_types", options.runtime_path)
}

/// The name of the enum that prost-build makes of a oneof.
pub(crate) fn oneof_name(message: &DescriptorProto, oneof: &str) -> String {
    let name = camel(oneof);
    let nested = message.nested_type.iter().map(DescriptorProto::name);
    let enums = message.enum_type.iter().map(|item| item.name());
    if nested.chain(enums).any(|other| camel(other) == name) {
        format!("{name}OneOf")
    } else {
        name
    }
}

/// The oneof that a field is a member of, not counting those that stand for proto3's `optional`.
pub(crate) fn real_oneof<'m>(
    message: &'m DescriptorProto,
    field: &FieldDescriptorProto,
) -> Option<&'m str> {
    if field.proto3_optional() {
        return None;
    }
    let index = usize::try_from(field.oneof_index?).ok()?;
    message.oneof_decl.get(index).map(|oneof| oneof.name())
}

/// Whether prost-build's path matchers match: the path itself, what it ends in, what it begins with, or ".".
pub(crate) fn matches(matcher: &str, path: &str) -> bool {
    matcher == "."
        || matcher == path
        || (!matcher.starts_with('.') && path.ends_with(&format!(".{matcher}")))
        || (matcher.starts_with('.') && is_below(path, matcher))
}

/// Whether a proto path is, or lies below, another.
fn is_below(path: &str, above: &str) -> bool {
    above == "."
        || path
            .strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A type from its text. Names are made of identifiers and extern paths are checked when they are read, so
/// the fallback is never taken; it is a type that cannot exist, not a panic.
fn parse_type(text: &str) -> syn::Type {
    syn::parse_str(text).unwrap_or_else(|_| syn::Type::Verbatim(proc_macro2::TokenStream::new()))
}
