//! [`Agents`]: the agents, and each request that is made of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::api::{self, ANSWER_MAX, Instance, encoded};
use super::slots::{Slots, WAIT};
use crate::error::Error;
use crate::transport::http1::{Answer, Request, Servers};

/// What a write is answered with, at most: an error's words.
const WORDS_MAX: usize = 64 * 1024;

/// What the agent and the way to it may take longer than a blocking query waits, besides its jitter.
const SLACK: Duration = Duration::from_secs(10);

/// The agents of a registry; cheap to clone.
#[derive(Clone)]
pub(super) struct Agents(Arc<Inner>);

struct Inner {
    servers: Servers,
    /// `&dc=…`, `&ns=…` for reads.
    read: String,
    /// `?ns=…` for writes.
    write: String,
    timeout: Duration,
    has_token: bool,
    slots: Slots,
}

/// A query that waits for news.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blocking {
    /// Of the last answer.
    pub(super) index: u64,
    pub(super) wait: Duration,
}

/// An answer and the index it came with.
pub(super) type Indexed<T> = (T, Option<u64>);

/// What an agent says of a node registered at it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It has it; the hash of what it has.
    Yes(String),
    /// It has it not, or not any more.
    No,
    /// It does not say.
    Refused,
}

/// Why a write failed.
#[derive(Debug)]
pub(super) struct NotWritten {
    pub(super) error: Error,
    /// Waiting may help: there was no answer, or the agent has troubles of its own.
    pub(super) passing: bool,
}

// ===== impl Agents =====

impl Agents {
    pub(super) fn new(
        servers: Servers,
        datacenter: Option<&str>,
        namespace: Option<&str>,
        timeout: Duration,
        has_token: bool,
    ) -> Agents {
        let mut read = String::new();
        let mut write = String::new();
        if let Some(datacenter) = datacenter {
            read.push_str(&format!("&dc={}", encoded(datacenter)));
        }
        if let Some(namespace) = namespace {
            read.push_str(&format!("&ns={}", encoded(namespace)));
            write.push_str(&format!("?ns={}", encoded(namespace)));
        }
        Agents(Arc::new(Inner {
            servers,
            read,
            write,
            timeout,
            has_token,
            slots: Slots::new(),
        }))
    }

    pub(super) fn slots(&self) -> &Slots {
        &self.0.slots
    }

    /// The instances of a service.
    pub(super) async fn instances(
        &self,
        name: &str,
        blocking: Option<Blocking>,
    ) -> Result<Indexed<Vec<Instance>>, Error> {
        let path = format!("/v1/health/service/{}", encoded(name));
        let (answer, index) = self
            .read(&format!("the service {name:?}"), &path, blocking)
            .await?;
        Ok((api::instances(name, &answer.body)?, index))
    }

    /// The names of all services.
    pub(super) async fn names(
        &self,
        blocking: Option<Blocking>,
    ) -> Result<Indexed<Vec<String>>, Error> {
        let (answer, index) = self
            .read("the list of services", "/v1/catalog/services", blocking)
            .await?;
        Ok((api::names(&answer.body)?, index))
    }

    async fn read(
        &self,
        what: &str,
        path: &str,
        blocking: Option<Blocking>,
    ) -> Result<(Answer, Option<u64>), Error> {
        let Inner { servers, read, .. } = &*self.0;
        let answer = match blocking {
            None => {
                let request = Request::get(format!("{path}?stale{read}"));
                let timeout = self.0.timeout;
                let sent = servers.send(&request, timeout, ANSWER_MAX, |status| status < 500);
                sent.await.map(|(_, answer)| answer)
            }
            Some(Blocking { index, wait }) => {
                let wait_text = api::go_duration(wait);
                let request =
                    Request::get(format!("{path}?stale&index={index}&wait={wait_text}{read}"));
                let timeout = wait + wait / 16 + SLACK;
                servers.send_to_first(&request, timeout, ANSWER_MAX).await
            }
        };
        let answer = answer.map_err(|failed| {
            Error::registry(format_args!("consul does not answer for {what}: {failed}"))
        })?;
        api::expect_success(what, &answer, self.0.has_token)?;
        let index = answer
            .header("x-consul-index")
            .and_then(|index| index.parse().ok());
        Ok((answer, index))
    }

    /// Registers a node at the first agent that can be reached, and says which one that is.
    pub(super) async fn register(&self, id: &str, body: Bytes) -> Result<usize, NotWritten> {
        let target = format!("/v1/agent/service/register{}", self.0.write);
        let what = format!("to register the node {id:?}");
        let sent = self
            .0
            .servers
            .send(
                &Request::put(target, body),
                self.0.timeout,
                WORDS_MAX,
                |_| true,
            )
            .await;
        let (agent, answer) = sent.map_err(|failed| NotWritten::unanswered(&what, &failed))?;
        self.written(&what, &answer)?;
        Ok(agent)
    }

    /// Renews a node at this agent.
    pub(super) async fn pass(&self, agent: usize, id: &str) -> Result<(), NotWritten> {
        let check = format!("service:{id}");
        let target = format!("/v1/agent/check/pass/{}{}", encoded(&check), self.0.write);
        self.put_to(agent, &format!("to renew the node {id:?}"), target)
            .await
    }

    /// Takes a node out at this agent, or at the first that can be reached. That it is not there is no error.
    pub(super) async fn deregister(&self, agent: Option<usize>, id: &str) -> Result<(), Error> {
        let target = format!(
            "/v1/agent/service/deregister/{}{}",
            encoded(id),
            self.0.write
        );
        let what = format!("to deregister the node {id:?}");
        let request = Request::put(target, Bytes::new());
        let timeout = self.0.timeout;
        let servers = &self.0.servers;
        let sent = match agent {
            Some(agent) => servers.send_to(agent, &request, timeout, WORDS_MAX).await,
            None => servers
                .send(&request, timeout, WORDS_MAX, |_| true)
                .await
                .map(|(_, answer)| answer),
        };
        let answer = sent.map_err(|failed| NotWritten::unanswered(&what, &failed).error)?;
        match answer.status {
            404 => Ok(()),
            _ => self.written(&what, &answer).map_err(|failed| failed.error),
        }
    }

    async fn put_to(&self, agent: usize, what: &str, target: String) -> Result<(), NotWritten> {
        let request = Request::put(target, Bytes::new());
        let sent = self
            .0
            .servers
            .send_to(agent, &request, self.0.timeout, WORDS_MAX)
            .await;
        let answer = sent.map_err(|failed| NotWritten::unanswered(what, &failed))?;
        self.written(what, &answer)
    }

    fn written(&self, what: &str, answer: &Answer) -> Result<(), NotWritten> {
        api::expect_success(what, answer, self.0.has_token).map_err(|error| NotWritten {
            error,
            passing: answer.status >= 500 || answer.status == 429,
        })
    }

    /// What an agent has of a node: at once, or, with the hash of what it had, as soon as that changes.
    pub(super) async fn holds(
        &self,
        agent: usize,
        id: &str,
        hash: Option<&str>,
    ) -> Result<Held, String> {
        let mut target = format!("/v1/agent/service/{}", encoded(id));
        let separator = if self.0.write.is_empty() { '?' } else { '&' };
        target.push_str(&self.0.write);
        let mut timeout = self.0.timeout;
        if let Some(hash) = hash {
            let wait = api::go_duration(WAIT);
            target.push_str(&format!("{separator}hash={}&wait={wait}", encoded(hash)));
            timeout = WAIT + WAIT / 16 + SLACK;
        }
        let request = Request::get(target);
        let servers = &self.0.servers;
        let answer = servers
            .send_to(agent, &request, timeout, ANSWER_MAX)
            .await?;
        Ok(match answer.status {
            200 => match answer.header("x-consul-contenthash") {
                Some(hash) if !hash.is_empty() => Held::Yes(hash.to_owned()),
                _ => Held::Refused,
            },
            404 => Held::No,
            status if status >= 500 => return Err(format!("the status {status}")),
            _ => Held::Refused,
        })
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.servers.fmt(f)
    }
}

// ===== impl NotWritten =====

impl NotWritten {
    fn unanswered(what: &str, failed: &str) -> NotWritten {
        NotWritten {
            error: Error::registry(format_args!("consul does not answer {what}: {failed}")),
            passing: true,
        }
    }
}
