//! The constant `FILE_DESCRIPTOR_SET`: a package's descriptors, for reflection.

use std::collections::{BTreeMap, HashMap};

use proc_macro2::{Literal, TokenStream};
use prost::Message;
use prost::bytes::Bytes;
use quote::quote;

use super::package::Package;
use crate::descriptor::{File, FileWithoutSource, RawFileSet};
use crate::diagnostic::Diagnostic;

/// The constant for one package: its files and all they import, without comments and positions.
///
/// # Errors
/// If a file's bytes are no descriptor, which they were when the request was read.
pub(crate) fn emit(
    package: &Package<'_>,
    all: &HashMap<&str, &File>,
) -> Result<TokenStream, Diagnostic> {
    let mut found: BTreeMap<&str, &File> = BTreeMap::new();
    let mut open: Vec<&str> = package.files.iter().map(|file| file.proto.name()).collect();
    while let Some(name) = open.pop() {
        let Some(file) = all.get(name) else { continue };
        if found.insert(name, file).is_none() {
            open.extend(file.proto.dependency.iter().map(String::as_str));
        }
    }
    let mut set = RawFileSet::default();
    for (name, file) in found {
        let slim = FileWithoutSource::decode(file.raw.clone()).map_err(|error| {
            Diagnostic::at(name, None, format!("cannot read the descriptor: {error}"))
        })?;
        set.file.push(Bytes::from(slim.encode_to_vec()));
    }
    let bytes = Literal::byte_string(&set.encode_to_vec());
    Ok(quote! {
        /// The descriptors of this package's files and of all they import: an encoded
        /// `google.protobuf.FileDescriptorSet`, without comments and positions.
        #[allow(dead_code, unreachable_pub)]
        pub const FILE_DESCRIPTOR_SET: &[u8] = #bytes;
    })
}
