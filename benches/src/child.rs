//! Processes of this same program: servers and clients, each on a core of its own.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use crate::load::{self, Client};
use crate::serve::Server;
use crate::{Result, usage};

/// Which core a process runs on; `None` leaves it to the system.
pub(crate) type Core = Option<usize>;

/// Where servers and loads run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cores {
    pub(crate) server: Core,
    pub(crate) load: Core,
}

impl Cores {
    /// The server on one core and the load on another, if there are two and `taskset` can tell them apart.
    pub(crate) fn apart() -> Cores {
        let several = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        if several && is_there("taskset") {
            Cores {
                server: Some(0),
                load: Some(1),
            }
        } else {
            Cores::default()
        }
    }
}

/// Whether a program can be run here.
pub(crate) fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

/// What a process is run under: nothing, or a profiler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Under<'a> {
    Nothing,
    /// Nothing, but set up as for a profiler.
    Rehearsal,
    /// callgrind, which leaves its profile in this file.
    Callgrind(&'a Path),
}

/// A command that runs `program` on a core, under a profiler.
pub(crate) fn command(program: &OsStr, core: Core, under: Under<'_>) -> Command {
    let mut line: Vec<OsString> = Vec::new();
    if let Some(core) = core {
        line.extend(["taskset".into(), "-c".into(), core.to_string().into()]);
    }
    if let Under::Callgrind(out) = under {
        let mut file = OsString::from("--callgrind-out-file=");
        file.push(out);
        line.extend([
            "valgrind".into(),
            "--tool=callgrind".into(),
            "-q".into(),
            file,
        ]);
    }
    line.push(program.into());
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]);
    command
}

fn this_program() -> Result<OsString> {
    Ok(std::env::current_exe()?.into_os_string())
}

/// How a server process is to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) server: Server,
    pub(crate) workers: usize,
    pub(crate) spin: u64,
    pub(crate) wait: bool,
    pub(crate) core: Core,
    pub(crate) under: Under<'a>,
}

/// A server in a process of its own. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
}

// ===== impl ServerProcess =====

impl ServerProcess {
    /// Starts a server, and waits until it listens.
    pub(crate) fn start(setup: Setup<'_>) -> Result<ServerProcess> {
        let mut command = command(&this_program()?, setup.core, setup.under);
        command
            .arg("serve")
            .arg(setup.server.name())
            .arg("--controlled")
            .args(["--workers", &setup.workers.to_string()])
            .args(["--spin", &setup.spin.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if setup.wait {
            command.arg("--wait");
        }
        if !matches!(setup.under, Under::Nothing) {
            command.arg("--patient");
        }
        let mut child = command
            .spawn()
            .map_err(|error| format!("{command:?} cannot be run: {error}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("the server has no output")?;
        let mut process = ServerProcess {
            child,
            input,
            output: BufReader::new(output),
            address: ([127, 0, 0, 1], 0).into(),
        };
        let line = process.line()?;
        process.address = line
            .strip_prefix("listening ")
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| format!("expected the address of the server, found {line:?}"))?;
        Ok(process)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// User and system time so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        usage::cpu_of(self.child.id())
    }

    /// Begins to count allocations, from zero.
    pub(crate) fn count(&mut self) -> Result<Counts> {
        self.ask("count")
    }

    /// What was counted so far.
    pub(crate) fn read(&mut self) -> Result<Counts> {
        self.ask("read")
    }

    fn ask(&mut self, question: &str) -> Result<Counts> {
        let input = self.input.as_mut().ok_or("the server was stopped")?;
        writeln!(input, "{question}")?;
        input.flush()?;
        let line = self.line()?;
        Ok(Counts {
            answered: field(&line, "answered")?,
            allocations: field(&line, "allocations")?,
            bytes: field(&line, "bytes")?,
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(format!("the server ended early: {}", self.child.wait()?).into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Lets it end by itself, so that a profiler can write what it found.
    pub(crate) fn stop(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a client process is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) client: Client,
    pub(crate) address: SocketAddr,
    pub(crate) warm_up: u64,
    pub(crate) calls: u64,
    pub(crate) in_flight: usize,
    pub(crate) count: bool,
    pub(crate) core: Core,
    pub(crate) under: Under<'a>,
}

/// Runs a client in a process of its own, to its end.
pub(crate) fn load(load: Load<'_>) -> Result<load::Outcome> {
    let mut command = command(&this_program()?, load.core, load.under);
    command
        .arg("load")
        .arg(load.client.name())
        .args(["--address", &load.address.to_string()])
        .args(["--warm-up", &load.warm_up.to_string()])
        .args(["--calls", &load.calls.to_string()])
        .args(["--in-flight", &load.in_flight.to_string()]);
    if load.count {
        command.arg("--count");
    }
    load::Outcome::from_line(&output_of(command)?)
}

/// Runs a client and a server in one process, to the client's end.
pub(crate) fn pair(server: Server, calls: u64, in_flight: usize) -> Result<load::Outcome> {
    let mut command = command(&this_program()?, None, Under::Nothing);
    command
        .arg("pair")
        .arg(server.name())
        .args(["--calls", &calls.to_string()])
        .args(["--in-flight", &in_flight.to_string()]);
    load::Outcome::from_line(&output_of(command)?)
}

/// What a command prints, if it succeeds.
pub(crate) fn output_of(mut command: Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{command:?} cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        Err(format!("{command:?} ended with {}: {text}", output.status).into())
    }
}

/// The value of `name=value` in a line.
pub(crate) fn field<T: FromStr>(line: &str, name: &str) -> Result<T> {
    line.split_whitespace()
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        .ok_or_else(|| format!("expected {name}=<value>, found {line:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let line = "calls=3 failed_calls=7 elapsed_us=12\n";
        assert_eq!(field::<u64>(line, "calls").unwrap(), 3);
        assert_eq!(field::<u64>(line, "elapsed_us").unwrap(), 12);
        assert!(field::<u64>(line, "failed").is_err());
    }
}
