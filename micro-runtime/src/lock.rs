//! [`lock`]: a mutex's guard, whatever has panicked before.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, and takes no notice of its being poisoned.
///
/// Every section of this crate under a lock waits for nothing and leaves what it guards whole wherever it may end, so
/// that a panic in one has broken nothing for the next. A value for which that is not so must not be locked by this.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
