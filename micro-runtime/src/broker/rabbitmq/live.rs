//! [`Live`]: a channel that consumes.
//!
//! # Readers that come and go
//!
//! An event that waits for its retry is held, unacknowledged, and takes up room of its reader. For each of those
//! another reader makes up, which reads one event ahead; it is taken away when the event goes back.
//!
//! What is on its way to a reader that is taken away is in bad hands: a quorum queue takes it back as if it had
//! failed, which uses up an attempt, and a classic queue sends it after its word that the reader is gone, to nobody,
//! where it stays until the channel ends. So a reader of one event is taken away only while that event is here: then
//! nothing is on its way to it. One that is one too many and has nothing goes when its next event has come. With a
//! reader of one event alone, as is usual, the event that waits goes with its own reader, and there is none too many;
//! otherwise there are at most as many too many as there may be events in flight.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use lapin::Channel;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    BasicRejectOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::mpsc;
use tracing::debug;

use super::consume::{Command, Subscription};
use super::declare::{HANDLING_MAX, TIMEOUT};
use super::fault::shown;
use super::inbox::Handed;
use super::link::Connected;
use super::settle::put;
use super::tags::{Ack, Tags};

/// So many events may wait for their retry beside the others; those over that take the place of others.
const ASIDE_MAX: usize = 256;

/// So many deliveries are passed on in one go.
const AT_ONCE: usize = 64;

/// A channel that consumes.
pub(super) struct Live {
    pub(super) connected: Arc<Connected>,
    channel: Channel,
    queue: ShortString,
    readers: Vec<Reader>,
    /// Which one it is, of this subscription's.
    pub(super) number: u64,
    /// How many events the first reader reads ahead.
    prefetch: u16,
    /// How many events wait for their retry.
    asides: usize,
    /// What the server was told of.
    told: Tags,
    /// What is to be acknowledged next.
    acks: Vec<u64>,
    /// No event more is wanted.
    stopped: bool,
    /// A reader is asked for, and not there yet.
    beginning: bool,
}

struct Reader {
    consumer: lapin::Consumer,
    role: Reads,
    /// The last event that it read; 0 before the first.
    last: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// Several events ahead.
    Many,
    /// One event.
    One,
    /// One event, which is there; it is to end.
    Last,
    /// No more.
    Ending,
}

/// Why nothing is passed on for now.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    /// Nothing more can come.
    Lost,
    /// A reader is one too many: see [`Live::trim`].
    Surplus,
}

// ===== impl Live =====

impl Live {
    /// Reads this queue on a channel.
    ///
    /// # Errors
    /// The channel is lost.
    pub(super) async fn open(
        connected: &Arc<Connected>,
        queue: ShortString,
        prefetch: u16,
        number: u64,
    ) -> lapin::Result<Live> {
        let mut live = Live {
            connected: Arc::clone(connected),
            channel: connected.connection.create_channel().await?,
            queue,
            readers: Vec::new(),
            number,
            prefetch,
            asides: 0,
            told: Tags::default(),
            acks: Vec::new(),
            stopped: false,
            beginning: false,
        };
        let role = match prefetch {
            1 => Reads::One,
            _ => Reads::Many,
        };
        live.read(prefetch, role).await?;
        Ok(live)
    }

    pub(super) fn queue(&self) -> &str {
        self.queue.as_str()
    }

    /// Does what was asked for; acknowledgements are only gathered.
    pub(super) async fn carry_out(&mut self, command: Command) -> lapin::Result<()> {
        match command {
            Command::Ack(number, tag) if number == self.number => {
                self.acks.push(tag);
                Ok(())
            }
            Command::Failed(number, tag) if number == self.number => self.reject(tag),
            Command::Return(number, tag) if number == self.number => self.give_back(tag),
            Command::Aside(number) if number == self.number => {
                self.acknowledge()?;
                self.aside().await
            }
            Command::Back(number, tag) if number == self.number => {
                self.acknowledge()?;
                self.back(tag).await
            }
            Command::Stop => self.stop().await,
            // Of a connection that is gone.
            _ => Ok(()),
        }
    }

    /// Acknowledges what was gathered, with few words.
    pub(super) fn acknowledge(&mut self) -> lapin::Result<()> {
        for Ack { tag, multiple } in self.told.acknowledge(&self.acks) {
            put(self.channel.basic_ack(tag, BasicAckOptions { multiple }))?;
        }
        self.acks.clear();
        Ok(())
    }

    /// Gives back an event that failed. Since 4.3 what is rejected counts as failed, and what is nacked does not;
    /// before, both do.
    fn reject(&mut self, tag: u64) -> lapin::Result<()> {
        let back = BasicRejectOptions { requeue: true };
        put(self.channel.basic_reject(tag, back))?;
        self.told.insert(tag);
        Ok(())
    }

    /// Gives back an event that nobody worked on.
    fn give_back(&mut self, tag: u64) -> lapin::Result<()> {
        put(self.channel.basic_nack(tag, RETURN))?;
        self.told.insert(tag);
        Ok(())
    }

    /// Reads the queue, so many events ahead.
    async fn read(&mut self, ahead: u16, role: Reads) -> lapin::Result<()> {
        self.channel
            .basic_qos(ahead, BasicQosOptions::default())
            .await?;
        let mut arguments = FieldTable::default();
        // Known from 4.3 on; older servers have it of the queue, or of their configuration.
        arguments.insert(TIMEOUT.into(), AMQPValue::LongLongInt(HANDLING_MAX));
        let consumer = self.channel.basic_consume(
            self.queue.clone(),
            "".into(),
            BasicConsumeOptions::default(),
            arguments,
        );
        self.beginning = true;
        let consumer = consumer.await?;
        self.beginning = false;
        self.readers.push(Reader {
            consumer,
            role,
            last: 0,
        });
        Ok(())
    }

    /// How many readers of one event there are.
    fn ones(&self) -> usize {
        let ones = self.readers.iter();
        ones.filter(|reader| reader.role == Reads::One).count()
    }

    /// How many there should be.
    fn wanted(&self) -> usize {
        usize::from(self.prefetch == 1) + self.asides.min(ASIDE_MAX)
    }

    /// Makes room for one more, in the place of one that waits for its retry.
    async fn aside(&mut self) -> lapin::Result<()> {
        self.asides += 1;
        if self.stopped || self.ones() >= self.wanted() {
            return Ok(());
        }
        self.read(1, Reads::One).await
    }

    /// Takes the room away again, and gives the event back.
    async fn back(&mut self, tag: u64) -> lapin::Result<()> {
        self.asides = self.asides.saturating_sub(1);
        if self.ones() > self.wanted() {
            let told = &self.told;
            let mut full = self.readers.iter_mut().filter(|reader| {
                reader.role == Reads::One && reader.last > 0 && !told.contains(reader.last)
            });
            // Its own one, rather than another.
            let other = full.next();
            let own = match other {
                Some(reader) if reader.last != tag => {
                    Some(full.find(|reader| reader.last == tag).unwrap_or(reader))
                }
                other => other,
            };
            if let Some(reader) = own {
                reader.role = Reads::Last;
                self.trim().await?;
            }
        }
        self.reject(tag)
    }

    /// Ends the readers that have read their last event. Nothing may be settled before that.
    pub(super) async fn trim(&mut self) -> lapin::Result<()> {
        let last = self.readers.iter_mut();
        for reader in last.filter(|reader| reader.role == Reads::Last) {
            reader.role = Reads::Ending;
            let (tag, options) = (reader.consumer.tag(), BasicCancelOptions::default());
            self.channel.basic_cancel(tag, options).await?;
        }
        Ok(())
    }

    /// Reads no more; what comes all the same goes back. What a classic queue has on its way to a reader goes back
    /// when the channel ends.
    async fn stop(&mut self) -> lapin::Result<()> {
        self.stopped = true;
        for reader in &mut self.readers {
            if reader.role != Reads::Ending {
                reader.role = Reads::Last;
            }
        }
        self.acknowledge()?;
        self.trim().await
    }

    /// Passes on what has come; ready when no more can come, or something is to be done first.
    pub(super) fn pass_on(
        &mut self,
        cx: &mut Context<'_>,
        subscription: &Subscription,
        commands: &mpsc::UnboundedSender<Command>,
    ) -> Poll<Passed> {
        let mut passed = 0;
        let mut index = 0;
        while let Some(reader) = self.readers.get_mut(index) {
            match Pin::new(&mut reader.consumer).poll_next(cx) {
                Poll::Ready(Some(Ok(delivery))) => {
                    reader.last = delivery.delivery_tag;
                    let single = reader.role == Reads::One;
                    let handed = Handed {
                        delivery,
                        commands: commands.clone(),
                        number: self.number,
                    };
                    // One that is stopped takes nothing, and has it given back.
                    subscription.pass_on(handed);
                    if single && self.ones() > self.wanted() {
                        if let Some(reader) = self.readers.get_mut(index) {
                            reader.role = Reads::Last;
                        }
                        return Poll::Ready(Passed::Surplus);
                    }
                    passed += 1;
                    if passed == AT_ONCE {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Poll::Ready(None) if reader.role == Reads::Ending => {
                    self.readers.swap_remove(index);
                }
                Poll::Ready(_) => return Poll::Ready(Passed::Lost),
                Poll::Pending => index += 1,
            }
        }
        Poll::Pending
    }

    /// Ends it: acknowledgements that are in line go first, the rest goes back. Deletes the queue, if it is nobody
    /// else's.
    pub(super) async fn close(&self, own: bool) {
        // The library closes at once, but has a line of its own for acknowledgements, which would then find the
        // channel closed. Channels are made in that line: when one is there, all that stood before it is done.
        let after = self.connected.connection.create_channel().await;
        drop(after);
        if let Err(error) = self.channel.close(200, "closed".into()).await {
            debug!(
                why = shown(&error),
                "a channel of RabbitMQ was lost while it was closed"
            );
            return;
        }
        if !own {
            return;
        }
        let deleted = async {
            let channel = self.connected.connection.create_channel().await?;
            channel
                .queue_delete(self.queue.clone(), QueueDeleteOptions::default())
                .await
        };
        if let Err(error) = deleted.await {
            debug!(
                why = shown(&error),
                "a queue that nobody needs was not deleted, it expires"
            );
        }
    }
}

impl Drop for Live {
    /// The library closes a channel when the last of it is dropped, but keeps a reader that nobody has been given
    /// yet, and its channel with it: that one would be handed events for as long as the connection stands.
    fn drop(&mut self) {
        if self.beginning {
            // A channel that is gone has no reader.
            let _ = put(self.channel.close(200, "given up".into()));
        }
    }
}

const RETURN: BasicNackOptions = BasicNackOptions {
    requeue: true,
    multiple: false,
};
