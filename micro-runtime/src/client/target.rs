//! [`Target`]: a service to be called.

use std::fmt;
use std::sync::Arc;

use super::call::{Bidi, Call, ClientStreaming, ServerStreaming, Unary};
use super::gate::Gate;
use super::options::Settings;
use super::policy::{Policies, Policy};
use super::pool::Pool;
use super::{Client, Mode};
use crate::method::{Method, MethodInfo};
use crate::selector::Balancer;

/// A service, by its name in the registry, and the client that calls it: what a generated client holds.
/// Cloning it is cheap.
#[derive(Clone)]
pub struct Target(Arc<Inner>);

struct Inner {
    client: Client,
    name: Arc<str>,
    balancer: Arc<Balancer<Pool>>,
    gate: Arc<Gate>,
    policies: Policies,
}

// ===== impl Target =====

impl Target {
    pub(super) fn new(client: &Client, name: &str) -> Target {
        let selector = client.selector();
        let settings = client.settings();
        let balancer = match (&client.0.shared.mode, &settings.proxy) {
            (Mode::Over(address), _) => selector.address(address),
            (Mode::Registry, None) => selector.chosen(name, settings.choice(&[])),
            (Mode::Registry, Some(proxy)) if proxy.contains(':') => selector.address(proxy),
            (Mode::Registry, Some(proxy)) => selector.service(proxy),
        };
        Target(Arc::new(Inner {
            client: client.clone(),
            name: name.into(),
            gate: settings.gates.of(balancer.name()),
            balancer,
            policies: Policies::default(),
        }))
    }

    /// The name of the service in the registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The client that its calls are made with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// Calls a method with one request and one reply.
    pub fn unary<Req, Rsp>(
        &self,
        method: &'static Method<Req, Rsp>,
        request: Req,
    ) -> Call<Req, Rsp, Unary> {
        Call::new(self.clone(), method, Some(request))
    }

    /// Calls a method with one request and many replies.
    pub fn server_streaming<Req, Rsp>(
        &self,
        method: &'static Method<Req, Rsp>,
        request: Req,
    ) -> Call<Req, Rsp, ServerStreaming> {
        Call::new(self.clone(), method, Some(request))
    }

    /// Calls a method with many requests and one reply.
    pub fn client_streaming<Req, Rsp>(
        &self,
        method: &'static Method<Req, Rsp>,
    ) -> Call<Req, Rsp, ClientStreaming> {
        Call::new(self.clone(), method, None)
    }

    /// Calls a method with many requests and many replies.
    pub fn bidi<Req, Rsp>(&self, method: &'static Method<Req, Rsp>) -> Call<Req, Rsp, Bidi> {
        Call::new(self.clone(), method, None)
    }

    pub(super) fn shared_name(&self) -> &Arc<str> {
        &self.0.name
    }

    pub(super) fn balancer(&self) -> &Arc<Balancer<Pool>> {
        &self.0.balancer
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(super) fn policy(&self, method: &'static MethodInfo) -> Policy {
        self.0.policies.of(method, self.settings(), self.gate())
    }

    pub(super) fn settings(&self) -> &Settings {
        self.0.client.settings()
    }

    pub(super) fn registry_name(&self) -> &'static str {
        self.0.client.selector().registry_name()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
