//! [`Kubernetes`]: services in the annotations of their pods, as go-micro's plugin has them.
//!
//! | file | holds |
//! |---|---|
//! | `pods` | labels and annotations, and which pods count |
//! | `api` | the requests: list, watch, patch; token, namespace |
//! | `watch` | from what happens to pods to what happens to nodes |
//!
//! The API server is asked by our own small client (`transport::http1`): three requests need no more, and so TLS,
//! its one crypto provider and the limits on what a server may send are those of everything else here.

mod api;
mod pods;
mod watch;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::common::address::Address;
use super::{Registry, Service, Watcher};
use crate::error::Error;
use crate::transport::ClientTls;
use crate::transport::http1::Origin;
use api::{Api, Auth, Namespace};
use watch::State;

/// Where a pod has what its service account may do.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API server's name within a cluster.
const IN_CLUSTER: &str = "https://kubernetes.default.svc";

/// The namespace of an API server that was named without one, as with kubectl.
const NAMESPACE: &str = "default";

/// Events that a watcher may leave unread; the watch waits for it.
const WATCH_BUFFER: usize = 256;

/// Services in the annotations of their pods, through the API server of Kubernetes.
///
/// A service that registers patches its own pod: a label by which it is found, and an annotation with the service
/// as JSON, both as go-micro's plugin writes and reads them. Found are the pods that run (phase `Running`) and
/// have not been told to end.
///
/// * **Registering** needs the name of the pod ([`pod`](Kubernetes::pod)). A service has one node per pod: a
///   second one registered from the same pod takes the place of the first. Kubernetes knows no time to live: a
///   node is gone when its pod ends or it is deregistered, and one whose process hangs in a pod that runs stays,
///   unless a liveness probe ends it. Values above 200 KiB lose the comments of their
///   endpoints, then the fields of their types, then the endpoints, with a warning.
/// * **Names** of up to 54 characters that end in a letter or a digit; what a label cannot have is written as `_`.
/// * **Watching** tells what changes from a list on, and goes on after a failure from where it was, within 2 s of
///   the server's return. If too much has happened meanwhile it lists again and tells the difference, as it does
///   every few minutes anyway; nodes that are missing then are told as gone unless they are all of two or more, or more than half: an error asks the
///   watcher to look for itself.
/// * **Only one namespace** is seen: that of the pod, or [`namespace`](Kubernetes::namespace).
/// * While the API server fails, calls fail with it within 4 s; what is known is the caller's to keep.
///
/// The service account of the pods needs this (`kubectl apply -n NAMESPACE -f -`):
///
/// ```yaml
#[doc = include_str!("role.yaml")]
/// ```
///
/// Clones share everything. Nothing is asked before the first call, and watches end when the last clone is
/// dropped; what is registered stays.
///
/// ```
/// use micro_runtime::registry::Kubernetes;
///
/// // In a pod, as `MICRO_REGISTRY=kubernetes` does, which takes the pod's name from HOSTNAME.
/// let registry = Kubernetes::in_cluster().pod("greeter-7d9c6b5f4-x2x7k");
/// // From outside.
/// let registry = Kubernetes::new(["https://10.0.0.1:6443?ca=/etc/kubernetes/ca.crt"])
///     .namespace("shop")
///     .token_file("/etc/micro/token");
/// ```
#[derive(Clone)]
pub struct Kubernetes(Arc<Inner>);

struct Inner {
    config: Config,
    /// What is wrong with the settings is told to whoever asks for anything.
    api: Result<Arc<Api>, String>,
    /// Closed when the last clone is dropped, which ends every watch.
    alive: tokio::sync::watch::Sender<()>,
}

#[derive(Clone, Default)]
struct Config {
    addresses: Vec<String>,
    /// In place of the server's name in a cluster.
    server: Option<(String, u16)>,
    pod: Option<String>,
    namespace: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    tls: Option<ClientTls>,
}

// ===== impl Kubernetes =====

impl Kubernetes {
    /// The cluster that this process runs in: its API server by name (`kubernetes.default.svc`), and the token,
    /// the CA and the namespace of the pod's service account.
    #[must_use]
    pub fn in_cluster() -> Kubernetes {
        Kubernetes::of(Config::default())
    }

    /// The API server at this URL, `https://10.0.0.1:6443`, or at none that of
    /// [`in_cluster`](Kubernetes::in_cluster). Parameters: `ca`, `cert`, `key` and `server_name` as for every
    /// TLS address, `namespace`, `pod`, `token_file`; a token may stand as its password, `https://:TOKEN@host`.
    /// Without `ca` the authorities of the system are trusted. `http://` is for proxies such as
    /// `kubectl proxy`. If anything is wrong every call fails and says so;
    /// [`try_new`](Kubernetes::try_new) finds out at once.
    #[must_use]
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Kubernetes {
        Kubernetes::of(Config {
            addresses: addresses.into_iter().map(Into::into).collect(),
            ..Config::default()
        })
    }

    /// As [`new`](Kubernetes::new).
    ///
    /// # Errors
    ///
    /// There is more than one address, or it is none.
    pub fn try_new<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Kubernetes, Error> {
        let kubernetes = Kubernetes::new(addresses);
        kubernetes.api()?;
        Ok(kubernetes)
    }

    /// The pod that this process runs in, which registering needs. Default: the address's, else none. In a
    /// pod it is what the environment calls `HOSTNAME`, which the settings read.
    #[must_use]
    pub fn pod(self, name: impl Into<String>) -> Kubernetes {
        self.change(|config| config.pod = Some(name.into()))
    }

    /// The namespace of the services. Default: the address's, else in a cluster that of the pod, else `default`.
    #[must_use]
    pub fn namespace(self, name: impl Into<String>) -> Kubernetes {
        self.change(|config| config.namespace = Some(name.into()))
    }

    /// The token to show, before one that stands in the address. Default: in a cluster that of the service account,
    /// else none.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Kubernetes {
        self.change(|config| config.token = Some(token.into()))
    }

    /// A file with the token to show, read again every 30 s, and when it is not accepted. Default: as
    /// [`token`](Kubernetes::token), which goes before.
    #[must_use]
    pub fn token_file(self, path: impl Into<PathBuf>) -> Kubernetes {
        self.change(|config| config.token_file = Some(path.into()))
    }

    /// How TLS is spoken with the API server, in place of what its address says. Default: the authority in the
    /// address, in a cluster that of the service account, else those of the system.
    #[must_use]
    pub fn tls(self, tls: ClientTls) -> Kubernetes {
        self.change(|config| config.tls = Some(tls))
    }

    fn change(self, change: impl FnOnce(&mut Config)) -> Kubernetes {
        let mut config = self.0.config.clone();
        change(&mut config);
        Kubernetes::of(config)
    }

    fn of(mut config: Config) -> Kubernetes {
        let api = config.api().map(Arc::new);
        Kubernetes(Arc::new(Inner {
            config,
            api: api.map_err(|error| error.to_string()),
            alive: tokio::sync::watch::Sender::new(()),
        }))
    }

    fn api(&self) -> Result<Arc<Api>, Error> {
        self.0.api()
    }

    fn own_pod(&self) -> Result<&str, Error> {
        self.0.config.pod.as_deref().ok_or_else(|| {
            Error::config(
                "the registry kubernetes needs the name of the pod to register in, which HOSTNAME has within one; \
                 give it with Kubernetes::pod, or as ?pod=NAME behind the address",
            )
        })
    }

    /// In the cluster that this process runs in, with its API server at this address instead of by name: what
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` say.
    pub(crate) fn api_server(self, host: &str, port: &str) -> Result<Kubernetes, Error> {
        let port = port.parse().map_err(|_| {
            Error::config(format_args!(
                "expected a port in KUBERNETES_SERVICE_PORT, found {port:?}"
            ))
        })?;
        Ok(self.change(|config| config.server = Some((host.to_owned(), port))))
    }

    /// Whether the pod to register in is known.
    pub(crate) fn has_pod(&self) -> bool {
        self.0.config.pod.is_some()
    }
}

impl Registry for Kubernetes {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    /// `ttl` is not used: there is none.
    ///
    /// # Errors
    ///
    /// The pod is not known or not there, the name fits no label, or the API server refuses (403 says which
    /// verbs are needed) or does not answer.
    async fn register(&self, service: &Service, _ttl: Duration) -> Result<(), Error> {
        let api = self.api()?;
        let patch = pods::registered(service)?;
        let pod = self.own_pod()?;
        if api.patch(pod, &patch).await? {
            return Ok(());
        }
        Err(Error::registry(format_args!(
            "there is no pod {pod:?} in the namespace {:?} to register in",
            api.namespace().await?
        )))
    }

    /// # Errors
    ///
    /// As [`register`](Registry::register), but that the pod is not there is none.
    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        let patch = pods::deregistered(service)?;
        self.api()?.patch(self.own_pod()?, &patch).await.map(drop)
    }

    /// # Errors
    ///
    /// The API server refuses (403 says which verbs are needed) or does not answer.
    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        Ok(State::list(&*self.api()?, Some(name)).await?.services())
    }

    /// # Errors
    ///
    /// As [`get`](Registry::get).
    async fn list(&self) -> Result<Vec<Service>, Error> {
        Ok(State::list(&*self.api()?, None).await?.services())
    }

    /// Resolves when what there is now is known.
    ///
    /// # Errors
    ///
    /// As [`get`](Registry::get).
    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        let state = State::list(&*self.api()?, name).await?;
        let (events, watcher) = mpsc::channel(WATCH_BUFFER);
        let mut alive = self.0.alive.subscribe();
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::select! {
                () = events.closed() => {}
                _ = alive.changed() => {}
                () = watch::follow(inner, state, events.clone()) => {}
            }
        });
        Ok(Watcher::from_channel(watcher))
    }
}

impl fmt::Debug for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubernetes")
            .field("pod", &self.0.config.pod)
            .field("namespace", &self.0.config.namespace)
            .finish_non_exhaustive()
    }
}

// ===== impl Inner =====

impl Inner {
    fn api(&self) -> Result<Arc<Api>, Error> {
        self.api.as_ref().map(Arc::clone).map_err(Error::config)
    }
}

// ===== impl Config =====

impl Config {
    /// Takes over what the address says and code does not.
    fn api(&mut self) -> Result<Api, Error> {
        let (text, inside) = match self.addresses.as_slice() {
            [] => (IN_CLUSTER, true),
            [one] => (one.as_str(), false),
            more => {
                return Err(Error::config(format_args!(
                    "the registry kubernetes takes one API server, found {}",
                    more.len()
                )));
            }
        };
        let mut address = Address::parse(text)?;
        let secure = address.scheme.is_none() || address.secure(&["http"], &["https"])?;
        address.expect_query(&["namespace", "pod", "token_file"], secure)?;
        let namespace = address.query.remove("namespace");
        let pod = address.query.remove("pod");
        let token_file = address.query.remove("token_file").map(PathBuf::from);
        self.pod = self.pod.take().or(pod);
        self.namespace = self.namespace.take().or(namespace);
        let token = match (address.user.as_deref(), address.password.take()) {
            (None | Some(""), token) => token,
            (Some(_), _) => {
                return Err(Error::config(
                    "expected :TOKEN before the @ of an API server's address, found a user",
                ));
            }
        };
        let account = std::path::Path::new(ACCOUNT);
        let tls = match (&self.tls, secure) {
            (Some(_), false) => {
                return Err(Error::config(
                    "Kubernetes::tls asks for TLS, and the address http:// for none",
                ));
            }
            (Some(_), true) if !address.query.is_empty() => {
                return Err(Error::config(
                    "expected the settings of TLS in one place, found some in Kubernetes::tls and some in the address",
                ));
            }
            (Some(tls), true) => Some(tls.clone()),
            (None, true) if inside => Some(ClientTls::new().ca_file(account.join("ca.crt"))),
            (None, true) => Some(address.tls()?),
            (None, false) => None,
        };
        let auth = match (
            self.token.clone().or(token),
            self.token_file.clone().or(token_file),
        ) {
            (Some(token), _) => Auth::Token(token),
            (None, Some(file)) => Auth::File(file),
            (None, None) if inside => Auth::File(account.join("token")),
            (None, None) => Auth::Nobody,
        };
        let namespace = match &self.namespace {
            Some(name) => Namespace::Named(name.clone()),
            None if inside => Namespace::File(account.join("namespace")),
            None => Namespace::Named(NAMESPACE.to_owned()),
        };
        let path = address.path.trim_end_matches('/');
        let (host, port) = match &self.server {
            Some((host, port)) if inside => (host.clone(), *port),
            _ => {
                let port = address.port.unwrap_or(if secure { 443 } else { 80 });
                (address.host.clone(), port)
            }
        };
        let origin = Origin {
            host,
            port,
            prefix: if path.is_empty() {
                String::new()
            } else {
                format!("/{path}")
            },
            tls,
        };
        Ok(Api::new(origin, auth, namespace))
    }
}

#[cfg(test)]
mod tests;
