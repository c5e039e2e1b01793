//! JetStream's API: requests in JSON, and what their answers mean.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::line::{Line, Lost, PUBLISH};
use crate::nats::shown;

/// How long an answer is waited for before the request is made again.
pub(super) const TRY: Duration = Duration::from_secs(2);

/// The header with the id of an event, by which a stream knows one that it has.
pub(super) const ID: &str = "Nats-Msg-Id";

/// Error codes of the server (`server/errors.json`).
pub(super) const CONSUMER_NOT_FOUND: u64 = 10_014;
pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
const STREAM_NAME_IN_USE: u64 = 10_058;
const SUBJECTS_OVERLAP: u64 = 10_065;
const CONSUMER_NAME_IN_USE: [u64; 2] = [10_013, 10_148];
const NOT_ENABLED: [u64; 2] = [10_039, 10_076];

/// Why a request brought nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// The server's answer says so.
    Answer(Refusal),
    /// Nobody answers on this subject: JetStream is not there, or not yet.
    Nobody,
    /// No answer came in time, or one that cannot be read.
    Late(String),
    /// The connection is gone.
    Lost,
    /// The server does not allow the request.
    Denied(String),
}

/// The server's own words.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Refusal { error: Refusal },
    Good(T),
}

/// What the server says of an event that a stream is to store. It comes for each event: it is read in one go, which
/// [`Answer`] is not.
#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    error: Option<Refusal>,
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    seq: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StreamConfig {
    pub(super) name: String,
    pub(super) subjects: Vec<String>,
    pub(super) retention: String,
    pub(super) storage: String,
    pub(super) discard: String,
    pub(super) num_replicas: usize,
    /// In nanoseconds, as all times here.
    pub(super) max_age: u64,
    pub(super) max_bytes: i64,
    pub(super) duplicate_window: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) no_ack: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) sealed: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: StreamConfig,
    /// When it was made: a stream that was made anew counts from 1 again.
    #[serde(default)]
    pub(super) created: String,
    #[serde(default)]
    pub(super) state: StreamState,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct StreamState {
    #[serde(default)]
    pub(super) last_seq: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ConsumerConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) durable_name: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deliver_subject: Option<String>,
    pub(super) deliver_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opt_start_seq: Option<u64>,
    pub(super) ack_policy: String,
    pub(super) ack_wait: u64,
    pub(super) max_deliver: i64,
    pub(super) max_ack_pending: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) filter_subject: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) filter_subjects: Vec<String>,
    pub(super) replay_policy: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) headers_only: bool,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) max_batch: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) max_bytes: i64,
    #[serde(skip_serializing_if = "is_none")]
    pub(super) max_expires: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) backoff: Vec<u64>,
    #[serde(skip_serializing_if = "is_none")]
    pub(super) inactive_threshold: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) mem_storage: bool,
    /// Of servers since 2.11.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) priority_policy: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) description: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ConsumerInfo {
    pub(super) config: ConsumerConfig,
    #[serde(default)]
    pub(super) ack_floor: Floor,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Floor {
    #[serde(default)]
    pub(super) stream_seq: u64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_none(number: &u64) -> bool {
    *number == 0
}

// ===== impl Refusal =====

impl Refusal {
    pub(super) fn is_not_enabled(&self) -> bool {
        NOT_ENABLED.contains(&self.err_code)
    }

    /// Whether somebody else has made another thing of the same name, or for the same subjects.
    pub(super) fn is_taken(&self) -> bool {
        self.err_code == STREAM_NAME_IN_USE
            || self.err_code == SUBJECTS_OVERLAP
            || CONSUMER_NAME_IN_USE.contains(&self.err_code)
    }

    /// Whether the server may do it later: it says that something of its own does not work.
    pub(super) fn is_temporary(&self) -> bool {
        self.code >= 500 && !self.is_not_enabled()
    }

    pub(super) fn text(&self) -> String {
        format!("{} (error {})", self.description, self.err_code)
    }
}

// ===== requests =====

/// Asks the API.
///
/// # Errors
/// As [`Failed`] says.
pub(super) async fn call<T: DeserializeOwned>(
    line: &Line,
    method: &str,
    body: &impl Serialize,
) -> Result<T, Failed> {
    let subject = format!("$JS.API.{method}");
    // Structs of strings and numbers: there is nothing in them that JSON cannot have.
    let payload = serde_json::to_vec(body).unwrap_or_default();
    let request = Request::new().payload(payload.into()).timeout(Some(TRY));
    let since = line.mark();
    let message = tokio::select! {
        biased;
        message = request_on(&line.client, &subject, request) => message?,
        () = line.told_lost() => return Err(Failed::Lost),
        why = line.refused(PUBLISH, &subject, since) => return Err(Failed::Denied(why)),
    };
    read(&message.payload)
}

/// Whether an id can stand in its header.
pub(super) fn is_id(id: &str) -> bool {
    !id.contains(['\r', '\n'])
}

/// How many bytes the header with the id takes, which count as the event's.
pub(super) fn id_size(id: &str) -> usize {
    "NATS/1.0\r\n".len() + ID.len() + ": \r\n\r\n".len() + id.len()
}

/// Publishes an event on a subject that a stream has, and waits for the stream.
///
/// # Errors
/// As [`Failed`] says.
pub(super) async fn store(
    line: &Line,
    subject: &str,
    id: &str,
    payload: Bytes,
) -> Result<(), Failed> {
    let since = line.mark();
    let mut headers = HeaderMap::new();
    headers.insert(ID, id);
    let request = Request::new()
        .payload(payload)
        .headers(headers)
        .timeout(Some(TRY));
    let message = tokio::select! {
        biased;
        message = request_on(&line.client, subject, request) => message?,
        () = line.told_lost() => return Err(Failed::Lost),
        why = line.refused(PUBLISH, subject, since) => return Err(Failed::Denied(why)),
    };
    read_stored(&message.payload)
}

async fn request_on(client: &Client, subject: &str, request: Request) -> Result<Message, Failed> {
    let answer = client.send_request(subject.to_owned(), request).await;
    answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => Failed::Nobody,
        RequestErrorKind::TimedOut => Failed::Late(format!("no answer within {TRY:?}")),
        _ => Failed::Late(shown(error)),
    })
}

fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Failed> {
    match serde_json::from_slice(payload) {
        Ok(Answer::Good(good)) => Ok(good),
        Ok(Answer::Refusal { error }) => Err(Failed::Answer(error)),
        Err(error) => Err(Failed::Late(format!(
            "expected an answer of JetStream: {error}"
        ))),
    }
}

/// An answer that names no stream and number is none.
pub(super) fn read_stored(payload: &[u8]) -> Result<(), Failed> {
    match serde_json::from_slice(payload) {
        Ok(Stored {
            error: Some(refusal),
            ..
        }) => Err(Failed::Answer(refusal)),
        Ok(Stored {
            stream: Some(_),
            seq: Some(_),
            ..
        }) => Ok(()),
        Ok(_) => Err(Failed::Late(
            "expected an answer of JetStream with a stream and a number".to_owned(),
        )),
        Err(error) => Err(Failed::Late(format!(
            "expected an answer of JetStream: {error}"
        ))),
    }
}

impl From<Lost> for Failed {
    fn from(lost: Lost) -> Failed {
        match lost {
            Lost::Connection => Failed::Lost,
            Lost::Refused(why) => Failed::Denied(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        read_stored(br#"{"stream":"S","seq":7,"duplicate":true}"#).unwrap();
        let refused = read_stored(
            br#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}"#,
        );
        let Err(Failed::Answer(refusal)) = refused else {
            panic!("expected a refusal");
        };
        assert!(refusal.is_temporary() && !refusal.is_taken());
        assert_eq!(refusal.text(), "maximum bytes exceeded (error 10077)");
        for bad in [&b""[..], b"[]", b"{}", b"{\"stream\":1,\"seq\":1}", b"\xff"] {
            assert!(matches!(read_stored(bad), Err(Failed::Late(_))), "{bad:?}");
        }
    }
}
