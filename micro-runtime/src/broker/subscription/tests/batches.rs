use super::*;

/// Notes each batch down, and fails those with a bad one.
async fn batched(broker: &AnyBroker, topic: Topic) -> (Subscription, Notes) {
    let notes = Notes::new();
    let noted = notes.clone();
    let subscription = subscribe_batch(broker, topic, move |_: Context, batch: Batch<String>| {
        noted.timed(batch.messages().concat());
        let bad = batch.iter().any(|text| text == "x");
        async move {
            match bad {
                true => Err(Status::internal("no")),
                false => Ok(()),
            }
        }
    });
    let subscription = subscription.unwrap();
    subscription.ready().await.unwrap();
    (subscription, notes)
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_what_came_in_time() {
    let broker = memory();
    let topic = kept().batch(3, Duration::from_secs(1));
    assert_eq!(topic.clone().concurrency(2).in_flight(), 6);
    let (subscription, notes) = batched(&broker, topic).await;
    publish(&broker, ["a", "b", "c", "d"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    publish(&broker, ["e"]).await;
    until(&subscription, |stats| stats.handled == 5).await;
    assert_eq!(notes.all(), ["0 abc", "1000 de"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_every_time_takes_no_others_along() {
    let broker = memory();
    let topic = kept()
        .batch(10, Duration::ZERO)
        .max_attempts(3)
        .dead_letter("dead");
    let (subscription, notes) = batched(&broker, topic).await;
    let dead = Topic::new("dead");
    let dead = open(&broker, dead, async |_: Context, text: String| {
        assert_eq!(text, "x");
        Ok(())
    })
    .await;
    publish(&broker, ["a", "x", "b"]).await;
    let stats = until(&subscription, |stats| stats.dead_lettered == 1).await;
    assert_eq!((stats.handled, stats.failed, stats.retried), (2, 5, 4));
    until(&dead, |stats| stats.handled == 1).await;
    assert_eq!(notes.all(), ["0 axb", "200 a", "200 x", "200 b", "600 x"]);
}

#[tokio::test(start_paused = true)]
async fn single_events_of_a_batch_are_settled_by_hand() {
    let broker = memory();
    let notes = Notes::new();
    let noted = notes.clone();
    let topic = kept().batch(3, Duration::from_secs(1));
    let subscription = subscribe_batch(&broker, topic, move |_: Context, batch: Batch<Event>| {
        noted.timed(format!(
            "{} of {}",
            batch.len(),
            batch.events()[0].attempt()
        ));
        async move {
            if batch.len() == 3 {
                batch.events()[1].ack().await?;
                return Err(Status::internal("the others"));
            }
            Ok(())
        }
    });
    let subscription = subscription.unwrap();
    publish_after(&subscription, &broker).await;
    let stats = until(&subscription, |stats| stats.handled == 3).await;
    assert_eq!((stats.failed, stats.retried), (3, 2));
    assert_eq!(notes.all(), ["0 3 of 1", "200 1 of 2", "200 1 of 2"]);
}

async fn publish_after(subscription: &Subscription, broker: &AnyBroker) {
    subscription.ready().await.unwrap();
    publish(broker, ["a", "b", "c"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_being_gathered_at_the_end_is_handled() {
    let broker = memory();
    let (subscription, notes) = batched(&broker, kept().batch(9, LONG)).await;
    publish(&broker, ["a", "b"]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(notes.all().is_empty());
    subscription.stop(Duration::from_secs(5)).await;
    assert_eq!(notes.all(), ["1000 ab"]);
    assert_eq!(subscription.stats().handled, 2);
}

/// A broker in memory whose dead letters take their time, as those of one that is away do.
struct SlowLetters(crate::broker::Memory);

impl Broker for SlowLetters {
    type Consumer = crate::broker::MemoryConsumer;

    fn name(&self) -> &'static str {
        "slow letters"
    }

    fn check(&self, _: Delivery) -> Result<(), Error> {
        Ok(())
    }

    async fn publish(
        &self,
        message: crate::broker::Message,
        delivery: Delivery,
        deadline: crate::deadline::Deadline,
    ) -> Result<(), Error> {
        if message.topic == "dead" {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        self.0.publish(message, delivery, deadline).await
    }

    async fn subscribe(&self, topic: &Topic) -> Result<Self::Consumer, Error> {
        self.0.subscribe(topic).await
    }
}

#[tokio::test(start_paused = true)]
async fn poison_in_a_batch_holds_up_nobody() {
    let broker = AnyBroker::new(SlowLetters(crate::broker::Memory::new()));
    let topic = kept()
        .batch(8, Duration::from_millis(10))
        .max_attempts(1)
        .dead_letter("dead");
    let (subscription, notes) = batched(&broker, topic).await;
    let began = Instant::now();
    for _ in 0..3 {
        let poison = crate::broker::Message::new("t", "hi").header("content-type", "text/plain");
        publisher(&broker).publish_raw(poison).await.unwrap();
    }
    publish(&broker, ["a", "b"]).await;
    // Those that cannot be decoded do not have the others wait.
    until(&subscription, |stats| stats.handled == 2).await;
    assert_eq!(began.elapsed().as_secs(), 0);
    assert_eq!(notes.all(), ["10 ab"]);
    until(&subscription, |stats| stats.dead_lettered == 3).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    // Nor do those that fail together have one wait for the other.
    publish(&broker, ["x", "c", "d"]).await;
    until(&subscription, |stats| stats.dead_lettered == 6).await;
    assert_eq!(began.elapsed().as_secs(), 20);
}
