//! A subscription, which connects again by itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use micro_runtime::broker::{Consumer, Delivery, Event, Receipt, Settle, Topic};
use micro_runtime::{Error, Metadata};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::frame::{self, Frame, number};
use super::{AGAIN, failed, level_name};

/// The most events that wait to be taken: more than a server hands out that counts right.
const AHEAD: usize = 4096;

/// What is to be told to the server.
enum Command {
    Settle(u64, Settle, oneshot::Sender<()>),
    Bye(oneshot::Sender<()>),
}

/// An open subscription of the small broker.
#[derive(Debug)]
pub struct SmallConsumer {
    events: mpsc::Receiver<Event>,
    commands: mpsc::UnboundedSender<Command>,
    level: Delivery,
}

/// The side that speaks with the server.
struct Line {
    address: Arc<str>,
    request: Frame,
    topic: Topic,
    events: mpsc::Sender<Event>,
}

type Link = (mpsc::Receiver<Frame>, OwnedWriteHalf);

// ===== impl SmallConsumer =====

impl SmallConsumer {
    pub(super) async fn open(address: Arc<str>, topic: &Topic) -> SmallConsumer {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // A queue of its own has a name that nobody else can give.
        let own = format!("~{}-{count}", std::process::id());
        let room = topic.in_flight().to_string();
        let request = [
            b"subscribe",
            level_name(topic.level()),
            topic.name().as_bytes(),
            topic.queue_name().unwrap_or(&own).as_bytes(),
            room.as_bytes(),
        ];
        let (events, receiver) = mpsc::channel(AHEAD);
        let (commands, told) = mpsc::unbounded_channel();
        let line = Line {
            address,
            request: request.iter().map(|part| part.to_vec()).collect(),
            topic: topic.clone(),
            events,
        };
        let link = line.connect().await;
        tokio::spawn(line.run(link, told, commands.downgrade()));
        SmallConsumer {
            events: receiver,
            commands,
            level: topic.level(),
        }
    }
}

impl Stream for SmallConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(cx).map(|event| event.map(Ok))
    }
}

impl Consumer for SmallConsumer {
    fn stop(&mut self) {
        if self.level == Delivery::AtMostOnce {
            let (done, _) = oneshot::channel();
            // Without a server there is nobody to tell.
            let _ = self.commands.send(Command::Bye(done));
        }
    }

    async fn close(self) {
        let (done, answer) = oneshot::channel();
        if self.commands.send(Command::Bye(done)).is_ok() {
            // Without a server there is nothing to wait for.
            let _ = tokio::time::timeout(Duration::from_secs(2), answer).await;
        }
    }
}

// ===== impl Line =====

impl Line {
    /// Connects and subscribes, as often as that needs.
    async fn connect(&self) -> Link {
        loop {
            match self.try_connect().await {
                Ok(link) => return link,
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    async fn try_connect(&self) -> std::io::Result<Link> {
        let stream = TcpStream::connect(&*self.address).await?;
        let (mut reader, mut writer) = stream.into_split();
        frame::write(&mut writer, &self.request).await?;
        frame::read(&mut reader).await?;
        // A task of its own reads, since a read that is given up half way loses its place.
        let (frames, received) = mpsc::channel(1);
        tokio::spawn(forward(reader, frames));
        Ok((received, writer))
    }

    async fn run(
        self,
        mut link: Link,
        mut told: mpsc::UnboundedReceiver<Command>,
        commands: mpsc::WeakUnboundedSender<Command>,
    ) {
        // Numbers of events are the server's: after a connection is lost, nobody may settle what came over it.
        let mut life = 0_u64;
        let mut waiting: Vec<(u64, oneshot::Sender<()>)> = Vec::new();
        let mut leaving: Option<oneshot::Sender<()>> = None;
        loop {
            tokio::select! {
                frame = link.0.recv() => match frame {
                    Some(frame) if frame::text(&frame, 0) == "event" => {
                        let event = self.event(&frame, life, &commands);
                        if leaving.is_none() && self.events.send(event).await.is_err() {
                            return;
                        }
                    }
                    Some(frame) if frame::text(&frame, 0) == "settled" => {
                        let key = number(&frame, 1);
                        if let Some(place) = waiting.iter().position(|(one, _)| *one == key) {
                            // Nobody may wait for it any more.
                            let _ = waiting.swap_remove(place).1.send(());
                        }
                    }
                    Some(_) => return,
                    None if leaving.is_some() => return,
                    None => {
                        waiting.clear();
                        life += 1;
                        tokio::select! {
                            again = self.connect() => link = again,
                            () = self.events.closed() => return,
                        }
                    }
                },
                command = told.recv() => match command {
                    Some(Command::Settle(key, how, done)) => {
                        if key >> 40 != life {
                            continue;
                        }
                        let key = key & ((1 << 40) - 1);
                        let (word, millis) = match how {
                            Settle::Ack => ("ack", 0),
                            Settle::Retry(delay) => ("retry", delay.as_millis()),
                            _ => ("return", 0),
                        };
                        waiting.push((key, done));
                        let parts = [word.to_owned(), key.to_string(), millis.to_string()];
                        // The reader sees it when the connection is gone.
                        let _ = frame::write(&mut link.1, &parts.map(String::into_bytes).into()).await;
                    }
                    Some(Command::Bye(done)) => {
                        leaving = Some(done);
                        let _ = frame::write(&mut link.1, &vec![b"bye".to_vec()]).await;
                    }
                    None => return,
                },
                () = self.events.closed(), if leaving.is_none() && told.is_empty() => return,
            }
        }
    }

    fn event(
        &self,
        frame: &Frame,
        life: u64,
        commands: &mpsc::WeakUnboundedSender<Command>,
    ) -> Event {
        let key = number(frame, 1) | life << 40;
        let attempt = u32::try_from(number(frame, 2)).unwrap_or(u32::MAX);
        let mut headers = Metadata::new();
        for pair in frame.get(4..).unwrap_or_default().chunks_exact(2) {
            let name = String::from_utf8_lossy(&pair[0]);
            headers.append_bin(name, pair[1].clone());
        }
        let body = frame.get(3).cloned().unwrap_or_default();
        let receipt = (self.topic.level() == Delivery::AtLeastOnce).then(|| {
            let commands = commands.clone();
            Receipt::new(move |how| {
                let (done, answer) = oneshot::channel();
                // Sent here and now: nobody may poll the future of an event that is dropped.
                let told = commands
                    .upgrade()
                    .is_some_and(|commands| commands.send(Command::Settle(key, how, done)).is_ok());
                async move {
                    let answered = told && answer.await.is_ok();
                    answered
                        .then_some(())
                        .ok_or_else(|| failed("the connection over which the event came is gone"))
                }
            })
        });
        Event::new(self.topic.name(), headers, body, attempt, receipt)
    }
}

async fn forward(mut reader: OwnedReadHalf, frames: mpsc::Sender<Frame>) {
    while let Ok(frame) = frame::read(&mut reader).await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}
