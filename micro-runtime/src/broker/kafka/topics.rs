//! [`Topics`]: making sure that a topic is there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::FutureProducer;
use tokio::time::{sleep, timeout_at};

use super::client::{Ear, Refusal};
use super::config::Config;
use crate::backoff::Backoff;
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// The topics that are remembered; those beyond are asked for each time.
const KNOWN: usize = 10_000;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// Makes topics, and remembers which there are.
#[derive(Clone)]
pub(super) struct Topics(Arc<Inner>);

struct Inner {
    admin: Mutex<Option<Arc<AdminClient<Ear>>>>,
    /// The library's admin client tells nobody that it is refused. This one does, and is made when the first
    /// question was not answered.
    probe: Mutex<Option<FutureProducer<Ear>>>,
    config: ClientConfig,
    ear: Ear,
    partitions: Option<u16>,
    known: Mutex<HashSet<String>>,
}

// ===== impl Topics =====

impl Topics {
    pub(super) fn new(config: &Config) -> Result<Topics, Error> {
        let ear = Ear::new(format!("kafka at {}", config.servers));
        let admin = config
            .admin()
            .create_with_context(ear.clone())
            .map_err(|error| Refusal::Config(error.to_string()).into_error("cannot begin"))?;
        Ok(Topics(Arc::new(Inner {
            admin: Mutex::new(Some(Arc::new(admin))),
            probe: Mutex::new(None),
            config: config.admin(),
            ear,
            partitions: config.partitions,
            known: Mutex::default(),
        })))
    }

    /// Makes the topic if it is not there.
    ///
    /// # Errors
    /// It is not known to be there at the deadline, or must not be made.
    pub(super) async fn ensure(&self, topic: &str, deadline: Deadline) -> Result<(), Error> {
        if lock(&self.0.known).contains(topic) {
            return Ok(());
        }
        // Rare, and large: a publish on a topic that is there need have no room for it.
        Box::pin(self.find_or_make(topic, deadline)).await
    }

    async fn find_or_make(&self, topic: &str, deadline: Deadline) -> Result<(), Error> {
        let (first, longest) = super::PAUSES;
        let mut backoff = Backoff::new(first, longest);
        let doing = format!("cannot make sure of the topic {topic:?}");
        let ensuring = async {
            loop {
                match self.make(topic).await {
                    Ok(()) => {
                        self.0.ear.works();
                        super::drop_apart(lock(&self.0.probe).take());
                        let mut known = lock(&self.0.known);
                        if known.len() < KNOWN {
                            known.insert(topic.to_owned());
                        }
                        return Ok(());
                    }
                    Err(refusal @ Refusal::Config(_)) => return Err(refusal.into_error(&doing)),
                    Err(refusal) => {
                        self.0.ear.fails(&refusal);
                        self.probe();
                    }
                }
                sleep(backoff.next()).await;
            }
        };
        tokio::select! {
            ensured = timeout_at(deadline.instant(), ensuring) => ensured.unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Broker,
                    format_args!("kafka was not reached before the deadline: {}", self.0.ear.last()),
                ))
            }),
            refusal = self.0.ear.refused() => Err(refusal.into_error(&doing)),
        }
    }

    /// The topic is gone: it is made sure of again.
    pub(super) fn forget(&self, topic: &str) {
        lock(&self.0.known).remove(topic);
    }

    /// Has the library connect with a client that tells why it cannot.
    fn probe(&self) {
        let mut probe = lock(&self.0.probe);
        if probe.is_none() {
            // It has been possible with the same settings before.
            *probe = self.0.config.create_with_context(self.0.ear.clone()).ok();
        }
    }

    async fn make(&self, topic: &str) -> Result<(), Refusal> {
        let Some(admin) = lock(&self.0.admin).clone() else {
            return Err(Refusal::Away("the broker was closed".to_owned()));
        };
        // -1 is the server's default.
        let partitions = self.0.partitions.map_or(-1, i32::from);
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        let options = AdminOptions::new()
            .request_timeout(Some(ANSWER))
            .operation_timeout(Some(ANSWER));
        let made = admin.create_topics([&new], &options).await;
        let made = made.map_err(|error| match error {
            KafkaError::AdminOp(code) => Refusal::of_code(code),
            error => Refusal::of(&error),
        })?;
        match made.into_iter().next() {
            Some(Ok(_)) | Some(Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((
                _,
                code @ (Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed),
            ))) => {
                // Who must not make topics may use those that are there.
                let topic = topic.to_owned();
                let found = tokio::task::spawn_blocking(move || {
                    let found = admin.inner().fetch_metadata(Some(&topic), ANSWER);
                    found.is_ok_and(|found| {
                        let topics = found.topics().iter();
                        topics
                            .into_iter()
                            .any(|found| found.error().is_none() && !found.partitions().is_empty())
                    })
                });
                if found.await.unwrap_or(false) {
                    Ok(())
                } else {
                    Err(Refusal::Config(format!(
                        "it is not there, and this user must not make it: make it, or allow the user to: {code}"
                    )))
                }
            }
            Some(Err((_, code))) => Err(Refusal::of_code(code)),
            None => Err(Refusal::Away(
                "the server's answer names no topic".to_owned(),
            )),
        }
    }

    /// Deletes nothing, and forgets what it knows; the client's thread ends.
    pub(super) fn close(&self) {
        let admin = lock(&self.0.admin).take();
        let probe = lock(&self.0.probe).take();
        super::drop_apart(Some((admin, probe)));
    }
}
