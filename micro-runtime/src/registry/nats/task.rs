//! The task that has the connection: it answers questions, listens for watches, and connects again.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_nats::{Client, Event as Change, Message, Subscriber};
use futures_core::Stream;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::ask;
use super::config::Config;
use super::connect::connect;
use super::own::Own;
use super::view::View;
use super::wire::{self, Query, Said};
use crate::backoff::{Backoff, jittered};
use crate::error::Error;
use crate::exchange::BoxFuture;
use crate::lock::lock;
use crate::nats::shown;
use crate::registry::{Action, Event};

/// The pauses between attempts: a server that is back is found within a second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A connection that lives that long was a good one.
const WELL: Duration = Duration::from_secs(5);

/// How long sending may wait in this task, which has others to look after.
const SEND: Duration = Duration::from_secs(1);

/// How often it is asked anew who is there, which finds what was not heard.
const RECONCILE: Duration = Duration::from_secs(30);

/// When a question was not carried, the next one comes after this.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// What the registry's handles and its task share.
pub(super) struct Shared {
    pub(super) config: Config,
    /// Short sections without a wait, hence a std mutex, as is the other.
    own: Mutex<Own>,
    /// What is registered has changed.
    changed: Notify,
    /// Why there is no connection.
    failure: Mutex<Option<String>>,
    warned: AtomicBool,
}

/// What the handles ask the task for.
pub(super) enum Command {
    /// To answer questions: said when the subscriptions stand, with the client that they were made with.
    Answer(oneshot::Sender<Client>),
    /// To tell of what happens, from the moment of the reply on.
    Watch {
        name: Option<String>,
        events: mpsc::Sender<Result<Event, Error>>,
        stands: oneshot::Sender<()>,
    },
}

// ===== impl Shared =====

impl Shared {
    pub(super) fn new(config: Config) -> Shared {
        Shared {
            config,
            own: Mutex::default(),
            changed: Notify::new(),
            failure: Mutex::default(),
            warned: AtomicBool::new(false),
        }
    }

    /// Changes what is registered here.
    pub(super) fn own<T>(&self, change: impl FnOnce(&mut Own) -> T) -> T {
        change(&mut lock(&self.own))
    }

    /// Has the task look at what is registered here.
    pub(super) fn own_changed(&self) {
        self.changed.notify_one();
    }

    fn own_due(&self) -> Option<Instant> {
        lock(&self.own).due()
    }

    /// No answer came within the time of a call.
    pub(super) fn late(&self) -> Error {
        let servers = self.config.servers.to_string();
        let failure = lock(&self.failure).clone();
        let why = failure.map_or_else(String::new, |why| format!(": {why}"));
        let limit = self.config.timeout;
        Error::registry(format_args!(
            "NATS at {servers} gave no answer within {limit:?}{why}"
        ))
    }

    pub(super) fn warn_of_garbage(&self, subject: &str, why: &str) {
        if self.warned.swap(true, Ordering::Relaxed) {
            debug!(
                subject,
                why, "A message over NATS is not go-micro's, it is passed over"
            );
        } else {
            warn!(
                subject,
                why,
                "A message over NATS is not go-micro's, it is passed over; further ones are not told of"
            );
        }
    }

    pub(super) fn fails(&self, why: Option<String>) {
        *lock(&self.failure) = why;
    }
}

/// What outlives a connection.
struct Task {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    clients: watch::Sender<Option<Client>>,
    view: View,
    /// Whose watch is to stand when its question is answered.
    waiting: Vec<(Query, oneshot::Sender<()>)>,
    /// Who waits for the subscriptions to the questions.
    answering: Vec<oneshot::Sender<Client>>,
}

/// What belongs to one connection.
struct Connected {
    client: Client,
    changes: mpsc::Receiver<Change>,
    questions: Vec<Subscriber>,
    news: Vec<Subscriber>,
    asking: Option<Asking>,
    reconcile_at: Instant,
    ask_at: Instant,
}

struct Asking {
    queries: BTreeSet<Query>,
    begun: Instant,
    answer: BoxFuture<'static, Result<Vec<Said>, String>>,
}

enum Step {
    Change(Option<Change>),
    Command(Option<Command>),
    Question(Option<Message>),
    News(Option<Message>),
    Answer(Result<Vec<Said>, String>),
    /// Something is due, or may be.
    Time,
}

/// Runs until nobody has the registry.
pub(super) async fn run(
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    clients: watch::Sender<Option<Client>>,
) {
    let mut task = Task {
        view: View::new(shared.config.silence),
        shared,
        commands,
        clients,
        waiting: Vec::new(),
        answering: Vec::new(),
    };
    let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
    loop {
        let shared = Arc::clone(&task.shared);
        let Some((client, changes)) = task.wait_for(connect(&shared, &mut backoff)).await else {
            return;
        };
        let begun = Instant::now();
        shared.fails(None);
        if task.serve(client, changes).await {
            return;
        }
        task.clients.send_replace(None);
        shared.fails(Some("the connection was lost".to_owned()));
        info!("The connection to NATS was lost, another is made");
        if begun.elapsed() >= WELL {
            backoff.reset();
        }
        if task.wait_for(sleep(backoff.next())).await.is_none() {
            return;
        }
    }
}

// ===== impl Task =====

impl Task {
    /// Waits, without a connection; `None` when nobody has the registry.
    async fn wait_for<T>(&mut self, what: impl Future<Output = T>) -> Option<T> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return Some(done),
                command = self.commands.recv() => self.take(command?),
                () = self.shared.changed.notified() => {}
                () = at(self.shared.own_due()) => {
                    // Nobody can be told.
                    self.shared.own(|own| own.expire(Instant::now()));
                }
            }
        }
    }

    /// Serves over one connection until it is lost, or `true` when nobody has the registry.
    async fn serve(&mut self, client: Client, changes: mpsc::Receiver<Change>) -> bool {
        let now = Instant::now();
        let mut on = Connected {
            client,
            changes,
            questions: Vec::new(),
            news: Vec::new(),
            asking: None,
            reconcile_at: now,
            ask_at: now,
        };
        // Whoever was silent while there was no connection was not heard.
        self.view.forgive(now);
        if self.subscribe(&mut on).await.is_err() || self.announce(&on.client).await.is_err() {
            return false;
        }
        self.clients.send_replace(Some(on.client.clone()));
        debug!("Connected to NATS");
        loop {
            let due = self.due(&on);
            let Connected {
                changes,
                questions,
                news,
                asking,
                ..
            } = &mut on;
            let step = tokio::select! {
                change = changes.recv() => Step::Change(change),
                command = self.commands.recv() => Step::Command(command),
                message = any(questions) => Step::Question(message),
                message = any(news) => Step::News(message),
                answer = answered(asking) => Step::Answer(answer),
                () = self.shared.changed.notified() => Step::Time,
                () = at(due) => Step::Time,
            };
            let done = match step {
                Step::Command(None) => return true,
                Step::Command(Some(command)) => {
                    self.take(command);
                    Ok(())
                }
                Step::Change(None | Some(Change::Disconnected | Change::Closed)) => return false,
                Step::Change(Some(Change::SlowConsumer(_))) => {
                    warn!(
                        "Messages over NATS came faster than they could be read, it is asked who is there"
                    );
                    on.reconcile_at = Instant::now();
                    Ok(())
                }
                Step::Change(Some(change)) => {
                    debug!(%change, "NATS");
                    Ok(())
                }
                Step::Question(Some(message)) => self.answer(&on.client, &message).await,
                Step::News(Some(message)) => {
                    self.hear(&message);
                    Ok(())
                }
                Step::Question(None) | Step::News(None) => return false,
                Step::Answer(answer) => {
                    self.learn(&mut on, answer);
                    Ok(())
                }
                Step::Time => Ok(()),
            };
            let done = match done {
                Ok(()) => self.look_after(&mut on).await,
                failed => failed,
            };
            if let Err(why) = done {
                debug!(why, "A connection to NATS is given up");
                return false;
            }
        }
    }

    fn take(&mut self, command: Command) {
        // Those who gave up, since nobody else may look for long: without a connection they ask again and again.
        self.answering.retain(|reply| !reply.is_closed());
        self.waiting.retain(|(_, stands)| !stands.is_closed());
        self.view.tidy();
        match command {
            Command::Answer(reply) => self.answering.push(reply),
            Command::Watch {
                name,
                events,
                stands,
            } => {
                let query = name.clone().map_or(Query::List, Query::Get);
                self.view.listen(name, events);
                self.waiting.push((query, stands));
            }
        }
    }

    /// What is due: subscriptions, what was not renewed, questions.
    async fn look_after(&mut self, on: &mut Connected) -> Result<(), String> {
        self.view.tidy();
        self.waiting.retain(|(_, stands)| !stands.is_closed());
        self.subscribe(on).await?;
        let now = Instant::now();
        for gone in self.shared.own(|own| own.expire(now)) {
            let Config { watch_subjects, .. } = &self.shared.config;
            ask::publish(&on.client, watch_subjects, SEND, |also_on| {
                wire::write_event(Action::Delete, &gone, None, also_on)
            })
            .await?;
        }
        if on.asking.is_some() || on.ask_at > now {
            return Ok(());
        }
        let mut queries = self.view.new_questions();
        queries.extend(self.view.silent(now));
        if on.reconcile_at <= now {
            on.reconcile_at = now + jittered(RECONCILE);
            queries.extend(self.view.questions());
        }
        if !queries.is_empty() {
            let (shared, client) = (Arc::clone(&self.shared), on.client.clone());
            let asked = queries.clone();
            on.asking = Some(Asking {
                queries,
                begun: now,
                answer: Box::pin(async move {
                    ask::ask(&shared, &client, &asked, shared.config.timeout).await
                }),
            });
        }
        Ok(())
    }

    /// When there is something to look after.
    fn due(&self, on: &Connected) -> Option<Instant> {
        let own = self.shared.own_due();
        if on.asking.is_some() || self.view.is_idle() {
            return own;
        }
        let view = self.view.due().into_iter().chain([on.reconcile_at]).min();
        // After a question that was not carried all others wait too.
        let view = view.map(|due| due.max(on.ask_at));
        let new = (!self.view.new_questions().is_empty()).then_some(on.ask_at);
        [own, view, new].into_iter().flatten().min()
    }

    /// Makes and ends subscriptions, as they are needed.
    async fn subscribe(&mut self, on: &mut Connected) -> Result<(), String> {
        let shared = &self.shared;
        let needed = !self.answering.is_empty() || !lock(&shared.own).is_empty();
        subscriptions(
            &on.client,
            &mut on.questions,
            &shared.config.query_subjects,
            needed,
        )
        .await?;
        let needed = !self.view.is_idle();
        subscriptions(
            &on.client,
            &mut on.news,
            &shared.config.watch_subjects,
            needed,
        )
        .await?;
        for reply in self.answering.drain(..) {
            // Whoever gave up is gone.
            let _ = reply.send(on.client.clone());
        }
        Ok(())
    }

    /// Says what is registered here.
    async fn announce(&self, client: &Client) -> Result<(), String> {
        let registered = lock(&self.shared.own).answers(&Query::List);
        for (service, ttl) in registered {
            let Config { watch_subjects, .. } = &self.shared.config;
            ask::publish(client, watch_subjects, SEND, |also_on| {
                wire::write_event(Action::Create, &service, ttl, also_on)
            })
            .await?;
        }
        Ok(())
    }

    async fn answer(&self, client: &Client, message: &Message) -> Result<(), String> {
        let subjects = &self.shared.config.query_subjects;
        let query = match Query::read(&message.payload) {
            Ok((_, Some(also_on))) if subjects.contains(&also_on) => return Ok(()),
            Ok((query, _)) => query,
            Err(why) => {
                self.shared.warn_of_garbage(&message.subject, &why);
                return Ok(());
            }
        };
        let Some(reply) = &message.reply else {
            return Ok(());
        };
        let answers = lock(&self.shared.own).answers(&query);
        for (service, ttl) in answers {
            let to = [reply.to_string()];
            let send = ask::publish(client, &to, SEND, |_| wire::write_answer(&service, ttl));
            send.await?;
        }
        Ok(())
    }

    fn hear(&mut self, message: &Message) {
        let subjects = &self.shared.config.watch_subjects;
        match wire::read_event(&message.payload) {
            Ok((_, _, Some(also_on))) if subjects.contains(&also_on) => {}
            Ok((Action::Delete, said, _)) => self.view.gone(&said.service),
            Ok((_, said, _)) => self.view.heard(said, Instant::now()),
            Err(why) => self.shared.warn_of_garbage(&message.subject, &why),
        }
    }

    /// Takes the answers to a question.
    fn learn(&mut self, on: &mut Connected, answer: Result<Vec<Said>, String>) {
        let Some(asking) = on.asking.take() else {
            return;
        };
        let now = Instant::now();
        match answer {
            Ok(answers) => {
                for said in answers {
                    self.view.heard(said, now);
                }
                self.view.expire(&asking.queries, asking.begun);
                self.view.stand(&asking.queries);
                let queries = &asking.queries;
                let answered =
                    |query: &Query| queries.contains(&Query::List) || queries.contains(query);
                let waiting = std::mem::take(&mut self.waiting).into_iter();
                let (stand, wait): (Vec<_>, Vec<_>) =
                    waiting.partition(|(query, _)| answered(query));
                self.waiting = wait;
                for (_, stands) in stand {
                    let _ = stands.send(());
                }
            }
            Err(why) => {
                debug!(why, "A question over NATS was not carried");
                on.ask_at = now + jittered(ASK_AGAIN);
                // Nobody is silent whom we could not hear.
                self.view.forgive(now);
                on.reconcile_at = on.ask_at;
            }
        }
    }
}

/// Has these subscriptions, or none.
async fn subscriptions(
    client: &Client,
    have: &mut Vec<Subscriber>,
    subjects: &[String],
    needed: bool,
) -> Result<(), String> {
    if !needed {
        have.clear();
    } else if have.is_empty() {
        for subject in subjects {
            let subscribed = timeout(SEND, client.subscribe(subject.clone())).await;
            let subscribed = subscribed.map_err(|_| "subscribing takes too long".to_owned())?;
            have.push(subscribed.map_err(shown)?);
        }
    }
    Ok(())
}

/// The next message of any; none of them ends before the connection does.
async fn any(subscribers: &mut [Subscriber]) -> Option<Message> {
    std::future::poll_fn(|cx| {
        for subscriber in subscribers.iter_mut() {
            if let Poll::Ready(message) = Pin::new(subscriber).poll_next(cx) {
                return Poll::Ready(message);
            }
        }
        Poll::Pending
    })
    .await
}

async fn answered(asking: &mut Option<Asking>) -> Result<Vec<Said>, String> {
    match asking {
        Some(asking) => asking.answer.as_mut().await,
        None => pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// During an outage callers ask, give up, and ask again, for days.
    #[tokio::test]
    async fn who_gives_up_is_not_kept() {
        let config = Config::new(&["127.0.0.1:1"]).unwrap();
        let mut task = Task {
            view: View::new(config.silence),
            shared: Arc::new(Shared::new(config)),
            commands: mpsc::channel(1).1,
            clients: watch::channel(None).0,
            waiting: Vec::new(),
            answering: Vec::new(),
        };
        for _ in 0..100 {
            let (reply, _) = oneshot::channel();
            task.take(Command::Answer(reply));
            let ((events, _), (stands, _)) = (mpsc::channel(1), oneshot::channel());
            let name = None;
            task.take(Command::Watch {
                name,
                events,
                stands,
            });
        }
        let kept = (
            task.answering.len(),
            task.waiting.len(),
            task.view.listeners(),
        );
        assert!(kept.0 <= 1 && kept.1 <= 1 && kept.2 <= 1, "{kept:?}");
    }
}
