//! [`Attempt`]: one try of a client's call, as interceptors and replies show it.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock::lock;
use crate::registry::Node;
use crate::status::Status;

/// So many attempts of a call are kept; what comes after them is only counted in messages.
const KEPT: usize = 64;

/// One try of a call: a node that the request was sent to, or to which a connection was to be made for it. A
/// node that is passed over since it did not answer a moment ago is none.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub(crate) node: Arc<Node>,
    pub(crate) kind: AttemptKind,
    pub(crate) began: Duration,
    pub(crate) duration: Duration,
    pub(crate) result: Result<(), Status>,
}

/// Why there was an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttemptKind {
    /// It is the first.
    First,
    /// The one before certainly was not processed.
    Transparent,
    /// The one before failed, and the call is safe to repeat.
    Retry,
    /// The ones before are slow, or one of them failed, and the call is hedged.
    Hedge,
}

// ===== impl Attempt =====

impl Attempt {
    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Why it was made.
    #[must_use]
    pub fn kind(&self) -> AttemptKind {
        self.kind
    }

    /// When it began, from the beginning of the call on.
    #[must_use]
    pub fn began(&self) -> Duration {
        self.began
    }

    /// How long it took, with the wait for a connection. Of a stream: until a connection took it.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// How it ended. A hedged call's attempt that another one overtook is CANCELLED.
    ///
    /// # Errors
    /// The status that the node gave, or one made on this side.
    pub fn result(&self) -> Result<(), &Status> {
        match &self.result {
            Ok(()) => Ok(()),
            Err(status) => Err(status),
        }
    }
}

/// The attempts of a client's call, while it is made; of an [`Invocation`](super::Invocation). Clones show the
/// same. On a server there are none.
///
/// ```
/// use micro_runtime::interceptor::{self, Invocation, Next};
///
/// let log = interceptor::from_fn(|call: Invocation, next: Next| async move {
///     let (path, attempts) = (call.path().to_owned(), call.attempts());
///     let result = next.run(call).await;
///     for attempt in attempts.list() {
///         let (node, duration) = (&attempt.node().address, attempt.duration());
///         println!("{path} at {node}: {duration:?}, {:?}", attempt.result());
///     }
///     result
/// });
/// # let _ = log;
/// ```
#[derive(Clone, Default)]
pub struct Attempts(Arc<Mutex<Vec<Attempt>>>);

// ===== impl Attempts =====

impl Attempts {
    /// Those that have ended, in the order of their ends; at most 64. After the call: all of them.
    #[must_use]
    pub fn list(&self) -> Vec<Attempt> {
        self.lock(|attempts| attempts.clone())
    }

    pub(crate) fn push(&self, attempt: Attempt) {
        self.lock(|attempts| {
            if attempts.len() < KEPT {
                attempts.push(attempt);
            }
        });
    }

    fn lock<T>(&self, run: impl FnOnce(&mut Vec<Attempt>) -> T) -> T {
        run(&mut lock(&self.0))
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock(|attempts| f.debug_list().entries(&*attempts).finish())
    }
}
