//! An API server as scripts want it: pods in memory, lists in pages, watches in chunks. The suite of all registries,
//! `tests/tests/registry_kubernetes`, has it too.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(super) struct Server {
    shared: Arc<Shared>,
    port: u16,
    tasks: JoinSet<()>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
pub(super) struct State {
    version: u64,
    pods: BTreeMap<String, Value>,
    /// Version, the pod before, the pod after.
    log: Vec<(u64, Option<Value>, Option<Value>)>,
    /// What happened up to here is forgotten.
    pub(super) forgotten: u64,
    /// Answers every request with this.
    pub(super) refuse: Option<u16>,
    /// The only token that is accepted.
    pub(super) token: Option<String>,
    /// Pods of a page; 0: all.
    pub(super) page: usize,
    /// Forgets the pages of a list that have not been asked for, once.
    pub(super) forget_pages: bool,
    /// Written into every watch, once.
    pub(super) noise: Vec<String>,
    /// How many requests for a watch came since it came back.
    pub(super) asked: watch::Sender<usize>,
}

// ===== impl Server =====

impl Server {
    pub(super) async fn start() -> Server {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                version: 1,
                ..State::default()
            }),
            changed: watch::Sender::new(()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut server = Server {
            shared,
            port,
            tasks: JoinSet::new(),
        };
        server.serve(listener);
        server
    }

    fn serve(&mut self, listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(connection(Arc::clone(&shared), stream));
            }
        });
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Closes every connection and takes no more.
    pub(super) async fn kill(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Has nothing, as a store that was put back from a backup made at its beginning.
    pub(super) fn put_back(&self) {
        let mut state = self.state();
        state.version = 1;
        state.forgotten = 0;
        state.pods.clear();
        state.log.clear();
    }

    /// Comes back with what it had.
    pub(super) async fn back(&mut self) {
        self.state().asked.send_replace(0);
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.serve(listener);
    }

    /// A pod that runs and has no services.
    pub(super) fn pod(&self, name: &str) {
        self.put(name, Some(json!({
            "metadata": { "name": name, "namespace": "default", "labels": {}, "annotations": {} },
            "status": { "phase": "Running" },
        })));
    }

    /// A pod that runs one node of `greeter`.
    pub(super) fn runs(&self, pod: &str, node: &str) {
        let service = json!({ "name": "greeter", "version": "1",
            "nodes": [{ "id": node, "address": format!("{node}:1") }] });
        self.pod(pod);
        self.edit(pod, |value| {
            value["metadata"]["labels"] =
                json!({ "micro.mu/type": "service", "micro.mu/selector-greeter": "service" });
            value["metadata"]["annotations"] =
                json!({ "micro.mu/service-greeter": service.to_string() });
        });
    }

    pub(super) fn edit(&self, pod: &str, edit: impl FnOnce(&mut Value)) {
        let mut value = self.state().pods[pod].clone();
        edit(&mut value);
        self.put(pod, Some(value));
    }

    pub(super) fn delete(&self, pod: &str) {
        self.put(pod, None);
    }

    pub(super) fn get(&self, pod: &str) -> Value {
        self.state().pods[pod].clone()
    }

    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.version += 1;
        state.forgotten = state.version;
    }

    fn put(&self, name: &str, new: Option<Value>) {
        self.shared.put(name, new);
    }
}

// ===== impl Shared =====

impl Shared {
    fn put(&self, name: &str, new: Option<Value>) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let version = state.version;
        let old = state.pods.remove(name);
        let new = new.map(|mut pod| {
            pod["metadata"]["resourceVersion"] = json!(version.to_string());
            state.pods.insert(name.to_owned(), pod.clone());
            pod
        });
        state.log.push((version, old, new));
        drop(state);
        self.changed.send_replace(());
    }
}

async fn connection(shared: Arc<Shared>, mut stream: TcpStream) {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = buffer.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap();
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let header = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_owned())
        };
        let length: usize = header("content-length").map_or(0, |value| value.parse().unwrap());
        while buffer.len() < length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body: Vec<u8> = buffer.drain(..length).collect();
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect();
        let refused = {
            let state = shared.state.lock().unwrap();
            if query.contains_key("watch") {
                state.asked.send_modify(|asked| *asked += 1);
            }
            let token = state.token.as_ref().map(|token| format!("Bearer {token}"));
            if token.is_some() && token != header("authorization") {
                Some(401)
            } else {
                state.refuse
            }
        };
        if let Some(code) = refused {
            let status = json!({ "kind": "Status", "status": "Failure", "code": code, "message": "as asked" });
            answer(&mut stream, code, &status).await;
        } else if method == "PATCH" {
            let kind = header("content-type");
            assert_eq!(
                kind.as_deref(),
                Some("application/strategic-merge-patch+json")
            );
            let name = path
                .strip_prefix("/api/v1/namespaces/default/pods/")
                .unwrap();
            let name = decoded(name);
            let patch: Value = serde_json::from_slice(&body).unwrap();
            let pod = shared.state.lock().unwrap().pods.get(&name).cloned();
            match pod {
                Some(mut pod) => {
                    merge(&mut pod, &patch);
                    shared.put(&name, Some(pod.clone()));
                    answer(&mut stream, 200, &pod).await;
                }
                None => {
                    answer(
                        &mut stream,
                        404,
                        &json!({ "code": 404, "message": "no such pod" }),
                    )
                    .await
                }
            }
        } else if query.contains_key("watch") {
            watching(&shared, &mut stream, &query).await;
            return;
        } else {
            assert_eq!(path, "/api/v1/namespaces/default/pods");
            let (code, list) = list(&mut shared.state.lock().unwrap(), &query);
            answer(&mut stream, code, &list).await;
        }
    }
}

fn list(state: &mut State, query: &BTreeMap<String, String>) -> (u16, Value) {
    let from: usize = query
        .get("continue")
        .map_or(0, |from| from.parse().unwrap());
    if from > 0 && std::mem::take(&mut state.forget_pages) {
        return (
            410,
            json!({ "code": 410, "message": "the continue token is too old" }),
        );
    }
    let pods = state.pods.values().filter(|pod| matches(Some(pod), query));
    let pods: Vec<Value> = pods.cloned().collect();
    let page = if state.page == 0 {
        pods.len().max(1)
    } else {
        state.page
    };
    let items: Vec<&Value> = pods.iter().skip(from).take(page).collect();
    let next = from + items.len();
    let more = (next < pods.len()).then(|| next.to_string());
    let metadata = json!({ "resourceVersion": state.version.to_string(), "continue": more });
    (
        200,
        json!({ "kind": "PodList", "metadata": metadata, "items": items }),
    )
}

/// What `%` and two digits stand for.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_at(2);
            let digits = std::str::from_utf8(digits).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// `key=value` alone.
fn matches(pod: Option<&Value>, query: &BTreeMap<String, String>) -> bool {
    let (key, value) = query["labelSelector"].split_once('=').unwrap();
    pod.is_some_and(|pod| pod["metadata"]["labels"][key] == value)
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (key, patch) in patch {
        if patch.is_null() {
            value.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut value[key], patch);
        }
    }
}

async fn answer(stream: &mut TcpStream, code: u16, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code} X\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Whoever asked may have gone.
    let _ = stream.write_all((head + &body).as_bytes()).await;
}

async fn watching(shared: &Shared, stream: &mut TcpStream, query: &BTreeMap<String, String>) {
    let mut seen: u64 = query["resourceVersion"].parse().unwrap();
    let mut changed = shared.changed.subscribe();
    if stream
        .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .is_err()
    {
        return;
    }
    loop {
        let mut lines = Vec::new();
        {
            let mut state = shared.state.lock().unwrap();
            lines.append(&mut state.noise);
            if seen < state.forgotten {
                let status = json!({ "kind": "Status", "code": 410, "message": "too old", "status": "Failure" });
                lines.push(json!({ "type": "ERROR", "object": status }).to_string());
            } else {
                for (version, old, new) in state.log.iter().filter(|entry| entry.0 > seen) {
                    let (before, after) =
                        (matches(old.as_ref(), query), matches(new.as_ref(), query));
                    let (kind, pod) = match (before, after) {
                        (false, true) => ("ADDED", new),
                        (true, true) => ("MODIFIED", new),
                        (true, false) => ("DELETED", old),
                        (false, false) => continue,
                    };
                    let mut pod = pod.clone().unwrap();
                    pod["metadata"]["resourceVersion"] = json!(version.to_string());
                    lines.push(json!({ "type": kind, "object": pod }).to_string());
                }
                seen = state.version;
                let mark =
                    json!({ "kind": "Pod", "metadata": { "resourceVersion": seen.to_string() } });
                lines.push(json!({ "type": "BOOKMARK", "object": mark }).to_string());
            }
        }
        for line in lines {
            // In two chunks, as a server may.
            let line = format!("{line}\n");
            let (first, second) = line.as_bytes().split_at(line.len() / 2);
            for part in [first, second] {
                let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
                chunk.extend_from_slice(part);
                chunk.extend_from_slice(b"\r\n");
                if stream.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            if line.contains("\"ERROR\"") {
                let _ = stream.write_all(b"0\r\n\r\n").await;
                return;
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}
