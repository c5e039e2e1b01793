//! `micro publish …`.

use micro_runtime::Service;
use micro_runtime::broker::{Broker as _, Delivery, Event, Message, Publisher};

use crate::arguments::Publish;
use crate::object;

/// Publishes a JSON object; what to print when the broker has it.
pub(crate) async fn run(service: &Service, publish: &Publish) -> Result<String, String> {
    let event = object(&publish.event, "the event")?;
    let topic = &publish.topic;
    let wrong = |error| format!("error publishing to {topic}: {error:?}");
    let delivery = match publish.at_least_once {
        true => Delivery::AtLeastOnce,
        false => Delivery::AtMostOnce,
    };
    let publisher: Publisher<Event> = service.publisher(topic.as_str());
    let publisher = publisher.delivery(delivery).map_err(wrong)?;
    let message =
        Message::new(topic.as_str(), event.to_string()).header("content-type", "application/json");
    let mut sent = publisher.publish_raw(message);
    for (name, value) in &publish.metadata {
        sent = sent.metadata(name, value);
    }
    if let Some(key) = &publish.key {
        sent = sent.key(key);
    }
    if let Some(timeout) = publish.timeout {
        sent = sent.timeout(timeout);
    }
    sent.await.map_err(wrong)?;
    service.broker().close().await;
    Ok("ok".to_owned())
}
