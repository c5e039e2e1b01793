//! The task of a subscription at most once: core NATS, as go-micro's.

use std::sync::Arc;

use async_nats::Subscriber;
use tokio::sync::{oneshot, watch};
use tokio::task::coop::unconstrained;
use tokio::time::sleep;
use tracing::info;

use super::backlog::{Backlog, LOOK, Seen};
use super::hub::Hub;
use super::line::{Line, Lost, SUBSCRIBE};
use super::streams::denied;
use crate::broker::Topic;
use crate::error::Error;

/// Subscribes on every connection that there is, until `stop` says so.
pub(super) async fn run(
    hub: Hub,
    topic: Topic,
    backlog: Arc<Backlog<Subscriber>>,
    ready: oneshot::Sender<Result<(), Error>>,
    mut stop: watch::Receiver<bool>,
) {
    let _open = hub.open();
    let subscribed = tokio::select! {
        subscribed = first(&hub, &topic) => subscribed,
        () = stopped(&mut stop) => return,
    };
    let (mut line, (subscriber, mut since)) = match subscribed {
        Ok(subscribed) => subscribed,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    backlog.attach(subscriber);
    if ready.send(Ok(())).is_err() {
        return;
    }
    loop {
        tokio::select! {
            () = unconstrained(receive(&hub, &line, &backlog)) => {}
            // Taken back: it was allowed once.
            why = line.refused(SUBSCRIBE, topic.name(), since) => {
                unconstrained(async { detach(&hub, &backlog) }).await;
                backlog.end(Some(denied(&why)));
                return;
            }
            () = stopped(&mut stop) => break,
        }
        // What the old connection still brings would be there twice.
        drop(unconstrained(async { detach(&hub, &backlog) }).await);
        let again = tokio::select! {
            again = again(&hub, &topic) => again,
            () = stopped(&mut stop) => {
                backlog.end(None);
                return;
            }
        };
        match again {
            Ok((again, (subscriber, mark))) => {
                (line, since) = (again, mark);
                backlog.attach(subscriber);
            }
            Err(error) => {
                backlog.end(Some(error));
                return;
            }
        }
        info!(topic = topic.name(), "Subscribed over NATS again");
    }
    // No event comes any more once the server knows; whoever waits for that waits no longer than for a flush.
    let subscriber = unconstrained(async { detach(&hub, &backlog) }).await;
    if let Some(mut subscriber) = subscriber
        && subscriber.unsubscribe().await.is_ok()
    {
        let _ = line.flush().await;
    }
    backlog.end(None);
}

/// Takes what has come; gives back what it came from.
fn detach(hub: &Hub, backlog: &Backlog<Subscriber>) -> Option<Subscriber> {
    let (subscriber, dropped) = backlog.detach();
    hub.add_dropped(dropped);
    subscriber
}

/// Subscribes for the first time, when there is a connection.
async fn first(hub: &Hub, topic: &Topic) -> Result<(Arc<Line>, Subscribed), Error> {
    loop {
        let line = hub.line().await?;
        match subscribe(&line, topic).await {
            Ok(subscribed) => return Ok((line, subscribed)),
            Err(Lost::Refused(why)) => return Err(denied(&why)),
            Err(Lost::Connection) => line.told_lost().await,
        }
    }
}

/// Subscribes again, however long the servers refuse us: who has been in is let in again some day.
async fn again(hub: &Hub, topic: &Topic) -> Result<(Arc<Line>, Subscribed), Error> {
    loop {
        let line = hub.line_at_last().await;
        match subscribe(&line, topic).await {
            Ok(subscribed) => return Ok((line, subscribed)),
            Err(Lost::Refused(why)) => return Err(denied(&why)),
            Err(Lost::Connection) => line.told_lost().await,
        }
    }
}

/// A subscription that the server is known to have, and the mark from which on refusals are of it.
type Subscribed = (Subscriber, u64);

async fn subscribe(line: &Line, topic: &Topic) -> Result<Subscribed, Lost> {
    let since = line.mark();
    let subject = topic.name().to_owned();
    let subscribed = async {
        match topic.queue_name() {
            Some(queue) => {
                let queue = queue.to_owned();
                line.client.queue_subscribe(subject, queue).await
            }
            None => line.client.subscribe(subject).await,
        }
    };
    let subscriber = tokio::select! {
        subscribed = subscribed => subscribed.map_err(|_| Lost::Connection)?,
        () = line.told_lost() => return Err(Lost::Connection),
    };
    // Twice: the first answer comes behind the server's refusal, on another way through the library.
    line.flush().await?;
    line.flush().await?;
    match line.refusal(SUBSCRIBE, topic.name(), since) {
        Some(why) => Err(Lost::Refused(why)),
        None => Ok((subscriber, since)),
    }
}

/// Sees to what comes faster than it is handled, until the connection is lost.
async fn receive(hub: &Hub, line: &Line, backlog: &Backlog<Subscriber>) {
    let lost = line.told_lost();
    tokio::pin!(lost);
    loop {
        // First whoever handles events has time to take them.
        tokio::select! {
            () = &mut lost => return,
            () = sleep(LOOK) => {}
        }
        match backlog.look() {
            Seen::Some(dropped) => hub.add_dropped(dropped),
            Seen::Nothing => tokio::select! {
                () = &mut lost => return,
                () = backlog.come() => {}
            },
            Seen::End => return,
        }
    }
}

/// Resolves when the subscription is to end.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Gone without a word is the end as well.
    let _ = stop.wait_for(|stop| *stop).await;
}
