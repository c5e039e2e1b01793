//! Publishing, with what each level promises.

use bytes::Bytes;
use tokio::task::coop::unconstrained;
use tokio::time::{sleep, timeout, timeout_at};
use tracing::debug;

use super::api::{self, Failed};
use super::hub::{BACKOFF, Hub, broker};
use super::line::{Line, Lost};
use super::streams::{Wrong, denied, disabled};
use crate::backoff::Backoff;
use crate::broker::{Delivery, Message, envelope};
use crate::deadline::Deadline;
use crate::error::Error;

/// How many times nobody may answer before it is believed that there is no JetStream; the pauses between them
/// come to a second and a half.
const NOBODY_MAX: u32 = 6;

/// Publishes a message, until the deadline.
pub(super) async fn publish(
    hub: &Hub,
    message: &Message,
    delivery: Delivery,
    deadline: Deadline,
) -> Result<(), Error> {
    let payload = payload_of(message);
    let mut last = None;
    let done = async {
        let _permit = match hub.publishes().try_acquire() {
            Ok(permit) => Ok(permit),
            // The semaphore is never closed.
            Err(_) => hub.publishes().acquire().await,
        };
        match delivery {
            Delivery::AtMostOnce => once(hub, &message.topic, payload).await,
            // In a box, for which the future of one that is published at most once need have no room.
            Delivery::AtLeastOnce => {
                Box::pin(stored(hub, &message.topic, &message.id, payload, &mut last)).await
            }
        }
    };
    // It waits for the server each time, and so lets others run by itself. Some of many that one task publishes would
    // be kept back if they had to share the number of steps that tokio gives a task: they need another round trip then.
    let done = timeout_at(deadline.instant(), done);
    match unconstrained(done).await {
        Ok(done) => done,
        Err(_) => Err(hub.late(&format!("publishing on {:?}", message.topic), last)),
    }
}

/// Resolves when the server has the message.
async fn once(hub: &Hub, topic: &str, payload: Bytes) -> Result<(), Error> {
    let line = hub.line().await?;
    fits(&line, topic, payload.len())?;
    let published = line.publish(topic, payload).await;
    published.map_err(|lost| not_handed_over(lost, topic))
}

/// What is sent of a message.
pub(super) fn payload_of(message: &Message) -> Bytes {
    Bytes::from(envelope::write(&message.headers, &message.body))
}

/// Why a message that was published at most once is not known to be with the server.
pub(super) fn not_handed_over(lost: Lost, topic: &str) -> Error {
    match lost {
        Lost::Refused(why) => denied(&why),
        Lost::Connection => broker(format_args!(
            "the connection to NATS was lost before the server said that it has the event on {topic:?}: nobody \
             knows whether it was delivered; Delivery::AtLeastOnce would publish it again"
        )),
    }
}

/// Resolves when a stream has the message. `last` is why it was not stored yet.
async fn stored(
    hub: &Hub,
    topic: &str,
    id: &str,
    payload: Bytes,
    last: &mut Option<String>,
) -> Result<(), Error> {
    let made;
    let id = if id.is_empty() {
        made = uuid::Uuid::new_v4().simple().to_string();
        &made
    } else {
        id
    };
    if !api::is_id(id) {
        return Err(Error::config(format_args!(
            "expected the id of an event on {topic:?} without line breaks, since it goes into a header of NATS, \
             found {id:?}"
        )));
    }
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    let mut nobody = 0;
    loop {
        let line = hub.line().await?;
        fits(&line, topic, payload.len() + api::id_size(id))?;
        let why = match hub.streams().ready(&line, hub.config(), topic).await {
            Ok(()) => match api::store(&line, topic, id, payload.clone()).await {
                Ok(_) => return Ok(()),
                Err(Failed::Lost) => {
                    // Again under the same id, as soon as there is a connection.
                    line.told_lost().await;
                    continue;
                }
                Err(Failed::Nobody) => {
                    hub.streams().forget(topic);
                    "no stream has the topic any more".to_owned()
                }
                Err(Failed::Answer(refusal)) if refusal.is_temporary() => refusal.text(),
                Err(Failed::Answer(refusal)) => {
                    hub.streams().forget(topic);
                    return Err(broker(format_args!(
                        "the stream of the topic {topic:?} does not take the event: {}",
                        refusal.text()
                    )));
                }
                Err(Failed::Denied(why)) => return Err(denied(&why)),
                Err(Failed::Late(why)) => {
                    // Where somebody else listens, nothing says that the stream is gone.
                    hub.streams().forget(topic);
                    why
                }
            },
            Err(Wrong::Config(error)) => return Err(error),
            Err(Wrong::Later(why)) => why,
            Err(Wrong::Nobody) => {
                nobody += 1;
                if nobody >= NOBODY_MAX {
                    return Err(disabled("nobody answers on $JS.API"));
                }
                "nobody answers on $JS.API".to_owned()
            }
        };
        debug!(topic, id, why, "An event over NATS is published again");
        *last = Some(why);
        sleep(backoff.next()).await;
    }
}

pub(super) fn fits(line: &Line, topic: &str, size: usize) -> Result<(), Error> {
    let most = line.max_payload();
    if size > most {
        return Err(Error::config(format_args!(
            "this NATS carries messages of at most {most} bytes, the event on {topic:?} has {size} in go-micro's \
             JSON form, headers of NATS included: publish less, or raise max_payload of the server"
        )));
    }
    Ok(())
}

/// Waits until what is being published is done, at most this long.
pub(super) async fn drained(hub: &Hub, limit: std::time::Duration) {
    let all = u32::try_from(super::hub::PUBLISHES_MAX).unwrap_or(u32::MAX);
    let _ = timeout(limit, async {
        let _all = hub.publishes().acquire_many(all).await;
        if let Some(line) = hub.up() {
            let _ = line.flush().await;
        }
    })
    .await;
}
