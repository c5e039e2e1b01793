//! The service `Peer`: what every program of the interop suite serves and calls. The rules are the comments
//! of `peers/proto/peer.proto`.

use std::collections::HashMap;
use std::time::Duration;

use micro_runtime::{Code, Context, Inbound, Outbound, Result, Status};
use tokio::sync::watch;

/// The generated code.
pub mod v1 {
    micro_runtime::include_proto!("peer.v1");
}

use v1::{Fault, PeerHandler, Req, Rsp};

/// How the last call under a name went.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Running,
    Finished,
    Cancelled(String),
}

/// The handler. Clones share what they know of calls.
#[derive(Clone, Debug)]
pub struct Peer {
    states: watch::Sender<HashMap<String, State>>,
}

impl Default for Peer {
    fn default() -> Peer {
        Peer {
            states: watch::Sender::new(HashMap::new()),
        }
    }
}

/// A call that runs; dropped before it is finished, it was cancelled.
struct Running<'a> {
    peer: &'a Peer,
    name: String,
    end: State,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.peer.set(&self.name, self.end.clone());
    }
}

impl Running<'_> {
    /// Notes how the call ended.
    fn ended<T>(mut self, result: Result<T>) -> Result<T> {
        self.end = match &result {
            Err(status) if status.code() == Code::Cancelled => {
                State::Cancelled(status.message().to_owned())
            }
            _ => State::Finished,
        };
        result
    }
}

impl Peer {
    fn set(&self, name: &str, state: State) {
        self.states.send_modify(|states| {
            states.insert(name.to_owned(), state);
        });
    }

    fn begin(&self, name: &str) -> Running<'_> {
        self.set(name, State::Running);
        Running {
            peer: self,
            name: name.to_owned(),
            end: State::Cancelled("the handler was dropped".to_owned()),
        }
    }
}

/// The reply to a request: every field the same.
#[must_use]
pub fn echo(req: Req) -> Rsp {
    Rsp {
        msg: format!("Hello {}", req.name),
        name: req.name,
        count: req.count,
        tags: req.tags,
        meta: req.meta,
        kind: req.kind,
        payload: req.payload,
        inner: req.inner,
        ratio: req.ratio,
        big_total: req.big_total,
        by_number: req.by_number,
        all_kinds: req.all_kinds,
        is_set: req.is_set,
        cancelled: false,
    }
}

/// The status that a fault describes: numbers up to 16 are gRPC's, those above go-micro's.
fn status_of(fault: Option<Fault>) -> Status {
    let fault = fault.unwrap_or_default();
    if fault.code == 0 {
        return Status::unknown(fault.detail);
    }
    if fault.code <= 16 {
        let code = Code::from_number(fault.code.into());
        return Status::new(code, fault.detail).with_id(fault.id);
    }
    Status::from_micro_code(fault.code, fault.detail).with_id(fault.id)
}

fn millis(req: &Req) -> Duration {
    Duration::from_millis(u64::try_from(req.millis).unwrap_or_default())
}

async fn count(req: &Req, responses: &mut Outbound<Rsp>) -> Result<()> {
    let mut next = 0;
    while req.count < 0 || next < req.count {
        responses
            .send(Rsp {
                count: next,
                ..Rsp::default()
            })
            .await?;
        next += 1;
        tokio::time::sleep(millis(req)).await;
    }
    Ok(())
}

impl PeerHandler for Peer {
    async fn unary(&self, _ctx: Context, req: Req) -> Result<Rsp> {
        Ok(echo(req))
    }

    async fn fail(&self, _ctx: Context, req: Req) -> Result<Rsp> {
        Err(status_of(req.fault))
    }

    async fn count(&self, _ctx: Context, req: Req, mut responses: Outbound<Rsp>) -> Result<()> {
        let running = self.begin(&req.name);
        let result = count(&req, &mut responses).await;
        running.ended(result)
    }

    async fn failing_count(
        &self,
        _ctx: Context,
        req: Req,
        mut responses: Outbound<Rsp>,
    ) -> Result<()> {
        let running = self.begin(&req.name);
        let result = match count(&req, &mut responses).await {
            Ok(()) => Err(status_of(req.fault)),
            broken => broken,
        };
        running.ended(result)
    }

    async fn chat(
        &self,
        _ctx: Context,
        mut requests: Inbound<Req>,
        mut responses: Outbound<Rsp>,
    ) -> Result<()> {
        let Some(first) = requests.recv().await? else {
            return Ok(());
        };
        let running = self.begin(&first.name);
        let chat = async {
            responses.send(echo(first)).await?;
            while let Some(next) = requests.recv().await? {
                responses.send(echo(next)).await?;
            }
            Ok(())
        };
        let result = chat.await;
        running.ended(result)
    }

    async fn collect(&self, _ctx: Context, mut requests: Inbound<Req>) -> Result<Rsp> {
        let mut names = Vec::new();
        while let Some(next) = requests.recv().await? {
            names.push(next.name);
        }
        Ok(Rsp {
            count: i64::try_from(names.len()).unwrap_or(i64::MAX),
            msg: names.join(","),
            ..Rsp::default()
        })
    }

    async fn sleep(&self, _ctx: Context, req: Req) -> Result<Rsp> {
        let running = self.begin(&req.name);
        tokio::time::sleep(millis(&req)).await;
        running.ended(Ok(Rsp::default()))
    }

    async fn last_cancelled(&self, _ctx: Context, req: Req) -> Result<Rsp> {
        let begun_is_enough = req.tags.iter().any(|tag| tag == "started");
        let mut states = self.states.subscribe();
        let enough = |states: &HashMap<String, State>| match states.get(&req.name) {
            None => false,
            Some(State::Running) => begun_is_enough,
            Some(State::Finished | State::Cancelled(_)) => true,
        };
        // What it is when the time is over is the answer too.
        let _ = tokio::time::timeout(millis(&req), states.wait_for(enough)).await;
        let state = self.states.borrow().get(&req.name).cloned();
        let (msg, reason) = match state {
            None => ("unknown", None),
            Some(State::Running) => ("running", None),
            Some(State::Finished) => ("finished", None),
            Some(State::Cancelled(reason)) => ("cancelled", Some(reason)),
        };
        Ok(Rsp {
            msg: msg.to_owned(),
            cancelled: msg == "cancelled",
            tags: reason.into_iter().collect(),
            ..Rsp::default()
        })
    }

    async fn large(&self, _ctx: Context, req: Req) -> Result<Rsp> {
        let length = usize::try_from(req.count).or(Err(Status::invalid_argument("negative")))?;
        Ok(Rsp {
            payload: vec![b'x'; length],
            ..Rsp::default()
        })
    }

    async fn panic(&self, _ctx: Context, req: Req) -> Result<Rsp> {
        panic!("{}", req.name)
    }

    async fn headers(&self, ctx: Context, _req: Req) -> Result<Rsp> {
        let mut meta: HashMap<String, String> = HashMap::new();
        for (name, value) in ctx.metadata().iter() {
            let text = if name.ends_with("-bin") {
                value.iter().map(|byte| format!("{byte:02x}")).collect()
            } else {
                String::from_utf8_lossy(value).into_owned()
            };
            meta.entry(name.to_owned())
                .and_modify(|all| {
                    all.push_str(", ");
                    all.push_str(&text);
                })
                .or_insert(text);
        }
        if let Some(caller) = ctx.peer_identity() {
            let names: Vec<_> = caller.dns_names().collect();
            meta.insert("tls".to_owned(), names.join(" "));
        }
        ctx.header("x-peer-header", "one");
        ctx.header("x-peer-header", "two");
        ctx.trailer("x-peer-trailer", "end");
        Ok(Rsp {
            meta,
            ..Rsp::default()
        })
    }
}

/// A request with a value in every field, the one that the Go programs' `unary` sends.
#[must_use]
pub fn full_request() -> Req {
    let inner = |label: &str| v1::Inner {
        label: label.to_owned(),
        ..v1::Inner::default()
    };
    Req {
        name: "bob".to_owned(),
        count: -9_007_199_254_740_993,
        tags: vec!["a".to_owned(), String::new(), "ü".to_owned()],
        meta: [("k", "v"), ("ключ", "<&>")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        kind: v1::Kind::Large.into(),
        payload: vec![0, 1, 0xff],
        inner: Some(v1::Inner {
            label: "in".to_owned(),
            delta: -7,
            marks: vec![1, u64::MAX],
        }),
        ratio: 1.5,
        big_total: u64::MAX,
        by_number: [(-1, inner("minus")), (9_007_199_254_740_993, inner("big"))].into(),
        all_kinds: vec![
            v1::Kind::Small.into(),
            v1::Kind::Large.into(),
            v1::Kind::Unspecified.into(),
        ],
        is_set: true,
        ..Req::default()
    }
}
