//! Registries that are killed under load, or are down at the start.

use std::time::Duration;

use micro_runtime::Service;
use micro_runtime::registry::Registry as _;
use tokio::time::{Instant, sleep, timeout};

use super::{Ask, Bounds, NAME, Outcome, Row, client_by, pass, row};
use crate::fleet::{Fleet, Node, Setup};
use crate::load::{Calls, Load};
use crate::stores::{self, Store};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn rows(rows: &mut Vec<Row>, slow: bool) {
    for name in stores::ALL {
        rows.push(row(&format!("{name} killed"), move |ask| killed(ask, name)));
    }
    if !slow {
        for name in stores::ALL {
            rows.push(row(&format!("{name} down at start"), move |ask| {
                down(ask, name)
            }));
        }
    }
}

fn setup(store: &Store) -> Setup {
    Setup {
        name: NAME.to_owned(),
        ttl: 6 * SECOND,
        drain: SECOND,
        registry: store.flags.clone(),
    }
}

/// The registry is killed under load, for 10 s or 60; meanwhile a node dies, and another comes.
async fn killed(mut ask: Ask, name: &'static str) -> Outcome {
    let mut store = Store::start(name).await;
    let setup = setup(&store);
    let mut fleet = Fleet::start(&setup, 4).await;
    registered(&store, &fleet.addresses(), 20 * SECOND).await?;
    let (_service, front) = client_by(&store.flags)?;
    let load = Load::start(front, 500, Calls::Safe, 5 * SECOND, ask.seed);
    pass(2.0).await;

    store.server.kill9().await;
    let out = Instant::now();
    let length = if ask.slow { 60 * SECOND } else { 10 * SECOND };
    sleep(length / 4).await;
    let mut dead = fleet.nodes.remove(ask.random.usize(..4));
    dead.server.kill9().await;
    sleep(length / 4).await;
    fleet.nodes.push(Node::start(&setup).await);
    tokio::time::sleep_until(out + length).await;
    store.server.restart().await;
    let back = Instant::now();
    let new = fleet.nodes[3].port;
    let addresses = fleet.addresses();
    let (used, known) = tokio::join!(
        load.answered_by(new, back, 30 * SECOND),
        registered(&store, &addresses, 30 * SECOND),
    );
    pass(1.0).await;
    let records = load.end().await?;

    let mut bounds = Bounds::default();
    bounds.note(format!("{records}, away {:.1?}", back - out));
    let failed = records.failed();
    bounds.hold(
        failed.len() == 0,
        format!("{} failed {}", failed.len(), failed.errors()),
    );
    let used = used?;
    bounds.hold(
        used <= 3 * SECOND,
        format!("the new node used {used:.1?} after the return"),
    );
    let known = known?;
    bounds.hold(
        known <= 3 * SECOND,
        format!("registrations back after {known:.1?}"),
    );
    bounds.outcome()
}

/// Waits until the registry has these nodes, by the word of a client that has just come; how long it took.
async fn registered(
    store: &Store,
    addresses: &[String],
    patience: Duration,
) -> Result<Duration, String> {
    let begun = Instant::now();
    let service = Service::new("faults.asker")
        .init_from(&store.flags)
        .map_err(|error| format!("{error:?}"))?;
    loop {
        let found = match timeout(5 * SECOND, service.registry().get(NAME)).await {
            Ok(Ok(services)) => {
                let nodes = services.iter().flat_map(|service| &service.nodes);
                let found: Vec<_> = nodes.map(|node| node.address.clone()).collect();
                if addresses.iter().all(|address| found.contains(address)) {
                    return Ok(begun.elapsed());
                }
                format!("{found:?}")
            }
            Ok(Err(error)) => format!("{error:?}"),
            Err(_) => "no answer".to_owned(),
        };
        if begun.elapsed() > patience {
            return Err(format!(
                "the registry lacks some of {addresses:?}, found {found}"
            ));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The registry is down at the start.
async fn down(ask: Ask, name: &'static str) -> Outcome {
    let mut store = Store::start(name).await;
    store.server.kill9().await;
    let mut bounds = Bounds::default();

    // The server serves at once.
    let begun = Instant::now();
    let fleet = Fleet::start(&setup(&store), 1).await;
    let (direct, front) = super::client(micro_runtime::registry::Fixed::new(fleet.addresses()))?;
    let answer = front.look(micro_tests::front::question("direct")).await;
    let took = begun.elapsed();
    answer.map_err(|status| format!("the server does not serve: {status}"))?;
    bounds.hold(
        took <= 3 * SECOND,
        format!("served {took:.1?} after its process began"),
    );
    drop(direct);

    // A client without a snapshot waits.
    let (_service, front) = client_by(&store.flags)?;
    let waiting = tokio::spawn(async move {
        let call = front.look(micro_tests::front::question("waits"));
        // An answer of "none" is an answer, and the server may not have registered yet.
        let result = call.timeout(30 * SECOND).wait_for_ready(true).await;
        (Instant::now(), result)
    });
    // One whose time is over says so, and not much later.
    let (_service, front) = client_by(&store.flags)?;
    let begun = Instant::now();
    let call = front.look(micro_tests::front::question("short"));
    let short = call.timeout(SECOND).await;
    let took = begun.elapsed();
    bounds.hold(
        short.is_err() && took < 2 * SECOND,
        format!("a call of 1 s ended after {took:.2?} with {short:?}"),
    );
    pass(2.0).await;
    store.server.restart().await;
    let back = Instant::now();
    let (ended, result) = waiting.await.map_err(|error| error.to_string())?;
    let after = ended.saturating_duration_since(back);
    let what = match &result {
        Ok(_) => "answered".to_owned(),
        Err(status) => status.to_string(),
    };
    bounds.hold(
        result.is_ok() && ended >= back - SECOND && after <= 2 * SECOND,
        format!("the waiting call ended {after:.1?} after the return: {what}"),
    );

    // A client with a snapshot.
    let folder = fleet.nodes[0].server.folder().join("snapshot");
    let with = || {
        let service = Service::new("faults.client")
            .registry_snapshot(folder.clone())
            .init_from(&store.flags)
            .map_err(|error| format!("{error:?}"))?;
        let front = micro_tests::front::v1::new_front_service(NAME, service.client());
        Ok::<_, String>((service, front))
    };
    registered(&store, &fleet.addresses(), 20 * SECOND).await?;
    let (first, front) = with()?;
    let call = front.look(micro_tests::front::question("learns"));
    call.await
        .map_err(|status| format!("with the registry: {status}"))?;
    let begun = Instant::now();
    // Under its name it is whole; beside it, it is being written.
    let written = || {
        let files = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        files
            .map(|file| file.path())
            .any(|file| file.extension().is_some_and(|end| end == "json"))
    };
    while !written() {
        if begun.elapsed() > 10 * SECOND {
            return Err(format!("no snapshot in {}", folder.display()));
        }
        sleep(Duration::from_millis(20)).await;
    }
    drop((first, front));
    store.server.kill9().await;
    let (_service, front) = with()?;
    let begun = Instant::now();
    let call = front.look(micro_tests::front::question("remembers"));
    let result = call.await;
    let took = begun.elapsed();
    bounds.hold(
        result.is_ok() && took <= Duration::from_millis(100),
        format!("with a snapshot: {result:?} after {took:.1?}"),
    );
    bounds.note(format!("seed {}", ask.seed));
    bounds.outcome()
}
