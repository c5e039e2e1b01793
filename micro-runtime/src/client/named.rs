//! Calls by name, without generated code: what a command line and a gateway make.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::Client;
use super::intercept::{intercept, message_of};
use super::limit::Limit;
use super::options::ClientOptions;
use super::plan::{self, Opened, Plan, Reply, Wait};
use super::policy::Policy;
use super::pool::Pool;
use super::setup::{Route, Setup, path_for_proxy, setters};
use super::streams;
use super::target::Target;
use crate::codec::Codec;
use crate::codec::frame::{PREFIX, seal};
use crate::context::Context;
use crate::exchange::BoxFuture;
use crate::interceptor::{MethodName, Outcome};
use crate::selector::Balancer;
use crate::status::{Code, OrStatus, Result, Status};
use crate::stream::{Inbound, Outbound};

/// The content type of JSON over gRPC.
const JSON: &str = "application/grpc+json";

/// How long the look-up of an endpoint may take for a stream without a deadline.
const LOOK_UP: Duration = Duration::from_secs(5);

/// A call by the names of a service and of an endpoint, without generated code; made by [`Client::request`].
///
/// The endpoint is a name as in the registry, such as `Hello.Ping`, or a path, such as `/pkg.Hello/Ping`. A
/// name leads to the path that the service registered for it (metadata `rpc` of the endpoint); of a service
/// that registered none, as go-micro's, to `/Hello/Ping`.
///
/// Interceptors see its message as [`Bytes`], in the content type's encoding.
#[must_use = "a call does nothing until it is given a message and awaited"]
pub struct NamedCall {
    client: Client,
    service: String,
    endpoint: String,
    setup: Setup,
}

/// A call by name that is ready to be made: a future. Dropping it before it is done cancels the call.
#[must_use = "a call does nothing until it is awaited"]
pub struct Named<T>(BoxFuture<'static, Result<T>>);

// ===== impl NamedCall =====

impl NamedCall {
    pub(super) fn new(client: &Client, service: &str, endpoint: &str) -> NamedCall {
        NamedCall {
            client: client.clone(),
            service: service.to_owned(),
            endpoint: endpoint.to_owned(),
            setup: Setup::new(),
        }
    }

    setters! {
        "How often the call may be made again although it may have been processed. Default: 0, since nothing \
         is known of the method; whoever sets it says that the call is safe to repeat."
    }

    /// Sends JSON, and brings the reply as JSON. The value is anything whose text is JSON: a string that
    /// holds it, or a value of a JSON library.
    ///
    /// ```no_run
    /// # async fn f(client: micro_runtime::Client) -> micro_runtime::Result<()> {
    /// let reply = client.request("hellooo", "Hello.Ping").json(r#"{"name": "World"}"#).await?;
    /// println!("{reply}");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// INTERNAL if the text is not JSON; else as [`Call`](super::Call).
    pub fn json(self, value: impl fmt::Display) -> Named<String> {
        let text = value.to_string();
        Named(Box::pin(async move {
            let body = JSON_TEXT.encode(&text, &crate::codec::Encoding::Proto, 0)?;
            let reply = self.unary(JSON, body.into()).await?;
            JSON_TEXT.decode(reply, &crate::codec::Encoding::Proto)
        }))
    }

    /// Sends a message that is encoded already, and brings the reply's message as it came. The content type is
    /// one that [`ClientOptions::content_type`] knows, and says how both are encoded.
    ///
    /// # Errors
    /// INTERNAL if the content type is not known; else as [`Call`](super::Call).
    pub fn bytes(self, content_type: &str, message: impl Into<Bytes>) -> Named<Bytes> {
        let (content_type, message) = (content_type.to_owned(), message.into());
        Named(Box::pin(
            async move { self.unary(&content_type, message).await },
        ))
    }

    /// Opens a stream of JSON both ways: any kind of stream, since a method that takes one message, or gives
    /// one, is a stream with one message. Finish the sending half after the last message, also after the
    /// only one.
    ///
    /// # Errors
    /// As [`Call`](super::Call).
    pub fn json_stream(self) -> Named<(Outbound<String>, Inbound<String>)> {
        Named(Box::pin(async move {
            let opened = self.stream(JSON).await?;
            let (requests, replies) = streams::duplex(opened, None, (JSON_TEXT, JSON_TEXT));
            Ok((requests, replies))
        }))
    }

    async fn unary(self, content_type: &str, message: Bytes) -> Result<Bytes> {
        let default = self.client.settings().timeout;
        let (plan, method) = self.plan(content_type, default).await?;
        if plan.target.settings().interceptors.is_empty() {
            let Reply { message, .. } = plan::unary(plan, frame(&message)?).await?;
            return Ok(message);
        }
        let mut run = intercept(plan, method, Some(message), |plan, message| async move {
            let message: Bytes = message.unwrap_or_default();
            let Reply { message, .. } = plan::unary(plan, frame(&message)?).await?;
            Ok(Outcome::of(message))
        });
        message_of(std::future::poll_fn(|cx| run.poll(cx)).await?)
    }

    async fn stream(self, content_type: &str) -> Result<Opened> {
        let (plan, method) = self.plan(content_type, None).await?;
        if plan.target.settings().interceptors.is_empty() {
            return plan.open(None, false).await;
        }
        let mut run = intercept(plan, method, None::<Bytes>, |plan, _| async move {
            let mut opened = plan.open(None, false).await?;
            opened.observe();
            Ok(Outcome::of(opened))
        });
        message_of(std::future::poll_fn(|cx| run.poll(cx)).await?)
    }

    async fn plan(
        mut self,
        content_type: &str,
        timeout: Option<Duration>,
    ) -> Result<(Plan, MethodName)> {
        let options = ClientOptions::new().content_type(content_type);
        let client = self.client.with(options).or_status(Code::Internal)?;
        let target = client.target(&self.service);
        let policy = |path: &str| {
            let (settings, gate) = (target.settings(), target.gate());
            Policy::resolve(path, &self.endpoint, None, settings, gate)
        };
        // The time runs while the path is looked up, so that it goes by what was given.
        let known = policy(&self.endpoint);
        let timeout = known.timeout.unwrap_or(timeout);
        let waits = self.setup.waits(&known);
        let mut limit = self.setup.limit(timeout)?;
        let balancer = self.setup.balancer(&target);
        let path = match path_of(&self.endpoint, &target) {
            Some(path) => path,
            None => {
                look_up(&balancer, &target, &mut limit, waits).await?;
                let registered = balancer.endpoint_metadata(&self.endpoint, "rpc");
                match registered.filter(|path| is_path(path)) {
                    Some(path) => path,
                    None => path_by_name(&self.endpoint)?,
                }
            }
        };
        let method = MethodName::Named {
            path: path.as_str().into(),
            endpoint: self.endpoint.as_str().into(),
        };
        let policy = policy(&path);
        let route = Route {
            path: Bytes::from(path),
            policy,
        };
        let plan = self.setup.plan(&target, balancer, route, limit)?;
        Ok((plan, method))
    }
}

/// The path of an endpoint that needs no look-up.
fn path_of(endpoint: &str, target: &Target) -> Option<String> {
    if endpoint.starts_with('/') {
        return Some(endpoint.to_owned());
    }
    let proxied = target.settings().proxy.is_some();
    proxied.then(|| path_for_proxy(target.name(), endpoint))
}

async fn look_up(
    balancer: &Balancer<Pool>,
    target: &Target,
    limit: &mut Limit,
    waits: bool,
) -> Result<()> {
    let mut bounded;
    let limit = if waits || limit.deadline().is_some() {
        limit
    } else {
        bounded = limit.at_most(LOOK_UP);
        &mut bounded
    };
    let mut wait = waits.then(|| Wait::new(balancer.news()));
    let over = loop {
        let deadline = limit.deadline();
        let deadline = deadline.unwrap_or_else(|| crate::Deadline::after(LOOK_UP));
        match (limit.bound(balancer.ready(deadline)).await, &mut wait) {
            (Ok(Ok(())), _) => return Ok(()),
            (Ok(Err(no_node)), None) => return Err(no_node.into()),
            (Ok(Err(no_node)), Some(wait)) => {
                if let Err(over) = limit.bound(wait.again(&no_node)).await {
                    break over;
                }
            }
            (Err(over), _) => break over,
        }
    };
    let (name, registry) = (target.name(), target.registry_name());
    Err(limit.status(
        over,
        format_args!("service {name:?} was looked up in the registry {registry}"),
    ))
}

/// `Hello.Ping` is `/Hello/Ping`; of a longer name the last part is the method.
fn path_by_name(endpoint: &str) -> Result<String> {
    match endpoint.rsplit_once('.') {
        Some((service, method)) if is_path(&format!("/{service}/{method}")) => {
            Ok(format!("/{service}/{method}"))
        }
        _ => Err(Status::internal(format_args!(
            "expected an endpoint such as Hello.Ping, or a path such as /pkg.Hello/Ping, found {endpoint:?}"
        ))),
    }
}

/// What a registry says is input from outside, and what goes into a head must be fit for it.
fn is_path(text: &str) -> bool {
    let mut parts = text.split('/');
    parts.next() == Some("")
        && parts.next().is_some_and(|service| !service.is_empty())
        && parts.next().is_some_and(|method| !method.is_empty())
        && parts.next().is_none()
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn frame(message: &[u8]) -> Result<Bytes> {
    let mut buffer = Vec::with_capacity(PREFIX + message.len());
    buffer.resize(PREFIX, 0);
    buffer.extend_from_slice(message);
    seal(buffer)
}

/// JSON as text, checked on its way out, and on its way in.
const JSON_TEXT: Codec<String> = Codec::new(
    |text, _, headroom| {
        check(text.as_bytes()).map_err(|error| {
            Status::internal(format_args!("expected a request in JSON, found {error}"))
        })?;
        let mut buffer = Vec::with_capacity(headroom + text.len());
        buffer.resize(headroom, 0);
        buffer.extend_from_slice(text.as_bytes());
        Ok(buffer)
    },
    |bytes, _| {
        // go-micro sends an empty payload for an empty message.
        if bytes.is_empty() {
            return Ok("{}".to_owned());
        }
        check(&bytes).map_err(|error| {
            Status::internal(format_args!("expected a reply in JSON, found {error}"))
        })?;
        String::from_utf8(bytes.into()).or_status(Code::Internal)
    },
);

fn check(json: &[u8]) -> serde_json::Result<()> {
    serde_json::from_slice(json).map(|serde::de::IgnoredAny| ())
}

impl fmt::Debug for NamedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedCall")
            .field("service", &self.service)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

// ===== impl Named =====

impl<T> Future for Named<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Task<'_>) -> Poll<Result<T>> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        assert_eq!(path_by_name("Hello.Ping").unwrap(), "/Hello/Ping");
        assert_eq!(path_by_name("a.v1.Hello.Ping").unwrap(), "/a.v1.Hello/Ping");
        for wrong in ["Hello", "", ".Ping", "Hello.", "He llo.Ping", "a/b.c"] {
            assert!(path_by_name(wrong).is_err(), "{wrong}");
        }
        assert!(is_path("/a.B/C"));
        for wrong in [
            "a.B/C", "/a.B", "/a.B/C/D", "//C", "/a.B/", "/a b/C", "/a/\n",
        ] {
            assert!(!is_path(wrong), "{wrong}");
        }
    }

    #[test]
    fn text_that_is_no_json_stays_here() {
        let encode = |text: &str| {
            let encoding = crate::codec::Encoding::Proto;
            JSON_TEXT.encode(&text.to_owned(), &encoding, 0)
        };
        assert_eq!(encode(r#"{"a": 1.50}"#).unwrap(), br#"{"a": 1.50}"#);
        let error = encode("{a}").unwrap_err();
        assert_eq!(error.code(), Code::Internal);
        assert!(encode("{} {}").is_err());
    }
}
