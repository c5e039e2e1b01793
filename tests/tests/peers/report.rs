//! Counting cases.

use std::process::ExitCode;

/// What ran, and how it went.
#[derive(Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
}

impl Report {
    /// Counts a case, and prints it.
    pub(crate) fn case(&mut self, name: &str, result: Result<(), String>) {
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("case {name} ... ok");
            }
            Err(why) => {
                self.failed += 1;
                println!("case {name} ... FAILED: {why}");
            }
        }
    }

    /// Prints the sum.
    pub(crate) fn finish(self) -> ExitCode {
        println!(
            "peers: {} cases passed, {} failed",
            self.passed, self.failed
        );
        if self.failed == 0 && self.passed > 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// An error that names what was expected and what was found, unless they are the same.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), String> {
    if expected == found {
        Ok(())
    } else {
        Err(format!("{what}: expected {expected:?}, found {found:?}"))
    }
}

/// An error unless something holds.
pub(crate) fn holds(what: &str, holds: bool, found: &dyn std::fmt::Debug) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("expected {what}, found {found:?}"))
    }
}
