//! [`Listener`]: what accepts connections.

use std::io;

use tokio::net::TcpListener;

#[cfg(feature = "tls")]
use super::ServerTls;
use super::{Address, tcp};
use crate::exchange::{ConnInfo, Io, PeerAddr};
use crate::{Error, ErrorKind};

/// Accepts connections, on TCP or on a Unix socket. Dropping it stops listening, and removes the file of a
/// Unix socket.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    local: PeerAddr,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<ServerTls>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(super::unix::Socket),
}

// ===== impl Listener =====

impl Listener {
    /// Listens on an address.
    ///
    /// A wildcard listens on IPv6 and IPv4 with one socket, or on IPv4 where the machine has no IPv6. A Unix
    /// socket's file is removed first if nobody answers on it.
    ///
    /// # Errors
    /// The address is taken, not of this machine, or not permitted; Unix sockets on a system without them.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn bind(address: &Address) -> Result<Listener, Error> {
        let bound = match address {
            Address::Tcp { host, port } => tcp::bind(host, *port).await.and_then(Listener::tcp),
            #[cfg(unix)]
            Address::Unix(path) => super::unix::bind(path).map(|socket| Listener {
                kind: Kind::Unix(socket),
                local: PeerAddr::Unix(Some(path.clone())),
                #[cfg(feature = "tls")]
                tls: None,
            }),
            #[cfg(not(unix))]
            Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        };
        bound.map_err(|error| {
            let what = format!("cannot listen on {address}");
            Error::new(ErrorKind::Transport, what).with_source(error)
        })
    }

    /// Listens with a socket of the caller's.
    ///
    /// # Errors
    /// The socket cannot be made asynchronous.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn from_std(listener: std::net::TcpListener) -> Result<Listener, Error> {
        let taken = listener
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(listener))
            .and_then(Listener::tcp);
        taken.map_err(|error| {
            let what = "cannot listen with the socket that was given";
            Error::new(ErrorKind::Transport, what).with_source(error)
        })
    }

    fn tcp(listener: TcpListener) -> io::Result<Listener> {
        Ok(Listener {
            local: PeerAddr::Tcp(listener.local_addr()?),
            kind: Kind::Tcp(listener),
            #[cfg(feature = "tls")]
            tls: None,
        })
    }

    /// Speaks TLS on it, whatever kind of socket it is. Reads the files, and blocks meanwhile.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else than it should, or a key is not that of its
    /// certificate.
    #[cfg(feature = "tls")]
    pub fn with_tls(mut self, tls: ServerTls) -> Result<Listener, Error> {
        tls.load()?;
        self.tls = Some(tls);
        Ok(self)
    }

    /// Where it listens, with the port that it got.
    #[must_use]
    pub fn local(&self) -> &PeerAddr {
        &self.local
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> io::Result<(Io, ConnInfo)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                tcp::tune(&stream);
                let local = stream
                    .local_addr()
                    .map_or(self.local.clone(), PeerAddr::Tcp);
                let info = ConnInfo::new(PeerAddr::Tcp(peer), local);
                Ok((Io::new(stream), info))
            }
            #[cfg(unix)]
            Kind::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                let info = ConnInfo::new(PeerAddr::Unix(None), self.local.clone());
                Ok((Io::new(stream), info))
            }
        }
    }
}
