//! [`Topic`]: what a subscription asks for; [`Delivery`]: what it is promised.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, ErrorKind};

/// What a publisher and a subscription are promised.
///
/// A level that a broker cannot give is an error when the publisher or the subscription is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// An event is delivered once or, when something fails on its way, not at all. What go-micro's brokers
    /// give, on their wire; the default.
    #[default]
    AtMostOnce,
    /// An event whose `publish` resolved is handed out until a handler returned `Ok` for it, whatever dies
    /// meanwhile: it may come more than once, and handlers must be ready for that.
    AtLeastOnce,
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delivery::AtMostOnce => "at most once",
            Delivery::AtLeastOnce => "at least once",
        })
    }
}

/// A topic as a subscriber wants it.
///
/// ```
/// use micro_runtime::broker::{Delivery, Topic};
///
/// let topic = Topic::new("orders.placed")
///     .queue("billing")
///     .delivery(Delivery::AtLeastOnce)
///     .concurrency(16)
///     .dead_letter("orders.dead");
/// assert_eq!(topic.name(), "orders.placed");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    name: String,
    queue: Option<String>,
    delivery: Delivery,
    concurrency: usize,
    dead_letter: Option<String>,
    max_attempts: u32,
    retry_delay: Duration,
    ack_wait: Duration,
    timeout: Option<Duration>,
    batch: Option<(usize, Duration)>,
}

/// The longest name of a topic or a queue, in bytes: what every broker takes (Kafka has the shortest limit).
const LONGEST_NAME: usize = 249;

/// The most events that one subscription may work on at once.
const MOST_AT_ONCE: usize = 65_536;

/// The longest pause before an event is tried again.
const LONGEST_RETRY_DELAY: Duration = Duration::from_secs(60);

// ===== impl Topic =====

impl Topic {
    /// The topic of this name, for every subscriber of its own, at most once, one event at a time.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Topic {
        Topic {
            name: name.into(),
            queue: None,
            delivery: Delivery::default(),
            concurrency: 1,
            dead_letter: None,
            max_attempts: 5,
            retry_delay: Duration::from_millis(200),
            ack_wait: Duration::from_secs(30),
            timeout: None,
            batch: None,
        }
    }

    /// Shares the events with every subscriber of the same queue: each event goes to one of them. Without a
    /// queue, the default, each subscriber gets every event, from when it subscribed until it stops.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Topic {
        self.queue = Some(queue.into());
        self
    }

    /// What is promised. Default: [`Delivery::AtMostOnce`].
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Topic {
        self.delivery = delivery;
        self
    }

    /// How many events are handled at once, and with that how many the broker hands out ahead. Default: 1,
    /// which keeps the order in which the broker hands out, as long as no event is handed out again. With
    /// [`batch`](Topic::batch), how many batches.
    #[must_use]
    pub fn concurrency(mut self, events: usize) -> Topic {
        self.concurrency = events;
        self
    }

    /// Where an event goes that cannot be decoded, or failed [`max_attempts`](Topic::max_attempts) times:
    /// another topic of the same broker, with headers that say why. Without one, the default, it is dropped
    /// with a log line and counted. Only with [`Delivery::AtLeastOnce`].
    #[must_use]
    pub fn dead_letter(mut self, topic: impl Into<String>) -> Topic {
        self.dead_letter = Some(topic.into());
        self
    }

    /// How many times an event is handed to a handler that fails. Default: 5. Only with
    /// [`Delivery::AtLeastOnce`].
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Topic {
        self.max_attempts = attempts;
        self
    }

    /// The pause before an event whose handler failed is handed out again, doubled each time up to a minute.
    /// Default: 200 ms. Only with [`Delivery::AtLeastOnce`].
    #[must_use]
    pub fn retry_delay(mut self, delay: Duration) -> Topic {
        self.retry_delay = delay;
        self
    }

    /// How long an event whose subscriber died without a word stays with it before another gets it, where
    /// the broker knows no better. A handler may take longer: it says so itself meanwhile. Default: 30 s.
    #[must_use]
    pub fn ack_wait(mut self, wait: Duration) -> Topic {
        self.ack_wait = wait;
        self
    }

    /// The longest time that a handler may take for one event; its future is dropped then, and the event
    /// counts as failed. Default: none.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Topic {
        self.timeout = Some(timeout);
        self
    }

    /// Hands events to the handler in batches, of up to `max` events or as many as came within `wait` of the
    /// first. Only for [`subscribe_batch`](crate::broker::subscribe_batch), where the default is 100 events
    /// and 100 ms.
    #[must_use]
    pub fn batch(mut self, max: usize, wait: Duration) -> Topic {
        self.batch = Some((max, wait));
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The queue, if there is one.
    #[must_use]
    pub fn queue_name(&self) -> Option<&str> {
        self.queue.as_deref()
    }

    /// The level.
    #[must_use]
    pub fn level(&self) -> Delivery {
        self.delivery
    }

    /// How many events may be handed out and not yet settled: brokers ask for no more ahead.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let each = self.batch.map_or(1, |(max, _)| max);
        self.concurrency.saturating_mul(each)
    }

    /// How many handlers may run at once.
    pub(crate) fn handlers(&self) -> usize {
        self.concurrency
    }

    /// The size of a batch, and how long one is waited for, if batches are asked for.
    pub(crate) fn batches(&self) -> Option<(usize, Duration)> {
        self.batch
    }

    /// Where poison goes, if anywhere.
    #[must_use]
    pub fn dead_letter_name(&self) -> Option<&str> {
        self.dead_letter.as_deref()
    }

    /// How many attempts there are.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.max_attempts
    }

    /// How long the broker waits for a subscriber that is silent.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.ack_wait
    }

    /// The longest time of a handler.
    #[must_use]
    pub fn handler_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The pause after this many failed attempts.
    pub(crate) fn delay_after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let delay = self.retry_delay.saturating_mul(1 << doublings);
        delay.min(LONGEST_RETRY_DELAY.max(self.retry_delay))
    }

    /// Whether it can be asked for at all.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_name("topic", &self.name)?;
        if let Some(queue) = &self.queue {
            check_name("queue", queue)?;
        }
        if let Some(dead) = &self.dead_letter {
            check_name("dead letter topic", dead)?;
            if *dead == self.name {
                return Err(Error::config(format_args!(
                    "the dead letter topic of {:?} is the topic itself, which would hand poison out for ever: name another one",
                    self.name
                )));
            }
            if self.delivery == Delivery::AtMostOnce {
                return Err(Error::config(format_args!(
                    "the topic {:?} has a dead letter and is delivered at most once, where an event is gone before its handler runs: add .delivery(Delivery::AtLeastOnce)",
                    self.name
                )));
            }
        }
        if !(1..=MOST_AT_ONCE).contains(&self.concurrency) {
            return Err(Error::config(format_args!(
                "expected a concurrency from 1 to {MOST_AT_ONCE} for the topic {:?}, found {}",
                self.name, self.concurrency
            )));
        }
        if !(1..=MOST_AT_ONCE).contains(&self.in_flight()) {
            return Err(Error::config(format_args!(
                "expected batches of 1 event or more for the topic {:?}, and no more than {MOST_AT_ONCE} events in all \
                 batches that are handled at once, found {}",
                self.name,
                self.in_flight()
            )));
        }
        if self.max_attempts == 0 {
            return Err(Error::config(format_args!(
                "expected at least 1 attempt for the topic {:?}, found 0",
                self.name
            )));
        }
        if self.ack_wait < Duration::from_secs(1) {
            return Err(Error::config(format_args!(
                "expected an ack_wait of at least 1 s for the topic {:?}, found {:?}",
                self.name, self.ack_wait
            )));
        }
        Ok(())
    }
}

/// Names go into addresses, log lines and file names of brokers.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(allowed) {
        return Err(Error::new(
            ErrorKind::Config,
            format_args!(
                "expected a {what} of 1 to {LONGEST_NAME} letters, digits, '.', '-' and '_', found {:?}",
                name.chars().take(300).collect::<String>()
            ),
        ));
    }
    if name.split('.').any(str::is_empty) {
        return Err(Error::config(format_args!(
            "expected a {what} without empty parts between its dots, found {name:?}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> Topic {
        Topic::new("orders.placed")
    }

    #[test]
    fn what_cannot_be_asked_for_is_an_error() {
        let least = || topic().delivery(Delivery::AtLeastOnce);
        topic()
            .queue("billing")
            .concurrency(65_536)
            .check()
            .unwrap();
        least().dead_letter("orders.dead").check().unwrap();
        topic()
            .batch(256, Duration::ZERO)
            .concurrency(256)
            .check()
            .unwrap();
        for (wrong, part) in [
            (Topic::new(""), "topic"),
            (Topic::new("a/b"), "topic"),
            (Topic::new("a..b"), "empty parts"),
            (Topic::new("a".repeat(250)), "249"),
            (topic().queue("a b"), "queue"),
            (topic().dead_letter("dead"), "at most once"),
            (least().dead_letter("orders.placed"), "itself"),
            (least().dead_letter(""), "dead letter"),
            (topic().concurrency(0), "concurrency"),
            (topic().concurrency(65_537), "concurrency"),
            (topic().batch(0, Duration::ZERO), "batches"),
            (topic().batch(257, Duration::ZERO).concurrency(256), "65792"),
            (
                topic().batch(usize::MAX, Duration::ZERO).concurrency(2),
                "batches",
            ),
            (least().max_attempts(0), "attempt"),
            (least().ack_wait(Duration::from_millis(999)), "ack_wait"),
        ] {
            let error = wrong.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn delays_double_up_to_a_minute_or_what_was_asked_for() {
        let after = |topic: &Topic, attempts| topic.delay_after(attempts).as_millis();
        let usual = topic();
        assert_eq!(
            [1, 2, 3, 9, 10, u32::MAX].map(|attempts| after(&usual, attempts)),
            [200, 400, 800, 51_200, 60_000, 60_000]
        );
        let slow = topic().retry_delay(Duration::from_secs(90));
        assert_eq!(
            [1, 2].map(|attempts| after(&slow, attempts)),
            [90_000, 90_000]
        );
        assert_eq!(after(&topic().retry_delay(Duration::ZERO), 9), 0);
    }
}
