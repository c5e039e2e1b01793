//! [`Watch`]: how long the machine itself stood still, which no bound of a row is about.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a thread that does nothing else asks to be woken.
const TICK: Duration = Duration::from_millis(5);
/// How often a few bytes are written through to the disk, as registries' servers do before they answer.
const WRITE: Duration = Duration::from_millis(100);

/// From here on a row that did not hold says nothing: the tightest bound of a row is 100 ms, and servers wait
/// for the disk where bounds are seconds.
const STILL: Duration = Duration::from_millis(100);
const DISK_STILL: Duration = Duration::from_secs(1);

/// Watches from `begin` on.
pub(crate) struct Watch {
    ended: Arc<AtomicBool>,
    wakes: Measure,
    writes: Measure,
}

struct Measure {
    longest: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// The longest pauses that there were.
#[derive(Clone, Copy)]
pub(crate) struct Pauses {
    wake: Duration,
    write: Duration,
}

// ===== impl Watch =====

impl Watch {
    pub(crate) fn begin() -> Watch {
        let ended = Arc::new(AtomicBool::new(false));
        let wakes = Measure::begin(&ended, TICK, || {});
        let file = scratch();
        let writes = Measure::begin(&ended, WRITE, move || {
            // Without a disk to write to there is nothing to measure.
            let _ = std::fs::File::create(&file).and_then(|mut file| {
                file.write_all(b"still there")?;
                file.sync_all()
            });
            let _ = std::fs::remove_file(&file);
        });
        Watch {
            ended,
            wakes,
            writes,
        }
    }

    pub(crate) fn end(self) -> Pauses {
        self.ended.store(true, Ordering::Relaxed);
        Pauses {
            wake: self.wakes.end(),
            write: self.writes.end(),
        }
    }
}

// ===== impl Measure =====

impl Measure {
    /// Does something every so often, and keeps by how much it was late or took long.
    fn begin(
        ended: &Arc<AtomicBool>,
        every: Duration,
        each: impl Fn() + Send + 'static,
    ) -> Measure {
        let longest = Arc::new(AtomicU64::new(0));
        let (ended, found) = (Arc::clone(ended), Arc::clone(&longest));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let begun = Instant::now();
                std::thread::sleep(every);
                each();
                let late = begun.elapsed().saturating_sub(every);
                found.fetch_max(late.as_micros() as u64, Ordering::Relaxed);
            }
        });
        Measure { longest, thread }
    }

    fn end(self) -> Duration {
        let _ = self.thread.join();
        Duration::from_micros(self.longest.load(Ordering::Relaxed))
    }
}

// ===== impl Pauses =====

impl Pauses {
    /// Whether a row that did not hold meanwhile has to be run again to say anything.
    pub(crate) fn void(self) -> bool {
        self.wake >= STILL || self.write >= DISK_STILL
    }
}

impl fmt::Display for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the machine's own pauses: up to {:.0?}, of its disk {:.0?}",
            self.wake, self.write
        )
    }
}

fn scratch() -> PathBuf {
    std::env::temp_dir().join(format!("micro-faults-disk-{}", std::process::id()))
}
