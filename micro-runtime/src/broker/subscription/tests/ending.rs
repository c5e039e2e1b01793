use std::pin::Pin;
use std::task::Poll;

use futures_core::Stream;
use tokio::sync::mpsc;

use super::*;
use crate::broker::{Consumer, Message};
use crate::deadline::Deadline;

/// What a broker does when it is subscribed.
enum Does {
    /// Gives these events, and ends.
    Ends(Vec<&'static str>),
    Fails(ErrorKind),
    /// Gives this event, and no more.
    Stays(&'static str),
    /// Is not reached.
    Waits,
}

/// A broker that does one after the other, and notes when.
struct Script(Mutex<Vec<Does>>, Notes);

struct ScriptConsumer(mpsc::UnboundedReceiver<Result<Event, Error>>, Notes);

impl Broker for Script {
    type Consumer = ScriptConsumer;

    fn name(&self) -> &'static str {
        "script"
    }

    fn check(&self, _: Delivery) -> Result<(), Error> {
        Ok(())
    }

    async fn publish(&self, _: Message, _: Delivery, _: Deadline) -> Result<(), Error> {
        Err(Error::broker("nothing is published here"))
    }

    async fn subscribe(&self, _: &Topic) -> Result<ScriptConsumer, Error> {
        self.1.timed("subscribe");
        let (events, receiver) = mpsc::unbounded_channel();
        let next = {
            let mut script = lock(&self.0);
            (!script.is_empty()).then(|| script.remove(0))
        };
        let give = |text: &str| {
            let event = Event::new("t", Default::default(), text.to_owned(), 1, None);
            events.send(Ok(event)).unwrap();
        };
        match next {
            Some(Does::Ends(texts)) => {
                texts.into_iter().for_each(give);
                if lock(&self.0).len() == 1 {
                    events.send(Err(Error::broker("gone"))).unwrap();
                }
            }
            Some(Does::Fails(kind)) => return Err(Error::new(kind, "no")),
            Some(Does::Stays(text)) => {
                give(text);
                tokio::spawn(async move { events.closed().await });
            }
            Some(Does::Waits) | None => std::future::pending().await,
        }
        Ok(ScriptConsumer(receiver, self.1.clone()))
    }
}

impl Stream for ScriptConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

impl Consumer for ScriptConsumer {
    async fn close(self) {
        self.1.add("close");
        // A broker that never answers does not hold up the end.
        std::future::pending().await
    }
}

fn script(script: Vec<Does>) -> (Subscription, Notes) {
    let notes = Notes::new();
    let broker = AnyBroker::new(Script(Mutex::new(script), notes.clone()));
    let handler = async |_: Context, _: Event| Ok(());
    (subscribe(&broker, Topic::new("t"), handler).unwrap(), notes)
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_lost_is_opened_again() {
    let (subscription, notes) = script(vec![
        Does::Fails(ErrorKind::Broker),
        Does::Ends(vec![]),
        // Refused later on, it is tried again all the same: what is declared there may change.
        Does::Fails(ErrorKind::Config),
        Does::Ends(vec!["a", "b"]),
        Does::Stays("c"),
    ]);
    subscription.ready().await.unwrap();
    let stats = until(&subscription, |stats| stats.handled == 3).await;
    assert_eq!((stats.received, stats.lost), (3, 2));
    let times: Vec<i64> = notes
        .all()
        .iter()
        .map(|note| note.split(' ').next().unwrap().parse().unwrap())
        .collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The first is a second, each is longer by a factor of 1.6, and all vary by a fifth; after events have
    // come, they begin anew.
    for (pause, expected) in pauses.iter().zip([1000, 1600, 2560, 1000]) {
        assert!(
            (expected * 4 / 5..=expected * 6 / 5 + 2).contains(pause),
            "{pauses:?}"
        );
    }
    assert_eq!(pauses.len(), 4);
    let began = Instant::now();
    subscription.stop(LONG).await;
    assert!(began.elapsed() <= Duration::from_secs(5));
    assert_eq!(notes.all().last().unwrap(), "close");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_at_the_first_opening_is_told() {
    for kind in [ErrorKind::Config, ErrorKind::Unsupported] {
        let (subscription, notes) = script(vec![Does::Fails(kind)]);
        let error = subscription.ready().await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, "no"));
        subscription.stop(LONG).await;
        assert_eq!(subscription.ready().await.unwrap_err().kind(), kind);
        assert_eq!(notes.all().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_while_the_broker_is_away() {
    for does in [Does::Waits, Does::Fails(ErrorKind::Broker)] {
        let (subscription, _) = script(vec![does]);
        let ready = tokio::time::timeout(Duration::from_millis(500), subscription.ready());
        assert!(ready.await.is_err());
        let began = Instant::now();
        subscription.stop(LONG).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        let error = subscription.ready().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Broker);
    }
}

/// A broker in memory that does not take dead letters.
struct Letterless(Memory, Letters);

enum Letters {
    /// The next one is refused.
    Full(AtomicBool),
    /// Nobody answers.
    Deaf,
}

impl Broker for Letterless {
    type Consumer = crate::broker::MemoryConsumer;

    fn name(&self) -> &'static str {
        "letterless"
    }

    fn check(&self, _: Delivery) -> Result<(), Error> {
        Ok(())
    }

    async fn publish(
        &self,
        message: Message,
        level: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        if message.topic == "dead" {
            match &self.1 {
                Letters::Full(refuses) if refuses.swap(false, Ordering::Relaxed) => {
                    return Err(Error::broker("full"));
                }
                Letters::Full(_) => {}
                Letters::Deaf => {
                    tokio::time::sleep_until(deadline.instant()).await;
                    return Err(Error::broker("no answer"));
                }
            }
        }
        self.0.publish(message, level, deadline).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<Self::Consumer, Error> {
        self.0.subscribe(topic).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_not_kept_leaves_the_event_where_it_is() {
    let broker = AnyBroker::new(Letterless(
        Memory::new(),
        Letters::Full(AtomicBool::new(true)),
    ));
    let topic = kept().max_attempts(1).dead_letter("dead");
    let subscription = open(&broker, topic, async |_: Context, _: String| {
        Err(Status::internal("no"))
    })
    .await;
    publish(&broker, ["a"]).await;
    let stats = until(&subscription, |stats| stats.dead_lettered == 1).await;
    assert_eq!((stats.received, stats.failed, stats.retried), (2, 1, 1));
}

/// Dead letters find nobody, and everything else goes on.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_nobody_takes_holds_up_others_for_seconds() {
    let broker = AnyBroker::new(Letterless(Memory::new(), Letters::Deaf));
    let topic = kept().max_attempts(1).dead_letter("dead");
    let subscription = open(
        &broker,
        topic,
        async |_: Context, text: String| match text.as_str() {
            "poison" => Err(Status::internal("no")),
            _ => Ok(()),
        },
    )
    .await;
    let began = Instant::now();
    publish(&broker, ["poison", "a", "b"]).await;
    until(&subscription, |stats| stats.handled == 2).await;
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    // Its letter is tried again for as long as it takes, and its handler is not.
    let stats = until(&subscription, |stats| stats.retried == 3).await;
    assert_eq!((stats.failed, stats.dead_lettered), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn handlers_that_run_finish_within_the_grace_and_no_more_begin() {
    for concurrency in [1, 3] {
        let broker = memory();
        let notes = Notes::new();
        let topic = kept().concurrency(concurrency);
        let subscription = open(&broker, topic.clone(), {
            let notes = notes.clone();
            move |_: Context, text: String| {
                let notes = notes.clone();
                async move {
                    notes.add(format!("{text} begun"));
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    notes.add(format!("{text} done"));
                    Ok(())
                }
            }
        })
        .await;
        publish(&broker, ["a", "b", "c", "d"]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        subscription.stop(Duration::from_secs(10)).await;
        assert_eq!(
            began.elapsed().as_secs(),
            2,
            "no longer than the handlers need"
        );
        let stats = subscription.stats();
        let begun = u64::try_from(concurrency).unwrap();
        assert_eq!((stats.received, stats.handled), (begun, begun));
        assert_eq!(notes.all().len(), concurrency * 2);
        assert!(subscription.ready().await.is_err());
        subscription.stop(Duration::ZERO).await;
        // The others wait for the next subscriber.
        let next = open(&broker, topic, async |_: Context, event: Event| {
            assert_eq!(event.attempt(), 1);
            Ok(())
        })
        .await;
        until(&next, |stats| stats.handled == 4 - begun).await;
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_take_longer_are_dropped_and_their_events_go_back() {
    for concurrency in [1, 3] {
        let broker = memory();
        let notes = Notes::new();
        let topic = kept().concurrency(concurrency);
        let subscription = open(&broker, topic.clone(), {
            let notes = notes.clone();
            move |ctx: Context, _: String| {
                let notes = notes.clone();
                tokio::spawn(async move {
                    ctx.cancelled().await;
                    notes.timed("cancelled");
                });
                std::future::pending::<Outcome<()>>()
            }
        })
        .await;
        publish(&broker, ["a"]).await;
        until(&subscription, |stats| stats.received == 1).await;
        let patient = {
            let subscription = subscription.clone();
            tokio::spawn(async move { subscription.stop(LONG).await })
        };
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        subscription.stop(Duration::from_secs(2)).await;
        assert_eq!(began.elapsed().as_secs(), 2, "the shorter grace holds");
        patient.await.unwrap();
        assert_eq!(subscription.stats().returned, 1);
        assert_eq!(notes.all().len(), 1);
        let next = open(&broker, topic, async |_: Context, event: Event| {
            assert_eq!(event.attempt(), 2);
            Ok(())
        })
        .await;
        until(&next, |stats| stats.handled == 1).await;
    }
}
