//! A broker of the tests' own, which the suites of brokers are themselves tried on: a server in a process of
//! its own that can be killed ([`Server`]) and [`Small`], which speaks to it.
//!
//! It keeps both promises, unless the server is told to be [`Careless`].

mod consumer;
mod frame;
mod server;
mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use micro_runtime::broker::{Broker, Delivery, Message, Topic};
use micro_runtime::{Deadline, Error, ErrorKind};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout_at};

use frame::Frame;

pub use consumer::SmallConsumer;
pub use server::{Careless, Server};

/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(50);

/// The most publishes at once.
const AT_ONCE: usize = 32;

/// The most connections that are kept for later.
const SPARE: usize = 32;

/// A client of the small broker. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Small {
    address: Arc<str>,
    at_once: Arc<Semaphore>,
    spare: Arc<Mutex<Vec<TcpStream>>>,
}

// ===== impl Small =====

impl Small {
    /// A client of the server at this address.
    #[must_use]
    pub fn new(address: &str) -> Small {
        Small {
            address: address.into(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            spare: Arc::default(),
        }
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request and waits for its answer, on a connection that nobody else uses meanwhile.
    async fn ask(&self, request: &Frame) -> std::io::Result<Frame> {
        let spare = self.spare().pop();
        let mut connection = match spare {
            Some(connection) => connection,
            None => TcpStream::connect(&*self.address).await?,
        };
        frame::write(&mut connection, request).await?;
        let answer = frame::read(&mut connection).await?;
        let mut spare = self.spare();
        if spare.len() < SPARE {
            spare.push(connection);
        }
        Ok(answer)
    }
}

impl Broker for Small {
    type Consumer = SmallConsumer;

    fn name(&self) -> &'static str {
        "small"
    }

    fn check(&self, _: Delivery) -> Result<(), Error> {
        Ok(())
    }

    async fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        check_name(&message.topic)?;
        let mut request = vec![
            b"publish".to_vec(),
            level_name(delivery).to_vec(),
            message.topic.into_bytes(),
            message.body.to_vec(),
        ];
        for (name, value) in message.headers.iter() {
            request.push(name.as_bytes().to_vec());
            request.push(value.to_vec());
        }
        let asking = async {
            // The semaphore is never closed.
            let _permit = self.at_once.acquire().await;
            while let Err(error) = self.ask(&request).await {
                let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
                if delivery == Delivery::AtMostOnce && !refused {
                    return Err(failed(format_args!("the connection was lost: {error}")));
                }
                sleep(AGAIN).await;
            }
            Ok(())
        };
        match timeout_at(deadline.instant(), asking).await {
            Ok(result) => result,
            Err(_) => Err(failed("expected an answer by the deadline, found none")),
        }
    }

    async fn subscribe(&self, topic: &Topic) -> Result<SmallConsumer, Error> {
        check_name(topic.name())?;
        if let Some(queue) = topic.queue_name() {
            check_name(queue)?;
        }
        Ok(SmallConsumer::open(Arc::clone(&self.address), topic).await)
    }

    async fn close(&self) {
        self.spare().clear();
    }
}

fn failed(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Broker, message)
}

fn level_name(delivery: Delivery) -> &'static [u8] {
    match delivery {
        Delivery::AtLeastOnce => b"keep",
        _ => b"pass",
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.len() <= 249 && name.chars().all(allowed) && !name.split('.').any(str::is_empty) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Config,
        format_args!("expected a name of letters, digits, '.', '-' and '_', found {name:?}"),
    ))
}
