//! What is printed: where it was measured, raw numbers, and ratios.

use std::fmt::Write as _;
use std::fs;

/// The packages whose versions matter.
const VERSIONS: [&str; 8] = [
    "tonic",
    "tower",
    "h2",
    "hyper",
    "tokio",
    "prost",
    "serde_json",
    "prost-reflect",
];

/// Prints what every number below depends on.
pub(crate) fn header() {
    println!("machine    {}", machine());
    println!(
        "load       {} (1, 5, 15 minutes; ratios hold on a busy machine, the rest does not)",
        first_words("/proc/loadavg", 3)
    );
    println!("rustc      {}", env!("BENCH_RUSTC"));
    println!("profile    {}", env!("BENCH_PROFILE"));
    let versions: Vec<_> = VERSIONS
        .iter()
        .map(|name| format!("{name} {}", locked(include_str!("../Cargo.lock"), name)))
        .collect();
    println!("versions   {}", versions.join(", "));
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = first_words("/proc/sys/kernel/osrelease", 1);
    format!("{model}, {cores} cores, {} {kernel}", std::env::consts::OS)
}

fn first_words(path: &str, count: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|_| "unknown".to_owned());
    let words: Vec<_> = text.split_whitespace().take(count).collect();
    words.join(" ")
}

/// The version of a package in a lock file.
fn locked<'a>(lock: &'a str, name: &str) -> &'a str {
    lock.split("[[package]]")
        .find_map(|package| {
            let rest = package
                .trim_start()
                .strip_prefix(&format!("name = \"{name}\"\nversion = \""))?;
            rest.split('"').next()
        })
        .unwrap_or("unknown")
}

/// One of the things that are measured, and the digits after the point that it deserves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric(pub(crate) &'static str, pub(crate) usize);

/// Several candidates, measured in interleaved rounds; the first is what the others are compared with.
#[derive(Debug)]
pub(crate) struct Comparison {
    title: String,
    metrics: Vec<Metric>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    /// By round, then by metric.
    rounds: Vec<Vec<f64>>,
    failed: u64,
}

// ===== impl Comparison =====

impl Comparison {
    pub(crate) fn new(title: impl Into<String>, metrics: &[Metric]) -> Comparison {
        Comparison {
            title: title.into(),
            metrics: metrics.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds what one candidate showed in one round, a number for each metric.
    pub(crate) fn add(&mut self, name: &str, numbers: Vec<f64>, failed: u64) {
        let at = match self.rows.iter().position(|row| row.name == name) {
            Some(at) => at,
            None => {
                self.rows.push(Row {
                    name: name.to_owned(),
                    rounds: Vec::new(),
                    failed: 0,
                });
                self.rows.len() - 1
            }
        };
        let row = &mut self.rows[at];
        row.rounds.push(numbers);
        row.failed += failed;
    }

    /// The calls that failed, of all candidates.
    pub(crate) fn failed(&self) -> u64 {
        self.rows.iter().map(|row| row.failed).sum()
    }

    /// The table: the median of each number, and of each round's ratio to the first candidate's with its
    /// extremes.
    pub(crate) fn print(&self) {
        let rounds = self.rows.iter().map(|row| row.rounds.len()).max();
        let rounds = match rounds {
            Some(1) => "1 round".to_owned(),
            rounds => format!("{} rounds", rounds.unwrap_or(0)),
        };
        println!("\n## {} ({rounds})\n", self.title);
        print!("{}", self.table());
    }

    fn table(&self) -> String {
        let Some(base) = self.rows.first() else {
            return String::new();
        };
        let mut cells = vec![vec![String::new()]];
        for Metric(name, _) in &self.metrics {
            cells[0].push((*name).to_owned());
            cells[0].push(format!("× {}", base.name));
        }
        cells[0].push("failed".to_owned());
        for row in &self.rows {
            let mut line = vec![row.name.clone()];
            for (i, &Metric(_, digits)) in self.metrics.iter().enumerate() {
                let numbers = row.rounds.iter().map(|round| round[i]).collect();
                line.push(grouped(median(numbers), digits));
                let ratios = row.rounds.iter().zip(&base.rounds);
                line.push(ratio(
                    ratios.map(|(this, base)| this[i] / base[i]).collect(),
                ));
            }
            line.push(row.failed.to_string());
            cells.push(line);
        }
        align(&cells)
    }
}

/// A Markdown table whose columns are aligned in plain text too.
pub(crate) fn align(cells: &[Vec<String>]) -> String {
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let widths = cells.iter().filter_map(|line| line.get(column));
        widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for (i, line) in cells.iter().enumerate() {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let _ = if column == 0 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if i == 0 {
            for column in 0..columns {
                let dashes = "-".repeat(width(column) + 1);
                let _ = write!(text, "|{dashes}{}", if column == 0 { '-' } else { ':' });
            }
            text.push_str("|\n");
        }
    }
    text
}

/// The median of the rounds' ratios, and their extremes.
fn ratio(ratios: Vec<f64>) -> String {
    if ratios.iter().any(|ratio| !ratio.is_finite()) {
        // What was compared took less than the clock can tell.
        return "-".to_owned();
    }
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    if ratios.len() == 1 {
        format!("{least:.2}")
    } else {
        format!("{:.2} ({least:.2}–{most:.2})", median(ratios))
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: f64, digits: usize) -> String {
    let text = format!("{number:.digits$}");
    let (whole, rest) = match text.find('.') {
        Some(point) => text.split_at(point),
        None => (text.as_str(), ""),
    };
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(grouped(1_234_567.0, 0), "1,234,567");
        assert_eq!(grouped(123.45, 1), "123.5");
        assert_eq!(grouped(1234.5, 1), "1,234.5");
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut comparison = Comparison::new("t", &[Metric("µs", 1)]);
        // The machine was twice as slow in the second round: the ratio does not mind.
        comparison.add("base", vec![10.0], 0);
        comparison.add("other", vec![5.0], 1);
        comparison.add("base", vec![20.0], 0);
        comparison.add("other", vec![10.0], 2);
        let table = comparison.table();
        assert!(table.contains("0.50 (0.50–0.50)"), "{table}");
        assert_eq!(comparison.failed(), 3);
    }

    #[test]
    fn what_cannot_be_divided_is_no_ratio() {
        assert_eq!(ratio(vec![0.5, f64::NAN]), "-");
        assert_eq!(ratio(vec![0.5]), "0.50");
    }

    #[test]
    fn a_version_is_found_in_a_lock_file() {
        let lock = "\n[[package]]\nname = \"h2-extra\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"h2\"\nversion = \"0.4.20\"\n";
        assert_eq!(locked(lock, "h2"), "0.4.20");
        assert_eq!(locked(lock, "tonic"), "unknown");
    }
}
