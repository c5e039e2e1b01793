//! [`Inbox`]: what was delivered to a subscription, and nobody has looked at yet.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use lapin::message::Delivery as Delivered;
use tokio::sync::mpsc;

use super::consume::Command;
use crate::lock::lock;

/// Deliveries that wait. None of them is acknowledged, so that the prefetch bounds them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Held for short sections without a wait.
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    waiting: VecDeque<Handed>,
    reader: Option<Waker>,
    closed: bool,
}

/// A delivery, with the connection that it came by.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) delivery: Delivered,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) number: u64,
}

// ===== impl Inbox =====

impl Inbox {
    /// Takes a delivery in.
    ///
    /// # Errors
    /// It is closed: the delivery, which is to go back.
    pub(super) fn push(&self, handed: Handed) -> Result<(), Box<Handed>> {
        let reader = {
            let mut now = lock(&self.now);
            if now.closed {
                return Err(Box::new(handed));
            }
            now.waiting.push_back(handed);
            now.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// The next one; none when it is closed.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Handed>> {
        let mut now = lock(&self.now);
        if let Some(handed) = now.waiting.pop_front() {
            return Poll::Ready(Some(handed));
        }
        if now.closed {
            return Poll::Ready(None);
        }
        now.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes nothing more; gives what waits.
    pub(super) fn close(&self) -> VecDeque<Handed> {
        let mut now = lock(&self.now);
        now.closed = true;
        std::mem::take(&mut now.waiting)
    }

    /// Drops what came by a channel that is gone: the server hands it out again. Else it would add up while no
    /// handler is done and connections come and go.
    pub(super) fn forget(&self, commands: &mpsc::UnboundedSender<Command>, number: u64) {
        let gone =
            |handed: &Handed| handed.number == number && handed.commands.same_channel(commands);
        lock(&self.now).waiting.retain(|handed| !gone(handed));
    }
}

// ===== impl Handed =====

impl Handed {
    /// Gives it back, unseen.
    pub(super) fn give_back(&self) {
        let back = Command::Return(self.number, self.delivery.delivery_tag);
        // Where nobody listens any more the channel is gone, and the server has it back.
        let _ = self.commands.send(back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Commands = mpsc::UnboundedSender<Command>;

    fn handed(commands: &Commands, number: u64, tag: u64) -> Handed {
        Handed {
            delivery: Delivered::mock(tag, "micro".into(), "t".into(), false, Vec::new()),
            commands: commands.clone(),
            number,
        }
    }

    fn tags(inbox: &Inbox) -> Vec<u64> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut tags = Vec::new();
        while let Poll::Ready(Some(handed)) = inbox.poll_next(&mut cx) {
            tags.push(handed.delivery.delivery_tag);
        }
        tags
    }

    #[test]
    fn what_a_former_channel_delivered_does_not_add_up() {
        let inbox = Inbox::default();
        let (ours, _asked) = mpsc::unbounded_channel();
        let (others, _asked_too) = mpsc::unbounded_channel();
        inbox.push(handed(&others, 0, 9)).unwrap();
        for number in 0..50 {
            for tag in 1..=4 {
                inbox.push(handed(&ours, number, tag)).unwrap();
            }
            assert_eq!(lock(&inbox.now).waiting.len(), 5);
            if number < 49 {
                inbox.forget(&ours, number);
            }
        }
        assert_eq!(tags(&inbox), [9, 1, 2, 3, 4]);
    }

    #[test]
    fn closed_it_gives_back_what_waits_and_what_comes() {
        let inbox = Inbox::default();
        let (commands, mut asked) = mpsc::unbounded_channel();
        for tag in 1..=2 {
            inbox.push(handed(&commands, 3, tag)).unwrap();
        }
        for handed in inbox.close() {
            handed.give_back();
        }
        inbox.push(handed(&commands, 3, 3)).unwrap_err().give_back();
        for tag in 1..=3 {
            assert!(matches!(asked.try_recv(), Ok(Command::Return(3, found)) if found == tag));
        }
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(inbox.poll_next(&mut cx), Poll::Ready(None)));
    }
}
