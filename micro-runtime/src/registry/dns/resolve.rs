//! From a name's records to a service's nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::lookup::{Kind, Lookup, Records, Srv};
use super::pattern::Pattern;
use crate::error::Error;
use crate::registry::common::join::all;
use crate::registry::{LATEST, Node, Service};

/// The most nodes of one service that are taken in: what fits the largest answer DNS can give (64 KB).
const NODES_MAX: usize = 4096;

/// The most questions about the targets of SRV records that are open at once.
const AT_ONCE: usize = 16;

/// Keys of a node's metadata.
const HOST: &str = "host";
const WEIGHT: &str = "weight";
const PRIORITY: &str = "priority";

/// What DNS has of a service: its one version, or nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) services: Vec<Service>,
    /// Zero if it should be asked for again soon.
    pub(super) ttl: Duration,
}

/// Asks for a service. `former` are the nodes it had: a target whose addresses cannot be asked for now keeps
/// those it had there.
pub(super) async fn resolve(
    lookup: &dyn Lookup,
    pattern: &Pattern,
    service: &str,
    former: &[Service],
) -> Result<Answer, Error> {
    let name = pattern.name(service)?;
    let mut nodes = Nodes::new(service);
    let ttl = match pattern.port {
        Some(port) => {
            let addresses = addresses(lookup, &name).await?;
            let host = name.strip_suffix('.').unwrap_or(&name);
            for address in addresses.at(former, host, port) {
                nodes.push(address, host, None);
            }
            addresses.ttl
        }
        None => srv(lookup, &name, former, &mut nodes).await?,
    };
    Ok(Answer {
        services: nodes.finish(),
        ttl,
    })
}

/// The A and AAAA records of a name together.
#[derive(Debug, Default)]
struct Addresses {
    found: Vec<IpAddr>,
    /// Zero if it should be asked for again soon.
    ttl: Duration,
    /// The kind that could not be asked for, of the two.
    failed: Option<Kind>,
}

// ===== impl Addresses =====

impl Addresses {
    /// What was found, and of the kind that could not be asked for what there was.
    fn at(&self, former: &[Service], host: &str, port: u16) -> Vec<SocketAddr> {
        let found = self.found.iter();
        let mut all: Vec<SocketAddr> = found.map(|ip| SocketAddr::new(*ip, port)).collect();
        if let Some(kind) = self.failed {
            let former = formerly(former, host, port).into_iter();
            all.extend(former.filter(|address| address.is_ipv6() == (kind == Kind::Aaaa)));
        }
        all
    }
}

/// Asks for both. One of the two may fail if the other has any.
async fn addresses(lookup: &dyn Lookup, name: &str) -> Result<Addresses, Error> {
    let mut answers = all(vec![
        lookup.ask(name, Kind::A),
        lookup.ask(name, Kind::Aaaa),
    ])
    .await
    .into_iter();
    let (Some(four), Some(six)) = (answers.next(), answers.next()) else {
        return Ok(Addresses::default());
    };
    let flat =
        |records: Records| -> Vec<IpAddr> { records.addresses.into_values().flatten().collect() };
    let half = |records: Records, failed, error| {
        if records.addresses.is_empty() {
            Err(error)
        } else {
            Ok(Addresses {
                found: flat(records),
                ttl: Duration::ZERO,
                failed: Some(failed),
            })
        }
    };
    match (four, six) {
        (Ok(four), Ok(six)) => {
            let ttl = match (four.addresses.is_empty(), six.addresses.is_empty()) {
                (false, false) => four.ttl.min(six.ttl),
                (false, true) => four.ttl,
                (true, _) => six.ttl,
            };
            let mut found = flat(four);
            found.extend(flat(six));
            Ok(Addresses {
                found,
                ttl,
                failed: None,
            })
        }
        (Ok(four), Err(error)) => half(four, Kind::Aaaa, error),
        (Err(error), Ok(six)) => half(six, Kind::A, error),
        (Err(error), Err(_)) => Err(error),
    }
}

/// The targets of a name's SRV records: those of the lowest priority that has an address (RFC 2782: the others
/// are for when those cannot be reached).
async fn srv(
    lookup: &dyn Lookup,
    name: &str,
    former: &[Service],
    nodes: &mut Nodes,
) -> Result<Duration, Error> {
    let records = lookup.ask(name, Kind::Srv).await?;
    let mut ttl = records.ttl;
    let mut priorities: BTreeMap<u16, Vec<&Srv>> = BTreeMap::new();
    // A target of "." says that there is no such service.
    let usable = |srv: &&Srv| !srv.target.is_empty() && srv.port != 0;
    for srv in records.srv.iter().filter(usable).take(NODES_MAX) {
        priorities.entry(srv.priority).or_default().push(srv);
    }
    for group in priorities.values() {
        let known = &records.addresses;
        let missing: BTreeSet<&str> = group
            .iter()
            .map(|srv| srv.target.as_str())
            .filter(|target| !known.contains_key(*target))
            .collect();
        let missing: Vec<(&str, String)> = missing
            .into_iter()
            .map(|target| (target, format!("{target}.")))
            .collect();
        let mut asked: BTreeMap<&str, Result<Addresses, Error>> = BTreeMap::new();
        for chunk in missing.chunks(AT_ONCE) {
            let questions = chunk.iter().map(|(_, name)| {
                let question: crate::exchange::BoxFuture<'_, _> = Box::pin(addresses(lookup, name));
                question
            });
            let answers = all(questions.collect()).await;
            asked.extend(chunk.iter().map(|(target, _)| *target).zip(answers));
        }
        let weighted = group.iter().any(|srv| srv.weight != 0);
        let mut failed = None;
        for srv in group {
            let weight = weighted.then_some((srv.priority, srv.weight));
            let target = srv.target.as_str();
            match (known.get(target), asked.get(target)) {
                (Some(addresses), _) => {
                    for address in addresses {
                        nodes.push(SocketAddr::new(*address, srv.port), target, weight);
                    }
                }
                (None, Some(Ok(addresses))) => {
                    // That a target has none is no reason to ask for all of them sooner.
                    if !addresses.found.is_empty() {
                        ttl = ttl.min(addresses.ttl);
                    }
                    for address in addresses.at(former, target, srv.port) {
                        nodes.push(address, target, weight);
                    }
                }
                (None, Some(Err(error))) => {
                    ttl = Duration::ZERO;
                    for address in formerly(former, target, srv.port) {
                        nodes.push(address, target, weight);
                    }
                    failed = Some(error.to_string());
                }
                (None, None) => {}
            }
        }
        if !nodes.is_empty() {
            return Ok(ttl);
        }
        if let Some(error) = failed {
            return Err(Error::registry(error));
        }
    }
    Ok(ttl)
}

/// The addresses that a target had.
fn formerly(former: &[Service], target: &str, port: u16) -> Vec<SocketAddr> {
    let nodes = former.iter().flat_map(|service| &service.nodes);
    nodes
        .filter(|node| node.metadata.get(HOST).is_some_and(|host| host == target))
        .filter_map(|node| node.address.parse::<SocketAddr>().ok())
        .filter(|address| address.port() == port)
        .collect()
}

/// The nodes of one service, each address once.
struct Nodes {
    service: String,
    nodes: BTreeMap<SocketAddr, Node>,
}

// ===== impl Nodes =====

impl Nodes {
    fn new(service: &str) -> Nodes {
        Nodes {
            service: service.to_owned(),
            nodes: BTreeMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// `weighed` is the priority and the weight of the SRV record, where any of its group has a weight.
    fn push(&mut self, address: SocketAddr, host: &str, weighed: Option<(u16, u16)>) {
        if self.nodes.len() >= NODES_MAX {
            return;
        }
        let mut metadata = BTreeMap::from([(HOST.to_owned(), host.to_owned())]);
        if let Some((priority, weight)) = weighed {
            metadata.insert(PRIORITY.to_owned(), priority.to_string());
            metadata.insert(WEIGHT.to_owned(), weight.to_string());
        }
        let node = Node {
            id: format!("{}-{address}", self.service),
            address: address.to_string(),
            metadata,
        };
        self.nodes.entry(address).or_insert(node);
    }

    fn finish(self) -> Vec<Service> {
        if self.nodes.is_empty() {
            return Vec::new();
        }
        vec![Service {
            name: self.service,
            version: LATEST.to_owned(),
            nodes: self.nodes.into_values().collect(),
            ..Service::default()
        }]
    }
}
