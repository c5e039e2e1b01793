//! Registries of go-micro see us come and go, and ours sees go-micro's services.

use std::time::Duration;

use micro_runtime::registry::{Action, Mdns, Registry as _};
use serde_json::Value;
use tokio::time::timeout;

use crate::report::{Report, holds, same};
use micro_tests::go::Program;

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(report: &mut Report, program: &Program) -> Result<(), String> {
    let mut case = |name: &str, result| {
        report.case(&format!("discovery with {}: {name}", program.name), result);
    };
    let name = format!("peers.seen.by.{}", program.name);

    // A watcher that runs before we come, until we have gone.
    let mut watch = program.start(&["watch", "--name", &name, "--seconds", "120"])?;
    same("watch", &"READY".to_owned(), &watch.line().await?)?;
    let running = crate::serve(&name)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let event = watch.json().await?;
    case(
        "its watcher sees us come",
        came(&event, &name, &running.address()),
    );

    let answers = program.client(&["--name", &name], &["list", "get"]).await?;
    let listed = answers[0]["names"]
        .as_array()
        .is_some_and(|names| names.contains(&Value::from(name.as_str())));
    case("it lists us", holds("our name", listed, &answers[0]));
    case("it gets us", got(&answers[1], &running.address()));

    running.stop().await.map_err(|error| format!("{error:?}"))?;
    let gone = loop {
        // A node announces itself up to three times.
        let event = watch.json().await?;
        if event["action"] != "create" {
            break event;
        }
    };
    case(
        "its watcher sees us go",
        same("action", &Value::from("delete"), &gone["action"]),
    );
    watch.stop().await?;

    case("we see it come and go", we_see(program).await);
    Ok(())
}

fn came(event: &Value, name: &str, address: &str) -> Result<(), String> {
    same("action", &Value::from("create"), &event["action"])?;
    same("name", &Value::from(name), &event["service"]["name"])?;
    same(
        "address",
        &Value::from(address),
        &event["service"]["nodes"][0]["address"],
    )
}

fn got(answer: &Value, address: &str) -> Result<(), String> {
    let service = &answer["services"][0];
    same("version", &Value::from("latest"), &service["version"])?;
    let node = &service["nodes"][0];
    same("address", &Value::from(address), &node["address"])?;
    for (key, value) in [
        ("protocol", "grpc"),
        ("server", "grpc"),
        ("transport", "grpc"),
        ("registry", "mdns"),
    ] {
        same(key, &Value::from(value), &node["metadata"][key])?;
    }
    let endpoints = service["endpoints"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let find = |name: &str| endpoints.iter().find(|endpoint| endpoint["name"] == name);
    let chat = find("Peer.Chat").ok_or("expected the endpoint Peer.Chat, found none")?;
    same("stream", &Value::from("true"), &chat["metadata"]["stream"])?;
    let unary = find("Peer.Unary").ok_or("expected the endpoint Peer.Unary, found none")?;
    same("request", &Value::from("Req"), &unary["request"]["name"])?;
    let field = &unary["request"]["values"][0];
    same("field", &Value::from("name"), &field["name"])?;
    same("type", &Value::from("string"), &field["type"])
}

async fn we_see(program: &Program) -> Result<(), String> {
    let name = format!("peers.watched.{}", program.name);
    let registry = Mdns::new().loopback_only();
    let mut watcher = registry
        .watch(Some(&name))
        .await
        .map_err(|error| format!("{error:?}"))?;
    let mut next = async || {
        timeout(PATIENCE, watcher.next())
            .await
            .map_err(|_| format!("no event within {PATIENCE:?}"))?
            .ok_or("the watch ended")?
            .map_err(|error| format!("{error:?}"))
    };
    let (process, address) = program.serve(&["--name", &name]).await?;
    let event = next().await?;
    same("action", &Action::Create, &event.action)?;
    same(
        "address",
        &Some(&address),
        &event.service.nodes.first().map(|node| &node.address),
    )?;

    let services = registry
        .get(&name)
        .await
        .map_err(|error| format!("{error:?}"))?;
    same("versions", &1, &services.len())?;
    same(
        "node",
        &Some(&address),
        &services[0].nodes.first().map(|node| &node.address),
    )?;
    let endpoint = services[0]
        .endpoints
        .iter()
        .any(|endpoint| endpoint.name == "Peer.Unary");
    holds("the endpoint Peer.Unary", endpoint, &services[0].endpoints)?;
    let listed = registry
        .list()
        .await
        .map_err(|error| format!("{error:?}"))?;
    let found = listed.iter().any(|service| service.name == name);
    holds("its name in the list", found, &listed)?;

    process.stop().await?;
    loop {
        let event = next().await?;
        match event.action {
            Action::Create | Action::Update => {}
            Action::Delete => return same("gone", &name, &event.service.name),
        }
    }
}
