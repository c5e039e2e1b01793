//! Calls by name, without generated code.

use super::*;
use crate::Code;
use crate::interceptor::{self, Invocation, Next};
use crate::registry::Endpoint;

/// A node that answers with what it was asked, in the request's own bytes.
fn echoes(exchange: Exchange) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let path = exchange.head.path().to_owned();
        let content_type = exchange.head.get_str(Slot::ContentType).unwrap().to_owned();
        let mut requests = reader(exchange.body);
        let mut out = exchange.reply;
        let mut head = head();
        head.fields = OutFields::default();
        let value = FieldValue::Bytes(content_type.clone().into());
        head.fields.slot(Slot::ContentType, value);
        out.head(head, false).unwrap();
        while let Some(Ok(message)) = poll_fn(|cx| requests.poll_message(cx)).await {
            let text = String::from_utf8(message.into()).unwrap();
            let reply = if content_type.ends_with("json") {
                format!(r#"{{"path": "{path}", "asked": {text}}}"#)
            } else {
                text
            };
            let mut buffer = vec![0; PREFIX];
            buffer.extend_from_slice(reply.as_bytes());
            out.data(seal(buffer).unwrap(), false).unwrap();
        }
        out.trailers(status(0, "")).unwrap();
    })
}

async fn echo(endpoints: Vec<Endpoint>) -> Client {
    let network = Network::default();
    network.serve("a:1", echoes);
    client_of(&network, registry_with(&["a:1"], endpoints).await)
}

fn endpoint(name: &str, rpc: &str) -> Endpoint {
    Endpoint {
        name: name.into(),
        metadata: [("rpc".to_owned(), rpc.to_owned())].into(),
        ..Endpoint::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_path_is_the_registered_one_or_made_of_the_name() {
    let endpoints = vec![
        endpoint("Echo.Say", "/test.v1.Echo/Say"),
        endpoint("Echo.Bad", "/not a path"),
    ];
    let client = echo(endpoints).await;
    for (name, path) in [
        ("Echo.Say", "/test.v1.Echo/Say"),
        ("Echo.Other", "/Echo/Other"),
        ("Echo.Bad", "/Echo/Bad"),
        ("/any.Path/At", "/any.Path/At"),
    ] {
        let reply = client.request("echo", name).json(r#"{"a": 1.0}"#).await;
        let expected = format!(r#"{{"path": "{path}", "asked": {{"a": 1.0}}}}"#);
        assert_eq!(reply.unwrap(), expected, "text stays as it was written");
    }
    let status = client.request("echo", "Echo").json("{}").await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("Hello.Ping"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_json_value_is_sent_by_its_text() {
    let client = echo(Vec::new()).await;
    let value = serde_json::json!({"a": [1, 2]});
    let reply = client.request("echo", "Echo.Say").json(&value).await;
    let reply: serde_json::Value = serde_json::from_str(&reply.unwrap()).unwrap();
    assert_eq!(reply["asked"], value);
    let status = client.request("echo", "Echo.Say").json("{").await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(
        status.message().starts_with("expected a request in JSON"),
        "{status}"
    );
}

#[tokio::test(start_paused = true)]
async fn bytes_go_and_come_as_they_are() {
    let client = echo(Vec::new()).await;
    let call = client.request("echo", "Echo.Say");
    let reply = call.bytes("application/protobuf", &b"\x0a\x01x"[..]).await;
    assert_eq!(reply.unwrap(), &b"\x0a\x01x"[..]);
    let call = client.request("echo", "Echo.Say");
    let status = call.bytes("text/plain", Bytes::new()).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("text/plain"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_json() {
    let client = echo(Vec::new()).await;
    let call = client.request("echo", "Echo.Chat").json_stream();
    let (mut requests, mut replies) = call.await.unwrap();
    for text in ["{}", r#"{"a":"b"}"#] {
        requests.send(text.into()).await.unwrap();
        let reply = replies.recv().await.unwrap().unwrap();
        assert_eq!(
            reply,
            format!(r#"{{"path": "/Echo/Chat", "asked": {text}}}"#)
        );
    }
    requests.finish().await.unwrap();
    assert_eq!(replies.recv().await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_exist_is_unavailable() {
    let client = echo(Vec::new()).await;
    let status = client.request("nobody", "Echo.Say").json("{}").await;
    let status = status.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let text = "service \"nobody\" is not in the registry memory";
    assert!(status.message().starts_with(text), "{status}");
}

#[tokio::test(start_paused = true)]
async fn interceptors_see_a_call_by_name() {
    let seen = interceptor::from_fn(|mut call: Invocation, next: Next| async move {
        assert_eq!((call.path(), call.endpoint()), ("/Echo/Say", "Echo.Say"));
        assert!(call.method().is_none());
        let message = call.message_mut::<Bytes>().unwrap();
        assert_eq!(*message, "{}");
        *message = Bytes::from_static(b"[]");
        next.run(call).await
    });
    let client = echo(Vec::new()).await;
    let client = client.with(ClientOptions::new().interceptor(seen)).unwrap();
    let reply = client.request("echo", "Echo.Say").json("{}").await.unwrap();
    assert!(reply.ends_with("\"asked\": []}"), "{reply}");
}

#[tokio::test(start_paused = true)]
async fn a_call_by_name_is_repeated_only_on_demand() {
    let network = Network::default();
    let seen = Count::default();
    let count = seen.clone();
    network.serve("a:1", move |exchange| {
        count.add();
        async move { refuse(exchange.reply, 14, "busy") }
    });
    let client = client(&network, &["a:1"]).await;
    let call = || client.request("echo", "Echo.Say");
    assert_eq!(call().json("{}").await.unwrap_err().message(), "busy");
    assert_eq!(seen.get(), 1);
    let status = call().retries(2).json("{}").await;
    assert_eq!(status.unwrap_err().message(), "busy");
    assert_eq!(seen.get(), 4);
}
