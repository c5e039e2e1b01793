//! A node of the fleets that `tests/faults` breaks: serves `Front` and `Peer` until SIGTERM.
//!
//! Arguments: the service's name, the address to listen on, a file, the milliseconds of its registration's
//! TTL and of its drain delay, then flags for the registry. The text of each `Ask` is appended to the file as
//! a line of its own before it is answered, and that of each call that asks it to refuse, so that what was
//! executed is known after a crash. An answer is `port pid`.

use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use micro_runtime::{Context, Error, ErrorKind, Result, Service, Status};
use micro_tests::front::v1::{Answer, FrontHandler, Question, register_front_handler};
use micro_tests::peer::{Peer, v1::register_peer_handler};

/// How long running calls may take once it was told to stop: streams, which would never end by themselves, are
/// cut then.
const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Node {
    port: u16,
    executed: Mutex<File>,
}

impl Node {
    fn note(&self, text: &str) -> Result<()> {
        let mut file = self.executed.lock().unwrap_or_else(PoisonError::into_inner);
        // In one write, which outlives the process.
        let line = format!("{text}\n");
        file.write_all(line.as_bytes())
            .map_err(|error| Status::internal(format_args!("the line was not written: {error}")))
    }

    async fn answer(&self, question: Question) -> Result<Answer> {
        if question.text.starts_with("refuse") {
            self.note(&question.text)?;
            return Err(Status::unavailable("refused, as asked"));
        }
        let millis = u64::try_from(question.millis).unwrap_or_default();
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
        Ok(Answer {
            text: format!("{} {}", self.port, std::process::id()),
            ..Answer::default()
        })
    }
}

impl FrontHandler for Node {
    async fn ask(&self, _ctx: Context, question: Question) -> Result<Answer> {
        self.note(&question.text)?;
        self.answer(question).await
    }

    async fn look(&self, _ctx: Context, question: Question) -> Result<Answer> {
        self.answer(question).await
    }
}

fn wrong(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, error)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| {
        arguments
            .next()
            .ok_or_else(|| wrong(format_args!("expected {what}, found no argument")))
    };
    let name = next("the name of the service")?;
    let address = next("an address")?;
    let file = next("a file")?;
    let mut millis = |what: &str| -> Result<Duration, Error> {
        Ok(Duration::from_millis(next(what)?.parse().map_err(wrong)?))
    };
    let (ttl, drain) = (millis("a TTL")?, millis("a drain delay")?);
    let executed = File::options()
        .create(true)
        .append(true)
        .open(file)
        .map_err(wrong)?;
    let port = address.rsplit(':').next().unwrap_or_default();
    let port = port.parse().map_err(wrong)?;
    let node = Node {
        port,
        executed: Mutex::new(executed),
    };
    let service = Service::new(name)
        .address(address)
        .register_ttl(ttl)
        .register_interval(ttl / 3)
        .drain_delay(drain)
        .stop_grace(GRACE)
        .init_from(arguments)?;
    register_front_handler(service.server(), Arc::new(node))?;
    register_peer_handler(service.server(), Peer::default())?;
    service.run().await
}
