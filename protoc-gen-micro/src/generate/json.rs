//! JSON for a package's messages: `JsonMessage`, `JsonEnum`, and `register_types` for the types of an `Any`.
//!
//! How a value is read and written is the runtime's business, and follows from the field's Rust type. All that is
//! generated is one line for each field on either side, so that the code stays small and compiles fast. Only an
//! enum's type must be named: prost holds its values as plain integers.

use std::collections::HashSet;
use std::fmt::Write as _;

use proc_macro2::TokenStream;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use quote::quote;

use super::names::RustNames;
use super::types::{full_path, real_oneof};

/// The JSON of all messages and enums in the files of one package, for the package's own module.
pub(crate) fn emit(files: &[&FileDescriptorProto], names: &dyn RustNames) -> TokenStream {
    let mut emitter = Emitter {
        names,
        items: TokenStream::new(),
        registered: TokenStream::new(),
    };
    for file in files {
        let prefix = full_path(file);
        emitter.types(&prefix, &file.message_type, &file.enum_type);
    }
    let Emitter {
        items, registered, ..
    } = emitter;
    let runtime = names.runtime();
    let docs = " Adds this package's messages to the types that an `Any` may hold in JSON.";
    let registry = match registered.is_empty() {
        true => quote!(_),
        false => quote!(registry),
    };
    quote! {
        #items

        #[doc = #docs]
        #[allow(dead_code, unreachable_pub, clippy::pedantic)]
        pub fn register_types(#registry: &mut #runtime::json::TypeRegistry) {
            #registered
        }
    }
}

struct Emitter<'a> {
    names: &'a dyn RustNames,
    items: TokenStream,
    registered: TokenStream,
}

// ===== impl Emitter =====

impl Emitter<'_> {
    /// Emits what stands in one place: in a file, or in the message that `prefix` names.
    fn types(&mut self, prefix: &str, messages: &[DescriptorProto], enums: &[EnumDescriptorProto]) {
        for message in messages {
            let full = format!("{prefix}.{}", message.name());
            let is_map_entry = message
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry());
            if is_map_entry || !self.names.is_local(&full) {
                continue;
            }
            if self.names.has_json(&full) {
                self.message(&full, message);
            }
            self.types(&full, &message.nested_type, &message.enum_type);
        }
        for item in enums {
            let full = format!("{prefix}.{}", item.name());
            if self.names.is_local(&full) {
                self.enumeration(&full, item);
            }
        }
    }

    fn message(&mut self, full: &str, message: &DescriptorProto) {
        let runtime = self.names.runtime();
        let path = self.names.type_path(full, 0);
        let name = full.trim_start_matches('.');
        // A message without fields has what the trait gives.
        let body = Fields::new(full, message, self.names).emit().map(|(write, merge)| {
            quote! {
                fn write_fields(&self, w: &mut #runtime::json::JsonWriter<'_>) -> #runtime::json::Result<()> {
                    #write
                }

                fn merge_field(
                    &mut self,
                    key: &str,
                    r: &mut #runtime::json::JsonReader<'_>,
                ) -> #runtime::json::Result<#runtime::json::Merged> {
                    match key {
                        #merge
                        _ => r.unknown(),
                    }
                }
            }
        });
        let form = self.form(full);
        let allow = message
            .field
            .iter()
            .any(|field| {
                field
                    .options
                    .as_ref()
                    .is_some_and(|options| options.deprecated())
            })
            .then(|| quote!(#[allow(deprecated)]));
        self.items.extend(quote! {
            #allow
            impl #runtime::json::JsonMessage for #path {
                const NAME: &'static str = #name;
                #body
                #form
            }
        });
        self.registered.extend(quote! {
            registry.register::<#path>();
        });
    }

    /// What makes a well-known type that is compiled here look in JSON as the runtime's own does.
    fn form(&self, full: &str) -> Option<TokenStream> {
        let runtime = self.names.runtime();
        let own = match full.strip_prefix(".google.protobuf.")? {
            "BoolValue" => quote!(bool),
            "BytesValue" => quote!(#runtime::prost::alloc::vec::Vec<u8>),
            "DoubleValue" => quote!(f64),
            "FloatValue" => quote!(f32),
            "Int32Value" => quote!(i32),
            "Int64Value" => quote!(i64),
            "StringValue" => quote!(#runtime::prost::alloc::string::String),
            "UInt32Value" => quote!(u32),
            "UInt64Value" => quote!(u64),
            name @ ("Any" | "Duration" | "FieldMask" | "ListValue" | "Struct" | "Timestamp"
            | "Value") => {
                let name = quote::format_ident!("{name}");
                quote!(#runtime::prost_types::#name)
            }
            _ => return None,
        };
        Some(quote! {
            const SPECIAL: bool = true;

            fn write_value(&self, w: &mut #runtime::json::JsonWriter<'_>) -> #runtime::json::Result<()> {
                w.well_known::<#own, Self>(self)
            }

            fn read_value(
                r: &mut #runtime::json::JsonReader<'_>,
            ) -> #runtime::json::Result<#runtime::json::Parsed<Self>> {
                r.well_known::<#own, Self>()
            }
        })
    }

    fn enumeration(&mut self, full: &str, item: &EnumDescriptorProto) {
        let runtime = self.names.runtime();
        let path = self.names.type_path(full, 0);
        let name = full.trim_start_matches('.');
        // prost keeps the first name of a number only.
        let mut numbers = HashSet::new();
        let aliases: Vec<_> = item
            .value
            .iter()
            .filter(|value| !numbers.insert(value.number()))
            .map(|value| {
                let (name, number) = (value.name(), value.number());
                quote!(#name => ::core::option::Option::Some(#number),)
            })
            .collect();
        let known = quote! {
            ::core::option::Option::map(Self::from_str_name(name), |value| value as i32)
        };
        let number = match aliases.is_empty() {
            true => known,
            false => quote! {
                match name {
                    #(#aliases)*
                    _ => #known,
                }
            },
        };
        let null = (name == "google.protobuf.NullValue").then(|| {
            quote!(
                const NULL: bool = true;
            )
        });
        self.items.extend(quote! {
            impl #runtime::json::JsonEnum for #path {
                const NAME: &'static str = #name;
                #null

                fn name(number: i32) -> ::core::option::Option<&'static str> {
                    match <Self as ::core::convert::TryFrom<i32>>::try_from(number) {
                        ::core::result::Result::Ok(value) => ::core::option::Option::Some(Self::as_str_name(&value)),
                        ::core::result::Result::Err(_) => ::core::option::Option::None,
                    }
                }

                fn number(name: &str) -> ::core::option::Option<i32> {
                    #number
                }
            }
        });
    }
}

/// The fields of one message.
struct Fields<'a> {
    full: &'a str,
    message: &'a DescriptorProto,
    names: &'a dyn RustNames,
    json_names: HashSet<String>,
}

// ===== impl Fields =====

impl<'a> Fields<'a> {
    fn new(full: &'a str, message: &'a DescriptorProto, names: &'a dyn RustNames) -> Fields<'a> {
        Fields {
            full,
            message,
            names,
            json_names: message
                .field
                .iter()
                .map(|field| field.json_name().to_owned())
                .collect(),
        }
    }

    /// The statements that write the fields, and the arms that read them; `None` if there are no fields.
    fn emit(&self) -> Option<(TokenStream, TokenStream)> {
        let mut write = TokenStream::new();
        let mut merge = TokenStream::new();
        let mut written = HashSet::new();
        // The last call is the value of the function.
        let mut last = None;
        for field in &self.message.field {
            let call = match real_oneof(self.message, field) {
                None => Some(self.write(field)),
                // All members are written in the place of the first.
                Some(oneof) if written.insert(oneof) => {
                    write.extend(last.take().map(|call| quote!(#call?;)));
                    write.extend(self.write_oneof(oneof));
                    None
                }
                Some(_) => None,
            };
            if let Some(call) = call {
                write.extend(last.replace(call).map(|call| quote!(#call?;)));
            }
            merge.extend(self.merge(field));
        }
        write.extend(last.unwrap_or_else(|| quote!(::core::result::Result::Ok(()))));
        (!self.message.field.is_empty()).then_some((write, merge))
    }

    /// The call that writes a field.
    fn write(&self, field: &FieldDescriptorProto) -> TokenStream {
        let ident = self.names.field_ident(field.name());
        let (json, proto) = (escape(field.json_name()), escape(field.name()));
        let required = field.label() == Label::Required;
        match (self.enum_path(field), required) {
            (None, false) => quote!(w.field(#json, #proto, &self.#ident)),
            (None, true) => quote!(w.required(#json, #proto, &self.#ident)),
            (Some(path), false) => quote!(w.enumeration::<#path, _>(#json, #proto, &self.#ident)),
            (Some(path), true) => {
                quote!(w.required_enumeration::<#path>(#json, #proto, &self.#ident))
            }
        }
    }

    fn write_oneof(&self, oneof: &str) -> TokenStream {
        let ident = self.names.field_ident(oneof);
        let path = self.names.oneof_path(self.full, oneof, 0);
        let members = self
            .message
            .field
            .iter()
            .filter(|field| real_oneof(self.message, field) == Some(oneof))
            .map(|field| {
                let variant = self.names.oneof_variant_ident(field.name());
                let (json, proto) = (escape(field.json_name()), escape(field.name()));
                let write = match self.enum_path(field) {
                    None => quote!(w.required(#json, #proto, value)?),
                    Some(path) => quote!(w.required_enumeration::<#path>(#json, #proto, value)?),
                };
                quote!(::core::option::Option::Some(#path::#variant(value)) => #write,)
            });
        quote! {
            match &self.#ident {
                #(#members)*
                ::core::option::Option::None => {}
            }
        }
    }

    fn merge(&self, field: &FieldDescriptorProto) -> TokenStream {
        let json = field.json_name();
        let proto = field.name();
        // The proto's spelling yields to a JSON name.
        let keys = match json == proto || self.json_names.contains(proto) {
            true => quote!(#json),
            false => quote!(#json | #proto),
        };
        let number = proc_macro2::Literal::i32_unsuffixed(field.number());
        let enum_path = self.enum_path(field);
        let read = match (real_oneof(self.message, field), enum_path) {
            (None, enum_path) => {
                let ident = self.names.field_ident(proto);
                match enum_path {
                    None => quote!(r.field(#number, &mut self.#ident)),
                    Some(path) => quote!(r.enumeration::<#path, _>(#number, &mut self.#ident)),
                }
            }
            (Some(oneof), enum_path) => {
                let ident = self.names.field_ident(oneof);
                let path = self.names.oneof_path(self.full, oneof, 0);
                let variant = self.names.oneof_variant_ident(proto);
                match enum_path {
                    None => quote!(r.oneof(#number, #oneof, &mut self.#ident, #path::#variant)),
                    Some(of) => {
                        quote!(r.oneof_enumeration::<#of, _>(#number, #oneof, &mut self.#ident, #path::#variant))
                    }
                }
            }
        };
        quote!(#keys => #read,)
    }

    /// The path of a field's enum, or of the enum of a map's values.
    fn enum_path(&self, field: &FieldDescriptorProto) -> Option<syn::Type> {
        let value = match field.r#type() {
            Type::Message => self.map_value(field)?,
            _ => field,
        };
        (value.r#type() == Type::Enum).then(|| self.names.type_path(value.type_name(), 0))
    }

    /// The values of a map field. protoc puts the type of its entries into the field's message.
    fn map_value(&self, field: &FieldDescriptorProto) -> Option<&'a FieldDescriptorProto> {
        if field.label() != Label::Repeated {
            return None;
        }
        let entry = field
            .type_name()
            .strip_prefix(self.full)?
            .strip_prefix('.')?;
        let entry = self
            .message
            .nested_type
            .iter()
            .find(|message| message.name() == entry)?;
        if !entry.options.as_ref()?.map_entry() {
            return None;
        }
        entry.field.iter().find(|field| field.number() == 2)
    }
}

/// A name as it stands inside of a JSON string; the runtime writes it as it is.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '"' | '\\' => escaped.extend(['\\', char]),
            // Writing to a string cannot fail.
            '\0'..='\u{1f}' => drop(write!(escaped, "\\u{:04x}", u32::from(char))),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_once_and_for_all() {
        assert_eq!(escape("größe"), "größe");
        assert_eq!(escape("a\"b\\c\n"), "a\\\"b\\\\c\\u000a");
    }
}
