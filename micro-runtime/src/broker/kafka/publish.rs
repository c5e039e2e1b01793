//! Publishing: one idempotent producer for both promises.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout_at};

use super::client::{Ear, Refusal};
use super::config::Config;
use super::topics::Topics;
use crate::backoff::Backoff;
use crate::broker::{Delivery, Message, envelope};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// How long a closing producer may take to send what it has.
const FLUSH: Duration = Duration::from_secs(5);

/// The pause before a full queue is tried again.
const FULL: Duration = Duration::from_millis(5);

/// The producer, which is made anew when it says that it is of no use any more.
pub(super) struct Publishing {
    config: Arc<Config>,
    ear: Ear,
    /// Held for a look at it, or to make it.
    producer: Mutex<Option<Arc<FutureProducer<Ear>>>>,
}

// ===== impl Publishing =====

impl Publishing {
    pub(super) fn new(config: Arc<Config>) -> Publishing {
        let ear = Ear::new(format!("kafka at {} (publishing)", config.servers));
        Publishing {
            config,
            ear,
            producer: Mutex::new(None),
        }
    }

    fn producer(&self) -> Result<Arc<FutureProducer<Ear>>, Error> {
        let mut producer = lock(&self.producer);
        if let Some(producer) = &*producer {
            return Ok(Arc::clone(producer));
        }
        let made = self.config.producer().create_with_context(self.ear.clone());
        let made: FutureProducer<Ear> = made.map_err(|error| {
            Refusal::Config(error.to_string()).into_error("cannot begin to publish")
        })?;
        let made = Arc::new(made);
        *producer = Some(Arc::clone(&made));
        Ok(made)
    }

    /// Replaces a producer that is of no use any more.
    fn replace(&self, broken: &Arc<FutureProducer<Ear>>) {
        let mut producer = lock(&self.producer);
        if producer
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, broken))
        {
            super::drop_apart(producer.take());
        }
    }

    pub(super) async fn publish(
        &self,
        topics: &Topics,
        message: &Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let payload = envelope::write(&message.headers, &message.body);
        let doing = || format!("cannot publish to {:?}", message.topic);
        let (first, longest) = super::PAUSES;
        let mut backoff = Backoff::new(first, longest);
        let sending = async {
            loop {
                let producer = self.producer()?;
                let mut record = FutureRecord::<str, [u8]>::to(&message.topic).payload(&payload);
                if let Some(key) = &message.key {
                    record = record.key(key);
                }
                let refusal = match producer.send_result(record) {
                    Ok(sent) => match sent.await {
                        Ok(Ok(_)) => {
                            self.ear.works();
                            return Ok(());
                        }
                        // It was deleted since we have made sure of it, so that nothing was appended.
                        Ok(Err((error, _))) if is_no_topic(&error) => {
                            topics.forget(&message.topic);
                            topics.ensure(&message.topic, deadline).await?;
                            sleep(backoff.next()).await;
                            continue;
                        }
                        Ok(Err((error, _))) => Refusal::of(&error),
                        Err(_) => Refusal::Fatal("the producer has ended".to_owned()),
                    },
                    Err((KafkaError::MessageProduction(Code::QueueFull), _)) => {
                        sleep(FULL).await;
                        continue;
                    }
                    Err((error, _)) => Refusal::of(&error),
                };
                match refusal {
                    Refusal::Config(_) => return Err(refusal.into_error(&doing())),
                    // It may have arrived.
                    _ if delivery == Delivery::AtMostOnce => {
                        if let Refusal::Fatal(_) = refusal {
                            self.replace(&producer);
                        }
                        return Err(refusal.into_error(&doing()));
                    }
                    Refusal::Fatal(_) => self.replace(&producer),
                    Refusal::Away(_) => {}
                }
                self.ear.fails(&refusal);
                drop(producer);
                sleep(backoff.next()).await;
            }
        };
        tokio::select! {
            sent = timeout_at(deadline.instant(), sending) => sent.unwrap_or_else(|_| Err(Error::new(
                ErrorKind::Broker,
                format_args!(
                    "kafka did not confirm an event of {:?} before the deadline: {}",
                    message.topic,
                    self.ear.last()
                ),
            ))),
            refusal = self.ear.refused() => Err(refusal.into_error(&doing())),
        }
    }

    /// Sends what there is, and ends the producer.
    pub(super) async fn close(&self) {
        let producer = lock(&self.producer).take();
        if let Some(producer) = producer {
            let (done, flushed) = oneshot::channel();
            super::drop_apart(Flushed(producer, Some(done)));
            let _ = flushed.await;
        }
    }
}

/// Whether there is no such topic, or it has fewer partitions than it had.
fn is_no_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition)
    )
}

/// A producer that sends what it has when it is dropped, and says so.
struct Flushed(Arc<FutureProducer<Ear>>, Option<oneshot::Sender<()>>);

impl Drop for Flushed {
    fn drop(&mut self) {
        // What could not be sent, its publisher was told, or gave up.
        let _ = self.0.flush(FLUSH);
        if let Some(done) = self.1.take() {
            let _ = done.send(());
        }
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        super::drop_apart(lock(&self.producer).take());
    }
}
