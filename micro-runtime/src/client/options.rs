//! [`ClientOptions`]: what a whole client can be told, and [`Settings`], what it makes of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::budget::RetryBudget;
use super::gate::Gates;
use super::head::Heads;
use super::policy::{self, Hedging, MethodOptions};
use super::throttle::RetryThrottle;
use crate::codec::Encoding;
use crate::error::Error;
use crate::interceptor::{Chain, DynInterceptor, Interceptor};
use crate::json;
use crate::metadata::Metadata;
use crate::protocol::grpc::{ContentType, MAX_MESSAGE};
use crate::selector::{Choice, Filter};

/// The default time of a unary call, from connect to trailers: go-micro v2's.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to one node at most, by default.
const MAX_CONNECTIONS: usize = 4;

/// Settings of a whole client. What is not set stays as it is: [`Client::with`](super::Client::with) gives a
/// client with the change and leaves its own as it was.
///
/// ```
/// use std::time::Duration;
/// use micro_runtime::client::ClientOptions;
///
/// let patient = ClientOptions::new().timeout(Duration::from_secs(30)).retries(0);
/// # let _ = patient;
/// ```
#[derive(Clone, Default)]
#[must_use = "options do nothing until a client is made with them"]
pub struct ClientOptions {
    timeout: Option<Option<Duration>>,
    retries: Option<u32>,
    budget: Option<Option<RetryBudget>>,
    throttle: Option<Option<RetryThrottle>>,
    hedging: Option<Option<Hedging>>,
    wait_for_ready: Option<bool>,
    methods: Vec<(String, MethodOptions)>,
    content_type: Option<String>,
    json: Option<json::Options>,
    max_reply: Option<usize>,
    max_connections: Option<usize>,
    forward: Option<Vec<Box<str>>>,
    filters: Option<Vec<Filter>>,
    split: Option<Vec<(Box<str>, u32)>>,
    zone: Option<Option<String>>,
    subset: Option<Option<usize>>,
    proxy: Option<Option<String>>,
    metadata: Metadata,
    interceptors: Vec<Arc<dyn DynInterceptor>>,
}

// ===== impl ClientOptions =====

impl ClientOptions {
    /// No changes.
    pub fn new() -> ClientOptions {
        ClientOptions::default()
    }

    /// How long a unary call may take, everything included: look-up, connect, every attempt. Default: 5 s;
    /// `None` means for ever, unless the call inherits a deadline. Streams have no time-out of their own.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> ClientOptions {
        self.timeout = Some(timeout.into());
        self
    }

    /// How often a call that may have been processed is made again, if its method is declared safe to repeat
    /// (`idempotency_level`, or [`MethodOptions::safe`]) and it failed with UNAVAILABLE, or lost its
    /// connection, before a reply began. Default: 1. A call that certainly was not processed goes to another
    /// node whatever is set here.
    pub fn retries(mut self, retries: u32) -> ClientOptions {
        self.retries = Some(retries);
        self
    }

    /// How much of the load repeats and hedges may add, for each service; `None`: without a limit. Default:
    /// 20 % of the calls of the last 10 s, and 10 per second. A client with another budget begins a new count.
    pub fn retry_budget(mut self, budget: impl Into<Option<RetryBudget>>) -> ClientOptions {
        self.budget = Some(budget.into());
        self
    }

    /// When repeats and hedges stop because too much fails, for each service; `None`: never. Default: 10
    /// tokens, 0.1 for each success. A client with another throttle begins a new count.
    pub fn retry_throttle(mut self, throttle: impl Into<Option<RetryThrottle>>) -> ClientOptions {
        self.throttle = Some(throttle.into());
        self
    }

    /// Whether and when unary calls that are safe to repeat are sent to a second node. Default: `None`, never.
    pub fn hedging(mut self, hedging: impl Into<Option<Hedging>>) -> ClientOptions {
        self.hedging = Some(hedging.into());
        self
    }

    /// Whether a call waits for a node that takes it, until its deadline (for ever if it has none), where it
    /// would fail with UNAVAILABLE: the service is not in the registry, or no node of it can be connected to.
    /// Default: no. A call that a node has answered does not wait.
    pub fn wait_for_ready(mut self, wait: bool) -> ClientOptions {
        self.wait_for_ready = Some(wait);
        self
    }

    /// Settings of the calls of one method: by its path, such as `/pkg.Svc/Method` or `pkg.Svc/Method`, or by
    /// its endpoint's name, such as `Svc.Method`; the path goes before. Said twice, both count, and of the
    /// same setting the last. A name of another form is refused when the client is made.
    pub fn method(mut self, name: impl Into<String>, options: MethodOptions) -> ClientOptions {
        self.methods.push((name.into(), options));
        self
    }

    /// How messages are written, by the content types that go-micro's clients name: `application/grpc`,
    /// `application/grpc+proto`, `application/protobuf`, `application/proto`, `application/octet-stream` are
    /// protobuf, `application/grpc+json` and `application/json` are JSON. Default: `application/grpc`.
    pub fn content_type(mut self, content_type: impl Into<String>) -> ClientOptions {
        self.content_type = Some(content_type.into());
        self
    }

    /// How JSON is written and read, where the content type is JSON. Default: lowerCamelCase names, as go-micro's
    /// clients write them; fields of replies that are not known are ignored; an `Any` may hold the well-known
    /// types alone.
    ///
    /// ```
    /// use micro_runtime::client::ClientOptions;
    /// use micro_runtime::json::Options;
    ///
    /// let json = ClientOptions::new()
    ///     .content_type("application/json")
    ///     .json(Options::new().proto_names(true).emit_defaults(true));
    /// # let _ = json;
    /// ```
    pub fn json(mut self, options: json::Options) -> ClientOptions {
        self.json = Some(options);
        self
    }

    /// The largest reply message that is taken, in bytes. Default: 4 MiB. A larger one fails the call with
    /// RESOURCE_EXHAUSTED before it is read.
    pub fn max_reply_size(mut self, bytes: usize) -> ClientOptions {
        self.max_reply = Some(bytes);
        self
    }

    /// Connections to one node at most. Default: 4, at least 1. One is opened with the first call; another
    /// one whenever the least busy has a hundred calls under way.
    pub fn max_connections_per_node(mut self, connections: usize) -> ClientOptions {
        self.max_connections = Some(connections.max(1));
        self
    }

    /// The credentials among the metadata of a handler's call that calls made inside it take over, such as
    /// `authorization` or `cookie`. Default: none. Other metadata is taken over anyway.
    pub fn forward<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> ClientOptions {
        self.forward = Some(boxed(names));
        self
    }

    /// Which nodes come into question: those that every one of the filters keeps. Default: all of them. These take
    /// the place of filters, and of a [`version`](ClientOptions::version), that were set before.
    pub fn filters(mut self, filters: impl IntoIterator<Item = Filter>) -> ClientOptions {
        self.filters = Some(filters.into_iter().collect());
        self
    }

    /// Calls nodes of exactly this version alone: a filter more, in place of one of another version. Like any
    /// filter of these options it takes the place of those of the client that they are given to.
    pub fn version(mut self, version: impl Into<String>) -> ClientOptions {
        let filters = self.filters.get_or_insert_default();
        filters.retain(|filter| !matches!(filter, Filter::Version(_)));
        filters.push(Filter::version(version));
        self
    }

    /// Shares the calls out among versions of the service by weight, as for a canary: `[("1.4", 95), ("2.0", 5)]`
    /// sends 5 % of the calls to version 2.0. Each call is drawn by itself, and each attempt of it. Versions that
    /// are not named, and those of weight 0, get no calls. The share of a version whose nodes are not well goes to
    /// the next one as they get worse, and all of it when more than half are put aside or there are none. A call
    /// with a version filter of its own goes by that alone. Default: empty, versions are nothing.
    ///
    /// ```
    /// # use micro_runtime::client::ClientOptions;
    /// let options = ClientOptions::new().traffic_split([("1.4", 95), ("2.0", 5)]);
    /// ```
    pub fn traffic_split<V: AsRef<str>>(
        mut self,
        versions: impl IntoIterator<Item = (V, u32)>,
    ) -> ClientOptions {
        let versions = versions.into_iter();
        let boxed = versions.map(|(version, weight)| (version.as_ref().into(), weight));
        self.split = Some(boxed.collect());
        self
    }

    /// Calls nodes of this zone first, which are those with it as the value of `zone` in their metadata
    /// (`--server_metadata zone=a`). While some of them are put aside the others take up to 1.4 times their share,
    /// and calls beyond that go to the nodes of all zones; so do all calls while more than half of them are, or
    /// there are none. Default: `None`, zones are nothing.
    pub fn zone(mut self, zone: impl Into<Option<String>>) -> ClientOptions {
        self.zone = Some(zone.into());
        self
    }

    /// Calls so many nodes of each service at most, at least 1, so that a large fleet is not connected with each of
    /// its clients: each client takes others, chosen anew when it starts, and all nodes are taken about as often.
    /// One node that comes or goes changes one of them at most. With a zone, so many of its nodes and so many of
    /// all. Default: `None`, all nodes. Fewer than 20 spread the load of few clients unevenly.
    pub fn subset(mut self, nodes: impl Into<Option<usize>>) -> ClientOptions {
        self.subset = Some(nodes.into().map(|nodes| nodes.max(1)));
        self
    }

    /// Sends every call to a proxy, as go-micro's `MICRO_PROXY`: an address if there is a colon in it, else
    /// the name of a service. The proxy finds the service by the method's path, which then begins with its
    /// name in the registry. Default: none.
    pub fn proxy(mut self, proxy: impl Into<String>) -> ClientOptions {
        self.proxy = Some(Some(proxy.into()).filter(|proxy| !proxy.is_empty()));
        self
    }

    /// Adds metadata to every call that does not set the same name itself.
    pub fn metadata(mut self, name: impl AsRef<str>, value: impl Into<String>) -> ClientOptions {
        self.metadata.insert(name, value);
        self
    }

    /// Adds an interceptor, inside those that were added before. It runs around the whole call, once, whatever
    /// attempts there are.
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> ClientOptions {
        self.interceptors.push(Arc::new(interceptor));
        self
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .field("retry_budget", &self.budget)
            .field("retry_throttle", &self.throttle)
            .field("hedging", &self.hedging)
            .field("wait_for_ready", &self.wait_for_ready)
            .field("methods", &self.methods)
            .field("content_type", &self.content_type)
            .field("json", &self.json)
            .field("max_reply_size", &self.max_reply)
            .field("max_connections_per_node", &self.max_connections)
            .field("forward", &self.forward)
            .field("filters", &self.filters)
            .field("traffic_split", &self.split)
            .field("zone", &self.zone)
            .field("subset", &self.subset)
            .field("proxy", &self.proxy)
            .field("metadata", &self.metadata)
            .field("interceptors", &self.interceptors.len())
            .finish()
    }
}

pub(super) fn boxed<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Vec<Box<str>> {
    names.into_iter().map(|name| name.as_ref().into()).collect()
}

/// What every call of a client is made with.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) gates: Arc<Gates>,
    pub(super) hedging: Option<Hedging>,
    pub(super) wait_for_ready: bool,
    /// By path, or by the endpoint's name.
    pub(super) methods: Arc<HashMap<Box<str>, MethodOptions>>,
    pub(super) content_type: ContentType,
    pub(super) json: json::Options,
    /// That of the content type.
    pub(super) encoding: Encoding,
    pub(super) heads: Heads,
    pub(super) max_reply: usize,
    pub(super) max_connections: usize,
    pub(super) forward: Vec<Box<str>>,
    pub(super) filters: Vec<Filter>,
    pub(super) split: Vec<(Box<str>, u32)>,
    pub(super) zone: Option<String>,
    pub(super) subset: Option<usize>,
    pub(super) proxy: Option<Arc<str>>,
    pub(super) metadata: Metadata,
    pub(super) interceptors: Chain,
}

// ===== impl Settings =====

impl Default for Settings {
    fn default() -> Settings {
        let content_type = ContentType::Grpc;
        Settings {
            timeout: Some(TIMEOUT),
            retries: 1,
            gates: Arc::new(Gates::new(
                Some(RetryBudget::new()),
                Some(RetryThrottle::new()),
            )),
            hedging: None,
            wait_for_ready: false,
            methods: Arc::default(),
            content_type,
            json: json::Options::new(),
            encoding: content_type.encoding(&json::Options::new()),
            heads: Heads::of(content_type),
            max_reply: MAX_MESSAGE,
            max_connections: MAX_CONNECTIONS,
            forward: Vec::new(),
            filters: Vec::new(),
            split: Vec::new(),
            zone: None,
            subset: None,
            proxy: None,
            metadata: Metadata::new(),
            interceptors: Chain::from([]),
        }
    }
}

impl Settings {
    /// The nodes that calls go to, those of a call with filters of its own.
    pub(super) fn choice(&self, own: &[Filter]) -> Choice {
        let filters = [&*self.filters, own].concat();
        let choice = match own
            .iter()
            .any(|filter| matches!(filter, Filter::Version(_)))
        {
            false => Choice::of(&filters).split(&self.split),
            true => Choice::of(&filters),
        };
        choice.zone(self.zone.as_deref()).subset(self.subset)
    }

    pub(super) fn with(&self, options: ClientOptions) -> Result<Settings, Error> {
        let mut settings = self.clone();
        if let Some(timeout) = options.timeout {
            settings.timeout = timeout;
        }
        if let Some(retries) = options.retries {
            settings.retries = retries;
        }
        settings.repeats(&options).map_err(Error::config)?;
        if let Some(text) = options.content_type {
            let content_type = ContentType::of_option(&text).ok_or_else(|| {
                Error::config(format_args!(
                    "the content type {text:?} is not known, it can be application/grpc, application/grpc+proto, \
                     application/protobuf, application/grpc+json or application/json"
                ))
            })?;
            settings.content_type = content_type;
            settings.heads = Heads::of(content_type);
        }
        if let Some(json) = options.json {
            settings.json = json;
        }
        settings.encoding = settings.content_type.encoding(&settings.json);
        if let Some(max_reply) = options.max_reply {
            settings.max_reply = max_reply;
        }
        if let Some(max_connections) = options.max_connections {
            settings.max_connections = max_connections;
        }
        if let Some(forward) = options.forward {
            settings.forward = forward;
        }
        if let Some(filters) = options.filters {
            settings.filters = filters;
        }
        if let Some(split) = options.split {
            settings.split = split;
        }
        if let Some(zone) = options.zone {
            settings.zone = zone;
        }
        if let Some(subset) = options.subset {
            settings.subset = subset;
        }
        if let Some(proxy) = options.proxy {
            settings.proxy = proxy.map(Arc::from);
        }
        for (name, value) in options.metadata.iter() {
            settings.metadata.insert_bin(name, value.clone());
        }
        settings.metadata.check().map_err(Error::config)?;
        if !options.interceptors.is_empty() {
            let all = settings.interceptors.iter().cloned();
            settings.interceptors = all.chain(options.interceptors).collect();
        }
        Ok(settings)
    }

    fn repeats(&mut self, options: &ClientOptions) -> Result<(), String> {
        let (budget, throttle) = (options.budget, options.throttle);
        budget.flatten().map_or(Ok(()), RetryBudget::check)?;
        throttle.flatten().map_or(Ok(()), RetryThrottle::check)?;
        if budget.is_some() || throttle.is_some() {
            self.gates = Arc::new(self.gates.with(budget, throttle));
        }
        policy::check_hedging(options.hedging)?;
        self.hedging = options.hedging.unwrap_or(self.hedging);
        self.wait_for_ready = options.wait_for_ready.unwrap_or(self.wait_for_ready);
        if !options.methods.is_empty() {
            let methods = Arc::make_mut(&mut self.methods);
            for (name, options) in &options.methods {
                options.check()?;
                methods
                    .entry(policy::key(name)?)
                    .or_default()
                    .merge(options);
            }
        }
        Ok(())
    }

    /// Whether calls differ by their method in more than what the proto says.
    pub(super) fn has_policies(&self) -> bool {
        self.hedging.is_some() || !self.methods.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_is_not_set_stays() {
        let settings = Settings::default()
            .with(ClientOptions::new().timeout(None).retries(3))
            .unwrap();
        let settings = settings
            .with(ClientOptions::new().content_type("application/json"))
            .unwrap();
        assert_eq!(settings.timeout, None);
        assert_eq!(settings.retries, 3);
        assert_eq!(settings.content_type, ContentType::Json);
        assert_eq!(settings.max_reply, 4 * 1024 * 1024);
    }

    #[test]
    fn a_call_that_names_a_version_is_not_split() {
        let options = ClientOptions::new().traffic_split([("1", 95), ("2", 5)]);
        let settings = Settings::default()
            .with(options.zone("a".to_owned()))
            .unwrap();
        let split = [("1".into(), 95), ("2".into(), 5)];
        let of = |filters: &[Filter]| Choice::of(filters).zone(Some("a"));
        let rack = [Filter::label("rack", "7")];
        assert_eq!(settings.choice(&rack), of(&rack).split(&split));
        let next = [Filter::version("2")];
        assert_eq!(settings.choice(&next), of(&next));
        let again = settings.with(ClientOptions::new().retries(2)).unwrap();
        assert_eq!(again.choice(&[]), of(&[]).split(&split));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |options| Settings::default().with(options).err().unwrap();
        let error = refused(ClientOptions::new().content_type("text/plain"));
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("text/plain"), "{error}");
        for options in [
            ClientOptions::new().retry_budget(RetryBudget::new().ratio(-1.0)),
            ClientOptions::new().retry_throttle(RetryThrottle::new().tokens(0)),
            ClientOptions::new().hedging(Hedging::percentile(100.0)),
            ClientOptions::new().method("nothing", MethodOptions::new()),
            ClientOptions::new().method(
                "a.B/C",
                MethodOptions::new().hedging(Hedging::percentile(f64::NAN)),
            ),
        ] {
            assert_eq!(refused(options).kind(), ErrorKind::Config);
        }
        let error = refused(ClientOptions::new().metadata("te", "x"));
        assert!(error.to_string().contains("reserved"), "{error}");
    }
}
