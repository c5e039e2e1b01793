//! The method option `google.api.http`.
//!
//! It is an extension, and prost-types drops what it does not know: so the file's bytes are read a second time,
//! by messages that declare nothing but the way to it. Only its own bytes are looked at; the rest is skipped.

use prost::Message;
use prost::bytes::Bytes;

/// The number of `google.api.http` among the extensions of `google.protobuf.MethodOptions`.
pub(crate) const HTTP: i32 = 72_295_728;

/// What `google.api.http` says of one rpc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpOption {
    /// The index of the service in its file, and of the method in its service.
    pub(crate) service: i32,
    pub(crate) method: i32,
    /// The rule, then its additional bindings; or why it cannot be read.
    pub(crate) bindings: Result<Vec<Binding>, String>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Binding {
    /// `GET` and so on, or what `custom` says; empty if the rule has no pattern.
    pub(crate) verb: String,
    /// The template of the path.
    pub(crate) path: String,
    pub(crate) body: String,
    pub(crate) response_body: String,
}

/// `google.protobuf.FileDescriptorProto`.
#[derive(Clone, PartialEq, prost::Message)]
struct File {
    #[prost(message, repeated, tag = "6")]
    service: Vec<Service>,
}

/// `google.protobuf.ServiceDescriptorProto`.
#[derive(Clone, PartialEq, prost::Message)]
struct Service {
    #[prost(message, repeated, tag = "2")]
    method: Vec<Method>,
}

/// `google.protobuf.MethodDescriptorProto`, its options still encoded: where one rpc's cannot be read, the others' can.
#[derive(Clone, PartialEq, prost::Message)]
struct Method {
    #[prost(bytes = "bytes", optional, tag = "4")]
    options: Option<Bytes>,
}

/// `google.protobuf.MethodOptions`.
#[derive(Clone, PartialEq, prost::Message)]
struct Options {
    #[prost(message, optional, tag = "72295728")]
    http: Option<Rule>,
}

/// `google.api.HttpRule`.
#[derive(Clone, PartialEq, prost::Message)]
struct Rule {
    #[prost(oneof = "Pattern", tags = "2, 3, 4, 5, 6, 8")]
    pattern: Option<Pattern>,
    #[prost(string, tag = "7")]
    body: String,
    #[prost(message, repeated, tag = "11")]
    additional_bindings: Vec<Rule>,
    #[prost(string, tag = "12")]
    response_body: String,
}

/// The oneof `pattern` of `google.api.HttpRule`.
#[derive(Clone, PartialEq, prost::Oneof)]
enum Pattern {
    #[prost(string, tag = "2")]
    Get(String),
    #[prost(string, tag = "3")]
    Put(String),
    #[prost(string, tag = "4")]
    Post(String),
    #[prost(string, tag = "5")]
    Delete(String),
    #[prost(string, tag = "6")]
    Patch(String),
    #[prost(message, tag = "8")]
    Custom(Custom),
}

/// `google.api.CustomHttpPattern`.
#[derive(Clone, PartialEq, prost::Message)]
struct Custom {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    path: String,
}

/// The rpcs of an encoded file descriptor that have the option, in their order.
pub(crate) fn http_options(file: &Bytes) -> Vec<HttpOption> {
    // The bytes were read as a descriptor before; if they are none, nothing is lost here.
    let services = File::decode(file.clone()).unwrap_or_default().service;
    let mut found = Vec::new();
    for (service, methods) in (0..).zip(services) {
        for (method, descriptor) in (0..).zip(methods.method) {
            let bindings = match descriptor.options.map(Options::decode) {
                None | Some(Ok(Options { http: None })) => continue,
                Some(Ok(Options { http: Some(rule) })) => flatten(rule),
                Some(Err(error)) => Err(format!("it is no google.api.HttpRule: {error}")),
            };
            found.push(HttpOption {
                service,
                method,
                bindings,
            });
        }
    }
    found
}

/// A rule and its additional bindings, which can have none of their own.
fn flatten(mut rule: Rule) -> Result<Vec<Binding>, String> {
    let additional = std::mem::take(&mut rule.additional_bindings);
    let nested = additional
        .iter()
        .any(|binding| !binding.additional_bindings.is_empty());
    if nested {
        return Err("its additional_bindings have additional_bindings of their own".to_owned());
    }
    Ok(std::iter::once(rule)
        .chain(additional)
        .map(Binding::from)
        .collect())
}

impl From<Rule> for Binding {
    fn from(rule: Rule) -> Binding {
        let (verb, path) = match rule.pattern {
            None => (String::new(), String::new()),
            Some(Pattern::Get(path)) => ("GET".to_owned(), path),
            Some(Pattern::Put(path)) => ("PUT".to_owned(), path),
            Some(Pattern::Post(path)) => ("POST".to_owned(), path),
            Some(Pattern::Delete(path)) => ("DELETE".to_owned(), path),
            Some(Pattern::Patch(path)) => ("PATCH".to_owned(), path),
            Some(Pattern::Custom(custom)) => (custom.kind, custom.path),
        };
        Binding {
            verb,
            path,
            body: rule.body,
            response_body: rule.response_body,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(options: &[Option<Vec<u8>>]) -> Bytes {
        let method = |options: &Option<Vec<u8>>| Method {
            options: options.clone().map(Bytes::from),
        };
        let file = File {
            service: vec![
                Service { method: Vec::new() },
                Service {
                    method: options.iter().map(method).collect(),
                },
            ],
        };
        Bytes::from(file.encode_to_vec())
    }

    fn rule(pattern: Pattern) -> Rule {
        Rule {
            pattern: Some(pattern),
            ..Rule::default()
        }
    }

    fn option(rule: Rule) -> Option<Vec<u8>> {
        Some(Options { http: Some(rule) }.encode_to_vec())
    }

    #[test]
    fn a_rule_comes_with_its_additional_bindings() {
        let custom = Custom {
            kind: "HEAD".into(),
            path: "/c".into(),
        };
        let full = Rule {
            body: "*".into(),
            response_body: "order".into(),
            additional_bindings: vec![
                rule(Pattern::Get("/a".into())),
                rule(Pattern::Custom(custom)),
                Rule::default(),
            ],
            ..rule(Pattern::Post("/b".into()))
        };
        let found = http_options(&encoded(&[None, Some(Vec::new()), option(full)]));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].service, found[0].method), (1, 2));
        let binding = |verb: &str, path: &str| Binding {
            verb: verb.into(),
            path: path.into(),
            ..Binding::default()
        };
        let first = Binding {
            body: "*".into(),
            response_body: "order".into(),
            ..binding("POST", "/b")
        };
        let rest = [binding("GET", "/a"), binding("HEAD", "/c"), binding("", "")];
        let expected: Vec<Binding> = std::iter::once(first).chain(rest).collect();
        assert_eq!(found[0].bindings, Ok(expected));
    }

    #[test]
    fn what_is_no_rule_hides_no_other() {
        // Field 72295728 as a number; text that is not UTF-8; bindings in bindings.
        let number = {
            let mut bytes = Vec::new();
            prost::encoding::uint32::encode(72_295_728, &7, &mut bytes);
            Some(bytes)
        };
        let text = Some(vec![0x82, 0xd3, 0xe4, 0x93, 0x02, 3, 0x12, 1, 0xff]);
        let inner = Rule {
            additional_bindings: vec![rule(Pattern::Get("/a".into()))],
            ..rule(Pattern::Get("/b".into()))
        };
        let nested = Rule {
            additional_bindings: vec![inner],
            ..rule(Pattern::Get("/c".into()))
        };
        let good = rule(Pattern::Get("/d".into()));
        let found = http_options(&encoded(&[number, text, option(nested), option(good)]));
        let texts: Vec<&str> = found
            .iter()
            .filter_map(|option| option.bindings.as_ref().err().map(String::as_str))
            .collect();
        assert_eq!(texts.len(), 3, "{found:?}");
        assert!(texts[0].starts_with("it is no google.api.HttpRule: "));
        assert!(texts[1].contains("UTF-8"), "{texts:?}");
        assert_eq!(
            texts[2],
            "its additional_bindings have additional_bindings of their own"
        );
        assert_eq!(found[3].bindings.as_ref().map(Vec::len), Ok(1));
        assert_eq!(http_options(&Bytes::from_static(b"\xff")), []);
    }
}
