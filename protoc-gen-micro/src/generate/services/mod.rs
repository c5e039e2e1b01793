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
mod standalone;
mod template;

use proc_macro2::TokenStream;
use prost_types::ServiceDescriptorProto;
use quote::quote;

pub(crate) use self::annotations::Annotations;
use self::method::Rpc;
use self::names::ServiceNames;
use self::shape::Shapes;
pub(crate) use self::standalone::Standalone;
use super::messages::repair::{is_html, safe_doc, settled};
use super::names::{RustNames, ident};
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

/// One service, whatever it was read from.
struct Service<'a> {
    /// Its name in the proto.
    proto_name: &'a str,
    /// Its full name, `shop.v1.Orders`.
    full_name: &'a str,
    /// What its items are called.
    names: &'a ServiceNames,
    /// Its comments, unless they are off.
    docs: Option<&'a prost_build::Comments>,
    /// Whether the proto calls it deprecated.
    deprecated: bool,
    /// The path of the runtime.
    runtime: &'a syn::Path,
    /// What the user chose.
    options: &'a Options,
}

/// A service's module, and what the package re-exports of it.
pub(crate) fn emit(context: &ServiceContext<'_>) -> TokenStream {
    let rpcs = Rpc::of_descriptor(context);
    let shapes = Shapes::new(Some(context.types), context.annotations, &rpcs);
    let options = context.proto.options.as_ref();
    let service = Service {
        proto_name: context.proto.name(),
        full_name: context.full_name,
        names: context.names,
        docs: context.docs.map(|docs| &docs.comments),
        deprecated: options.is_some_and(|options| options.deprecated()),
        runtime: context.rust.runtime(),
        options: context.options,
    };
    render(&service, &rpcs, shapes)
}

fn render(service: &Service<'_>, rpcs: &[Rpc<'_>], mut shapes: Shapes<'_>) -> TokenStream {
    let names = service.names;
    let module = ident(&names.module);
    let imports = imports::emit(service, rpcs);
    let handler = service.options.server.then(|| handler::emit(service, rpcs));
    let client = service.options.client.then(|| client::emit(service, rpcs));
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
        (service.deprecated || rpcs.iter().any(Rpc::deprecated)).then(|| quote!(deprecated,));
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
    let html = rpcs
        .iter()
        .filter_map(|rpc| rpc.docs)
        .chain(service.docs)
        .flat_map(|docs| docs.leading.iter().chain(&docs.trailing))
        .any(|line| is_html(line))
        .then(|| quote!(, rustdoc::invalid_html_tags));
    quote! {
        #exports
        #public_module
        #[doc(hidden)]
        #[allow(#deprecated dead_code, unreachable_pub, clippy::all, clippy::pedantic #html)]
        pub mod #module {
            #imports
            #handler
            #client
            #(#methods)*
            #shapes
        }
    }
}

/// Whether the proto says anything of an item.
fn is_commented(comments: Option<&prost_build::Comments>) -> bool {
    comments.is_some_and(|comments| !comments.leading.is_empty() || !comments.trailing.is_empty())
}

/// Doc attributes of a proto comment (or of a line of ours, if there is none), and of what there is to add.
fn docs(comments: Option<&prost_build::Comments>, otherwise: &str, more: &[String]) -> TokenStream {
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
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| line.strip_prefix("///").unwrap_or(line))
        .map(|line| safe_doc(line).unwrap_or_else(|| line.to_owned()))
        .collect();
    lines = settled(lines);
    if lines.iter().all(|line| line.trim().is_empty()) {
        lines = vec![otherwise.to_owned()];
    }
    while lines.last().is_some_and(|line| line.trim().is_empty()) {
        lines.pop();
    }
    // A paragraph of its own: a comment may end in a list or a code block.
    let more = more
        .iter()
        .flat_map(|text| std::iter::once(String::new()).chain(wrap(text)));
    quote! { #(#[doc = #lines])* #(#[doc = #more])* }
}

/// The most characters in a line of documentation, so that it ends where prettyplease breaks code.
const WIDTH: usize = 80;

/// A paragraph's lines, each behind the space that follows `///`.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            lines.push(std::mem::take(&mut line));
        }
        line.push(' ');
        line.push_str(word);
    }
    lines.push(line);
    lines
}
