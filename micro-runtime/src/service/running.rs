//! A service's life: from start to stop.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::hooks::Turn;
use super::signals::{Signals, StopSignal};
use super::{Service, advertise};
use crate::broker::Broker;
use crate::error::{Error, ErrorKind};
use crate::events;
use crate::exchange::{DrainState, Drainer, PeerAddr};
use crate::registry;
use crate::server::registration::{Plan, Registration};
use crate::transport::{self, Listener};

/// A service that runs: it listens, and is known to its registry.
///
/// Dropping it without [`stop`](Running::stop) cuts its connections and its handlers of events at once, and takes
/// its node out of the registry in the background.
#[must_use = "dropping it ends the service at once"]
pub struct Running {
    service: Service,
    local: PeerAddr,
    drainer: Drainer,
    accepting: JoinHandle<()>,
    registration: Registration,
    events_end: EventsEnd,
}

/// Dropped, it ends the subscriptions of a service at once.
struct EventsEnd(Service);

/// Why a service stops, and how much time that leaves.
enum Why {
    Signal(StopSignal),
    Asked,
    /// The future of [`Service::run_until`] resolved: as patient as SIGTERM.
    Until,
}

// ===== impl Service =====

impl Service {
    /// Starts it: listens, opens its subscriptions, serves, and makes itself known, in this order, so that nobody
    /// finds an address that does not answer. A broker that is not reached within 5 s is waited for in the
    /// background. A registry that refuses is tried again in the background, and the service
    /// serves meanwhile.
    ///
    /// # Errors
    /// A hook failed, the address cannot be bound, or the broker refuses a subscription. A service starts once.
    pub async fn start(&self) -> Result<Running, Error> {
        let inner = &*self.0;
        if inner
            .started
            .swap(true, std::sync::atomic::Ordering::AcqRel)
        {
            return Err(Error::new(
                ErrorKind::Config,
                format_args!(
                    "the service {:?} was started before: build another one to run it again",
                    self.name()
                ),
            ));
        }
        events::starting(self.name());
        inner.hooks.run(Turn::BeforeStart).await?;

        let listener = match inner.take_listener() {
            Some(listener) => Listener::from_std(listener)?,
            None => Listener::bind(&inner.listen).await?,
        };
        #[cfg(feature = "tls")]
        let listener = match &inner.tls.server {
            Some(tls) => listener.with_tls(tls.clone())?,
            None => listener,
        };
        let local = listener.local().clone();
        let advertised = inner.advertised(&local)?;
        events::listening(&local);

        // Before anybody is told of the service: once it is known, it misses nothing.
        let events_end = EventsEnd(self.clone());
        if let Err(error) = inner.subscriptions.start(&inner.broker).await {
            inner.subscriptions.stop(Duration::ZERO).await;
            return Err(error);
        }

        let (drainer, drain) = Drainer::new();
        let limits = Arc::new(inner.limits.clone());
        let accepting = tokio::spawn(transport::accept(
            listener,
            limits,
            inner.server.app(),
            drain,
        ));

        let service = self.clone();
        let registration = Registration::start(Plan {
            registry: Arc::clone(inner.registry.object()),
            service: Box::new(move || service.described(&advertised)),
            ttl: inner.settings.register_ttl,
            interval: inner.register_interval,
        })
        .await;

        let running = Running {
            service: self.clone(),
            local,
            drainer,
            accepting,
            registration,
            events_end,
        };
        if let Err(error) = inner.hooks.run(Turn::AfterStart).await {
            // The hook's error is the one to tell; what a stop finds on top of it is in the log.
            let _ = running.stop().await;
            return Err(error);
        }
        Ok(running)
    }

    /// Starts it, and stops it at SIGINT, SIGTERM or SIGQUIT (on Windows Ctrl-C and its like). At SIGTERM it
    /// serves on for a while once its node is taken out of the registry, so that callers learn that it goes
    /// (see [`drain_delay`](super::ServiceBuilder::drain_delay)). A second signal stops it at once.
    ///
    /// # Errors
    /// It could not start, or a hook failed.
    pub async fn run(self) -> Result<(), Error> {
        let mut signals = Signals::listen()?;
        let running = self.start().await?;
        let first = signals.next().await;
        let second = async {
            signals.next().await;
        };
        running.end(Why::Signal(first), second).await
    }

    /// Starts it, and stops it when a future resolves; as patient with callers as at SIGTERM. Signals are
    /// left alone.
    ///
    /// # Errors
    /// It could not start, or a hook failed.
    pub async fn run_until(self, end: impl Future<Output = ()>) -> Result<(), Error> {
        let running = self.start().await?;
        end.await;
        running.end(Why::Until, std::future::pending()).await
    }

    /// What the registry is told: the service, its endpoints, its one node.
    fn described(&self, address: &str) -> registry::Service {
        let inner = &*self.0;
        let mut metadata = inner.settings.metadata.clone();
        for (key, value) in [
            ("broker", inner.broker.name()),
            ("protocol", "grpc"),
            ("registry", registry::Registry::name(&inner.registry)),
            ("server", "grpc"),
            ("transport", "grpc"),
        ] {
            metadata.insert(key.to_owned(), value.to_owned());
        }
        // As the nodes of go-micro's HTTP broker say it; nobody there reads it on other nodes.
        #[cfg(feature = "tls")]
        if inner.tls.server.is_some() {
            metadata.insert("secure".to_owned(), "true".to_owned());
        }
        let mut endpoints = inner.server.endpoints();
        endpoints.extend(inner.subscriptions.endpoints());
        registry::Service {
            name: self.name().to_owned(),
            version: inner.settings.version.clone(),
            metadata: Default::default(),
            endpoints,
            nodes: vec![registry::Node {
                id: inner.node_id.clone(),
                address: address.to_owned(),
                metadata,
            }],
        }
    }
}

// ===== impl Running =====

impl Running {
    /// Where it listens, with the port that it got: `127.0.0.1:4040`, or `unix:/path`.
    #[must_use]
    pub fn address(&self) -> String {
        self.local.to_string()
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Stops it: takes no more events and its node out of the registry, says goodbye on its connections, lets
    /// running calls and handlers of events finish (see [`stop_grace`](super::ServiceBuilder::stop_grace)), and closes.
    ///
    /// # Errors
    /// A hook failed. It is stopped all the same.
    pub async fn stop(self) -> Result<(), Error> {
        self.end(Why::Asked, std::future::pending()).await
    }

    async fn end(self, why: Why, at_once: impl Future<Output = ()>) -> Result<(), Error> {
        let Running {
            service,
            local: _,
            drainer,
            accepting,
            registration,
            events_end,
        } = self;
        let inner = &*service.0;
        events::stopping(service.name(), &why);
        let mut at_once = pin!(at_once);
        let mut cut = false;

        let orderly = async {
            let before = inner.hooks.run_all(Turn::BeforeStop).await;
            let grace = inner.settings.stop_grace;
            let calls = async {
                registration.stop().await;
                let delay = why.drain_delay(inner.settings.drain_delay);
                if !delay.is_zero() && connections(&drainer) > 0 {
                    tokio::time::sleep(delay).await;
                }
                drainer.advance(DrainState::Draining);
                if tokio::time::timeout(grace, drainer.drained())
                    .await
                    .is_err()
                {
                    events::cut(
                        connections(&drainer),
                        format_args!("still running after {grace:?}"),
                    );
                }
            };
            tokio::join!(calls, inner.subscriptions.stop(grace));
            before
        };
        let before = tokio::select! {
            before = orderly => before,
            () = &mut at_once => {
                cut = true;
                Ok(())
            }
        };
        if cut {
            events::cut(connections(&drainer), "a second signal came");
        }
        // Nothing to wait for, unless the end came at once: then what runs is cut.
        inner.subscriptions.stop(Duration::ZERO).await;
        drainer.advance(DrainState::Closing);
        if let Err(error) = accepting.await {
            tracing::error!(%error, "the task that accepts connections failed");
        }
        // Cut connections still have to let go of their tasks; one that cannot does not hold up the end.
        let _ = tokio::time::timeout(Duration::from_secs(1), drainer.drained()).await;
        drop(events_end);
        super::events::close(&inner.broker).await;
        let after = inner.hooks.run_all(Turn::AfterStop).await;
        before.and(after)
    }
}

impl Drop for EventsEnd {
    fn drop(&mut self) {
        self.0.0.subscriptions.cut();
    }
}

/// Whoever is told of the drain, but for the task that accepts.
fn connections(drainer: &Drainer) -> usize {
    drainer.watched().saturating_sub(1)
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("service", &self.service.name())
            .field("address", &self.local)
            .finish_non_exhaustive()
    }
}

// ===== impl Why =====

impl Why {
    fn drain_delay(&self, delay: Duration) -> Duration {
        match self {
            Why::Signal(signal) => signal.drain_delay(delay),
            Why::Asked => Duration::ZERO,
            Why::Until => delay,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Signal(signal) => signal.fmt(f),
            Why::Asked | Why::Until => f.write_str("the program asked for it"),
        }
    }
}

impl super::Inner {
    /// The address to make known.
    fn advertised(&self, local: &PeerAddr) -> Result<String, Error> {
        match local {
            PeerAddr::Tcp(bound) => {
                let advertise = self.settings.advertise.as_deref();
                let interfaces = advertise::interfaces()?;
                advertise::address(advertise, *bound, &interfaces, advertise::SERVICE)
            }
            other => Ok(self
                .settings
                .advertise
                .clone()
                .unwrap_or_else(|| other.to_string())),
        }
    }
}
