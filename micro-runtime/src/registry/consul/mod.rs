//! [`Consul`]: services in the catalog of HashiCorp's Consul, through the HTTP API of an agent.
//!
//! It writes and reads what go-micro's registry does (go-plugins v2 registry/consul, v5 registry/consul), so that
//! Go services and ours find one another.
//!
//! | file | holds |
//! |---|---|
//! | `api` | the agent's JSON: registrations, instances, names |
//! | `tags`, `literal`, `hex` | go-micro's data, which stands in tags |
//! | `agents` | each request that is made of the agents |
//! | `nodes` | what this process has registered, and how it stays so |
//! | `watch`, `follow`, `slots` | blocking queries: tasks, rules, how many, how often |

mod agents;
mod api;
mod follow;
mod literal;
mod nodes;
mod slots;
mod tags;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::{mpsc, watch as closing};

use self::agents::Agents;
use self::nodes::Nodes;
use crate::error::Error;
use crate::registry::common::CALL_TIMEOUT;
use crate::registry::common::address::Address;
use crate::registry::{Registry, Service, Watcher};
#[cfg(feature = "tls")]
use crate::transport::ClientTls;
use crate::transport::http1::{Client, Origin, Servers};

/// Consul's own.
const DEFAULT_ADDRESS: &str = "127.0.0.1:8500";
const DEFAULT_PORT: u16 = 8500;

const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Services in the catalog of Consul, through the HTTP API of an agent.
///
/// An address is `host`, `host:port`, or a URL: `http://host:8500`, `https://host:8501?ca=/etc/consul/ca.pem`
/// (with the feature `tls`), with a path where a proxy needs one. Without a port it is 8500, without any address
/// `127.0.0.1:8500`. Of several agents the first that can be reached is used, and when it fails the next.
/// An ACL token is given by [`token`](Consul::token), or as the password of an address without a user,
/// `http://:TOKEN@host`; with a user they are those of HTTP's basic authentication.
///
/// Making one does nothing: connections are made by requests, which must be made within a tokio runtime. Clones
/// share everything; when the last one is dropped, watchers end, and what is registered stays until its time is
/// over.
///
/// * **Registering** goes to the agent, with a check that turns critical when the `ttl` passes unrenewed; from
///   then on nobody is sent there, and Consul forgets the node a minute or more later. Between renewals the agent
///   is watched: if it forgets the node, is restarted or comes back, the node is registered again at once,
///   as long as the `ttl` since the last renewal has not passed, which an agent that could not be reached does not
///   change. Without a `ttl` there is no check, and a node that dies stays until somebody deregisters it.
///   Every node of the service is registered (go-micro: the first).
/// * **Metadata** of services is not carried, that of nodes is. Of endpoints whose tags have more than
///   64 KB the comments and then the fields are left out, above 384 KB the endpoints, with a warning.
/// * [`get`](Registry::get) leaves out nodes with a critical check, and may be answered by any server of the
///   cluster, which may be a moment behind its leader.
/// * [`list`](Registry::list) gives names only, of all services there are: `consul` itself is one of them.
/// * [`watch`](Registry::watch) begins with what is there. It waits at the agent for news (blocking queries of
///   5 minutes, 64 at once, in turns if there are more; of all services the first 1,024). While no agent answers
///   it says so once, and keeps what it knows. Nodes that an agent has lost with its memory, or that turn
///   critical together with more than half of their service, are said to be gone only if they stay so for 90 s.
/// * **Without a token**, where the agent wants one, it answers reads as if there were nothing, with no
///   error: no services, no nodes. Registering is refused, and the error says why. The token needs
///   `service_prefix "" { policy = "write" }` to register and `service:read`, `node:read` to look up.
///
/// ```no_run
/// # async fn example() -> Result<(), micro_runtime::Error> {
/// use micro_runtime::registry::{Consul, Registry};
///
/// let registry = Consul::new(["10.0.0.7:8500", "10.0.0.8:8500"]).token("2f6c…");
/// for service in registry.get("greeter").await? {
///     println!("{} {:?}", service.version, service.nodes);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Consul(Arc<Shared>);

struct Shared {
    config: Config,
    /// What is wrong with the settings is told to whoever asks for anything.
    agents: Result<Agents, String>,
    nodes: Nodes,
    /// Its receivers find out when this is dropped.
    closing: closing::Sender<()>,
}

#[derive(Clone, Default)]
struct Config {
    addresses: Vec<String>,
    token: Option<String>,
    datacenter: Option<String>,
    namespace: Option<String>,
    timeout: Option<Duration>,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
    /// Tests have their own network.
    #[cfg(test)]
    connect: Option<Arc<dyn crate::transport::http1::Connect>>,
}

// ===== impl Consul =====

impl Consul {
    /// The catalog that these agents have. If one of the addresses is none, every request fails and says so;
    /// [`try_new`](Consul::try_new) finds out at once.
    #[must_use]
    pub fn new<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Consul {
        Consul::from(Config {
            addresses: addresses.into_iter().map(Into::into).collect(),
            ..Config::default()
        })
    }

    /// The catalog that these agents have.
    ///
    /// # Errors
    ///
    /// One of the addresses is none.
    pub fn try_new<A: Into<String>>(
        addresses: impl IntoIterator<Item = A>,
    ) -> Result<Consul, Error> {
        let consul = Consul::new(addresses);
        consul.agents()?;
        Ok(consul)
    }

    /// Sends this ACL token with every request, in the header `x-consul-token`. Default: none. It goes
    /// before one that stands in an address.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Consul {
        self.with(|config| config.token = Some(token.into()))
    }

    /// Looks services up in this datacenter. Default: the agent's own. Registrations always go to the agent's.
    #[must_use]
    pub fn datacenter(self, datacenter: impl Into<String>) -> Consul {
        self.with(|config| config.datacenter = Some(datacenter.into()))
    }

    /// Uses this namespace, of Consul Enterprise. Default: the token's.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Consul {
        self.with(|config| config.namespace = Some(namespace.into()))
    }

    /// How long a request may take, over all agents that are tried. Default: 4 s, a day at most. Blocking queries wait
    /// longer.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Consul {
        self.with(|config| config.timeout = Some(timeout.min(TIMEOUT_MAX)))
    }

    /// Speaks TLS with these settings, to agents whose address has no scheme or `https`. Default: only to
    /// those with `https`, with what their parameters `ca`, `cert`, `key` and `server_name` say.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: ClientTls) -> Consul {
        self.with(|config| config.tls = Some(tls))
    }

    fn with(&self, change: impl FnOnce(&mut Config)) -> Consul {
        let mut config = self.0.config.clone();
        change(&mut config);
        Consul::from(config)
    }

    fn from(config: Config) -> Consul {
        let agents = config.agents().map_err(|error| error.to_string());
        Consul(Arc::new(Shared {
            config,
            agents,
            nodes: Nodes::default(),
            closing: closing::Sender::new(()),
        }))
    }

    fn agents(&self) -> Result<&Agents, Error> {
        match &self.0.agents {
            Ok(agents) => Ok(agents),
            Err(message) => Err(Error::config(message)),
        }
    }
}

impl Registry for Consul {
    fn name(&self) -> &'static str {
        "consul"
    }

    /// # Errors
    ///
    /// The service has no name or no node, or a node has no id or an address that is not a host with a port; no
    /// agent answers, or it refuses. If none answers, registering is tried again in the background for the
    /// `ttl`; [`deregister`](Registry::deregister) ends that.
    async fn register(&self, service: &Service, ttl: Duration) -> Result<(), Error> {
        let agents = self.agents()?;
        service.check()?;
        for node in &service.nodes {
            self.0.nodes.register(agents, service, node, ttl).await?;
        }
        Ok(())
    }

    /// # Errors
    ///
    /// The agent does not answer, or refuses. The nodes then go when their time is over.
    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        let agents = self.agents()?;
        let mut result = Ok(());
        for node in &service.nodes {
            let done = self.0.nodes.deregister(agents, &node.id).await;
            result = result.and(done);
        }
        result
    }

    async fn get(&self, name: &str) -> Result<Vec<Service>, Error> {
        let agents = self.agents()?;
        if name.is_empty() {
            return Ok(Vec::new());
        }
        let (instances, _) = agents.instances(name, None).await?;
        Ok(api::services(instances))
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        let (names, _) = self.agents()?.names(None).await?;
        let service = |name| Service {
            name,
            ..Service::default()
        };
        Ok(names.into_iter().map(service).collect())
    }

    /// # Errors
    ///
    /// No agent answers, or it refuses. After an error of the watcher the watch goes on.
    async fn watch(&self, name: Option<&str>) -> Result<Watcher, Error> {
        let agents = self.agents()?.clone();
        let (events, watcher) = mpsc::channel(watch::BACKLOG);
        match name {
            Some(name) => {
                let followed = watch::one(agents, name.to_owned(), events.clone()).await?;
                self.spawn(followed, events);
            }
            None => {
                let followed = watch::all(agents, events.clone()).await?;
                self.spawn(followed, events);
            }
        }
        Ok(Watcher::from_channel(watcher))
    }
}

impl Consul {
    /// Runs a watch until nobody listens, or the registry is gone.
    fn spawn(&self, watch: impl Future<Output = ()> + Send + 'static, events: watch::Events) {
        let mut closing = self.0.closing.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = watch => {}
                () = events.closed() => {}
                _ = closing.changed() => {}
            }
        });
    }
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Consul");
        match &self.0.agents {
            Ok(agents) => shown.field("agents", agents),
            Err(wrong) => shown.field("wrong", wrong),
        };
        shown.finish_non_exhaustive()
    }
}

// ===== impl Config =====

impl Config {
    fn agents(&self) -> Result<Agents, Error> {
        let default = [DEFAULT_ADDRESS.to_owned()];
        let addresses = match self.addresses.as_slice() {
            [] => &default[..],
            addresses => addresses,
        };
        let mut has_token = self.token.is_some();
        let mut clients = Vec::with_capacity(addresses.len());
        for text in addresses {
            let address = Address::parse(text)?;
            let (client, with_token) = self.client(&address)?;
            has_token |= with_token;
            clients.push(client);
        }
        let servers = Servers::new(clients)
            .ok_or_else(|| Error::config("the consul registry needs the address of an agent"))?;
        Ok(Agents::new(
            servers,
            self.datacenter.as_deref(),
            self.namespace.as_deref(),
            self.timeout.unwrap_or(CALL_TIMEOUT),
            has_token,
        ))
    }

    /// A client of an agent, and whether it has a token.
    fn client(&self, address: &Address) -> Result<(Client, bool), Error> {
        let secure = address.secure(&["http"], &["https"])?;
        address.expect_query(&[], secure)?;
        let mut token = self.token.clone();
        let mut basic = None;
        match (address.user.as_deref(), address.password.as_deref()) {
            (None, _) => {}
            (Some(""), Some(password)) => {
                token.get_or_insert_with(|| password.to_owned());
            }
            (Some(user), Some(password)) => {
                let pair = STANDARD.encode(format!("{user}:{password}"));
                basic = Some(format!("Basic {pair}"));
            }
            (Some(_), None) => {
                return Err(Error::config(
                    "expected user:password, or :token, before the @ of a consul address, found a user alone",
                ));
            }
        }
        let mut headers = Vec::new();
        if let Some(token) = &token {
            headers.push(("x-consul-token", token.as_str()));
        }
        if let Some(basic) = &basic {
            headers.push(("authorization", basic.as_str()));
        }
        let origin = Origin {
            host: address.host.clone(),
            port: address.port.unwrap_or(DEFAULT_PORT),
            prefix: prefix(&address.path),
            #[cfg(feature = "tls")]
            tls: self.tls(address, secure)?,
        };
        #[cfg(test)]
        if let Some(connect) = &self.connect {
            let client = Client::with_connect(origin, &headers, Arc::clone(connect));
            return Ok((client.map_err(Error::config)?, token.is_some()));
        }
        let client = Client::new(origin, &headers).map_err(Error::config)?;
        Ok((client, token.is_some()))
    }

    #[cfg(feature = "tls")]
    fn tls(&self, address: &Address, secure: bool) -> Result<Option<ClientTls>, Error> {
        match &self.tls {
            Some(_) if address.scheme.is_some() && !secure => Err(Error::config(
                "Consul::tls asks for TLS, and the address for none: write https://, or leave the scheme out",
            )),
            Some(_) if !address.query.is_empty() => Err(Error::config(
                "expected the settings of TLS in one place, found some in Consul::tls and some in the address",
            )),
            Some(tls) => Ok(Some(tls.clone())),
            None if secure => address.tls().map(Some),
            None => Ok(None),
        }
    }
}

/// A path as it stands before that of every request.
fn prefix(path: &str) -> String {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| format!("/{}", api::encoded(segment)))
        .collect()
}
