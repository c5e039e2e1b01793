use std::collections::BTreeMap;

use super::*;
use crate::registry::{Action, Memory, Node};

const TTL: Duration = Duration::from_secs(90);

/// A registry that does as it is told, and notes what it was told to write.
#[derive(Clone, Default)]
struct Scripted(Arc<Script>);

#[derive(Default)]
struct Script {
    name: &'static str,
    /// What it answers, and how long that takes.
    reply: Mutex<Reply>,
    delay: Mutex<Duration>,
    writes: Mutex<Vec<String>>,
    watches: Mutex<Vec<mpsc::Sender<Result<Event, Error>>>>,
    unwatched: bool,
}

#[derive(Clone, Default)]
enum Reply {
    Nodes(Vec<Service>),
    Fails(ErrorKind),
    #[default]
    Nothing,
}

impl Scripted {
    fn new(name: &'static str) -> Scripted {
        Scripted(Arc::new(Script {
            name,
            ..Script::default()
        }))
    }

    fn unwatched(name: &'static str) -> Scripted {
        Scripted(Arc::new(Script {
            name,
            unwatched: true,
            ..Script::default()
        }))
    }

    fn says(&self, nodes: &[&str]) {
        *lock(&self.0.reply) = Reply::Nodes(vec![service(nodes)]);
    }

    fn fails(&self) {
        *lock(&self.0.reply) = Reply::Fails(ErrorKind::Registry);
    }

    fn takes(&self, time: Duration) {
        *lock(&self.0.delay) = time;
    }

    async fn tells(&self, action: Action, nodes: &[&str]) {
        let watches = lock(&self.0.watches).clone();
        for watch in watches {
            let service = service(nodes);
            // A watch that has ended hears nothing.
            let _ = watch.send(Ok(Event { action, service })).await;
        }
    }

    fn writes(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0.writes))
    }

    async fn reply(&self) -> Result<Vec<Service>, Error> {
        let delay = *lock(&self.0.delay);
        sleep(delay).await;
        match lock(&self.0.reply).clone() {
            Reply::Nodes(services) => Ok(services),
            Reply::Nothing => Ok(Vec::new()),
            Reply::Fails(kind) => Err(Error::new(kind, "as asked")),
        }
    }
}

impl Registry for Scripted {
    fn name(&self) -> &'static str {
        self.0.name
    }

    async fn register(&self, service: &Service, _: Duration) -> Result<(), Error> {
        self.reply().await?;
        lock(&self.0.writes).push(format!("+{}", service.nodes[0].id));
        Ok(())
    }

    async fn deregister(&self, service: &Service) -> Result<(), Error> {
        self.reply().await?;
        lock(&self.0.writes).push(format!("-{}", service.nodes[0].id));
        Ok(())
    }

    async fn get(&self, _: &str) -> Result<Vec<Service>, Error> {
        self.reply().await
    }

    async fn list(&self) -> Result<Vec<Service>, Error> {
        self.reply().await
    }

    async fn watch(&self, _: Option<&str>) -> Result<Watcher, Error> {
        if self.0.unwatched {
            return Err(Error::new(ErrorKind::Unsupported, "no watch"));
        }
        self.reply().await?;
        let (sender, receiver) = mpsc::channel(16);
        lock(&self.0.watches).push(sender);
        Ok(Watcher::from_channel(receiver))
    }
}

fn service(nodes: &[&str]) -> Service {
    let node = |id: &&str| Node {
        id: (*id).to_owned(),
        address: format!("{id}:5000"),
        metadata: BTreeMap::new(),
    };
    Service {
        name: "greeter".into(),
        version: "1".into(),
        nodes: nodes.iter().map(node).collect(),
        ..Service::default()
    }
}

/// An old and a new registry, and both.
fn pair() -> (Scripted, Scripted, Multi) {
    let (old, new) = (Scripted::new("old"), Scripted::new("new"));
    let both = Multi::new().and(old.clone()).and(new.clone());
    (old, new, both)
}

async fn found(multi: &Multi) -> Result<Vec<String>, String> {
    let services = multi.get("greeter").await;
    let services = services.map_err(|error| error.to_string())?;
    let mut ids: Vec<String> = services
        .iter()
        .flat_map(|service| service.nodes.iter().map(|node| node.id.clone()))
        .collect();
    ids.sort_unstable();
    Ok(ids)
}

async fn next(watcher: &mut Watcher) -> String {
    match watcher.next().await {
        Some(Ok(event)) => {
            let ids: Vec<_> = event
                .service
                .nodes
                .into_iter()
                .map(|node| node.id)
                .collect();
            format!("{:?} {}", event.action, ids.join(" "))
        }
        Some(Err(error)) => error.to_string(),
        None => "the end".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_known_only_in_one_are_found_in_whatever_order_they_answer() {
    let (old, new, both) = pair();
    old.says(&["a", "b"]);
    new.says(&["b", "c"]);
    for delays in [[0, 50], [50, 0]] {
        old.takes(Duration::from_millis(delays[0]));
        new.takes(Duration::from_millis(delays[1]));
        assert_eq!(found(&both).await.unwrap(), ["a", "b", "c"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_that_names_a_node_is_waited_for_and_the_others_not_long() {
    let (old, new, both) = pair();
    let started = Instant::now();
    old.takes(Duration::from_millis(300));
    new.takes(Duration::from_millis(700));
    new.says(&["b"]);
    assert_eq!(found(&both).await.unwrap(), ["b"], "not the early \"none\"");
    assert_eq!(started.elapsed().as_millis(), 700);
    old.takes(Duration::ZERO);
    old.says(&["a"]);
    let started = Instant::now();
    assert_eq!(found(&both).await.unwrap(), ["a", "b"], "b is remembered");
    assert_eq!(started.elapsed(), SETTLE);
}

#[tokio::test(start_paused = true)]
async fn what_comes_too_late_is_told_to_the_watch() {
    let (old, new, both) = pair();
    let mut watcher = both.watch(Some("greeter")).await.unwrap();
    let mut other = both.watch(Some("other")).await.unwrap();
    old.says(&["a"]);
    new.says(&["b"]);
    new.takes(Duration::from_secs(1));
    assert_eq!(found(&both).await.unwrap(), ["a"]);
    assert_eq!(next(&mut watcher).await, "Create b");
    new.takes(Duration::from_secs(60));
    assert_eq!(found(&both).await.unwrap(), ["a", "b"]);
    drop(both);
    assert_eq!(next(&mut other).await, "the end", "and nothing before");
}

#[tokio::test(start_paused = true)]
async fn none_is_said_only_when_every_registry_has_said_it() {
    let (old, new, both) = pair();
    assert!(found(&both).await.unwrap().is_empty());
    let (old, new, both) = {
        drop((old, new, both));
        pair()
    };
    old.fails();
    let error = found(&both).await.unwrap_err();
    assert_eq!(
        error,
        "the registries that answered know no node, and others did not answer: old: as asked"
    );
    *lock(&old.0.reply) = Reply::Nothing;
    old.takes(Duration::from_secs(60));
    let started = Instant::now();
    let error = found(&both).await.unwrap_err();
    assert!(error.ends_with("old: no answer within 2000 ms"), "{error}");
    assert_eq!(started.elapsed(), SETTLE_EMPTY);
    // Once it has answered, its silence is no longer in doubt.
    old.takes(Duration::ZERO);
    assert!(found(&both).await.unwrap().is_empty());
    old.fails();
    assert!(found(&both).await.unwrap().is_empty());
    // What it will never answer says nothing about nodes.
    *lock(&new.0.reply) = Reply::Fails(ErrorKind::Unsupported);
    *lock(&old.0.reply) = Reply::Nothing;
    assert!(found(&both).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_fails_keeps_its_nodes_but_for_those_that_another_dropped() {
    let (old, new, both) = pair();
    old.says(&["a", "b", "c"]);
    new.says(&["b", "c"]);
    assert_eq!(found(&both).await.unwrap(), ["a", "b", "c"]);
    old.fails();
    assert_eq!(found(&both).await.unwrap(), ["a", "b", "c"]);
    new.says(&["c", "d"]);
    assert_eq!(found(&both).await.unwrap(), ["a", "c", "d"]);
    new.fails();
    let error = found(&both).await.unwrap_err();
    assert_eq!(
        error, "no registry answered: old: as asked; new: as asked",
        "an error removes nothing"
    );
    old.says(&["b"]);
    assert_eq!(found(&both).await.unwrap(), ["b", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_registration_goes_to_all_and_again_to_those_that_refuse_it() {
    let (old, new, both) = pair();
    old.fails();
    both.register(&service(&["a"]), TTL).await.unwrap();
    assert_eq!(new.writes(), ["+a"]);
    sleep(Duration::from_secs(30)).await;
    assert!(old.writes().is_empty());
    *lock(&old.0.reply) = Reply::Nothing;
    sleep(Duration::from_secs(3)).await;
    assert_eq!(old.writes(), ["+a"], "once, and within 3 s");
    assert!(new.writes().is_empty());
    sleep(Duration::from_secs(60)).await;
    assert!(old.writes().is_empty());

    old.fails();
    both.register(&service(&["a"]), TTL).await.unwrap();
    *lock(&old.0.reply) = Reply::Nothing;
    both.deregister(&service(&["a"])).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        old.writes(),
        ["-a"],
        "what is deregistered does not come back"
    );

    old.fails();
    both.register(&service(&["a"]), TTL).await.unwrap();
    drop(both);
    *lock(&old.0.reply) = Reply::Nothing;
    sleep(Duration::from_secs(60)).await;
    assert!(old.writes().is_empty(), "nor what nobody has any more");
}

#[tokio::test(start_paused = true)]
async fn a_registration_is_tried_again_for_no_longer_than_it_lasts() {
    let (old, _new, both) = pair();
    old.fails();
    let short = Duration::from_secs(5);
    both.register(&service(&["a"]), short).await.unwrap();
    sleep(short).await;
    *lock(&old.0.reply) = Reply::Nothing;
    sleep(Duration::from_secs(60)).await;
    assert!(old.writes().is_empty(), "its time was over");
    // What a registry refuses for good while it is tried again is left alone too.
    old.fails();
    both.register(&service(&["a"]), TTL).await.unwrap();
    *lock(&old.0.reply) = Reply::Fails(ErrorKind::Config);
    sleep(Duration::from_secs(10)).await;
    *lock(&old.0.reply) = Reply::Nothing;
    sleep(Duration::from_secs(60)).await;
    assert!(old.writes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_deregistered_while_it_is_registered_is_not_tried_again() {
    let (old, _new, both) = pair();
    old.fails();
    old.takes(Duration::from_secs(2));
    let node = service(&["a"]);
    let registering = both.register(&node, TTL);
    let deregistering = async {
        sleep(Duration::from_secs(1)).await;
        both.deregister(&node).await.unwrap_err();
    };
    let (registered, ()) = tokio::join!(registering, deregistering);
    registered.unwrap();
    old.takes(Duration::ZERO);
    *lock(&old.0.reply) = Reply::Nothing;
    sleep(Duration::from_secs(60)).await;
    assert!(old.writes().is_empty(), "the later word is that it goes");
    // The same ids in another service are another matter.
    old.fails();
    both.register(&node, TTL).await.unwrap();
    let mut other = node.clone();
    other.name = "other".into();
    *lock(&old.0.reply) = Reply::Nothing;
    both.deregister(&other).await.unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(old.writes(), ["-a", "+a"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_fails_as_it_should_and_names_each() {
    let (old, new, both) = pair();
    old.fails();
    new.takes(Duration::from_secs(60));
    let started = Instant::now();
    let error = both.register(&service(&["a"]), TTL).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no registry took the registration: old: as asked; new: no answer within 3 s"
    );
    assert_eq!(started.elapsed(), WRITE);
    new.takes(Duration::ZERO);
    let error = both.deregister(&service(&["a"])).await.unwrap_err();
    assert_eq!(error.to_string(), "the node is still known: old: as asked");
    assert_eq!(new.writes(), ["-a"]);
    let error = both.list().await.map(|list| list.len());
    assert_eq!(error.unwrap(), 0);
    new.fails();
    let error = both.list().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no registry has a list: old: as asked; new: as asked"
    );
    assert_eq!(error.kind(), ErrorKind::Registry);
    let nobody = Multi::new().get("greeter").await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::Config);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_gone_when_no_registry_names_it() {
    let (old, new, both) = pair();
    old.says(&["a", "b"]);
    new.says(&["a"]);
    let mut watcher = both.watch(Some("greeter")).await.unwrap();
    old.says(&[]);
    old.tells(Action::Delete, &["a", "b"]).await;
    assert_eq!(next(&mut watcher).await, "Delete b");
    new.says(&["c"]);
    new.tells(Action::Create, &["c"]).await;
    new.tells(Action::Delete, &["a"]).await;
    assert_eq!(next(&mut watcher).await, "Create c");
    assert_eq!(next(&mut watcher).await, "Delete a");
}

/// A watch that is behind sees neither that a node came nor that it went, and says nothing.
#[tokio::test(start_paused = true)]
async fn a_node_that_another_registry_drops_without_a_word_goes_all_the_same() {
    for silence in [0, 3, 10] {
        let (old, new, both) = pair();
        let mut watcher = both.watch(Some("greeter")).await.unwrap();
        old.says(&["a", "b"]);
        new.tells(Action::Delete, &["a", "b"]).await;
        sleep(Duration::from_secs(silence)).await;
        old.says(&["b"]);
        assert_eq!(next(&mut watcher).await, "Delete a");
        // Who names it for as long as that tells of it.
        let more = timeout(Duration::from_secs(600), watcher.next()).await;
        assert!(more.is_err(), "{more:?}");
        old.says(&[]);
        old.tells(Action::Delete, &["b"]).await;
        assert_eq!(next(&mut watcher).await, "Delete b");
    }
    // One that is back by then is not gone.
    let (old, new, both) = pair();
    let mut watcher = both.watch(Some("greeter")).await.unwrap();
    old.says(&["a"]);
    new.tells(Action::Delete, &["a"]).await;
    sleep(Duration::from_millis(500)).await;
    old.says(&[]);
    new.says(&["a"]);
    let more = timeout(Duration::from_secs(600), watcher.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_cannot_be_checked_has_the_watcher_look() {
    let (old, new, both) = pair();
    old.says(&["a", "b"]);
    new.says(&["a"]);
    assert_eq!(found(&both).await.unwrap(), ["a", "b"]);
    let mut watcher = both.watch(Some("greeter")).await.unwrap();
    new.fails();
    old.says(&[]);
    old.tells(Action::Delete, &["a", "b"]).await;
    let doubt = next(&mut watcher).await;
    assert!(doubt.contains("does not answer"), "{doubt}");
    assert_eq!(next(&mut watcher).await, "Delete b");
    assert!(
        found(&both).await.unwrap().is_empty(),
        "the fresher word holds when it looks"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_outlives_the_loss_of_a_registry() {
    let (old, new, both) = pair();
    old.fails();
    let mut watcher = both.watch(Some("greeter")).await.unwrap();
    *lock(&old.0.reply) = Reply::Nothing;
    assert_eq!(
        next(&mut watcher).await,
        "old is watched again, look up what has changed"
    );
    lock(&new.0.watches).clear();
    assert_eq!(
        next(&mut watcher).await,
        "new is not watched for a moment, look up what has changed"
    );
    old.tells(Action::Create, &["a"]).await;
    assert_eq!(next(&mut watcher).await, "Create a");
    assert_eq!(
        next(&mut watcher).await,
        "new is watched again, look up what has changed"
    );
    old.fails();
    new.fails();
    let error = both.watch(None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no registry can be watched: old: as asked; new: as asked"
    );
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_hangs_holds_up_a_watch_for_a_second_wherever_it_stands() {
    for first in [true, false] {
        let (old, new, both) = pair();
        let (hangs, works) = if first { (old, new) } else { (new, old) };
        hangs.takes(Duration::from_secs(60));
        let started = Instant::now();
        let mut watcher = both.watch(Some("greeter")).await.unwrap();
        assert_eq!(started.elapsed(), Duration::from_secs(1));
        works.tells(Action::Create, &["a"]).await;
        assert_eq!(next(&mut watcher).await, "Create a");
    }
    // What it had to tell until its watch stood was told to nobody.
    let (old, _new, both) = pair();
    old.takes(Duration::from_secs(3));
    let mut watcher = both.watch(Some("greeter")).await.unwrap();
    assert_eq!(
        next(&mut watcher).await,
        "old is watched again, look up what has changed"
    );
}

#[tokio::test(start_paused = true)]
async fn many_services_that_go_are_judged_together() {
    let (old, new, both) = pair();
    let mut watcher = both.watch(None).await.unwrap();
    new.takes(Duration::from_secs(60));
    let watch = lock(&old.0.watches)[0].clone();
    let started = Instant::now();
    let telling = async {
        for number in 0..200 {
            let mut service = service(&["a"]);
            service.name = format!("s{number}");
            let action = Action::Delete;
            watch.send(Ok(Event { action, service })).await.unwrap();
        }
    };
    let hearing = async {
        for _ in 0..200 {
            next(&mut watcher).await;
        }
    };
    tokio::join!(telling, hearing);
    // The one that hangs is waited for 2 s each time.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_another_registry_names_better_does_not_come_twice() {
    let (dns, consul, both) = pair();
    consul.says(&["a"]);
    assert_eq!(found(&both).await.unwrap(), ["a"]);
    let mut watcher = both.watch(Some("greeter")).await.unwrap();
    let by_address = |address: &str| {
        let mut service = service(&["x"]);
        service.nodes[0].id = format!("greeter-{address}");
        service.nodes[0].address = address.to_owned();
        Event {
            action: Action::Create,
            service,
        }
    };
    let watch = lock(&dns.0.watches)[0].clone();
    for address in ["a:5000", "b:5000"] {
        watch.send(Ok(by_address(address))).await.unwrap();
    }
    assert_eq!(next(&mut watcher).await, "Create greeter-b:5000");
}

#[tokio::test(start_paused = true)]
async fn a_registry_without_a_watch_is_looked_at() {
    let (fixed, new) = (Scripted::unwatched("fixed"), Scripted::new("new"));
    let both = Multi::new().and(fixed.clone()).and(new.clone());
    fixed.says(&["a", "b", "c"]);
    let mut watcher = both.watch(Some("greeter")).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    fixed.says(&["a", "d"]);
    assert_eq!(next(&mut watcher).await, "Create d");
    assert_eq!(next(&mut watcher).await, "Delete b c");
    let mut all = both.watch(None).await.unwrap();
    new.tells(Action::Create, &["e"]).await;
    assert_eq!(next(&mut all).await, "Create e");
    let alone = Multi::new().and(fixed);
    let error = alone.watch(None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_clone_or_the_watcher_ends_everything() {
    let (old, new, both) = pair();
    let watcher = both.watch(None).await.unwrap();
    let clone = both.clone();
    drop(both);
    drop(watcher);
    sleep(Duration::from_secs(1)).await;
    assert!(lock(&old.0.watches).iter().all(mpsc::Sender::is_closed));
    let mut watcher = clone.watch(None).await.unwrap();
    new.takes(Duration::from_secs(4));
    let get = tokio::spawn({
        let clone = clone.clone();
        async move { clone.get("greeter").await }
    });
    sleep(Duration::from_millis(10)).await;
    get.abort();
    drop(clone);
    assert_eq!(next(&mut watcher).await, "the end");
    sleep(Duration::from_millis(10)).await;
    assert_eq!(Arc::strong_count(&new.0), 1, "a task still has it");
    assert_eq!(Arc::strong_count(&old.0), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_moves_without_a_gap() {
    let (old, new) = (Memory::new(), Memory::new());
    let client = Multi::new().and(old.clone()).and(new.clone());
    let ids: Vec<String> = (0..8).map(|n| format!("n{n}")).collect();
    for id in &ids {
        old.register(&service(&[id]), Duration::ZERO).await.unwrap();
    }
    let mut watcher = client.watch(Some("greeter")).await.unwrap();
    for id in &ids {
        // The node restarts with both, and once all have, the old registry is taken away.
        let moved = format!("{id}-moved");
        let both = Multi::new().and(old.clone()).and(new.clone());
        both.register(&service(&[&moved]), TTL).await.unwrap();
        old.deregister(&service(&[id])).await.unwrap();
        assert_eq!(found(&client).await.unwrap().len(), 8);
    }
    for id in &ids {
        let moved = format!("{id}-moved");
        old.deregister(&service(&[&moved])).await.unwrap();
        assert_eq!(found(&client).await.unwrap().len(), 8);
    }
    // Only the former nodes have gone, by the watch too.
    let mut gone = Vec::new();
    while gone.len() < 8 {
        let event = next(&mut watcher).await;
        if let Some(id) = event.strip_prefix("Delete ") {
            gone.push(id.to_owned());
        }
    }
    assert_eq!(gone, ids);
}
