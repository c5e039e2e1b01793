//! Instructions, by callgrind: it watches one function, and notes what it cost each time it returns.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::cases::{CANDIDATES, Direction};
use crate::suite::instructions;
use crate::{Result, child};

/// Instructions by message, then by direction, then by candidate, as [`super::run_once`] goes.
pub(super) struct Counted(Vec<u64>);

// ===== impl Counted =====

impl Counted {
    /// By message, then by candidate.
    pub(super) fn of(&self, direction: Direction) -> Vec<Vec<u64>> {
        let candidates = CANDIDATES.len();
        let directions = Direction::BOTH.len();
        let skipped = direction as usize * candidates;
        self.0
            .chunks(candidates * directions)
            .map(|message| message[skipped..skipped + candidates].to_vec())
            .collect()
    }
}

/// How often the work is done under callgrind's eyes: maps have random seeds, and so small differences.
const TIMES: u64 = 10;

/// What callgrind watches. Never inlined: it is found by its name.
#[inline(never)]
pub(super) fn watched(work: &mut dyn FnMut()) {
    // A loop, so that the last thing that it does is not a jump elsewhere, which callgrind would not see return.
    for _ in 0..TIMES {
        work();
    }
}

/// The name of [`watched`], as callgrind has it. With a star at the end, it would find the name and not dump.
const WATCHED: &str = "*suite::json::counted::watched";

pub(super) fn run(only: &[String]) -> Result<Counted> {
    if !child::is_there("valgrind") {
        return Err(
            "expected valgrind, found no such program: install Debian's package valgrind, or take times only (--no-instructions)"
                .into(),
        );
    }
    let folder = std::env::temp_dir().join(format!("micro-bench-json-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let counts = watch(only, &folder);
    fs::remove_dir_all(&folder)?;
    let counts = counts?;
    let each = CANDIDATES.len() * Direction::BOTH.len();
    if counts.is_empty() || !counts.len().is_multiple_of(each) {
        return Err(format!(
            "expected {each} counts for each message, found {} in all",
            counts.len()
        )
        .into());
    }
    Ok(Counted(counts))
}

/// Does everything once under callgrind; a number for each time that [`watched`] returned.
fn watch(only: &[String], folder: &Path) -> Result<Vec<u64>> {
    let file = folder.join("callgrind");
    let mut out = OsString::from("--callgrind-out-file=");
    out.push(&file);
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "-q"])
        .arg(format!("--toggle-collect={WATCHED}"))
        .arg(format!("--dump-after={WATCHED}"))
        .arg(out)
        .arg(std::env::current_exe()?)
        .arg("json-once");
    for name in only {
        command.args(["--only", name]);
    }
    child::output_of(command)?;
    let mut counts = Vec::new();
    loop {
        let dump = file.with_extension((counts.len() + 1).to_string());
        if !dump.exists() {
            return Ok(counts);
        }
        counts.push(instructions::total(&dump)? / TIMES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_apart() {
        let counted = Counted((1..=12).collect());
        assert_eq!(counted.of(Direction::Read), [[1, 2, 3], [7, 8, 9]]);
        assert_eq!(counted.of(Direction::Write), [[4, 5, 6], [10, 11, 12]]);
    }
}
