//! [`Fixed`]: addresses that are known beforehand.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::common::join::all;
use super::{LATEST, Node, Registry, Service, Watcher};
use crate::error::{Error, ErrorKind};
use crate::exchange::BoxFuture;
use crate::lock::lock;

/// How long a host's addresses serve, however often they are asked for (gRPC's DNS resolver: at most every
/// 30 s).
const RESOLVED_FOR: Duration = Duration::from_secs(30);

/// The longest that one host's resolution is waited for: less than the 5 s after which whoever looks a service up
/// gives up, so that one host whose name servers are silent hides no other.
const RESOLVE: Duration = Duration::from_secs(3);

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
/// that fails or takes longer than 3 s the former answer stays. Each node has the metadata `host`, the host name
/// it came from.
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
        let resolved = timeout(RESOLVE, self.0.resolver.resolve(host)).await;
        let resolved = resolved.unwrap_or_else(|_| {
            let late = format!("no answer within {} s", RESOLVE.as_secs());
            Err(std::io::Error::other(late))
        });
        match resolved {
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
        lock(&self.0.resolved)
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
        let targets = self.targets()?;
        let hosts = targets.iter().filter_map(|target| match target {
            Target::Host(host) => {
                let resolving: BoxFuture<'_, _> = Box::pin(self.resolve(host));
                Some(resolving)
            }
            Target::Address(_) => None,
        });
        let mut resolved = all(hosts.collect()).await.into_iter();
        let mut nodes = Vec::new();
        let mut failed = None;
        for target in targets {
            match target {
                Target::Address(address) => nodes.push(node(name, address.clone(), None)),
                Target::Host(host) => match resolved.next() {
                    Some(Ok(addresses)) => nodes.extend(
                        addresses
                            .into_iter()
                            .map(|address| node(name, address.to_string(), Some(host))),
                    ),
                    Some(Err(error)) => failed = Some(error),
                    None => {}
                },
            }
        }
        if let (true, Some(error)) = (nodes.is_empty(), failed) {
            return Err(error);
        }
        Ok(vec![Service {
            name: name.to_owned(),
            version: LATEST.to_owned(),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::advance;

    use super::*;

    /// Answers as it is told; counts the questions.
    #[derive(Clone, Default)]
    struct Names(Arc<NamesInner>);

    #[derive(Default)]
    struct NamesInner {
        hosts: Mutex<HashMap<String, Vec<SocketAddr>>>,
        asked: AtomicUsize,
        /// A host whose name servers are silent.
        silent: Mutex<Option<String>>,
    }

    impl Names {
        fn set(&self, host: &str, addresses: &[&str]) {
            let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
            self.0.hosts.lock().unwrap().insert(host.into(), addresses);
        }

        fn unset(&self, host: &str) {
            self.0.hosts.lock().unwrap().remove(host);
        }

        fn asked(&self) -> usize {
            self.0.asked.load(Ordering::SeqCst)
        }
    }

    impl Resolve for Names {
        fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            let found = self.0.hosts.lock().unwrap().get(host).cloned();
            if self.0.silent.lock().unwrap().as_deref() == Some(host) {
                return Box::pin(std::future::pending());
            }
            Box::pin(async move { found.ok_or_else(|| std::io::Error::other("SERVFAIL")) })
        }
    }

    async fn addresses(registry: &Fixed) -> Vec<String> {
        let services = Registry::get(registry, "greeter").await.unwrap();
        assert_eq!(services.len(), 1);
        assert_eq!(services[0].name, "greeter");
        let nodes = services[0].nodes.iter();
        nodes.map(|node| node.address.clone()).collect()
    }

    #[tokio::test]
    async fn every_name_is_at_every_address() {
        let registry = Fixed::new(["10.0.0.7:5000", "[::1]:1", "unix:/run/a.sock"]);
        let greeter = Registry::get(&registry, "greeter").await.unwrap();
        let other = Registry::get(&registry, "other").await.unwrap();
        assert_eq!(
            addresses(&registry).await,
            ["10.0.0.7:5000", "[::1]:1", "unix:/run/a.sock"]
        );
        assert_eq!(greeter[0].nodes[0].id, "greeter-10.0.0.7:5000");
        assert_eq!(other[0].nodes[0].id, "other-10.0.0.7:5000");
        assert!(greeter[0].nodes[0].metadata.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_stands_for_all_its_addresses_and_is_asked_for_every_30_s() {
        let names = Names::default();
        names.set(
            "db:5000",
            &[
                "[fd00::8]:5000",
                "10.0.0.8:5000",
                "10.0.0.7:5000",
                "10.0.0.7:5000",
            ],
        );
        let registry = Fixed::with_resolver(["10.0.0.1:1", "db:5000"], names.clone());
        let all = [
            "10.0.0.1:1",
            "10.0.0.7:5000",
            "10.0.0.8:5000",
            "[fd00::8]:5000",
        ];
        assert_eq!(addresses(&registry).await, all);
        let greeter = Registry::get(&registry, "greeter").await.unwrap();
        assert_eq!(greeter[0].nodes[1].metadata["host"], "db");
        names.set("db:5000", &["10.0.0.9:5000"]);
        advance(Duration::from_millis(29_999)).await;
        assert_eq!(addresses(&registry.clone()).await, all);
        assert_eq!(names.asked(), 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(addresses(&registry).await, ["10.0.0.1:1", "10.0.0.9:5000"]);
        assert_eq!(names.asked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_fails_keeps_its_former_addresses() {
        let names = Names::default();
        names.set("db:5000", &["10.0.0.7:5000"]);
        let registry = Fixed::with_resolver(["db:5000", "gone:1"], names.clone());
        assert_eq!(
            addresses(&registry).await,
            ["10.0.0.7:5000"],
            "the other one is left out"
        );
        for answer in [None, Some(vec![])] {
            match answer {
                None => names.unset("db:5000"),
                Some(none) => names.set("db:5000", &none),
            }
            advance(Duration::from_secs(30)).await;
            assert_eq!(addresses(&registry).await, ["10.0.0.7:5000"]);
        }
        // Once per host and 30 s, but a host never found is asked for each time.
        let asked = names.asked();
        assert_eq!(addresses(&registry).await, ["10.0.0.7:5000"]);
        assert_eq!(names.asked(), asked + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_silent_hides_no_other() {
        let names = Names::default();
        names.set("a:1", &["10.0.0.7:5000"]);
        names.set("b:1", &["10.0.0.8:5000"]);
        let registry = Fixed::with_resolver(["a:1", "b:1", "10.0.0.1:1"], names.clone());
        assert_eq!(addresses(&registry).await.len(), 3);
        *names.0.silent.lock().unwrap() = Some("a:1".into());
        names.set("b:1", &["10.0.0.9:5000"]);
        advance(RESOLVED_FOR).await;
        let started = Instant::now();
        assert_eq!(
            addresses(&registry).await,
            ["10.0.0.7:5000", "10.0.0.9:5000", "10.0.0.1:1"]
        );
        assert_eq!(started.elapsed(), RESOLVE);
        let never = Fixed::with_resolver(["a:1"], names);
        let error = Registry::get(&never, "greeter").await.unwrap_err();
        assert!(
            error.to_string().ends_with("no answer within 3 s"),
            "{error}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn with_no_address_at_all_it_says_why() {
        let registry = Fixed::with_resolver(["db:5000"], Names::default());
        let error = Registry::get(&registry, "greeter").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Registry);
        assert_eq!(
            error.to_string(),
            "the host \"db:5000\" of the fixed registry could not be resolved: SERVFAIL"
        );
    }

    #[tokio::test]
    async fn the_system_resolves_localhost() {
        let registry = Fixed::new(["localhost:5000"]);
        let found = addresses(&registry).await;
        assert!(
            found
                .iter()
                .any(|a| a == "127.0.0.1:5000" || a == "[::1]:5000"),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn what_is_no_address_is_named() {
        for bad in [
            "",
            "host",
            "host:",
            ":5000",
            "host:65536",
            "host:http",
            "fd00::8:1",
            "[::1]",
            "[::1:5",
            "unix:",
            "http://host:80",
            "a b:1",
        ] {
            let error = Fixed::try_new(["10.0.0.7:5000", bad]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
            assert!(
                error.to_string().ends_with(&format!("found {bad:?}")),
                "{error}"
            );
            let later = Registry::get(&Fixed::new([bad]), "greeter")
                .await
                .unwrap_err();
            assert_eq!(later.kind(), ErrorKind::Config, "{bad}");
        }
        assert!(Fixed::try_new(Vec::<String>::new()).is_err());
    }

    #[tokio::test]
    async fn it_keeps_nothing_and_says_what_it_cannot() {
        let registry = Fixed::new(["10.0.0.7:5000"]);
        let service = Service::default();
        Registry::register(&registry, &service, Duration::ZERO)
            .await
            .unwrap();
        Registry::deregister(&registry, &service).await.unwrap();
        let list = Registry::list(&registry).await.unwrap_err();
        let watch = Registry::watch(&registry, None).await.unwrap_err();
        assert_eq!(list.kind(), ErrorKind::Unsupported);
        assert_eq!(watch.kind(), ErrorKind::Unsupported);
    }
}
