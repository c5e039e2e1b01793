//! [`Api`]: the three requests that are made of the API server.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::pods::{List, Pod, Status};
use crate::backoff::jittered;
use crate::error::Error;
use crate::lock::lock;
use crate::registry::common::CALL_TIMEOUT;
use crate::transport::http1::{Client, Failure, Origin, Request, Streaming};

/// Pods of one page, and pages of one list; more pods than one cluster may have (5,000 nodes of 110) do not
/// fit, but then no service has that many.
const PAGE: usize = 250;
const PAGES_MAX: usize = 400;

/// The most bytes of a page: a pod is stored in at most 1.5 MiB, and has some 10 KB.
const PAGE_BYTES: usize = 64 * 1024 * 1024;

/// The most bytes of a whole list, of which only what concerns services is kept.
const LIST_BYTES: usize = 1024 * 1024 * 1024;

/// The most bytes of an answer to anything else.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// How old a token may be that was read from a file. The kubelet writes a new one when a fifth of its time is
/// left, at least two minutes.
const TOKEN_FOR: Duration = Duration::from_secs(30);

/// How long the server lets a watch stand, up to a fifth more or less, so that watches which began together do
/// not end together: as kube's clients, within the ten minutes after which proxies and servers end it by
/// themselves.
const WATCH_TIME: Duration = Duration::from_secs(200);

/// Beyond that, silence means that the connection is dead.
const WATCH_SILENCE: Duration = Duration::from_secs(200 + 200 / 5 + 15);

/// The most bytes of a watch's line, which is one pod.
const LINE_BYTES: usize = 4 * 1024 * 1024;

/// Who we are for the API server.
#[derive(Clone)]
pub(super) enum Auth {
    Nobody,
    Token(String),
    /// Read again and again.
    File(PathBuf),
}

#[derive(Clone, Debug)]
pub(super) enum Namespace {
    Named(String),
    /// Read once.
    File(PathBuf),
}

pub(super) struct Api {
    origin: Origin,
    auth: Auth,
    namespace: Namespace,
    read_namespace: OnceLock<String>,
    /// Held for short sections without a wait.
    held: Mutex<Option<Held>>,
}

/// The client whose requests have this token.
#[derive(Clone)]
struct Held {
    token: Option<String>,
    read: Instant,
    client: Client,
}

/// Why there is no watch.
pub(super) enum NoWatch {
    /// What is to be watched from is too long ago, or yet to come for a server whose store was put back from a
    /// backup: list again.
    Gone,
    Failed(Error),
}

// ===== impl Api =====

impl Api {
    pub(super) fn new(origin: Origin, auth: Auth, namespace: Namespace) -> Api {
        Api {
            origin,
            auth,
            namespace,
            read_namespace: OnceLock::new(),
            held: Mutex::new(None),
        }
    }

    /// What is kept of all pods of a selector, and the version from which they can be watched.
    pub(super) async fn list<T>(
        &self,
        selector: &str,
        keep: impl Fn(Pod) -> Option<T>,
    ) -> Result<(Vec<T>, String), Error> {
        timeout(CALL_TIMEOUT, self.pages(selector, keep))
            .await
            .unwrap_or_else(|_| Err(self.late()))
    }

    async fn pages<T>(
        &self,
        selector: &str,
        keep: impl Fn(Pod) -> Option<T>,
    ) -> Result<(Vec<T>, String), Error> {
        let path = self.pods().await?;
        let selector = encoded(selector);
        let mut pods = Vec::new();
        let mut next = String::new();
        let mut bytes = 0_usize;
        for _ in 0..PAGES_MAX {
            let mut target = format!("{path}?labelSelector={selector}&limit={PAGE}");
            if !next.is_empty() {
                target.push_str("&continue=");
                target.push_str(&encoded(&next));
            }
            let (status, body) = self.send(&Request::get(target), PAGE_BYTES).await?;
            if status == 410 && !next.is_empty() {
                // The pages to come are forgotten: from the start.
                next.clear();
                pods.clear();
                continue;
            }
            if status != 200 {
                return Err(self.refused("list", status, &body).await);
            }
            bytes = bytes.saturating_add(body.len());
            if bytes > LIST_BYTES {
                return Err(self.odd(&format_args!(
                    "expected at most {LIST_BYTES} bytes, found more"
                )));
            }
            let list: List = serde_json::from_slice(&body).map_err(|error| self.odd(&error))?;
            pods.extend(list.items.into_iter().flatten().filter_map(&keep));
            match list.metadata.next.filter(|next| !next.is_empty()) {
                Some(more) => next = more,
                None if list.metadata.resource_version.is_empty() => {
                    return Err(self.odd(&"a list without a resource version"));
                }
                None => return Ok((pods, list.metadata.resource_version)),
            }
        }
        Err(Error::registry(format_args!(
            "the API server {} lists more than {} pods",
            self.origin,
            PAGES_MAX * PAGE
        )))
    }

    /// Changes a pod; says whether it is there.
    pub(super) async fn patch(&self, pod: &str, patch: &Value) -> Result<bool, Error> {
        let request = async {
            let target = format!("{}/{}", self.pods().await?, encoded(pod));
            let body = Bytes::from(patch.to_string());
            let request = Request::patch(target, "application/strategic-merge-patch+json", body);
            match self.send(&request, ANSWER_BYTES).await? {
                (200 | 201, _) => Ok(true),
                (404, _) => Ok(false),
                (status, body) => Err(self.refused("patch", status, &body).await),
            }
        };
        timeout(CALL_TIMEOUT, request)
            .await
            .unwrap_or_else(|_| Err(self.late()))
    }

    /// What happens to the pods of a selector from a version on.
    pub(super) async fn watch(&self, selector: &str, from: &str) -> Result<Streaming, NoWatch> {
        let failed = NoWatch::Failed;
        let target = format!(
            "{}?labelSelector={}&watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            self.pods().await.map_err(failed)?,
            encoded(selector),
            jittered(WATCH_TIME).as_secs(),
            encoded(from)
        );
        let request = Request::get(target);
        for attempt in 0..2 {
            let client = self.client().await.map_err(failed)?;
            let mut stream = client
                .stream(&request, CALL_TIMEOUT)
                .await
                .map_err(|failure| failed(self.failed(&failure)))?;
            match stream.status {
                200 => return Ok(stream),
                // A version of the future is a bad request, or one that the server waits for in vain.
                400 | 410 | 504 => return Err(NoWatch::Gone),
                401 if attempt == 0 && self.forget() => {}
                status => {
                    let body = stream.line(CALL_TIMEOUT, ANSWER_BYTES).await.ok().flatten();
                    let body = body.unwrap_or_default();
                    return Err(failed(self.refused("watch", status, &body).await));
                }
            }
        }
        Err(failed(self.late()))
    }

    /// The next line of a watch; `None` when the server has ended it.
    pub(super) async fn line(&self, stream: &mut Streaming) -> Result<Option<Bytes>, Error> {
        stream
            .line(WATCH_SILENCE, LINE_BYTES)
            .await
            .map_err(|failure| self.failed(&failure))
    }

    async fn send(&self, request: &Request, max_body: usize) -> Result<(u16, Bytes), Error> {
        let mut again = true;
        loop {
            let client = self.client().await?;
            let answer = client
                .send(request, CALL_TIMEOUT, max_body)
                .await
                .map_err(|failure| self.failed(&failure))?;
            // The token may have been renewed since it was read.
            if answer.status == 401 && again && self.forget() {
                again = false;
                continue;
            }
            return Ok((answer.status, answer.body));
        }
    }

    /// A client with the token of now.
    async fn client(&self) -> Result<Client, Error> {
        let held = self.held().clone();
        let token = match (&self.auth, &held) {
            (Auth::File(path), Some(held)) if held.read.elapsed() < TOKEN_FOR => {
                let _ = path;
                return Ok(held.client.clone());
            }
            (Auth::File(path), held) => match (read(path).await, held) {
                (Ok(token), _) => Some(token),
                // Better an old one than none.
                (Err(error), Some(held)) => {
                    tracing::warn!(%error, "A token of Kubernetes is not renewed");
                    held.token.clone()
                }
                (Err(error), None) => return Err(error),
            },
            (_, Some(held)) => return Ok(held.client.clone()),
            (Auth::Token(token), None) => Some(token.clone()),
            (Auth::Nobody, None) => None,
        };
        let client = match held {
            Some(held) if held.token == token => held.client,
            _ => {
                let bearer = token.as_ref().map(|token| format!("Bearer {token}"));
                let headers: Vec<_> = bearer
                    .iter()
                    .map(|value| ("authorization", value.as_str()))
                    .collect();
                Client::new(self.origin.clone(), &headers)
                    .map_err(|failure| self.failed(&failure))?
            }
        };
        *self.held() = Some(Held {
            token,
            read: Instant::now(),
            client: client.clone(),
        });
        Ok(client)
    }

    /// Has the token read anew; says whether that may help.
    fn forget(&self) -> bool {
        let from_file = matches!(self.auth, Auth::File(_));
        if from_file {
            *self.held() = None;
        }
        from_file
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        lock(&self.held)
    }

    /// The path of the pods of our namespace.
    async fn pods(&self) -> Result<String, Error> {
        let namespace = encoded(&self.namespace().await?);
        Ok(format!("/api/v1/namespaces/{namespace}/pods"))
    }

    pub(super) async fn namespace(&self) -> Result<String, Error> {
        match (&self.namespace, self.read_namespace.get()) {
            (Namespace::Named(name), _) => Ok(name.clone()),
            (Namespace::File(_), Some(name)) => Ok(name.clone()),
            (Namespace::File(path), None) => {
                let name = read(path).await?;
                Ok(self.read_namespace.get_or_init(|| name).clone())
            }
        }
    }

    fn failed(&self, failure: &Failure) -> Error {
        Error::registry(format_args!("the API server {}: {failure}", self.origin))
    }

    fn late(&self) -> Error {
        Error::registry(format_args!(
            "the API server {} did not answer within {} s",
            self.origin,
            CALL_TIMEOUT.as_secs()
        ))
    }

    fn odd(&self, why: &dyn std::fmt::Display) -> Error {
        Error::registry(format_args!(
            "the API server {} answers with what is no list of pods: {why}",
            self.origin
        ))
    }

    async fn refused(&self, verb: &str, status: u16, body: &[u8]) -> Error {
        let said = serde_json::from_slice::<Status>(body).unwrap_or_default();
        let said: String = if said.message.is_empty() {
            String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned()
        } else {
            said.message.chars().take(500).collect()
        };
        let help = match status {
            401 => "; the token is not accepted",
            403 => {
                "; the service account needs a Role with the verbs get, list, watch and patch for pods \
                 (registry::Kubernetes shows one)"
            }
            _ => "",
        };
        let namespace = self.namespace().await.unwrap_or_default();
        Error::registry(format_args!(
            "the API server {} refuses to {verb} pods of the namespace {namespace:?}, status {status}: {said:?}{help}",
            self.origin
        ))
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// What a file says, without blanks around it.
async fn read(path: &std::path::Path) -> Result<String, Error> {
    let file = path.to_owned();
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
    let text = match text {
        Ok(Ok(text)) => text.trim().to_owned(),
        Ok(Err(error)) => return Err(unreadable(path).with_source(error)),
        Err(error) => return Err(unreadable(path).with_source(error)),
    };
    if text.is_empty() {
        return Err(unreadable(path).with_source("it is empty"));
    }
    Ok(text)
}

fn unreadable(path: &std::path::Path) -> Error {
    Error::registry(format_args!(
        "cannot read {}, which a pod has from its service account; outside of one name the API server, the token \
         and the namespace",
        path.display()
    ))
}
