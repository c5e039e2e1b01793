//! What a service's module imports.
//!
//! The module is ours alone: types in it end in `Handler` or `Service`, functions are in snake case, statics in
//! capitals, and messages are written with their paths. So these names can meet none of a user's, and the code
//! can be written as a person would.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::quote;

use super::Service;
use super::method::{Codec, Kind, Rpc};
use crate::generate::names::ident;

/// The `use` items of a service's module: just what its rpcs need.
pub(crate) fn emit(service: &Service<'_>, rpcs: &[Rpc<'_>]) -> TokenStream {
    let runtime = service.runtime;
    let (server, client) = (service.options.server, service.options.client);
    let has = |kinds: &[Kind]| rpcs.iter().any(|rpc| kinds.contains(&rpc.kind));
    let mut paths = BTreeSet::new();
    let mut add = |needed: bool, path: &'static str| {
        if needed {
            paths.insert(path);
        }
    };
    let any = !rpcs.is_empty();
    add(rpcs.iter().any(Rpc::has_http), "method::HttpRule");
    add(any, "method::Method");
    add(any, "method::MethodKind");
    add(any, "method::Shape");
    add(
        rpcs.iter().any(|rpc| rpc.idempotency().is_some()),
        "method::Idempotency",
    );
    add(
        rpcs.iter().any(|rpc| rpc.codec == Codec::Prost),
        "codec::Prost",
    );
    add(
        rpcs.iter().any(|rpc| rpc.codec == Codec::ProstJson),
        "codec::ProstJson",
    );
    add(server, "Error");
    add(server, "Server");
    add(server, "server::Routes");
    add(server && any, "Context");
    add(server, "Result");
    add(
        server && has(&[Kind::ClientStreaming, Kind::Bidi]),
        "Inbound",
    );
    add(
        server && has(&[Kind::ServerStreaming, Kind::Bidi]),
        "Outbound",
    );
    add(client, "Client");
    add(client, "client::Target");
    add(client && any, "Call");
    add(client && has(&[Kind::Unary]), "client::Unary");
    add(
        client && has(&[Kind::ClientStreaming]),
        "client::ClientStreaming",
    );
    add(
        client && has(&[Kind::ServerStreaming]),
        "client::ServerStreaming",
    );
    add(client && has(&[Kind::Bidi]), "client::Bidi");

    let mut result = TokenStream::new();
    if server {
        if any {
            result.extend(quote! { use ::core::future::Future; });
        }
        result.extend(quote! { use ::std::sync::Arc; });
    }
    for module in ["", "client", "codec", "method", "server"] {
        let inside = paths.iter().filter_map(|path| match path.split_once("::") {
            Some((parent, name)) => (parent == module).then_some(name),
            None => module.is_empty().then_some(*path),
        });
        let names: Vec<_> = inside.map(ident).collect();
        let parent = (!module.is_empty())
            .then(|| ident(module))
            .map(|module| quote!(#module::));
        result.extend(match names.as_slice() {
            [] => continue,
            [one] => quote! { use #runtime::#parent #one; },
            many => quote! { use #runtime::#parent{#(#many),*}; },
        });
    }
    result
}
