//! One rpc: its names and its static descriptor.

use heck::ToShoutySnakeCase;
use proc_macro2::{Ident, TokenStream};
use prost_types::MethodDescriptorProto;
use prost_types::method_options::IdempotencyLevel;
use quote::quote;

use super::ServiceContext;
use super::shape::Shapes;
use crate::descriptor::Binding;
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
    pub(crate) proto: &'a MethodDescriptorProto,
    pub(crate) kind: Kind,
    pub(crate) codec: Codec,
    /// Its function, `place_order`.
    pub(crate) function: Ident,
    /// Its descriptor's static, `PLACE_ORDER`.
    pub(crate) constant: Ident,
    /// The types of its messages, as the service's module sees them.
    pub(crate) request: syn::Type,
    pub(crate) response: syn::Type,
    /// Its comments, if there are any.
    pub(crate) docs: Option<&'a prost_build::Comments>,
    comment: &'a str,
    http: &'a [Binding],
}

// ===== impl Kind =====

impl Kind {
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
    /// The rpcs of a service, in their order.
    pub(crate) fn all(service: &'a ServiceContext<'a>) -> Vec<Rpc<'a>> {
        let json = |message| service.options.json && service.rust.has_json(message);
        let rpcs = service.proto.method.iter().enumerate();
        rpcs.map(|(index, proto)| {
            let name = format!("{}.{}", service.full_name, proto.name());
            Rpc {
                proto,
                kind: match (proto.client_streaming(), proto.server_streaming()) {
                    (false, false) => Kind::Unary,
                    (true, false) => Kind::ClientStreaming,
                    (false, true) => Kind::ServerStreaming,
                    (true, true) => Kind::Bidi,
                },
                codec: match json(proto.input_type()) && json(proto.output_type()) {
                    true => Codec::ProstJson,
                    false => Codec::Prost,
                },
                function: ident(&snake(proto.name())),
                constant: ident(&sanitize(&proto.name().to_shouty_snake_case())),
                request: service.rust.type_path(proto.input_type(), 1),
                response: service.rust.type_path(proto.output_type(), 1),
                docs: service
                    .docs
                    .and_then(|docs| docs.methods.get(index))
                    .map(|method| &method.comments),
                comment: service.annotations.comment(&name),
                http: service.annotations.http(&name),
            }
        })
        .collect()
    }

    /// Whether the proto calls it deprecated.
    pub(crate) fn deprecated(&self) -> bool {
        self.proto
            .options
            .as_ref()
            .is_some_and(|options| options.deprecated())
    }

    /// The variant of `Idempotency`, if the proto says one.
    pub(crate) fn idempotency(&self) -> Option<Ident> {
        match self.proto.options.as_ref()?.idempotency_level() {
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
    pub(crate) fn descriptor(
        &self,
        service: &ServiceContext<'_>,
        shapes: &mut Shapes<'_>,
    ) -> TokenStream {
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
        let name = self.proto.name();
        let path = format!("/{full_name}/{name}");
        // go-micro names endpoints by the Go names of service and method (protoc-gen-micro, CamelCase).
        let endpoint = format!("{}.{}", go_camel(service.proto.name()), go_camel(name));
        let doc = format!(" The rpc `{path}`.");
        let idempotency = self
            .idempotency()
            .map(|level| quote! { .idempotency(Idempotency::#level) });
        let deprecated = self.deprecated().then(|| quote! { .deprecated() });
        let comment = (!comment.is_empty()).then(|| quote! { .comment(#comment) });
        let http = (!http.is_empty()).then(|| {
            let rules = http.iter().map(http_rule);
            quote! { .http(&[#(#rules),*]) }
        });
        let request_shape = shapes.of(self.proto.input_type());
        let response_shape = shapes.of(self.proto.output_type());
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
