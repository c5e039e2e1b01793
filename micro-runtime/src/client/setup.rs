//! [`Setup`]: what one call was told before it is made, and the [`Plan`] that comes of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Mode;
use super::head;
use super::limit::Limit;
use super::plan::Plan;
use super::policy::Policy;
use super::pool::Pool;
use super::target::Target;
use crate::context::Context;
use crate::metadata::Metadata;
use crate::method::MethodInfo;
use crate::selector::{Balancer, Filter};
use crate::status::{Result, Status};

/// What the methods of a call's builder set.
pub(super) struct Setup {
    pub(super) context: Option<Context>,
    /// `None`: what the client says.
    pub(super) timeout: Option<Option<Duration>>,
    extra: Option<Box<Extra>>,
}

/// What few calls set.
#[derive(Default)]
pub(super) struct Extra {
    pub(super) metadata: Metadata,
    pub(super) forward: Vec<Box<str>>,
    pub(super) address: Option<String>,
    pub(super) filters: Vec<Filter>,
    pub(super) retries: Option<u32>,
    pub(super) wait_for_ready: Option<bool>,
}

/// What a call goes to.
pub(super) struct Route {
    pub(super) path: Bytes,
    pub(super) policy: Policy,
}

// ===== impl Setup =====

impl Setup {
    /// Inherits from the handler that runs now.
    pub(super) fn new() -> Setup {
        Setup {
            context: Context::current(),
            timeout: None,
            extra: None,
        }
    }

    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// The nodes that the call may go to.
    pub(super) fn balancer(&self, target: &Target) -> Arc<Balancer<Pool>> {
        let client = target.client();
        let own = match (&self.extra, &client.0.shared.mode) {
            (Some(extra), Mode::Registry) => extra,
            _ => return Arc::clone(target.balancer()),
        };
        if let Some(address) = &own.address {
            return client.selector().address(address);
        }
        let settings = target.settings();
        if own.filters.is_empty() || settings.proxy.is_some() {
            return Arc::clone(target.balancer());
        }
        let choice = settings.choice(&own.filters);
        client.selector().chosen(target.name(), choice)
    }

    /// When the call is over; counts from now.
    ///
    /// # Errors
    /// It is over already.
    pub(super) fn limit(&mut self, default: Option<Duration>) -> Result<Limit> {
        let limit = Limit::new(self.timeout.unwrap_or(default), self.context.take());
        match limit.check_start() {
            Some(over) => Err(limit.status(over, "it had not begun")),
            None => Ok(limit),
        }
    }

    /// Whether the call waits for a node.
    pub(super) fn waits(&self, policy: &Policy) -> bool {
        let own = self.extra.as_ref().and_then(|extra| extra.wait_for_ready);
        own.unwrap_or(policy.wait_for_ready)
    }

    pub(super) fn plan(
        &mut self,
        target: &Target,
        balancer: Arc<Balancer<Pool>>,
        route: Route,
        limit: Limit,
    ) -> Result<Plan> {
        let waits = self.waits(&route.policy);
        let extra = self.extra.take().map(|extra| *extra).unwrap_or_default();
        let metadata = metadata(extra.metadata, limit.context(), &extra.forward, target)?;
        let mut policy = route.policy;
        policy.repeats = policy
            .repeats
            .map(|default| extra.retries.unwrap_or(default));
        policy.wait_for_ready = waits;
        let target = target.clone();
        Ok(Plan::new(
            target, balancer, route.path, metadata, limit, policy,
        ))
    }
}

// ===== impl Route =====

impl Route {
    pub(super) fn of(method: &'static MethodInfo, target: &Target) -> Route {
        let settings = target.settings();
        Route {
            path: match &settings.proxy {
                Some(_) => Bytes::from(path_for_proxy(target.name(), method.endpoint)),
                None => Bytes::from_static(method.path.as_bytes()),
            },
            policy: target.policy(method),
        }
    }
}

/// A proxy finds the service by the path: the service's name stands where gRPC has the package (go-micro's
/// own form of it, `client/grpc/request.go`).
pub(super) fn path_for_proxy(service: &str, endpoint: &str) -> String {
    format!("/{service}.{}", endpoint.replacen('.', "/", 1))
}

/// What a call sends along: its own, then what it inherits, then what the client adds; of a name only the
/// first of these that have it.
fn metadata(
    own: Metadata,
    context: Option<&Context>,
    forward: &[Box<str>],
    target: &Target,
) -> Result<Metadata> {
    let settings = target.settings();
    let mut metadata = own;
    if !metadata.is_empty() {
        head::check(&metadata).map_err(Status::internal)?;
    }
    if let Some(context) = context.filter(|context| context.has_metadata()) {
        let inherited = if forward.is_empty() {
            context.inherited_metadata(&settings.forward)
        } else {
            context.inherited_metadata(&[forward, &settings.forward].concat())
        };
        add_missing(&mut metadata, &inherited);
    }
    if !settings.metadata.is_empty() {
        add_missing(&mut metadata, &settings.metadata);
    }
    Ok(metadata)
}

fn add_missing(metadata: &mut Metadata, more: &Metadata) {
    if metadata.is_empty() {
        metadata.clone_from(more);
        return;
    }
    let own = metadata.clone();
    for (name, value) in more.iter() {
        if own.get_bin(name).is_none() {
            metadata.append_bin(name, value.clone());
        }
    }
}

/// The methods that every call's builder has; `$repeats` says when a call is repeated.
macro_rules! setters {
    ($repeats:literal) => {
        /// How long the call may take, everything included, from when it is first polled. Default: the
        /// method's ([`MethodOptions`](crate::client::MethodOptions)), or the client's (5 s) for a unary call and
        /// none for a stream. `None` takes the default away. A deadline that
        /// the call inherits stays, if it is earlier.
        pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
            self.setup.timeout = Some(timeout.into());
            self
        }

        /// Adds metadata. It replaces what the call would inherit, or have from the client, under the same
        /// name. A name or a value that cannot be sent fails the call with INTERNAL.
        pub fn metadata(mut self, name: impl AsRef<str>, value: impl Into<String>) -> Self {
            self.setup.extra().metadata.append(name, value);
            self
        }

        /// The same with a value of bytes, for a name that ends in `-bin`.
        pub fn metadata_bin(mut self, name: impl AsRef<str>, value: impl Into<Bytes>) -> Self {
            self.setup.extra().metadata.append_bin(name, value);
            self
        }

        #[doc = $repeats]
        pub fn retries(mut self, retries: u32) -> Self {
            self.setup.extra().retries = Some(retries);
            self
        }

        /// Whether the call waits, until its deadline, for a node that takes it. Default: the client's (no); see
        /// [`ClientOptions::wait_for_ready`](crate::client::ClientOptions::wait_for_ready).
        pub fn wait_for_ready(mut self, wait: bool) -> Self {
            self.setup.extra().wait_for_ready = Some(wait);
            self
        }

        /// Calls the node at this address, whatever the registry says.
        pub fn address(mut self, address: impl Into<String>) -> Self {
            self.setup.extra().address = Some(address.into());
            self
        }

        /// Goes only to nodes that this filter keeps, and that every other filter of the call and of the client
        /// keeps. Means nothing for a call to an address or through a proxy. Fails with UNAVAILABLE if no node is
        /// kept.
        pub fn filter(mut self, filter: crate::selector::Filter) -> Self {
            self.setup.extra().filters.push(filter);
            self
        }

        /// Inherits from this context: deadline, cancellation and metadata. Default: the context of the
        /// handler in which the call is created, if there is one.
        pub fn context(mut self, context: &Context) -> Self {
            self.setup.context = Some(context.clone());
            self
        }

        /// Credentials among the inherited metadata that go on with this call, such as `authorization`,
        /// beside those that the client forwards anyway.
        pub fn forward<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
            let names = crate::client::options::boxed(names);
            self.setup.extra().forward.extend(names);
            self
        }
    };
}

pub(super) use setters;
