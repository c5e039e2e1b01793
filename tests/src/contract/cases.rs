//! Registering, finding, taking out.

use std::sync::Arc;
use std::time::Duration;

use micro_runtime::registry::{Node, Registry};
use tokio::time::{Instant, sleep};

use super::{Kit, deregister, get, ids, in_time, register, service};

type Case = Result<(), String>;

/// Long enough for every case but those about its end.
const LONG: Duration = Duration::from_secs(60);

pub(super) async fn unknown<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let found = get(&kit.client(), &kit.name("nobody")).await?;
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("expected an empty list, found {found:?}"))
}

pub(super) async fn round_trip<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let service = service(&kit.name("round"), "1.2.3", "one");
    register(&ours, &service, LONG).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    kit.shows(&ours, std::slice::from_ref(&service)).await?;
    deregister(&ours, &service).await
}

pub(super) async fn odd_names<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let mut names = vec!["go.micro.srv", "with-dash", "with_underscore", "UPPER.case"];
    if kit.able.slashes {
        names.extend(["shop/orders", "a/b/c"]);
    }
    for odd in names {
        let service = service(&kit.name(odd), "latest", "one");
        register(&ours, &service, LONG).await?;
        kit.shows(&theirs, std::slice::from_ref(&service))
            .await
            .map_err(|error| format!("{odd}: {error}"))?;
        deregister(&ours, &service).await?;
        kit.lost(&theirs, &service.name).await?;
    }
    Ok(())
}

pub(super) async fn list<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let services: Vec<_> = (0..20)
        .map(|number| service(&kit.name(&format!("list{number}")), "1", "one"))
        .collect();
    for service in &services {
        register(&ours, service, LONG).await?;
    }
    kit.until("20 services in the list", async || {
        let listed = in_time("list", theirs.list()).await?;
        let missing: Vec<_> = services
            .iter()
            .filter(|service| {
                let mut named = listed.iter().filter(|each| each.name == service.name);
                !named.any(|each| !kit.able.list_nodes || each.nodes == service.nodes)
            })
            .map(|service| service.name.clone())
            .collect();
        Ok(if missing.is_empty() {
            Ok(())
        } else {
            Err(("missing", missing))
        })
    })
    .await?;
    for service in &services {
        deregister(&ours, service).await?;
    }
    kit.until("none of them in the list", async || {
        let listed = in_time("list", theirs.list()).await?;
        let still: Vec<_> = listed
            .into_iter()
            .filter(|each| each.name.starts_with(&kit.name("list")))
            // A registry may remember a name for a while; not its nodes.
            .filter(|each| !kit.able.list_nodes || !each.nodes.is_empty())
            .map(|each| each.name)
            .collect();
        Ok(if still.is_empty() {
            Ok(())
        } else {
            Err(("still there", still))
        })
    })
    .await
}

pub(super) async fn again<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let service = service(&kit.name("again"), "1", "one");
    for _ in 0..5 {
        register(&ours, &service, LONG).await?;
    }
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    deregister(&ours, &service).await?;
    kit.lost(&theirs, &service.name).await?;
    // Back again, after it was taken out.
    register(&ours, &service, LONG).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    deregister(&ours, &service).await
}

pub(super) async fn change<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let mut service = service(&kit.name("change"), "1", "one");
    register(&ours, &service, LONG).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    service.nodes[0].address = "127.0.0.1:19091".to_owned();
    let metadata = &mut service.nodes[0].metadata;
    metadata.remove("zone");
    metadata.insert("weight".to_owned(), "5".to_owned());
    service.endpoints.truncate(1);
    register(&ours, &service, LONG).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    deregister(&ours, &service).await
}

pub(super) async fn several<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let clients = [kit.client(), kit.client(), kit.client()];
    let theirs = kit.client();
    let name = kit.name("several");
    let services = [
        service(&name, "1", "a"),
        service(&name, "1", "b"),
        service(&name, "2", "c"),
    ];
    for (client, service) in clients.iter().zip(&services) {
        register(client, service, LONG).await?;
    }
    let mut first = services[0].clone();
    first.nodes.extend(services[1].nodes.clone());
    kit.shows(&theirs, &[first, services[2].clone()]).await?;
    deregister(&clients[0], &services[0]).await?;
    kit.shows(&theirs, &services[1..]).await?;
    deregister(&clients[1], &services[1]).await?;
    deregister(&clients[2], &services[2]).await?;
    kit.lost(&theirs, &name).await
}

pub(super) async fn at_once<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let mut service = service(&kit.name("at-once"), "1", "a");
    for (id, port) in [("b", 2), ("c", 3)] {
        service.nodes.push(Node {
            id: format!("{}-{id}", service.name),
            address: format!("127.0.0.1:{port}"),
            ..service.nodes[0].clone()
        });
    }
    register(&ours, &service, LONG).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    deregister(&ours, &service).await?;
    kit.lost(&theirs, &service.name).await
}

async fn deregister_again<R: Registry>(kit: &Kit<impl Fn() -> R>, registry: &R) -> Case {
    let never = service(&kit.name("never"), "1", "one");
    deregister(registry, &never).await
}

pub(super) async fn deregister_twice<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let service = service(&kit.name("deregister"), "1", "one");
    register(&ours, &service, LONG).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    deregister(&ours, &service).await?;
    kit.lost(&theirs, &service.name).await?;
    // That it is not there is no error.
    deregister(&ours, &service).await?;
    deregister_again(kit, &ours).await
}

pub(super) async fn no_end<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let service = service(&kit.name("no-end"), "1", "one");
    register(&ours, &service, Duration::ZERO).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    deregister(&ours, &service).await?;
    kit.lost(&theirs, &service.name).await
}

pub(super) async fn concurrent<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (first, theirs) = (Arc::new(kit.client()), kit.client());
    let name = kit.name("concurrent");
    let services: Vec<_> = (0..16)
        .map(|number| service(&name, "1", &format!("{number:02}")))
        .map(|service| (kit.one_more(&first), service))
        .collect();
    all(services
        .iter()
        .map(|(ours, service)| register(&**ours, service, LONG)))
    .await?;
    let mut expected: Vec<_> = services
        .iter()
        .map(|(_, each)| kit.kept(each).nodes[0].id.clone())
        .collect();
    expected.sort_unstable();
    kit.gets(&theirs, &name, "16 nodes", |found| ids(found) == expected)
        .await?;
    all((0..16).map(|_| async { get(&theirs, &name).await.map(drop) })).await?;
    all(services
        .iter()
        .map(|(ours, service)| deregister(&**ours, service)))
    .await?;
    kit.lost(&theirs, &name).await
}

/// All of them at the same time; the first error.
async fn all(futures: impl Iterator<Item = impl Future<Output = Case>>) -> Case {
    let mut futures: Vec<_> = futures.map(Box::pin).map(Some).collect();
    std::future::poll_fn(|context| {
        let mut pending = false;
        for slot in &mut futures {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(Ok(())) => *slot = None,
                std::task::Poll::Ready(Err(error)) => return std::task::Poll::Ready(Err(error)),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(Ok(()))
        }
    })
    .await
}

/// A node that is renewed at a third of its time stays, without a gap.
pub(super) async fn refresh<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let service = service(&kit.name("refresh"), "1", "one");
    let ttl = kit.able.ttl;
    register(&ours, &service, ttl).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    let begun = Instant::now();
    while begun.elapsed() < ttl * 3 {
        sleep(ttl / 3).await;
        register(&ours, &service, ttl).await?;
        let found = get(&theirs, &service.name).await?;
        if ids(&found).is_empty() {
            return Err(format!(
                "gone after {:?}, though it was renewed",
                begun.elapsed()
            ));
        }
    }
    deregister(&ours, &service).await
}

/// A node whose process dies goes by itself, and those of others stay.
pub(super) async fn crash<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (dies, lives, theirs) = (kit.client(), kit.client(), kit.client());
    let name = kit.name("crash");
    let dead = service(&name, "1", "dead");
    let living = service(&name, "1", "living");
    register(&lives, &living, LONG).await?;
    register(&dies, &dead, kit.able.ttl).await?;
    kit.gets(&theirs, &name, "two nodes", |found| ids(found).len() == 2)
        .await?;
    drop(dies);
    let limit = kit.able.ttl + kit.able.expiry.unwrap_or_default();
    super::until(limit, "the living node alone", async || {
        let found = get(&theirs, &name).await?;
        let alone = ids(&found) == [kit.kept(&living).nodes[0].id.as_str()];
        Ok(if alone { Ok(()) } else { Err(found) })
    })
    .await?;
    deregister(&lives, &living).await
}

pub(super) async fn large<R: Registry>(kit: &Kit<impl Fn() -> R>) -> Case {
    let (ours, theirs) = (kit.client(), kit.client());
    let mut service = service(&kit.name("large"), "1", "one");
    let endpoint = service.endpoints[1].clone();
    service.endpoints = (0..60)
        .map(|number| {
            let mut endpoint = endpoint.clone();
            endpoint.name = format!("Greeter.Hello{number:02}");
            let text = "A sentence that says what this is for. ".repeat(3);
            endpoint.metadata.insert("description".to_owned(), text);
            endpoint
        })
        .collect();
    register(&ours, &service, LONG).await?;
    kit.shows(&theirs, std::slice::from_ref(&service)).await?;
    deregister(&ours, &service).await
}
