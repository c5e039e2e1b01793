//! Types of `google.protobuf` that are not in prost-types.

use prost_types::FieldDescriptorProto;
use prost_types::field_descriptor_proto::Type;

use super::package::Package;
use super::types::matches;
use crate::descriptor::{File, each_message};
use crate::diagnostic::Diagnostic;
use crate::options::Options;

/// What protoc 36.2 declares and prost-types 0.14.4 does not, with all that is nested in these.
const ABSENT: [&str; 11] = [
    ".google.protobuf.Edition",
    ".google.protobuf.ExtensionRangeOptions.Declaration",
    ".google.protobuf.ExtensionRangeOptions.VerificationState",
    ".google.protobuf.FeatureSet",
    ".google.protobuf.FeatureSetDefaults",
    ".google.protobuf.FieldOptions.EditionDefault",
    ".google.protobuf.FieldOptions.FeatureSupport",
    ".google.protobuf.FieldOptions.OptionRetention",
    ".google.protobuf.FieldOptions.OptionTargetType",
    ".google.protobuf.GeneratedCodeInfo.Annotation.Semantic",
    ".google.protobuf.SymbolVisibility",
];

/// Finds the fields and rpcs that need one of these.
pub(crate) fn find(packages: &[Package<'_>], options: &Options) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if options.compile_well_known_types {
        return findings;
    }
    let is_absent = |name: &str| {
        let absent = ABSENT.iter().any(|absent| matches(absent, name));
        // The user may have one all the same.
        absent
            && !options
                .extern_path
                .iter()
                .any(|(path, _)| path != "." && path != ".google.protobuf" && matches(path, name))
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
