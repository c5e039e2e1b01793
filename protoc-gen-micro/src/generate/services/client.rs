//! The client's side: one method per rpc, and nothing else that an rpc's name could meet.

use proc_macro2::TokenStream;
use quote::quote;

use super::method::{Kind, Rpc};
use super::{Service, docs, is_commented};
use crate::generate::names::ident;

/// The client and the function that makes one.
pub(crate) fn emit(service: &Service<'_>, rpcs: &[Rpc<'_>]) -> TokenStream {
    let client = ident(&service.names.client);
    let new = ident(&service.names.new);
    let full_name = service.full_name;
    let doc = docs(
        service.docs,
        &format!(" A client of the service `{full_name}`."),
        &about(service, rpcs),
    );
    let new_doc = docs(
        None,
        &format!(" A client of the service `{full_name}` that is registered as `name`."),
        &["Nothing is looked up or connected before a call is made.".to_owned()],
    );
    let deprecated = service.deprecated.then(|| quote!(#[deprecated]));
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

        #new_doc
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
    let doc = docs(
        rpc.docs,
        &format!(" Calls the rpc `{}`.", rpc.name),
        &how_to(rpc),
    );
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

/// What a client's documentation says beside the proto's comment.
fn about(service: &Service<'_>, rpcs: &[Rpc<'_>]) -> Vec<String> {
    let new = &service.names.new;
    let made = match is_commented(service.docs) {
        true => format!(
            "A client of the service `{}`, made by [`{new}`]",
            service.full_name
        ),
        false => format!("Made by [`{new}`]"),
    };
    let mut paragraphs = vec![format!(
        "{made}. Clones are cheap and share their connections."
    )];
    if !rpcs.is_empty() {
        paragraphs.push(
            "Each function makes a [`Call`] of one rpc: a future that sends it when it is awaited, and that takes \
             options before, such as `.timeout(..)` or `.metadata(..)`. A call fails with the status of the handler, or \
             with one that says why none has answered."
                .to_owned(),
        );
    }
    paragraphs
}

/// How to use the call of a stream.
fn how_to(rpc: &Rpc<'_>) -> Vec<String> {
    let text = match rpc.kind {
        Kind::Unary => return Vec::new(),
        Kind::ClientStreaming => {
            "Awaited, the call gives the side to send on: `send` each request, then `finish`, which brings the reply. \
             Dropped before that, it cancels the call."
        }
        Kind::ServerStreaming => {
            "Awaited, the call gives the replies: `recv` one after the other, until `None`. Dropped before that, they \
             cancel the call."
        }
        Kind::Bidi => {
            "Awaited, the call gives both sides: `send` the requests and then `finish`, and `recv` the replies until \
             `None`, in any order. Dropping one before its end cancels the call."
        }
    };
    vec![text.to_owned()]
}
