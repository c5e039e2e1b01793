//! Reading what stands in ZooKeeper, whole or a node at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tracing::warn;

use super::client::Error;
use super::record;
use super::session::{Session, Shared};
use crate::registry::Service;

/// Reads under way at once, in one call.
const AT_ONCE: usize = 32;

/// The most nodes that one call reads; what is beyond is left out, with a warning.
pub(super) const NODES_MAX: usize = 65_536;

/// The most bytes of their data, which are 1 MiB at most each.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// A node that was found. The first part orders changes: it is the transaction that wrote it last.
pub(super) type Found = (i64, Service);

/// Every node by its path below the root.
pub(super) type Nodes = BTreeMap<String, Found>;

/// Reads the nodes of one directory, or of all.
pub(super) async fn nodes(
    shared: &Arc<Shared>,
    session: &Session,
    directory: Option<&str>,
) -> Result<Nodes, Error> {
    let directories = match directory {
        Some(directory) => vec![directory.to_owned()],
        None => children(session, &shared.config.root).await?,
    };
    let mut lists = directories.into_iter();
    let mut paths = Vec::new();
    let mut nodes = Nodes::new();
    let mut listing = JoinSet::new();
    let mut reading = JoinSet::new();
    // Dropped halfway, the sets end their tasks.
    loop {
        while listing.len() < AT_ONCE && paths.len() < NODES_MAX {
            let Some(directory) = lists.next() else { break };
            let path = format!("{}/{directory}", shared.config.root);
            let session = session.clone();
            listing.spawn(async move { Ok((children(&session, &path).await?, directory)) });
        }
        match listing.join_next().await {
            None => break,
            Some(listed) => {
                let (names, directory) = joined(listed)?;
                paths.extend(names.into_iter().map(|name| format!("{directory}/{name}")));
            }
        }
    }
    if paths.len() > NODES_MAX {
        warn!(
            nodes = paths.len(),
            limit = NODES_MAX,
            "ZooKeeper has too many nodes, not all are looked at"
        );
        paths.truncate(NODES_MAX);
    }
    let mut paths = paths.into_iter();
    let mut bytes = 0;
    loop {
        while reading.len() < AT_ONCE && bytes < BYTES_MAX {
            let Some(path) = paths.next() else { break };
            let (shared, session) = (Arc::clone(shared), session.clone());
            reading.spawn(async move { Ok((node(&shared, &session, &path).await?, path)) });
        }
        match reading.join_next().await {
            None => break,
            Some(read) => {
                if let (Some((found, size)), path) = joined(read)? {
                    bytes += size;
                    nodes.insert(path, found);
                }
            }
        }
    }
    let left = paths.len();
    if left > 0 {
        warn!(
            left,
            limit = BYTES_MAX,
            "ZooKeeper's nodes have too many bytes, not all are looked at"
        );
    }
    Ok(nodes)
}

/// Reads one node, and says how many bytes it has; `None` if it is not there, or is nothing that go-micro would
/// have written.
pub(super) async fn node(
    shared: &Shared,
    session: &Session,
    path: &str,
) -> Result<Option<(Found, usize)>, Error> {
    let whole = format!("{}/{path}", shared.config.root);
    let (data, stat) = match session.client.get_data(&whole).await {
        Err(Error::NoNode) => return Ok(None),
        // A server may have been told to take more than it does by default; no service has so much.
        Err(error @ Error::TooLarge(_)) => {
            shared.warn_of_data(&whole, &error.to_string());
            return Ok(None);
        }
        read => read?,
    };
    match record::read(&data) {
        Ok(service) => Ok(Some(((stat.written, service), data.len()))),
        Err(why) => {
            shared.warn_of_data(&whole, &why);
            Ok(None)
        }
    }
}

async fn children(session: &Session, path: &str) -> Result<Vec<String>, Error> {
    match session.client.children(path).await {
        Err(Error::NoNode) => Ok(Vec::new()),
        children => children,
    }
}

/// A panic in reading would end the connection's use, not the process.
fn joined<T>(result: Result<Result<T, Error>, tokio::task::JoinError>) -> Result<T, Error> {
    result.unwrap_or(Err(Error::Malformed))
}

/// The services that nodes make up, those written last having the last word.
pub(super) fn services(nodes: Nodes) -> Vec<Service> {
    let mut found: Vec<Found> = nodes.into_values().collect();
    found.sort_by_key(|(written, _)| *written);
    crate::registry::common::group::versions(found.into_iter().map(|(_, service)| service))
}
