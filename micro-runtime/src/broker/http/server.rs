//! [`Server`]: the listener of a broker's subscriptions.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;

use super::receive::Subscriptions;
use super::{BODIES_IN_MEMORY, Settings};
use crate::error::Error;
use crate::exchange::{DrainState, Drainer, PeerAddr};
use crate::service::advertise;
use crate::transport::http1::{self, BodyLimits};
use crate::transport::{Address, Listener, ServerLimits};

/// How long a body may take to arrive, and a request may wait for memory.
const BODY_ARRIVAL: Duration = Duration::from_secs(10);
const BODY_ROOM: Duration = Duration::from_secs(5);

/// How long a head may take: of the connection's first request, and of each later one from its first byte on.
const HEAD_ARRIVAL: Duration = Duration::from_secs(10);

/// How long running requests are waited for at the end.
const GRACE: Duration = Duration::from_secs(10);

const SETTING: advertise::Setting = advertise::Setting {
    code: "broker::Http::advertise",
    ways: "broker::Http::advertise",
};

/// A listener, and the subscriptions that are reached by it. Dropping it stops it, with nobody waiting.
pub(super) struct Server {
    /// Gone once it is dropped.
    drainer: Option<Drainer>,
    advertised: String,
    secure: bool,
    subscriptions: Arc<Subscriptions>,
}

// ===== impl Server =====

impl Server {
    /// Listens, and answers.
    ///
    /// # Errors
    /// The address cannot be listened on: `Config`, unless that may pass by itself; nothing can be made known of it.
    pub(super) async fn start(settings: &Settings) -> Result<Server, Error> {
        let address: Address = settings.address.parse()?;
        let listener = Listener::bind(&address).await.map_err(unbound)?;
        let advertised = match listener.local() {
            PeerAddr::Tcp(bound) => advertise::address(
                settings.advertise.as_deref(),
                *bound,
                &advertise::interfaces()?,
                SETTING,
            )?,
            other => other.to_string(),
        };
        #[cfg(feature = "tls")]
        let (listener, secure) = match &settings.tls {
            Some(tls) => (listener.with_tls(tls.clone())?, true),
            None => (listener, false),
        };
        #[cfg(not(feature = "tls"))]
        let secure = false;
        let limits = ServerLimits::new()
            .max_connections(settings.max_connections)
            .detect_timeout(HEAD_ARRIVAL);
        let bodies = BodyLimits {
            largest: settings.max_body,
            memory: BODIES_IN_MEMORY,
            room: BODY_ROOM,
            arrival: BODY_ARRIVAL,
        };
        let subscriptions = Arc::new(Subscriptions::default());
        let (drainer, drain) = Drainer::new();
        let answerer = Arc::clone(&subscriptions);
        tokio::spawn(http1::serve(listener, limits, bodies, answerer, drain));
        Ok(Server {
            drainer: Some(drainer),
            advertised,
            secure,
            subscriptions,
        })
    }

    /// The address to register.
    pub(super) fn advertised(&self) -> &str {
        &self.advertised
    }

    /// Whether it speaks TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }

    pub(super) fn subscriptions(&self) -> &Arc<Subscriptions> {
        &self.subscriptions
    }

    /// Stops listening; running requests finish, within the grace.
    pub(super) async fn stop(&self) {
        if let Some(drainer) = &self.drainer {
            drain(drainer).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(drainer) = self.drainer.take()
            && let Ok(runtime) = Handle::try_current()
        {
            // What is settled by now is still answered.
            runtime.spawn(async move { drain(&drainer).await });
        }
    }
}

/// What cannot be mended by trying again is an error of the settings.
fn unbound(error: Error) -> Error {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    let way_out = match cause.map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse) => {
            "somebody listens there already, another program or another broker of this one: choose another port, or \
             port 0 for any that is free"
        }
        Some(io::ErrorKind::AddrNotAvailable) => {
            "this machine has no such address: choose one of its own, or \":port\" for all of them, and say with \
             broker::Http::advertise where others reach it"
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "this program may not listen there, as is usual below port 1024: choose another port, or port 0 for any \
             that is free"
        }
        _ => return error,
    };
    let said = format!("broker::Http::address (MICRO_BROKER_ADDRESS): {error}: {way_out}");
    Error::config(said).with_source(error)
}

async fn drain(drainer: &Drainer) {
    drainer.advance(DrainState::Draining);
    let _ = timeout(GRACE, drainer.drained()).await;
    drainer.advance(DrainState::Closing);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_does_not_pass_by_itself_is_of_the_settings() {
        for (kind, expected, says) in [
            (io::ErrorKind::AddrInUse, ErrorKind::Config, "port 0"),
            (
                io::ErrorKind::AddrNotAvailable,
                ErrorKind::Config,
                "advertise",
            ),
            (
                io::ErrorKind::PermissionDenied,
                ErrorKind::Config,
                "below port 1024",
            ),
            (
                io::ErrorKind::OutOfMemory,
                ErrorKind::Transport,
                "cannot listen on a:1",
            ),
        ] {
            let cause = io::Error::from(kind);
            let error = Error::transport("cannot listen on a:1").with_source(cause);
            let error = unbound(error);
            assert_eq!(error.kind(), expected, "{error}");
            let words = format!("{error:?}");
            assert!(words.contains(says), "{words}");
            assert!(words.contains("cannot listen on a:1"), "{words}");
        }
    }
}
