//! The Go programs of `peers/`: starting them, and reading their lines. `peers/README.md` says what they print.
//!
//! `MICRO_PEERS` names the folder with the programs, which `.ci/peers.sh` builds.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// How long a program may take for one line; far more than any of them needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// One of the Go programs.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    /// What it is called: `gomicro2`, `gomicro5` or `grpcgo`.
    pub name: &'static str,
}

/// A program that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

// ===== impl Program =====

impl Program {
    /// The program of this name.
    ///
    /// # Errors
    /// It is not there, as a sentence.
    pub fn find(name: &'static str) -> Result<Program, String> {
        let folder = std::env::var_os("MICRO_PEERS").ok_or(
            "MICRO_PEERS is not set: it names the folder with the Go programs, which .ci/peers.sh builds",
        )?;
        let path = PathBuf::from(folder).join(name);
        if path.is_file() {
            Ok(Program { path, name })
        } else {
            Err(format!(
                "expected the program {name} at {}: build it with .ci/peers.sh",
                path.display()
            ))
        }
    }

    /// Starts it with these arguments.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Process, String> {
        let mut child = Command::new(&self.path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.name))?;
        let stdout = child.stdout.take().ok_or("the program has no output")?;
        Ok(Process {
            child,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// A server, and where it listens.
    ///
    /// # Errors
    /// It ends, or does not say that it is ready within a minute.
    pub async fn serve(&self, arguments: &[&str]) -> Result<(Process, String), String> {
        let mut process = self.start(&[&["server"], arguments].concat())?;
        let line = process.line().await?;
        let address = line
            .strip_prefix("READY ")
            .ok_or_else(|| format!("{}: expected READY, found {line:?}", self.name))?;
        Ok((process, address.to_owned()))
    }

    /// Runs a client with these cases; what it says of each, in order.
    ///
    /// # Errors
    /// It ends too early, or says something else.
    pub async fn client(&self, arguments: &[&str], cases: &[&str]) -> Result<Vec<Value>, String> {
        let list = cases.join(",");
        let mut process = self.start(&[&["client"], arguments, &[&list]].concat())?;
        let mut answers = Vec::new();
        for case in cases {
            let line = process.line().await?;
            let json = line
                .strip_prefix(case)
                .ok_or_else(|| format!("{}: expected {case}, found {line:?}", self.name))?;
            let answer = serde_json::from_str(json.trim_start())
                .map_err(|error| format!("{}: {line:?} is no answer: {error}", self.name))?;
            answers.push(answer);
        }
        process.end().await?;
        Ok(answers)
    }
}

// ===== impl Process =====

impl Process {
    /// The next line.
    ///
    /// # Errors
    /// It ended, or said nothing for a minute.
    pub async fn line(&mut self) -> Result<String, String> {
        match timeout(PATIENCE, self.lines.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => Err("the program ended before it said what was expected".to_owned()),
            Ok(Err(error)) => Err(format!("the program cannot be read: {error}")),
            Err(_) => Err(format!("the program said nothing for {PATIENCE:?}")),
        }
    }

    /// The next line, as JSON.
    ///
    /// # Errors
    /// As [`line`](Process::line), or it is no JSON.
    pub async fn json(&mut self) -> Result<Value, String> {
        let line = self.line().await?;
        serde_json::from_str(&line).map_err(|error| format!("{line:?} is no JSON: {error}"))
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// It failed, or did not end within a minute.
    pub async fn end(mut self) -> Result<(), String> {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("the program ended with {status}")),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("the program did not end within {PATIENCE:?}")),
        }
    }

    /// Asks it to end, as an orchestrator does, and waits until it said so.
    ///
    /// # Errors
    /// It did not say so, or failed. Lines that it says before are lost.
    pub async fn stop(mut self) -> Result<(), String> {
        let pid = self.child.id().ok_or("the program has ended already")?;
        let status = Command::new("kill")
            .arg(pid.to_string())
            .status()
            .await
            .map_err(|error| error.to_string())?;
        if !status.success() {
            return Err(format!("kill ended with {status}"));
        }
        // What it had still to say, such as an event of its watch, comes before.
        while self.line().await? != "STOPPED" {}
        self.end().await
    }

    /// Kills it, as a crash does, and waits until it is gone.
    ///
    /// # Errors
    /// The system refuses.
    pub async fn kill9(mut self) -> Result<(), String> {
        self.child.kill().await.map_err(|error| error.to_string())
    }
}
