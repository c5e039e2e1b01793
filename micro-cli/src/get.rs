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
        let mut metadata = endpoint.metadata.clone();
        let mut comment = |key| comment(metadata.remove(key).as_deref().unwrap_or_default());
        let comments =
            ["description", "request_description", "response_description"].map(&mut comment);
        let http = metadata.get("http").and_then(|text| http(text));
        lines.push(format!("\n{}Endpoint: {}", comments[0], endpoint.name));
        if let Some(rules) = http {
            metadata.remove("http");
            lines.push(format!("\n{rules}"));
        }
        if !metadata.is_empty() {
            lines.push(format!("\nMetadata: {}", pairs(&metadata)));
        }
        for (title, value, comment) in [
            ("Request", &endpoint.request, &comments[1]),
            ("Response", &endpoint.response, &comments[2]),
        ] {
            let fields = value.as_ref().map(|value| value.values.as_slice());
            let mut body = String::new();
            braces(fields.unwrap_or_default(), 0, &mut body);
            lines.push(format!("\n{comment}{title}: {body}"));
        }
    }
    lines.join("\n")
}

/// A proto's comment as the proto has it, in lines of its own; nothing if there is none.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        // What a peer says must not move a terminal's cursor.
        let line = line.replace(|each: char| each.is_control() && each != '\t', "\u{fffd}");
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{}", format!("// {line}").trim_end());
    }
    lines
}

/// The rules of `google.api.http`, one a line; `None` if the text is not what our servers write.
fn http(text: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Rule {
        method: String,
        path: String,
        #[serde(default)]
        body: String,
        #[serde(default)]
        response_body: String,
    }
    let rules: Vec<Rule> = serde_json::from_str(text).ok()?;
    let lines: Vec<String> = rules
        .iter()
        .map(|rule| {
            let mut line = format!("HTTP: {} {}", rule.method, rule.path);
            for (name, field) in [("body", &rule.body), ("response_body", &rule.response_body)] {
                if !field.is_empty() {
                    let _ = write!(line, " {name}={field}");
                }
            }
            line.replace(char::is_control, "\u{fffd}")
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Metadata in one line, `key=value,…`.
pub(crate) fn pairs(map: &BTreeMap<String, String>) -> String {
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
    fn comments_and_http_rules_stand_where_they_belong() {
        let service: registry::Service = serde_json::from_str(
            r#"{"name":"shop","version":"1","endpoints":[
                {"name":"Orders.Get","metadata":{"rpc":"/shop.v1.Orders/Get",
                  "description":"Gets an order.\n\nOr \u001b[2Jtwo.","request_description":"What to get.",
                  "http":"[{\"method\":\"GET\",\"path\":\"/v1/{id}\"},{\"method\":\"POST\",\"path\":\"/v1\",\"body\":\"*\",\"response_body\":\"order\"}]"},
                 "request":{"name":"Req","type":"Req"},"response":{"name":"Rsp","type":"Rsp"}}]}"#,
        )
        .unwrap();
        let expected = "\n\n// Gets an order.\n//\n// Or \u{fffd}[2Jtwo.\nEndpoint: Orders.Get\n\n\
            HTTP: GET /v1/{id}\nHTTP: POST /v1 body=* response_body=order\n\n\
            Metadata: rpc=/shop.v1.Orders/Get\n\n\
            // What to get.\nRequest: {}\n\nResponse: {}";
        let text = text("shop", &[service]);
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn an_http_key_of_somebody_elses_is_metadata() {
        for text in ["", "[]", "true", "[1]", "{}"] {
            assert_eq!(http(text), None, "{text}");
        }
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
