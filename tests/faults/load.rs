//! Calls at a steady rate, whatever becomes of those before.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use micro_tests::front::question;
use micro_tests::front::v1::FrontService;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long calls that still run may take when the load ends; more than any deadline here.
const LAST: Duration = Duration::from_secs(30);

/// Which calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// Those that may be repeated.
    Safe,
    /// By turns those that may be repeated, and those that may not.
    Both,
    /// Safe ones that every node refuses.
    Refused,
}

/// A call that is over.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    pub(crate) safe: bool,
    /// The node's port, or what went wrong.
    pub(crate) result: Result<u16, String>,
}

/// Calls that are made until [`Load::end`].
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    records: Arc<Mutex<Vec<Record>>>,
    task: JoinHandle<usize>,
}

/// Calls that are over.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records(pub(crate) Vec<Record>);

// ===== impl Load =====

impl Load {
    /// So many calls a second, each with this time.
    pub(crate) fn start(
        front: FrontService,
        rate: u32,
        calls: Calls,
        deadline: Duration,
        seed: u64,
    ) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let records = Arc::new(Mutex::new(Vec::new()));
        let (end, list) = (Arc::clone(&over), Arc::clone(&records));
        let task = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_secs(1) / rate);
            // What the machine was too busy for is made up for: the rate holds.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut running = JoinSet::new();
            let mut number = 0_usize;
            while !end.load(Ordering::Relaxed) {
                ticks.tick().await;
                let (front, list) = (front.clone(), Arc::clone(&list));
                let safe = calls != Calls::Both || number.is_multiple_of(2);
                let what = if calls == Calls::Refused {
                    "refuse"
                } else {
                    "call"
                };
                let text = format!("{what}-{seed}-{number}");
                running.spawn(async move {
                    let record = one(&front, safe, text, deadline).await;
                    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                    list.push(record);
                });
                number += 1;
                while running.try_join_next().is_some() {}
            }
            let rest = async { while running.join_next().await.is_some() {} };
            let _ = timeout(LAST, rest).await;
            running.len()
        });
        Load {
            over,
            records,
            task,
        }
    }

    /// Waits until a call that began after `since` was answered by this port; how long after `since` it began.
    pub(crate) async fn answered_by(
        &self,
        port: u16,
        since: Instant,
        patience: Duration,
    ) -> Result<Duration, String> {
        loop {
            let first = {
                let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
                let fits = |each: &&Record| each.begun >= since && each.result == Ok(port);
                records
                    .iter()
                    .rev()
                    .filter(fits)
                    .map(|each| each.begun)
                    .min()
            };
            if let Some(begun) = first {
                return Ok(begun - since);
            }
            if since.elapsed() > patience {
                return Err(format!("node {port} answered nothing within {patience:?}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it; all of its calls.
    pub(crate) async fn end(self) -> Result<Records, String> {
        self.over.store(true, Ordering::Relaxed);
        match self.task.await {
            Ok(0) => {}
            Ok(hung) => return Err(format!("{hung} calls did not end within {LAST:?}")),
            Err(error) => return Err(format!("the load ended: {error}")),
        }
        let records =
            std::mem::take(&mut *self.records.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Records(records))
    }
}

async fn one(front: &FrontService, safe: bool, text: String, deadline: Duration) -> Record {
    let begun = Instant::now();
    let question = question(text);
    let reply = if safe {
        front.look(question).timeout(deadline).await
    } else {
        front.ask(question).timeout(deadline).await
    };
    let result = match reply {
        Ok(answer) => {
            let port = answer
                .text
                .split(' ')
                .next()
                .and_then(|port| port.parse().ok());
            port.ok_or_else(|| format!("an answer without a port: {answer:?}"))
        }
        Err(status) => Err(status.to_string()),
    };
    Record {
        begun,
        took: begun.elapsed(),
        safe,
        result,
    }
}

// ===== impl Records =====

impl Records {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that began in this time.
    pub(crate) fn between(&self, from: Instant, to: Instant) -> Records {
        let fits = |each: &&Record| from <= each.begun && each.begun < to;
        Records(self.0.iter().filter(fits).cloned().collect())
    }

    pub(crate) fn failed(&self) -> Records {
        Records(
            self.0
                .iter()
                .filter(|each| each.result.is_err())
                .cloned()
                .collect(),
        )
    }

    pub(crate) fn safe(&self) -> Records {
        Records(self.0.iter().filter(|each| each.safe).cloned().collect())
    }

    /// How many took longer.
    pub(crate) fn over(&self, limit: Duration) -> usize {
        self.0.iter().filter(|each| each.took > limit).count()
    }

    /// The time that this share of them stayed within.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let mut took: Vec<_> = self.0.iter().map(|each| each.took).collect();
        took.sort_unstable();
        let last = took.len().saturating_sub(1);
        // A share is from 0 to 1, and so is the rounded place within the list.
        let place = (last as f64 * share).round() as usize;
        took.get(place).copied().unwrap_or_default()
    }

    /// The share of the answers that came from this node.
    pub(crate) fn share(&self, port: u16) -> f64 {
        let from = self.0.iter().filter(|each| each.result == Ok(port)).count();
        from as f64 / self.len().max(1) as f64
    }

    /// The errors, each once, with how often it came.
    pub(crate) fn errors(&self) -> String {
        let mut errors: Vec<(&str, usize)> = Vec::new();
        for error in self.0.iter().filter_map(|each| each.result.as_ref().err()) {
            match errors.iter_mut().find(|(text, _)| text == error) {
                Some((_, count)) => *count += 1,
                None => errors.push((error, 1)),
            }
        }
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown = errors
            .iter()
            .take(4)
            .map(|(text, count)| format!("{count} × {text}"));
        shown.collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, {} failed, p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
            self.len(),
            self.failed().len(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0),
        )
    }
}
