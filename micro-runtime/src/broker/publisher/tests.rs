use std::sync::Mutex;

use super::*;
use crate::broker::{Event, Memory, MemoryConsumer, Topic};
use crate::context::Context;
use crate::deadline::Deadline;
use crate::error::ErrorKind;
use crate::lock::lock;
use crate::metadata::Metadata;
use crate::status::Code;

/// Keeps what is published; takes each event a second, and refuses those whose body says so.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Vec<(Message, Delivery, Duration)>>>);

impl Broker for Fake {
    type Consumer = MemoryConsumer;

    fn name(&self) -> &'static str {
        "fake"
    }

    fn check(&self, delivery: Delivery) -> Result<(), Error> {
        match delivery {
            Delivery::AtMostOnce => Ok(()),
            Delivery::AtLeastOnce => Err(Error::new(ErrorKind::Unsupported, "not here")),
        }
    }

    async fn publish(
        &self,
        message: Message,
        delivery: Delivery,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let refused = message.body.ends_with(b"refuse");
        lock(&self.0).push((message, delivery, deadline.left()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        match refused {
            true => Err(Error::broker("refused")),
            false => Ok(()),
        }
    }

    async fn subscribe(&self, topic: &Topic) -> Result<MemoryConsumer, Error> {
        Memory::new().subscribe(topic).await
    }
}

fn publisher(fake: &Fake) -> Publisher<String> {
    Publisher::new(&AnyBroker::new(fake.clone()), "greetings")
}

fn shown(headers: &Metadata) -> Vec<String> {
    headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_goes_out_with_its_headers() {
    let fake = Fake::default();
    let greetings = publisher(&fake).of_service("web");
    let hi = "hi".to_owned();
    greetings.publish(&hi).await.unwrap();
    greetings
        .clone()
        .json()
        .publish(&hi)
        .metadata("X-A", "1")
        .id("7")
        .key("k")
        .await
        .unwrap();
    let sent = lock(&fake.0).clone();
    let (first, second) = (&sent[0].0, &sent[1].0);
    assert_eq!(first.topic, "greetings");
    assert_eq!(&first.body[..], b"\x0a\x02hi");
    assert_eq!((first.id.as_str(), first.key.as_deref()), ("", None));
    assert_eq!(
        shown(&first.headers),
        [
            "content-type: application/protobuf",
            "micro-topic: greetings",
            "micro-from-service: web"
        ]
    );
    assert_eq!(&second.body[..], br#""hi""#);
    assert_eq!(
        (second.id.as_str(), second.key.as_deref()),
        ("7", Some("k"))
    );
    assert_eq!(
        shown(&second.headers),
        [
            "x-a: 1",
            "content-type: application/json",
            "micro-topic: greetings",
            "micro-id: 7",
            "micro-from-service: web"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_made_by_hand_keeps_its_headers() {
    let fake = Fake::default();
    let message = Message::new("other", "hi")
        .header("content-type", "text/plain")
        .header("micro-id", "9");
    publisher(&fake).publish_raw(message).await.unwrap();
    let sent = lock(&fake.0).clone();
    let message = &sent[0].0;
    assert_eq!(
        (message.topic.as_str(), message.id.as_str()),
        ("other", "9")
    );
    assert_eq!(
        shown(&message.headers),
        [
            "content-type: text/plain",
            "micro-topic: other",
            "micro-id: 9"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_context_is_inherited_from_where_the_publish_is_made() {
    let fake = Fake::default();
    let greetings = publisher(&fake);
    let metadata = [
        ("x-user", "7"),
        ("x-a", "inherited"),
        ("authorization", "secret"),
        ("micro-topic", "other"),
        ("x-mood", "schön"),
    ];
    let context = Context::with_metadata(metadata.into_iter().collect());
    let hi = "hi".to_owned();
    let publish = context.enter(|| greetings.publish(&hi).metadata("x-a", "own"));
    publish.await.unwrap();
    let late = Context::of_event(
        Event::new("t", Metadata::new(), "", 1, None),
        Some(Deadline::after(Duration::from_secs(2))),
    );
    greetings.publish(&hi).context(&late).await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let error = greetings.publish(&hi).context(&late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Broker);
    let sent = lock(&fake.0).clone();
    assert_eq!(
        shown(&sent[0].0.headers),
        [
            "x-a: own",
            "x-user: 7",
            "content-type: application/protobuf",
            "micro-topic: greetings"
        ]
    );
    assert_eq!(sent[0].2, TIMEOUT);
    assert_eq!(sent[1].2, Duration::from_secs(2));
    assert_eq!(sent.len(), 2, "what comes too late is not sent");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_not_sent() {
    let fake = Fake::default();
    let hi = "hi".to_owned();
    let error = publisher(&fake)
        .delivery(Delivery::AtLeastOnce)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let nowhere = Publisher::<String>::new(&AnyBroker::new(fake.clone()), "a b");
    for publish in [
        nowhere.publish(&hi),
        publisher(&fake).publish(&hi).metadata("x a", "1"),
        publisher(&fake).publish(&hi).metadata("x-a", "new\nline"),
        publisher(&fake)
            .publish(&hi)
            .metadata("content-type", "x/y"),
        publisher(&fake).publish(&hi).id("new\nline"),
        publisher(&fake).publish_raw(Message::new("a b", "")),
        publisher(&fake).publish_raw(Message::default().header("content-type", "\r\n")),
    ] {
        let error = publish.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    assert!(lock(&fake.0).is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_its_bound_a_publish_waits_until_its_deadline() {
    let fake = Fake::default();
    let greetings = publisher(&fake).in_flight(2);
    let hi = "hi".to_owned();
    let tasks: Vec<_> = (0..5)
        .map(|n| {
            // The first two begin at once, two more after a second; the last gives up before.
            let timeout = Duration::from_millis(if n == 4 { 500 } else { 5000 });
            tokio::spawn(greetings.publish(&hi).timeout(timeout))
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(lock(&fake.0).len(), 2);
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap().map_err(|error| error.to_string()));
    }
    let error = results.pop().unwrap().unwrap_err();
    assert!(error.contains("2 publishes in flight"), "{error}");
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(lock(&fake.0).len(), 4);
    drop(greetings.publish(&hi));
    greetings.publish(&hi).await.unwrap();
}

/// A service makes a publisher for each event, if its author likes that.
#[tokio::test(start_paused = true)]
async fn publishers_of_one_broker_share_its_bound() {
    let fake = Fake::default();
    let broker = AnyBroker::new(fake.clone());
    let hi = "hi".to_owned();
    let mut tasks = Vec::new();
    for n in 0..1_030 {
        let publisher = Publisher::<String>::new(&broker.clone(), format!("t{}", n % 2));
        tasks.push(tokio::spawn(publisher.publish(&hi)));
    }
    // The clock goes on when all of them wait.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(lock(&fake.0).len(), 1_024);
    let late = Publisher::<String>::new(&broker, "t").timeout(Duration::from_millis(500));
    let error = late.publish(&hi).await.unwrap_err().to_string();
    assert!(error.contains("1024 publishes in flight"), "{error}");
    // With a bound of its own it waits for nobody else's.
    late.in_flight(1)
        .timeout(TIMEOUT)
        .publish(&hi)
        .await
        .unwrap();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(lock(&fake.0).len(), 1_031);
}

#[tokio::test(start_paused = true)]
async fn many_are_published_side_by_side_and_those_not_kept_are_told() {
    let fake = Fake::default();
    let greetings = publisher(&fake).in_flight(4);
    let events: Vec<_> = (0..10)
        .map(|n| format!("{n} {}", if n % 5 == 3 { "refuse" } else { "take" }))
        .collect();
    let began = tokio::time::Instant::now();
    let error = greetings
        .publish_all(&events)
        .metadata("x-a", "1")
        .await
        .unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(3), "four at a time");
    let failed: Vec<_> = error.failed().iter().map(|(index, _)| *index).collect();
    assert_eq!((failed, error.of()), (vec![3, 8], 10));
    assert_eq!(
        error.to_string(),
        "2 of 10 events are not known to be kept; event 3: refused"
    );
    assert_eq!(Error::from(error).kind(), ErrorKind::Broker);
    let sent = lock(&fake.0).clone();
    let order: Vec<_> = sent
        .iter()
        .map(|(message, ..)| String::from_utf8_lossy(&message.body[2..3]).into_owned())
        .collect();
    assert_eq!(order.concat(), "0123456789");
    assert!(
        sent.iter()
            .all(|(message, ..)| message.headers.get("x-a") == Some("1"))
    );
    greetings.publish_all([]).await.unwrap();
}

#[tokio::test]
async fn an_event_published_at_least_once_has_an_id() {
    let memory = AnyBroker::new(Memory::new());
    let mut consumer = memory.subscribe(&Topic::new("greetings")).await.unwrap();
    let greetings = Publisher::<String>::new(&memory, "greetings")
        .delivery(Delivery::AtLeastOnce)
        .unwrap();
    greetings.publish(&"hi".to_owned()).await.unwrap();
    let next = std::future::poll_fn(|cx| {
        futures_core::Stream::poll_next(std::pin::Pin::new(&mut consumer), cx)
    });
    let event = next.await.unwrap().unwrap();
    let id = event.headers().get("micro-id").unwrap();
    assert!(uuid::Uuid::parse_str(id).is_ok(), "{id}");
}

/// Of what cannot be sent the others know nothing, and their places stay their own.
#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_keeps_its_place_among_many() {
    let fake = Fake::default();
    let greetings = Publisher::<Fussy>::new(&AnyBroker::new(fake.clone()), "greetings");
    let events = ["a", "", "b", "refuse", "", "c"].map(Fussy);
    let error = greetings.publish_all(&events).await.unwrap_err();
    let failed: Vec<_> = error
        .failed()
        .iter()
        .map(|(place, error)| (*place, error.kind()))
        .collect();
    assert_eq!(
        failed,
        [
            (1, ErrorKind::Call),
            (3, ErrorKind::Broker),
            (4, ErrorKind::Call)
        ]
    );
    assert_eq!(lock(&fake.0).len(), 4);
    // More than go to the broker together.
    let many: Vec<_> = (0..700)
        .map(|n| Fussy(if n % 100 == 99 { "refuse" } else { "a" }))
        .collect();
    let error = greetings.publish_all(&many).await.unwrap_err();
    let places: Vec<_> = error.failed().iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [99, 199, 299, 399, 499, 599, 699]);
    let late = greetings
        .clone()
        .in_flight(4)
        .timeout(Duration::from_millis(1_500))
        .publish_all(&many[..10])
        .await
        .unwrap_err();
    let places: Vec<_> = late.failed().iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [8, 9], "no room in time");
}

/// Text that cannot be written when it is empty.
struct Fussy(&'static str);

impl Payload for Fussy {
    fn encode(&self, _: &Encoding) -> Result<Body, Status> {
        match self.0 {
            "" => Err(Status::new(Code::InvalidArgument, "it is empty")),
            text => Ok(Body {
                content_type: None,
                bytes: Bytes::from_static(text.as_bytes()),
            }),
        }
    }

    fn decode(_: &Event) -> Result<Fussy, Status> {
        Err(Status::new(Code::Unimplemented, "nobody reads it"))
    }
}
