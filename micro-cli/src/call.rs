//! `micro call …`.

use micro_runtime::Service;

use crate::arguments::{Call, Output};
use crate::{json, object};

/// Calls a service with a JSON object; the reply, as JSON.
pub(crate) async fn run(service: &Service, call: &Call, output: Output) -> Result<String, String> {
    let request = object(&call.request, "the request")?;
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
