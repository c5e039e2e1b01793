//! Publishing, with both promises.

use redis::{Pipeline, RedisResult, Value};
use tokio::time::{sleep, timeout_at};

use super::config::Config;
use super::link::{FIRST_PAUSE, LONGEST_PAUSE, Link, Up};
use super::refusal::Refusal;
use super::stream::entry;
use crate::backoff::Backoff;
use crate::broker::{Message, envelope};
use crate::deadline::Deadline;
use crate::error::{Error, ErrorKind};

/// Hands a message to the subscribers of its channel. What the server has refused is tried again; what may have
/// reached it is not.
pub(super) async fn at_most_once(
    link: &Link,
    message: Message,
    deadline: Deadline,
) -> Result<(), Error> {
    let payload = envelope::write(&message.headers, &message.body);
    let mut command = redis::cmd("PUBLISH");
    command.arg(&message.topic).arg(&payload);
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let mut up = link.connection(deadline).await?;
        let answered = command.query_async::<i64>(&mut up.connection);
        let refusal = match timeout_at(deadline.instant(), answered).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) if error.is_io_error() => {
                return Err(Refusal::of(&error).into_error("the event may be lost"));
            }
            Ok(Err(error)) => Refusal::of(&error),
            Err(_) => return Err(late(&message.topic, None)),
        };
        pause(link, &up, refusal, &message.topic, &mut backoff, deadline).await?;
    }
}

/// Appends a message to its topic's stream, again and again until the server says that it is there.
pub(super) async fn at_least_once(
    link: &Link,
    config: &Config,
    message: Message,
    deadline: Deadline,
) -> Result<(), Error> {
    let payload = envelope::write(&message.headers, &message.body);
    let mut pipeline = Pipeline::with_capacity(2);
    let key = config.key(&message.topic);
    entry::add(&mut pipeline, &key, &message.id, &payload, config.max_len);
    if config.channels {
        pipeline.cmd("PUBLISH").arg(&message.topic).arg(&payload);
    }
    pipeline.ignore_errors();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut last = None;
    loop {
        let mut up = match link.connection(deadline).await {
            Ok(up) => up,
            Err(error) => {
                return Err(last.map_or(error, |refusal| late(&message.topic, Some(&refusal))));
            }
        };
        let answered = pipeline.query_async::<Vec<RedisResult<Value>>>(&mut up.connection);
        let answers = match timeout_at(deadline.instant(), answered).await {
            Ok(answers) => answers,
            Err(_) => return Err(late(&message.topic, last.as_ref())),
        };
        // Whether the channel's subscribers were told is no part of the promise.
        let error = match answers.map(|answers| answers.into_iter().next()) {
            Ok(Some(Ok(_))) => return Ok(()),
            Ok(Some(Err(error))) | Err(error) => error,
            Ok(None) => return Err(late(&message.topic, last.as_ref())),
        };
        let refusal = Refusal::of(&error);
        last = Some(refusal.clone());
        pause(link, &up, refusal, &message.topic, &mut backoff, deadline).await?;
    }
}

/// Waits before the next try, if there is to be one.
async fn pause(
    link: &Link,
    up: &Up,
    refusal: Refusal,
    topic: &str,
    backoff: &mut Backoff,
    deadline: Deadline,
) -> Result<(), Error> {
    link.hears(up, &refusal);
    if refusal.is_final() {
        return Err(refusal.into_error(&format!("cannot publish to {topic:?}")));
    }
    if timeout_at(deadline.instant(), sleep(backoff.next()))
        .await
        .is_err()
    {
        return Err(late(topic, Some(&refusal)));
    }
    Ok(())
}

fn late(topic: &str, last: Option<&Refusal>) -> Error {
    let why = last.map_or("the server gave no answer", Refusal::why);
    Error::new(
        ErrorKind::Broker,
        format_args!("redis did not confirm an event of {topic:?} before the deadline: {why}"),
    )
}
