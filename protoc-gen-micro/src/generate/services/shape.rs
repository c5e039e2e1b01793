//! Value trees: what the registry shows of a method's messages.
//!
//! go-micro fills them by reflection, three levels deep: the message, its fields, and the fields of those. Names
//! are the proto's, types are Go's (go-micro v2.9.1 server/extractor.go).

use std::collections::{BTreeMap, BTreeSet};

use heck::ToShoutySnakeCase;
use proc_macro2::{Ident, TokenStream};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use quote::quote;

use super::Annotations;
use super::method::Rpc;
use crate::generate::names::{go_camel, ident, sanitize};
use crate::generate::types::Types;

/// How many levels of fields there are below a message.
const LEVELS: usize = 2;

/// The trees of one service's messages, each once.
pub(crate) struct Shapes<'a> {
    /// The messages' descriptors, if there are any; else there are only names.
    types: Option<&'a Types<'a>>,
    annotations: &'a Annotations,
    /// By full message name.
    statics: BTreeMap<String, Ident>,
    taken: BTreeSet<String>,
}

// ===== impl Shapes =====

impl<'a> Shapes<'a> {
    /// No trees yet; their statics take no rpc's name.
    pub(super) fn new(
        types: Option<&'a Types<'a>>,
        annotations: &'a Annotations,
        rpcs: &[Rpc<'_>],
    ) -> Shapes<'a> {
        Shapes {
            types,
            annotations,
            statics: BTreeMap::new(),
            taken: rpcs.iter().map(|rpc| rpc.constant.to_string()).collect(),
        }
    }

    /// The static with a message's tree.
    pub(crate) fn of(&mut self, message: &str) -> Ident {
        if let Some(known) = self.statics.get(message) {
            return known.clone();
        }
        let base = sanitize(&format!(
            "{}_SHAPE",
            self.go_name(message).to_shouty_snake_case()
        ));
        let numbered = (2..).map(|number| format!("{base}_{number}"));
        let name = std::iter::once(base.clone())
            .chain(numbered)
            .find(|name| !self.taken.contains(name))
            .unwrap_or_default();
        self.taken.insert(name.clone());
        let name = ident(&name);
        self.statics.insert(message.to_owned(), name.clone());
        name
    }

    /// All statics.
    pub(crate) fn emit(&self) -> TokenStream {
        let statics = self.statics.iter().map(|(message, name)| {
            let kind = self.go_name(message);
            let fields = self.fields(message, LEVELS);
            let comment = self.annotations.comment(message.trim_start_matches('.'));
            quote! {
                static #name: Shape = Shape::message(#kind, #comment, &[#(#fields),*]);
            }
        });
        quote! { #(#statics)* }
    }

    fn message(&self, name: &str) -> Option<&'a DescriptorProto> {
        self.types.and_then(|types| types.message(name))
    }

    fn go_name(&self, name: &str) -> String {
        match self.types {
            Some(types) => types.go_name(name),
            None => go_camel(name.rsplit('.').next().unwrap_or(name)),
        }
    }

    fn fields(&self, message: &str, levels: usize) -> Vec<TokenStream> {
        let Some(descriptor) = self.message(message).filter(|_| levels > 0) else {
            return Vec::new();
        };
        descriptor
            .field
            .iter()
            .map(|field| {
                let name = field.name();
                let kind = self.kind(field);
                let singular_message = field.label() != Label::Repeated
                    && matches!(field.r#type(), Type::Message | Type::Group);
                let fields = if singular_message {
                    self.fields(field.type_name(), levels - 1)
                } else {
                    Vec::new()
                };
                match fields.as_slice() {
                    [] => quote! { Shape::field(#name, #kind) },
                    fields => quote! { Shape::nested(#name, #kind, &[#(#fields),*]) },
                }
            })
            .collect()
    }

    /// The name of a field's type in Go.
    fn kind(&self, field: &FieldDescriptorProto) -> String {
        let element = match field.r#type() {
            Type::Double => "float64".to_owned(),
            Type::Float => "float32".to_owned(),
            Type::Int64 | Type::Sint64 | Type::Sfixed64 => "int64".to_owned(),
            Type::Uint64 | Type::Fixed64 => "uint64".to_owned(),
            Type::Int32 | Type::Sint32 | Type::Sfixed32 => "int32".to_owned(),
            Type::Uint32 | Type::Fixed32 => "uint32".to_owned(),
            Type::Bool => "bool".to_owned(),
            Type::String => "string".to_owned(),
            // A slice's type is shown with its element's name, and a slice of slices has none for that.
            Type::Bytes if field.label() == Label::Repeated => String::new(),
            Type::Bytes => "[]uint8".to_owned(),
            Type::Enum | Type::Message | Type::Group => self.go_name(field.type_name()),
        };
        let is_map = self.message(field.type_name()).is_some_and(|entry| {
            entry
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry())
        });
        match (is_map, field.label()) {
            // Go's map types have no name.
            (true, _) => String::new(),
            (false, Label::Repeated) => format!("[]{element}"),
            (false, _) => element,
        }
    }
}
