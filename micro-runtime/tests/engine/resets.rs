//! Each reset code, both ways; what dropping does; panics.

use bytes::Bytes;
use micro_runtime::exchange::{
    BoxFuture, Broken, Exchange, Frame, Incoming, Processed, Why, reset,
};
use tokio::sync::mpsc;

use crate::kit::{
    alive, app, ask, closed, echo, frame, head, ok, open, quiet, ready, request, rest, spawned,
    whole,
};
use crate::rig::Rig;

crate::on_every_engine! {
    each_code_from_the_server
    each_code_after_some_data
    each_code_from_the_client
    a_reply_dropped_unfinished
    a_request_dropped_unfinished
    a_reply_that_is_not_wanted
    a_panic_hurts_nobody_else
}

const CODES: std::ops::RangeInclusive<u32> = 0..=13;

fn processed(code: u32) -> Processed {
    match code {
        reset::REFUSED_STREAM => Processed::No,
        _ => Processed::Maybe,
    }
}

async fn each_code_from_the_server(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|exchange: Exchange| async move {
            match exchange.head.path().strip_prefix("/reset/") {
                Some(code) => exchange.reply.reset(code.parse().unwrap()),
                None => echo(exchange).await,
            }
        }))
        .await;
    for code in CODES {
        let path: &'static str = format!("/reset/{code}").leak();
        // Both a request that is whole and one that is not.
        for end in [true, false] {
            let (mut outgoing, mut reply) =
                pair.connection.try_open(request(path), None, end).unwrap();
            let broken = head(&mut reply).await.unwrap_err();
            assert_eq!(broken.why, Why::Reset(code));
            assert_eq!(broken.processed, processed(code));
            assert!(matches!(frame(&mut reply).await, None | Some(Err(_))));
            if !end {
                assert_eq!(closed(&mut outgoing).await.why, Why::Reset(code));
                assert!(ready(&mut outgoing).await.is_err());
                assert!(outgoing.data(Bytes::from_static(b"x"), false).is_err());
            }
        }
        alive(&pair.connection).await;
    }
    quiet(&pair.connection).await;
}

async fn each_code_after_some_data(rig: &dyn Rig) {
    let pair = rig
        .pair(app(|mut exchange: Exchange| async move {
            if exchange.head.path() != "/reset" {
                return echo(exchange).await;
            }
            let (asked, _) = rest(&mut exchange.body).await.unwrap();
            let mut reply = exchange.reply;
            reply.head(ok(), false).unwrap();
            reply.data(Bytes::from_static(b"data"), false).unwrap();
            // Until it is known to have arrived: a reset overtakes what is still queued.
            let arrived = std::future::poll_fn(|cx| reply.poll_ready(cx)).await;
            assert!(arrived.is_ok());
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
            reply.reset(u32::from(asked[0]));
        }))
        .await;
    for code in CODES {
        let code_byte = Bytes::from(vec![code as u8]);
        let (_, mut reply) = pair
            .connection
            .try_open(request("/reset"), Some(code_byte), true)
            .unwrap();
        // Everything that arrives before the reset is given first.
        let broken = until_broken(&mut reply).await;
        assert_eq!(broken.why, Why::Reset(code));
    }
    alive(&pair.connection).await;
    quiet(&pair.connection).await;
}

async fn until_broken(reply: &mut Incoming) -> Broken {
    match head(reply).await {
        Err(broken) => return broken,
        Ok(head) => assert_eq!(head.status(), 200),
    }
    loop {
        match frame(reply).await {
            Some(Ok(Frame::Data(bytes))) => assert_eq!(bytes, "data"),
            Some(Err(broken)) => return broken,
            other => panic!("expected a reset, found {other:?}"),
        }
    }
}

/// How an exchange was broken off: as its reply saw it, and as its request did.
type Report = (Broken, Result<(), Broken>);

/// Handlers report how their exchange was broken off.
fn reporting() -> (
    mpsc::UnboundedReceiver<Report>,
    impl Fn(Exchange) -> BoxFuture<'static, ()> + Send + Sync + 'static,
) {
    let (report, reports) = mpsc::unbounded_channel();
    let handler = move |exchange: Exchange| -> BoxFuture<'static, ()> {
        let report = report.clone();
        Box::pin(async move {
            if exchange.head.path() == "/a.B/C" {
                return echo(exchange).await;
            }
            let (mut body, mut reply) = (exchange.body, exchange.reply);
            let why = closed(&mut reply).await;
            let read = rest(&mut body).await.map(drop);
            report.send((why, read)).unwrap();
        })
    };
    (reports, handler)
}

async fn each_code_from_the_client(rig: &dyn Rig) {
    let (mut reports, handler) = reporting();
    let pair = rig.pair(app(handler)).await;
    for code in CODES {
        let (outgoing, mut reply) = pair
            .connection
            .try_open(request("/wait"), Some(Bytes::from_static(b"x")), false)
            .unwrap();
        // The request is there before it is broken off.
        alive(&pair.connection).await;
        outgoing.reset(code);
        let (why, read) = reports.recv().await.unwrap();
        assert_eq!(why.why, Why::Reset(code));
        assert_eq!(read.unwrap_err().why, Why::Reset(code));
        // The side that resets gets the same from its own receiving half.
        assert_eq!(head(&mut reply).await.unwrap_err().why, Why::Reset(code));
    }
    alive(&pair.connection).await;
    quiet(&pair.connection).await;
}

async fn a_reply_dropped_unfinished(rig: &dyn Rig) {
    let pair = rig
        .pair(spawned(|mut exchange: Exchange| async move {
            match exchange.head.path() {
                "/before" => drop(exchange),
                "/after" => exchange.reply.head(ok(), false).unwrap(),
                _ => echo(exchange).await,
            }
        }))
        .await;
    for path in ["/before", "/after"] {
        let (_, mut reply) = pair.connection.try_open(request(path), None, true).unwrap();
        let broken = whole(&mut reply).await.unwrap_err();
        assert_eq!(broken.why, Why::Reset(reset::INTERNAL_ERROR));
        assert_eq!(broken.processed, Processed::Maybe);
    }
    alive(&pair.connection).await;
    quiet(&pair.connection).await;
}

async fn a_request_dropped_unfinished(rig: &dyn Rig) {
    let (mut reports, handler) = reporting();
    let pair = rig.pair(app(handler)).await;
    let (outgoing, mut reply) = pair
        .connection
        .try_open(request("/wait"), Some(Bytes::from_static(b"x")), false)
        .unwrap();
    alive(&pair.connection).await;
    drop(outgoing);
    let (why, read) = reports.recv().await.unwrap();
    assert_eq!(why.why, Why::Reset(reset::CANCEL));
    assert!(
        read.is_err(),
        "half a request must not look like a whole one"
    );
    assert!(head(&mut reply).await.is_err());
    quiet(&pair.connection).await;
}

async fn a_reply_that_is_not_wanted(rig: &dyn Rig) {
    let (mut reports, handler) = reporting();
    let pair = rig.pair(app(handler)).await;
    for end in [true, false] {
        let (mut outgoing, reply) = pair
            .connection
            .try_open(request("/wait"), Some(Bytes::from_static(b"x")), end)
            .unwrap();
        alive(&pair.connection).await;
        drop(reply);
        let (why, read) = reports.recv().await.unwrap();
        assert_eq!(why.why, Why::Reset(reset::CANCEL));
        assert_eq!(read.is_ok(), end, "what came whole can still be read");
        if !end {
            assert_eq!(closed(&mut outgoing).await.why, Why::Reset(reset::CANCEL));
        }
    }
    quiet(&pair.connection).await;
    let (mut outgoing, mut reply) = open(&pair.connection);
    outgoing.data(Bytes::from_static(b"x"), true).unwrap();
    assert!(whole(&mut reply).await.is_ok());
}

async fn a_panic_hurts_nobody_else(rig: &dyn Rig) {
    let handler = |exchange: Exchange| async move {
        match exchange.head.path() {
            "/at-once" => panic!("a handler panics, as this test wants it to"),
            "/later" => {
                tokio::task::yield_now().await;
                panic!("a handler panics later, as this test wants it to");
            }
            _ => echo(exchange).await,
        }
    };
    for app in [app(handler), spawned(handler)] {
        let pair = rig.pair(app).await;
        for path in ["/at-once", "/later"] {
            let mut other = ask(&pair.connection, "other");
            let (_, mut reply) = pair.connection.try_open(request(path), None, true).unwrap();
            let broken = whole(&mut reply).await.unwrap_err();
            assert_eq!(broken.why, Why::Reset(reset::INTERNAL_ERROR));
            assert!(whole(&mut other).await.is_ok());
        }
        alive(&pair.connection).await;
    }
}
