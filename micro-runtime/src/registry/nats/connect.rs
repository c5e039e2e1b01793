//! [`connect`]: a connection to one of the servers, however long that takes.

use async_nats::{Client, ConnectOptions, Event as Change};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::task::Shared;
use crate::backoff::Backoff;
use crate::nats;

/// The most messages that wait for us on one subject, and that wait to be sent.
const RECEIVE_MAX: usize = 8192;
const SEND_MAX: usize = 256;

/// Tries until there is a connection.
pub(super) async fn connect(
    shared: &Shared,
    backoff: &mut Backoff,
) -> (Client, mpsc::Receiver<Change>) {
    let servers = &shared.config.servers;
    let mut told = false;
    loop {
        let (sender, changes) = mpsc::channel(16);
        let options = ConnectOptions::new()
            .client_capacity(SEND_MAX)
            .subscription_capacity(RECEIVE_MAX)
            .event_callback(move |change| {
                // Those that count come first; if none can be taken, the one before says enough.
                let _ = sender.try_send(change);
                async {}
            });
        let why = match nats::connect(servers, options).await {
            Ok(client) => {
                if told {
                    info!(servers = ?servers.addresses(), "NATS answers again");
                }
                return (client, changes);
            }
            Err(failure) => failure.why,
        };
        if !std::mem::replace(&mut told, true) {
            warn!(servers = ?servers.addresses(), why, "NATS cannot be reached, it is tried on");
        }
        shared.fails(Some(why));
        sleep(backoff.next()).await;
    }
}
