//! The nodes that this process has registered, and the tasks that keep them so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::agents::{Agents, Held, NotWritten};
use super::api;
use super::tags;
use crate::backoff::{Backoff, jittered};
use crate::error::Error;
use crate::lock::lock;
use crate::registry::{Node, Service};

/// After an agent failed. No longer than lets a node be back within 3 s of the agent.
const ERROR_FIRST: Duration = Duration::from_millis(100);
const ERROR_MOST: Duration = Duration::from_millis(750);

/// The least time between two looks at what the agent has.
const GAP: Duration = Duration::from_secs(1);

/// How long deregistering waits for a write of the same node under way, whose end it would rather know.
const TURN: Duration = Duration::from_secs(1);

/// The nodes of one registry, by id.
#[derive(Debug, Default)]
pub(super) struct Nodes(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    node: Arc<Registered>,
    keeper: Option<AbortHandle>,
}

/// A node and what is known of its registration. Shared with its keeper.
#[derive(Debug)]
struct Registered {
    id: String,
    state: Mutex<State>,
    /// Whose turn it is to write: two requests may go over two connections, and arrive in any order.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// What registers it.
    body: Bytes,
    ttl: Duration,
    /// When the program last asked for it.
    asked: Instant,
    /// It was deregistered: whatever is under way, it is not to be written again.
    gone: bool,
    /// The agent that has it, as far as is known.
    agent: Option<usize>,
    /// Agents that had it before and could not be told that it moved.
    former: Vec<usize>,
}

// ===== impl Nodes =====

impl Nodes {
    /// Registers a node, or renews it if it is as it was.
    pub(super) async fn register(
        &self,
        agents: &Agents,
        service: &Service,
        node: &Node,
        ttl: Duration,
    ) -> Result<(), Error> {
        let (tags, left_out) = tags::write(service, node);
        let body = api::registration(service, node, &tags, ttl)?;
        let registered = self.entry(&node.id, body, ttl, || {
            left_out.tell(&service.name, "consul", tags::ROOM);
        });
        let result = registered.renew(agents).await;
        let keeps = match &result {
            Ok(()) => true,
            // Nobody is known to be there to take out what has no end.
            Err(failed) => failed.passing && !ttl.is_zero(),
        };
        if keeps {
            self.keep(agents, &registered);
        }
        result.map_err(|failed| failed.error)
    }

    /// Takes a node out, wherever it is.
    pub(super) async fn deregister(&self, agents: &Agents, id: &str) -> Result<(), Error> {
        let entry = self.lock().remove(id);
        let (agent, former) = match &entry {
            Some(entry) => {
                entry.node.lock().gone = true;
                // An agent that does not answer now need not be waited for longer: what it has yet to do is what
                // this cannot undo.
                let _turn = timeout(TURN, entry.node.turn.lock()).await;
                let state = entry.node.lock();
                (state.agent, state.former.clone())
            }
            None => (None, Vec::new()),
        };
        // Ends the keeper.
        drop(entry);
        let result = agents.deregister(agent, id).await;
        for agent in former {
            if let Err(error) = agents.deregister(Some(agent), id).await {
                tracing::debug!(node = id, %error, "a former agent of the node was not told");
            }
        }
        result
    }

    /// The entry of a node, with what is to be registered. Calls `changed` if that is new.
    fn entry(
        &self,
        id: &str,
        body: Bytes,
        ttl: Duration,
        changed: impl FnOnce(),
    ) -> Arc<Registered> {
        let mut nodes = self.lock();
        if let Some(entry) = nodes.get(id) {
            let mut state = entry.node.lock();
            state.asked = Instant::now();
            if state.body != body {
                state.body = body;
                state.ttl = ttl;
                // It has to be registered anew, preferably where it was.
                let agent = state.agent.take();
                state.former.extend(agent);
                changed();
            }
            return Arc::clone(&entry.node);
        }
        changed();
        let node = Arc::new(Registered {
            id: id.to_owned(),
            state: Mutex::new(State {
                body,
                ttl,
                asked: Instant::now(),
                gone: false,
                agent: None,
                former: Vec::new(),
            }),
            turn: tokio::sync::Mutex::new(()),
        });
        let entry = Entry {
            node: Arc::clone(&node),
            keeper: None,
        };
        nodes.insert(id.to_owned(), entry);
        node
    }

    /// Starts the node's keeper, unless it has one or has been taken out.
    fn keep(&self, agents: &Agents, node: &Arc<Registered>) {
        let mut nodes = self.lock();
        let Some(entry) = nodes.get_mut(&node.id) else {
            return;
        };
        let runs = |keeper: &AbortHandle| !keeper.is_finished();
        if Arc::ptr_eq(&entry.node, node) && !entry.keeper.as_ref().is_some_and(runs) {
            let keeper = keep(agents.clone(), Arc::clone(node));
            entry.keeper = Some(tokio::spawn(keeper).abort_handle());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        lock(&self.0)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

// ===== impl Registered =====

impl Registered {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Renews the node at its agent; registers it, at once, where that does not know it.
    async fn renew(&self, agents: &Agents) -> Result<(), NotWritten> {
        let _turn = self.turn.lock().await;
        self.expect_wanted()?;
        let (body, ttl, agent) = {
            let state = self.lock();
            (state.body.clone(), state.ttl, state.agent)
        };
        if let Some(agent) = agent {
            let renewed = if ttl.is_zero() {
                // Without a check there is nothing to pass, only to be there.
                match agents.holds(agent, &self.id, None).await {
                    Ok(Held::Yes(_) | Held::Refused) => Ok(()),
                    Ok(Held::No) => Err("it does not know the node".to_owned()),
                    Err(error) => Err(error),
                }
            } else {
                let passed = agents.pass(agent, &self.id).await;
                passed.map_err(|failed| failed.error.to_string())
            };
            match renewed {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::debug!(node = self.id, error, "Registering the node anew");
                }
            }
        }
        // It may be unknown there since it was deregistered just now.
        self.expect_wanted()?;
        let registered = agents.register(&self.id, body).await?;
        self.moved(registered);
        if !ttl.is_zero() {
            // An agent that had it keeps the state of its check.
            agents.pass(registered, &self.id).await?;
        }
        Ok(())
    }

    fn moved(&self, to: usize) {
        let mut state = self.lock();
        let from = state.agent.replace(to);
        state.former.extend(from);
        state.former.sort_unstable();
        state.former.dedup();
        state.former.retain(|agent| *agent != to);
    }

    /// Whether the program still asks for the node.
    fn is_wanted(&self) -> bool {
        let state = self.lock();
        !state.gone && (state.ttl.is_zero() || state.asked.elapsed() < state.ttl)
    }

    fn expect_wanted(&self) -> Result<(), NotWritten> {
        match self.lock().gone {
            false => Ok(()),
            true => Err(NotWritten {
                error: Error::registry(format_args!(
                    "the node {:?} was deregistered meanwhile",
                    self.id
                )),
                passing: false,
            }),
        }
    }
}

/// Keeps a node registered between its renewals: an agent that has forgotten it, or had gone and is back, is told
/// at once. Ends when the program no longer renews the node, when the agent does not say what it has, and with the
/// registry.
async fn keep(agents: Agents, node: Arc<Registered>) {
    let mut backoff = Backoff::new(ERROR_FIRST, ERROR_MOST);
    let mut hash: Option<String> = None;
    while node.is_wanted() {
        let started = Instant::now();
        let agent = node.lock().agent;
        let lost = match agent {
            None => None,
            Some(agent) => match agents.holds(agent, &node.id, hash.as_deref()).await {
                Ok(Held::Yes(found)) => {
                    hash = Some(found);
                    sleep_until(started + jittered(GAP)).await;
                    continue;
                }
                Ok(Held::Refused) => {
                    tracing::debug!(
                        node = node.id,
                        "The agent does not say what it has, a lost node is registered at its next renewal"
                    );
                    return;
                }
                Ok(Held::No) => Some("the agent does not know it".to_owned()),
                Err(error) => Some(error),
            },
        };
        hash = None;
        if let Some(error) = lost {
            tracing::info!(
                node = node.id,
                error,
                "The node's registration is lost, registering it again"
            );
        }
        while node.is_wanted() {
            match node.renew(&agents).await {
                Ok(()) => {
                    backoff.reset();
                    tracing::info!(node = node.id, "The node is registered again");
                    break;
                }
                Err(failed) => {
                    tracing::debug!(node = node.id, error = %failed.error, "The node is not registered");
                    sleep(backoff.next()).await;
                }
            }
        }
        // Whatever takes it out again does so no more than this often.
        sleep_until(started + jittered(GAP)).await;
    }
}
