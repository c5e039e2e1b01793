//! Saying that what is handed out is worked on, and what waits for its time is not forgotten, so that nobody
//! takes it for left.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::sleep;
use tracing::debug;

use super::entry::EntryId;
use super::{BATCH, Shared, group};
use crate::backoff::jittered;
use crate::lock::lock;

/// It is said so often within the time after which others claim, so that one lost word does no harm.
const TIMES: u32 = 4;

/// Says so until the subscription ends.
pub(super) async fn run(shared: &Arc<Shared>) {
    // Nobody else is in a group of our own, which others remove when it is silent: as it is while all handlers
    // are at work, since nothing is read then.
    let silence = if shared.is_own {
        group::DEAD
    } else {
        shared.wait
    };
    loop {
        sleep(jittered(silence / TIMES)).await;
        let ids: Vec<EntryId> = {
            let state = lock(&shared.state);
            state
                .living
                .keys()
                .chain(state.waiting.keys())
                .copied()
                .collect()
        };
        for ids in ids.chunks(BATCH) {
            let Some(mut up) = shared.link.whenever().await else {
                return;
            };
            let mut command = redis::cmd("XCLAIM");
            command
                .arg(&shared.key)
                .arg(&shared.group)
                .arg(&shared.consumer)
                .arg(0);
            for id in ids {
                command.arg(id.to_string());
            }
            command.arg("JUSTID");
            if let Err(error) = command.query_async::<Value>(&mut up.connection).await {
                debug!(topic = %shared.topic, %error, "what is worked on could not be kept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
