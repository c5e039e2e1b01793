//! One rpc: its names and its static descriptor.

use heck::ToShoutySnakeCase;
use proc_macro2::{Ident, TokenStream};
use prost_types::MethodOptions;
use prost_types::method_options::IdempotencyLevel;
use quote::quote;

use super::shape::Shapes;
use super::{Service, ServiceContext};
use crate::descriptor::{Binding, comment};
use crate::generate::names::{RustNames, go_camel, ident, sanitize, snake};

/// How many messages go each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Unary,
    ClientStreaming,
    ServerStreaming,
    Bidi,
}

/// The marker that says how an rpc's messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Protobuf alone.
    Prost,
    /// Protobuf and our JSON mapping.
    ProstJson,
}

/// One rpc.
pub(crate) struct Rpc<'a> {
    /// Its name in the proto.
    pub(crate) name: &'a str,
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    /// Its function, `place_order`.
    pub(crate) function: Ident,
    /// Its descriptor's static, `PLACE_ORDER`.
    pub(crate) constant: Ident,
    /// The types of its messages, as the service's module sees them.
    pub(crate) request: syn::Type,
    pub(crate) response: syn::Type,
    /// The full names of its messages in the proto, with their dots.
    pub(crate) input: &'a str,
    pub(crate) output: &'a str,
    /// Its comments, if there are any.
    pub(crate) docs: Option<&'a prost_build::Comments>,
    options: Option<&'a MethodOptions>,
    comment: String,
    http: &'a [Binding],
}

// ===== impl Kind =====

impl Kind {
    fn of(client_streaming: bool, server_streaming: bool) -> Kind {
        match (client_streaming, server_streaming) {
            (false, false) => Kind::Unary,
            (true, false) => Kind::ClientStreaming,
            (false, true) => Kind::ServerStreaming,
            (true, true) => Kind::Bidi,
        }
    }

    /// The variant of `MethodKind`, which is also the marker of a call's type.
    pub(crate) fn marker(self) -> Ident {
        ident(match self {
            Kind::Unary => "Unary",
            Kind::ClientStreaming => "ClientStreaming",
            Kind::ServerStreaming => "ServerStreaming",
            Kind::Bidi => "Bidi",
        })
    }

    /// The runtime's function for it, of routes and of targets.
    pub(crate) fn function(self) -> Ident {
        ident(match self {
            Kind::Unary => "unary",
            Kind::ClientStreaming => "client_streaming",
            Kind::ServerStreaming => "server_streaming",
            Kind::Bidi => "bidi",
        })
    }
}

// ===== impl Rpc =====

impl<'a> Rpc<'a> {
    /// The rpcs of a service of a descriptor, in their order.
    pub(super) fn of_descriptor(service: &'a ServiceContext<'a>) -> Vec<Rpc<'a>> {
        let json = |message| service.options.json && service.rust.has_json(message);
        let rpcs = service.proto.method.iter().enumerate();
        rpcs.map(|(index, proto)| {
            let full_name = format!("{}.{}", service.full_name, proto.name());
            Rpc {
                name: proto.name(),
                kind: Kind::of(proto.client_streaming(), proto.server_streaming()),
                codec: match json(proto.input_type()) && json(proto.output_type()) {
                    true => Codec::ProstJson,
                    false => Codec::Prost,
                },
                function: ident(&snake(proto.name())),
                constant: constant(proto.name()),
                request: service.rust.type_path(proto.input_type(), 1),
                response: service.rust.type_path(proto.output_type(), 1),
                input: proto.input_type(),
                output: proto.output_type(),
                docs: service
                    .docs
                    .and_then(|docs| docs.methods.get(index))
                    .map(|method| &method.comments),
                options: proto.options.as_ref(),
                comment: service.annotations.comment(&full_name).to_owned(),
                http: service.annotations.http(&full_name),
            }
        })
        .collect()
    }

    /// The rpcs of a service as prost-build knows it: without JSON, and without rules of `google.api.http`.
    ///
    /// # Errors
    /// A type that is none.
    pub(super) fn of_prost(service: &'a prost_build::Service) -> syn::Result<Vec<Rpc<'a>>> {
        let rpcs = service.methods.iter();
        rpcs.map(|method| {
            Ok(Rpc {
                name: &method.proto_name,
                kind: Kind::of(method.client_streaming, method.server_streaming),
                codec: Codec::Prost,
                function: ident(&snake(&method.proto_name)),
                constant: constant(&method.proto_name),
                request: inside(&method.input_type)?,
                response: inside(&method.output_type)?,
                input: &method.input_proto_type,
                output: &method.output_proto_type,
                docs: Some(&method.comments),
                options: Some(&method.options),
                comment: comment(&method.comments.leading.join("\n")),
                http: &[],
            })
        })
        .collect()
    }

    /// Whether the proto calls it deprecated.
    pub(crate) fn deprecated(&self) -> bool {
        self.options.is_some_and(MethodOptions::deprecated)
    }

    /// The variant of `Idempotency`, if the proto says one.
    pub(crate) fn idempotency(&self) -> Option<Ident> {
        match self.options?.idempotency_level() {
            IdempotencyLevel::NoSideEffects => Some(ident("NoSideEffects")),
            IdempotencyLevel::Idempotent => Some(ident("Idempotent")),
            IdempotencyLevel::IdempotencyUnknown => None,
        }
    }

    /// Whether it has rules of `google.api.http`.
    pub(crate) fn has_http(&self) -> bool {
        !self.http.is_empty()
    }

    /// The static that describes it to the runtime.
    pub(crate) fn descriptor(&self, service: &Service<'_>, shapes: &mut Shapes<'_>) -> TokenStream {
        let Rpc {
            constant,
            request,
            response,
            comment,
            http,
            ..
        } = self;
        let codec = ident(match self.codec {
            Codec::Prost => "Prost",
            Codec::ProstJson => "ProstJson",
        });
        let kind = self.kind.marker();
        let full_name = service.full_name;
        let name = self.name;
        let path = format!("/{full_name}/{name}");
        // go-micro names endpoints by the Go names of service and method (protoc-gen-micro, CamelCase).
        let endpoint = format!("{}.{}", go_camel(service.proto_name), go_camel(name));
        let doc = format!(" The rpc `{path}`.");
        let idempotency = self
            .idempotency()
            .map(|level| quote! { .idempotency(Idempotency::#level) });
        let deprecated = self.deprecated() || service.deprecated;
        let deprecated = deprecated.then(|| quote! { .deprecated() });
        let comment = (!comment.is_empty()).then(|| quote! { .comment(#comment) });
        let http = (!http.is_empty()).then(|| {
            let rules = http.iter().map(http_rule);
            quote! { .http(&[#(#rules),*]) }
        });
        let request_shape = shapes.of(self.input);
        let response_shape = shapes.of(self.output);
        quote! {
            #[doc = #doc]
            pub static #constant: Method<#request, #response> =
                Method::new::<#codec>(MethodKind::#kind, #full_name, #name, #path, #endpoint)
                #idempotency
                #deprecated
                #comment
                #http
                .shapes(&#request_shape, &#response_shape);
        }
    }
}

fn http_rule(rule: &Binding) -> TokenStream {
    let Binding {
        verb,
        path,
        body,
        response_body,
    } = rule;
    let body = (!body.is_empty()).then(|| quote!(.body(#body)));
    let response_body = (!response_body.is_empty()).then(|| quote!(.response_body(#response_body)));
    quote!(HttpRule::new(#verb, #path) #body #response_body)
}

/// The name of an rpc's static.
fn constant(rpc: &str) -> Ident {
    ident(&sanitize(&rpc.to_shouty_snake_case()))
}

/// A type that prost-build writes for the package's module, as the service's module inside of it sees it.
fn inside(text: &str) -> syn::Result<syn::Type> {
    const PRIMITIVES: [&str; 7] = ["bool", "f32", "f64", "i32", "i64", "u32", "u64"];
    let parsed: syn::Type = syn::parse_str(text)?;
    let relative = match &parsed {
        syn::Type::Path(path) => {
            let path = &path.path;
            let first = path
                .segments
                .first()
                .map(|segment| segment.ident.to_string());
            let first = first.unwrap_or_default();
            let primitive = path.segments.len() == 1 && PRIMITIVES.contains(&first.as_str());
            path.leading_colon.is_none() && first != "crate" && !primitive
        }
        _ => false,
    };
    match relative {
        true => syn::parse_str(&format!("super::{text}")),
        false => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;

    use super::*;

    #[test]
    fn types_are_seen_from_one_module_further_down() {
        for (text, expected) in [
            ("Request", "super::Request"),
            ("super::other::Request", "super::super::other::Request"),
            ("order::Line", "super::order::Line"),
            ("::prost_types::Timestamp", "::prost_types::Timestamp"),
            ("crate::pb::Request", "crate::pb::Request"),
            ("()", "()"),
            ("bool", "bool"),
            ("bool::True", "super::bool::True"),
        ] {
            let found = inside(text).map(|found| found.to_token_stream().to_string());
            assert_eq!(
                found.map(|text| text.replace(' ', "")).ok().as_deref(),
                Some(expected)
            );
        }
        assert!(inside("not a type").is_err());
    }
}
