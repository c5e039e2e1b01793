//! What is declared: exchanges, queues, bindings.
//!
//! A declaration that the server refuses closes its channel, so each set has one of its own.

use std::time::Duration;

use lapin::options::{
    ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};
use tracing::warn;

use super::config::{Config, QueueKind, SHORT_MAX};
use super::fault::{
    ACCESS_REFUSED, Fault, NOT_FOUND, PRECONDITION_FAILED, RESOURCE_LOCKED, reply, shown,
};
use super::link::Connected;
use crate::broker::{Delivery, Topic};

/// The versions from which on the server knows an argument, and would count without it.
const LIMITS_SINCE: (u32, u32) = (4, 0);
const TIMEOUTS_SINCE: (u32, u32) = (3, 12);

const LIMIT: &str = "x-delivery-limit";
pub(super) const TIMEOUT: &str = "x-consumer-timeout";

/// How long a handler may have an event before the server takes it away: longer than any handler runs. In
/// milliseconds; 30 days.
pub(super) const HANDLING_MAX: i64 = 30 * 86_400 * 1000;

/// How long a queue of one subscriber at most once stays when its subscriber never began to read it.
const UNREAD: Duration = Duration::from_secs(60);

/// The queue of a subscription.
pub(super) struct QueueName(String);

// ===== impl QueueName =====

impl QueueName {
    /// The queue's name: go-micro's, which is the queue's alone, at most once; at least once one for each topic
    /// and queue, or for each subscriber. Empty where the server is to make one up.
    ///
    /// # Errors
    /// It is longer than AMQP allows.
    pub(super) fn of(topic: &Topic) -> Result<QueueName, Fault> {
        let name = match (topic.level(), topic.queue_name()) {
            (Delivery::AtMostOnce, queue) => queue.unwrap_or_default().to_owned(),
            (Delivery::AtLeastOnce, Some(queue)) => format!("{}/{queue}", topic.name()),
            (Delivery::AtLeastOnce, None) => {
                format!("{}/{}", topic.name(), uuid::Uuid::new_v4())
            }
        };
        if name.len() > SHORT_MAX {
            return Err(Fault::Config(format!(
                "expected a topic and a queue of at most {SHORT_MAX} bytes together, found {name:?}"
            )));
        }
        Ok(QueueName(name))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name that was checked.
fn name(text: &str) -> Result<ShortString, Fault> {
    ShortString::try_new(text).map_err(|error| Fault::Config(format!("{text:?}: {error}")))
}

async fn channel(connected: &Connected) -> Result<Channel, Fault> {
    let channel = connected.connection.create_channel().await;
    channel.map_err(|error| Fault::Lost(shown(&error)))
}

/// Declares the exchanges of a level.
///
/// # Errors
/// They are there and differ, or may not be declared.
pub(super) async fn exchanges(
    connected: &Connected,
    config: &Config,
    level: Delivery,
) -> Result<(), Fault> {
    let channel = channel(connected).await?;
    let durable = config.durable();
    exchange(&channel, config, &config.exchange, config.durable_exchange).await?;
    if level == Delivery::AtLeastOnce && durable != config.exchange {
        exchange(&channel, config, &durable, true).await?;
        // What goes there goes on to go-micro's, where Go's subscribers are. A queue that both lead to gets it
        // once. Gone with go-micro's exchange when the server restarts, and made again with each connection.
        let bound = channel.exchange_bind(
            name(&config.exchange)?,
            name(&durable)?,
            "#".into(),
            ExchangeBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.map_err(|error| {
            refused(&error, || {
                format!(
                    "cannot bind the exchange {:?} to {durable:?}",
                    config.exchange
                )
            })
        })?;
    }
    close(channel).await;
    Ok(())
}

async fn exchange(
    channel: &Channel,
    config: &Config,
    exchange: &str,
    durable: bool,
) -> Result<(), Fault> {
    let options = ExchangeDeclareOptions {
        durable,
        ..ExchangeDeclareOptions::default()
    };
    let declared = channel.exchange_declare(
        name(exchange)?,
        ExchangeKind::Topic,
        options,
        FieldTable::default(),
    );
    declared.await.map_err(|error| {
        refused(&error, || {
            let what = if durable { "durable" } else { "not durable" };
            let way = if exchange == config.exchange {
                "declare it alike on every side (RabbitMq::durable_exchange, as go-micro's DurableExchange), name \
                 another one (RabbitMq::exchange), or delete it"
            } else {
                "delete it, or name another one (RabbitMq::exchange)"
            };
            format!("expected the exchange {exchange:?} of type topic, {what}; {way}")
        })
    })
}

/// Declares the queue of a subscription and binds it. Returns its name.
///
/// # Errors
/// It is there and differs, or may not be declared.
pub(super) async fn queue(
    connected: &Connected,
    config: &Config,
    topic: &Topic,
    queue: &QueueName,
) -> Result<ShortString, Fault> {
    exchanges(connected, config, topic.level()).await?;
    let (channel, declared) = match topic.level() {
        Delivery::AtMostOnce => {
            let channel = channel(connected).await?;
            let declared = transient(&channel, queue.as_str()).await?;
            (channel, declared)
        }
        Delivery::AtLeastOnce => durable(connected, config, topic, queue.as_str()).await?,
    };
    let mut sources = vec![config.exchange.clone()];
    if topic.level() == Delivery::AtLeastOnce && config.durable() != config.exchange {
        // First the one that what is published at least once comes by.
        sources.insert(0, config.durable());
    }
    for source in sources {
        let bound = channel.queue_bind(
            declared.clone(),
            name(&source)?,
            name(topic.name())?,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bound.await.map_err(|error| {
            refused(&error, || {
                format!(
                    "cannot bind the queue {:?} to the exchange {source:?}",
                    declared.as_str()
                )
            })
        })?;
    }
    close(channel).await;
    Ok(declared)
}

/// go-micro's queue: not durable, gone with its last reader. One that is nobody else's ends with the connection,
/// too, which Go leaves to the server.
async fn transient(channel: &Channel, queue: &str) -> Result<ShortString, Fault> {
    let own = queue.is_empty();
    let options = QueueDeclareOptions {
        auto_delete: true,
        exclusive: own,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    if own {
        arguments.insert("x-expires".into(), milliseconds(UNREAD));
    }
    let declared = channel
        .queue_declare(name(queue)?, options, arguments)
        .await;
    let declared = declared.map_err(|error| {
        refused(&error, || {
            format!(
                "expected the queue {queue:?} as go-micro declares it, not durable and deleted with its last \
                 reader, for delivery at most once; use another queue name, delete that queue, or subscribe with \
                 Delivery::AtLeastOnce, which has queues of its own"
            )
        })
    })?;
    Ok(declared.name().clone())
}

/// A durable queue, on a channel that it leaves open.
async fn durable(
    connected: &Connected,
    config: &Config,
    topic: &Topic,
    queue: &str,
) -> Result<(Channel, ShortString), Fault> {
    let own = topic.queue_name().is_none();
    let mut arguments = FieldTable::default();
    let kind = AMQPValue::LongString(config.kind.name().into());
    arguments.insert("x-queue-type".into(), kind);
    if own {
        arguments.insert("x-expires".into(), milliseconds(config.absence));
    }
    let mut unlimited = arguments.clone();
    let version = connected.tap.version().unwrap_or_default();
    // By itself the server drops an event that was given back 20 times (4.0), and takes one away that is worked
    // on for 30 minutes. How often is ours to say, and a handler may take its time. Before 4.0 a limit below
    // none would be one of none, so it is not said there.
    if config.kind == QueueKind::Quorum && version >= LIMITS_SINCE {
        unlimited.insert(LIMIT.into(), AMQPValue::LongLongInt(-1));
    }
    if version >= TIMEOUTS_SINCE {
        unlimited.insert(TIMEOUT.into(), AMQPValue::LongLongInt(HANDLING_MAX));
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel(connected).await?;
    let refusal = match declared
        .queue_declare(name(queue)?, options, unlimited.clone())
        .await
    {
        Ok(made) => return Ok((declared, made.name().clone())),
        Err(error) => error,
    };
    let text = reply(&refusal).map(|(_, text)| text).unwrap_or_default();
    if unlimited != arguments && (text.contains(LIMIT) || text.contains(TIMEOUT)) {
        // It was made by an older server, or this one does not take the argument.
        let declared = channel(connected).await?;
        if let Ok(made) = declared
            .queue_declare(name(queue)?, options, arguments)
            .await
        {
            warn!(
                queue,
                text,
                "A queue has the limits of RabbitMQ's: it may drop an event that failed often, and take one away \
                 from a handler that is slow; delete the queue when it is empty, it is then made without them"
            );
            return Ok((declared, made.name().clone()));
        }
    }
    let kind = config.kind.name();
    Err(refused(&refusal, || {
        format!(
            "expected the queue {queue:?} as a durable one of type {kind}; set the type that it has \
             (RabbitMq::queue_kind), delete that queue when it is empty, or subscribe with another queue name"
        )
    }))
}

/// Whether a queue is there.
pub(super) async fn exists(connected: &Connected, queue: &str) -> Result<bool, Fault> {
    let channel = channel(connected).await?;
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let found = channel
        .queue_declare(name(queue)?, options, FieldTable::default())
        .await;
    match found {
        Ok(_) => {
            close(channel).await;
            Ok(true)
        }
        Err(error) if reply(&error).is_some_and(|(code, _)| code == NOT_FOUND) => Ok(false),
        Err(error) => Err(Fault::Lost(shown(&error))),
    }
}

fn milliseconds(time: Duration) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

async fn close(channel: Channel) {
    // It has served; an error would say that the connection is gone, which others notice.
    let _ = channel.close(200, "done".into()).await;
}

/// What became of a declaration, with what was expected and the way out.
fn refused(error: &lapin::Error, expected: impl FnOnce() -> String) -> Fault {
    match reply(error) {
        Some((code, text))
            if matches!(code, PRECONDITION_FAILED | RESOURCE_LOCKED)
                || text.contains("deprecated") =>
        {
            Fault::Config(format!("{}; RabbitMQ found: {text}", expected()))
        }
        Some((ACCESS_REFUSED, text)) => Fault::Config(format!(
            "{}; RabbitMQ says: {text}; give the user the right to configure, write and read it",
            expected()
        )),
        _ => Fault::Lost(shown(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_named_as_their_level_wants() {
        let name = |topic: &Topic| QueueName::of(topic).map(|name| name.0);
        let topic = Topic::new("orders.placed");
        assert_eq!(name(&topic).unwrap(), "");
        assert_eq!(name(&topic.clone().queue("billing")).unwrap(), "billing");
        let topic = topic.delivery(Delivery::AtLeastOnce);
        let shared = name(&topic.clone().queue("billing")).unwrap();
        assert_eq!(shared, "orders.placed/billing");
        let (one, two) = (name(&topic).unwrap(), name(&topic).unwrap());
        assert!(one.starts_with("orders.placed/") && one != two);
        let long = topic.queue("q".repeat(245));
        assert!(matches!(name(&long), Err(Fault::Config(text)) if text.contains("at most 255")));
    }
}
