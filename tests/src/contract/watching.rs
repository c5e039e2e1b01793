//! What watchers see.

use std::sync::Arc;
use std::time::Duration;

use micro_runtime::registry::{Action, Event, Registry, Service, Watcher};
use tokio::time::timeout;

use super::{Kit, deregister, in_time, register, service};

type Case = Result<(), String>;

const LONG: Duration = Duration::from_secs(60);

/// The next event.
async fn next(watcher: &mut Watcher, patience: Duration) -> Result<Event, String> {
    match timeout(patience, watcher.next()).await {
        Ok(Some(Ok(event))) => Ok(event),
        Ok(Some(Err(error))) => Err(format!("the watch reported {error:?}")),
        Ok(None) => Err("the watch ended".to_owned()),
        Err(_) => Err(format!("no event within {patience:?}")),
    }
}

/// Waits for an event that fits; events that repeat what is known may come before it.
async fn until(
    watcher: &mut Watcher,
    patience: Duration,
    what: &str,
    fits: impl Fn(&Event) -> bool,
) -> Result<Event, String> {
    let mut before = Vec::new();
    let wait = async {
        loop {
            let event = next(watcher, patience).await?;
            if fits(&event) {
                return Ok(event);
            }
            before.push(event);
        }
    };
    let result = match timeout(patience, wait).await {
        Ok(result) => result,
        Err(_) => Err("no such event".to_owned()),
    };
    result.map_err(|error: String| format!("expected {what}, {error}; before it came {before:?}"))
}

impl<R: Registry, F: Fn() -> R> Kit<F> {
    /// Whether an event is of a service's first node.
    fn has(&self, event: &Event, service: &Service) -> bool {
        let id = &self.kept(service).nodes[0].id;
        event.service.name == service.name && event.service.nodes.iter().any(|node| node.id == *id)
    }
}

fn comes(event: &Event) -> bool {
    matches!(event.action, Action::Create | Action::Update)
}

/// A node comes, changes and goes.
pub(super) async fn one<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let mut service = service(&kit.name("watched"), "1", "one");
    let patience = kit.able.patience;
    let mut watcher = in_time("watch", theirs.watch(Some(&service.name))).await?;
    register(&ours, &service, LONG).await?;
    let event = until(&mut watcher, patience, "the node to come", |event| {
        comes(event) && kit.has(event, &service)
    })
    .await?;
    let (came, expected) = (kit.kept(&event.service), kit.kept(&service));
    if !came.nodes.contains(&expected.nodes[0]) || came.version != expected.version {
        return Err(format!("expected {expected:?} to come, found {event:?}"));
    }
    if kit.able.details {
        service.nodes[0]
            .metadata
            .insert("weight".to_owned(), "7".to_owned());
        register(&ours, &service, LONG).await?;
        until(&mut watcher, patience, "the node to change", |event| {
            comes(event) && event.service.nodes.contains(&service.nodes[0])
        })
        .await?;
    }
    deregister(&ours, &service).await?;
    until(&mut watcher, patience, "the node to go", |event| {
        event.action == Action::Delete && kit.has(event, &service)
    })
    .await
    .map(drop)
}

/// A watch of one service is not told of another, even one whose name begins with it.
pub(super) async fn only_one<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let watched = service(&kit.name("only"), "1", "one");
    let mut watcher = in_time("watch", theirs.watch(Some(&watched.name))).await?;
    let others = [
        service(&kit.name("only.other"), "1", "one"),
        service(&kit.name("onl"), "1", "one"),
        service(&kit.name("only-other"), "1", "one"),
    ];
    for other in others.iter().chain([&watched]) {
        register(&ours, other, LONG).await?;
    }
    let event = next(&mut watcher, kit.able.patience).await?;
    for other in others.iter().chain([&watched]) {
        deregister(&ours, other).await?;
    }
    if kit.has(&event, &watched) {
        return Ok(());
    }
    Err(format!(
        "expected {} to come, found {event:?}",
        watched.name
    ))
}

/// Of several nodes, the one that goes is the one that is named.
pub(super) async fn nodes<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (first, theirs) = (Arc::new(kit.client()), kit.client());
    let name = kit.name("watched-nodes");
    let patience = kit.able.patience;
    let services = [
        service(&name, "1", "a"),
        service(&name, "1", "b"),
        service(&name, "2", "c"),
    ];
    let ours: Vec<_> = services.iter().map(|_| kit.one_more(&first)).collect();
    let mut watcher = in_time("watch", theirs.watch(Some(&name))).await?;
    for (ours, service) in ours.iter().zip(&services) {
        register(&**ours, service, LONG).await?;
        let what = format!("{} to come", service.nodes[0].id);
        until(&mut watcher, patience, &what, |event| {
            comes(event) && kit.has(event, service)
        })
        .await?;
    }
    for (index, (ours, service)) in ours.iter().zip(&services).enumerate() {
        deregister(&**ours, service).await?;
        let what = format!("{} to go", service.nodes[0].id);
        let event = until(&mut watcher, patience, &what, |event| {
            event.action == Action::Delete && kit.has(event, service)
        })
        .await?;
        if let Some(stays) = services[index + 1..]
            .iter()
            .find(|stays| kit.has(&event, stays))
        {
            return Err(format!("{} stays, found {event:?}", stays.nodes[0].id));
        }
    }
    Ok(())
}

/// A watcher that is dropped harms neither its registry nor the next watcher.
pub(super) async fn dropped<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let service = service(&kit.name("watch-dropped"), "1", "one");
    for _ in 0..3 {
        let mut watcher = in_time("watch", theirs.watch(Some(&service.name))).await?;
        register(&ours, &service, LONG).await?;
        until(
            &mut watcher,
            kit.able.patience,
            "the node to come",
            |event| comes(event) && kit.has(event, &service),
        )
        .await?;
        drop(watcher);
        deregister(&ours, &service).await?;
        kit.lost(&theirs, &service.name).await?;
    }
    Ok(())
}

/// Watchers of one client, of the same and of different services, all see theirs.
pub(super) async fn side_by_side<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let patience = kit.able.patience;
    let services = [
        service(&kit.name("side-a"), "1", "one"),
        service(&kit.name("side-b"), "1", "one"),
        service(&kit.name("side-a"), "1", "one"),
    ];
    let mut watchers = Vec::new();
    for service in &services {
        watchers.push(in_time("watch", theirs.watch(Some(&service.name))).await?);
    }
    for service in &services[..2] {
        register(&ours, service, LONG).await?;
    }
    for (watcher, service) in watchers.iter_mut().zip(&services) {
        until(watcher, patience, "the node to come", |event| {
            comes(event) && kit.has(event, service)
        })
        .await?;
    }
    for service in &services[..2] {
        deregister(&ours, service).await?;
    }
    for (watcher, service) in watchers.iter_mut().zip(&services) {
        until(watcher, patience, "the node to go", |event| {
            event.action == Action::Delete && kit.has(event, service)
        })
        .await?;
    }
    Ok(())
}

/// A watch of all services sees several of them.
pub(super) async fn all<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let patience = kit.able.patience;
    let services = [
        service(&kit.name("all-a"), "1", "one"),
        service(&kit.name("all-b"), "2", "one"),
    ];
    let mut watcher = in_time("watch", theirs.watch(None)).await?;
    for service in &services {
        register(&ours, service, LONG).await?;
        until(&mut watcher, patience, "a node to come", |event| {
            comes(event) && kit.has(event, service)
        })
        .await?;
    }
    for service in &services {
        deregister(&ours, service).await?;
        until(&mut watcher, patience, "a node to go", |event| {
            event.action == Action::Delete && kit.has(event, service)
        })
        .await?;
    }
    Ok(())
}

/// A node whose process dies is reported as gone.
pub(super) async fn crash<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (dies, theirs) = (kit.client(), kit.client());
    let dead = service(&kit.name("watch-crash"), "1", "dead");
    let patience = kit.able.patience;
    let mut watcher = in_time("watch", theirs.watch(Some(&dead.name))).await?;
    register(&dies, &dead, kit.able.ttl).await?;
    until(&mut watcher, patience, "the node to come", |event| {
        comes(event) && kit.has(event, &dead)
    })
    .await?;
    drop(dies);
    let limit = kit.able.ttl + kit.able.expiry.unwrap_or_default();
    until(&mut watcher, limit, "the dead node to go", |event| {
        event.action == Action::Delete && kit.has(event, &dead)
    })
    .await
    .map(drop)
}
