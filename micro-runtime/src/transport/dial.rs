//! [`dial`]: a connection to a peer, by its address.

use std::future::Future;
use std::io;

use tokio::time::{Instant, timeout_at};

#[cfg(feature = "tls")]
use super::ClientTls;
use super::{Address, ClientLimits, http2, tcp};
use crate::exchange::{Broken, ConnInfo, Connection, FIRST_BYTES, Io, PeerAddr, Why, reset};

/// Connects to a peer that speaks HTTP/2, and waits for its greeting. Every address of a name is tried, each
/// a quarter of a second after the one before it; the first that answers is taken.
///
/// # Errors
/// Nobody answers there in HTTP/2 within [`ClientLimits::connect_timeout`], which covers all of it. Nothing
/// was processed: it is safe to go elsewhere.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn dial(address: &Address, limits: &ClientLimits) -> Result<Connection, Broken> {
    let within = Within::new(address, limits);
    let (mut io, info) = within.reach().await?;
    let first = io.first_bytes();
    within.greet(io, info).await.map_err(|broken| {
        let speaks_tls = broken.why == Why::GoAway(reset::INADEQUATE_SECURITY)
            || first.get().is_some_and(is_tls_alert);
        if speaks_tls {
            return broken.with_detail(format_args!(
                "{address} speaks TLS, and was dialled without it: give the client TLS (ClientTls, MICRO_TLS_CA_FILE)"
            ));
        }
        // Some TLS servers, those of Go among them, hang up on plain text without a word.
        if broken.why == Why::Closed && first.get().is_none() {
            let detail = format!(
                "{}; if it speaks TLS there, give the client TLS (ClientTls, MICRO_TLS_CA_FILE)",
                broken.detail
            );
            return broken.with_detail(detail);
        }
        broken
    })
}

/// The same, over TLS: the server's certificate must be for the host of the address, or for
/// [`ClientTls::server_name`]; a Unix socket's host is `localhost`. The time-out covers the TLS handshake too.
///
/// # Errors
/// Those of [`dial`], and those of TLS: the words say what is wrong with which side's certificate. A TLS 1.3
/// server says what it thinks of this side's certificate after the handshake: that is the error of the greeting.
///
/// # Panics
/// Outside a tokio runtime.
#[cfg(feature = "tls")]
pub async fn dial_tls(
    address: &Address,
    limits: &ClientLimits,
    tls: &ClientTls,
) -> Result<Connection, Broken> {
    let host = match address {
        Address::Tcp { host, .. } => match host.as_str() {
            // Where `tcp::dial` goes.
            "" | "::" | "0.0.0.0" => "localhost",
            host => host,
        },
        Address::Unix(_) => "localhost",
    };
    let within = Within::new(address, limits);
    let (io, mut info) = within.reach().await?;
    let secured = within.at_most(tls.connect(io, host, &[b"h2"])).await?;
    let io = secured.map_err(|broken| {
        let detail = format!("cannot connect to {address}: {}", broken.detail);
        broken.with_detail(detail)
    })?;
    info.secure = true;
    within.greet(io, info).await
}

/// A TLS record with an alert (RFC 8446 §5.1): what a TLS server says to who does not speak TLS.
fn is_tls_alert(first: &[u8; FIRST_BYTES]) -> bool {
    first.starts_with(&[0x15, 3])
}

/// One time for all steps to a connection.
struct Within<'a> {
    address: &'a Address,
    limits: &'a ClientLimits,
    by: Instant,
}

impl Within<'_> {
    fn new<'a>(address: &'a Address, limits: &'a ClientLimits) -> Within<'a> {
        Within {
            address,
            limits,
            by: Instant::now() + limits.connect_timeout,
        }
    }

    async fn at_most<T>(&self, step: impl Future<Output = T>) -> Result<T, Broken> {
        timeout_at(self.by, step).await.map_err(|_| {
            let (address, within) = (self.address, self.limits.connect_timeout);
            let detail = format!("expected {address} to answer within {within:?}, found silence");
            Broken::new(Why::Timeout).unprocessed().with_detail(detail)
        })
    }

    async fn reach(&self) -> Result<(Io, ConnInfo), Broken> {
        let connected = self.at_most(connect(self.address)).await?;
        connected.map_err(|error| {
            let detail = format!("cannot connect to {}: {error}", self.address);
            Broken::new(Why::Closed).unprocessed().with_detail(detail)
        })
    }

    async fn greet(&self, io: Io, info: ConnInfo) -> Result<Connection, Broken> {
        let greeted = self.at_most(http2::connect(io, info, self.limits)).await?;
        greeted.map_err(|broken| {
            let address = self.address;
            let detail = format!("{address} does not answer in HTTP/2: {}", broken.detail);
            broken.with_detail(detail)
        })
    }
}

async fn connect(address: &Address) -> io::Result<(Io, ConnInfo)> {
    match address {
        Address::Tcp { host, port } => {
            let stream = tcp::dial(host, *port).await?;
            let (peer, local) = (stream.peer_addr()?, stream.local_addr()?);
            let info = ConnInfo::new(PeerAddr::Tcp(peer), PeerAddr::Tcp(local));
            Ok((Io::new(stream), info))
        }
        #[cfg(unix)]
        Address::Unix(path) => {
            let stream = super::unix::dial(path).await?;
            let peer = PeerAddr::Unix(Some(path.clone()));
            Ok((Io::new(stream), ConnInfo::new(peer, PeerAddr::Unix(None))))
        }
        #[cfg(not(unix))]
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}
