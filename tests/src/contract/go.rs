//! go-micro's registries and ours see each other.

use std::time::Duration;

use micro_runtime::registry::{Action, Registry};
use micro_runtime::{Error, Service};
use serde_json::Value;
use tokio::time::timeout;

use super::{Report, get, in_time, until};
use crate::go::Program;
use crate::peer::{self, Peer};

/// How long what one side did may take until the other sees it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The programs that have a registry of this name.
fn programs(registry: &str) -> Vec<&'static str> {
    match registry {
        // A plugin that go-micro v5 does not have.
        "zookeeper" => vec!["gomicro2"],
        _ => vec!["gomicro2", "gomicro5"],
    }
}

/// Go registers and we list, get and watch it; we register, and Go lists, gets and watches us; each calls
/// the other by name. With each version of go-micro that has this registry, which is told
/// `--registry NAME --registry_address ADDRESS`. Prints and returns the number of cases.
///
/// # Panics
/// A case failed, or a program is missing; `.ci/peers.sh` builds them.
pub async fn go<R: Registry>(name: &str, address: &str, make: impl Fn() -> R) -> usize {
    let mut passed = 0;
    for program in programs(name) {
        let program = Program::find(program).unwrap_or_else(|error| panic!("{error}"));
        let mut report = Report::new(format!("{name} with {}", program.name));
        let flags = ["--registry", name, "--registry_address", address];
        let result = both(&mut report, &program, &flags, &make).await;
        report.case("the programs", async { result }).await;
        passed += report.finish();
    }
    passed
}

async fn both<R: Registry>(
    report: &mut Report,
    program: &Program,
    flags: &[&str],
    make: &impl Fn() -> R,
) -> Result<(), String> {
    we_see(report, program, flags, make).await?;
    they_see(report, program, flags, make).await
}

/// A service of Go comes and goes.
async fn we_see<R: Registry>(
    report: &mut Report,
    program: &Program,
    flags: &[&str],
    make: &impl Fn() -> R,
) -> Result<(), String> {
    let name = unique(program, "theirs");
    let registry = make();
    let mut watcher = in_time("watch", registry.watch(Some(&name))).await?;
    let arguments = [
        &[
            "--name",
            &name,
            "--version",
            "1.2.3",
            "--metadata",
            "zone=b",
            "--id",
            "one",
        ],
        flags,
    ]
    .concat();
    let (process, node) = program.serve(&arguments).await?;
    let mut event = async |fits: &dyn Fn(Action) -> bool| loop {
        let event = timeout(PATIENCE, watcher.next())
            .await
            .map_err(|_| format!("no event within {PATIENCE:?}"))?
            .ok_or("the watch ended")?
            .map_err(|error| format!("{error:?}"))?;
        if fits(event.action) {
            return Ok::<_, String>(event);
        }
    };
    report
        .case("our watcher sees it come", async {
            let event = event(&|action| action != Action::Delete).await?;
            same(
                "the node",
                &node,
                event.service.nodes.first().map(|node| &node.address),
            )
        })
        .await;
    report
        .case("we get it", async {
            until(PATIENCE, "its node", async || {
                let found = get(&registry, &name).await?;
                Ok(if found.len() == 1 && found[0].nodes.len() == 1 {
                    Ok(())
                } else {
                    Err(found)
                })
            })
            .await?;
            let found = get(&registry, &name).await?.remove(0);
            same("the node", &node, Some(&found.nodes[0].address))?;
            same("the version", "1.2.3", Some(&found.version))?;
            same("the id", &format!("{name}-one"), Some(&found.nodes[0].id))?;
            same("the zone", "b", found.nodes[0].metadata.get("zone"))?;
            let endpoint = found
                .endpoints
                .iter()
                .find(|each| each.name == "Peer.Unary");
            let request = endpoint.and_then(|each| each.request.as_ref());
            same("the request", "Req", request.map(|request| &request.kind))
        })
        .await;
    report
        .case("we list it", async {
            until(PATIENCE, "its name", async || {
                let listed = in_time("list", registry.list()).await?;
                let found = listed.iter().any(|each| each.name == name);
                Ok(if found { Ok(()) } else { Err(listed) })
            })
            .await
        })
        .await;
    report.case("we call it by name", call(make(), &name)).await;
    process.stop().await?;
    report
        .case("our watcher sees it go", async {
            let event = event(&|action| action == Action::Delete).await?;
            same("the service", &name, Some(&event.service.name))
        })
        .await;
    report
        .case("we get it no more", async {
            until(PATIENCE, "no node", async || {
                let found = get(&registry, &name).await?;
                let gone = found.iter().all(|each| each.nodes.is_empty());
                Ok(if gone { Ok(()) } else { Err(found) })
            })
            .await
        })
        .await;
    Ok(())
}

/// A service of ours comes and goes.
async fn they_see<R: Registry>(
    report: &mut Report,
    program: &Program,
    flags: &[&str],
    make: &impl Fn() -> R,
) -> Result<(), String> {
    let name = unique(program, "ours");
    // go-micro's watcher of ZooKeeper is told nothing of a service that nobody has registered yet.
    let known_before = match flags.contains(&"zookeeper") {
        true => Some(
            serve(&name, make())
                .await
                .map_err(|error| format!("{error:?}"))?,
        ),
        false => None,
    };
    let mut watch =
        program.start(&[&["watch", "--name", &name, "--seconds", "300"], flags].concat())?;
    same("watch", "READY", Some(&watch.line().await?))?;
    let running = serve(&name, make())
        .await
        .map_err(|error| format!("{error:?}"))?;
    let node = running.address();
    let arguments = [&["--name", &name], flags].concat();
    report
        .case("its watcher sees us come", async {
            loop {
                let event = watch.json().await?;
                if event["action"] != "delete" && at(&node, &event["service"]).is_some() {
                    return Ok(());
                }
            }
        })
        .await;
    let answers = program
        .client(&arguments, &["list", "get", "unary"])
        .await?;
    report
        .case("it lists us", async {
            let names = answers[0]["names"].as_array();
            let found = names.is_some_and(|names| names.contains(&Value::from(name.as_str())));
            holds(found, &name, &answers[0])
        })
        .await;
    report
        .case("it gets us", async {
            let services = answers[1]["services"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ours = services.iter().find_map(|service| {
                let node = at(&node, service)?;
                Some((service, node))
            });
            let (service, node) =
                ours.ok_or_else(|| format!("expected {node}, found {}", answers[1]))?;
            same("the version", "1.2.3", service["version"].as_str())?;
            same("the zone", "b", node["metadata"]["zone"].as_str())?;
            same(
                "the protocol",
                "grpc",
                node["metadata"]["protocol"].as_str(),
            )?;
            let endpoints = service["endpoints"].as_array();
            let endpoint =
                endpoints.and_then(|all| all.iter().find(|each| each["name"] == "Peer.Unary"));
            same(
                "the request",
                "Req",
                endpoint.and_then(|each| each["request"]["name"].as_str()),
            )
        })
        .await;
    report
        .case("it calls us by name", async {
            holds(answers[2]["ok"] == true, "a reply", &answers[2])
        })
        .await;
    running.stop().await.map_err(|error| format!("{error:?}"))?;
    report
        .case("its watcher sees us go", async {
            loop {
                let event = watch.json().await?;
                // Consul's watcher does not name the nodes of a version that has gone.
                let nodes = event["service"]["nodes"].as_array();
                let named =
                    nodes.is_none_or(Vec::is_empty) || at(&node, &event["service"]).is_some();
                if event["action"] == "delete" && named {
                    return Ok(());
                }
            }
        })
        .await;
    watch.stop().await?;
    report
        .case("it gets us no more", async {
            let answers = program.client(&arguments, &["get"]).await?;
            let services = answers[0]["services"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let gone = services.iter().all(|service| at(&node, service).is_none());
            holds(gone, "nothing of ours", &answers[0])
        })
        .await;
    match known_before {
        Some(running) => running.stop().await.map_err(|error| format!("{error:?}")),
        None => Ok(()),
    }
}

/// The node of this address.
fn at<'a>(address: &str, service: &'a Value) -> Option<&'a Value> {
    let nodes = service["nodes"].as_array()?;
    nodes.iter().find(|node| node["address"] == address)
}

fn holds(holds: bool, expected: &str, found: &Value) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("expected {expected}, found {found}"))
    }
}

fn unique(program: &Program, what: &str) -> String {
    format!("go.{what}.{}.{}", program.name, std::process::id())
}

fn same(
    what: &str,
    expected: &str,
    found: Option<&(impl AsRef<str> + ?Sized)>,
) -> Result<(), String> {
    match found.as_ref().map(AsRef::as_ref) {
        Some(found) if found == expected => Ok(()),
        found => Err(format!(
            "expected {what} to be {expected:?}, found {found:?}"
        )),
    }
}

async fn serve(
    name: &str,
    registry: impl Registry,
) -> Result<micro_runtime::service::Running, Error> {
    let service = Service::new(name)
        .version("1.2.3")
        .metadata("zone", "b")
        .address("127.0.0.1:0")
        .registry(registry)
        .build()?;
    peer::v1::register_peer_handler(service.server(), Peer::default())?;
    service.start().await
}

async fn call(registry: impl Registry, name: &str) -> Result<(), String> {
    let client = Service::new("go.caller")
        .registry(registry)
        .build()
        .map_err(|error| format!("{error:?}"))?;
    let sent = peer::full_request();
    let reply = peer::v1::new_peer_service(name, client.client())
        .unary(sent.clone())
        .await;
    let reply = reply.map_err(|status| status.to_string())?;
    if reply == peer::echo(sent) {
        return Ok(());
    }
    Err(format!("expected the request's fields, found {reply:?}"))
}
