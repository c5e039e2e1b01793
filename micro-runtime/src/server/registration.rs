//! Keeps a server's node in the registry: registers it, renews it, takes it out at the end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::error::Error;
use crate::events;
use crate::registry::{DynRegistry, Service};

/// The pause after an attempt that failed: it grows as gRPC's connection back-off does (× 1.6), but no further
/// than what brings a node back within 3 s of its registry's return.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

/// How often a registry that fails is complained of.
const COMPLAINT: Duration = Duration::from_secs(30);

/// How long the registry may take to answer one attempt, or to let the node go: one that hangs must not hold
/// up a renewal, nor the end of a program.
const ATTEMPT: Duration = Duration::from_secs(5);

/// What is registered, and how often.
pub(crate) struct Plan {
    pub(crate) registry: Arc<dyn DynRegistry>,
    /// The service with its one node; asked anew each time, since handlers may be added while it runs.
    pub(crate) service: Box<dyn Fn() -> Service + Send + Sync>,
    pub(crate) ttl: Duration,
    /// Zero registers once.
    pub(crate) interval: Duration,
}

/// A node that is kept in the registry by a task; dropping it takes the node out in the background.
#[derive(Debug)]
pub(crate) struct Registration {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

// ===== impl Registration =====

impl Registration {
    /// Registers a node, and keeps it registered. Resolves when the registry has answered the first time:
    /// one that refuses, or does not answer, is tried again in the background, and the server serves
    /// meanwhile.
    pub(crate) async fn start(plan: Plan) -> Registration {
        let first = plan.attempt().await;
        if first.is_ok() {
            events::registering(plan.registry.name(), &plan.node_id());
        }
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(keep(plan, first, stopped));
        Registration {
            stop: Some(stop),
            task,
        }
    }

    /// Takes the node out, and resolves when that is done, or was tried.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the task that keeps the registration failed");
        }
    }
}

impl Plan {
    async fn attempt(&self) -> Result<(), Error> {
        let service = (self.service)();
        let register = self.registry.register(&service, self.ttl);
        tokio::time::timeout(ATTEMPT, register)
            .await
            .unwrap_or_else(|_| {
                Err(Error::registry(format_args!(
                    "no answer to a registration within {ATTEMPT:?}"
                )))
            })
    }

    fn node_id(&self) -> String {
        (self.service)()
            .nodes
            .pop()
            .map_or_else(String::new, |node| node.id)
    }
}

/// Renews the registration until `stopped` resolves, which its sender's drop does too.
async fn keep(plan: Plan, first: Result<(), Error>, mut stopped: oneshot::Receiver<()>) {
    let mut backoff = Backoff::new(FIRST_BACKOFF, LONGEST_BACKOFF);
    let mut complained: Option<Instant> = None;
    let mut known = first.is_ok();
    let mut last = first;
    loop {
        let wait = match &last {
            Ok(()) => {
                backoff.reset();
                complained = None;
                earlier(plan.interval)
            }
            Err(error) => {
                let wait = backoff.next();
                if complained.is_none_or(|at| at.elapsed() >= COMPLAINT) {
                    complained = Some(Instant::now());
                    events::not_registered(plan.registry.name(), &plan.node_id(), error, wait);
                }
                wait
            }
        };
        let renew = async {
            if last.is_ok() && plan.interval.is_zero() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(wait).await;
            plan.attempt().await
        };
        last = tokio::select! {
            _ = &mut stopped => break,
            result = renew => result,
        };
        if last.is_ok() && !known {
            known = true;
            events::registering(plan.registry.name(), &plan.node_id());
        }
    }
    events::deregistering(plan.registry.name(), &plan.node_id());
    let service = (plan.service)();
    let deregister = tokio::time::timeout(ATTEMPT, plan.registry.deregister(&service));
    match deregister.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => events::not_deregistered(plan.registry.name(), &plan.node_id(), error),
        Err(_) => events::not_deregistered(
            plan.registry.name(),
            &plan.node_id(),
            format_args!("no answer within {ATTEMPT:?}"),
        ),
    }
}

/// Up to a tenth less, so that many nodes that began together do not renew together.
fn earlier(time: Duration) -> Duration {
    time.mul_f64(1.0 - fastrand::f64() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Node, Registry, Watcher};
    use std::sync::Mutex;
    use tokio::sync::Notify;

    /// A registry that does as it is told, and notes what it was asked.
    #[derive(Clone, Default)]
    struct Scripted(Arc<Script>);

    #[derive(Default)]
    struct Script {
        fails: Mutex<bool>,
        seen: Mutex<Vec<String>>,
        asked: Notify,
    }

    impl Scripted {
        fn note(&self, what: &str, service: &Service) -> Result<(), Error> {
            let id = &service.nodes[0].id;
            self.0.seen.lock().unwrap().push(format!("{what} {id}"));
            self.0.asked.notify_one();
            if *self.0.fails.lock().unwrap() {
                return Err(Error::registry("as asked"));
            }
            Ok(())
        }

        fn seen(&self) -> Vec<String> {
            self.0.seen.lock().unwrap().clone()
        }
    }

    impl Registry for Scripted {
        fn name(&self) -> &'static str {
            "scripted"
        }

        async fn register(&self, service: &Service, _: Duration) -> Result<(), Error> {
            self.note("register", service)
        }

        async fn deregister(&self, service: &Service) -> Result<(), Error> {
            self.note("deregister", service)
        }

        async fn get(&self, _: &str) -> Result<Vec<Service>, Error> {
            Ok(Vec::new())
        }

        async fn list(&self) -> Result<Vec<Service>, Error> {
            Ok(Vec::new())
        }

        async fn watch(&self, _: Option<&str>) -> Result<Watcher, Error> {
            Err(Error::registry("no watch"))
        }
    }

    fn plan(registry: &Scripted) -> Plan {
        Plan {
            registry: Arc::new(registry.clone()),
            service: Box::new(|| Service {
                nodes: vec![Node {
                    id: "a-1".into(),
                    ..Node::default()
                }],
                ..Service::default()
            }),
            ttl: Duration::from_secs(90),
            interval: Duration::from_secs(30),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn renews_and_takes_out() {
        let registry = Scripted::default();
        let registration = Registration::start(plan(&registry)).await;
        registry.0.asked.notified().await;
        let begun = tokio::time::Instant::now();
        registry.0.asked.notified().await;
        let passed = begun.elapsed();
        assert!(passed >= Duration::from_secs(27) && passed <= Duration::from_secs(30));
        registration.stop().await;
        assert_eq!(
            registry.seen(),
            ["register a-1", "register a-1", "deregister a-1"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_refuses_is_tried_again() {
        let registry = Scripted::default();
        *registry.0.fails.lock().unwrap() = true;
        let registration = Registration::start(plan(&registry)).await;
        let begun = tokio::time::Instant::now();
        for _ in 0..4 {
            registry.0.asked.notified().await;
        }
        // 100 + 160 + 256 milliseconds, each up to a fifth more.
        assert!(begun.elapsed() <= Duration::from_millis(620));
        for _ in 0..100 {
            let begun = tokio::time::Instant::now();
            registry.0.asked.notified().await;
            assert!(begun.elapsed() <= LONGEST_BACKOFF.mul_f64(1.2));
        }
        *registry.0.fails.lock().unwrap() = false;
        registry.0.asked.notified().await;
        registration.stop().await;
        assert_eq!(registry.seen().last().unwrap(), "deregister a-1");
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_it_takes_the_node_out() {
        let registry = Scripted::default();
        let registration = Registration::start(plan(&registry)).await;
        registry.0.asked.notified().await;
        drop(registration);
        registry.0.asked.notified().await;
        assert_eq!(registry.seen(), ["register a-1", "deregister a-1"]);
    }
}
