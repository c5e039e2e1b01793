//! The processes that `tests/kills` kills: those that publish, that subscribe, and the small broker.
//!
//! The first argument is the role, the others are `key=value`:
//!
//! | role | does | keys beside broker, address, topic, level |
//! |---|---|---|
//! | `producer` | publishes 1, 2, 3 … and notes what is acknowledged, until SIGTERM | `log`, `in-flight`, `rate` |
//! | `consumer` | notes what it begins to handle, and what it has handled, then acknowledges it, until SIGTERM | `begun`, `log`, `queue`, `concurrency`, `work` (ms), `wait` (ms); `instance`, if it has a name |
//! | `sleeper` | takes as many events as it may hold, and holds them | `concurrency` |
//! | `flood` | publishes so many events, and ends | `count`, `in-flight` |
//! | `push-back` | both, of a broker without a server | `concurrency`, `count`, `in-flight` |
//! | `server` | is the small broker | `address`, `file`, `careless` |

mod consumer;
mod flood;
mod producer;

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use micro_runtime::broker::{AnyBroker, Delivery, Topic};
use micro_runtime::{Error, ErrorKind};
use micro_tests::brokers;
use micro_tests::small_broker::{Careless, Server};

/// What the process was told.
#[derive(Debug)]
struct Settings(HashMap<String, String>);

// ===== impl Settings =====

impl Settings {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Settings, Error> {
        let pair = |argument: String| match argument.split_once('=') {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(wrong(format_args!(
                "expected key=value, found {argument:?}"
            ))),
        };
        arguments.map(pair).collect::<Result<_, _>>().map(Settings)
    }

    fn text(&self, key: &str) -> Result<&str, Error> {
        let missing = || wrong(format_args!("expected {key}=…, found no such argument"));
        self.0.get(key).map(String::as_str).ok_or_else(missing)
    }

    fn number<N: FromStr<Err: Display>>(&self, key: &str) -> Result<N, Error> {
        let text = self.text(key)?;
        text.parse()
            .map_err(|error| wrong(format_args!("{key}={text}: {error}")))
    }

    fn level(&self) -> Result<Delivery, Error> {
        match self.text("level")? {
            "least" => Ok(Delivery::AtLeastOnce),
            "most" => Ok(Delivery::AtMostOnce),
            other => Err(wrong(format_args!(
                "expected level=least or level=most, found {other:?}"
            ))),
        }
    }

    fn topic(&self) -> Result<Topic, Error> {
        Ok(Topic::new(self.text("topic")?).delivery(self.level()?))
    }

    fn broker(&self) -> Result<AnyBroker, Error> {
        let address = self.text("address")?;
        match self.0.get("instance") {
            None => brokers::client(self.text("broker")?, address),
            Some(name) => {
                brokers::client(self.text("broker")?, &format!("{address}?instance={name}"))
            }
        }
    }
}

fn wrong(error: impl Display) -> Error {
    Error::new(ErrorKind::Config, error)
}

/// The time by which the logs of several processes are compared, in milliseconds.
fn now() -> u128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_millis()
}

/// Resolves when the process is asked to end.
async fn asked_to_end() -> Result<(), Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut asked = signal(SignalKind::terminate()).map_err(wrong)?;
    asked.recv().await;
    Ok(())
}

async fn serve(settings: &Settings) -> Result<(), Error> {
    let careless = match settings.text("careless")? {
        "no" => Careless::No,
        "forgets" => Careless::Forgets,
        other => {
            return Err(wrong(format_args!(
                "expected no or forgets, found {other:?}"
            )));
        }
    };
    let file = settings.text("file")?.as_ref();
    Server::serve(settings.text("address")?, file, careless)
        .await
        .map_err(wrong)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let role = arguments.next().unwrap_or_default();
    let settings = Settings::parse(arguments)?;
    match &*role {
        "producer" => producer::run(&settings).await,
        "consumer" => consumer::run(&settings).await,
        "sleeper" => flood::sleep(&settings).await,
        "flood" => flood::run(&settings).await,
        "push-back" => flood::push_back(&settings).await,
        "server" => serve(&settings).await,
        other => Err(wrong(format_args!("expected a role, found {other:?}"))),
    }
}
