//! A small etcd in this process: keys, leases and watches of one store, and what a test has it do wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::broadcast;

use super::super::endpoint::{Connect, Credentials, Endpoints};
use super::super::rpc::Core;
use super::super::{CALL_TIMEOUT, Config, Etcd, Inner as Registry, Running, keys, pb};
use crate::context::Context;
use crate::exchange::{BoxFuture, Broken, Connection, Drain, DrainState, Drainer, Why};
use crate::server::{Server, ServerOptions};
use crate::status::{Result, Status};
use crate::stream::{Inbound, Outbound};
use crate::transport::{ClientLimits, ServerLimits, local};

/// The members of a cluster with one store.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// What a member asked was, in order: `0 range /micro/registry/a/`.
    log: Mutex<Vec<String>>,
    /// Told of every change.
    changes: broadcast::Sender<()>,
    /// What every watch that stands is to be told next.
    answers: broadcast::Sender<pb::WatchResponse>,
    dials: AtomicUsize,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) cluster: u64,
    pub(super) revision: i64,
    pub(super) compacted: i64,
    pub(super) keys: BTreeMap<Bytes, pb::KeyValue>,
    pub(super) history: Vec<pb::Event>,
    pub(super) leases: BTreeSet<i64>,
    pub(super) granted: i64,
    /// Members that refuse connections.
    pub(super) down: BTreeSet<usize>,
    /// What never answers: `0 range`.
    pub(super) mute: BTreeSet<String>,
    /// What the next calls of a method fail with.
    pub(super) fails: BTreeMap<&'static str, Vec<Status>>,
    /// What the next watches are cancelled with as soon as they are created.
    pub(super) refusals: Vec<pb::WatchResponse>,
    /// The only token that counts, if there are users.
    pub(super) token: Option<String>,
    /// Events that one answer of a watch may hold; 0 is no limit.
    pub(super) fragment: usize,
    /// Keys that one page may hold without being too large; 0 is no limit.
    pub(super) page: i64,
    connections: Vec<Drainer>,
}

/// One member, as a registry dials it and as a server answers.
#[derive(Clone)]
struct Member(Script, usize);

struct Members(Script, usize);

// ===== impl Script =====

impl Default for Inner {
    fn default() -> Inner {
        let (changes, _) = broadcast::channel(1);
        let (answers, _) = broadcast::channel(16);
        Inner {
            state: Mutex::new(State {
                cluster: 7,
                revision: 1,
                ..State::default()
            }),
            log: Mutex::default(),
            changes,
            answers,
            dials: AtomicUsize::new(0),
        }
    }
}

impl Script {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// A registry with a connection of its own to so many members.
    pub(super) fn registry(&self, members: usize) -> Etcd {
        self.registry_as(members, None)
    }

    pub(super) fn registry_as(&self, members: usize, user: Option<(&str, &str)>) -> Etcd {
        let credentials = user.map(|(user, password)| Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        });
        let config = Config {
            endpoints: Endpoints::parse(&[]).unwrap(),
            credentials: credentials.clone(),
            prefix: keys::PREFIX.to_owned(),
            timeout: CALL_TIMEOUT,
        };
        let members = Members(self.clone(), members);
        let core = Core::new(
            "script".to_owned(),
            members,
            credentials,
            keys::PREFIX,
            CALL_TIMEOUT,
        );
        Etcd(Arc::new(Registry {
            config: Ok(config),
            running: Running::new(core).into(),
        }))
    }

    /// What was asked since this was last called.
    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.log.lock().unwrap())
    }

    /// How often a method was called since the log was last taken.
    pub(super) fn count(&self, method: &str) -> usize {
        let of = |line: &&String| line.split(' ').nth(1) == Some(method);
        self.0.log.lock().unwrap().iter().filter(of).count()
    }

    pub(super) fn dials(&self) -> usize {
        self.0.dials.load(Ordering::Relaxed)
    }

    /// Cuts every connection.
    pub(super) fn cut(&self) {
        for drainer in self.state().connections.drain(..) {
            drainer.advance(DrainState::Closing);
        }
    }

    /// Tells every watch this.
    pub(super) fn answer(&self, answer: pb::WatchResponse) {
        let _ = self.0.answers.send(answer);
    }

    pub(super) fn put(&self, key: &str, value: impl Into<Bytes>) {
        self.write(key, value.into(), 0);
    }

    fn write(&self, key: &str, value: Bytes, lease: i64) {
        let mut state = self.state();
        state.revision += 1;
        let kv = pb::KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            mod_revision: state.revision,
            value,
            lease,
        };
        state.keys.insert(kv.key.clone(), kv.clone());
        state.history.push(pb::Event {
            r#type: pb::EventType::Put.into(),
            kv: Some(kv),
        });
        drop(state);
        let _ = self.0.changes.send(());
    }

    pub(super) fn delete(&self, key: &str) {
        self.remove(|kv| kv.key == key);
    }

    pub(super) fn revoke(&self, lease: i64) {
        self.state().leases.remove(&lease);
        self.remove(|kv| kv.lease == lease);
    }

    fn remove(&self, goes: impl Fn(&pb::KeyValue) -> bool) -> i64 {
        let mut state = self.state();
        let gone: Vec<_> = state
            .keys
            .values()
            .filter(|kv| goes(kv))
            .map(|kv| kv.key.clone())
            .collect();
        if !gone.is_empty() {
            state.revision += 1;
        }
        for key in &gone {
            state.keys.remove(key);
            let kv = pb::KeyValue {
                key: key.clone(),
                mod_revision: state.revision,
                ..pb::KeyValue::default()
            };
            state.history.push(pb::Event {
                r#type: pb::EventType::Delete.into(),
                kv: Some(kv),
            });
        }
        drop(state);
        let _ = self.0.changes.send(());
        i64::try_from(gone.len()).unwrap()
    }

    /// Forgets all changes so far.
    pub(super) fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.revision;
        state.history.clear();
    }

    /// The store as it is now, to be put back later.
    pub(super) fn backup(&self) -> (i64, BTreeMap<Bytes, pb::KeyValue>) {
        let state = self.state();
        (state.revision, state.keys.clone())
    }

    pub(super) fn restore(&self, (revision, keys): (i64, BTreeMap<Bytes, pb::KeyValue>)) {
        let mut state = self.state();
        state
            .history
            .retain(|event| event.kv.as_ref().unwrap().mod_revision <= revision);
        state.revision = revision;
        state.keys = keys;
    }
}

// ===== the members =====

impl Connect for Members {
    fn count(&self) -> usize {
        self.1
    }

    fn connect(
        &self,
        member: usize,
    ) -> BoxFuture<'static, std::result::Result<Connection, Broken>> {
        self.0.0.dials.fetch_add(1, Ordering::Relaxed);
        let script = self.0.clone();
        Box::pin(async move {
            if script.state().down.contains(&member) {
                let refused = Broken::new(Why::Closed)
                    .unprocessed()
                    .with_detail("refused");
                return Err(refused);
            }
            let server = Server::new("etcd", ServerOptions::new());
            let handler = Member(script.clone(), member);
            pb::register_kv_handler(&server, handler.clone()).unwrap();
            pb::register_watch_handler(&server, handler.clone()).unwrap();
            pb::register_lease_handler(&server, handler.clone()).unwrap();
            pb::register_auth_handler(&server, handler).unwrap();
            let (drainer, drain): (Drainer, Drain) = Drainer::new();
            script.state().connections.push(drainer);
            let limits = (ServerLimits::new(), ClientLimits::new());
            Ok(local::connect_with(
                server.app(),
                &limits.0,
                &limits.1,
                drain,
            ))
        })
    }
}

impl Member {
    /// Takes a call down, and does to it what was said.
    async fn enter(&self, method: &'static str, what: &str, ctx: &Context) -> Result<()> {
        let line = format!("{} {method} {what}", self.1);
        self.0
            .0
            .log
            .lock()
            .unwrap()
            .push(line.trim_end().to_owned());
        let (mute, fails) = {
            let mut state = self.0.state();
            let fails = state.fails.get_mut(method).and_then(Vec::pop);
            (state.mute.contains(&format!("{} {method}", self.1)), fails)
        };
        if mute {
            std::future::pending::<()>().await;
        }
        if let Some(status) = fails {
            return Err(status);
        }
        let state = self.0.state();
        match (&state.token, ctx.metadata().get("token")) {
            (None, _) => Ok(()),
            (Some(good), Some(token)) if good == token => Ok(()),
            (Some(_), Some(_)) => Err(Status::unauthenticated("etcdserver: invalid auth token")),
            (Some(_), None) => Err(Status::invalid_argument("etcdserver: user name is empty")),
        }
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        let state = self.0.state();
        Some(pb::ResponseHeader {
            cluster_id: state.cluster,
            revision: state.revision,
        })
    }
}

fn within(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
    if end.is_empty() {
        key == start
    } else {
        key >= start && key < end
    }
}

impl pb::KvHandler for Member {
    async fn range(&self, ctx: Context, req: pb::RangeRequest) -> Result<pb::RangeResponse> {
        self.enter("range", &String::from_utf8_lossy(&req.key), &ctx)
            .await?;
        let header = self.header();
        let state = self.0.state();
        if req.revision > 0 && req.revision < state.compacted {
            return Err(Status::out_of_range(
                "etcdserver: mvcc: required revision has been compacted",
            ));
        }
        let found = state
            .keys
            .values()
            .filter(|kv| within(&kv.key, &req.key, &req.range_end));
        let limit = if req.limit > 0 {
            usize::try_from(req.limit).unwrap()
        } else {
            usize::MAX
        };
        let kvs: Vec<_> = found.clone().take(limit).cloned().collect();
        if state.page > 0 && i64::try_from(kvs.len()).unwrap() > state.page {
            return Err(Status::resource_exhausted("the message is too large"));
        }
        let more = found.count() > kvs.len();
        Ok(pb::RangeResponse { header, kvs, more })
    }

    async fn put(&self, ctx: Context, req: pb::PutRequest) -> Result<pb::PutResponse> {
        let key = String::from_utf8_lossy(&req.key).into_owned();
        self.enter("put", &key, &ctx).await?;
        if req.lease > 0 && !self.0.state().leases.contains(&req.lease) {
            return Err(Status::not_found("etcdserver: requested lease not found"));
        }
        self.0.write(&key, req.value, req.lease);
        Ok(pb::PutResponse {
            header: self.header(),
        })
    }

    async fn delete_range(
        &self,
        ctx: Context,
        req: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse> {
        self.enter("delete", &String::from_utf8_lossy(&req.key), &ctx)
            .await?;
        let deleted = self
            .0
            .remove(|kv| within(&kv.key, &req.key, &req.range_end));
        Ok(pb::DeleteRangeResponse {
            header: self.header(),
            deleted,
        })
    }
}

impl pb::WatchHandler for Member {
    async fn watch(
        &self,
        ctx: Context,
        mut requests: Inbound<pb::WatchRequest>,
        mut responses: Outbound<pb::WatchResponse>,
    ) -> Result<()> {
        let mut changes = self.0.0.changes.subscribe();
        let mut answers = self.0.0.answers.subscribe();
        let create = match requests
            .recv()
            .await?
            .and_then(|request| request.request_union)
        {
            Some(pb::watch_request::RequestUnion::CreateRequest(create)) => create,
            None => return Err(Status::invalid_argument("expected a watch to be created")),
        };
        let what = format!(
            "{} from {}",
            String::from_utf8_lossy(&create.key),
            create.start_revision
        );
        let entered = self.enter("watch", &what, &ctx).await;
        let created = pb::WatchResponse {
            header: self.header(),
            created: true,
            ..pb::WatchResponse::default()
        };
        // As etcd does it: what is wrong with a token comes in the answer.
        if let Err(status) = entered {
            let refused = pb::WatchResponse {
                watch_id: -1,
                canceled: true,
                cancel_reason: format!("rpc error: {}", status.message()),
                ..created
            };
            return responses.send(refused).await;
        }
        responses.send(created.clone()).await?;
        let (refusal, compacted) = {
            let mut state = self.0.state();
            (state.refusals.pop(), state.compacted)
        };
        if let Some(refusal) = refusal {
            return responses.send(refusal).await;
        }
        if create.start_revision <= compacted {
            let gone = pb::WatchResponse {
                created: false,
                canceled: true,
                compact_revision: compacted,
                ..created
            };
            return responses.send(gone).await;
        }
        let mut next = create.start_revision;
        loop {
            let (events, fragment) = {
                let state = self.0.state();
                let of = |event: &&pb::Event| {
                    let kv = event.kv.as_ref().unwrap();
                    kv.mod_revision >= next && within(&kv.key, &create.key, &create.range_end)
                };
                let events: Vec<_> = state.history.iter().filter(of).cloned().collect();
                next = next.max(state.revision + 1);
                (
                    events,
                    if state.fragment > 0 {
                        state.fragment
                    } else {
                        usize::MAX
                    },
                )
            };
            let mut pieces = events.chunks(fragment.min(events.len().max(1))).peekable();
            while let Some(piece) = pieces.next() {
                let answer = pb::WatchResponse {
                    header: self.header(),
                    fragment: pieces.peek().is_some(),
                    events: piece.to_vec(),
                    ..pb::WatchResponse::default()
                };
                responses.send(answer).await?;
            }
            tokio::select! {
                _ = changes.recv() => {}
                answer = answers.recv() => {
                    let answer = answer.map_err(Status::internal)?;
                    let over = answer.canceled;
                    responses.send(answer).await?;
                    if over {
                        return Ok(());
                    }
                }
                request = requests.recv() => {
                    request?;
                    return Ok(());
                }
            }
        }
    }
}

impl pb::LeaseHandler for Member {
    async fn lease_grant(
        &self,
        ctx: Context,
        req: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse> {
        self.enter("grant", &req.ttl.to_string(), &ctx).await?;
        let mut state = self.0.state();
        state.granted += 1;
        let id = state.granted;
        state.leases.insert(id);
        Ok(pb::LeaseGrantResponse {
            header: None,
            id,
            ttl: req.ttl,
            error: String::new(),
        })
    }

    async fn lease_revoke(
        &self,
        ctx: Context,
        req: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse> {
        self.enter("revoke", &req.id.to_string(), &ctx).await?;
        if !self.0.state().leases.contains(&req.id) {
            return Err(Status::not_found("etcdserver: requested lease not found"));
        }
        self.0.revoke(req.id);
        Ok(pb::LeaseRevokeResponse {
            header: self.header(),
        })
    }

    async fn lease_keep_alive(
        &self,
        ctx: Context,
        mut requests: Inbound<pb::LeaseKeepAliveRequest>,
        mut responses: Outbound<pb::LeaseKeepAliveResponse>,
    ) -> Result<()> {
        while let Some(request) = requests.recv().await? {
            self.enter("renew", &request.id.to_string(), &ctx).await?;
            let lives = self.0.state().leases.contains(&request.id);
            let answer = pb::LeaseKeepAliveResponse {
                header: self.header(),
                id: request.id,
                ttl: i64::from(lives) * 60,
            };
            responses.send(answer).await?;
        }
        Ok(())
    }
}

impl pb::AuthHandler for Member {
    async fn authenticate(
        &self,
        ctx: Context,
        req: pb::AuthenticateRequest,
    ) -> Result<pb::AuthenticateResponse> {
        let refused = self.enter("authenticate", &req.name, &ctx).await;
        let token = self.0.state().token.clone();
        match token {
            None => Err(Status::failed_precondition(
                "etcdserver: authentication is not enabled",
            )),
            Some(_) if req.password != "s3cr3t" => Err(Status::invalid_argument(
                "etcdserver: authentication failed, invalid user ID or password",
            )),
            Some(token) => {
                // Without a token is how it is called; anything else was told to fail.
                if let Err(status) = refused
                    && !status.message().contains("user name is empty")
                {
                    return Err(status);
                }
                Ok(pb::AuthenticateResponse {
                    header: self.header(),
                    token,
                })
            }
        }
    }
}
