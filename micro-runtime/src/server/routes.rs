//! [`Routes`]: a service's methods and the functions that handle them. Generated code builds one.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::call::{self, Incall};
use crate::context::Context;
use crate::cost::PollCost;
use crate::exchange::BoxFuture;
use crate::method::{Method, MethodInfo};
use crate::status::Result;
use crate::stream::{Inbound, Outbound};

/// The methods of one service, each with the function that handles it.
///
/// Generated `register_…_handler` functions build it and give it to [`Server::add`](super::Server::add). Each
/// function gets the handler, so that it captures nothing and is free to copy.
#[derive(Debug)]
pub struct Routes {
    service: &'static str,
    routes: Vec<Route>,
}

// ===== impl Routes =====

impl Routes {
    /// No methods yet, of the service with this full name.
    #[must_use]
    pub fn new(service: &'static str) -> Routes {
        Routes {
            service,
            routes: Vec::new(),
        }
    }

    /// Adds a method with one request and one reply.
    #[must_use]
    pub fn unary<H, Req, Rsp, F, Fut>(
        self,
        method: &'static Method<Req, Rsp>,
        handler: &Arc<H>,
        function: F,
    ) -> Routes
    where
        H: Send + Sync + 'static,
        Req: Send + 'static,
        Rsp: Send + 'static,
        F: Fn(Arc<H>, Context, Req) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Rsp>> + Send + 'static,
    {
        let handler = Arc::clone(handler);
        self.route(&method.info, move |call| {
            Box::pin(call::unary(call, method, Arc::clone(&handler), function))
        })
    }

    /// Adds a method with many requests and one reply.
    #[must_use]
    pub fn client_streaming<H, Req, Rsp, F, Fut>(
        self,
        method: &'static Method<Req, Rsp>,
        handler: &Arc<H>,
        function: F,
    ) -> Routes
    where
        H: Send + Sync + 'static,
        Req: Send + 'static,
        Rsp: Send + 'static,
        F: Fn(Arc<H>, Context, Inbound<Req>) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<Rsp>> + Send + 'static,
    {
        let handler = Arc::clone(handler);
        self.route(&method.info, move |call| {
            let handler = Arc::clone(&handler);
            Box::pin(call::client_streaming(call, method, handler, function))
        })
    }

    /// Adds a method with one request and many replies.
    #[must_use]
    pub fn server_streaming<H, Req, Rsp, F, Fut>(
        self,
        method: &'static Method<Req, Rsp>,
        handler: &Arc<H>,
        function: F,
    ) -> Routes
    where
        H: Send + Sync + 'static,
        Req: Send + 'static,
        Rsp: Send + 'static,
        F: Fn(Arc<H>, Context, Req, Outbound<Rsp>) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let handler = Arc::clone(handler);
        self.route(&method.info, move |call| {
            let handler = Arc::clone(&handler);
            Box::pin(call::server_streaming(call, method, handler, function))
        })
    }

    /// Adds a method with many requests and many replies.
    #[must_use]
    pub fn bidi<H, Req, Rsp, F, Fut>(
        self,
        method: &'static Method<Req, Rsp>,
        handler: &Arc<H>,
        function: F,
    ) -> Routes
    where
        H: Send + Sync + 'static,
        Req: Send + 'static,
        Rsp: Send + 'static,
        F: Fn(Arc<H>, Context, Inbound<Req>, Outbound<Rsp>) -> Fut + Copy + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let handler = Arc::clone(handler);
        self.route(&method.info, move |call| {
            let handler = Arc::clone(&handler);
            Box::pin(call::bidi(call, method, handler, function))
        })
    }

    fn route(
        mut self,
        info: &MethodInfo,
        run: impl Fn(Incall) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Routes {
        self.routes.push(Route {
            info: *info,
            cost: Arc::default(),
            run: Box::new(run),
        });
        self
    }

    pub(super) fn into_parts(self) -> (&'static str, Vec<Route>) {
        (self.service, self.routes)
    }
}

type Run = dyn Fn(Incall) -> BoxFuture<'static, ()> + Send + Sync;

/// One method of a server.
pub(super) struct Route {
    pub(super) info: MethodInfo,
    pub(super) cost: Arc<PollCost>,
    /// The whole call, in the one box that a call costs.
    pub(super) run: Box<Run>,
}

impl Route {
    #[cfg(test)]
    pub(super) fn for_tests(info: MethodInfo) -> Route {
        Route {
            info,
            cost: Arc::default(),
            run: Box::new(|_| Box::pin(async {})),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Route").field(&self.info.path).finish()
    }
}
