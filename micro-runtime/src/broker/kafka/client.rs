//! What a client of the library tells us, and what its errors mean.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::statistics::Statistics;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::debug;

use crate::broker::common::outage::Outage;
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// Whether waiting does not mend it, and why; or why not yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Later it may work.
    Away(String),
    /// Waiting does not mend it.
    Config(String),
    /// The client is of no use any more; another may be.
    Fatal(String),
}

/// What one client of the library said last.
#[derive(Clone)]
pub(super) struct Ear(Arc<Inner>);

struct Inner {
    outage: Mutex<Outage>,
    /// Why it is refused, and since when that is known.
    refused: watch::Sender<Option<(Instant, String)>>,
    /// Whether it has ever worked.
    has_worked: AtomicBool,
    /// How often the library has guessed that the server speaks TLS, or SASL, and we do not, or the reverse.
    guesses: AtomicU32,
    last: Mutex<String>,
}

/// How long a refusal counts: longer than the 30 s after which the library says again what has not changed, so
/// that one that stands is renewed, and one that was mended is forgotten.
const COUNTS: Duration = Duration::from_secs(40);

/// A guess that is made so often, half a minute apart, is right: a server that is just starting or dying, of which
/// the library thinks the same, is past that.
const GUESSES: u32 = 2;

/// What the library adds to an error where it guesses so.
const MISMATCHES: [&str; 3] = [
    "connecting to a SSL listener?",
    "connecting to a PLAINTEXT broker listener?",
    "broker might require SASL authentication",
];

// ===== impl Refusal =====

impl Refusal {
    pub(super) fn of(error: &KafkaError) -> Refusal {
        match error.rdkafka_error_code() {
            Some(code) => Refusal::of_code(code),
            None => Refusal::Away(error.to_string()),
        }
    }

    pub(super) fn of_code(code: Code) -> Refusal {
        let why = code.to_string();
        match code {
            Code::Fatal
            | Code::Fenced
            | Code::OutOfOrderSequenceNumber
            | Code::UnknownProducerId
            | Code::InvalidProducerEpoch => Refusal::Fatal(why),
            Code::Authentication | Code::SaslAuthenticationFailed => Refusal::Config(credentials()),
            Code::UnsupportedSASLMechanism => Refusal::Config(format!(
                "the server takes no user and password by this mechanism of SASL; choose one that it has enabled (Kafka::mechanism): {why}"
            )),
            Code::IllegalSASLState => Refusal::Config(format!(
                "the server wants no user and password at this port: leave them out, or name a listener with SASL: {why}"
            )),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Refusal::Config(format!(
                "kafka does not allow this user what it needs; give it the ACLs that the documentation of broker::Kafka names: {why}"
            )),
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => Refusal::Config(format!(
                "the event is larger than the server or the topic takes (message.max.bytes): {why}"
            )),
            Code::InconsistentGroupProtocol => Refusal::Config(format!(
                "the members of a queue must assign partitions alike; where go-micro's or other clients with the range assignor are members, use Kafka::range: {why}"
            )),
            Code::FencedInstanceId => Refusal::Config(format!(
                "another subscriber has come under the name of this one, and has its partitions: give each process that runs a name of its own (Kafka::instance): {why}"
            )),
            Code::InvalidSessionTimeout => Refusal::Config(format!(
                "the server allows no such session: choose one within its group.min.session.timeout.ms and group.max.session.timeout.ms (Kafka::session): {why}"
            )),
            Code::InvalidTopic => Refusal::Config(format!(
                "kafka takes '.' and '_' in names of topics for the same, so that no two may differ in nothing else: choose another name: {why}"
            )),
            Code::InvalidPartitions
            | Code::InvalidReplicationFactor
            | Code::InvalidConfig
            | Code::PolicyViolation => Refusal::Config(format!(
                "kafka refuses to make the topic; make it by hand, or with other partitions (Kafka::partitions): {why}"
            )),
            _ => Refusal::Away(why),
        }
    }

    pub(super) fn why(&self) -> &str {
        let (Refusal::Away(why) | Refusal::Config(why) | Refusal::Fatal(why)) = self;
        why
    }

    pub(super) fn into_error(self, what: &str) -> Error {
        let kind = match self {
            Refusal::Config(_) => ErrorKind::Config,
            Refusal::Away(_) | Refusal::Fatal(_) => ErrorKind::Broker,
        };
        Error::new(kind, format_args!("kafka: {what}: {}", self.why()))
    }
}

fn credentials() -> String {
    "the server refuses the user or the password: give those it expects, as kafka://user:password@host:port"
        .to_owned()
}

// ===== impl Ear =====

impl Ear {
    pub(super) fn new(what: impl Into<String>) -> Ear {
        Ear(Arc::new(Inner {
            outage: Mutex::new(Outage::new(what)),
            refused: watch::channel(None).0,
            has_worked: AtomicBool::new(false),
            guesses: AtomicU32::new(0),
            last: Mutex::new("nothing was heard of it yet".to_owned()),
        }))
    }

    /// It works.
    pub(super) fn works(&self) {
        lock(&self.0.outage).is_over();
        self.0.has_worked.store(true, Ordering::Relaxed);
        self.0
            .refused
            .send_if_modified(|refused| refused.take().is_some());
    }

    /// It failed.
    pub(super) fn fails(&self, refusal: &Refusal) {
        lock(&self.0.outage).goes_on(refusal.why());
        refusal.why().clone_into(&mut lock(&self.0.last));
    }

    /// The server refuses us. Who was let in once is let in again, or it is an operator's work in progress.
    fn is_refused(&self, why: &str) {
        if !self.0.has_worked.load(Ordering::Relaxed) {
            let since = Instant::now();
            self.0.refused.send_replace(Some((since, why.to_owned())));
        }
    }

    /// What was wrong last.
    pub(super) fn last(&self) -> String {
        lock(&self.0.last).clone()
    }

    /// Resolves when we are refused.
    pub(super) async fn refused(&self) -> Refusal {
        let mut refused = self.0.refused.subscribe();
        let stands = |refused: &Option<(Instant, String)>| {
            refused
                .as_ref()
                .is_some_and(|(since, _)| since.elapsed() < COUNTS)
        };
        let why = refused.wait_for(stands).await;
        // Its sender is in `self`, so that there is no error.
        let why = why.ok().and_then(|why| why.clone());
        Refusal::Config(why.map(|(_, why)| why).unwrap_or_default())
    }
}

impl ClientContext for Ear {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        // What matters comes as an error as well, and is said now and then; this is said ten times a second.
        debug!(facility, message, "librdkafka");
    }

    fn stats(&self, _: Statistics) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let refusal = match Refusal::of(&error) {
            // With the server's address and the system's words.
            Refusal::Away(_) => Refusal::Away(reason.to_owned()),
            refusal => refusal,
        };
        self.fails(&refusal);
        match error.rdkafka_error_code() {
            // Refusals of another kind are those of one request, whose sender is told.
            Some(
                Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::UnsupportedSASLMechanism
                | Code::IllegalSASLState,
            ) => self.is_refused(refusal.why()),
            Some(Code::SSL) if reason.contains("verify failed") => self.is_refused(&format!(
                "the server's certificate is not trusted: name the file of the authority that has signed it, as kafkas://host:port?ca=FILE: {reason}"
            )),
            // The answer to what is no TLS is an alert of TLS, which the library takes for a length.
            Some(_) if reason.contains(ALERT) => self.is_refused(&speaks_otherwise(reason)),
            Some(_)
                if MISMATCHES.iter().any(|guess| reason.contains(guess))
                    && self.0.guesses.fetch_add(1, Ordering::Relaxed) + 1 >= GUESSES =>
            {
                self.is_refused(&speaks_otherwise(reason));
            }
            _ => {}
        }
    }
}

/// How the library writes the size of an answer that begins as an alert of TLS does: 0x15, 0x03, 0x01 to 0x03, 0.
const ALERT: &str = "Invalid response size 352518";

fn speaks_otherwise(reason: &str) -> String {
    format!(
        "the server speaks something else at this port: kafkas:// is for listeners with TLS and kafka:// for those without, and a user and a password for those with SASL: {reason}"
    )
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn refuses(ear: &Ear) {
        let error = KafkaError::Global(Code::Authentication);
        ear.error(error, "127.0.0.1:1: SASL authentication error");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_no_longer_one_when_it_was_mended() {
        let ear = Ear::new("x");
        refuses(&ear);
        let Refusal::Config(why) = ear.refused().await else {
            panic!("expected a refusal that waiting does not mend");
        };
        assert!(why.contains("user or the password"), "{why}");
        // Nobody has said it again.
        tokio::time::advance(COUNTS).await;
        assert!(timeout(COUNTS, ear.refused()).await.is_err());
        refuses(&ear);
        assert!(timeout(COUNTS, ear.refused()).await.is_ok());
        ear.works();
        assert!(timeout(COUNTS, ear.refused()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_let_in_once_is_not_refused_for_good() {
        let ear = Ear::new("x");
        ear.works();
        refuses(&ear);
        assert!(timeout(COUNTS, ear.refused()).await.is_err());
        assert!(ear.last().contains("user or the password"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_guess_counts_when_it_is_made_again_and_a_refused_topic_is_its_own_matter() {
        let ear = Ear::new("x");
        let guess = "Disconnected: requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?)";
        ear.error(KafkaError::Global(Code::BrokerTransportFailure), guess);
        ear.error(KafkaError::Global(Code::TopicAuthorizationFailed), "x");
        assert!(timeout(COUNTS, ear.refused()).await.is_err());
        ear.error(KafkaError::Global(Code::BrokerTransportFailure), guess);
        assert!(timeout(COUNTS, ear.refused()).await.is_ok());
    }
}
