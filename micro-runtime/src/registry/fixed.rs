//! [`Fixed`]: addresses that are known beforehand.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Node, Registry, Service, Watcher};
use crate::error::{Error, ErrorKind};
use crate::exchange::BoxFuture;

/// How long a host's addresses serve, however often they are asked for (gRPC's DNS resolver: at most every
/// 30 s).
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// The most addresses of one host that are taken in.
const ADDRESSES_MAX: usize = 1024;

/// What starts the address of a Unix socket.
const UNIX: &str = "unix:";

/// The key of a node's metadata under which it has the host that it was resolved from.
const HOST: &str = "host";

/// A registry of addresses that are known beforehand: a service of every name is found at each of them.
///
/// An address is `host:port`, `10.0.0.7:5000`, `[::1]:5000` or `unix:/path`. A host name stands for all of its
/// A and AAAA addresses; it is resolved when a service is looked up, again after 30 s at the earliest, and if
/// that fails the former answer stays. Each node has the metadata `host`, the host name it came from.
///
/// It keeps nothing: [`register`](Registry::register) and [`deregister`](Registry::deregister) do nothing and
/// succeed, so that a service which calls others at fixed addresses can itself run. It knows no names, so
/// [`list`](Registry::list) fails, and nothing of its changes is told, so [`watch`](Registry::watch) fails,
/// both with [`ErrorKind::Unsupported`].
///
/// ```
/// use micro_runtime::registry::{Fixed, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), micro_runtime::Error> {
/// let registry = Fixed::new(["10.0.0.7:5000", "[fd00::8]:5000"]);
/// let greeter = registry.get("greeter").await?;
/// assert_eq!(greeter[0].nodes[1].address, "[fd00::8]:5000");
/// assert!(Fixed::try_new(["10.0.0.7"]).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Fixed(Arc<Inner>);

struct Inner {
    /// What was wrong with the addresses is told to whoever asks for a service.
    targets: Result<Vec<Target>, String>,
    resolver: Box<dyn Resolve>,
    /// Held for short sections without a wait.
    resolved: Mutex<HashMap<String, Resolved>>,
}

enum Target {
    /// Nothing to resolve.
    Address(String),
    Host(String),
}

/// What a host's name led to.
#[derive(Clone)]
struct Resolved {
    addresses: Vec<SocketAddr>,
    /// When that was last asked for, whether or not it failed.
    asked: Instant,
}

/// Turns `host:port` into addresses; tests have their own.
trait Resolve: Send + Sync + 'static {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>>;
}

/// The operating system's resolver.
struct System;

// ===== impl Fixed =====

impl Fixed {
    /// Every service at each of these addresses. If one of them is none, or there are none, every look-up
    /// fails and says so; [`try_new`](Fixed::try_new) finds out at once.
    #[must_use]
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Fixed {
        Fixed::with_resolver(addresses, System)
    }

    /// Every service at each of these addresses.
    ///
    /// # Errors
    ///
    /// One of them is no address, or there are none.
    pub fn try_new<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Fixed, Error> {
        let fixed = Fixed::new(addresses);
        fixed.targets()?;
        Ok(fixed)
    }

    fn with_resolver<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
        resolver: impl Resolve,
    ) -> Fixed {
        let addresses = addresses.into_iter().map(Into::into);
        let targets: Result<Vec<Target>, String> = addresses.map(Target::parse).collect();
        let targets = targets.and_then(|targets| {
            if targets.is_empty() {
                Err("the fixed registry needs an address such as 10.0.0.7:5000, it has none".into())
            } else {
                Ok(targets)
            }
        });
        Fixed(Arc::new(Inner {
            targets,
            resolver: Box::new(resolver),
            resolved: Mutex::default(),
        }))
    }

    fn targets(&self) -> Result<&[Target], Error> {
        match &self.0.targets {
            Ok(targets) => Ok(targets),
            Err(message) => Err(Error::config(message)),
        }
    }

    /// A host's addresses, from memory or asked for now.
    async fn resolve(&self, host: &str) -> Result<Vec<SocketAddr>, Error> {
        let known = self.lock().get(host).cloned();
        if let Some(known) = &known
            && known.asked.elapsed() < RESOLVED_FOR
        {
            return Ok(known.addresses.clone());
        }
        match self.0.resolver.resolve(host).await {
            Ok(mut addresses) if !addresses.is_empty() => {
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                self.keep(host, addresses.clone());
                Ok(addresses)
            }
            failed => {
                let reason = match failed {
                    Ok(_) => "it has no address".to_owned(),
                    Err(error) => error.to_string(),
                };
                match known {
                    Some(known) => {
                        tracing::warn!(
                            host,
                            reason,
                            "Host not resolved, its former addresses stay"
                        );
                        self.keep(host, known.addresses.clone());
                        Ok(known.addresses)
                    }
                    None => Err(Error::registry(format_args!(
                        "the host {host:?} of the fixed registry could not be resolved: {reason}"
                    ))),
                }
            }
        }
    }

    fn keep(&self, host: &str, addresses: Vec<SocketAddr>) {
        let resolved = Resolved {
            addresses,
            asked: Instant::now(),
        };
        self.lock().insert(host.to_owned(), resolved);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Resolved>> {
        // Each section reads or inserts one value: after a panic the map is still whole.
        self.0
            .resolved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry for Fixed {
    fn name(&self) -> &'static str {
        "fixed"
    }

    /// Does nothing: the addresses are fixed.
    async fn register(&self, _service: &Service, _ttl: Duration) -> Result<(), Error> {
        Ok(())
    }

    /// Does nothing: the addresses are fixed.
    async fn deregister(&self, _service: &Service) -> Result<(), Error> {
        Ok(())
    }

    /// # Errors
    ///
    /// An address is malformed, or no host could ever be resolved. Hosts that could not are left out as long
    /// as there is any other address.
    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        let mut nodes = Vec::new();
        let mut failed = None;
        for target in self.targets()? {
            match target {
                Target::Address(address) => nodes.push(node(name, address.clone(), None)),
                Target::Host(host) => match self.resolve(host).await {
                    Ok(addresses) => nodes.extend(
                        addresses
                            .into_iter()
                            .map(|address| node(name, address.to_string(), Some(host))),
                    ),
                    Err(error) => failed = Some(error),
                },
            }
        }
        if let (true, Some(error)) = (nodes.is_empty(), failed) {
            return Err(error);
        }
        Ok(vec![Service {
            name: name.to_owned(),
            version: "latest".to_owned(),
            nodes,
            ..Service::default()
        }])
    }

    /// Always fails: every name is here.
    async fn list(&self) -> Result<Vec<Service>, Error> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "the fixed registry knows addresses but no names, so it has no list of services",
        ))
    }

    /// Always fails: whoever wants to know of changes has to look again.
    async fn watch(&self, _name: Option<&str>) -> Result<Watcher, Error> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "the fixed registry cannot be watched, its addresses do not change",
        ))
    }
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for target in self.0.targets.iter().flatten() {
            list.entry(match target {
                Target::Address(address) | Target::Host(address) => address,
            });
        }
        list.finish()
    }
}

// ===== impl Target =====

impl Target {
    fn parse(address: String) -> Result<Target, String> {
        if address.parse::<SocketAddr>().is_ok() {
            return Ok(Target::Address(address));
        }
        let path = address.strip_prefix(UNIX);
        if path.is_some_and(|path| !path.is_empty()) {
            return Ok(Target::Address(address));
        }
        match address.rsplit_once(':') {
            // A colon or a bracket in the host is half an IPv6 address.
            Some((host, port))
                if !host.is_empty()
                    && !host.contains([':', '[', ']', '/', ' '])
                    && port.parse::<u16>().is_ok() =>
            {
                Ok(Target::Host(address))
            }
            _ => Err(format!(
                "the fixed registry needs addresses such as 10.0.0.7:5000, [::1]:5000, host:5000 or \
                 unix:/path, found {address:?}"
            )),
        }
    }
}

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(host).await?.collect()) })
    }
}

fn node(service: &str, address: String, host: Option<&str>) -> Node {
    let host = host.and_then(|host| host.rsplit_once(':'));
    Node {
        id: format!("{service}-{address}"),
        metadata: host
            .map(|(host, _)| (HOST.to_owned(), host.to_owned()))
            .into_iter()
            .collect(),
        address,
    }
}
