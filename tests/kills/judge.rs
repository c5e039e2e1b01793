//! What the logs say.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Events with the same remainder have the same key: the producer's number.
const KEYS: u64 = 8;

/// What was acknowledged, and what was handed out.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    /// When each was acknowledged, in milliseconds.
    acked: HashMap<u64, u64>,
    /// What was begun to be handled, by whoever.
    begun: HashSet<u64>,
    /// The log of each consumer: number, attempt, milliseconds.
    done: Vec<Vec<(u64, u32, u64)>>,
}

/// What comes of it.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) acked: usize,
    pub(crate) lost: Vec<u64>,
    /// How many of those were handed out, and died with who had them.
    pub(crate) died: usize,
    pub(crate) duplicates: usize,
    /// Events that one consumer was handed after a later one of the same key.
    pub(crate) out_of_order: usize,
    /// The longest time between an event's acknowledgement and its first handling.
    pub(crate) longest: Duration,
    /// The highest attempt.
    pub(crate) attempts: u32,
}

// ===== impl Logs =====

impl Logs {
    /// # Errors
    /// A line that nobody wrote.
    pub(crate) fn read(acked: &Path, begun: &[PathBuf], done: &[PathBuf]) -> Result<Logs, String> {
        let mut logs = Logs::default();
        for line in lines(acked) {
            let (number, when) = line
                .split_once(' ')
                .and_then(|(number, when)| Some((number.parse().ok()?, when.parse().ok()?)))
                .ok_or_else(|| format!("expected a number and a time, found {line:?}"))?;
            logs.acked.insert(number, when);
        }
        for line in begun.iter().flat_map(|path| lines(path)) {
            let number = line
                .parse()
                .map_err(|error| format!("expected a number, found {line:?}: {error}"))?;
            logs.begun.insert(number);
        }
        for path in done {
            let mut list = Vec::new();
            for line in lines(path) {
                let mut words = line.split(' ');
                let mut word = || words.next().and_then(|word| word.parse::<u64>().ok());
                let (Some(number), Some(attempt), Some(when)) = (word(), word(), word()) else {
                    return Err(format!(
                        "expected a number, an attempt and a time, found {line:?}"
                    ));
                };
                list.push((number, u32::try_from(attempt).unwrap_or(u32::MAX), when));
            }
            logs.done.push(list);
        }
        Ok(logs)
    }

    /// How many lines the consumers wrote.
    pub(crate) fn handed(&self) -> usize {
        self.done.iter().map(Vec::len).sum()
    }

    pub(crate) fn figures(&self) -> Figures {
        let mut first: HashMap<u64, u64> = HashMap::new();
        let mut figures = Figures {
            acked: self.acked.len(),
            ..Figures::default()
        };
        for list in &self.done {
            let mut highest = HashMap::new();
            let mut seen = HashSet::new();
            for &(number, attempt, when) in list {
                let entry = first.entry(number).or_insert(when);
                *entry = when.min(*entry);
                figures.attempts = figures.attempts.max(attempt);
                let highest = highest.entry(number % KEYS).or_insert(number);
                if seen.insert(number) && number < *highest {
                    figures.out_of_order += 1;
                }
                *highest = number.max(*highest);
            }
        }
        figures.duplicates = self.handed() - first.len();
        for (number, acked) in &self.acked {
            match first.get(number) {
                None => figures.lost.push(*number),
                Some(done) => {
                    let took = Duration::from_millis(done.saturating_sub(*acked));
                    figures.longest = figures.longest.max(took);
                }
            }
        }
        figures.lost.sort_unstable();
        let died = figures.lost.iter();
        figures.died = died.filter(|number| self.begun.contains(number)).count();
        figures
    }
}

/// The whole lines of a file: one that is being written is not there yet.
fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole].lines().map(str::to_owned).collect()
}
