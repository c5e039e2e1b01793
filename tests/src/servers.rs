//! Real server programs, started by a test and gone with it.
//!
//! ```no_run
//! # async fn example() {
//! use micro_tests::servers::{Program, Ready, free_ports};
//!
//! let [port, peers] = free_ports();
//! let mut etcd = Program::find("etcd-3.6")
//!     .args(["--name", "t", "--data-dir", "{dir}/data"])
//!     .arg(format!("--listen-client-urls=http://127.0.0.1:{port}"))
//!     .arg(format!("--advertise-client-urls=http://127.0.0.1:{port}"))
//!     .arg(format!("--listen-peer-urls=http://127.0.0.1:{peers}"))
//!     .start(Ready::http(port, "/health", "true"))
//!     .await;
//! etcd.kill9().await;
//! etcd.restart().await;
//! # }
//! ```
//!
//! Everything here panics with a sentence when it fails, because that is how a test fails.

mod babble;
mod ports;
mod ready;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

pub use babble::babbler;
pub use ports::free_ports;
pub use ready::{Ready, exchange, http_get};

/// How long a server may take until it is ready: a JVM on a busy machine with two cores needs ten seconds.
const START: Duration = Duration::from_secs(90);

/// How long a server may take to end after SIGTERM before it is killed.
const STOP: Duration = Duration::from_secs(20);

/// Between two looks at whether a server is ready.
const POLL: Duration = Duration::from_millis(50);

/// The lines of a log that a failure shows.
const TAIL: usize = 30;

/// A program, and how to start it.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    folder: PathBuf,
}

/// A server that runs, or ran. Dropping it kills the process and removes its folder.
#[derive(Debug)]
pub struct Server {
    program: Program,
    ready: Ready,
    child: Option<Child>,
}

// ===== impl Program =====

impl Program {
    /// The program of this name in the folder that `MICRO_SERVERS` names, where `.ci/servers.sh` puts them.
    ///
    /// # Panics
    /// It is not there.
    #[must_use]
    pub fn find(name: &str) -> Program {
        let folder = std::env::var_os("MICRO_SERVERS").unwrap_or_else(|| {
            panic!("MICRO_SERVERS is not set: it names the folder with the server programs, which .ci/servers.sh fills")
        });
        let path = Path::new(&folder).join(name);
        assert!(
            path.is_file(),
            "expected the program {name} at {}: install it with .ci/servers.sh",
            path.display()
        );
        Program::at(path)
    }

    /// The program at this path.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Program {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = path.into();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("micro-{name}-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        Program {
            name: name.into_owned(),
            path,
            arguments: Vec::new(),
            variables: Vec::new(),
            folder,
        }
    }

    /// The folder of its own that it is started in, for its configuration and data; it is removed with the
    /// [`Server`].
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file in [`folder`](Program::folder). `{dir}` in the text becomes that folder.
    #[must_use]
    pub fn file(self, name: &str, text: &str) -> Program {
        let text = self.with_folder(text);
        std::fs::write(self.folder.join(name), text)
            .unwrap_or_else(|error| panic!("cannot write {name} of {}: {error}", self.name));
        self
    }

    /// A further argument. `{dir}` in it becomes [`folder`](Program::folder).
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Program {
        self.arguments.push(self.with_folder(&argument.into()));
        self
    }

    /// Further arguments, each as [`arg`](Program::arg).
    #[must_use]
    pub fn args<S: Into<String>>(self, arguments: impl IntoIterator<Item = S>) -> Program {
        arguments.into_iter().fold(self, Program::arg)
    }

    /// An environment variable. `{dir}` in its value becomes [`folder`](Program::folder).
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Program {
        let value = self.with_folder(&value.into());
        self.variables.push((name.to_owned(), value));
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// It cannot be started, ends, or is not ready within 90 s; the end of its log is shown.
    pub async fn start(self, ready: Ready) -> Server {
        let mut server = Server {
            program: self,
            ready,
            child: None,
        };
        server.restart().await;
        server
    }

    fn with_folder(&self, text: &str) -> String {
        text.replace("{dir}", &self.folder.to_string_lossy())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn spawn(&self) -> Child {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap_or_else(|error| panic!("cannot open the log of {}: {error}", self.name));
        let again = log
            .try_clone()
            .unwrap_or_else(|error| panic!("cannot open the log of {}: {error}", self.name));
        Command::new(&self.path)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(again)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.path.display()))
    }
}

// ===== impl Server =====

impl Server {
    /// The folder with its configuration, data and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.program.folder
    }

    /// All that it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.program.log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Its process id.
    ///
    /// # Panics
    /// It does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child
            .as_ref()
            .and_then(Child::id)
            .unwrap_or_else(|| panic!("{} does not run", self.program.name))
    }

    /// Kills it, as a crash does, and waits until it is gone.
    pub async fn kill9(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        child
            .kill()
            .await
            .unwrap_or_else(|error| panic!("cannot kill {}: {error}", self.program.name));
    }

    /// Asks it to end (SIGTERM) and waits until it is gone; after 20 s it is killed.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        let Some(mut child) = self.child.take() else {
            return;
        };
        if timeout(STOP, child.wait()).await.is_err() {
            self.child = Some(child);
            self.kill9().await;
        }
    }

    /// Stops its execution (SIGSTOP): its sockets stay open, and nothing is answered. Returns once it stands.
    ///
    /// # Panics
    /// It does not stand after a second.
    pub fn pause(&self) {
        self.signal("STOP");
        let Some(pid) = self.child.as_ref().and_then(Child::id) else {
            return;
        };
        let begun = std::time::Instant::now();
        while !stands(pid) {
            assert!(
                begun.elapsed() < Duration::from_secs(1),
                "{pid} goes on after SIGSTOP"
            );
            std::thread::yield_now();
        }
    }

    /// Lets it go on after [`pause`](Server::pause).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Starts it again with the same arguments and the same folder, killing it first if it still runs, and
    /// waits until it is ready.
    ///
    /// # Panics
    /// As [`Program::start`].
    pub async fn restart(&mut self) {
        self.spawn().await;
        self.ready().await;
    }

    /// The first half of [`restart`](Server::restart): starts it and does not wait.
    pub async fn spawn(&mut self) {
        self.kill9().await;
        self.child = Some(self.program.spawn());
    }

    /// The second half of [`restart`](Server::restart): waits until it is ready.
    ///
    /// # Panics
    /// As [`Program::start`].
    pub async fn ready(&mut self) {
        let (begun, log) = (Instant::now(), self.program.log());
        loop {
            let look = timeout(Duration::from_secs(5), self.ready.holds(&log));
            if look.await == Ok(true) {
                return;
            }
            let ended = self.child.as_mut().map(Child::try_wait);
            match ended {
                Some(Ok(None)) => {}
                Some(Ok(Some(status))) => {
                    panic!("{}", self.failure(&format!("ended with {status}")))
                }
                Some(Err(error)) => panic!("{}", self.failure(&error.to_string())),
                None => panic!("{}", self.failure("was not started")),
            }
            assert!(
                begun.elapsed() < START,
                "{}",
                self.failure(&format!("was not ready within {START:?}"))
            );
            sleep(POLL).await;
        }
    }

    /// Has it read its configuration again (SIGHUP), after `text` was written to this file of its folder.
    ///
    /// # Panics
    /// It does not run, or the file cannot be written.
    pub fn reload(&self, file: &str, text: &str) {
        let path = self.folder().join(file);
        std::fs::write(&path, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = std::process::Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap_or_else(|error| panic!("cannot run kill: {error}"));
        assert!(status.success(), "kill -s {name} {pid} ended with {status}");
    }

    fn failure(&self, what: &str) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL)..];
        format!(
            "{} {what}; it was started as {} {}; the end of its log:\n{}",
            self.program.name,
            self.program.path.display(),
            self.program.arguments.join(" "),
            tail.join("\n")
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that fails shows what its servers said.
        if std::thread::panicking() {
            eprintln!("{}", self.failure("was running when the test failed"));
        }
        if let Some(child) = &mut self.child {
            // The process ends before its folder is removed.
            if child.start_kill().is_ok() {
                let until = std::time::Instant::now() + Duration::from_secs(2);
                while matches!(child.try_wait(), Ok(None)) && std::time::Instant::now() < until {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        // What is left in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.program.folder);
    }
}

/// Whether every thread of a process is stopped or has ended (proc(5), the third field of `stat`).
fn stands(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true;
    };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        state.is_none_or(|state| "TtZX".contains(state))
    })
}
