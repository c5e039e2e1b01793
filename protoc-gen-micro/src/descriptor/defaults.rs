//! Default values, as prost-build 0.14 can take them.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};

/// Names for names: by enum and alias, the first name of the alias's number.
type Aliases = HashMap<String, HashMap<String, String>>;

/// Says the default values that are aliases by the first name of their number: an enum of prost has no other.
pub(super) fn resolve_aliases<'f>(files: impl Iterator<Item = &'f mut FileDescriptorProto>) {
    let mut files: Vec<&mut FileDescriptorProto> = files.collect();
    let mut aliases = Aliases::new();
    for file in &files {
        let prefix = match file.package() {
            "" => String::new(),
            package => format!(".{package}"),
        };
        collect(&prefix, &file.message_type, &file.enum_type, &mut aliases);
    }
    if aliases.is_empty() {
        return;
    }
    for file in &mut files {
        for message in &mut file.message_type {
            resolve(message, &aliases);
        }
    }
}

fn collect(
    prefix: &str,
    messages: &[DescriptorProto],
    enums: &[EnumDescriptorProto],
    aliases: &mut Aliases,
) {
    let options = |item: &EnumDescriptorProto| item.options.clone().unwrap_or_default();
    for item in enums.iter().filter(|item| options(item).allow_alias()) {
        let mut first: HashMap<i32, &str> = HashMap::new();
        let mut found = HashMap::new();
        for value in &item.value {
            let name = *first.entry(value.number()).or_insert(value.name());
            if name != value.name() {
                found.insert(value.name().to_owned(), name.to_owned());
            }
        }
        aliases.insert(format!("{prefix}.{}", item.name()), found);
    }
    for message in messages {
        let full = format!("{prefix}.{}", message.name());
        collect(&full, &message.nested_type, &message.enum_type, aliases);
    }
}

fn resolve(message: &mut DescriptorProto, aliases: &Aliases) {
    for field in &mut message.field {
        if field.r#type() != Type::Enum {
            continue;
        }
        let names = aliases.get(field.type_name());
        let name = names.and_then(|names| names.get(field.default_value()));
        if let Some(name) = name {
            field.default_value = Some(name.clone());
        }
    }
    for nested in &mut message.nested_type {
        resolve(nested, aliases);
    }
}
