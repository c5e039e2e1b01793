//! The client's side: one method per rpc, and nothing else that an rpc's name could meet.

use proc_macro2::TokenStream;
use quote::quote;

use super::method::{Kind, Rpc};
use super::{ServiceContext, docs};
use crate::generate::names::ident;

/// The client and the function that makes one.
pub(crate) fn emit(service: &ServiceContext<'_>, rpcs: &[Rpc<'_>]) -> TokenStream {
    let client = ident(&service.names.client);
    let new = ident(&service.names.new);
    let full_name = service.full_name;
    let doc = docs(
        service.docs.map(|service| &service.comments),
        &format!(" The service `{full_name}`, as its clients call it."),
    );
    let new_doc = format!(" A client of the service `{full_name}` that is registered as `name`.");
    let deprecated = service.deprecated().then(|| quote!(#[deprecated]));
    let methods = (!rpcs.is_empty()).then(|| {
        let methods = rpcs.iter().map(method);
        quote! {
            impl #client {
                #(#methods)*
            }
        }
    });
    quote! {
        #doc
        #[derive(Clone, Debug)]
        pub struct #client {
            target: Target,
        }

        #[doc = #new_doc]
        #deprecated
        #[must_use]
        pub fn #new(name: &str, client: &Client) -> #client {
            #client { target: client.target(name) }
        }

        #methods
    }
}

fn method(rpc: &Rpc<'_>) -> TokenStream {
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
        pub fn #function(&self #parameter) -> Call<#request, #response, #kind> {
            self.target.#call(&#constant #argument)
        }
    }
}
