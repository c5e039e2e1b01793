use super::*;
use crate::broker::Message;

/// A handler that does to its event what the text says.
async fn obey(notes: Notes, ctx: Context, event: Event) -> Outcome<()> {
    let text = String::decode(&event)?;
    notes.timed(format_args!("{text} {}", event.attempt()));
    match text.as_str() {
        "error" => return Err(Status::internal("no")),
        "panic" => panic!("oh no"),
        "panic later" => {
            tokio::task::yield_now().await;
            panic!("{}", "oh no");
        }
        "slow" => {
            let noted = notes.clone();
            let ctx = ctx.clone();
            tokio::spawn(async move {
                ctx.cancelled().await;
                noted.timed("cancelled");
            });
            tokio::time::sleep(LONG).await;
        }
        "third" if event.attempt() < 3 => return Err(Status::internal("not yet")),
        "ack" => {
            event.ack().await?;
            return Err(Status::internal("after all"));
        }
        "nack" if event.attempt() == 1 => event.nack(Duration::from_secs(7)).await?,
        _ => {}
    }
    Ok(())
}

async fn obeying(broker: &AnyBroker, topic: Topic) -> (Subscription, Notes) {
    let notes = Notes::new();
    let noted = notes.clone();
    let subscription = open(broker, topic, move |ctx: Context, event: Event| {
        obey(noted.clone(), ctx, event)
    })
    .await;
    (subscription, notes)
}

/// Everything in a topic, as `body (reason, attempts)`.
async fn letters(broker: &AnyBroker, topic: &str) -> (Subscription, Notes) {
    let notes = Notes::new();
    let noted = notes.clone();
    let topic = Topic::new(topic)
        .queue("letters")
        .delivery(Delivery::AtLeastOnce);
    let subscription = open(broker, topic, move |ctx: Context, event: Event| {
        let header = |name: &str| ctx.metadata().get(name).unwrap_or("none").to_owned();
        noted.add(format!(
            "{} from {}: {} ({})",
            String::from_utf8_lossy(event.body()).trim_matches(|c: char| c < ' '),
            header("micro-dead-topic"),
            header("micro-dead-reason"),
            header("micro-dead-attempts"),
        ));
        assert!(event.headers().get("content-type").is_some());
        async { Ok(()) }
    })
    .await;
    (subscription, notes)
}

#[tokio::test(start_paused = true)]
async fn what_fails_comes_again_with_growing_delays_until_it_is_handled() {
    for concurrency in [1, 8] {
        let broker = memory();
        let (subscription, notes) = obeying(&broker, kept().concurrency(concurrency)).await;
        publish(&broker, ["third"]).await;
        let stats = until(&subscription, |stats| stats.handled == 1).await;
        assert_eq!(notes.all(), ["0 third 1", "200 third 2", "600 third 3"]);
        assert_eq!((stats.failed, stats.retried, stats.received), (2, 2, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_every_time_goes_to_the_dead_letter_and_holds_up_nobody() {
    for concurrency in [1, 8] {
        let broker = memory();
        let (dead, written) = letters(&broker, "dead").await;
        let topic = kept()
            .concurrency(concurrency)
            .max_attempts(3)
            .timeout(Duration::from_secs(1))
            .dead_letter("dead");
        let (subscription, notes) = obeying(&broker, topic).await;
        publish(&broker, ["error", "panic", "panic later", "slow", "good"]).await;
        let stats = until(&subscription, |stats| stats.dead_lettered == 4).await;
        assert_eq!((stats.handled, stats.failed, stats.retried), (1, 12, 8));
        assert_eq!((stats.dropped, stats.undecodable), (0, 0));
        until(&dead, |stats| stats.handled == 4).await;
        let mut written = written.all();
        written.sort();
        assert_eq!(
            written,
            [
                "error from t: the handler failed: INTERNAL: no (3)",
                "panic from t: the handler panicked: oh no (3)",
                "panic later from t: the handler panicked: oh no (3)",
                "slow from t: the handler was not done within 1s (3)",
            ]
        );
        let at = |end| notes.all().iter().position(|note| note.ends_with(end));
        assert!(at("good 1") < at("slow 2"), "{:?}", notes.all());
        let cancelled = notes
            .all()
            .iter()
            .filter(|note| note.ends_with("cancelled"))
            .count();
        assert_eq!(cancelled, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_it_is_dropped() {
    let broker = memory();
    let (subscription, notes) = obeying(&broker, kept().max_attempts(2)).await;
    publish(&broker, ["error", "good"]).await;
    let stats = until(&subscription, |stats| stats.dropped == 1).await;
    assert_eq!((stats.handled, stats.failed, stats.retried), (1, 2, 1));
    tokio::time::sleep(LONG).await;
    assert_eq!(notes.all(), ["0 error 1", "0 good 1", "200 error 2"]);
}

#[tokio::test(start_paused = true)]
async fn at_most_once_a_failure_is_counted_and_no_more() {
    let broker = memory();
    let (subscription, _) = obeying(&broker, Topic::new("t").concurrency(2)).await;
    publish(&broker, ["error", "panic", "good"]).await;
    publisher(&broker)
        .publish_raw(Message::new("t", "?").header("content-type", "text/plain"))
        .await
        .unwrap();
    let stats = until(&subscription, |stats| stats.received == 4).await;
    assert_eq!((stats.handled, stats.failed, stats.dropped), (1, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decoded_goes_there_at_once() {
    let broker = memory();
    let (dead, written) = letters(&broker, "dead").await;
    let topic = kept().dead_letter("dead");
    let subscription = open(&broker, topic, async |_: Context, _: String| Ok(())).await;
    let plain = Topic::new("t");
    let plain = open(&broker, plain, async |_: Context, _: String| Ok(())).await;
    for (content_type, body) in [("text/plain", "hi"), ("application/json", "{")] {
        let message = Message::new("t", body).header("content-type", content_type);
        publisher(&broker).publish_raw(message).await.unwrap();
    }
    publish(&broker, ["good"]).await;
    let stats = until(&subscription, |stats| stats.handled == 1).await;
    assert_eq!((stats.undecodable, stats.dead_lettered), (2, 2));
    assert_eq!((stats.failed, stats.retried), (0, 0));
    until(&dead, |stats| stats.handled == 2).await;
    assert!(written.all()[0].starts_with("hi from t: it cannot be decoded"));
    let stats = until(&plain, |stats| stats.handled == 1).await;
    assert_eq!((stats.undecodable, stats.dropped), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_ends_its_process_each_time_is_not_handled_for_ever() {
    let broker = memory();
    let (dead, written) = letters(&broker, "dead").await;
    let topic = kept().max_attempts(2).dead_letter("dead");
    publish_kept(&broker, &topic, "slow").await;
    for attempt in 1..=2 {
        let (subscription, notes) = obeying(&broker, topic.clone()).await;
        until(&subscription, |stats| stats.received == 1).await;
        // As with a process that dies, nothing is settled, and the broker finds out.
        subscription.stop(Duration::ZERO).await;
        assert_eq!(subscription.stats().returned, 1);
        assert!(notes.all()[0].ends_with(&format!("slow {attempt}")));
    }
    let (subscription, notes) = obeying(&broker, topic).await;
    until(&subscription, |stats| stats.dead_lettered == 1).await;
    assert_eq!(notes.all(), [""; 0], "it is not handled once more");
    until(&dead, |stats| stats.handled == 1).await;
    assert_eq!(
        written.all(),
        ["slow from t: it was handed out 2 times, and no handler has acknowledged it (2)"]
    );
}

/// Publishes to a queue that nobody is subscribed to now.
async fn publish_kept(broker: &AnyBroker, topic: &Topic, text: &str) {
    let subscription = open(broker, topic.clone(), async |_: Context, _: Event| Ok(())).await;
    subscription.stop(Duration::ZERO).await;
    publish(broker, [text]).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_can_be_settled_by_hand() {
    let broker = memory();
    let (subscription, notes) = obeying(&broker, kept()).await;
    publish(&broker, ["ack", "nack"]).await;
    let stats = until(&subscription, |stats| stats.handled == 3).await;
    assert_eq!((stats.failed, stats.retried), (1, 0));
    tokio::time::sleep(LONG).await;
    assert_eq!(notes.all(), ["0 ack 1", "0 nack 1", "7000 nack 2"]);
}

/// A broker that does not count: what comes again is its second attempt each time.
struct Uncounted(crate::broker::Memory);

struct UncountedConsumer(crate::broker::MemoryConsumer);

impl Broker for Uncounted {
    type Consumer = UncountedConsumer;

    fn name(&self) -> &'static str {
        "uncounted"
    }

    fn check(&self, _: Delivery) -> Result<(), Error> {
        Ok(())
    }

    async fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: crate::deadline::Deadline,
    ) -> Result<(), Error> {
        self.0.publish(message, delivery, deadline).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<UncountedConsumer, Error> {
        self.0.subscribe(topic).await.map(UncountedConsumer)
    }
}

impl futures_core::Stream for UncountedConsumer {
    type Item = Result<Event, Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut self.0).poll_next(cx).map(|event| {
            event.map(|event| {
                let event = event?;
                let inner = event.clone();
                let receipt =
                    crate::broker::Receipt::new(move |how| async move { inner.settle(how).await });
                let attempt = event.attempt().min(2);
                let (topic, headers) = (event.topic(), event.headers().clone());
                Ok(Event::new(
                    topic,
                    headers,
                    event.body().clone(),
                    attempt,
                    Some(receipt),
                ))
            })
        })
    }
}

impl crate::broker::Consumer for UncountedConsumer {
    async fn close(self) {}
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_by_hand_each_time_has_an_end_too() {
    let memory = crate::broker::Memory::new();
    for broker in [
        AnyBroker::new(memory.clone()),
        AnyBroker::new(Uncounted(memory)),
    ] {
        let runs = Notes::new();
        let noted = runs.clone();
        let topic = kept().max_attempts(3);
        let subscription = open(&broker, topic, move |_: Context, event: Event| {
            noted.add("run");
            async move {
                event.nack(Duration::from_secs(1)).await?;
                Ok(())
            }
        })
        .await;
        publish(&broker, ["a"]).await;
        until(&subscription, |stats| stats.dropped == 1).await;
        assert_eq!(runs.all().len(), 3);
        subscription.stop(LONG).await;
    }
}
