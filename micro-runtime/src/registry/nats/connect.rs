//! [`connect`]: a connection to one of the servers, however long that takes.
//!
//! The library's own reconnecting goes on for ever once begun, even when nobody has the client any more. So a
//! client of its serves for one connection; when that is lost, another client is made.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event as Change};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::login;
use super::task::Shared;
use crate::backoff::Backoff;

/// How long one attempt to connect to a server may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection that answers no ping for twice as long is lost.
const PING: Duration = Duration::from_secs(5);

/// The most messages that wait for us on one subject, and that wait to be sent.
const RECEIVE_MAX: usize = 8192;
const SEND_MAX: usize = 256;

/// Tries until there is a connection.
pub(super) async fn connect(
    shared: &Shared,
    backoff: &mut Backoff,
) -> (Client, mpsc::Receiver<Change>) {
    let mut told = false;
    loop {
        let why = match attempt(shared).await {
            Ok(connected) => {
                if told {
                    info!(servers = ?shared.config.servers, "NATS answers again");
                }
                return connected;
            }
            Err(why) => why,
        };
        if !std::mem::replace(&mut told, true) {
            warn!(servers = ?shared.config.servers, why, "NATS cannot be reached, it is tried on");
        }
        shared.fails(Some(why));
        sleep(backoff.next()).await;
    }
}

async fn attempt(shared: &Shared) -> Result<(Client, mpsc::Receiver<Change>), String> {
    let config = &shared.config;
    let (sender, changes) = mpsc::channel(16);
    let mut options = ConnectOptions::new()
        .connection_timeout(CONNECT)
        .ping_interval(PING)
        .client_capacity(SEND_MAX)
        .subscription_capacity(RECEIVE_MAX)
        // Each server once: the first pass of the library's, and its last.
        .max_reconnects(config.servers.len())
        .event_callback(move |change| {
            // Those that count come first; if none can be taken, the one before says enough.
            let _ = sender.try_send(change);
            async {}
        });
    options = login::present(options, &config.login).await?;
    #[cfg(feature = "tls")]
    {
        // Without TLS in the address too, since the server may ask for it.
        let tls = config.tls.clone().unwrap_or_default();
        let made = tokio::task::spawn_blocking(move || tls.config(&[])).await;
        match made {
            Ok(Ok(made)) => options = options.tls_client_config(made.as_ref().clone()),
            Ok(Err(error)) if config.tls.is_some() => return Err(error.to_string()),
            // A machine without roots does well without TLS.
            Ok(Err(_)) | Err(_) => {}
        }
    }
    let servers = config.servers.clone();
    // In a task of its own: without TLS in the build, the library panics when the server asks for it.
    let mut connecting = tokio::spawn(options.connect(servers));
    let limit = CONNECT * u32::try_from(config.servers.len()).unwrap_or(u32::MAX);
    let abort = Aborted(connecting.abort_handle());
    let connected = timeout(limit, &mut connecting).await;
    drop(abort);
    match connected {
        Ok(Ok(Ok(client))) => Ok((client, changes)),
        Ok(Ok(Err(error))) => Err(login::refused(&config.login, error)),
        Ok(Err(_)) => {
            Err("the server asks for TLS, which this build or this machine has not".to_owned())
        }
        Err(_) => Err(format!("no connection within {limit:?}")),
    }
}

/// A task that ends with its maker.
struct Aborted(tokio::task::AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}
