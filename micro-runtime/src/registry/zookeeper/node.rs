//! One node of ours in ZooKeeper: made sure of, and taken out.

use super::client::Error;
use super::session::{Session, Shared};

/// How often a node that others change meanwhile is tried before the call is given up for now.
const TRIES: usize = 8;

/// Sees to it that the node is there, ephemeral, with this data, and belongs to this session.
///
/// What else is found there is replaced in one transaction, so that nobody sees the node missing: the
/// ephemeral of an earlier session, which would go when that one expires, or a persistent node of go-micro's.
pub(super) async fn ensure(
    shared: &Shared,
    session: &Session,
    path: &str,
    data: &[u8],
) -> Result<(), Error> {
    let client = &session.client;
    let acl = shared.config.acl();
    let path = format!("{}/{path}", shared.config.root);
    for _ in 0..TRIES {
        let answer = match client.get_data(&path).await {
            Ok((found, stat)) if stat.owner == client.session() => {
                if found == data {
                    return Ok(());
                }
                client.set_data(&path, data, stat.version).await
            }
            Ok((_, stat)) => client.replace(&path, stat.version, data, acl).await,
            Err(Error::NoNode) => match client.create(&path, data, acl, true).await {
                Err(Error::NoNode) => {
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    client.create_all(parent, acl).await?;
                    Err(Error::NoNode)
                }
                created => created,
            },
            Err(error) => Err(error),
        };
        match answer {
            Ok(()) => return Ok(()),
            // Somebody was quicker: look again. That may have been an earlier attempt of ours, whose answer
            // was lost.
            Err(Error::NoNode | Error::NodeExists | Error::BadVersion) => {}
            Err(error) => return Err(error),
        }
    }
    // Found so by whoever asks again.
    Err(Error::Throttled)
}

/// Takes the node out, whoever it belongs to. That it is not there is no error.
pub(super) async fn remove(shared: &Shared, session: &Session, path: &str) -> Result<(), Error> {
    let path = format!("{}/{path}", shared.config.root);
    match session.client.delete(&path).await {
        Ok(()) | Err(Error::NoNode) => Ok(()),
        Err(error) => Err(error),
    }
}
