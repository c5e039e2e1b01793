//! What the server knows, and the file that it knows it by after a crash.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::frame::{self, Frame, number, text};

/// A topic and a queue.
pub(super) type Key = (String, String);

#[derive(Debug, Default)]
pub(super) struct State {
    queues: BTreeMap<Key, Queue>,
    last: u64,
    file: Option<File>,
}

#[derive(Debug, Default)]
struct Queue {
    kept: bool,
    events: VecDeque<Stored>,
}

#[derive(Debug)]
struct Stored {
    number: u64,
    attempts: u64,
    due: Option<Instant>,
    holder: Option<u64>,
    /// The body, then headers.
    parts: Frame,
}

// ===== impl State =====

impl State {
    /// With what a file holds, which is made if need be.
    pub(super) async fn open(path: Option<&Path>) -> io::Result<State> {
        let mut state = State::default();
        let Some(path) = path else {
            return Ok(state);
        };
        let bytes = std::fs::read(path).unwrap_or_default();
        let mut rest = &bytes[..];
        // A record that was cut short was not confirmed.
        while let Ok(record) = frame::read(&mut rest).await {
            state.redo(&record);
        }
        state.file = Some(File::options().create(true).append(true).open(path)?);
        Ok(state)
    }

    fn redo(&mut self, record: &Frame) {
        let key = (text(record, 1), text(record, 2));
        match &*text(record, 0) {
            "queue" => {
                self.queues.entry(key).or_default().kept = true;
            }
            "end" => {
                self.queues.remove(&key);
            }
            "event" => {
                let number = number(record, 3);
                self.last = self.last.max(number);
                let parts = record.get(4..).unwrap_or_default().to_vec();
                if let Some(queue) = self.queues.get_mut(&key) {
                    queue.events.push_back(Stored::new(number, parts));
                }
            }
            _ => {
                let number = number(record, 3);
                if let Some(queue) = self.queues.get_mut(&key) {
                    queue.events.retain(|event| event.number != number);
                }
            }
        }
    }

    /// In one write, which outlives the process.
    fn note(&mut self, word: &str, key: &Key, rest: &[&[u8]]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let start = [word.as_bytes(), key.0.as_bytes(), key.1.as_bytes()];
        let record = start.iter().chain(rest).map(|part| part.to_vec()).collect();
        file.write_all(&frame::bytes(&record))
    }

    pub(super) fn publish(&mut self, request: &Frame) -> io::Result<()> {
        let (kept, topic) = (text(request, 1) == "keep", text(request, 2));
        let parts = request.get(3..).unwrap_or_default();
        let keys: Vec<_> = self
            .queues
            .keys()
            .filter(|key| key.0 == topic)
            .cloned()
            .collect();
        for key in keys {
            self.last += 1;
            let number = self.last;
            let is_kept = self.queues.get(&key).is_some_and(|queue| queue.kept);
            if kept && is_kept {
                let written = number.to_string();
                let mut rest = vec![written.as_bytes()];
                rest.extend(parts.iter().map(Vec::as_slice));
                self.note("event", &key, &rest)?;
            }
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.events.push_back(Stored::new(number, parts.to_vec()));
            }
        }
        Ok(())
    }

    /// A new member of a queue.
    pub(super) fn join(&mut self, key: &Key, kept: bool) -> io::Result<u64> {
        self.last += 1;
        let is_kept = self.queues.get(key).is_some_and(|queue| queue.kept);
        if kept && !is_kept {
            self.note("queue", key, &[])?;
        }
        let queue = self.queues.entry(key.clone()).or_default();
        queue.kept |= kept;
        Ok(self.last)
    }

    /// A member is gone; what it held goes back, or the queue with it.
    pub(super) fn leave(&mut self, key: &Key, member: u64, ends: bool) -> io::Result<()> {
        if ends {
            self.queues.remove(key);
            return self.note("end", key, &[]);
        }
        if let Some(queue) = self.queues.get_mut(key) {
            for event in &mut queue.events {
                if event.holder == Some(member) {
                    event.holder = None;
                }
            }
        }
        Ok(())
    }

    /// The next event for a member with so much room.
    pub(super) fn next(
        &mut self,
        key: &Key,
        member: u64,
        room: usize,
        settled: bool,
    ) -> io::Result<Option<Frame>> {
        let Some(queue) = self.queues.get_mut(key) else {
            return Ok(None);
        };
        let held = |event: &&Stored| event.holder == Some(member);
        if queue.events.iter().filter(held).count() >= room {
            return Ok(None);
        }
        let now = Instant::now();
        let ready =
            |event: &Stored| event.holder.is_none() && event.due.is_none_or(|due| due <= now);
        let Some(place) = queue.events.iter().position(ready) else {
            return Ok(None);
        };
        let Some(event) = queue.events.get_mut(place) else {
            return Ok(None);
        };
        event.holder = Some(member);
        event.attempts += 1;
        let number = event.number.to_string().into_bytes();
        let attempts = event.attempts.to_string().into_bytes();
        let mut frame = vec![b"event".to_vec(), number.clone(), attempts];
        frame.extend(event.parts.iter().cloned());
        if settled {
            queue.events.remove(place);
            self.note("ack", key, &[&number])?;
        }
        Ok(Some(frame))
    }

    pub(super) fn settle(&mut self, key: &Key, member: u64, frame: &Frame) -> io::Result<()> {
        let (word, id) = (text(frame, 0), number(frame, 1));
        let Some(queue) = self.queues.get_mut(key) else {
            return Ok(());
        };
        let place = queue
            .events
            .iter()
            .position(|event| event.number == id && event.holder == Some(member));
        let Some(event) = place.and_then(|place| queue.events.get_mut(place)) else {
            return Ok(());
        };
        event.holder = None;
        if word == "retry" {
            event.due = Some(Instant::now() + Duration::from_millis(number(frame, 2)));
        } else if word == "ack" {
            queue.events.retain(|event| event.number != id);
            self.note("ack", key, &[id.to_string().as_bytes()])?;
        }
        Ok(())
    }
}

impl Stored {
    fn new(number: u64, parts: Frame) -> Stored {
        Stored {
            number,
            attempts: 0,
            due: None,
            holder: None,
            parts,
        }
    }
}
