//! Nodes that die, hang, are slow, are restarted, refuse.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use micro_runtime::client::{ClientOptions, Hedging};
use micro_runtime::registry::Fixed;
use micro_runtime::selector::{CallInfo, Nodes, P2c, Strategy};
use micro_runtime::{Code, Context, Service};
use micro_tests::front::v1::new_front_service;
use micro_tests::peer::v1::{PeerService, Req, new_peer_service};
use micro_tests::proxy::Proxy;
use tokio::time::{Instant, timeout};

use super::{Ask, Bounds, NAME, Outcome, Row, client, pass, row};
use crate::fleet::{Fleet, Setup};
use crate::load::{Calls, Load, Records};

pub(super) fn rows(rows: &mut Vec<Row>) {
    rows.push(row("killed", killed));
    rows.push(row("stopped", |ask| hangs(ask, Hang::Stopped, None)));
    rows.push(row("swallowed", |ask| hangs(ask, Hang::Swallowed, None)));
    let hedging = Hedging::after(HEDGE);
    rows.push(row("stopped, hedged", move |ask| {
        hangs(ask, Hang::Stopped, Some(hedging))
    }));
    rows.push(row("swallowed, hedged", move |ask| {
        hangs(ask, Hang::Swallowed, Some(hedging))
    }));
    rows.push(row("slow", slow));
    rows.push(row("rolling", rolling));
    rows.push(row("refusing", refusing));
}

const SECOND: Duration = Duration::from_secs(1);

/// When a call is sent once more: far above what a healthy node takes, far below the deadline.
const HEDGE: Duration = Duration::from_millis(50);

/// `kill -9` of one of four nodes at 1,000 calls a second, restarted after 10 s.
async fn killed(mut ask: Ask) -> Outcome {
    let mut fleet = Fleet::start(&Setup::alone(NAME), 4).await;
    let (_service, front) = client(Fixed::new(fleet.addresses()))?;
    let load = Load::start(front, 1000, Calls::Both, 5 * SECOND, ask.seed);
    pass(2.0).await;
    let victim = ask.random.usize(..4);
    let node = &mut fleet.nodes[victim];
    node.server.kill9().await;
    pass(10.0).await;
    node.server.restart().await;
    let back = Instant::now();
    let port = node.port;
    let again = load.answered_by(port, back, 10 * SECOND).await;
    pass(3.0).await;
    let settled = Instant::now();
    pass(1.0).await;
    let records = load.end().await?;

    let mut bounds = Bounds::default();
    bounds.note(records.to_string());
    let safe = records.safe().failed();
    bounds.hold(
        safe.len() == 0,
        format!("{} safe calls failed {}", safe.len(), safe.errors()),
    );
    let unsafe_failed = records.failed().len() - safe.len();
    bounds.note(format!("{unsafe_failed} unsafe calls failed"));
    bounds.none("unsafe calls executed twice", &fleet.twice());
    let again = again?;
    bounds.hold(
        again <= 2 * SECOND,
        format!("traffic back after {again:.1?}"),
    );
    let share = records.between(settled, settled + SECOND).share(port);
    bounds.note(format!("share after 3 s {:.1} %", share * 100.0));
    bounds.outcome()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hang {
    Stopped,
    Swallowed,
}

/// One of four stops answering at 500 calls a second with a deadline of 1 s.
async fn hangs(mut ask: Ask, hang: Hang, hedging: Option<Hedging>) -> Outcome {
    let Proxied { fleet, proxies } = proxied().await;
    let addresses = match hang {
        Hang::Stopped => fleet.addresses(),
        Hang::Swallowed => proxies.iter().map(Proxy::address).collect(),
    };
    let picks = Picks::default();
    let service = Service::new("faults.client")
        .registry(Fixed::new(addresses.clone()))
        .strategy(picks.clone())
        .client_options(ClientOptions::new().hedging(hedging))
        .build()
        .map_err(|error| format!("{error:?}"))?;
    let front = new_front_service(NAME, service.client());
    let load = Load::start(front, 500, Calls::Safe, SECOND, ask.seed);
    pass(2.0).await;
    // One that has its part of the calls: whoever is left alone for having been slow is found out later.
    let used: Vec<usize> = (0..4).filter(|n| picks.used(&addresses[*n])).collect();
    let victim = used[ask.random.usize(..used.len())];
    let stop = Instant::now();
    match hang {
        Hang::Stopped => fleet.nodes[victim].server.pause(),
        Hang::Swallowed => proxies[victim].swallow(),
    }
    pass(12.0).await;
    let heal = Instant::now();
    match hang {
        Hang::Stopped => fleet.nodes[victim].server.resume(),
        Hang::Swallowed => proxies[victim].heal(),
    }
    let port = fleet.nodes[victim].port;
    let again = load.answered_by(port, heal, 90 * SECOND).await;
    let records = load.end().await?;

    let mut bounds = Bounds::default();
    // Those that were under way when it stopped are part of it.
    let during = Records(
        records
            .0
            .iter()
            .filter(|each| each.begun + each.took >= stop && each.begun < heal)
            .cloned()
            .collect(),
    );
    bounds.note(during.to_string());
    let failed = during.failed();
    bounds.hold(
        failed.len() * 1000 <= during.len() * if hedging.is_some() { 0 } else { 2 },
        format!(
            "{} of {} failed ({} may) {}",
            failed.len(),
            during.len(),
            if hedging.is_some() { "none" } else { "0.2 %" },
            failed.errors()
        ),
    );
    let late = during.over(Duration::from_millis(100));
    bounds.hold(
        late * 100 <= during.len(),
        format!("{late} took over 100 ms (1 % may)"),
    );
    let sent = picks.of(&addresses[victim], stop, heal);
    let figure = format!(
        "{} calls sent to it since, the first after {:.1?}, the last but for probes after {:.1?}",
        sent.len(),
        sent.first().copied().unwrap_or_default(),
        sent.last().copied().unwrap_or_default()
    );
    if hedging.is_some() {
        // Every call is overtaken before it could be told from one to a node that is only slow.
        bounds.note(figure);
    } else {
        // None at all if a call that was under way has found it out. Were it not put aside, it would have one of some
        // 250 for ever: it is dear, but idle.
        let aside = sent.last().is_none_or(|last| *last <= SECOND);
        bounds.hold(aside, figure);
    }
    bounds.note(format!("back {:.1?} after it answered again", again?));
    bounds.outcome()
}

/// The default strategy, and when it picked which node. The selector's probes of a node that is put aside are no
/// picks of a strategy.
#[derive(Clone, Default)]
struct Picks(Arc<Mutex<Vec<(Instant, String)>>>);

impl Strategy for Picks {
    fn pick(&self, nodes: &Nodes<'_>, call: &CallInfo<'_>) -> Option<usize> {
        let picked = P2c.pick(nodes, call)?;
        let address = nodes.get(picked)?.node().address.clone();
        let mut picks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        picks.push((Instant::now(), address));
        Some(picked)
    }
}

impl Picks {
    /// Whether a tenth of the last 200 calls went to this address; of four nodes there is one at least.
    fn used(&self, address: &str) -> bool {
        let picks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = picks.iter().rev().take(200);
        last.filter(|(_, picked)| picked == address).count() >= 20
    }

    /// When calls were sent to this address within a time, from its beginning.
    fn of(&self, address: &str, from: Instant, to: Instant) -> Vec<Duration> {
        let picks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let within = picks
            .iter()
            .filter(|(at, picked)| picked == address && from <= *at && *at < to);
        let mut after: Vec<_> = within.map(|(at, _)| *at - from).collect();
        after.sort_unstable();
        after
    }
}

/// One of four is slower by 200 ms. Beside it a healthy fleet has the same load, so that whatever else the machine
/// does is in both.
async fn slow(mut ask: Ask) -> Outcome {
    let (slow, healthy) = (proxied().await, proxied().await);
    let load = |fleet: &Proxied| -> Result<_, String> {
        let (service, front) = client(Fixed::new(fleet.proxies.iter().map(Proxy::address)))?;
        let load = Load::start(front, 500, Calls::Safe, 5 * SECOND, ask.seed);
        Ok((service, load))
    };
    let (_of_slow, with) = load(&slow)?;
    let (_of_healthy, without) = load(&healthy)?;
    pass(4.0).await;
    let victim = ask.random.usize(..4);
    // Half of it each way.
    slow.proxies[victim].delay(Duration::from_millis(100));
    let from = pass(1.0).await;
    let to = pass(10.0).await;
    slow.proxies[victim].heal();
    let (with, without) = (with.end().await?, without.end().await?);

    let mut bounds = Bounds::default();
    let (during, beside) = (with.between(from, to), without.between(from, to));
    bounds.note(format!("healthy: {beside}; the other: {during}"));
    let failed = with.failed();
    bounds.hold(
        failed.len() == 0,
        format!("{} failed {}", failed.len(), failed.errors()),
    );
    let share = during.share(slow.fleet.nodes[victim].port);
    bounds.hold(share < 0.02, format!("its share {:.2} %", share * 100.0));
    let (of_healthy, is) = (beside.quantile(0.99), during.quantile(0.99));
    // Below a millisecond it is the machine's scheduler that is measured.
    let floor = of_healthy.max(Duration::from_millis(1));
    bounds.hold(
        is < floor.mul_f64(1.5),
        format!("p99 {is:.2?}, of the healthy fleet {of_healthy:.2?}"),
    );
    bounds.outcome()
}

/// Four nodes, each behind a proxy.
struct Proxied {
    fleet: Fleet,
    proxies: Vec<Proxy>,
}

async fn proxied() -> Proxied {
    let fleet = Fleet::start(&Setup::alone(NAME), 4).await;
    let mut proxies = Vec::new();
    for address in fleet.addresses() {
        proxies.push(Proxy::to(address).await);
    }
    Proxied { fleet, proxies }
}

/// A rolling restart of four nodes, three rounds, under 1,000 calls a second and 50 streams.
async fn rolling(ask: Ask) -> Outcome {
    let mut setup = Setup::alone(NAME);
    setup.drain = SECOND;
    let mut fleet = Fleet::start(&setup, 4).await;
    let (service, front) = client(Fixed::new(fleet.addresses()))?;
    let load = Load::start(front, 1000, Calls::Both, 5 * SECOND, ask.seed);
    let streams: Vec<_> = (0..50)
        .map(|number| {
            let peer = new_peer_service(NAME, service.client());
            tokio::spawn(stream(peer, number))
        })
        .collect();
    pass(2.0).await;
    for _ in 0..3 {
        for node in &mut fleet.nodes {
            node.server.stop().await;
            node.server.restart().await;
        }
    }
    pass(1.0).await;
    let records = load.end().await?;
    let mut bounds = Bounds::default();
    bounds.note(records.to_string());
    let failed = records.failed();
    bounds.hold(
        failed.len() == 0,
        format!("{} failed {}", failed.len(), failed.errors()),
    );
    bounds.none("unsafe calls executed twice", &fleet.twice());
    let (mut ended, mut wrong) = (0, Vec::new());
    for stream in streams {
        stream.abort();
        match stream.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => wrong.push(error),
            // Aborted while it ran, as most are.
            Err(_) => ended += 1,
        }
    }
    bounds.none(
        "streams that ended otherwise than UNAVAILABLE or by themselves",
        &wrong,
    );
    bounds.note(format!("{ended} streams ran to the end of the row"));
    bounds.outcome()
}

/// Opens a stream anew whenever one ends, for ever; an error is a stream that ended as none may.
async fn stream(peer: PeerService, number: usize) -> Result<(), String> {
    loop {
        let opened = peer.chat().context(&Context::default()).await;
        let (mut requests, mut replies) = match opened {
            Ok(halves) => halves,
            Err(status) if status.code() == Code::Unavailable => continue,
            Err(status) => return Err(format!("not opened: {status}")),
        };
        for message in 0_u64.. {
            let sent = Req {
                name: format!("stream-{number}-{message}"),
                ..Req::default()
            };
            let expected = sent.name.clone();
            let turn = async {
                requests.send(sent).await?;
                replies.recv().await
            };
            match timeout(10 * SECOND, turn).await {
                Ok(Ok(Some(reply))) if reply.name == expected => {}
                Ok(Err(status)) if status.code() == Code::Unavailable => break,
                Ok(Ok(found)) => return Err(format!("expected {expected}, found {found:?}")),
                Ok(Err(status)) => return Err(status.to_string()),
                Err(_) => return Err("no reply within 10 s".to_owned()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Every node refuses every call, and retries are on: the storm stays within the budget.
async fn refusing(ask: Ask) -> Outcome {
    let fleet = Fleet::start(&Setup::alone(NAME), 4).await;
    let (_service, front) = client(Fixed::new(fleet.addresses()))?;
    // The budget has a floor of 10 repeats a second, which at this rate is one in a hundred.
    let load = Load::start(front, 1000, Calls::Refused, 5 * SECOND, ask.seed);
    pass(6.0).await;
    let records = load.end().await?;
    let attempts: usize = fleet.nodes.iter().map(|node| node.executed().len()).sum();
    let ratio = attempts as f64 / records.len().max(1) as f64;
    let mut bounds = Bounds::default();
    bounds.hold(
        ratio <= 1.2,
        format!(
            "{attempts} attempts for {} calls, {ratio:.3} each",
            records.len()
        ),
    );
    let answered = records.len() - records.failed().len();
    bounds.hold(answered == 0, format!("{answered} calls answered"));
    bounds.note(records.failed().errors());
    bounds.outcome()
}
