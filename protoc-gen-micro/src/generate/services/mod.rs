//! Services: handlers, clients, descriptors.
//!
//! All items of a service stand in one module, so that no name made up here can meet one of the user's. No
//! method is ever called on a value of a user's type: an rpc may be called `clone` or `into`.

mod annotations;
mod client;
mod handler;
mod imports;
mod method;
pub(crate) mod names;
mod shape;
mod template;

use proc_macro2::TokenStream;
use prost_types::ServiceDescriptorProto;
use quote::quote;

pub(crate) use self::annotations::Annotations;
use self::method::Rpc;
use self::names::ServiceNames;
use self::shape::Shapes;
use super::names::ident;
use super::types::{PackageNames, Types};
use crate::options::Options;

/// One service, with all that its code is made of.
pub(crate) struct ServiceContext<'a> {
    /// Its descriptor.
    pub(crate) proto: &'a ServiceDescriptorProto,
    /// Its full name, `shop.v1.Orders`.
    pub(crate) full_name: &'a str,
    /// What its items are called.
    pub(crate) names: &'a ServiceNames,
    /// Its comments, and those of its rpcs in their order, as prost-build gives them; none if they are off.
    pub(crate) docs: Option<&'a prost_build::Service>,
    /// The plain comments and HTTP rules of all rpcs, and the comments of their messages.
    pub(crate) annotations: &'a Annotations,
    /// All types.
    pub(crate) types: &'a Types<'a>,
    /// Their names as seen from the package.
    pub(crate) rust: PackageNames<'a>,
    /// What the user chose.
    pub(crate) options: &'a Options,
}

/// A service's module, and what the package re-exports of it.
pub(crate) fn emit(service: &ServiceContext<'_>) -> TokenStream {
    let names = service.names;
    let module = ident(&names.module);
    let rpcs = Rpc::all(service);
    let imports = imports::emit(service, &rpcs);
    let handler = service
        .options
        .server
        .then(|| handler::emit(service, &rpcs));
    let client = service.options.client.then(|| client::emit(service, &rpcs));
    let mut shapes = Shapes::new(service, rpcs.iter().map(|rpc| rpc.constant.clone()));
    let methods: Vec<TokenStream> = rpcs
        .iter()
        .map(|rpc| rpc.descriptor(service, &mut shapes))
        .collect();
    let shapes = shapes.emit();

    let public = names.public(service.options).into_iter();
    let exported: Vec<_> = public
        .filter(|name| names.exported.contains(*name))
        .map(ident)
        .collect();
    let deprecated =
        (service.deprecated() || rpcs.iter().any(Rpc::deprecated)).then(|| quote!(deprecated,));
    let exports = (!exported.is_empty()).then(|| {
        quote! {
            #[allow(#deprecated unreachable_pub, unused_imports)]
            pub use #module::{#(#exported),*};
        }
    });
    let public_module = names.public_module.as_deref().map(|name| {
        let name = ident(name);
        quote! {
            #[doc(inline)]
            #[allow(unreachable_pub, unused_imports)]
            pub use #module as #name;
        }
    });
    quote! {
        #exports
        #public_module
        #[doc(hidden)]
        #[allow(#deprecated dead_code, unreachable_pub, clippy::all, clippy::pedantic)]
        pub mod #module {
            #imports
            #handler
            #client
            #(#methods)*
            #shapes
        }
    }
}

// ===== impl ServiceContext =====

impl ServiceContext<'_> {
    /// Whether the proto calls it deprecated.
    fn deprecated(&self) -> bool {
        self.proto
            .options
            .as_ref()
            .is_some_and(|options| options.deprecated())
    }
}

/// Doc attributes of a proto comment; a line's own if there is none.
fn docs(comments: Option<&prost_build::Comments>, otherwise: &str) -> TokenStream {
    let mut text = String::new();
    if let Some(comments) = comments {
        // Detached comments belong to no item. What is left is printed as prost-build prints it for messages:
        // links and brackets made harmless.
        let attached = prost_build::Comments {
            leading_detached: Vec::new(),
            ..comments.clone()
        };
        attached.append_with_indent(0, &mut text);
    }
    let mut lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix("///").unwrap_or(line))
        .collect();
    if lines.iter().all(|line| line.trim().is_empty()) {
        lines = vec![otherwise];
    }
    quote! { #(#[doc = #lines])* }
}
