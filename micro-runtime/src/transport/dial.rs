//! [`dial`]: a connection to a peer, by its address.

use std::future::Future;
use std::io;

use tokio::time::{Instant, timeout_at};

#[cfg(feature = "tls")]
use super::ClientTls;
use super::{Address, ClientLimits, http2, tcp};
use crate::exchange::{Broken, ConnInfo, Connection, Io, PeerAddr, Why};

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
    let wrap = |io| std::future::ready(Ok(io));
    dial_over(address, limits, wrap).await
}

/// The same, over TLS: the server's certificate must be for the host of the address, or for
/// [`ClientTls::server_name`]; a Unix socket's host is `localhost`. The time-out covers the TLS handshake too.
///
/// # Errors
/// Those of [`dial`], and those of TLS: the words say what is wrong with which side's certificate.
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
    dial_over(address, limits, |io| tls.connect(io, host, &[b"h2"])).await
}

async fn dial_over<F>(
    address: &Address,
    limits: &ClientLimits,
    wrap: impl FnOnce(Io) -> F,
) -> Result<Connection, Broken>
where
    F: Future<Output = Result<Io, Broken>>,
{
    let by = Instant::now() + limits.connect_timeout;
    let late = || {
        let within = limits.connect_timeout;
        let detail = format!("expected {address} to answer within {within:?}, found silence");
        Broken::new(Why::Timeout).unprocessed().with_detail(detail)
    };
    let (io, info) = match timeout_at(by, connect(address)).await {
        Ok(connected) => connected.map_err(|error| {
            let detail = format!("cannot connect to {address}: {error}");
            Broken::new(Why::Closed).unprocessed().with_detail(detail)
        })?,
        Err(_) => return Err(late()),
    };
    let io = match timeout_at(by, wrap(io)).await {
        Ok(wrapped) => wrapped.map_err(|broken| {
            let detail = format!("cannot connect to {address}: {}", broken.detail);
            broken.with_detail(detail)
        })?,
        Err(_) => return Err(late()),
    };
    match timeout_at(by, http2::connect(io, info, limits)).await {
        Ok(greeted) => greeted.map_err(|broken| {
            let detail = format!("{address} does not answer in HTTP/2: {}", broken.detail);
            broken.with_detail(detail)
        }),
        Err(_) => Err(late()),
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
