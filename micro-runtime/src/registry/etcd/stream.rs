//! [`Stream`]: one watch of etcd on one connection, to its end.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::auth::{Token, is_about_token};
use super::keys::Range;
use super::link::Link;
use super::list::{BYTES_MAX, size};
use super::pb;
use super::rpc::{Core, Terms, is_lost};
use crate::status::{Code, Status};
use crate::stream::{Inbound, Outbound};

/// How long a member may take to say that it watches.
const CREATE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most changes that one batch may have, over all its pieces. A larger one is given up for a list.
const BATCH_MAX: usize = 262_144;

/// A watch.
pub(super) struct Stream {
    link: Arc<Link>,
    token: Token,
    /// Dropped, it cancels the watch.
    _requests: Outbound<pb::WatchRequest>,
    replies: Inbound<pb::WatchResponse>,
    /// The first revision that it has not told everything of.
    pub(super) next: i64,
    /// The pieces of a batch that is not whole yet, and their bytes.
    pieces: Vec<pb::Event>,
    bytes: usize,
}

/// How a watch ended.
#[derive(Debug)]
pub(super) enum End {
    /// The connection or the member is of no use; another one may be, from the same revision on.
    Lost(Status),
    /// The server cancelled it, or refuses it, for this reason.
    Refused(Status),
    /// Its token is too old; another one was not tried yet.
    Token,
    /// What lies between is gone or cannot be known: the keys have to be listed again.
    Gap(&'static str),
}

// ===== impl End =====

impl End {
    /// What the failure of a call means for the watch that needs it.
    pub(super) fn of(status: Status) -> End {
        if is_lost(&status) {
            End::Lost(status)
        } else {
            End::Refused(status)
        }
    }
}

// ===== impl Stream =====

impl Stream {
    /// Watches a range from a revision on. `cluster` is the one that the revision is of.
    pub(super) async fn open(
        core: &Core,
        range: &Range,
        next: i64,
        cluster: u64,
    ) -> Result<Stream, End> {
        let by = Instant::now() + CREATE_TIMEOUT;
        let late = |_| {
            End::Lost(Status::deadline_exceeded(format_args!(
                "no member watched within {CREATE_TIMEOUT:?}"
            )))
        };
        let link = timeout_at(by, core.links.get())
            .await
            .map_err(late)?
            .map_err(End::Lost)?;
        let terms = Terms {
            timeout: Some(CREATE_TIMEOUT),
            token: None,
        };
        let token = timeout_at(by, core.tokens.get(&link, &terms))
            .await
            .map_err(late)?;
        let token = token.map_err(End::of)?;
        let opened = timeout_at(by, Stream::create(core, &link, token, range, next, cluster));
        match opened.await.map_err(late).and_then(|opened| opened) {
            Err(End::Lost(status)) => {
                core.links.lost(&link);
                Err(End::Lost(status))
            }
            opened => opened,
        }
    }

    async fn create(
        core: &Core,
        link: &Arc<Link>,
        token: Token,
        range: &Range,
        next: i64,
        cluster: u64,
    ) -> Result<Stream, End> {
        let terms = Terms {
            timeout: None,
            token: token.clone(),
        };
        // A member that has lost its cluster ends the watch, where it would stay silent without this.
        let call = terms
            .apply(link.watch.watch())
            .metadata("hasleader", "true");
        let (mut requests, replies) = call.await.map_err(|status| refusal(core, &token, status))?;
        let create = pb::WatchCreateRequest {
            key: range.key.clone(),
            range_end: range.end.clone(),
            start_revision: next,
            progress_notify: true,
            fragment: true,
        };
        let request = pb::WatchRequest {
            request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)),
        };
        requests
            .send(request)
            .await
            .map_err(|status| refusal(core, &token, status))?;
        let mut stream = Stream {
            link: Arc::clone(link),
            token,
            _requests: requests,
            replies,
            next,
            pieces: Vec::new(),
            bytes: 0,
        };
        let created = stream.recv(core).await?;
        let header = created.header.unwrap_or_default();
        if created.canceled {
            return Err(stream.canceled(core, &created));
        }
        if !created.created {
            return Err(End::Lost(Status::unknown(
                "expected a watch to be created, found another answer",
            )));
        }
        if header.cluster_id != cluster {
            return Err(End::Gap("the cluster is another one"));
        }
        if header.revision.saturating_add(1) < next {
            return Err(End::Gap("the store is older than what is known of it"));
        }
        Ok(stream)
    }

    /// The next changes, a whole batch of them; none if there is only the news that there are none.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn batch(&mut self, core: &Core) -> Result<Vec<pb::Event>, End> {
        loop {
            let link = Arc::clone(&self.link);
            let answer = tokio::select! {
                answer = self.recv(core) => answer,
                () = link.is_lost() => Err(End::Lost(Status::unavailable("the member stopped answering"))),
            };
            let answer = match answer {
                Err(End::Lost(status)) => {
                    core.links.lost(&self.link);
                    return Err(End::Lost(status));
                }
                answer => answer?,
            };
            if answer.canceled {
                return Err(self.canceled(core, &answer));
            }
            if self.pieces.len() + answer.events.len() > BATCH_MAX {
                return Err(End::Gap("a batch has too many changes"));
            }
            let kvs = answer.events.iter().filter_map(|event| event.kv.as_ref());
            self.bytes = self.bytes.saturating_add(size(kvs));
            if self.bytes > BYTES_MAX {
                return Err(End::Gap("a batch is too large"));
            }
            self.pieces.extend(answer.events);
            if answer.fragment {
                continue;
            }
            let batch = std::mem::take(&mut self.pieces);
            self.bytes = 0;
            let last = batch
                .iter()
                .filter_map(|event| event.kv.as_ref())
                .map(|kv| kv.mod_revision)
                .max();
            self.next = match last {
                Some(last) => self.next.max(last.saturating_add(1)),
                // Up to the server's revision nothing has happened.
                None if !answer.created => {
                    let revision = answer.header.unwrap_or_default().revision;
                    self.next.max(revision.saturating_add(1))
                }
                None => self.next,
            };
            return Ok(batch);
        }
    }

    async fn recv(&mut self, core: &Core) -> Result<pb::WatchResponse, End> {
        match self.replies.recv().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(End::Lost(Status::unavailable("the server ended the watch"))),
            Err(status) => Err(refusal(core, &self.token, status)),
        }
    }

    fn canceled(&self, core: &Core, answer: &pb::WatchResponse) -> End {
        let reason = &answer.cancel_reason;
        if answer.compact_revision > 0 {
            End::Gap("the changes since are compacted")
        } else if is_about_token(reason) && core.tokens.refused(&self.token) {
            End::Token
        } else if reason.contains("permission denied") {
            End::Refused(Status::permission_denied(reason))
        } else {
            End::Refused(Status::unavailable(format_args!(
                "the server cancelled the watch: {reason:?}"
            )))
        }
    }
}

/// What the end of a stream with this status means.
fn refusal(core: &Core, token: &Token, status: Status) -> End {
    if is_about_token(status.message()) && core.tokens.refused(token) {
        End::Token
    } else if status.code() == Code::OutOfRange {
        End::Gap("the changes since are compacted")
    } else if status.code() == Code::ResourceExhausted {
        // A change larger than a message would come again and again.
        End::Gap("a change is too large")
    } else if is_lost(&status) {
        End::Lost(status)
    } else {
        End::Refused(status)
    }
}
