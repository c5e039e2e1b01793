//! The server's side: the trait to implement, and the function that registers an implementation.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use super::method::{Kind, Rpc};
use super::{Service, docs, is_commented};
use crate::generate::names::ident;

/// How many rpcs the compiler lists to who registers something that is no handler; a service may have
/// hundreds.
const LISTED: usize = 20;

/// The trait, its implementation for shared handlers, and the function that registers one.
pub(crate) fn emit(service: &Service<'_>, rpcs: &[Rpc<'_>]) -> TokenStream {
    let handler = ident(&service.names.handler);
    let register = ident(&service.names.register);
    let full_name = service.full_name;
    let doc = docs(
        service.docs,
        &format!(" The handler of the service `{full_name}`."),
        &about(service, rpcs),
    );
    let diagnostic = diagnostic(service, rpcs);
    let signatures: Vec<TokenStream> = rpcs.iter().map(signature).collect();
    let methods = rpcs.iter().zip(&signatures).map(|(rpc, signature)| {
        let doc = docs(
            rpc.docs,
            &format!(" Answers the rpc `{}`.", rpc.name),
            &how_to(rpc),
        );
        quote! { #doc #signature; }
    });
    let shared = rpcs.iter().zip(&signatures).map(|(rpc, signature)| {
        let function = &rpc.function;
        let arguments = arguments(rpc.kind);
        quote! { #signature { #handler::#function(&**self, #arguments) } }
    });
    let routes = rpcs.iter().map(|rpc| {
        let Rpc {
            function, constant, ..
        } = rpc;
        let add = rpc.kind.function();
        let arguments = arguments(rpc.kind);
        // The trait is named: with `handler.clone(…)` an rpc called `Clone` would be another function.
        quote! {
            .#add(&#constant, &handler, |handler, #arguments| async move {
                #handler::#function(&*handler, #arguments).await
            })
        }
    });
    let register_doc =
        format!(" Adds the service `{full_name}` to a server; `handler` answers its calls.");
    let (parameter, shared_handler, routes) = if rpcs.is_empty() {
        (quote!(_handler), None, quote!(Routes::new(#full_name)))
    } else {
        let shared = quote! {
            let handler = Arc::new(handler);
            let routes = Routes::new(#full_name) #(#routes)*;
        };
        (quote!(handler), Some(shared), quote!(routes))
    };
    quote! {
        #doc
        #diagnostic
        pub trait #handler: Send + Sync + 'static {
            #(#methods)*
        }

        impl<H: #handler> #handler for Arc<H> {
            #(#shared)*
        }

        #[doc = #register_doc]
        #[doc = ""]
        #[doc = " # Errors"]
        #[doc = " If the server has a service of that name already."]
        pub fn #register<H: #handler>(server: &Server, #parameter: H) -> Result<(), Error> {
            #shared_handler
            server.add(#routes)
        }
    }
}

/// A handler's function, without a body.
fn signature(rpc: &Rpc<'_>) -> TokenStream {
    let Rpc {
        function,
        request,
        response,
        ..
    } = rpc;
    let (arguments, output) = match rpc.kind {
        Kind::Unary => (quote!(req: #request), response.to_token_stream()),
        Kind::ClientStreaming => (
            quote!(requests: Inbound<#request>),
            response.to_token_stream(),
        ),
        Kind::ServerStreaming => (
            quote!(req: #request, responses: Outbound<#response>),
            quote!(()),
        ),
        Kind::Bidi => (
            quote!(requests: Inbound<#request>, responses: Outbound<#response>),
            quote!(()),
        ),
    };
    quote! {
        fn #function(&self, ctx: Context, #arguments) -> impl Future<Output = Result<#output>> + Send
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

/// What the compiler says where something that is no handler is registered: what there is to write.
fn diagnostic(service: &Service<'_>, rpcs: &[Rpc<'_>]) -> TokenStream {
    let handler = &service.names.handler;
    let message = format!(
        "`{{Self}}` is no handler of the service `{}`",
        service.full_name
    );
    let label = format!("`{handler}` is not implemented for `{{Self}}`");
    let mut notes = vec![format!(
        "`impl {handler} for {{Self}}` needs these functions:"
    )];
    for rpc in rpcs.iter().take(LISTED) {
        let (request, response) = (outside(&rpc.request), outside(&rpc.response));
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
        notes.push(format!(
            "async fn {function}(&self, ctx: Context, {arguments}) -> Result<{output}>"
        ));
    }
    match rpcs.len() {
        0 => notes.clear(),
        count if count > LISTED => notes.push(format!("and {} more", count - LISTED)),
        _ => {}
    }
    quote! { #[diagnostic::on_unimplemented(message = #message, label = #label, #(note = #notes),*)] }
}

/// What a handler's documentation says beside the proto's comment.
fn about(service: &Service<'_>, rpcs: &[Rpc<'_>]) -> Vec<String> {
    let register = &service.names.register;
    let implement = match is_commented(service.docs) {
        true => format!(
            "The handler of the service `{}`: implement it",
            service.full_name
        ),
        false => "Implement it".to_owned(),
    };
    let mut text = format!("{implement}, and add it to a server with [`{register}`].");
    if !rpcs.is_empty() {
        text.push_str(
            " The functions are \
             written as `async fn`. One that fails answers with its error's status; one whose caller goes away, or \
             whose deadline passes, is dropped at its next `.await`.",
        );
    }
    vec![text]
}

/// What to do with the sides of a stream.
fn how_to(rpc: &Rpc<'_>) -> Vec<String> {
    let text = match rpc.kind {
        Kind::Unary => return Vec::new(),
        Kind::ClientStreaming => {
            "`requests.recv().await?` gives the requests, and `None` when the caller has sent its last."
        }
        Kind::ServerStreaming => {
            "`responses.send(..).await?` sends a reply, and waits while the caller reads slowly. Returning ends the \
             stream."
        }
        Kind::Bidi => {
            "`requests.recv().await?` gives the requests, and `None` when the caller has sent its last; \
             `responses.send(..).await?` sends a reply, and waits while the caller reads slowly. Returning ends the \
             stream."
        }
    };
    vec![text.to_owned()]
}

/// A type as the package sees it, not the service's module: that is where handlers are written.
fn outside(kind: &syn::Type) -> String {
    let text = kind.to_token_stream().to_string().replace(' ', "");
    text.strip_prefix("super::").unwrap_or(&text).to_owned()
}
