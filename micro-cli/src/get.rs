//! `micro get …`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use micro_runtime::Service;
use micro_runtime::registry::{self, Registry as _, Value};

use crate::arguments::Output;
use crate::json;

/// A service: versions, nodes, endpoints.
pub(crate) async fn service(
    service: &Service,
    name: &str,
    output: Output,
) -> Result<String, String> {
    let registry = service.registry();
    let begun = Instant::now();
    let mut services = registry
        .get(name)
        .await
        .map_err(|error| format!("{}: {error:?}", registry.name()))?;
    if services.is_empty() {
        return Err(format!(
            "service {name:?} not found: looked for it in the registry {} for {:.1?}",
            registry.name(),
            begun.elapsed()
        ));
    }
    services.sort_by(|a, b| a.version.cmp(&b.version));
    match output {
        Output::Json => json(&services, output),
        Output::Text => Ok(text(name, &services)),
    }
}

/// The layout of go-micro's command (micro v2.9.1, `internal/command/cli/command.go`).
fn text(name: &str, services: &[registry::Service]) -> String {
    let mut lines = vec![format!("service  {name}")];
    for service in services {
        lines.push(format!("\nversion {}", service.version));
        if !service.metadata.is_empty() {
            lines.push(format!("\nMetadata: {}", pairs(&service.metadata)));
        }
        lines.push("\nID\tAddress\tMetadata".to_owned());
        for node in &service.nodes {
            let metadata = pairs(&node.metadata);
            lines.push(format!("{}\t{}\t{metadata}", node.id, node.address));
        }
    }
    // Versions of one service rarely differ in their endpoints: the first version's stand for all.
    let endpoints = services.first().map(|service| service.endpoints.as_slice());
    for endpoint in endpoints.unwrap_or_default() {
        lines.push(format!("\nEndpoint: {}", endpoint.name));
        if !endpoint.metadata.is_empty() {
            lines.push(format!("\nMetadata: {}", pairs(&endpoint.metadata)));
        }
        for (title, value) in [
            ("Request", &endpoint.request),
            ("Response", &endpoint.response),
        ] {
            let fields = value.as_ref().map(|value| value.values.as_slice());
            let mut body = String::new();
            braces(fields.unwrap_or_default(), 0, &mut body);
            lines.push(format!("\n{title}: {body}"));
        }
    }
    lines.join("\n")
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> = map
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

/// How deep a registry's types may nest before they are cut: ours have three levels, and a peer's are input.
const DEEPEST: usize = 16;

/// Fields between braces, one a line, a tab deeper each time; `{}` if there are none.
fn braces(fields: &[Value], depth: usize, out: &mut String) {
    if fields.is_empty() || depth == DEEPEST {
        out.push_str("{}");
        return;
    }
    out.push_str("{\n");
    let indent = "\t".repeat(depth + 1);
    for field in fields {
        // Writing to a string cannot fail.
        let _ = write!(out, "{indent}{} {}", field.name, field.kind);
        if !field.values.is_empty() {
            out.push(' ');
            braces(&field.values, depth + 1, out);
        }
        out.push('\n');
    }
    out.push_str(&"\t".repeat(depth));
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_go_micros() {
        let service: registry::Service = serde_json::from_str(
            r#"{"name":"greeter","version":"latest","endpoints":[
                {"name":"Greeter.Hello","metadata":{"stream":"true"},
                 "request":{"name":"Request","type":"Request","values":[
                    {"name":"name","type":"string"},
                    {"name":"inner","type":"Inner","values":[{"name":"a","type":"int64"}]}]},
                 "response":{"name":"Empty","type":"Empty"}}],
                "nodes":[{"id":"greeter-1","address":"10.0.0.7:1","metadata":{"server":"grpc","protocol":"grpc"}}]}"#,
        )
        .unwrap();
        let expected = "service  greeter\n\nversion latest\n\nID\tAddress\tMetadata\n\
            greeter-1\t10.0.0.7:1\tprotocol=grpc,server=grpc\n\n\
            Endpoint: Greeter.Hello\n\nMetadata: stream=true\n\n\
            Request: {\n\tname string\n\tinner Inner {\n\t\ta int64\n\t}\n}\n\nResponse: {}";
        assert_eq!(text("greeter", &[service]), expected);
    }

    #[test]
    fn types_that_nest_without_an_end_are_cut() {
        let mut value = Value::default();
        for _ in 0..100 {
            value = Value {
                values: vec![value],
                ..Value::default()
            };
        }
        let mut text = String::new();
        braces(&value.values, 0, &mut text);
        assert_eq!(text.matches('{').count(), DEEPEST + 1);
    }
}
