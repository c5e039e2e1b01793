//! Asking everybody, and gathering the answers.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use async_nats::{Client, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures_core::Stream;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::task::Shared;
use super::wire::{self, Query, Said};
use crate::nats::shown;

/// What we send to ourselves: when it is back, the server has passed on all that was sent before.
const MARKER: &[u8] = b"micro";

/// The most that one question may bring.
const ANSWERS_MAX: usize = 65_536;
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Asks these questions on every query subject, and gathers what is answered within the window, which begins
/// when the server has passed them on. It ends early only if the server says that there is nobody to answer:
/// go-micro's protocol does not say how many will.
///
/// # Errors
///
/// The server could not be reached, or did not pass the questions on within `limit`.
pub(super) async fn ask(
    shared: &Shared,
    client: &Client,
    queries: &BTreeSet<Query>,
    limit: Duration,
) -> Result<Vec<Said>, String> {
    let deadline = Instant::now() + limit;
    let subjects = &shared.config.query_subjects;
    let sent = async {
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await.map_err(shown)?;
        for query in queries {
            for (subject, also_on) in with_first(subjects) {
                let payload = Bytes::from(query.write(also_on));
                client
                    .publish_with_reply(subject.to_owned(), inbox.clone(), payload)
                    .await
                    .map_err(shown)?;
            }
        }
        client
            .publish(inbox, Bytes::from_static(MARKER))
            .await
            .map_err(shown)?;
        Ok::<_, String>(answers)
    };
    let late = || format!("no answer from the server within {limit:?}");
    let mut answers = timeout_at(deadline, sent).await.map_err(|_| late())??;
    let mut found = Vec::new();
    let mut bytes = 0;
    // Nobody listens on a subject: the server says so, once for each question.
    let mut unheard = 0;
    let mut carried = false;
    let mut end = deadline;
    loop {
        let message = match timeout_at(end, next(&mut answers)).await {
            Ok(Some(message)) => message,
            Ok(None) => return Err("the connection was closed".to_owned()),
            Err(_) if carried => return Ok(found),
            Err(_) => return Err(late()),
        };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            unheard += 1;
        } else if &*message.payload == MARKER {
            carried = true;
            end = Instant::now() + shared.config.window;
        } else {
            bytes += message.payload.len();
            match wire::read_answer(&message.payload) {
                Ok(said) => found.push(said),
                Err(why) => shared.warn_of_garbage(&message.subject, &why),
            }
        }
        if carried && unheard == queries.len() * subjects.len() {
            return Ok(found);
        }
        if found.len() >= ANSWERS_MAX || bytes >= BYTES_MAX {
            warn!(
                answers = found.len(),
                bytes, "Too many answers over NATS, further ones are passed over"
            );
            return Ok(found);
        }
    }
}

/// Waits until the server has passed on all that was sent before.
pub(super) async fn carried(
    shared: &Shared,
    client: &Client,
    limit: Duration,
) -> Result<(), String> {
    // No question, so that nobody answers and nothing is waited for.
    ask(shared, client, &BTreeSet::new(), limit).await.map(drop)
}

/// Publishes on each of the subjects. The library waits without end for a connection that is stuck.
pub(super) async fn publish(
    client: &Client,
    subjects: &[String],
    limit: Duration,
    payload: impl Fn(Option<&str>) -> Vec<u8>,
) -> Result<(), String> {
    for (subject, also_on) in with_first(subjects) {
        let published = client.publish(subject.to_owned(), payload(also_on).into());
        timeout(limit, published)
            .await
            .map_err(|_| format!("nothing could be sent within {limit:?}"))?
            .map_err(shown)?;
    }
    Ok(())
}

/// Each subject, the further ones with the first: who listens to both takes what is said once.
fn with_first(subjects: &[String]) -> impl Iterator<Item = (&str, Option<&str>)> {
    let first = subjects.first().map(String::as_str);
    let further = subjects.iter().skip(1);
    first
        .map(|first| (first, None))
        .into_iter()
        .chain(further.map(move |subject| (subject.as_str(), first)))
}

/// The next message; `None` when the connection is closed.
pub(super) async fn next(subscriber: &mut Subscriber) -> Option<Message> {
    std::future::poll_fn(|cx| Pin::new(&mut *subscriber).poll_next(cx)).await
}
