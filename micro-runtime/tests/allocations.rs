//! How often memory is allocated for a unary call and for an event, exactly, so that one that allocates once more
//! is seen.
//!
//! Client and server run in one thread, over HTTP/2 and in-process; a few calls go ahead, so that what is made
//! once (connections, tables, buffers) does not count.

use std::sync::Arc;

use micro_runtime::broker::{self, AnyBroker, Delivery, Memory, Publisher, Topic};
use micro_runtime::codec::Prost;
use micro_runtime::exchange::{ConnInfo, Connection, Drainer, Io, PeerAddr};
use micro_runtime::method::{Method, MethodKind};
use micro_runtime::registry::{Node, Service};
use micro_runtime::selector::{CallInfo, P2c, Picker, Random, RoundRobin, Strategy, Weighted};
use micro_runtime::server::{Routes, ServerOptions};
use micro_runtime::transport::{ClientLimits, ServerLimits, http2, local};
use micro_runtime::{Client, Context, Server};

/// What may be found. Five belong to the messages: the request, its copy on the server, the reply, and what
/// each of the two is written into. The client adds one more, the timer of the deadline.
const IN_PROCESS: f64 = 22.5;
const OVER_HTTP2: f64 = 27.5;
/// Of an event: its body, its headers, what the handler decodes, its context.
const AT_MOST_ONCE: f64 = 11.5;
const AT_LEAST_ONCE: f64 = 16.5;

static SAY: Method<String, String> = Method::new::<Prost>(
    MethodKind::Unary,
    "test.Echo",
    "Say",
    "/test.Echo/Say",
    "Echo.Say",
);

fn server() -> Server {
    let server = Server::new("echo", ServerOptions::new());
    let routes = Routes::new("test.Echo");
    server
        .add(routes.unary(
            &SAY,
            &Arc::new(()),
            |_, _, name: String| async move { Ok(name) },
        ))
        .unwrap();
    server
}

/// The allocations of one call: of the client, the server and the engine between them.
fn of_a_call(connect: impl AsyncFn(Server) -> Connection) -> f64 {
    const CALLS: u32 = 200;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connection = runtime.block_on(connect(server()));
    let target = Client::over(connection).target("echo");
    let calls = || {
        runtime.block_on(async {
            for _ in 0..CALLS {
                let reply = target.unary(&SAY, "World".to_owned()).await;
                assert_eq!(reply.unwrap(), "World");
            }
        });
    };
    calls();
    let counted = allocation_counter::measure(calls);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let total = counted.count_total as f64;
    total / f64::from(CALLS)
}

#[test]
fn in_process() {
    let average = of_a_call(async |server| local::connect(Arc::new(server)));
    assert!(average <= IN_PROCESS, "found {average} allocations a call");
}

#[test]
fn over_http2() {
    let average = of_a_call(async |server| {
        let (near, far) = tokio::io::duplex(1 << 16);
        let info = || ConnInfo::new(PeerAddr::Local, PeerAddr::Local);
        tokio::spawn(async move {
            let (_drainer, drain) = Drainer::new();
            http2::serve(
                Io::new(far),
                info(),
                &ServerLimits::new(),
                Arc::new(server),
                drain,
            )
            .await
        });
        http2::connect(Io::new(near), info(), &ClientLimits::new())
            .await
            .unwrap()
    });
    assert!(average <= OVER_HTTP2, "found {average} allocations a call");
}

/// The allocations of one event: of the publisher, the broker in memory and the handler between them.
fn of_an_event(delivery: Delivery) -> f64 {
    const EVENTS: u32 = 200;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let broker = AnyBroker::new(Memory::new());
    let publisher = Publisher::<String>::new(&broker, "t")
        .delivery(delivery)
        .unwrap();
    let subscription = runtime.block_on(async {
        let topic = Topic::new("t").queue("q").delivery(delivery);
        let handler = async |_: Context, text: String| {
            assert_eq!(text, "World");
            Ok(())
        };
        let subscription = broker::subscribe(&broker, topic, handler).unwrap();
        subscription.ready().await.unwrap();
        subscription
    });
    let text = "World".to_owned();
    let events = |before: u64| {
        runtime.block_on(async {
            for _ in 0..EVENTS {
                publisher.publish(&text).await.unwrap();
            }
            let all = before + u64::from(EVENTS);
            subscription.reached(|stats| stats.handled == all).await;
        });
    };
    events(0);
    let counted = allocation_counter::measure(|| events(u64::from(EVENTS)));
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let total = counted.count_total as f64;
    total / f64::from(EVENTS)
}

#[test]
fn an_event_at_most_once() {
    let average = of_an_event(Delivery::AtMostOnce);
    assert!(
        average <= AT_MOST_ONCE,
        "found {average} allocations an event"
    );
}

#[test]
fn an_event_at_least_once() {
    let average = of_an_event(Delivery::AtLeastOnce);
    assert!(
        average <= AT_LEAST_ONCE,
        "found {average} allocations an event"
    );
}

#[test]
fn a_pick_allocates_nothing() {
    let strategies: [(&str, Arc<dyn Strategy>); 4] = [
        ("p2c", Arc::new(P2c)),
        ("random", Arc::new(Random)),
        ("round_robin", Arc::new(RoundRobin)),
        ("weighted", Arc::new(Weighted)),
    ];
    for (name, strategy) in strategies {
        let picker = Picker::new(strategy);
        let nodes = (0..100).map(|n| Node {
            id: n.to_string(),
            address: format!("10.0.0.{n}:5000"),
            metadata: [("weight".to_owned(), (n % 3).to_string())].into(),
        });
        picker.update(vec![Service {
            nodes: nodes.collect(),
            ..Service::default()
        }]);
        let call = CallInfo::new("greeter", "/Greeter/Hello");
        // Some are aside; none of them is due to be probed within the second that this takes.
        for _ in 0..10 {
            picker.pick(&call).unwrap().unreachable();
        }
        let counted = allocation_counter::measure(|| {
            for n in 0..10_000 {
                let pick = picker.pick(&call).unwrap();
                match n % 10 {
                    0 => drop(pick),
                    1 => pick.failed(micro_runtime::Code::NotFound),
                    _ => pick.succeeded(),
                }
            }
        });
        assert_eq!(counted.count_total, 0, "{name}");
    }
}
