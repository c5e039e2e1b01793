//! Types of `google.protobuf` that are not in prost-types.

use prost_types::FieldDescriptorProto;
use prost_types::field_descriptor_proto::Type;

use super::super::package::Package;
use super::super::types::{Types, prost_types_path};
use super::well_known::in_prost_types;
use crate::descriptor::{File, each_message};
use crate::diagnostic::Diagnostic;
use crate::options::Options;

/// Finds the fields and rpcs that need a type of the runtime's prost-types which it does not have.
pub(crate) fn find(
    packages: &[Package<'_>],
    types: &Types<'_>,
    options: &Options,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let prost_types = format!("{}::", prost_types_path(options));
    // Not what the user has elsewhere, or generates.
    let is_absent = |name: &str| {
        types
            .path_elsewhere(name)
            .is_some_and(|path| path.starts_with(&prost_types))
            && !in_prost_types(name)
    };
    let needs = |field: &FieldDescriptorProto| {
        matches!(field.r#type(), Type::Message | Type::Group | Type::Enum)
            && is_absent(field.type_name())
    };
    let mut find = |file: &File, path: &[i32], what: &str, name: &str| {
        findings.push(Diagnostic::at(
            file.proto.name(),
            file.line(path),
            format!(
                "{what} needs {}, which prost-types does not have; say compile_well_known_types, and generate \
                 google/protobuf/descriptor.proto too",
                name.trim_start_matches('.')
            ),
        ));
    };
    let written = packages.iter().filter(|package| package.written);
    for file in written.flat_map(|package| &package.files) {
        if file.proto.package() == "google.protobuf" {
            continue;
        }
        if options.messages {
            each_message(&file.proto, &mut |_, path, message| {
                for (index, field) in (0..).zip(&message.field) {
                    if needs(field) {
                        let mut path = path.to_vec();
                        path.extend([2, index]);
                        let what = format!("field \"{}\"", field.name());
                        find(file, &path, &what, field.type_name());
                    }
                }
            });
        }
        for (index, service) in (0..).zip(&file.proto.service) {
            for (method, rpc) in (0..).zip(&service.method) {
                for name in [rpc.input_type(), rpc.output_type()] {
                    if is_absent(name) {
                        let what = format!("rpc \"{}\"", rpc.name());
                        find(file, &[6, index, 2, method], &what, name);
                    }
                }
            }
        }
    }
    findings
}
