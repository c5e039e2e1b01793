//! A service's events: publishers to its broker, and subscriptions that live as long as it does.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::Service;
use crate::broker::{
    AnyBroker, Batch, Broker, Payload, Prepared, Publisher, Subscription, Topic, prepare,
    prepare_batch,
};
use crate::context::Context;
use crate::error::Error;
use crate::events;
use crate::lock::lock;
use crate::registry::{Endpoint, Value, keys};
use crate::status::Result as Outcome;

/// How long a start waits for its subscriptions; those that are not open by then go on in the background.
const OPENING: Duration = Duration::from_secs(5);

/// How long a broker may take to let go of its connections at the end.
const CLOSING: Duration = Duration::from_secs(5);

/// The subscriptions of a service.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Those that the start opens.
    prepared: Vec<Prepared>,
    open: Vec<Subscription>,
    /// What the registry is told of them.
    told: Vec<Told>,
}

/// What the registry is told of a subscription.
#[derive(Debug)]
struct Told {
    subscription: Subscription,
    /// The type of its messages.
    message: &'static str,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Before,
    Running,
    Over,
}

// ===== impl Service =====

impl Service {
    /// Its broker.
    #[must_use]
    pub fn broker(&self) -> &AnyBroker {
        &self.0.broker
    }

    /// A publisher to a topic of its broker: at most once, as protobuf, 5 s for each event. It works whether
    /// the service runs or not.
    ///
    /// ```no_run
    /// # async fn example(service: micro_runtime::Service) -> Result<(), micro_runtime::Error> {
    /// let greetings = service.publisher::<String>("greetings");
    /// greetings.publish(&"hello".to_owned()).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn publisher<E: Payload>(&self, topic: impl Into<String>) -> Publisher<E> {
        Publisher::new(&self.0.broker, topic).of_service(self.name())
    }

    /// Subscribes a handler to a topic, as [`broker::subscribe`](crate::broker::subscribe) does, for as long
    /// as the service runs. Before its start it is only checked: the start opens it before the service makes
    /// itself known. When the service stops, no event is handed out any more, and handlers that run finish
    /// within the [grace](super::ServiceBuilder::stop_grace).
    ///
    /// A handler takes an event at least as often as it is subscribed: twice, if it is subscribed twice.
    ///
    /// ```no_run
    /// use micro_runtime::broker::Topic;
    /// use micro_runtime::Context;
    ///
    /// # fn example(service: micro_runtime::Service) -> Result<(), micro_runtime::Error> {
    /// service.subscribe(Topic::new("greetings").queue("greeters"), async |_ctx: Context, text: String| {
    ///     println!("{text}");
    ///     Ok(())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`broker::subscribe`](crate::broker::subscribe), and `Config` when the service has stopped.
    pub fn subscribe<E, F, Fut>(&self, topic: Topic, handler: F) -> Result<Subscription, Error>
    where
        E: Payload,
        F: Fn(Context, E) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome<()>> + Send + 'static,
    {
        let prepared = prepare(&self.0.broker, topic, handler)?;
        self.0.subscriptions.add(prepared, message_name::<E>())
    }

    /// Subscribes a handler that takes events in batches, as
    /// [`broker::subscribe_batch`](crate::broker::subscribe_batch) does, for as long as the service runs.
    ///
    /// # Errors
    /// As [`subscribe`](Service::subscribe).
    pub fn subscribe_batch<E, F, Fut>(
        &self,
        topic: Topic,
        handler: F,
    ) -> Result<Subscription, Error>
    where
        E: Payload,
        F: Fn(Context, Batch<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome<()>> + Send + 'static,
    {
        let prepared = prepare_batch(&self.0.broker, topic, handler)?;
        self.0.subscriptions.add(prepared, message_name::<E>())
    }
}

// ===== impl Subscriptions =====

impl Subscriptions {
    fn add(&self, prepared: Prepared, message: &'static str) -> Result<Subscription, Error> {
        let mut state = lock(&self.0);
        let subscription = match state.phase {
            Phase::Before => {
                let subscription = prepared.subscription().clone();
                state.prepared.push(prepared);
                subscription
            }
            Phase::Running => {
                let subscription = prepared.launch()?;
                state.open.retain(|known| !known.has_ended());
                state.open.push(subscription.clone());
                subscription
            }
            Phase::Over => {
                return Err(Error::config(format_args!(
                    "cannot subscribe to the topic {:?}: the service has stopped",
                    prepared.subscription().topic().name()
                )));
            }
        };
        state.told.retain(|told| !told.subscription.has_ended());
        state.told.push(Told {
            subscription: subscription.clone(),
            message,
        });
        Ok(subscription)
    }

    /// Its subscriptions as go-micro's servers describe functions that subscribe: behind the methods, by topic, the
    /// last one first.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let state = lock(&self.0);
        let living = state
            .told
            .iter()
            .filter(|told| !told.subscription.has_ended());
        let mut endpoints: Vec<_> = living
            .map(|told| Endpoint {
                name: "Func".to_owned(),
                request: Some(Value {
                    name: told.message.to_owned(),
                    kind: told.message.to_owned(),
                    values: Vec::new(),
                }),
                response: None,
                metadata: [
                    (keys::SUBSCRIBER, "true"),
                    (keys::TOPIC, told.subscription.topic().name()),
                ]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            })
            .collect();
        endpoints.sort_by(|a, b| b.metadata.cmp(&a.metadata));
        endpoints
    }

    /// Opens those that were added before the start, and waits for them, but not for ever.
    ///
    /// # Errors
    /// The broker refuses one of them for good.
    pub(super) async fn start(&self, broker: &AnyBroker) -> Result<(), Error> {
        let opening = {
            let mut state = lock(&self.0);
            state.phase = Phase::Running;
            let mut opening = Vec::new();
            for prepared in std::mem::take(&mut state.prepared) {
                let subscription = prepared.launch()?;
                state.open.push(subscription.clone());
                opening.push(subscription);
            }
            opening
        };
        let until = Instant::now() + OPENING;
        for subscription in opening {
            match timeout_at(until, subscription.ready()).await {
                Ok(Err(error)) if !subscription.is_asked_to_stop() => return Err(error),
                Ok(_) => {}
                Err(_) => {
                    events::not_yet_subscribed(broker.name(), subscription.topic().name(), OPENING);
                }
            }
        }
        Ok(())
    }

    /// Ends all, at once and side by side; each has this time for its handlers.
    pub(super) async fn stop(&self, grace: Duration) {
        let open = {
            let mut state = lock(&self.0);
            state.phase = Phase::Over;
            state.prepared.clear();
            state.open.clone()
        };
        let mut stopping = JoinSet::new();
        for subscription in open {
            // Asked here, so that it ends even if nobody waits.
            subscription.ask_to_stop(grace);
            stopping.spawn(async move { subscription.stop(grace).await });
        }
        while stopping.join_next().await.is_some() {}
    }

    /// Has all end at once, and waits for none.
    pub(super) fn cut(&self) {
        let mut state = lock(&self.0);
        state.phase = Phase::Over;
        for subscription in &state.open {
            subscription.ask_to_stop(Duration::ZERO);
        }
    }
}

/// The name of a type, without its module and its parameters.
fn message_name<E>() -> &'static str {
    let name = std::any::type_name::<E>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

/// Ends what a broker keeps open.
pub(super) async fn close(broker: &AnyBroker) {
    let _ = tokio::time::timeout(CLOSING, broker.close()).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Notify;

    use super::*;
    use crate::broker::{Delivery, Event, Memory};
    use crate::registry::{self, Registry};

    fn service(broker: &Memory) -> Service {
        Service::new("billing")
            .address("127.0.0.1:0")
            .registry(registry::Memory::new())
            .broker(broker.clone())
            .stop_grace(Duration::from_secs(5))
            .build()
            .unwrap()
    }

    fn topic() -> Topic {
        Topic::new("orders")
            .queue("billing")
            .delivery(Delivery::AtLeastOnce)
    }

    #[tokio::test]
    async fn subscriptions_live_from_start_to_stop() {
        let broker = Memory::new();
        let service = service(&broker);
        let begun = Arc::new(Notify::new());
        let handler = {
            let begun = Arc::clone(&begun);
            move |ctx: Context, text: String| {
                let begun = Arc::clone(&begun);
                async move {
                    assert_eq!(ctx.metadata().get("micro-from-service"), Some("billing"));
                    begun.notify_one();
                    match text.as_str() {
                        "slow" => std::future::pending().await,
                        _ => Ok(()),
                    }
                }
            }
        };
        let first = service.subscribe(topic(), handler.clone()).unwrap();
        let orders = service.publisher::<String>("orders");
        let orders = orders.delivery(Delivery::AtLeastOnce).unwrap();
        let running = service.start().await.unwrap();
        first.ready().await.unwrap();
        orders.publish(&"fast".to_owned()).await.unwrap();
        begun.notified().await;
        let broadcast = Topic::new("orders");
        let second =
            service.subscribe_batch(broadcast, async |_: Context, batch: Batch<String>| {
                assert!(!batch.is_empty());
                Ok(())
            });
        let second = second.unwrap();
        second.ready().await.unwrap();
        orders.publish(&"fast".to_owned()).await.unwrap();
        begun.notified().await;
        running.stop().await.unwrap();
        assert_eq!((first.stats().handled, second.stats().handled), (2, 1));
        let error = service.subscribe(topic(), handler).unwrap_err();
        assert!(error.to_string().contains("has stopped"), "{error}");
    }

    #[tokio::test]
    async fn subscriptions_are_described_as_go_describes_them() {
        let broker = Memory::new();
        let service = service(&broker);
        let handler = async |_: Context, _: String| Ok(());
        service.subscribe(topic(), handler).unwrap();
        let raw = async |_: Context, _: Batch<Event>| Ok(());
        service.subscribe_batch(Topic::new("refunds"), raw).unwrap();
        let running = service.start().await.unwrap();
        let late = service.subscribe(Topic::new("late"), handler).unwrap();
        let shown = || -> Vec<String> {
            let endpoints = service.0.subscriptions.endpoints().into_iter();
            endpoints
                .map(|endpoint| {
                    assert_eq!((&*endpoint.name, &endpoint.response), ("Func", &None));
                    assert_eq!(endpoint.metadata["subscriber"], "true");
                    let request = endpoint.request.unwrap();
                    assert_eq!(request.name, request.kind);
                    format!("{} {}", endpoint.metadata["topic"], request.kind)
                })
                .collect()
        };
        assert_eq!(shown(), ["refunds Event", "orders String", "late String"]);
        late.stop(Duration::ZERO).await;
        assert_eq!(shown(), ["refunds Event", "orders String"]);
        let found = Registry::get(service.registry(), "billing").await.unwrap();
        let topics: Vec<_> = found[0]
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.metadata.get("topic"))
            .collect();
        assert_eq!(topics, ["refunds", "orders"]);
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn dropped_it_cuts_its_handlers() {
        let broker = Memory::new();
        let service = service(&broker);
        let begun = Arc::new(Notify::new());
        let subscription = service.subscribe(topic(), {
            let begun = Arc::clone(&begun);
            move |_: Context, _: String| {
                begun.notify_one();
                std::future::pending::<Outcome<()>>()
            }
        });
        let running = service.start().await.unwrap();
        let orders = service.publisher::<String>("orders");
        orders.publish(&"a".to_owned()).await.unwrap();
        begun.notified().await;
        drop(running);
        let subscription = subscription.unwrap();
        subscription.stop(Duration::from_secs(3600)).await;
        assert_eq!(subscription.stats().returned, 1);
    }

    #[test]
    fn a_service_that_never_starts_has_nothing_to_end() {
        let service = service(&Memory::new());
        let handler = async |_: Context, _: String| Ok(());
        let subscription = service.subscribe(topic(), handler).unwrap();
        assert_eq!(Broker::name(service.broker()), "memory");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(subscription.stop(Duration::from_secs(3600)));
    }
}
