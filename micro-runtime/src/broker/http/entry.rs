//! [`RegisteredEntry`]: a subscription's entry in the registry.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::backoff::{Backoff, jittered};
use crate::error::{Error, ErrorKind};
use crate::registry::{AnyRegistry, Registry, Service};

/// go-micro's (broker/http.go).
const TTL: Duration = Duration::from_secs(60);
const REFRESH: Duration = Duration::from_secs(30);

/// How long one call of the registry may take.
const CALL: Duration = Duration::from_secs(5);

/// Between attempts, while the registry fails.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often the log says that it still fails, in attempts: about once a minute.
const LOG_EVERY: u32 = 12;

/// An entry that a task keeps in the registry. Dropping it has the task take it out, with nobody waiting.
pub(super) struct RegisteredEntry {
    /// Dropped to end the task.
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

// ===== impl RegisteredEntry =====

impl RegisteredEntry {
    /// Registers, however long that takes.
    ///
    /// # Errors
    /// The registry refuses, in a way that waiting does not mend.
    pub(super) async fn register(
        registry: &AnyRegistry,
        service: Service,
    ) -> Result<RegisteredEntry, Error> {
        let (stop, stopped) = oneshot::channel();
        let (first, registered) = oneshot::channel();
        let task = tokio::spawn(keep(registry.clone(), service, first, stopped));
        let entry = RegisteredEntry {
            stop: Some(stop),
            task,
        };
        match registered.await {
            Ok(result) => result.map(|()| entry),
            Err(_) => Err(Error::new(
                ErrorKind::Broker,
                "the subscription was not registered: the runtime ends",
            )),
        }
    }

    /// Has it taken out, and does not wait for that.
    pub(super) fn leave(&mut self) {
        self.stop = None;
    }

    /// Takes it out, and waits for that.
    pub(super) async fn remove(mut self) {
        self.leave();
        let _ = self.task.await;
    }
}

async fn keep(
    registry: AnyRegistry,
    service: Service,
    first: oneshot::Sender<Result<(), Error>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut first = Some(first);
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    let mut failures = 0_u32;
    loop {
        let registering = timeout(CALL, registry.register(&service, TTL));
        let result = tokio::select! {
            biased;
            _ = &mut stopped => break,
            result = registering => result.unwrap_or_else(|_| {
                Err(Error::registry(format_args!(
                    "the registry {} did not answer within {CALL:?}",
                    registry.name()
                )))
            }),
        };
        let pause = match result {
            Ok(()) => {
                if failures > 0 {
                    tracing::info!(id = id(&service), "a subscription is registered again");
                }
                failures = 0;
                backoff.reset();
                if let Some(first) = first.take() {
                    let _ = first.send(Ok(()));
                }
                jittered(REFRESH)
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported)
                    && let Some(first) = first.take()
                {
                    let _ = first.send(Err(error));
                    return;
                }
                if failures.is_multiple_of(LOG_EVERY) {
                    tracing::warn!(
                        id = id(&service),
                        ?error,
                        "a subscription cannot be registered; trying again"
                    );
                }
                failures = failures.saturating_add(1);
                backoff.next()
            }
        };
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    // A registration that was cut short may have arrived.
    match timeout(CALL, registry.deregister(&service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(
                id = id(&service),
                ?error,
                "a subscription stays in the registry until its time is over"
            );
        }
        Err(_) => {
            tracing::warn!(
                id = id(&service),
                "a subscription stays in the registry until its time is over: no answer"
            );
        }
    }
}

fn id(service: &Service) -> &str {
    service.nodes.first().map_or("", |node| node.id.as_str())
}
