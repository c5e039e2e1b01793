//! Hooks: code of the user's at the turns of a service's life.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::error::Error;
use crate::exchange::BoxFuture;

type Hook = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// The hooks of one turn, in the order in which they were added.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Vec<Hook>);

/// When a hook runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Turn {
    BeforeStart,
    AfterStart,
    BeforeStop,
    AfterStop,
}

/// The hooks of all turns.
#[derive(Clone, Debug, Default)]
pub(crate) struct AllHooks([Hooks; 4]);

// ===== impl AllHooks =====

impl AllHooks {
    pub(crate) fn add<F, Fut>(&mut self, turn: Turn, hook: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.0[turn as usize]
            .0
            .push(Arc::new(move || Box::pin(hook())));
    }

    /// Runs the hooks of a turn up to the first that fails.
    pub(crate) async fn run(&self, turn: Turn) -> Result<(), Error> {
        for hook in &self.0[turn as usize].0 {
            hook().await?;
        }
        Ok(())
    }

    /// Runs all hooks of a turn, also after one that fails; gives the first error.
    pub(crate) async fn run_all(&self, turn: Turn) -> Result<(), Error> {
        let mut result = Ok(());
        for hook in &self.0[turn as usize].0 {
            let ended = hook().await;
            if result.is_ok() {
                result = ended;
            }
        }
        result
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hooks", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn noting(
        seen: &Arc<Mutex<Vec<u8>>>,
        number: u8,
        fails: bool,
    ) -> impl Fn() -> std::future::Ready<Result<(), Error>> + use<> {
        let seen = Arc::clone(seen);
        move || {
            seen.lock().unwrap().push(number);
            std::future::ready(if fails {
                Err(Error::config(number))
            } else {
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn a_start_ends_at_the_first_error_and_a_stop_does_not() {
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let mut hooks = AllHooks::default();
        for turn in [Turn::BeforeStart, Turn::BeforeStop] {
            hooks.add(turn, noting(&seen, 1, false));
            hooks.add(turn, noting(&seen, 2, true));
            hooks.add(turn, noting(&seen, 3, true));
        }
        assert_eq!(
            hooks.run(Turn::BeforeStart).await.unwrap_err().to_string(),
            "2"
        );
        assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), [1, 2]);
        assert_eq!(
            hooks
                .run_all(Turn::BeforeStop)
                .await
                .unwrap_err()
                .to_string(),
            "2"
        );
        assert_eq!(*seen.lock().unwrap(), [1, 2, 3]);
        assert!(hooks.run(Turn::AfterStart).await.is_ok());
        assert!(hooks.run(Turn::AfterStop).await.is_ok());
    }
}
