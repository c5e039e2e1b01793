//! What the files of a run say of their rpcs beside types: comments, and rules of `google.api.http`.

use std::collections::{HashMap, HashSet};

use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{FileDescriptorProto, MethodDescriptorProto};

use super::template;
use crate::descriptor::{Binding, File, HTTP, comment, http_options};
use crate::diagnostic::Diagnostic;
use crate::generate::package::Package;
use crate::generate::symbols::full_name;
use crate::generate::types::{Types, matches};
use crate::options::Options;

/// What the written packages' rpcs are annotated with.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    /// By full name, without its dot: those of the rpcs, and of the messages that they take and give.
    comments: HashMap<String, String>,
    /// By the rpc's full name.
    http: HashMap<String, Vec<Binding>>,
    /// Rules that are left out.
    pub(crate) warnings: Vec<Diagnostic>,
}

/// The comments of `google.protobuf` explain the types to who implements them, over pages: nothing for an
/// endpoint's description.
const WITHOUT_COMMENTS: &str = ".google.protobuf.";

// FileDescriptorProto: 4 is `message_type`, 6 `service`; ServiceDescriptorProto: 2 is `method`;
// DescriptorProto: 3 is `nested_type`; MethodDescriptorProto: 4 is `options`.
const MESSAGE: i32 = 4;
const SERVICE: i32 = 6;
const METHOD: i32 = 2;
const NESTED: i32 = 3;
const OPTIONS: i32 = 4;

// ===== impl Annotations =====

impl Annotations {
    /// Reads those of the packages that are written.
    pub(crate) fn read(
        packages: &[Package<'_>],
        files: &[File],
        types: &Types<'_>,
        options: &Options,
    ) -> Annotations {
        let mut annotations = Annotations::default();
        let mut messages = HashSet::new();
        for package in packages.iter().filter(|package| package.written) {
            for file in &package.files {
                if file.proto.service.is_empty() {
                    continue;
                }
                let methods = file
                    .proto
                    .service
                    .iter()
                    .flat_map(|service| &service.method);
                messages.extend(methods.flat_map(|rpc| [rpc.input_type(), rpc.output_type()]));
                annotations.comments_of_methods(file, options);
                annotations.http_of(file, types);
            }
        }
        messages.retain(|name| !name.starts_with(WITHOUT_COMMENTS));
        // Most files have none of them, and the largest many thousand locations.
        let outermost: HashSet<&str> = messages.iter().map(|name| outermost(name, types)).collect();
        for file in files {
            annotations.comments_of_messages(file, &messages, &outermost, options);
        }
        annotations.warnings.sort();
        annotations
    }

    /// The comment of a message or an rpc, without its full name's dot.
    pub(crate) fn comment(&self, full_name: &str) -> &str {
        self.comments.get(full_name).map_or("", String::as_str)
    }

    /// The HTTP rules of an rpc.
    pub(crate) fn http(&self, full_name: &str) -> &[Binding] {
        self.http.get(full_name).map_or(&[], Vec::as_slice)
    }

    fn comments_of_methods(&mut self, file: &File, options: &Options) {
        let source = file.source_code_info();
        for location in source.iter().flat_map(|info| &info.location) {
            let [SERVICE, service, METHOD, method] = *location.path.as_slice() else {
                continue;
            };
            let text = location
                .leading_comments
                .as_ref()
                .or(location.trailing_comments.as_ref());
            if let (Some(text), Some((service, rpc))) = (text, rpc(&file.proto, service, method)) {
                self.keep(&format!("{service}.{}", rpc.name()), text, options);
            }
        }
    }

    /// The comments of the messages wanted, as far as they are in this file.
    fn comments_of_messages(
        &mut self,
        file: &File,
        wanted: &HashSet<&str>,
        outermost: &HashSet<&str>,
        options: &Options,
    ) {
        let (source, file) = (|| file.source_code_info(), &file.proto);
        let dot = if file.package().is_empty() { "" } else { "." };
        let prefix = format!("{dot}{}.", file.package());
        let mut messages = file.message_type.iter();
        if !messages.any(|each| outermost.contains(format!("{prefix}{}", each.name()).as_str())) {
            return;
        }
        for location in source().iter().flat_map(|info| &info.location) {
            let Some(text) = &location.leading_comments else {
                continue;
            };
            if let Some(name) = message_at(file, &prefix, &location.path)
                && wanted.contains(name.as_str())
            {
                self.keep(name.trim_start_matches('.'), text, options);
            }
        }
    }

    fn keep(&mut self, full_name: &str, text: &str, options: &Options) {
        let path = format!(".{full_name}");
        let disabled = options
            .disable_comments
            .iter()
            .any(|matcher| matches(matcher, &path));
        let text = comment(text);
        if !disabled && !text.is_empty() {
            self.comments.insert(full_name.to_owned(), text);
        }
    }

    fn http_of(&mut self, file: &File, types: &Types<'_>) {
        for option in http_options(&file.raw) {
            let Some((service, rpc)) = rpc(&file.proto, option.service, option.method) else {
                continue;
            };
            let name = format!("{service}.{}", rpc.name());
            let mut warn = |problem: &str| {
                let text =
                    format!("rpc \"{name}\": a rule of google.api.http is left out: {problem}");
                let line = line_of(file, option.service, option.method);
                self.warnings
                    .push(Diagnostic::at(file.proto.name(), line, text));
            };
            let bindings = match option.bindings {
                Ok(bindings) => bindings,
                Err(problem) => {
                    warn(&problem);
                    continue;
                }
            };
            let mut good = Vec::with_capacity(bindings.len());
            for binding in bindings {
                match check(&binding, rpc, types) {
                    Ok(()) => good.push(binding),
                    Err(problem) => warn(&problem),
                }
            }
            self.http.insert(name, good);
        }
    }
}

/// A rpc by its indexes, behind its service's full name.
fn rpc(
    file: &FileDescriptorProto,
    service: i32,
    method: i32,
) -> Option<(String, &MethodDescriptorProto)> {
    let service = file.service.get(usize::try_from(service).ok()?)?;
    let method = service.method.get(usize::try_from(method).ok()?)?;
    Some((full_name(file.package(), service.name()), method))
}

/// The message at the top of a file that a message is, or is nested in.
fn outermost<'n>(message: &'n str, types: &Types<'_>) -> &'n str {
    let mut outermost = message;
    while let Some((outer, _)) = outermost.rsplit_once('.') {
        if !types.contains(outer) {
            break;
        }
        outermost = outer;
    }
    outermost
}

/// The full name, with its dot, of the message at a path; `None` if something else is there.
fn message_at(file: &FileDescriptorProto, prefix: &str, path: &[i32]) -> Option<String> {
    let (steps, []) = path.as_chunks::<2>() else {
        return None;
    };
    let mut name = prefix.to_owned();
    let mut messages = &file.message_type;
    for (depth, [field, index]) in steps.iter().enumerate() {
        let expected = if depth == 0 { MESSAGE } else { NESTED };
        if *field != expected {
            return None;
        }
        let message = messages.get(usize::try_from(*index).ok()?)?;
        if depth > 0 {
            name.push('.');
        }
        name.push_str(message.name());
        messages = &message.nested_type;
    }
    (!steps.is_empty()).then_some(name)
}

/// The line of the option itself, or else of its rpc.
fn line_of(file: &File, service: i32, method: i32) -> Option<u32> {
    let rpc = [SERVICE, service, METHOD, method];
    let source = file.source()?;
    let inside = source.location.iter().find(|location| {
        let below = location.path.strip_prefix(&rpc);
        below.is_some_and(|path| path.starts_with(&[OPTIONS, HTTP]))
    });
    match inside {
        Some(location) => file.line(&location.path),
        None => file.line(&rpc),
    }
}

/// Checks a rule against the rpc's messages.
fn check(binding: &Binding, rpc: &MethodDescriptorProto, types: &Types<'_>) -> Result<(), String> {
    let Binding {
        verb,
        path,
        body,
        response_body,
    } = binding;
    if verb.is_empty() && path.is_empty() {
        return Err(
            "its path is missing; expected one of get, put, post, delete, patch, custom".to_owned(),
        );
    }
    if verb.is_empty()
        || !verb
            .chars()
            .all(|each| each.is_ascii_graphic() && each != ',')
    {
        return Err(format!(
            "its custom kind \"{}\" is no HTTP method; expected one such as HEAD, or \"*\" for any",
            verb.escape_debug()
        ));
    }
    let said = path.escape_debug();
    let variables = template::variables(path).map_err(|problem| {
        format!("the path \"{said}\" is no template: {problem}; expected one such as /v1/{{name=orders/*}}:cancel")
    })?;
    for variable in variables {
        field(rpc.input_type(), variable, types).map_err(|problem| {
            format!("the path \"{said}\" has the variable \"{variable}\", but {problem}")
        })?;
    }
    for (what, name, message) in [
        ("body", body, rpc.input_type()),
        ("response_body", response_body, rpc.output_type()),
    ] {
        let whole = name.is_empty() || (what == "body" && name == "*");
        let found = |name: &str| {
            let message = types.message(message);
            message.is_some_and(|message| message.field.iter().any(|field| field.name() == name))
        };
        if !whole && !found(name) {
            return Err(format!(
                "its {what} is \"{}\", but message \"{}\" has no such field",
                name.escape_debug(),
                message.trim_start_matches('.'),
            ));
        }
    }
    Ok(())
}

/// Follows a field path from a message down.
fn field(message: &str, path: &str, types: &Types<'_>) -> Result<(), String> {
    let mut message = message;
    let mut segments = path.split('.').peekable();
    while let Some(name) = segments.next() {
        let said = message.trim_start_matches('.');
        let descriptor = types.message(message);
        let found = descriptor
            .and_then(|message| message.field.iter().find(|field| field.name() == name))
            .ok_or_else(|| format!("message \"{said}\" has no field \"{name}\""))?;
        if found.label() == Label::Repeated {
            return Err(format!(
                "the field \"{name}\" of message \"{said}\" is repeated"
            ));
        }
        if segments.peek().is_some() {
            if !matches!(found.r#type(), Type::Message | Type::Group) {
                return Err(format!(
                    "the field \"{name}\" of message \"{said}\" is no message"
                ));
            }
            message = found.type_name();
        }
    }
    Ok(())
}
