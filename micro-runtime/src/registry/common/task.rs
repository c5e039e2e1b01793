//! [`Task`]: the task behind a registry, which its first call starts and its last clone ends.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::error::{Error, ErrorKind};
use crate::lock::lock;

/// What a registry was told, and the one task that does its work.
///
/// `C` is how it is configured, `L` the way to the task, which is cloned for each call. Dropping this aborts the task.
pub(crate) struct Task<C, L> {
    /// What was wrong with it is told by every call.
    config: Result<C, (ErrorKind, String)>,
    /// Held for a look at the task, or to start it.
    running: Mutex<Option<Running<L>>>,
}

struct Running<L> {
    link: L,
    task: AbortHandle,
}

// ===== impl Task =====

impl<C: Clone, L: Clone> Task<C, L> {
    /// One that has not been started.
    pub(crate) fn new(config: Result<C, Error>) -> Task<C, L> {
        Task::of(config.map_err(|error| (error.kind(), error.to_string())))
    }

    /// Another one, configured alike but for this change, that shares nothing with this one.
    pub(crate) fn with(&self, change: impl FnOnce(&mut C) -> Result<(), Error>) -> Task<C, L> {
        Task::of(self.config.clone().and_then(|mut config| {
            change(&mut config).map_err(|error| (error.kind(), error.to_string()))?;
            Ok(config)
        }))
    }

    fn of(config: Result<C, (ErrorKind, String)>) -> Task<C, L> {
        Task {
            config,
            running: Mutex::new(None),
        }
    }

    /// The way to the task that was started last, if one was; it may have ended.
    #[cfg(feature = "nats")]
    pub(crate) fn started(&self) -> Option<L> {
        let running = lock(&self.running);
        running.as_ref().map(|running| running.link.clone())
    }

    /// The way to the task, which `start` starts if there is none, or none any more. A second start is given
    /// what the first one made: the task ended with the runtime that it ran in.
    ///
    /// # Errors
    ///
    /// The configuration is bad, or a task has to be started and this is not called within a tokio runtime.
    pub(crate) fn link(
        &self,
        registry: &str,
        start: impl FnOnce(&C, Option<L>, &Handle) -> (L, AbortHandle),
    ) -> Result<L, Error> {
        let config = match &self.config {
            Ok(config) => config,
            Err((kind, why)) => return Err(Error::new(*kind, why)),
        };
        let mut running = lock(&self.running);
        if let Some(running) = running
            .as_ref()
            .filter(|running| !running.task.is_finished())
        {
            return Ok(running.link.clone());
        }
        let runtime = Handle::try_current().map_err(|error| {
            Error::registry(format_args!(
                "the {registry} registry must be used within a tokio runtime"
            ))
            .with_source(error)
        })?;
        let before = running.take().map(|before| before.link);
        let (link, task) = start(config, before, &runtime);
        *running = Some(Running {
            link: link.clone(),
            task,
        });
        Ok(link)
    }
}

impl<C, L> Drop for Task<C, L> {
    fn drop(&mut self) {
        let running = self
            .running
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running {
            running.task.abort();
        }
    }
}

/// Shows the configuration.
impl<C: fmt::Debug, L> fmt::Debug for Task<C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use super::*;

    /// Starts a task that never ends and counts its starts in the link.
    fn link(task: &Task<String, usize>) -> Result<usize, Error> {
        task.link("paper", |_, before, runtime| {
            let task = runtime.spawn(pending::<()>());
            (before.unwrap_or(0) + 1, task.abort_handle())
        })
    }

    #[test]
    fn starts_again_in_another_runtime_with_what_was_made() {
        let task = Task::new(Ok("here".to_owned()));
        let error = link(&task).unwrap_err().to_string();
        assert!(error.contains("the paper registry must be used within a tokio runtime"));
        for starts in 1..3 {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.build().unwrap();
            let _entered = runtime.enter();
            assert_eq!(link(&task).unwrap(), starts);
            assert_eq!(link(&task).unwrap(), starts, "it runs still");
        }
    }

    #[tokio::test]
    async fn a_change_makes_another_one_and_a_bad_one_is_told_by_each_call() {
        let task = Task::new(Ok("here".to_owned()));
        assert_eq!(link(&task).unwrap(), 1);
        let other = task.with(|config| {
            config.push_str(" and there");
            Ok(())
        });
        assert_eq!(format!("{other:?}"), r#"Ok("here and there")"#);
        let bad = other.with(|_| Err(Error::config("no such place")));
        let worse = bad.with(|_| Err(Error::config("nor this one")));
        for task in [bad, worse] {
            let error = link(&task).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("no such place"), "{error}");
        }
    }

    #[tokio::test]
    async fn dropping_it_ends_the_task() {
        let held = Arc::new(());
        let task: Task<(), ()> = Task::new(Ok(()));
        let given = Arc::clone(&held);
        let started = task.link("paper", |(), _, runtime| {
            let task = runtime.spawn(async move {
                let _given = given;
                pending::<()>().await;
            });
            ((), task.abort_handle())
        });
        started.unwrap();
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 2);
        drop(task);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
