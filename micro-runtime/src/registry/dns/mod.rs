//! [`Dns`]: services that have names in DNS.

mod lookup;
mod pattern;
mod resolve;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::common::address::Address;
use super::common::diff;
use super::{Registry, Service, Watcher};
use crate::error::{Error, ErrorKind};
use crate::lock::lock;
use lookup::{Lookup, Servers};
use pattern::Pattern;

/// The least time between two questions about one service: the time for which Kubernetes' DNS says that its
/// answers hold.
const MIN_INTERVAL: Duration = Duration::from_secs(5);

/// The least that this can be set to: a watch asks as often.
const INTERVAL_FLOOR: Duration = Duration::from_millis(100);

/// The most: an answer that holds for a day would hide for a day that a node came.
const MAX_INTERVAL: Duration = Duration::from_secs(300);

/// How long a name server may take to answer; each question is asked twice.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest that all questions of one look-up may take: less than the 5 s after which a client gives up.
const LOOK_UP: Duration = Duration::from_secs(4);

/// The port of name servers.
const PORT: u16 = 53;

/// The most services whose answers are kept; beyond it the one goes whose time ended first.
const NAMES_MAX: usize = 4096;

/// Events that a watcher may leave unread; the next question waits for it.
const WATCH_BUFFER: usize = 64;

/// Services that have names in DNS, such as those of Consul or headless services of Kubernetes. It can be read
/// and watched, not written.
///
/// The name of a service is made by a pattern. One without a port has SRV records, which say it; one with a
/// port has A and AAAA records:
///
/// | pattern | |
/// |---|---|
/// | `{service}.service.consul` | Consul's DNS: SRV |
/// | `_grpc._tcp.{service}.default.svc.cluster.local` | a headless service of Kubernetes and its port named `grpc`: SRV |
/// | `{service}.default.svc.cluster.local:8080` | the same by its addresses |
///
/// Names end in a dot, so the system's search list is not tried. Of SRV records the lowest priority that has an
/// address is taken; weights that are not all zero become the metadata `weight`. Each node has the metadata
/// `host`, the name its address came from, and an id made of its address.
///
/// **How long an answer holds**: as its records say, but at least 5 s ([`min_interval`](Dns::min_interval)) and
/// at most 5 min. "There is no such name" is an answer, "none"; what fails (SERVFAIL, REFUSED, no answer) is
/// an error, and who asked keeps what was known. Answers that are cut short are asked for again over TCP.
///
/// **Watching** asks again whenever an answer's time ends, and tells what changed. When all of two or more
/// nodes are gone, or more than half, it gives an error instead, since DNS cannot say that a node left.
///
/// **Writing**: [`register`](Registry::register) and [`deregister`](Registry::deregister) do nothing and
/// succeed, so that a service which calls others through DNS can itself run; whoever runs it makes its name
/// known. DNS does not say which names there are, so [`list`](Registry::list) and a watch of all services fail
/// with [`ErrorKind::Unsupported`].
///
/// ```
/// use micro_runtime::registry::{Dns, Registry};
/// use std::time::Duration;
///
/// // At the name servers of the system.
/// let registry = Dns::new(["{service}.default.svc.cluster.local:8080"]);
/// // At the DNS port of the Consul agent, however short it says that its answers hold.
/// let registry = Dns::new(["{service}.service.consul", "127.0.0.1:8600"]).min_interval(Duration::from_secs(1));
/// assert!(Dns::try_new(["127.0.0.1"]).is_err(), "there is no pattern");
/// ```
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

struct Inner {
    /// What was wrong with it is told to whoever asks for a service.
    config: Result<Config, String>,
    min_interval: Duration,
    lookup: Box<dyn Lookup>,
    /// Held for short sections without a wait.
    held: Mutex<HashMap<String, Held>>,
    /// Closed when the last clone is dropped, which ends every watch.
    alive: tokio::sync::watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct Config {
    pattern: Pattern,
    /// `host:port`; none means those of the system.
    servers: Vec<String>,
}

/// An answer, and until when it holds.
struct Held {
    services: Vec<Service>,
    until: Instant,
}

// ===== impl Dns =====

impl Dns {
    /// A name pattern, the item with `{service}` in it, and the name servers to ask, `10.0.0.2`,
    /// `10.0.0.2:8600`, `[fd00::2]`, `host:53` or `dns://…`; without one, those of the system (`/etc/resolv.conf`
    /// and `/etc/hosts`). If anything is wrong with them every look-up fails and says so;
    /// [`try_new`](Dns::try_new) finds out at once. Nothing is asked before the first look-up.
    #[must_use]
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Dns {
        let config = Config::parse(addresses.into_iter().map(Into::into));
        let servers = config.as_ref().map(|config| config.servers.clone());
        let lookup = Servers::new(servers.unwrap_or_default(), TIMEOUT);
        Dns::with_lookup(
            config.map_err(|error| error.to_string()),
            MIN_INTERVAL,
            Box::new(lookup),
        )
    }

    /// As [`new`](Dns::new).
    ///
    /// # Errors
    ///
    /// There is no pattern or more than one, it is none, or something else is no address.
    pub fn try_new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Result<Dns, Error> {
        let dns = Dns::new(addresses);
        dns.config()?;
        Ok(dns)
    }

    /// The least time between two questions about one service, 5 s by default, 100 ms at least. Shorter finds new nodes sooner
    /// where records hold shorter (Consul's say 0 s), and asks the name servers that much more often.
    #[must_use]
    pub fn min_interval(self, interval: Duration) -> Dns {
        let servers = match &self.0.config {
            Ok(config) => config.servers.clone(),
            Err(_) => Vec::new(),
        };
        let lookup = Servers::new(servers, TIMEOUT);
        Dns::with_lookup(self.0.config.clone(), interval, Box::new(lookup))
    }

    fn with_lookup(
        config: Result<Config, String>,
        min_interval: Duration,
        lookup: Box<dyn Lookup>,
    ) -> Dns {
        Dns(Arc::new(Inner {
            config,
            min_interval: min_interval.clamp(INTERVAL_FLOOR, MAX_INTERVAL),
            lookup,
            held: Mutex::default(),
            alive: tokio::sync::watch::Sender::new(()),
        }))
    }

    fn config(&self) -> Result<&Config, Error> {
        self.0.config()
    }
}

impl Registry for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    /// Does nothing: records are written by others.
    async fn register(&self, _service: &Service, _ttl: Duration) -> Result<(), Error> {
        Ok(())
    }

    /// Does nothing: records are written by others.
    async fn deregister(&self, _service: &Service) -> Result<(), Error> {
        Ok(())
    }

    /// # Errors
    ///
    /// No name server answers, or not with what can be used (4 s at the longest); or the service's name is
    /// none that DNS can have, which is an [`ErrorKind::Config`].
    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        self.0.get(name).await.map(|(services, _)| services)
    }

    /// Always fails: DNS does not say which names there are.
    async fn list(&self) -> Result<Vec<Service>, Error> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "DNS does not say which names there are, so it has no list of services",
        ))
    }

    /// # Errors
    ///
    /// All services are to be watched, which is [`ErrorKind::Unsupported`]; or as [`get`](Registry::get), since
    /// what there is now must be known to tell what changes.
    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        let Some(name) = name else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "DNS does not say which names there are, so only a service that is named can be watched",
            ));
        };
        let (old, until) = self.0.get(name).await?;
        let (events, watcher) = mpsc::channel(WATCH_BUFFER);
        let mut alive = self.0.alive.subscribe();
        let inner = Arc::downgrade(&self.0);
        let name = name.to_owned();
        tokio::spawn(async move {
            tokio::select! {
                () = events.closed() => {}
                _ = alive.changed() => {}
                () = poll(inner, &name, old, until, &events) => {}
            }
        });
        Ok(Watcher::from_channel(watcher))
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.config {
            Ok(config) => f
                .debug_struct("Dns")
                .field("pattern", &config.pattern.to_string())
                .field("servers", &config.servers)
                .finish(),
            Err(error) => f.debug_tuple("Dns").field(error).finish(),
        }
    }
}

/// Asks again whenever an answer's time ends. What fails is asked for again after the least time; who watches
/// finds out by asking.
async fn poll(
    inner: std::sync::Weak<Inner>,
    name: &str,
    mut old: Vec<Service>,
    mut until: Instant,
    events: &mpsc::Sender<Result<super::Event, Error>>,
) {
    loop {
        tokio::time::sleep_until(until).await;
        // Strong only for a look-up, which is bounded.
        let Some(inner) = inner.upgrade() else { return };
        // Spread, so that clients which began together do not ask together.
        let spread = inner.min_interval.mul_f64(0.1 * fastrand::f64());
        match inner.get(name).await {
            Ok((new, holds)) => {
                drop(inner);
                for item in diff::told("DNS", &old, &new) {
                    if events.send(item).await.is_err() {
                        return;
                    }
                }
                old = new;
                until = holds + spread;
            }
            Err(error) => {
                tracing::debug!(service = name, %error, "DNS fails, what was known stays");
                let pause = inner.min_interval;
                drop(inner);
                sleep(pause).await;
                until = Instant::now() + spread;
            }
        }
    }
}

// ===== impl Inner =====

impl Inner {
    fn config(&self) -> Result<&Config, Error> {
        self.config.as_ref().map_err(Error::config)
    }

    /// What there is of a service, from memory or asked for now, and until when that holds.
    async fn get(&self, name: &str) -> Result<(Vec<Service>, Instant), Error> {
        let pattern = &self.config()?.pattern;
        let former = match self.held().get(name) {
            Some(held) if Instant::now() < held.until => {
                return Ok((held.services.clone(), held.until));
            }
            Some(held) => held.services.clone(),
            None => Vec::new(),
        };
        let resolving = resolve::resolve(&*self.lookup, pattern, name, &former);
        let answer = timeout(LOOK_UP, resolving).await.unwrap_or_else(|_| {
            Err(Error::registry(format_args!(
                "DNS did not answer for {name:?} within {} s",
                LOOK_UP.as_secs()
            )))
        })?;
        let holds = answer.ttl.clamp(self.min_interval, MAX_INTERVAL);
        let until = Instant::now() + holds;
        let mut held = self.held();
        if held.len() >= NAMES_MAX && !held.contains_key(name) {
            let first = held.iter().min_by_key(|(_, held)| held.until);
            if let Some(first) = first.map(|(name, _)| name.clone()) {
                held.remove(&first);
            }
        }
        let services = answer.services.clone();
        held.insert(name.to_owned(), Held { services, until });
        Ok((answer.services, until))
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        lock(&self.held)
    }
}

// ===== impl Config =====

impl Config {
    fn parse(addresses: impl Iterator<Item = String>) -> Result<Config, Error> {
        let mut pattern = None;
        let mut servers = Vec::new();
        for text in addresses {
            if text.contains(pattern::SERVICE) {
                let text = text.strip_prefix("dns://").unwrap_or(&text);
                if pattern.replace(Pattern::parse(text)?).is_some() {
                    return Err(Error::config(
                        "the registry dns takes one name pattern, found more than one",
                    ));
                }
                continue;
            }
            let address = Address::parse(&text)?;
            address.secure(&["dns"], &[])?;
            address.expect_query(&[], false)?;
            if address.user.is_some() || !address.path.is_empty() {
                return Err(Error::config(
                    "expected a name server such as 10.0.0.2 or 10.0.0.2:53, found one with a user or a path",
                ));
            }
            servers.push(address.host_port(PORT));
        }
        let pattern = pattern.ok_or_else(|| {
            Error::config(
                "the registry dns needs a name pattern beside its name servers, such as \
                 {service}.service.consul (SRV records) or {service}.default.svc.cluster.local:8080 (addresses)",
            )
        })?;
        Ok(Config { pattern, servers })
    }
}

#[cfg(test)]
mod tests;
