//! What the registry shows of a method.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::method::{HttpRule, MethodInfo, MethodKind};
use crate::registry::{Endpoint, Value, keys};

/// The endpoint of a method. [`Endpoint::metadata`] tells what its metadata means.
///
/// go-micro's servers give a stream constant types and mark it in the metadata.
pub(super) fn endpoint(info: &MethodInfo) -> Endpoint {
    let stream = info.kind != MethodKind::Unary;
    let constant = |name: &str| Value {
        name: name.to_owned(),
        kind: name.to_owned(),
        values: Vec::new(),
    };
    let (request, response) = if stream {
        (constant("Context"), constant("Stream"))
    } else {
        (Value::from(info.request), Value::from(info.response))
    };
    let mut metadata = BTreeMap::new();
    let mut set = |key: &str, value: &str| {
        if !value.is_empty() {
            metadata.insert(key.to_owned(), value.to_owned());
        }
    };
    set(keys::STREAM, if stream { "true" } else { "" });
    set(keys::RPC, info.path);
    set(keys::DEPRECATED, if info.deprecated { "true" } else { "" });
    set(keys::DESCRIPTION, info.comment);
    set(keys::REQUEST_DESCRIPTION, info.request.comment);
    set(keys::RESPONSE_DESCRIPTION, info.response.comment);
    if let Some(first) = info.http.first() {
        set(keys::ENDPOINT, info.endpoint);
        set(keys::HANDLER, "rpc");
        set(keys::METHOD, first.method);
        set(keys::PATH, &paths(first.method, info.http));
        set(keys::HTTP, &json(info.http));
    }
    Endpoint {
        name: info.endpoint.to_owned(),
        request: Some(request),
        response: Some(response),
        metadata,
    }
}

/// The paths of one HTTP method, as go-micro's gateways take them: each method of their list goes with each path,
/// so that only what one method has in common can be said without inventing routes. One with a comma in it
/// cannot be said at all.
fn paths(method: &str, rules: &[HttpRule]) -> String {
    let paths: Vec<&str> = rules
        .iter()
        .filter(|rule| rule.method == method && !rule.path.contains(','))
        .map(|rule| rule.path)
        .collect();
    paths.join(",")
}

/// All rules, as they are.
fn json(rules: &[HttpRule]) -> String {
    #[derive(Serialize)]
    struct Rule {
        method: &'static str,
        path: &'static str,
        #[serde(skip_serializing_if = "str::is_empty")]
        body: &'static str,
        #[serde(skip_serializing_if = "str::is_empty")]
        response_body: &'static str,
    }
    let rules: Vec<Rule> = rules
        .iter()
        .map(|rule| Rule {
            method: rule.method,
            path: rule.path,
            body: rule.body,
            response_body: rule.response_body,
        })
        .collect();
    // Writing strings to a string cannot fail.
    serde_json::to_string(&rules).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Prost;
    use crate::method::{Idempotency, Method, Shape};

    static REQUEST: Shape = Shape::message("Req", "What to get.", &[]);
    static RESPONSE: Shape = Shape::message("Rsp", "", &[]);
    static GET: Method<(), ()> = Method::new::<Prost>(
        MethodKind::Unary,
        "shop.v1.Orders",
        "Get",
        "/shop.v1.Orders/Get",
        "Orders.Get",
    )
    .idempotency(Idempotency::NoSideEffects)
    .comment("Gets an order.\nOr two.")
    .http(&[
        HttpRule::new("GET", "/v1/{name=orders/*}"),
        HttpRule::new("POST", "/v1/orders:get")
            .body("*")
            .response_body("order"),
        HttpRule::new("GET", "/v1/a,b"),
        HttpRule::new("GET", "/v1/latest"),
    ])
    .shapes(&REQUEST, &RESPONSE);

    fn metadata(info: &MethodInfo) -> Vec<(String, String)> {
        endpoint(info).metadata.into_iter().collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn the_metadata_has_the_comments_and_the_http_rules() {
        let http = r#"[{"method":"GET","path":"/v1/{name=orders/*}"},{"method":"POST","path":"/v1/orders:get","body":"*","response_body":"order"},{"method":"GET","path":"/v1/a,b"},{"method":"GET","path":"/v1/latest"}]"#;
        assert_eq!(
            metadata(GET.info()),
            pairs(&[
                ("description", "Gets an order.\nOr two."),
                ("endpoint", "Orders.Get"),
                ("handler", "rpc"),
                ("http", http),
                ("method", "GET"),
                ("path", "/v1/{name=orders/*},/v1/latest"),
                ("request_description", "What to get."),
                ("rpc", "/shop.v1.Orders/Get"),
            ])
        );
    }

    #[test]
    fn what_the_proto_does_not_say_is_not_there() {
        static SYNC: Method<(), ()> = Method::new::<Prost>(
            MethodKind::Bidi,
            "shop.v1.Orders",
            "Sync",
            "/shop.v1.Orders/Sync",
            "Orders.Sync",
        )
        .deprecated();
        assert_eq!(
            metadata(SYNC.info()),
            pairs(&[
                ("deprecated", "true"),
                ("rpc", "/shop.v1.Orders/Sync"),
                ("stream", "true"),
            ])
        );
        assert_eq!(endpoint(SYNC.info()).request.unwrap().name, "Context");
    }
}
