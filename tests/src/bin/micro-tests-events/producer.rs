//! Publishes numbers, and notes those that are acknowledged.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use micro_runtime::broker::{Broker as _, Message, Publisher};
use micro_runtime::{Deadline, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval};

use crate::{Settings, asked_to_end, now, wrong};

/// Between two writes of the log, each of which is brought to the disk.
const BATCH: Duration = Duration::from_millis(100);

/// How long a publish may take: longer than any broker needs to come back.
const PATIENCE: Duration = Duration::from_secs(40);

/// One turn of so many publishes that many together, the others one.
const TOGETHER: usize = 4;

/// Events with the same remainder have the same key.
const KEYS: u64 = 8;

/// A number that is acknowledged. It is in flight until it is in the log.
struct Acknowledged {
    number: u64,
    when: u128,
    _room: OwnedSemaphorePermit,
}

pub(crate) async fn run(settings: &Settings) -> Result<(), Error> {
    let log = settings.text("log")?;
    // A life before this one ended anywhere: it goes on behind what is known to be acknowledged.
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let known = text
        .lines()
        .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok());
    let mut number = known.max().unwrap_or_default();
    let file = File::options().create(true).append(true).open(log);
    let file = file.map_err(wrong)?;

    let (broker, topic) = (settings.broker()?, settings.text("topic")?);
    let level = settings.level()?;
    let publisher = Publisher::<String>::new(&broker, topic)
        .delivery(level)?
        .timeout(PATIENCE);
    let in_flight: usize = settings.number("in-flight")?;
    let room = Arc::new(Semaphore::new(in_flight));
    let (acknowledged, noted) = mpsc::channel(in_flight);
    let writer = tokio::spawn(write(file, noted));
    let mut pace = interval(Duration::from_secs(1) / settings.number::<u32>("rate")?);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    println!("produces from {}", number + 1);

    let producing = async {
        for turn in 0_usize.. {
            pace.tick().await;
            let events = match turn.is_multiple_of(TOGETHER) {
                true => TOGETHER as u64,
                false => 1,
            };
            // The semaphore is never closed.
            let room = Arc::clone(&room).acquire_many_owned(events as u32);
            let mut permit = room.await.map_err(wrong)?;
            let first = number + 1;
            number += events;
            let messages: Vec<_> = (first..=number)
                .map(|number| {
                    Message::new(topic, number.to_string())
                        .key((number % KEYS).to_string())
                        .id(format!("{topic}-{number}"))
                        .header("content-type", "text/plain")
                })
                .collect();
            let (publisher, broker) = (publisher.clone(), broker.clone());
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move {
                let failed = match <[Message; 1]>::try_from(messages) {
                    Ok([message]) => {
                        let published = publisher.publish_raw(message).await;
                        published
                            .err()
                            .map(|error| (0, error))
                            .into_iter()
                            .collect()
                    }
                    Err(many) => {
                        let deadline = Deadline::after(PATIENCE);
                        broker.publish_all(many, level, deadline).await
                    }
                };
                for (place, error) in &failed {
                    let number = first + *place as u64;
                    println!("{number} is not known to be kept: {error:?}");
                }
                for place in 0..events as usize {
                    let (number, room) = (first + place as u64, permit.split(1));
                    let (false, Some(_room)) =
                        (failed.iter().any(|(failed, _)| *failed == place), room)
                    else {
                        continue;
                    };
                    let when = now();
                    let one = Acknowledged {
                        number,
                        when,
                        _room,
                    };
                    // The writer ends last.
                    let _ = acknowledged.send(one).await;
                }
            });
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = producing => ended,
        asked = asked_to_end() => asked,
    };
    drop(acknowledged);
    // It ends when the last publish is done and noted.
    writer.await.map_err(wrong)??;
    ended
}

async fn write(mut file: File, mut noted: mpsc::Receiver<Acknowledged>) -> Result<(), Error> {
    let mut batches = interval(BATCH);
    let mut batch = Vec::new();
    loop {
        batches.tick().await;
        batch.clear();
        if noted.recv_many(&mut batch, usize::MAX).await == 0 {
            return Ok(());
        }
        let lines = batch
            .iter()
            .map(|one| format!("{} {}\n", one.number, one.when));
        file.write_all(lines.collect::<String>().as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(wrong)?;
    }
}
