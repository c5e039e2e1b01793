//! [`connect`]: a connection to one of the servers, or why there is none.
//!
//! The library's own reconnecting goes on for ever once begun, even when nobody has the client any more. So a
//! client of its serves for one connection; when that is lost, another client is made.

use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use tokio::time::timeout;

use super::{Servers, login};

/// How long one attempt to connect to a server may take.
const CONNECT: Duration = Duration::from_secs(3);

/// A connection that answers no ping for twice as long is lost.
const PING: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// Trying again does not mend it: the servers do not want us, or a file of ours is wrong.
    pub(crate) refused: bool,
}

// ===== impl Failure =====

impl Failure {
    fn refused(why: String) -> Failure {
        Failure { why, refused: true }
    }

    fn away(why: String) -> Failure {
        Failure {
            why,
            refused: false,
        }
    }
}

/// Tries each server once, with these options and the servers' own.
///
/// # Errors
/// None of them took us in.
pub(crate) async fn connect(servers: &Servers, options: ConnectOptions) -> Result<Client, Failure> {
    let count = servers.addresses().len();
    let options = options
        .connection_timeout(CONNECT)
        .ping_interval(PING)
        // Each server once: the first pass of the library's, and its last.
        .max_reconnects(count);
    let options = login::present(options, &servers.login)
        .await
        .map_err(Failure::refused)?;
    #[cfg(feature = "tls")]
    let options = secure(options, servers).await?;
    // In a task of its own: without TLS in the build, the library panics when the server asks for it.
    let mut connecting = tokio::spawn(options.connect(servers.addresses().to_vec()));
    let limit = CONNECT * u32::try_from(count).unwrap_or(u32::MAX);
    let abort = Aborted(connecting.abort_handle());
    let connected = timeout(limit, &mut connecting).await;
    drop(abort);
    match connected {
        Ok(Ok(Ok(client))) => Ok(client),
        Ok(Ok(Err(error))) => {
            let kind = error.kind();
            let why = login::refused(&servers.login, error);
            let refused = matches!(
                kind,
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
            ) || wrong_tls(&why);
            Err(Failure { why, refused })
        }
        Ok(Err(_)) => Err(Failure::refused(
            "the server asks for TLS, which this build or this machine has not".to_owned(),
        )),
        Err(_) => Err(Failure::away(format!("no connection within {limit:?}"))),
    }
}

/// The options with TLS: without it in the address too, since the server may ask for it.
#[cfg(feature = "tls")]
async fn secure(options: ConnectOptions, servers: &Servers) -> Result<ConnectOptions, Failure> {
    let tls = servers.tls.clone().unwrap_or_default();
    match tokio::task::spawn_blocking(move || tls.config(&[])).await {
        Ok(Ok(made)) => Ok(options.tls_client_config(made.as_ref().clone())),
        Ok(Err(error)) if servers.tls.is_some() => Err(Failure::refused(error.to_string())),
        // A machine without roots does well without TLS.
        Ok(Err(_)) | Err(_) => Ok(options),
    }
}

/// Whether rustls says that one side's certificate, or TLS itself, is not what the other expects.
fn wrong_tls(why: &str) -> bool {
    [
        "InvalidContentType",
        "invalid peer certificate",
        "CertificateRequired",
    ]
    .iter()
    .any(|sign| why.contains(sign))
}

/// A task that ends with its maker.
struct Aborted(tokio::task::AbortHandle);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}
