//! How an event is settled, and how many are not.

use std::future::{Future, ready};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use lapin::Acker;
use lapin::options::BasicAckOptions;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::consume::Command;
use crate::broker::{Receipt, Settle};
use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// How many events are handed out and not settled. One that waits for its retry is not handed out.
#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    /// Held for short sections without a wait.
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    out: usize,
    waiting: Option<Waker>,
}

/// What settles an event.
pub(super) struct Settling {
    pub(super) acker: Acker,
    /// Its number within its channel.
    pub(super) tag: u64,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    /// Which connection of the subscription it came by.
    pub(super) number: u64,
    pub(super) runtime: Handle,
}

// ===== impl Gate =====

impl Gate {
    pub(super) fn new(most: usize) -> Gate {
        Gate {
            most,
            now: Mutex::default(),
        }
    }

    /// Ready when there is room for one more.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut now = lock(&self.now);
        if now.out < self.most {
            return Poll::Ready(());
        }
        now.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn enter(&self) {
        lock(&self.now).out += 1;
    }

    fn leave(&self) {
        let waiting = {
            let mut now = lock(&self.now);
            now.out = now.out.saturating_sub(1);
            now.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }
}

// ===== impl Settling =====

impl Settling {
    /// The receipt of an event that is handed out.
    pub(super) fn receipt(self, gate: &Arc<Gate>) -> Receipt {
        gate.enter();
        let gate = Arc::clone(gate);
        Receipt::new(move |how| {
            let settled = self.settle(how);
            gate.leave();
            ready(settled)
        })
    }

    /// Has the keeper tell the server. All of them in one line: an acknowledgement may stand for others before it,
    /// and must not overtake the word that one of those has failed.
    fn settle(self, how: Settle) -> Result<(), Error> {
        if !self.acker.usable() {
            return Err(untold("the connection that it came by is gone"));
        }
        let (number, tag) = (self.number, self.tag);
        let command = match how {
            Settle::Ack => Command::Ack(number, tag),
            Settle::Retry(delay) if delay.is_zero() => Command::Failed(number, tag),
            // Kept here, unacknowledged, and given back when its time has come. If we die meanwhile, or lose the
            // connection, it comes at once.
            Settle::Retry(delay) => {
                // Before the timer starts: it must not come back before it has gone.
                self.commands
                    .send(Command::Aside(number))
                    .map_err(|_| ended())?;
                let commands = self.commands;
                self.runtime.spawn(async move {
                    sleep(delay).await;
                    // Where nobody listens any more nothing is read any more, and the server has it back.
                    let _ = commands.send(Command::Back(number, tag));
                });
                return Ok(());
            }
            Settle::Return => Command::Return(number, tag),
        };
        let sent = self.commands.send(command);
        sent.map_err(|_| ended())
    }
}

/// Acknowledges an event that is not settled by anybody later.
pub(super) fn ack_unheard(acker: &Acker) {
    // On a connection that is gone there is nothing to say.
    let _ = put(acker.ack(BasicAckOptions::default()));
}

/// Puts what is to be said in line. The library takes it with the first poll; it is not waited for, since the server
/// answers nothing, and a connection that is lost is found out elsewhere.
pub(super) fn put<T>(saying: impl Future<Output = lapin::Result<T>>) -> lapin::Result<()> {
    let mut saying = pin!(saying);
    match saying
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(said) => said.map(drop),
        Poll::Pending => Ok(()),
    }
}

fn ended() -> Error {
    untold("the subscription has ended")
}

fn untold(why: &str) -> Error {
    Error::new(
        ErrorKind::Broker,
        format_args!("RabbitMQ was not told what became of an event, which comes again: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_lets_so_many_in_and_wakes_who_waits() {
        let gate = Gate::new(2);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(gate.poll_room(&mut cx).is_ready());
            gate.enter();
        }
        assert!(gate.poll_room(&mut cx).is_pending());
        assert!(lock(&gate.now).waiting.is_some());
        gate.leave();
        assert!(lock(&gate.now).waiting.is_none());
        assert!(gate.poll_room(&mut cx).is_ready());
        gate.leave();
        gate.leave();
        assert!(
            gate.poll_room(&mut cx).is_ready(),
            "it never counts below none"
        );
    }
}
