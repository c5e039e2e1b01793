//! The client's side: one method per rpc, and nothing else that an rpc's name could meet.

use proc_macro2::TokenStream;
use quote::quote;

use super::method::{Kind, Rpc};
use super::{ServiceContext, docs};
use crate::generate::names::{RustNames, ident};

/// The client and the function that makes one.
pub(crate) fn emit(service: &ServiceContext<'_>, rpcs: &[Rpc<'_>]) -> TokenStream {
    let client = ident(&service.names.client);
    let new = ident(&service.names.new);
    let runtime = service.rust.runtime();
    let full_name = service.full_name;
    let doc = docs(
        service.docs.map(|service| &service.comments),
        &format!(" A client of the service `{full_name}`."),
    );
    let deprecated = service
        .proto
        .options
        .as_ref()
        .is_some_and(|options| options.deprecated())
        .then(|| quote!(#[deprecated]));
    let methods = rpcs.iter().map(|rpc| method(rpc, runtime));
    let new_doc =
        format!(" A client of the service `{full_name}`, found in the registry by `name`.");
    quote! {
        #doc
        #[derive(Clone, Debug)]
        pub struct #client {
            target: #runtime::client::Target,
        }

        #[doc = #new_doc]
        #deprecated
        pub fn #new(name: &str, client: &#runtime::Client) -> #client {
            #client { target: client.target(name) }
        }

        impl #client {
            #(#methods)*
        }
    }
}

fn method(rpc: &Rpc<'_>, runtime: &syn::Path) -> TokenStream {
    let Rpc {
        function,
        constant,
        request,
        response,
        ..
    } = rpc;
    let kind = rpc.kind.marker();
    let call = rpc.kind.function();
    let doc = docs(rpc.docs, &format!(" Calls the rpc `{}`.", rpc.proto.name()));
    let deprecated = rpc.deprecated().then(|| quote!(#[deprecated]));
    let (parameter, argument) = match rpc.kind {
        Kind::Unary | Kind::ServerStreaming => (Some(quote!(, req: #request)), Some(quote!(, req))),
        Kind::ClientStreaming | Kind::Bidi => (None, None),
    };
    quote! {
        #doc
        #deprecated
        pub fn #function(&self #parameter) -> #runtime::Call<#request, #response, #runtime::client::#kind> {
            self.target.#call(&#constant #argument)
        }
    }
}
