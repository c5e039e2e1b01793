//! Services for those who call prost-build themselves: text after each of their services, and nothing else.
//!
//! prost-build passes on what it makes of a service, not the descriptors. So what is made here knows no fields (the
//! registry shows the messages' names alone), no JSON and no `google.api.http`; and it cannot tell which names
//! the package has taken. That is why the package gets its names by a glob: one of its own wins over them.

use std::collections::HashSet;

use proc_macro2::TokenStream;
use prost_build::ServiceGenerator;
use quote::quote;

use super::method::Rpc;
use super::names::ServiceNames;
use super::shape::Shapes;
use super::{Annotations, Service, render};
use crate::diagnostic::Diagnostic;
use crate::generate::names::ident;
use crate::generate::symbols::full_name;
use crate::generate::{assemble, externs};
use crate::options::Options;

/// Our part of somebody else's prost-build call.
#[derive(Default)]
pub(crate) struct Standalone {
    options: Options,
    /// The modules made so far, with their packages.
    modules: HashSet<String>,
    annotations: Annotations,
}

// ===== impl Standalone =====

impl Standalone {
    /// With these options, of which `client`, `server` and `runtime_path` are looked at.
    ///
    /// # Errors
    /// If the runtime's path is none.
    pub(crate) fn new(options: Options) -> Result<Standalone, Diagnostic> {
        externs::runtime(&options)?;
        Ok(Standalone {
            options,
            modules: HashSet::new(),
            annotations: Annotations::default(),
        })
    }

    fn emit(&mut self, service: &prost_build::Service) -> Result<TokenStream, String> {
        let error = |error: &dyn std::fmt::Display| {
            let name = full_name(&service.package, &service.proto_name);
            format!("protoc-gen-micro: service \"{name}\": {error}")
        };
        let runtime = externs::runtime(&self.options).map_err(|why| error(&why))?;
        let mut names = ServiceNames::of(&service.proto_name);
        if !self
            .modules
            .insert(full_name(&service.package, &names.module))
        {
            return Err(error(
                &"another service of the package has the same Rust name; rename one",
            ));
        }
        let rpcs = Rpc::of_prost(service).map_err(|why| error(&why))?;
        let mut functions = HashSet::new();
        if let Some(twice) = rpcs
            .iter()
            .find(|rpc| !functions.insert(rpc.function.to_string()))
        {
            let function = &twice.function;
            return Err(error(&format_args!(
                "more than one of its methods becomes \"{function}\"; rename one"
            )));
        }
        names.exported.clear();
        let public: Vec<_> = names.public(&self.options).into_iter().map(ident).collect();
        let module = ident(&names.module);
        let exports = ident(&format!("{}_exports", names.module));
        let exported = (!public.is_empty()).then(|| {
            quote! {
                #[doc(hidden)]
                #[allow(deprecated, unreachable_pub)]
                pub mod #exports {
                    pub use super::#module::{#(#public),*};
                }

                #[allow(ambiguous_glob_reexports, hidden_glob_reexports, unreachable_pub, unused_imports)]
                pub use #exports::*;
            }
        });
        let full_name = full_name(&service.package, &service.proto_name);
        let model = Service {
            proto_name: &service.proto_name,
            full_name: &full_name,
            names: &names,
            docs: Some(&service.comments),
            deprecated: service.options.deprecated(),
            runtime: &runtime,
            options: &self.options,
        };
        let items = render(&model, &rpcs, Shapes::new(None, &self.annotations, &rpcs));
        Ok(quote! { #items #exported })
    }
}

impl ServiceGenerator for Standalone {
    fn generate(&mut self, service: prost_build::Service, buffer: &mut String) {
        // There is no way to give an error back: the compiler tells it.
        let items = self
            .emit(&service)
            .and_then(|tokens| assemble::print_items(tokens).map_err(|why| why.to_string()));
        match items {
            Ok(text) => buffer.push_str(&text),
            Err(message) => buffer.push_str(&format!("::core::compile_error!({message:?});\n")),
        }
    }
}
