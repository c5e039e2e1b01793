//! `micro call …`.

use micro_runtime::Service;

use crate::arguments::{Call, Output};
use crate::json;

/// Calls a service with a JSON object; the reply, as JSON.
pub(crate) async fn run(service: &Service, call: &Call, output: Output) -> Result<String, String> {
    let text = match call.request.join(" ") {
        empty if empty.trim().is_empty() => "{}".to_owned(),
        text => text,
    };
    let request: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        format!("expected the request as a JSON object, found {text:?}: {error}")
    })?;
    if !request.is_object() {
        return Err(format!(
            "expected the request as a JSON object such as {{\"name\": \"John\"}}, found {text:?}"
        ));
    }
    let mut sent = service.client().request(&call.service, &call.endpoint);
    if let Some(address) = &call.address {
        sent = sent.address(address);
    }
    if let Some(timeout) = call.timeout {
        sent = sent.timeout(timeout);
    }
    for (key, value) in &call.metadata {
        sent = sent.metadata(key, value);
    }
    let reply = sent
        .json(&request)
        .await
        .map_err(|status| format!("error calling {}.{}: {status}", call.service, call.endpoint))?;
    let reply: serde_json::Value = serde_json::from_str(&reply)
        .map_err(|error| format!("expected a reply in JSON, found {reply:?}: {error}"))?;
    json(&reply, output)
}
