//! Work on all cores, with results that do not show it.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{panic, thread};

/// What a thread needs for messages nested as deep as prost decodes them; no more is touched than is needed.
const STACK: usize = 32 << 20;

/// More threads would hold more packages in memory at a time than they are worth.
const MOST_THREADS: usize = 8;

/// Does `work` on each item, in the order given by `schedule` (indexes), with `worker()`'s state for each thread. The
/// results have the items' order.
///
/// # Panics
/// If `work` does.
pub(crate) fn map<T, S, R>(
    items: &[T],
    schedule: &[usize],
    worker: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> R + Sync,
) -> Vec<R>
where
    T: Sync,
    R: Send,
{
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<R>>> = Mutex::new(items.iter().map(|_| None).collect());
    let run = || {
        let mut state = worker();
        while let Some(&index) = schedule.get(next.fetch_add(1, Ordering::Relaxed)) {
            let Some(item) = items.get(index) else {
                continue;
            };
            let result = work(&mut state, item);
            let mut results = results.lock().unwrap_or_else(|poison| poison.into_inner());
            if let Some(slot) = results.get_mut(index) {
                *slot = Some(result);
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(MOST_THREADS).min(schedule.len());
    thread::scope(|scope| {
        let spawn = |_| {
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, run)
        };
        // If the system gives no thread, this one does what there is to do.
        let spawned: Vec<_> = (0..threads).map_while(|index| spawn(index).ok()).collect();
        if spawned.is_empty() {
            run();
        }
        for thread in spawned {
            if let Err(panic) = thread.join() {
                panic::resume_unwind(panic);
            }
        }
    });
    let results = results
        .into_inner()
        .unwrap_or_else(|poison| poison.into_inner());
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_order_of_the_items() {
        let items: Vec<usize> = (0..100).collect();
        let backwards: Vec<usize> = (0..100).rev().collect();
        let doubled = map(&items, &backwards, || (), |(), item| item * 2);
        assert_eq!(doubled, (0..100).map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(map(&[], &[], || (), |(), item: &u8| *item), []);
    }

    #[test]
    fn a_panic_reaches_the_caller() {
        let work = || map(&[1], &[0], || (), |(), _: &i32| panic!("as it is"));
        let result: Result<Vec<()>, _> = super::super::messages::quietly(work);
        assert!(result.is_err());
    }
}
