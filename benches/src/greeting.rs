//! What every server answers, and what every client expects.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whom the clients greet: five letters, as in the numbers that others publish.
pub(crate) const NAME: &str = "World";
/// The one right answer.
pub(crate) const ANSWER: &str = "Hello World";

/// The handler's work, the same for every server.
#[derive(Clone, Debug)]
pub(crate) struct Greeter {
    spin: u64,
    wait: bool,
    answered: Arc<AtomicU64>,
}

impl Greeter {
    /// One that burns `spin` steps of [`burn`] for each answer, and waits first for other tasks if it is to.
    pub(crate) fn new(spin: u64, wait: bool) -> Greeter {
        Greeter {
            spin,
            wait,
            answered: Arc::default(),
        }
    }

    pub(crate) async fn greet(&self, name: &str) -> String {
        if self.wait {
            tokio::task::yield_now().await;
        }
        if self.spin > 0 {
            burn(self.spin);
        }
        self.answered.fetch_add(1, Ordering::Relaxed);
        format!("Hello {name}")
    }

    /// How many calls were answered. Load generators know HTTP's status only; this knows the handler's.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

/// Uses the processor for a fixed number of steps, not for a fixed time: who is interrupted works as much as
/// who is not.
fn burn(steps: u64) {
    let mut x = 1_u64;
    for _ in 0..steps {
        // The steps hang on each other, so that none can be left out or run beside another.
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// The steps that take `time` here when nothing interrupts: the fastest of many short runs counts.
pub(crate) fn steps_of(time: Duration) -> u64 {
    const TRIAL: u64 = 200_000;
    let fastest = (0..200)
        .map(|_| {
            let began = Instant::now();
            burn(TRIAL);
            began.elapsed()
        })
        .min()
        .unwrap_or(Duration::from_millis(1));
    (TRIAL as f64 * time.as_secs_f64() / fastest.as_secs_f64().max(1e-9)) as u64
}
