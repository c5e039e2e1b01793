//! The command `micro` over a registry, as its users run it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use micro_runtime::registry::Registry;
use micro_runtime::{Error, Service};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{Report, until};
use crate::front;

/// How long a run of the command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How long what happened may take until the command sees it.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the command is told of a registry, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Cli<'a> {
    /// The registry's name.
    pub name: &'a str,
    /// Its address.
    pub address: &'a str,
    /// An address of the same form at which nobody listens; `None` where nobody can be away.
    pub nobody: Option<&'a str>,
    /// Names that the list must have too: those that the registry itself adds. `None` if it has no list.
    pub beside: Option<&'a [&'a str]>,
}

/// [`Cli::run`] over the registry of this name at this address. `beside` are names that the list must have
/// too: those that the registry itself adds. Returns the number of cases.
///
/// # Panics
/// As [`Cli::run`].
pub async fn cli<R: Registry>(
    name: &str,
    address: &str,
    make: impl Fn() -> R,
    beside: &[&str],
) -> usize {
    let cli = Cli {
        name,
        address,
        // A port that nobody can listen on without being root; multicast has no server that could be away.
        nobody: (name != "mdns").then_some("127.0.0.1:1"),
        beside: Some(beside),
    };
    cli.run(make()).await
}

impl Cli<'_> {
    /// Runs the command's `list services`, `get service`, `call` and `watch`, with a service `hellooo`
    /// registered by this client, and prints how many cases passed. Returns the number of cases.
    ///
    /// # Panics
    /// A case failed, or the command is not built; `cargo build --package micro-cli --features full` does.
    pub async fn run(self, registry: impl Registry) -> usize {
        let Cli {
            name,
            address,
            nobody,
            beside,
        } = self;
        let mut report = Report::new(format!("command line {name}"));
        let running = match serve(registry).await {
            Ok(running) => running,
            Err(error) => panic!("the service hellooo does not start: {error:?}"),
        };
        let micro = Micro {
            path: find(),
            registry: [
                format!("--registry={name}"),
                format!("--registry_address={address}"),
            ],
        };
        let node = running.address();
        report
            .case("list services", async {
                let Some(beside) = beside else {
                    return match micro.run(&["list", "services"]).await {
                        Err(told) if told.contains("no list of services") => Ok(()),
                        other => Err(format!("expected that there is no list, found {other:?}")),
                    };
                };
                until(PATIENCE, "the names", async || {
                    let out = micro.run(&["list", "services"]).await?;
                    let lines: Vec<_> = out.lines().collect();
                    let all = beside
                        .iter()
                        .chain(&["hellooo"])
                        .all(|name| lines.contains(name));
                    Ok(if all && lines.is_sorted() {
                        Ok(())
                    } else {
                        Err(out)
                    })
                })
                .await
            })
            .await;
        report
            .case("get service", async {
                until(PATIENCE, "the node", async || {
                    let out = micro.run(&["get", "service", "hellooo"]).await?;
                    let all = out.starts_with("service  hellooo\n") && out.contains(&node);
                    Ok(if all { Ok(()) } else { Err(out) })
                })
                .await
            })
            .await;
        report
            .case("call", async {
                let out = micro
                    .run(&["call", "hellooo", "Front.Ask", r#"{"text":"a"}"#])
                    .await?;
                if out.contains("\"a\"") {
                    return Ok(());
                }
                Err(format!("expected the answer \"a\", found {out:?}"))
            })
            .await;
        let watch = micro.watch().await;
        if let Err(error) = running.stop().await {
            panic!("the service hellooo does not stop: {error:?}");
        }
        report
            .case("watch", async {
                let (mut child, mut lines) = watch?;
                loop {
                    let line = next(&mut lines).await?;
                    if line.contains("\tdelete\thellooo") {
                        break;
                    }
                }
                end(&mut child).await
            })
            .await;
        if let Some(nobody) = nobody {
            report
                .case("watch while nobody answers", micro.alone(nobody))
                .await;
        }
        report.finish()
    }
}

async fn serve(registry: impl Registry) -> Result<micro_runtime::service::Running, Error> {
    let service = Service::new("hellooo")
        .address("127.0.0.1:0")
        .registry(registry)
        .build()?;
    front::register(service.server(), async |_, question| {
        Ok(front::answer(question.text))
    })?;
    service.start().await
}

struct Micro {
    path: PathBuf,
    registry: [String; 2],
}

/// The lines of a pipe.
type Text<P> = Option<Lines<BufReader<P>>>;

async fn next<P: AsyncRead + Unpin>(lines: &mut Text<P>) -> Result<String, String> {
    let lines = lines.as_mut().ok_or("the command has no such output")?;
    match timeout(LIMIT, lines.next_line()).await {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(Ok(None)) => Err("the command ended too early".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the command said nothing more for {LIMIT:?}")),
    }
}

/// Interrupts a command; it must end well.
async fn end(child: &mut Child) -> Result<(), String> {
    let pid = child.id().ok_or("the command has ended by itself")?;
    let kill = Command::new("kill")
        .args(["-s", "INT", &pid.to_string()])
        .status();
    kill.await.map_err(|error| error.to_string())?;
    match timeout(LIMIT, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(status) => Err(format!("interrupted, the command ended with {status:?}")),
        Err(_) => Err(format!(
            "interrupted, the command did not end within {LIMIT:?}"
        )),
    }
}

impl Micro {
    fn start(&self, arguments: &[&str]) -> Result<Child, String> {
        Command::new(&self.path)
            .args(arguments)
            .args(&self.registry)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.path.display()))
    }

    /// Watches at an address that nobody listens on.
    async fn alone(&self, address: &str) -> Result<(), String> {
        let [name, _] = &self.registry;
        let nobody = Micro {
            path: self.path.clone(),
            registry: [name.clone(), format!("--registry_address={address}")],
        };
        let mut child = nobody.start(&["watch", "hellooo"])?;
        let mut lines = child.stderr.take().map(|err| BufReader::new(err).lines());
        while !next(&mut lines).await?.contains("the watch goes on") {}
        end(&mut child).await
    }

    /// A watch that has begun.
    async fn watch(&self) -> Result<(Child, Text<ChildStdout>), String> {
        let mut child = self.start(&["watch", "hellooo"])?;
        let mut told = child.stderr.take().map(|err| BufReader::new(err).lines());
        while !next(&mut told).await?.contains("watching") {}
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        Ok((child, lines))
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(&self.path)
            .args(arguments)
            .args(&self.registry)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(LIMIT, output)
            .await
            .map_err(|_| format!("micro {arguments:?} did not end within {LIMIT:?}"))?
            .map_err(|error| format!("cannot start {}: {error}", self.path.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(format!(
            "micro {arguments:?} ended with {}: {}",
            output.status,
            text(&output.stderr)
        ))
    }
}

/// The command: what `MICRO_CLI` names, or what cargo has built beside this test.
fn find() -> PathBuf {
    let path = std::env::var_os("MICRO_CLI").map_or_else(
        || {
            let test = std::env::current_exe().unwrap_or_default();
            let folder = test.parent().and_then(|deps| deps.parent());
            folder.unwrap_or(&test).join("micro")
        },
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "expected the command at {}: build it with `cargo build --package micro-cli --features full`, or \
         name it in MICRO_CLI",
        path.display()
    );
    path
}
