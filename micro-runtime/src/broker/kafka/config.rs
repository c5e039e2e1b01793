//! Where Kafka is, and how it is used.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::names::Names;
use super::security::Security;
use crate::error::Error;
use crate::registry::common::address::Address;

/// The port of Kafka.
const PORT: u16 = 9092;

/// How long a member of a queue may be silent until it counts as dead: the shortest time that a server allows
/// unless it is told otherwise (`group.min.session.timeout.ms`).
const SESSION: Duration = Duration::from_secs(6);

/// The shortest and the longest that can be asked for; the longest is the library's.
const SESSIONS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// The longest time between heartbeats, and the time within which a member must be polled: the library's defaults.
const HEARTBEAT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_secs(300);

/// How often it is told how far a queue is. What was handled since comes again after a crash.
const COMMIT: Duration = Duration::from_millis(200);

/// The parameters of addresses that are no matter of security.
const SESSION_KEY: &str = "session";
const OPTIONS: [&str; 2] = ["instance", SESSION_KEY];

/// What one consumer fetches ahead at most, and from one partition in one answer.
const AHEAD_KIB: &str = "4096";
const FETCH_BYTES: &str = "1048576";

/// The events that wait to be sent, and their bytes; a publish that finds no room waits for some.
const SEND_EVENTS: &str = "10000";
const SEND_KIB: &str = "32768";

/// The largest event that is sent. How large it may be is the server's and the topic's to say
/// (`message.max.bytes`, 1 MiB by default).
const LARGEST: &str = "104857600";

/// How long a message is sent again and again until it counts as failed; a publish with a later deadline begins
/// anew then.
const SEND_TIME: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub(super) struct Config {
    /// `host:port`, separated by commas.
    pub(super) servers: String,
    pub(super) security: Security,
    /// How many partitions a topic gets that is made; the server's default if it is not said.
    pub(super) partitions: Option<u16>,
    /// Whether queues are shared with clients that assign by ranges, as go-micro's.
    pub(super) range: bool,
    /// After so long without a heartbeat a member of a group is dead.
    session: Duration,
    /// The names of this process's members, if they have some.
    pub(super) names: Option<Names>,
}

// ===== impl Config =====

impl Config {
    pub(super) fn new<A: AsRef<str>>(addresses: &[A]) -> Result<Config, Error> {
        let mut config = Config {
            servers: String::new(),
            security: Security::default(),
            partitions: None,
            range: false,
            session: SESSION,
            names: None,
        };
        let mut servers = Vec::new();
        let mut given = BTreeMap::new();
        for text in addresses {
            let address = Address::parse(text.as_ref())?;
            let security = Security::of(&address, &OPTIONS)?;
            if !servers.is_empty() && security != config.security {
                return Err(Error::config(
                    "the addresses are servers of one cluster, so that all have the same scheme, user, password and files of certificates: found some that differ",
                ));
            }
            config.security = security;
            if !address.path.is_empty() {
                return Err(Error::config(format_args!(
                    "a Kafka address has no path, found /{}",
                    address.path
                )));
            }
            for key in OPTIONS {
                if let Some(value) = address.query.get(key)
                    && given
                        .insert(key, value.clone())
                        .is_some_and(|other| other != *value)
                {
                    return Err(Error::config(format_args!(
                        "the parameter {key} is the same in all addresses, or stands in one of them: found two values"
                    )));
                }
            }
            servers.push(address.host_port(PORT));
        }
        for (key, value) in given {
            match key {
                SESSION_KEY => config.set_session(seconds(&value)?)?,
                _ => config.set_instance(&value)?,
            }
        }
        if servers.is_empty() {
            servers.push(format!("127.0.0.1:{PORT}"));
        }
        config.servers = servers.join(",");
        Ok(config)
    }

    pub(super) fn set_session(&mut self, session: Duration) -> Result<(), Error> {
        if !(SESSIONS.0..=SESSIONS.1).contains(&session) {
            return Err(Error::config(format_args!(
                "expected a session of {:?} to {:?} of a member of a queue, found {session:?}",
                SESSIONS.0, SESSIONS.1
            )));
        }
        self.session = session;
        Ok(())
    }

    pub(super) fn set_instance(&mut self, name: &str) -> Result<(), Error> {
        self.names = Some(Names::new(name)?);
        Ok(())
    }

    /// What every client of the library is told.
    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.servers)
            .set("client.id", "micro")
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("socket.timeout.ms", "10000")
            .set("socket.connection.setup.timeout.ms", "5000")
            .set("topic.metadata.refresh.interval.ms", "30000")
            // Idle connections are closed by the server, which is no news.
            .set("log.connection.close", "false");
        self.security.tell(&mut client);
        client
    }

    pub(super) fn admin(&self) -> ClientConfig {
        self.client()
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        client
            // With these two nothing that was confirmed is lost, and nothing comes twice by the library's retries.
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", SEND_TIME.as_millis().to_string())
            .set("message.max.bytes", LARGEST)
            .set("queue.buffering.max.messages", SEND_EVENTS)
            .set("queue.buffering.max.kbytes", SEND_KIB)
            .set("linger.ms", "1")
            // Go's hash, so that a key has one partition whoever publishes: FNV-1a of sarama.
            .set("partitioner", "fnv1a_random");
        client
    }

    /// A consumer of a group; `commits` says whether the group remembers how far it is, `name` is the member's
    /// own.
    pub(super) fn consumer(&self, group: &str, commits: bool, name: Option<&str>) -> ClientConfig {
        let mut client = self.client();
        if let Some(name) = name {
            client.set("group.instance.id", name);
        }
        client
            .set("group.id", group)
            .set("enable.auto.commit", commits.to_string())
            .set("auto.commit.interval.ms", COMMIT.as_millis().to_string())
            // Stored by ourselves, when it is done with.
            .set("enable.auto.offset.store", "false")
            // What a group has no offset for, or has one that is gone, it has not seen.
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", self.session.as_millis().to_string())
            .set(
                "heartbeat.interval.ms",
                self.heartbeat().as_millis().to_string(),
            )
            // The library wants it no shorter than the session. It is polled all the time.
            .set(
                "max.poll.interval.ms",
                self.session.max(POLL).as_millis().to_string(),
            )
            .set(
                "partition.assignment.strategy",
                if self.range {
                    "range"
                } else {
                    "cooperative-sticky"
                },
            )
            .set("queued.max.messages.kbytes", AHEAD_KIB)
            .set("fetch.message.max.bytes", FETCH_BYTES)
            .set("fetch.wait.max.ms", "200")
            .set("fetch.error.backoff.ms", "100");
        client
    }

    /// Four within a session, so that two may be lost; no fewer than the library's default.
    fn heartbeat(&self) -> Duration {
        (self.session / 4).min(HEARTBEAT)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("security", &self.security)
            .field("partitions", &self.partitions)
            .field("range", &self.range)
            .field("session", &self.session)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Reads `10s`.
fn seconds(text: &str) -> Result<Duration, Error> {
    let number = text
        .strip_suffix('s')
        .and_then(|number| number.parse::<u16>().ok());
    number
        .map(|number| Duration::from_secs(number.into()))
        .ok_or_else(|| {
            Error::config(format_args!(
                "expected whole seconds such as 10s as the parameter {SESSION_KEY}, found {text:?}"
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_users_write_them() {
        let none: [&str; 0] = [];
        assert_eq!(Config::new(&none).unwrap().servers, "127.0.0.1:9092");
        let config = Config::new(&["a", "[::1]:1?session=30s", "b:2?instance=x"]).unwrap();
        assert_eq!(config.servers, "a:9092,[::1]:1,b:2");
        assert_eq!(config.session, Duration::from_secs(30));
        assert_eq!(
            config
                .names
                .as_ref()
                .unwrap()
                .take("q", "t")
                .unwrap()
                .text(),
            "x.t"
        );
        let config = Config::new(&["kafka://me:s3cr%40t@a"]).unwrap();
        assert!(!format!("{config:?}").contains("s3cr"), "{config:?}");
        let consumer = config.consumer("g", true, None);
        assert_eq!(consumer.get("sasl.password"), Some("s3cr@t"));
        assert_eq!(consumer.get("heartbeat.interval.ms"), Some("1500"));
    }

    #[test]
    fn a_long_session_is_one_that_the_library_takes() {
        for (session, heartbeat) in [(1, "250"), (12, "3000"), (3600, "3000")] {
            let mut config = Config::new(&["a"]).unwrap();
            config.set_session(Duration::from_secs(session)).unwrap();
            let consumer = config.consumer("g", true, Some("n"));
            assert_eq!(consumer.get("heartbeat.interval.ms"), Some(heartbeat));
            assert!(consumer.create::<rdkafka::consumer::BaseConsumer>().is_ok());
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        for (addresses, expected) in [
            (
                &["http://a"][..],
                "expected one of kafka, kafkas before ://",
            ),
            (&["kafka://a/x"], "has no path, found /x"),
            (&["kafka://me@a"], "found a user without a password"),
            (
                &["kafka://a?x=y"],
                "expected one of instance, session, sasl as parameters",
            ),
            (&["kafka://a?ca=y"], "is one of TLS"),
            (
                &["kafka://a?session=10"],
                "expected whole seconds such as 10s",
            ),
            (
                &["kafka://a?session=0s"],
                "expected a session of 1s to 3600s",
            ),
            (&["a?session=6s", "b?session=7s"], "found two values"),
            (&["a?instance=x%20y"], "expected letters, digits"),
            (&["kafka://me:x@a", "b"], "found some that differ"),
        ] {
            let error = Config::new(addresses).unwrap_err().to_string();
            assert!(error.contains(expected), "{addresses:?}: {error}");
        }
    }
}
