//! Against an agent in this process that does as it is told, without sockets and with paused time.

mod fake;
mod reading;
mod registering;
mod watching;

use std::time::Duration;

use super::Consul;
use crate::registry::{Action, Node, Service, Watcher};

use fake::Fake;

/// A registry whose only agent is this one.
fn consul(fake: &Fake) -> Consul {
    Consul::new(["agent"]).with(|config| config.connect = Some(fake.network()))
}

fn greeter() -> Service {
    Service {
        name: "greeter".into(),
        version: "1.0".into(),
        nodes: vec![Node {
            id: "greeter-1".into(),
            address: "10.0.0.1:80".into(),
            metadata: [("protocol".to_owned(), "grpc".to_owned())].into(),
        }],
        ..Service::default()
    }
}

/// An answer of the health endpoint, of nodes `id` or `id!`, which is critical.
fn health(name: &str, nodes: &str) -> String {
    let entry = |word: &str| {
        let status = if word.ends_with('!') {
            "critical"
        } else {
            "passing"
        };
        let id = word.trim_end_matches('!');
        format!(
            r#"{{"Node":{{"Address":"10.1.1.1"}},"Service":{{"ID":"{id}","Service":"{name}","Tags":["v=1"],
                "Address":"10.0.0.1","Port":{}}},"Checks":[{{"Status":"{status}"}}]}}"#,
            80 + id.len()
        )
    };
    let entries: Vec<_> = nodes.split_whitespace().map(entry).collect();
    format!("[{}]", entries.join(","))
}

/// The next event, as `+id,id`, `~id`, `-id`, or `! error`; `.` if there is none within this time.
async fn next(watcher: &mut Watcher, within: Duration) -> String {
    match tokio::time::timeout(within, watcher.next()).await {
        Err(_) => ".".to_owned(),
        Ok(None) => "end".to_owned(),
        Ok(Some(Err(error))) => format!("! {error}"),
        Ok(Some(Ok(event))) => {
            let sign = match event.action {
                Action::Create => '+',
                Action::Update => '~',
                Action::Delete => '-',
            };
            let nodes: Vec<_> = event.service.nodes.iter().map(|node| &*node.id).collect();
            format!("{sign}{}", nodes.join(","))
        }
    }
}
