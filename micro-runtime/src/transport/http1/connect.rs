//! Connections to a server: TCP, and TLS over it.

use std::fmt;
use std::io;

use crate::exchange::{BoxFuture, Io};
#[cfg(feature = "tls")]
use crate::transport::ClientTls;
use crate::transport::tcp;

/// A server, and what every request to it has.
#[derive(Clone)]
pub(crate) struct Origin {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Before the path of every request, without the slash at its end; empty for most.
    pub(crate) prefix: String,
    /// `None` speaks in plain text.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<ClientTls>,
}

/// Makes connections; tests have their own.
pub(crate) trait Connect: Send + Sync + 'static {
    fn connect<'a>(&'a self, origin: &'a Origin) -> BoxFuture<'a, Result<Io, String>>;
}

/// Over the network.
pub(super) struct Network;

// ===== impl Origin =====

impl Origin {
    /// `host:port`, with brackets where an address needs them: the header `host`.
    pub(super) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn scheme(&self) -> &'static str {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return "https";
        }
        "http"
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}{}", self.prefix)
    }
}

impl Connect for Network {
    fn connect<'a>(&'a self, origin: &'a Origin) -> BoxFuture<'a, Result<Io, String>> {
        Box::pin(async move {
            let stream = tcp::dial(&origin.host, origin.port)
                .await
                .map_err(|error| refused(&error))?;
            let io = Io::new(stream);
            #[cfg(feature = "tls")]
            if let Some(tls) = &origin.tls {
                return tls
                    .connect(io, &origin.host, &[b"http/1.1"])
                    .await
                    .map_err(|broken| broken.to_string());
            }
            Ok(io)
        })
    }
}

fn refused(error: &io::Error) -> String {
    format!("cannot connect: {error}")
}
