//! [`Client`]: requests to one server.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{Connect, Network, Origin};
use super::pool::{Pool, Sender};
#[cfg(feature = "kubernetes")]
use super::stream::Streaming;

/// The longest that a connection may take to be made. Another server, or another try, may be luckier.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The most headers of an answer, and the most bytes of them all.
const HEADERS_MAX: usize = 64;
const HEAD_MAX: usize = 64 * 1024;

/// The most characters of a server's words that an error repeats.
const SHOWN: usize = 300;

/// How long a connection that broke may take to say why.
const EXPLANATION: Duration = Duration::from_millis(500);

const JSON: &str = "application/json";

/// Has what ended a connection, once it has ended.
type End = JoinHandle<Option<String>>;

/// A client of one server. Clones share its connections, which close when the last one is dropped and its
/// calls are over.
#[derive(Clone)]
pub(crate) struct Client(Arc<Inner>);

struct Inner {
    origin: Origin,
    /// Headers of every request.
    headers: HeaderMap,
    connect: Arc<dyn Connect>,
    pool: Pool,
}

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    #[cfg(any(test, feature = "consul"))]
    Put,
    #[cfg(feature = "kubernetes")]
    Patch,
    /// What must not be done twice.
    #[cfg(any(test, feature = "http"))]
    Post,
}

/// A request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Path and query, percent-encoded, with the slash that begins it.
    pub(crate) target: String,
    /// JSON, or empty.
    pub(crate) body: Bytes,
    /// What kind of JSON.
    pub(crate) content_type: &'static str,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why a connection gave no answer.
struct Lost {
    failure: Failure,
    /// The server cannot have seen anything of the request.
    unsent: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection came about, so that nothing was asked. The text says why.
    Unreachable(String),
    /// There was none within this time.
    Late(Duration),
    /// The connection broke, or what came is no HTTP. The server may have done what was asked.
    Broken(String),
    /// The answer's body is longer than this.
    TooLarge(usize),
    /// The request cannot be written: a character that HTTP does not allow.
    Unwritable(String),
}

// ===== impl Client =====

impl Client {
    /// A client of this server, whose requests all have these headers. Their values are secrets. Connects to
    /// nothing yet.
    ///
    /// # Errors
    ///
    /// A header's value has a character that HTTP does not allow; the error does not show it.
    pub(crate) fn new(origin: Origin, headers: &[(&'static str, &str)]) -> Result<Client, Failure> {
        Client::with_connect(origin, headers, Arc::new(Network))
    }

    pub(crate) fn with_connect(
        origin: Origin,
        headers: &[(&'static str, &str)],
        connect: Arc<dyn Connect>,
    ) -> Result<Client, Failure> {
        let mut map = HeaderMap::new();
        let authority = HeaderValue::from_str(&origin.authority())
            .map_err(|_| Failure::Unwritable(format!("the host {:?} is none", origin.host)))?;
        map.insert(HOST, authority);
        map.insert(ACCEPT, HeaderValue::from_static("application/json"));
        map.insert(USER_AGENT, HeaderValue::from_static("micro"));
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value).map_err(|_| {
                Failure::Unwritable(format!(
                    "the value of the header {name} has a character that HTTP does not allow"
                ))
            })?;
            value.set_sensitive(true);
            map.insert(HeaderName::from_static(name), value);
        }
        Ok(Client(Arc::new(Inner {
            origin,
            headers: map,
            connect,
            pool: Pool::default(),
        })))
    }

    /// The same, with up to this many connections kept between requests.
    #[cfg(feature = "http")]
    pub(crate) fn keeping(origin: Origin, connections: usize) -> Result<Client, Failure> {
        let mut client = Client::new(origin, &[])?;
        if let Some(inner) = Arc::get_mut(&mut client.0) {
            inner.pool = Pool::keeping(connections);
        }
        Ok(client)
    }

    /// The server.
    pub(crate) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    ///
    /// There is none within `timeout`, which covers all of it, or its body has more than `max_body` bytes.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection; the server may have done what was asked.
    pub(crate) async fn send(
        &self,
        request: &Request,
        timeout: Duration,
        max_body: usize,
    ) -> Result<Answer, Failure> {
        let deadline = Instant::now() + timeout;
        match timeout_at(deadline, self.exchange(request, deadline, max_body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Late(timeout)),
        }
    }

    async fn exchange(
        &self,
        request: &Request,
        deadline: Instant,
        max_body: usize,
    ) -> Result<Answer, Failure> {
        // A connection that waited may have been closed by the server just now, which only its use finds out.
        if let Some(sender) = self.0.pool.take() {
            match self.on(sender, request, max_body, None).await {
                Err(Lost {
                    failure: Failure::Broken(_),
                    unsent,
                }) if unsent || request.method.may_be_repeated() => {}
                done => return done.map_err(|lost| lost.failure),
            }
        }
        // Rare, and large: a request on a connection that there is need have no room for it.
        let done = Box::pin(async {
            let (sender, end) = self.open(deadline).await?;
            self.on(sender, request, max_body, Some(end)).await
        });
        done.await.map_err(|lost| match lost.failure {
            Failure::Broken(why) if lost.unsent && !request.method.may_be_repeated() => {
                Failure::Unreachable(why)
            }
            failure => failure,
        })
    }

    /// Sends a request whose answer has no end, and gives it when its head is there, whatever its status. It
    /// has a connection of its own.
    ///
    /// # Errors
    ///
    /// There is none within `timeout`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, and later the answer, closes the connection.
    #[cfg(feature = "kubernetes")]
    pub(crate) async fn stream(
        &self,
        request: &Request,
        timeout: Duration,
    ) -> Result<Streaming, Failure> {
        let deadline = Instant::now() + timeout;
        let opening = async {
            let written = self.written(request)?;
            let (mut sender, end) = self.open(deadline).await?;
            let answer = match sender.send_request(written).await {
                Ok(answer) => answer,
                Err(error) => return Err(broken(&error, Some(end)).await),
            };
            let status = answer.status().as_u16();
            Ok(Streaming::new(status, answer.into_body(), sender))
        };
        match timeout_at(deadline, opening).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::Late(timeout)),
        }
    }

    async fn open(&self, deadline: Instant) -> Result<(Sender, End), Failure> {
        let by = deadline.min(Instant::now() + CONNECT_TIMEOUT);
        let connecting = self.0.connect.connect(&self.0.origin);
        let io = match timeout_at(by, connecting).await {
            Ok(connected) => connected.map_err(Failure::Unreachable)?,
            Err(_) => {
                return Err(Failure::Unreachable(format!(
                    "no connection within {CONNECT_TIMEOUT:?}"
                )));
            }
        };
        let (sender, connection) = Builder::new()
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| Failure::Unreachable(told(&error)))?;
        // Ends when the sender is dropped, or the connection breaks; whoever waits for an answer is told why.
        let end = tokio::spawn(async move {
            let error = connection.await.err()?;
            tracing::trace!(%error, "a connection to a back-end ended");
            // What went wrong at the goodbye is not why it came to it.
            (!error.is_shutdown()).then(|| told(&error))
        });
        Ok((sender, end))
    }

    async fn on(
        &self,
        mut sender: Sender,
        request: &Request,
        max_body: usize,
        end: Option<End>,
    ) -> Result<Answer, Lost> {
        let written = self.written(request)?;
        if let Err(error) = sender.ready().await {
            let failure = broken(&error, end).await;
            return Err(Lost {
                failure,
                unsent: true,
            });
        }
        let answer = match sender.try_send_request(written).await {
            Ok(answer) => answer,
            Err(mut error) => {
                // It comes back as long as nothing of it was written.
                let unsent = error.take_message().is_some();
                let failure = broken(error.error(), end).await;
                return Err(Lost { failure, unsent });
            }
        };
        let (head, body) = answer.into_parts();
        let announced = hyper::body::Body::size_hint(&body).lower();
        if usize::try_from(announced).map_or(true, |announced| announced > max_body) {
            return Err(Failure::TooLarge(max_body).into());
        }
        let body = Limited::new(body, max_body)
            .collect()
            .await
            .map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Failure::TooLarge(max_body)
                } else {
                    match error.downcast_ref::<hyper::Error>() {
                        Some(error) => Failure::Broken(told(error)),
                        None => Failure::Broken(error.to_string()),
                    }
                }
            })?
            .to_bytes();
        self.0.pool.put(sender);
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    fn written(&self, request: &Request) -> Result<http::Request<Full<Bytes>>, Failure> {
        let target = format!("{}{}", self.0.origin.prefix, request.target);
        let uri: http::Uri = target.parse().map_err(|error| {
            Failure::Unwritable(format!("the path {target:?} is none: {error}"))
        })?;
        let mut written = http::Request::new(Full::new(request.body.clone()));
        *written.method_mut() = match request.method {
            Method::Get => http::Method::GET,
            #[cfg(any(test, feature = "consul"))]
            Method::Put => http::Method::PUT,
            #[cfg(feature = "kubernetes")]
            Method::Patch => http::Method::PATCH,
            #[cfg(any(test, feature = "http"))]
            Method::Post => http::Method::POST,
        };
        *written.uri_mut() = uri;
        *written.headers_mut() = self.0.headers.clone();
        if !request.body.is_empty() {
            let kind = HeaderValue::from_static(request.content_type);
            written.headers_mut().insert(CONTENT_TYPE, kind);
        }
        Ok(written)
    }

    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.0.pool.idle()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.0.origin).finish()
    }
}

// ===== impl Method =====

impl Method {
    /// Whether a request that may have been done may be sent again.
    fn may_be_repeated(self) -> bool {
        match self {
            #[cfg(any(test, feature = "http"))]
            Method::Post => false,
            _ => true,
        }
    }
}

// ===== impl Request =====

impl Request {
    /// JSON that is handed over, once.
    #[cfg(any(test, feature = "http"))]
    pub(crate) fn post(target: String, body: Bytes) -> Request {
        Request {
            method: Method::Post,
            target,
            body,
            content_type: JSON,
        }
    }

    pub(crate) fn get(target: String) -> Request {
        Request {
            method: Method::Get,
            target,
            body: Bytes::new(),
            content_type: JSON,
        }
    }

    #[cfg(any(test, feature = "consul"))]
    pub(crate) fn put(target: String, body: Bytes) -> Request {
        Request {
            method: Method::Put,
            target,
            body,
            content_type: JSON,
        }
    }

    /// A change of this kind, such as `application/strategic-merge-patch+json`.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn patch(target: String, content_type: &'static str, body: Bytes) -> Request {
        Request {
            method: Method::Patch,
            target,
            body,
            content_type,
        }
    }
}

// ===== impl Answer =====

impl Answer {
    /// The value of a header, by its name in lower case; of several with one name, the first.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What the body says, for people: its beginning, in one line.
    pub(crate) fn words(&self) -> String {
        let text = String::from_utf8_lossy(self.body.get(..4 * SHOWN).unwrap_or(&self.body));
        let mut words = String::new();
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
            if word.is_empty() {
                continue;
            }
            if !words.is_empty() {
                words.push(' ');
            }
            words.extend(word.chars().take(SHOWN));
            if words.chars().count() >= SHOWN {
                words = words.chars().take(SHOWN).collect();
                words.push('…');
                break;
            }
        }
        words
    }
}

// ===== impl Lost =====

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Lost {
        let unsent = matches!(failure, Failure::Unreachable(_) | Failure::Unwritable(_));
        Lost { failure, unsent }
    }
}

// ===== impl Failure =====

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreachable(why) | Failure::Unwritable(why) => f.write_str(why),
            Failure::Late(within) => write!(f, "no answer within {within:?}"),
            Failure::Broken(why) => write!(f, "the connection broke: {why}"),
            Failure::TooLarge(limit) => {
                write!(
                    f,
                    "the answer has more than the {limit} bytes that are read"
                )
            }
        }
    }
}

/// Why there is no answer. A sender that finds its connection closed knows no more than that: then what ended the
/// connection is told.
async fn broken(error: &hyper::Error, end: Option<End>) -> Failure {
    if let Some(end) = end
        && (error.is_closed() || error.is_canceled())
        && let Ok(Ok(Some(end))) = timeout(EXPLANATION, end).await
    {
        return Failure::Broken(end);
    }
    Failure::Broken(told(error))
}

/// hyper's error with its causes, which say more than itself.
pub(super) fn told(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
