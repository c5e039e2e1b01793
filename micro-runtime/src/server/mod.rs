//! The server: takes exchanges from connections, finds the method, runs the handler, answers.
//!
//! # How a call runs
//! The connection's task reads what has come, and polls each new call once itself: a handler that does not
//! wait is done with that, and replies to requests that were read together leave in one write. Only a call
//! that is still pending gets a task of its own. That must not cost parallelism: a method whose first poll is
//! found to take long, by a sampled moving average, gets its task at once
//! ([`ServerOptions::inline_poll_limit`]), and so does the rest of a turn that has polled for long already
//! (a limit of the transport).

mod call;
mod endpoint;
pub(crate) mod registration;
mod reply;
mod router;
mod routes;
mod streams;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::context::Context;
use crate::error::Error;
use crate::exchange::{Exchange, Serve, Slot, Verb, Work};
use crate::interceptor::{Chain, DynInterceptor, Interceptor};
use crate::json;
use crate::lock::lock;
use crate::protocol::grpc::{self, ContentType, Dialect, Unsupported};
use crate::registry::Endpoint;
use crate::status::Status;

use call::Incall;
use reply::Reply;
use router::Router;
pub use routes::Routes;

/// What a server can be told: limits and interceptors.
#[derive(Clone)]
#[non_exhaustive]
pub struct ServerOptions {
    pub(crate) max_message: usize,
    pub(crate) inline_poll_limit: Duration,
    pub(crate) body_stall: Duration,
    pub(crate) json: json::Options,
    pub(crate) interceptors: Vec<Arc<dyn DynInterceptor>>,
}

// ===== impl ServerOptions =====

impl ServerOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> ServerOptions {
        ServerOptions {
            max_message: grpc::MAX_MESSAGE,
            inline_poll_limit: Duration::from_micros(50),
            body_stall: Duration::from_secs(60),
            // As go-micro's servers write it.
            json: json::Options::new().proto_names(true),
            interceptors: Vec::new(),
        }
    }

    /// The largest request message, in bytes; default 4 MiB. A larger one is answered RESOURCE_EXHAUSTED
    /// before it is read.
    #[must_use]
    pub fn max_message(mut self, bytes: usize) -> ServerOptions {
        self.max_message = bytes;
        self
    }

    /// How long the first poll of a method may take, on average, to be run in its connection's task; default
    /// 50 µs. Zero gives every call a task of its own.
    #[must_use]
    pub fn inline_poll_limit(mut self, limit: Duration) -> ServerOptions {
        self.inline_poll_limit = limit;
        self
    }

    /// How long a caller may send nothing of a request that is not a stream; default 60 s. Then the call is
    /// answered DEADLINE_EXCEEDED.
    #[must_use]
    pub fn body_stall(mut self, limit: Duration) -> ServerOptions {
        self.body_stall = limit;
        self
    }

    /// How JSON is read and written, for callers that speak it. Default: replies have the names of the proto, as
    /// go-micro's servers write them, and requests may have fields that are not known; an `Any` may hold the
    /// well-known types alone.
    ///
    /// ```
    /// use micro_runtime::json::Options;
    /// use micro_runtime::server::ServerOptions;
    ///
    /// let strict = ServerOptions::new().json(Options::new().reject_unknown_fields(true));
    /// # let _ = strict;
    /// ```
    #[must_use]
    pub fn json(mut self, options: json::Options) -> ServerOptions {
        self.json = options;
        self
    }

    /// Adds an interceptor, inside those that were added before.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> ServerOptions {
        self.interceptors.push(Arc::new(interceptor));
        self
    }
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions::new()
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("max_message", &self.max_message)
            .field("inline_poll_limit", &self.inline_poll_limit)
            .field("body_stall", &self.body_stall)
            .field("json", &self.json)
            .field("interceptors", &self.interceptors.len())
            .finish()
    }
}

/// A set of handlers. Cloning it is cheap, and the clones are one server.
///
/// Generated `register_…_handler` functions add to it; [`Service`](crate::Service) owns one, listens for it
/// and makes it known.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    router: ArcSwap<Router>,
    /// Held while the router is replaced, so that two additions at once lose none.
    adding: Mutex<()>,
    shared: Arc<Shared>,
}

/// What every call needs of its server.
pub(crate) struct Shared {
    name: Arc<str>,
    limits: Limits,
    json: json::Options,
    interceptors: Chain,
}

struct Limits {
    max_message: usize,
    inline_poll: Duration,
    body_stall: Duration,
}

// ===== impl Server =====

impl Server {
    /// A server without handlers; `name` is its service's name in the registry, which stands in errors for
    /// go-micro's clients as the id.
    #[must_use]
    pub fn new(name: &str, options: ServerOptions) -> Server {
        Server(Arc::new(Inner {
            router: ArcSwap::default(),
            adding: Mutex::new(()),
            shared: Arc::new(Shared {
                name: name.into(),
                limits: Limits {
                    max_message: options.max_message,
                    inline_poll: options.inline_poll_limit,
                    body_stall: options.body_stall,
                },
                json: options.json,
                interceptors: options.interceptors.into(),
            }),
        }))
    }

    /// Adds a service's methods. They can be called at once; a service that is registered already makes them
    /// known with its next registration.
    ///
    /// # Errors
    /// A service of the same full name is there already.
    pub fn add(&self, routes: Routes) -> Result<(), Error> {
        let _adding = lock(&self.0.adding);
        let mut router = Router::clone(&self.0.router.load());
        let (service, routes) = routes.into_parts();
        router.add(service, routes)?;
        self.0.router.store(Arc::new(router));
        Ok(())
    }

    /// The name of its service in the registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.shared.name
    }

    /// What can be called, as the registry shows it, ordered by name.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let router = self.0.router.load();
        router
            .routes()
            .into_iter()
            .map(|route| endpoint::endpoint(&route.info))
            .collect()
    }

    /// The server as what engines give their exchanges to.
    pub(crate) fn app(&self) -> Arc<dyn Serve> {
        Arc::new(self.clone())
    }
}

impl Serve for Server {
    fn call(&self, exchange: Exchange) -> Work {
        let Exchange {
            head,
            body,
            reply,
            conn,
        } = exchange;
        let shared = &self.0.shared;
        let done = || Work {
            run: Box::pin(std::future::ready(())),
            inline: true,
        };
        if head.verb() != Verb::Post {
            reply::refuse_http(reply, 405);
            return done();
        }
        let dialect = grpc::dialect(&head);
        let content_type = match ContentType::parse(head.get(Slot::ContentType)) {
            Ok(content_type) => content_type,
            Err(Unsupported::Protocol) => {
                reply::refuse_http(reply, 415);
                return done();
            }
            Err(Unsupported::Encoding) => {
                let status = Status::unimplemented(format_args!(
                    "expected content-type application/grpc, application/grpc+proto or application/grpc+json, found {:?}",
                    head.get_str(Slot::ContentType).unwrap_or_default()
                ));
                reply::refuse(reply, ContentType::Grpc, dialect, &status, &shared.name);
                return done();
            }
        };
        if let Some(found) = head.get_str(Slot::GrpcEncoding)
            && found != "identity"
        {
            reply::refuse_compression(reply, content_type, dialect, found, &shared.name);
            return done();
        }
        let router = self.0.router.load();
        let found = router.find(head.path()).and_then(|route| {
            let deadline = call::deadline_of(&head, dialect == Dialect::Go)?;
            match deadline {
                Some(deadline) if deadline.has_passed() => Err(call::expired()),
                deadline => Ok((route, deadline)),
            }
        });
        let (route, deadline) = match found {
            Ok(found) => found,
            Err(status) => {
                reply::refuse(reply, content_type, dialect, &status, &shared.name);
                return done();
            }
        };
        let inline = route.cost.is_below(shared.limits.inline_poll);
        let run = (route.run)(Incall {
            context: Context::of_request(head, deadline, conn),
            body,
            reply: Reply::new(reply, content_type, dialect),
            content_type,
            shared: Arc::clone(shared),
            cost: Arc::clone(&route.cost),
        });
        Work { run, inline }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name())
            .field("methods", &self.0.router.load().routes())
            .finish()
    }
}
