//! Notes the events that it is handed, handles and notes them again, and then acknowledges them.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use micro_runtime::broker::{Broker, Delivery, Event, subscribe};
use micro_runtime::{Context, Error, Status};

use crate::{Settings, asked_to_end, now, wrong};

/// How long running handlers may take when it ends.
const GRACE: Duration = Duration::from_secs(10);

/// More than an event needs whose handlers are killed again and again.
const ATTEMPTS: u32 = 1000;

pub(crate) async fn run(settings: &Settings) -> Result<(), Error> {
    let millis = |key: &str| settings.number(key).map(Duration::from_millis);
    let work = millis("work")?;
    let mut topic = settings
        .topic()?
        .concurrency(settings.number("concurrency")?)
        .ack_wait(millis("wait")?);
    if topic.level() == Delivery::AtLeastOnce {
        topic = topic.max_attempts(ATTEMPTS);
    }
    if let Some(queue) = Some(settings.text("queue")?).filter(|queue| !queue.is_empty()) {
        topic = topic.queue(queue);
    }
    let file = |key: &str| {
        let file = File::options()
            .create(true)
            .append(true)
            .open(settings.text(key)?);
        file.map(Arc::new).map_err(wrong)
    };
    let (begun, log) = (file("begun")?, file("log")?);
    let broker = settings.broker()?;
    let subscription = subscribe(&broker, topic, move |_: Context, event: Event| {
        let (begun, log) = (Arc::clone(&begun), Arc::clone(&log));
        async move {
            let number = String::from_utf8_lossy(event.body());
            // In one write, which outlives the process.
            let note = |mut file: &File, line: String| {
                file.write_all(line.as_bytes()).map_err(|error| {
                    Status::internal(format_args!("{number} was not noted: {error}"))
                })
            };
            note(&begun, format!("{number}\n"))?;
            tokio::time::sleep(work).await;
            note(&log, format!("{number} {} {}\n", event.attempt(), now()))
        }
    })?;
    subscription.ready().await?;
    println!("subscribed");
    asked_to_end().await?;
    subscription.stop(GRACE).await;
    broker.close().await;
    Ok(())
}
