//! [`Http`]: the embedded broker. Events go by HTTP/1.1 from the publisher to each subscriber, who are found in
//! the registry: there is no server between them. The wire is that of go-micro's default broker.
//!
//! | file | holds |
//! |---|---|
//! | `consumer` | an open subscription |
//! | `deliver` | one event to one subscriber, or to one of a queue |
//! | `directory` | who subscribed to what, by the registry |
//! | `entry` | a subscription's entry in the registry, and its refreshing |
//! | `receive` | what comes in: from a POST to a handler and back to an answer |
//! | `server` | the listener, and the address that is made known |

mod consumer;
mod deliver;
mod directory;
mod entry;
mod receive;
mod server;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::message::MICRO_TOPIC;
use super::{Broker, Delivery, Message, Topic, envelope};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::lock::lock;
use crate::registry::{AnyRegistry, Registry};
use crate::transport::Address;
#[cfg(feature = "tls")]
use crate::transport::{ClientTls, ServerTls};
pub use consumer::HttpConsumer;
use deliver::Job;
use directory::{Directory, Group};
use server::Server;

/// The service under which every subscription of every program is registered (go-micro, broker/http.go).
const SERVICE: &str = "micro.http.broker";
/// The version that stands for "no queue".
const BROADCAST: &str = "ff.http.broadcast";

/// Go's default: nobody but programs of this machine.
const ADDRESS: &str = "127.0.0.1:0";

/// The most bytes of a request's body, and of all bodies that are in memory.
const BODY_LARGEST: usize = 4 << 20;
const BODIES_IN_MEMORY: usize = 32 << 20;

/// The most connections that are served.
const CONNECTIONS: usize = 1024;

/// The most calls of `publish` that are under way; the next one waits.
const PUBLISHES: usize = 1024;

/// The most subscribers that one event is sent to at once.
const AT_ONCE: usize = 64;

/// The most subscribers that an error names.
const NAMED: usize = 8;

/// Events by HTTP between programs, without a server: go-micro's default broker.
///
/// Every subscription is an entry in the registry, `micro.http.broker`, with the address of a listener of its
/// program; whoever publishes looks them up and posts the event to each subscriber, and to one of each queue.
/// Programs of go-micro are on the other end in both directions.
///
/// # What is promised
///
/// [`Delivery::AtMostOnce`] alone: nothing keeps an event while a subscriber is away. `publish` resolves when
/// every subscriber it chose has answered, and its error tells which did not and why.
///
/// | the subscriber is | its answer means |
/// |---|---|
/// | of micro | 200: its handler returned `Ok`. 500: it failed, or what came is no event. 503: too busy, the event was not taken and is sent again until the deadline. 410: it has unsubscribed |
/// | of go-micro | 200: it arrived; handlers that fail are not told of |
///
/// Of a queue, members are tried one after the other, from a random one on, until one takes the event. Where a
/// member's handler failed, or it is not known whether a member had it (the connection broke, the deadline passed),
/// no other one gets it, unless [`retries`](Http::retries) says so.
///
/// A subscriber that has left the registry meanwhile, or says itself that it has unsubscribed, is not missed. One that died without a word stays there
/// for up to a minute, in which every publish to its topic fails for it, while the others have their event.
///
/// With [`retries`](Http::retries), a fleet of micro has each event handled by every subscriber before `publish`
/// resolves, for which handlers must bear to see an event twice.
///
/// Nobody subscribed: `publish` resolves, as go-micro's does, since who publishes need not know who listens;
/// [`require_subscriber`](Http::require_subscriber) makes it an error. go-micro's fails if nobody subscribed to
/// anything at all; ours does not. While the registry is away nobody can tell: `publish` to a topic of which no
/// subscriber is known waits for it, and fails at its deadline.
///
/// Events of one publisher that awaits each `publish` arrive in order. Nothing else is promised of the order.
///
/// # The registry
///
/// It is the service's, or the one given by [`registry`](Http::registry). What was found in it once stays known:
/// while it is away, events go to whoever was there before, and subscriptions stay open. Entries live for 60 s and
/// are refreshed every 30 s.
///
/// # The address
///
/// One that is taken, not of this machine or not permitted is an error of the subscription, of kind `Config`, which
/// says what to do; waiting would not mend it.
///
/// # What is bounded
///
/// | | default | beyond |
/// |---|---|---|
/// | body of a request | 4 MiB ([`max_body`](Http::max_body)) | 413 |
/// | bodies in memory | 32 MiB | waits 5 s, then 503 |
/// | connections served | 1024 ([`max_connections`](Http::max_connections)) | closed |
/// | head, body of a request | 10 s each | closed, 408 |
/// | events at a subscription's handlers | [`Topic::concurrency`] | waits 5 s, then 503 |
/// | publishes under way | 1024 | waits, until its deadline |
/// | connections to one program | 128 | waits, until its deadline |
///
/// # TLS
///
/// [`tls`](Http::tls) has the listener speak TLS, and marks its entries `secure`, so that publishers use `https`;
/// [`client_tls`](Http::client_tls) says whom we trust when we publish. Programs of go-micro verify nothing
/// unless they were given a TLS configuration (`InsecureSkipVerify`), so they publish to us as it is, and what
/// they listen with by default are self-signed certificates: to publish to those, give them certificates, or us
/// [`ClientTls::insecure_skip_verify`](crate::transport::ClientTls::insecure_skip_verify).
///
/// Cloning it is cheap; clones are one broker, with one listener. Dropping the last, and its subscriptions,
/// stops listening; requests that are being handled are answered, for up to 10 s.
///
/// ```
/// use micro_runtime::broker::Http;
///
/// // Reached from other machines, under the first private address of this one.
/// let broker = Http::new().address(":8090");
/// # drop(broker);
/// ```
#[derive(Clone)]
#[must_use = "it does nothing until a service is given it"]
pub struct Http {
    settings: Arc<Settings>,
    /// What was made of these settings; each change of them begins anew.
    state: Arc<State>,
}

#[derive(Clone)]
struct Settings {
    address: String,
    advertise: Option<String>,
    registry: Option<AnyRegistry>,
    retries: bool,
    require_subscriber: bool,
    max_body: usize,
    max_connections: usize,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
    #[cfg(feature = "tls")]
    client_tls: ClientTls,
}

struct State {
    attached: OnceLock<AnyRegistry>,
    /// The settings were found to be right.
    checked: OnceLock<()>,
    directory: Mutex<Option<Arc<Directory>>>,
    /// Waited for by those who need the server while it is being bound, or stopped.
    server: tokio::sync::Mutex<Option<Arc<Server>>>,
    publishes: Semaphore,
}

// ===== impl Http =====

impl Http {
    /// The broker with go-micro's defaults: a free port of `127.0.0.1`, which only programs of this machine
    /// reach. It finds others in the registry of the service that it is given to. Does nothing yet.
    pub fn new() -> Http {
        Http {
            settings: Arc::new(Settings {
                address: ADDRESS.to_owned(),
                advertise: None,
                registry: None,
                retries: false,
                require_subscriber: false,
                max_body: BODY_LARGEST,
                max_connections: CONNECTIONS,
                #[cfg(feature = "tls")]
                tls: None,
                #[cfg(feature = "tls")]
                client_tls: ClientTls::new(),
            }),
            state: Arc::default(),
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Settings)) -> Http {
        change(Arc::make_mut(&mut self.settings));
        self.state = Arc::default();
        self
    }

    /// Where subscriptions listen, `host:port`, `:port` for every interface; port 0 is a free one. Default:
    /// `127.0.0.1:0`. Publishing alone listens nowhere.
    ///
    /// A wildcard is registered as the first private address of this machine, as a service's is.
    pub fn address(self, address: impl Into<String>) -> Http {
        self.change(|settings| settings.address = address.into())
    }

    /// The address to register in place of the listener's: `host:port`, `host` or `:port`, filled up from it.
    /// go-micro has no such setting, but uses what it finds in the registry.
    pub fn advertise(self, address: impl Into<String>) -> Http {
        self.change(|settings| settings.advertise = Some(address.into()))
    }

    /// The registry. Default: that of the service which the broker is given to.
    pub fn registry(self, registry: impl Registry) -> Http {
        self.change(|settings| settings.registry = Some(AnyRegistry::new(registry)))
    }

    /// Whether `publish` sends an event again, with growing pauses from 100 ms to 1 s, to whoever has not
    /// answered 2xx, until its deadline. Default: no. It is for fleets whose handlers can bear to see an event
    /// twice; go-micro's subscribers answer 200 whether their handler failed or not.
    pub fn retries(self, yes: bool) -> Http {
        self.change(|settings| settings.retries = yes)
    }

    /// Whether `publish` fails if nobody is subscribed to the topic. Default: no.
    pub fn require_subscriber(self, yes: bool) -> Http {
        self.change(|settings| settings.require_subscriber = yes)
    }

    /// The most bytes of a request's body, which is JSON with the event's body in base64: a third more than
    /// the event. Default: 4 MiB; at most 32 MiB.
    pub fn max_body(self, bytes: usize) -> Http {
        self.change(|settings| settings.max_body = bytes)
    }

    /// The most connections that are served at once. Default: 1024.
    pub fn max_connections(self, connections: usize) -> Http {
        self.change(|settings| settings.max_connections = connections)
    }

    /// Listens with TLS.
    #[cfg(feature = "tls")]
    pub fn tls(self, tls: ServerTls) -> Http {
        self.change(|settings| settings.tls = Some(tls.for_http1()))
    }

    /// How subscribers that listen with TLS are dialled. Default: [`ClientTls::new`], which trusts the system's
    /// authorities.
    #[cfg(feature = "tls")]
    pub fn client_tls(self, tls: ClientTls) -> Http {
        self.change(|settings| settings.client_tls = tls)
    }

    /// Where it listens, as it is registered; `None` before the first subscription.
    pub async fn listening(&self) -> Option<String> {
        let server = self.state.server.lock().await;
        server.as_ref().map(|server| server.advertised().to_owned())
    }

    fn registry_or_error(&self) -> Result<&AnyRegistry, Error> {
        let chosen = self.settings.registry.as_ref();
        chosen.or(self.state.attached.get()).ok_or_else(|| {
            Error::config(
                "the http broker finds subscribers in a registry, and has none: give it to a service, or set \
                 broker::Http::registry",
            )
        })
    }

    /// Who subscribed.
    fn directory(&self) -> Result<Arc<Directory>, Error> {
        let registry = self.registry_or_error()?;
        let mut directory = lock(&self.state.directory);
        let directory = directory.get_or_insert_with(|| {
            Directory::new(
                registry,
                #[cfg(feature = "tls")]
                self.settings.client_tls.clone(),
            )
        });
        Ok(Arc::clone(directory))
    }

    async fn server(&self) -> Result<Arc<Server>, Error> {
        let mut server = self.state.server.lock().await;
        if let Some(server) = server.as_ref() {
            return Ok(Arc::clone(server));
        }
        let started = Arc::new(Server::start(&self.settings).await?);
        *server = Some(Arc::clone(&started));
        Ok(started)
    }

    /// Sends an event to all who are to have it.
    async fn send(
        &self,
        directory: &Arc<Directory>,
        message: Message,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Message {
            topic,
            mut headers,
            body,
            ..
        } = message;
        let groups = directory.find(&topic, deadline).await?;
        if headers.get(MICRO_TOPIC) != Some(&topic) {
            headers.insert(MICRO_TOPIC, topic.as_str());
        }
        let body = envelope::write(&headers, &body);
        let job =
            |group: &Group| Job::new(directory, &topic, group, deadline, self.settings.retries);
        let mut jobs = groups.iter().flat_map(job).collect::<Vec<_>>();
        let count = jobs.len();
        let body = body.into();
        let mut taken = 0;
        let mut failed = Vec::new();
        let mut note = |done: Result<bool, String>| match done {
            Ok(was_taken) => taken += usize::from(was_taken),
            Err(why) => failed.push(why),
        };
        if let [job] = &mut *jobs {
            note(job.deliver(&body).await);
        } else {
            let mut running = JoinSet::new();
            let mut jobs = jobs.into_iter();
            loop {
                while running.len() < AT_ONCE
                    && let Some(mut job) = jobs.next()
                {
                    let body = body.clone();
                    running.spawn(async move { job.deliver(&body).await });
                }
                match running.join_next().await {
                    Some(done) => note(done.unwrap_or_else(|error| Err(error.to_string()))),
                    None => break,
                }
            }
        }
        if !failed.is_empty() {
            let more = failed.len().saturating_sub(NAMED);
            let mut words = failed
                .iter()
                .take(NAMED)
                .map(String::as_str)
                .collect::<Vec<_>>()
                .join("; ");
            if more > 0 {
                words.push_str(&format!("; and {more} more"));
            }
            return Err(Error::new(
                ErrorKind::Broker,
                format_args!(
                    "{} of {count} subscribers of {topic:?} did not take the event: {words}",
                    failed.len()
                ),
            ));
        }
        if taken == 0 {
            if self.settings.require_subscriber {
                return Err(Error::new(
                    ErrorKind::Broker,
                    format_args!(
                        "nobody is subscribed to {topic:?}, as far as the registry {} tells",
                        directory.registry_name()
                    ),
                ));
            }
            tracing::debug!(topic, "an event went to nobody: there is no subscriber");
        }
        Ok(())
    }
}

impl Default for Http {
    fn default() -> Http {
        Http::new()
    }
}

impl Default for State {
    fn default() -> State {
        State {
            attached: OnceLock::new(),
            checked: OnceLock::new(),
            directory: Mutex::default(),
            server: tokio::sync::Mutex::default(),
            publishes: Semaphore::new(PUBLISHES),
        }
    }
}

impl Broker for Http {
    type Consumer = HttpConsumer;

    fn name(&self) -> &'static str {
        "http"
    }

    /// Does nothing if [`Http::registry`] was called, or if it is attached already.
    fn attach(&self, registry: &AnyRegistry) {
        let _ = self.state.attached.set(registry.clone());
    }

    fn check(&self, delivery: Delivery) -> Result<(), Error> {
        if delivery != Delivery::AtMostOnce {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format_args!(
                    "the http broker keeps no events, so that it cannot deliver {delivery}: use nats with \
                     JetStream, rabbitmq, kafka or redis"
                ),
            ));
        }
        let Settings {
            address,
            max_body,
            max_connections,
            ..
        } = &*self.settings;
        match address.parse() {
            Ok(Address::Tcp { .. }) => {}
            Ok(Address::Unix(_)) => {
                return Err(Error::config(format_args!(
                    "broker::Http::address: expected host:port, found {address:?}, which others cannot dial"
                )));
            }
            Err(error) => {
                return Err(
                    Error::config("broker::Http::address cannot be used").with_source(error)
                );
            }
        }
        for (name, value, most) in [
            ("max_body", *max_body, BODIES_IN_MEMORY),
            ("max_connections", *max_connections, Semaphore::MAX_PERMITS),
        ] {
            if !(1..=most).contains(&value) {
                return Err(Error::config(format_args!(
                    "broker::Http::{name}: expected 1 to {most}, found {value}"
                )));
            }
        }
        Ok(())
    }

    async fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        super::check_name("topic", &message.topic)?;
        // What it looks at stays as it was.
        if delivery != Delivery::AtMostOnce || self.state.checked.get().is_none() {
            self.check(delivery)?;
            let _ = self.state.checked.set(());
        }
        let directory = self.directory()?;
        let place = timeout_at(deadline.instant(), self.state.publishes.acquire()).await;
        // It is never closed.
        let Ok(Ok(_place)) = place else {
            return Err(Error::new(
                ErrorKind::Broker,
                format_args!(
                    "the event for {:?} was not sent: {PUBLISHES} others were on their way until its deadline",
                    message.topic
                ),
            ));
        };
        self.send(&directory, message, deadline).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<HttpConsumer, Error> {
        self.check(topic.level())?;
        topic.check()?;
        if topic.queue_name() == Some(BROADCAST) {
            return Err(Error::config(format_args!(
                "the queue of the topic {:?} cannot be {BROADCAST:?}, which stands for no queue",
                topic.name()
            )));
        }
        let registry = self.registry_or_error()?;
        let server = self.server().await?;
        HttpConsumer::open(registry, server, topic).await
    }

    /// Stops listening, unless there are subscriptions left: running handlers are waited for up to 10 s.
    async fn close(&self) {
        drop(lock(&self.state.directory).take());
        let mut server = self.state.server.lock().await;
        // Subscriptions hold it, those too that are just being made.
        if server.as_ref().is_some_and(|running| Arc::strong_count(running) == 1)
            // Out of there first: given up half way, what does not listen any more must not be found again.
            && let Some(running) = server.take()
        {
            running.stop().await;
        }
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("address", &self.settings.address)
            .field("advertise", &self.settings.advertise)
            .finish_non_exhaustive()
    }
}
