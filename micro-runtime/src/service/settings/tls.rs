//! TLS, as environment and flags say it beside what code has set.

use super::value::{Given, Origin};
use crate::error::Error;
#[cfg(feature = "tls")]
use crate::transport::{ClientTls, ServerTls};

/// What stands for the system's authorities, in the place of a file.
#[cfg(feature = "tls")]
const SYSTEM: &str = "system";

/// What was said outside. The name of a file, or of a server, and where it was said.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) certificate: Option<(String, Origin)>,
    pub(super) key: Option<(String, Origin)>,
    pub(super) client_ca: Option<(String, Origin)>,
    pub(super) ca: Option<(String, Origin)>,
    pub(super) server_name: Option<(String, Origin)>,
    pub(super) insecure: bool,
}

/// TLS of both sides, of each if it has it.
#[cfg(feature = "tls")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    pub(crate) server: Option<ServerTls>,
    pub(crate) client: Option<ClientTls>,
}

// ===== impl Request =====

impl Request {
    pub(super) fn said(given: &Given<'_>) -> Option<(String, Origin)> {
        Some((given.text.to_owned(), given.origin.clone()))
    }

    /// Refuses what cannot be followed.
    #[cfg(not(feature = "tls"))]
    pub(super) fn check(&self) -> Result<(), Error> {
        let said = [
            &self.certificate,
            &self.key,
            &self.client_ca,
            &self.ca,
            &self.server_name,
        ];
        match said.into_iter().flatten().next() {
            Some((_, origin)) => Err(origin.error(
                "expected not to be set, since this build has no TLS; build it with the cargo feature tls",
            )),
            None => Ok(()),
        }
    }

    /// What follows from this and from what code has set. Everything is read, so that what cannot be used is
    /// an error at the start.
    #[cfg(feature = "tls")]
    pub(super) fn resolve(&self, code: &Tls) -> Result<Tls, Error> {
        let Tls { server, client } = code.clone();
        let identity = match (&self.certificate, &self.key) {
            (Some((certificate, _)), Some((key, _))) => Some((certificate, key)),
            (None, None) => None,
            (Some((_, origin)), None) => {
                return Err(
                    origin.error("expected MICRO_TLS_KEY_FILE (or its flag) beside it, found none")
                );
            }
            (None, Some((_, origin))) => {
                return Err(origin
                    .error("expected MICRO_TLS_CERT_FILE (or its flag) beside it, found none"));
            }
        };
        let mut server = match (server, identity) {
            (Some(server), Some((certificate, key))) => {
                Some(server.with_identity_files(certificate, key))
            }
            (None, Some((certificate, key))) => Some(ServerTls::from_files(certificate, key)),
            (server, None) => server,
        };
        if let Some((path, origin)) = &self.client_ca {
            let Some(with_identity) = server else {
                return Err(origin.error(
                    "expected a certificate of the server's (MICRO_TLS_CERT_FILE and MICRO_TLS_KEY_FILE) beside it, found none",
                ));
            };
            server = Some(with_identity.client_ca_file(path));
        }
        let mut client = match &self.ca {
            Some((ca, _)) => {
                let client = client.unwrap_or_default();
                Some(match ca.as_str() {
                    SYSTEM => client.system_ca(),
                    path => client.ca_file(path),
                })
            }
            None => client,
        };
        if let Some((certificate, key)) = identity {
            client = client.map(|client| client.identity_files(certificate, key));
        }
        if let Some((name, origin)) = &self.server_name {
            let Some(without_name) = client else {
                return Err(origin.error(
                    "expected a client with TLS (MICRO_TLS_CA_FILE) beside it, found none",
                ));
            };
            client = Some(without_name.server_name(name));
        }
        if self.insecure {
            client = client.map(ClientTls::insecure_skip_verify);
        }
        if let Some(server) = &server {
            server.load()?;
        }
        if let Some(client) = &client {
            client.check()?;
        }
        Ok(Tls { server, client })
    }
}
