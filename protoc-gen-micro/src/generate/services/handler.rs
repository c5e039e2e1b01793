//! The server's side: the trait to implement, and the function that registers an implementation.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use super::method::{Kind, Rpc};
use super::{ServiceContext, docs};
use crate::generate::names::{RustNames, ident};

/// The trait, its implementation for shared handlers, and the function that registers one.
pub(crate) fn emit(service: &ServiceContext<'_>, rpcs: &[Rpc<'_>]) -> TokenStream {
    let handler = ident(&service.names.handler);
    let register = ident(&service.names.register);
    let runtime = service.rust.runtime();
    let full_name = service.full_name;
    let doc = docs(
        service.docs.map(|service| &service.comments),
        &format!(" The rpcs of the service `{full_name}`, to be implemented by a server."),
    );
    let signatures: Vec<TokenStream> = rpcs.iter().map(|rpc| signature(rpc, runtime)).collect();
    let methods = rpcs.iter().zip(&signatures).map(|(rpc, signature)| {
        let doc = docs(
            rpc.docs,
            &format!(" Answers the rpc `{}`.", rpc.proto.name()),
        );
        quote! { #doc #signature; }
    });
    let shared = rpcs.iter().zip(&signatures).map(|(rpc, signature)| {
        let function = &rpc.function;
        let arguments = arguments(rpc.kind);
        quote! { #signature { <__H as #handler>::#function(&**self, #arguments) } }
    });
    let routes = rpcs.iter().map(|rpc| {
        let Rpc {
            function, constant, ..
        } = rpc;
        let add = rpc.kind.function();
        let arguments = match rpc.kind {
            Kind::Unary => quote!(__ctx, __req),
            Kind::ClientStreaming => quote!(__ctx, __requests),
            Kind::ServerStreaming => quote!(__ctx, __req, __responses),
            Kind::Bidi => quote!(__ctx, __requests, __responses),
        };
        quote! {
            .#add(&#constant, &__handler, |__h, #arguments| async move {
                <__H as #handler>::#function(&*__h, #arguments).await
            })
        }
    });
    let message = format!("`{{Self}}` is not a handler of the service `{full_name}`");
    let label = format!("does not implement `{handler}`");
    let note = note(&handler.to_string(), rpcs);
    let register_doc =
        format!(" Adds the service `{full_name}` to a server, answered by `handler`.");
    quote! {
        #doc
        #[diagnostic::on_unimplemented(message = #message, label = #label, note = #note)]
        pub trait #handler: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#methods)*
        }

        impl<__H: #handler> #handler for ::std::sync::Arc<__H> {
            #(#shared)*
        }

        #[doc = #register_doc]
        #[doc = ""]
        #[doc = " # Errors"]
        #[doc = " If the server has a service of that name already."]
        pub fn #register<__H: #handler>(
            server: &#runtime::Server,
            handler: __H,
        ) -> ::core::result::Result<(), #runtime::Error> {
            let __handler = ::std::sync::Arc::new(handler);
            server.add(#runtime::server::Routes::new(#full_name) #(#routes)*)
        }
    }
}

/// A handler's function, without a body.
fn signature(rpc: &Rpc<'_>, runtime: &syn::Path) -> TokenStream {
    let Rpc {
        function,
        request,
        response,
        ..
    } = rpc;
    let inbound = quote!(requests: #runtime::Inbound<#request>);
    let outbound = quote!(responses: #runtime::Outbound<#response>);
    let (arguments, output) = match rpc.kind {
        Kind::Unary => (quote!(req: #request), response.to_token_stream()),
        Kind::ClientStreaming => (inbound, response.to_token_stream()),
        Kind::ServerStreaming => (quote!(req: #request, #outbound), quote!(())),
        Kind::Bidi => (quote!(#inbound, #outbound), quote!(())),
    };
    quote! {
        fn #function(
            &self,
            ctx: #runtime::Context,
            #arguments
        ) -> impl ::core::future::Future<Output = #runtime::Result<#output>> + ::core::marker::Send
    }
}

fn arguments(kind: Kind) -> TokenStream {
    match kind {
        Kind::Unary => quote!(ctx, req),
        Kind::ClientStreaming => quote!(ctx, requests),
        Kind::ServerStreaming => quote!(ctx, req, responses),
        Kind::Bidi => quote!(ctx, requests, responses),
    }
}

/// What the compiler prints when something that is no handler is registered: what there is to write.
fn note(handler: &str, rpcs: &[Rpc<'_>]) -> String {
    let mut note = format!("`impl {handler}` needs");
    for rpc in rpcs {
        let short = |kind: &syn::Type| {
            // As seen from the service's module; whoever writes a handler stands outside of it.
            kind.to_token_stream()
                .to_string()
                .replace(' ', "")
                .trim_start_matches("super::")
                .to_owned()
        };
        let (request, response) = (short(&rpc.request), short(&rpc.response));
        let (arguments, output) = match rpc.kind {
            Kind::Unary => (format!("req: {request}"), response),
            Kind::ClientStreaming => (format!("requests: Inbound<{request}>"), response),
            Kind::ServerStreaming => (
                format!("req: {request}, responses: Outbound<{response}>"),
                "()".to_owned(),
            ),
            Kind::Bidi => (
                format!("requests: Inbound<{request}>, responses: Outbound<{response}>"),
                "()".to_owned(),
            ),
        };
        let function = &rpc.function;
        note.push_str(&format!(
            "\n    async fn {function}(&self, ctx: Context, {arguments}) -> Result<{output}>"
        ));
    }
    if rpcs.is_empty() {
        note.push_str(" nothing: the service has no rpcs");
    }
    // In these texts braces are placeholders; types have none, so there is nothing to escape.
    note
}
