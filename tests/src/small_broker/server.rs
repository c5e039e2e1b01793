//! The server.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use super::frame::{self, Frame, number, text};
use super::state::{Key, State};

/// How long a subscription waits before it looks for retries that are due.
const LOOK: Duration = Duration::from_millis(20);

/// What a server does worse than it says, for suites that have to find out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Careless {
    /// Nothing.
    #[default]
    No,
    /// It confirms what it has in memory alone.
    Forgets,
    /// It takes an event as acknowledged once it is handed out.
    HandsOutOnce,
}

/// The server of the small broker.
#[derive(Debug)]
pub struct Server {
    state: Mutex<State>,
    changed: Notify,
    careless: Careless,
}

// ===== impl Server =====

impl Server {
    /// Listens at this address and serves until the process ends, with what this file holds.
    ///
    /// # Errors
    /// The file or the address cannot be had.
    pub async fn serve(address: &str, file: &Path, careless: Careless) -> io::Result<()> {
        let file = (careless != Careless::Forgets).then_some(file);
        let server = Arc::new(Server {
            state: Mutex::new(State::open(file).await?),
            changed: Notify::new(),
            careless,
        });
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                // A connection that fails is one that is gone.
                let _ = server.answer(stream).await;
            });
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (mut reader, mut writer) = stream.into_split();
        loop {
            let request = frame::read(&mut reader).await?;
            if text(&request, 0) == "subscribe" {
                let (frames, received) = mpsc::channel(1);
                let reading = async move {
                    while let Ok(frame) = frame::read(&mut reader).await {
                        if frames.send(frame).await.is_err() {
                            return;
                        }
                    }
                };
                let serving = self.subscription(&request, received, writer);
                return tokio::join!(reading, serving).1;
            }
            self.state().publish(&request)?;
            self.changed.notify_waiters();
            frame::write(&mut writer, &vec![b"done".to_vec()]).await?;
        }
    }

    /// Serves a subscription, and takes back what it held when it is gone.
    async fn subscription(
        &self,
        request: &Frame,
        mut received: mpsc::Receiver<Frame>,
        mut writer: OwnedWriteHalf,
    ) -> io::Result<()> {
        let key: Key = (text(request, 2), text(request, 3));
        let kept = text(request, 1) == "keep";
        let member = self.state().join(&key, kept)?;
        let served = async {
            frame::write(&mut writer, &vec![b"done".to_vec()]).await?;
            let room = usize::try_from(number(request, 4)).unwrap_or(1);
            self.hand_out(&key, member, kept, room, &mut received, &mut writer)
                .await
        };
        let said_bye = served.await;
        let own = key.1.starts_with('~');
        let ends = own && (!kept || matches!(said_bye, Ok(true)));
        self.state().leave(&key, member, ends)?;
        self.changed.notify_waiters();
        if said_bye? {
            frame::write(&mut writer, &vec![b"gone".to_vec()]).await?;
        }
        Ok(())
    }

    /// Hands out and settles until the subscriber leaves; whether it said so.
    async fn hand_out(
        &self,
        key: &Key,
        member: u64,
        kept: bool,
        room: usize,
        received: &mut mpsc::Receiver<Frame>,
        writer: &mut OwnedWriteHalf,
    ) -> io::Result<bool> {
        let settled_already = !kept || self.careless == Careless::HandsOutOnce;
        loop {
            let changed = self.changed.notified();
            let next = self.state().next(key, member, room, settled_already)?;
            if let Some(event) = next {
                frame::write(writer, &event).await?;
                // Between two events the subscriber is heard.
                while let Ok(frame) = received.try_recv() {
                    if self.settle(key, member, &frame, writer).await? {
                        return Ok(true);
                    }
                }
                continue;
            }
            tokio::select! {
                frame = received.recv() => match frame {
                    Some(frame) => {
                        if self.settle(key, member, &frame, writer).await? {
                            return Ok(true);
                        }
                    }
                    None => return Ok(false),
                },
                () = changed => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    /// Does as the subscriber says; whether it left.
    async fn settle(
        &self,
        key: &Key,
        member: u64,
        frame: &Frame,
        writer: &mut OwnedWriteHalf,
    ) -> io::Result<bool> {
        if text(frame, 0) == "bye" {
            return Ok(true);
        }
        self.state().settle(key, member, frame)?;
        self.changed.notify_waiters();
        let answer = vec![b"settled".to_vec(), text(frame, 1).into_bytes()];
        frame::write(writer, &answer).await?;
        Ok(false)
    }
}
