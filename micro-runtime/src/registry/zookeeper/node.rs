//! One node of ours in ZooKeeper: made sure of, and taken out.

use zookeeper_client as zk;

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
) -> Result<(), zk::Error> {
    let client = &session.client;
    let acls = shared.config.acls();
    let ephemeral = zk::CreateMode::Ephemeral.with_acls(acls.as_slice().into());
    let path = format!("{}/{path}", shared.config.root);
    for _ in 0..TRIES {
        let answer = match client.get_data(&path).await {
            Ok((found, stat)) if stat.ephemeral_owner == owner(session) => {
                if found == data {
                    return Ok(());
                }
                client
                    .set_data(&path, data, Some(stat.version))
                    .await
                    .map(|_| ())
            }
            Ok((_, stat)) => {
                let mut replace = client.new_multi_writer();
                replace.add_delete(&path, Some(stat.version))?;
                replace.add_create(&path, data, &ephemeral)?;
                replace.commit().await.map(|_| ()).map_err(zk::Error::from)
            }
            Err(zk::Error::NoNode) => match client.create(&path, data, &ephemeral).await {
                Err(zk::Error::NoNode) => {
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let persistent = zk::CreateMode::Persistent.with_acls(acls.as_slice().into());
                    client.mkdir(parent, &persistent).await?;
                    Err(zk::Error::NoNode)
                }
                created => created.map(|_| ()),
            },
            Err(error) => Err(error),
        };
        match answer {
            Ok(()) => return Ok(()),
            // Somebody was quicker: look again. That may have been an earlier attempt of ours, whose answer
            // was lost.
            Err(zk::Error::NoNode | zk::Error::NodeExists | zk::Error::BadVersion) => {}
            Err(error) => return Err(error),
        }
    }
    // Found so by whoever asks again.
    Err(zk::Error::Throttled)
}

/// Takes the node out, whoever it belongs to. That it is not there is no error.
pub(super) async fn remove(
    shared: &Shared,
    session: &Session,
    path: &str,
) -> Result<(), zk::Error> {
    let path = format!("{}/{path}", shared.config.root);
    match session.client.delete(&path, None).await {
        Ok(()) | Err(zk::Error::NoNode) => Ok(()),
        Err(error) => Err(error),
    }
}

fn owner(session: &Session) -> i64 {
    session.client.session_id().0
}
