//! Registering, and staying registered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Instant, sleep};

use super::fake::{Asked, Fakes, Reply};
use super::*;
use crate::registry::Registry;

const TTL: Duration = Duration::from_secs(90);
const REGISTER: &str = "PUT /v1/agent/service/register";
const PASS: &str = "PUT /v1/agent/check/pass/service%3Agreeter-1";
const DEREGISTER: &str = "PUT /v1/agent/service/deregister/greeter-1";
const LOOK: &str = "GET /v1/agent/service/greeter-1";

/// An agent with a memory of one node, which it has while this is set.
fn agent(has: &Arc<AtomicBool>) -> impl FnMut(&Asked) -> Reply + Send + 'static {
    let has = Arc::clone(has);
    move |asked| {
        let unknown = |what: &str| Reply::Say(404, None, format!("Unknown {what}"));
        let ok = || Reply::Say(200, None, String::new());
        let known = has.load(Ordering::SeqCst);
        match asked.line.as_str() {
            line if line.starts_with(REGISTER) => {
                has.store(true, Ordering::SeqCst);
                ok()
            }
            line if line.starts_with(PASS) && known => ok(),
            line if line.starts_with(PASS) => unknown("check ID"),
            line if line.starts_with(DEREGISTER) => {
                has.store(false, Ordering::SeqCst);
                if known { ok() } else { unknown("service ID") }
            }
            line if line.starts_with(LOOK) && !known => unknown("service ID"),
            line if line.contains("hash=") => Reply::Late(
                Duration::from_secs(310),
                Box::new(Reply::Say(200, None, "{}".into())),
            ),
            _ => Reply::Say(200, None, "{}".into()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_only_passes_the_check() {
    let has = Arc::default();
    let fake = Fake::new(agent(&has));
    let consul = consul(&fake).namespace("n");
    for _ in 0..3 {
        consul.register(&greeter(), TTL).await.unwrap();
        sleep(Duration::from_secs(30)).await;
    }
    assert_eq!(
        fake.lines(REGISTER),
        ["PUT /v1/agent/service/register?ns=n"]
    );
    assert_eq!(fake.lines(PASS).len(), 3);
    let asked = fake.asked();
    let body: serde_json::Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(body["Check"]["TTL"], "1m30s");
    assert_eq!(body["Check"]["DeregisterCriticalServiceAfter"], "1m35s");
    assert_eq!(body["Tags"].as_array().unwrap().len(), 2);
    // What has changed is registered in full.
    let mut changed = greeter();
    changed.nodes[0].metadata.insert("zone".into(), "b".into());
    consul.register(&changed, TTL).await.unwrap();
    assert_eq!(fake.lines(REGISTER).len(), 2);
    consul.deregister(&changed).await.unwrap();
    let asked = fake.asked().len();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.asked().len(), asked, "nobody keeps it any more");
    consul.deregister(&changed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_forgets_is_told_at_once() {
    let has = Arc::<AtomicBool>::default();
    let fake = Fake::new(agent(&has));
    let consul = consul(&fake);
    consul.register(&greeter(), TTL).await.unwrap();
    fake.hears(&format!("{LOOK}?hash="), 1).await;
    // It dies and comes back, without its memory.
    fake.dies();
    has.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(20)).await;
    fake.back();
    let back = Instant::now();
    fake.hears(REGISTER, 2).await;
    assert!(
        back.elapsed() < Duration::from_secs(3),
        "{:?}",
        back.elapsed()
    );
    fake.hears(&format!("{LOOK}?hash="), 2).await;
    // With its memory, a pass is enough.
    fake.dies();
    sleep(Duration::from_secs(20)).await;
    fake.back();
    let (back, passes) = (Instant::now(), fake.lines(PASS).len());
    fake.hears(PASS, passes + 1).await;
    assert!(back.elapsed() < Duration::from_secs(3));
    assert_eq!(fake.lines(REGISTER).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_else_takes_out_is_back_at_once() {
    let has = Arc::<AtomicBool>::default();
    let mut agent = agent(&has);
    let gone = Arc::clone(&has);
    let fake = Fake::new(move |asked| {
        if asked.line.contains("hash=") && gone.swap(false, Ordering::SeqCst) {
            let unknown = Reply::Say(404, None, "unknown service ID".into());
            return Reply::Late(Duration::from_secs(20), Box::new(unknown));
        }
        agent(asked)
    });
    let consul = consul(&fake);
    consul.register(&greeter(), TTL).await.unwrap();
    let begun = Instant::now();
    fake.hears(REGISTER, 4).await;
    // 20 s and the pause between two looks, each time.
    let passed = begun.elapsed().as_secs();
    assert!((60..=66).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_nobody_renews_is_left_to_go() {
    let has = Arc::<AtomicBool>::default();
    let fake = Fake::new(agent(&has));
    let consul = consul(&fake);
    consul.register(&greeter(), TTL).await.unwrap();
    fake.hears(&format!("{LOOK}?hash="), 1).await;
    fake.dies();
    has.store(false, Ordering::SeqCst);
    sleep(TTL + Duration::from_secs(5)).await;
    fake.back();
    sleep(Duration::from_secs(100)).await;
    assert_eq!(fake.lines(REGISTER).len(), 1);
    // Whoever goes on renewing gets it back, however long the agent was away.
    consul.register(&greeter(), TTL).await.unwrap();
    assert_eq!(fake.lines(REGISTER).len(), 2);
    fake.dies();
    has.store(false, Ordering::SeqCst);
    for _ in 0..10 {
        sleep(Duration::from_secs(30)).await;
        consul.register(&greeter(), TTL).await.unwrap_err();
    }
    fake.back();
    let back = Instant::now();
    fake.hears(REGISTER, 3).await;
    assert!(back.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_down_at_first_is_told_when_it_comes() {
    let has = Arc::default();
    let fake = Fake::new(agent(&has));
    fake.dies();
    let consul = consul(&fake);
    let error = consul.register(&greeter(), TTL).await.unwrap_err();
    assert!(error.to_string().contains("cannot connect"), "{error}");
    sleep(Duration::from_secs(30)).await;
    fake.back();
    let back = Instant::now();
    fake.hears(REGISTER, 1).await;
    assert!(back.elapsed() < Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_and_not_repeated() {
    let fake =
        Fake::new(|_| Reply::Say(403, None, "Permission denied: lacks 'service:write'".into()));
    let error = consul(&fake).register(&greeter(), TTL).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("lacks 'service:write'"), "{text}");
    assert!(text.contains("set one with Consul::token"), "{text}");
    let with_token = consul(&fake).token("s3cret");
    let text = with_token
        .register(&greeter(), TTL)
        .await
        .unwrap_err()
        .to_string();
    assert!(text.contains("the ACL token does not allow this"), "{text}");
    assert!(!text.contains("s3cret"));
    sleep(Duration::from_secs(100)).await;
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_say_what_it_has_is_not_asked_again() {
    let has = Arc::default();
    let mut agent = agent(&has);
    let fake = Fake::new(move |asked| {
        if asked.line.starts_with(LOOK) {
            return Reply::Say(403, None, String::new());
        }
        agent(asked)
    });
    let consul = consul(&fake);
    consul.register(&greeter(), TTL).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.lines(LOOK).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_ttl_there_is_no_check() {
    let has = Arc::<AtomicBool>::default();
    let fake = Fake::new(agent(&has));
    let consul = consul(&fake);
    consul.register(&greeter(), Duration::ZERO).await.unwrap();
    consul.register(&greeter(), Duration::ZERO).await.unwrap();
    assert!(fake.lines(PASS).is_empty());
    assert_eq!(fake.lines(REGISTER).len(), 1);
    assert!(!fake.asked()[0].body.contains("Check"));
    fake.dies();
    has.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(3600)).await;
    fake.back();
    fake.hears(REGISTER, 2).await;
}

#[tokio::test(start_paused = true)]
async fn every_node_is_registered_and_the_last_clone_ends_it_all() {
    let fake = Fake::new(|_| Reply::Say(200, None, String::new()));
    let consul = consul(&fake);
    let mut service = greeter();
    let mut second = service.nodes[0].clone();
    second.id = "greeter-2".into();
    service.nodes.push(second);
    consul.register(&service, TTL).await.unwrap();
    assert_eq!(fake.lines(REGISTER).len(), 2);
    let clone = consul.clone();
    drop(consul);
    clone.deregister(&service).await.unwrap();
    assert_eq!(fake.lines("PUT /v1/agent/service/deregister/").len(), 2);
    clone.register(&service, TTL).await.unwrap();
    drop(clone);
    sleep(Duration::from_millis(10)).await;
    assert_eq!(fake.open(), 0);
    let asked = fake.asked().len();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(fake.asked().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn it_moves_to_another_agent_and_leaves_nothing_behind() {
    let (one, other) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let (a, b) = (Fake::new(agent(&one)), Fake::new(agent(&other)));
    let network = Arc::new(Fakes(vec![("a", a.clone()), ("b", b.clone())]));
    let consul = Consul::new(["a", "b"]).with(|config| config.connect = Some(network));
    consul.register(&greeter(), TTL).await.unwrap();
    a.hears(&format!("{LOOK}?hash="), 1).await;
    a.dies();
    b.hears(REGISTER, 1).await;
    a.back();
    sleep(Duration::from_secs(5)).await;
    consul.deregister(&greeter()).await.unwrap();
    assert_eq!(
        (a.lines(DEREGISTER).len(), b.lines(DEREGISTER).len()),
        (1, 1)
    );
    assert!(!one.load(Ordering::SeqCst) && !other.load(Ordering::SeqCst));
}

#[tokio::test]
async fn what_cannot_be_registered_is_told() {
    let consul = Consul::new(["agent"]);
    let mut service = greeter();
    service.nodes[0].address = "0.0.0.0:80".into();
    let error = consul.register(&service, TTL).await.unwrap_err();
    assert!(error.to_string().contains("nobody can dial it"), "{error}");
    service.nodes[0].id.clear();
    let error = consul.register(&service, TTL).await.unwrap_err();
    assert!(error.to_string().contains("needs an id"), "{error}");
    service.nodes.clear();
    let error = consul.register(&service, TTL).await.unwrap_err();
    assert!(error.to_string().contains("needs a node"), "{error}");
    service.name.clear();
    let error = consul.register(&service, TTL).await.unwrap_err();
    assert!(error.to_string().contains("needs a name"), "{error}");
}

/// A renewal under way when the node is deregistered finds it gone, and must not take that for a loss.
#[tokio::test(start_paused = true)]
async fn a_renewal_under_way_does_not_bring_back_what_is_deregistered() {
    let has = Arc::<AtomicBool>::default();
    let fake = Fake::new(agent(&has));
    let consul = consul(&fake);
    consul.register(&greeter(), TTL).await.unwrap();
    // The agent looks at what it has when it answers.
    let (mut agent, known) = (agent(&has), Arc::clone(&has));
    fake.becomes(move |asked| {
        if asked.line.starts_with(PASS) {
            known.store(false, Ordering::SeqCst);
            return Reply::Late(Duration::from_millis(300), Box::new(agent(asked)));
        }
        agent(asked)
    });
    let renewal = tokio::spawn({
        let consul = consul.clone();
        async move { consul.register(&greeter(), TTL).await }
    });
    fake.hears(PASS, 2).await;
    consul.deregister(&greeter()).await.unwrap();
    let renewed = renewal.await.unwrap().unwrap_err().to_string();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(fake.lines(REGISTER).len(), 1, "it is back");
    assert!(renewed.contains("was deregistered meanwhile"), "{renewed}");
    // Afterwards it may be registered again.
    fake.becomes(self::agent(&has));
    consul.register(&greeter(), TTL).await.unwrap();
    assert!(has.load(Ordering::SeqCst));
}

/// An agent that answers no write keeps nobody from deregistering for long.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_hangs_is_not_waited_for() {
    let has = Arc::<AtomicBool>::default();
    let fake = Fake::new(agent(&has));
    let consul = consul(&fake);
    consul.register(&greeter(), TTL).await.unwrap();
    let mut agent = agent(&has);
    fake.becomes(move |asked| match asked.line.starts_with(PASS) {
        true => Reply::Silence,
        false => agent(asked),
    });
    let renewal = tokio::spawn({
        let consul = consul.clone();
        async move { consul.register(&greeter(), TTL).await }
    });
    fake.hears(PASS, 2).await;
    let begun = Instant::now();
    consul.deregister(&greeter()).await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    renewal.await.unwrap().unwrap_err();
    sleep(Duration::from_secs(10)).await;
    assert!(
        !has.load(Ordering::SeqCst),
        "it is back: {:?}",
        fake.asked()
    );
}
