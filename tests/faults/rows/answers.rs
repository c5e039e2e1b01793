//! Registries that say what is not so.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use micro_runtime::Error;
use micro_runtime::registry::{Action, Event, Node, Registry, Service, Watcher};
use micro_tests::proxy::Proxy;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Ask, Bounds, NAME, Outcome, Row, client, pass, row};
use crate::fleet::{Fleet, Setup};
use crate::load::{Calls, Load};

pub(super) fn rows(rows: &mut Vec<Row>) {
    rows.push(row("empty answer", |ask| empty(ask, Lie::Answer)));
    rows.push(row("empty events", |ask| empty(ask, Lie::Events)));
    rows.push(row("flapping", flapping));
}

/// A registry whose answers a row writes.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    nodes: Vec<Node>,
    watchers: Vec<mpsc::Sender<Result<Event, Error>>>,
}

/// Events that wait for a watcher; more than a row makes.
const WAITING: usize = 4096;

impl Told {
    /// Says that these are the nodes, to those who ask, and ends every watch: a new one gets no event.
    fn answers(&self, nodes: Vec<Node>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.watchers.clear();
        state.nodes = nodes;
    }

    /// Says that these are the nodes, to those who ask and to those who watch.
    fn says(&self, nodes: Vec<Node>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = difference(&state.nodes, &nodes);
        let came = difference(&nodes, &state.nodes);
        for (action, nodes) in [(Action::Delete, gone), (Action::Create, came)] {
            if nodes.is_empty() {
                continue;
            }
            let service = service(nodes);
            state.watchers.retain(|watcher| {
                let service = service.clone();
                watcher.try_send(Ok(Event { action, service })).is_ok()
            });
        }
        state.nodes = nodes;
    }
}

fn difference(from: &[Node], without: &[Node]) -> Vec<Node> {
    let kept = from.iter().filter(|node| !without.contains(node));
    kept.cloned().collect()
}

fn service(nodes: Vec<Node>) -> Service {
    Service {
        name: NAME.to_owned(),
        version: "latest".to_owned(),
        nodes,
        ..Service::default()
    }
}

fn nodes(addresses: &[String]) -> Vec<Node> {
    let node = |address: &String| Node {
        id: format!("{NAME}-{address}"),
        address: address.clone(),
        ..Node::default()
    };
    addresses.iter().map(node).collect()
}

impl Registry for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    async fn register(&self, _service: &Service, _ttl: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn deregister(&self, _service: &Service) -> Result<(), Error> {
        Ok(())
    }

    async fn get(&self, _name: &str) -> Result<Vec<Service>, Error> {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match state.nodes.as_slice() {
            [] => Vec::new(),
            nodes => vec![service(nodes.to_vec())],
        })
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.get(NAME).await
    }

    async fn watch(&self, _name: Option<&str>) -> Result<Watcher, Error> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.watchers.push(sender);
        Ok(Watcher::from_channel(receiver))
    }
}

/// How a registry says that all nodes are gone.
enum Lie {
    /// Its watches end, and the answer to the next question is empty.
    Answer,
    /// The watch says of every node that it went.
    Events,
}

/// The registry answers "none" of ten nodes that live.
async fn empty(ask: Ask, lie: Lie) -> Outcome {
    let fleet = Fleet::start(&Setup::alone(NAME), 10).await;
    let told = Told::default();
    told.says(nodes(&fleet.addresses()));
    let (_service, front) = client(told.clone())?;
    let load = Load::start(
        front,
        1000,
        Calls::Both,
        5 * Duration::from_secs(1),
        ask.seed,
    );
    let gone = pass(1.0).await;
    match lie {
        Lie::Answer => told.answers(Vec::new()),
        Lie::Events => told.says(Vec::new()),
    }
    let back = pass(4.0).await;
    told.says(nodes(&fleet.addresses()));
    let end = pass(1.0).await;
    let records = load.end().await?;

    let mut bounds = Bounds::default();
    let during = records.between(gone, back);
    bounds.note(during.to_string());
    let failed = records.failed();
    bounds.hold(
        failed.len() == 0,
        format!("{} failed {}", failed.len(), failed.errors()),
    );
    let after = records.between(back, end);
    bounds.note(format!("afterwards: {after}"));
    bounds.outcome()
}

/// A node that appears and disappears every 200 ms.
async fn flapping(ask: Ask) -> Outcome {
    let fleet = Fleet::start(&Setup::alone(NAME), 4).await;
    let proxy = Proxy::to(fleet.nodes[0].address()).await;
    let mut addresses = fleet.addresses();
    addresses[0] = proxy.address();
    let (all, without) = (nodes(&addresses), nodes(&addresses[1..]));
    let told = Told::default();
    told.says(all.clone());
    let (_service, front) = client(told.clone())?;
    let load = Load::start(
        front,
        500,
        Calls::Both,
        5 * Duration::from_secs(1),
        ask.seed,
    );
    pass(1.0).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        for nodes in [&without, &all] {
            told.says(nodes.clone());
            sleep(Duration::from_millis(200)).await;
        }
    }
    let records = load.end().await?;
    let mut bounds = Bounds::default();
    bounds.note(records.to_string());
    let failed = records.failed();
    bounds.hold(
        failed.len() == 0,
        format!("{} failed {}", failed.len(), failed.errors()),
    );
    let connections = proxy.accepted();
    bounds.hold(connections <= 5, format!("{connections} connections to it"));
    let share = records.share(fleet.nodes[0].port);
    bounds.note(format!("its share {:.1} %", share * 100.0));
    bounds.outcome()
}
