//! Looking up: when is asked, when is answered, what is found.

use std::time::Duration;

use tokio::time::Instant;

use super::sim::{Link, ip, service};
use crate::error::ErrorKind;
use crate::registry::{Endpoint, Registry, Service};

const FOREVER: Duration = Duration::ZERO;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn ids(services: &[Service]) -> Vec<&str> {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    nodes.map(|node| node.id.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_into_four_times() {
    let link = Link::new();
    let start = Instant::now();
    assert_eq!(link.host(1).get("a").await.unwrap(), []);
    assert_eq!(start.elapsed(), ms(1500));
    let sent = link.sent();
    assert!(sent.iter().all(super::sim::Sent::is_query));
    let times: Vec<Duration> = sent.iter().map(|sent| sent.at).collect();
    assert_eq!(times, [ms(0), ms(100), ms(300), ms(700)]);
    assert_eq!(sent[0].bytes().len(), 12 + b"\x01a\x05micro\0".len() + 4);
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_it_after_fifty_milliseconds() {
    let link = Link::new();
    let (client, server) = (link.host(1), link.host(2));
    server.register(&service("a", 2), FOREVER).await.unwrap();
    link.delay(ms(7));
    let start = Instant::now();
    assert_eq!(ids(&client.get("a").await.unwrap()), ["a-2"]);
    assert_eq!(start.elapsed(), ms(7 + 7 + 50));
}

#[tokio::test(start_paused = true)]
async fn a_lost_question_is_asked_again() {
    let link = Link::new();
    let (client, server) = (link.host(1), link.host(2));
    server.register(&service("a", 2), FOREVER).await.unwrap();
    link.cut_off(2, true);
    let found = tokio::spawn(async move { client.get("a").await.unwrap() });
    tokio::time::sleep(ms(50)).await;
    let start = Instant::now();
    link.cut_off(2, false);
    assert_eq!(ids(&found.await.unwrap()), ["a-2"]);
    assert_eq!(start.elapsed(), ms(50 + 50), "found by the second question");
}

#[tokio::test(start_paused = true)]
async fn nodes_come_together_by_version() {
    let link = Link::new();
    let client = link.host(1);
    let mut servers = Vec::new();
    for (number, version) in [(5, "2"), (4, "1"), (3, "2")] {
        let server = link.host(number);
        let mut service = service("go.micro.srv.a", number);
        service.version = version.to_owned();
        service.endpoints = vec![Endpoint {
            name: "A.B".into(),
            ..Endpoint::default()
        }];
        service.nodes[0]
            .metadata
            .insert("n".into(), number.to_string());
        server.register(&service, FOREVER).await.unwrap();
        servers.push(server);
    }
    let found = client.get("go.micro.srv.a").await.unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].version.as_str(), ids(&found[..1])),
        ("1", vec!["go.micro.srv.a-4"])
    );
    assert_eq!(
        (found[1].version.as_str(), ids(&found[1..])),
        ("2", vec!["go.micro.srv.a-3", "go.micro.srv.a-5"])
    );
    assert_eq!(found[1].endpoints[0].name, "A.B");
    assert_eq!(found[1].nodes[0].address, "10.0.0.3:8080");
    assert_eq!(found[1].nodes[0].metadata["n"], "3");
}

#[tokio::test(start_paused = true)]
async fn all_who_ask_at_once_share_the_questions() {
    let link = Link::new();
    let client = link.host(1);
    let ask = |name: &'static str| {
        let client = client.clone();
        tokio::spawn(async move { client.get(name).await.unwrap() })
    };
    let tasks = [ask("a"), ask("a"), ask("a"), ask("b")];
    for task in tasks {
        assert_eq!(task.await.unwrap(), []);
    }
    assert_eq!(link.sent().len(), 2 * 4);
}

#[tokio::test(start_paused = true)]
async fn nobody_asks_for_those_who_have_stopped_waiting() {
    let link = Link::new();
    let client = link.host(1);
    tokio::time::timeout(ms(50), client.get("a"))
        .await
        .unwrap_err();
    tokio::time::sleep(ms(2000)).await;
    assert_eq!(link.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_services_are_listed_and_found() {
    let link = Link::new();
    let (client, server, second) = (link.host(1), link.host(2), link.host(3));
    let mut names: Vec<String> = (0..200).map(|number| format!("svc.s{number}")).collect();
    for name in &names {
        server.register(&service(name, 2), FOREVER).await.unwrap();
        second.register(&service(name, 3), FOREVER).await.unwrap();
    }
    tokio::time::sleep(ms(20_000)).await;
    let announced = link.sent();
    assert!(announced.iter().all(super::sim::Sent::is_announcement));
    assert_eq!(announced.len(), 2 * 200 * 5, "five announcements each");

    let start = Instant::now();
    let list = client.list().await.unwrap();
    assert_eq!(start.elapsed(), ms(200));
    names.sort();
    let listed: Vec<&str> = list.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(listed, names, "sorted, each once");
    assert!(list.iter().all(|service| service.nodes.is_empty()));

    for name in &names {
        assert_eq!(client.get(name).await.unwrap()[0].nodes.len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn replies_are_what_a_go_client_needs() {
    let link = Link::new();
    let (client, server) = (link.host(1), link.host(2));
    for number in 10..15 {
        let mut service = service("a", 2);
        service.nodes[0].id = format!("a-{number}");
        server.register(&service, FOREVER).await.unwrap();
    }
    link.sent();
    assert_eq!(client.get("a").await.unwrap()[0].nodes.len(), 5);
    let sent = link.sent();
    let query = &sent[0];
    assert_eq!(sent.len(), 1 + 5, "one question, a packet for each node");
    for reply in &sent[1..] {
        assert!(reply.is_reply());
        assert_eq!(reply.from, ip(2));
        assert_eq!(reply.at, query.at, "at once: Go waits 100 ms in all");
        let message = reply.message();
        assert_eq!((message.id, message.flags), (0, 0x8400));
        assert_eq!(message.questions, query.message().questions);
        assert_eq!(message.answers.len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_is_listed_once_though_several_nodes_run_it() {
    let link = Link::new();
    let (client, server) = (link.host(1), link.host(2));
    let mut service = service("a", 2);
    let mut other = service.nodes[0].clone();
    other.id = "a-other".into();
    service.nodes.push(other);
    server.register(&service, FOREVER).await.unwrap();
    link.sent();
    assert_eq!(client.list().await.unwrap().len(), 1);
    let replies = link.sent().iter().filter(|sent| sent.is_reply()).count();
    assert_eq!(replies, 2, "one for each question, at 0 and at 100 ms");
}

#[tokio::test(start_paused = true)]
async fn domains_do_not_see_each_other() {
    let link = Link::new();
    let (client, server) = (link.host(1), link.host_in("example.org", 2));
    server.register(&service("a", 2), FOREVER).await.unwrap();
    assert_eq!(client.get("a").await.unwrap(), []);
    assert_eq!(client.list().await.unwrap(), []);
    let same = link.host_in("example.org", 3);
    assert_eq!(same.get("a").await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn silence_does_not_take_a_node_away_before_its_time() {
    let link = Link::new();
    let (client, server) = (link.host(1), link.host(2));
    server.register(&service("a", 2), FOREVER).await.unwrap();
    assert_eq!(ids(&client.get("a").await.unwrap()), ["a-2"]);
    link.cut_off(2, true);
    tokio::time::sleep(Duration::from_secs(115)).await;
    assert_eq!(ids(&client.get("a").await.unwrap()), ["a-2"]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        client.get("a").await.unwrap(),
        [],
        "120 s after it was heard"
    );
}

#[tokio::test(start_paused = true)]
async fn where_nothing_can_be_sent_there_is_no_answer() {
    let link = Link::new();
    let client = link.host(1);
    link.break_down(1, true);
    let error = client.get("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.to_string().contains("unreachable"), "{error}");
    let own = service("b", 1);
    client.register(&own, FOREVER).await.unwrap();
    assert_eq!(client.get("b").await.unwrap(), [own]);
    link.break_down(1, false);
    assert_eq!(
        client.get("a").await.unwrap(),
        [],
        "an old failure is no excuse"
    );
}

#[tokio::test(start_paused = true)]
async fn garbage_is_passed_over() {
    let link = Link::new();
    let (client, server) = (link.host(1), link.host(2));
    server.register(&service("a", 2), FOREVER).await.unwrap();
    let reply = {
        client.get("a").await.unwrap();
        let sent = link.sent();
        sent.iter()
            .find(|sent| sent.is_reply())
            .unwrap()
            .bytes()
            .to_vec()
    };
    for port in [
        super::super::engine::Port::Mdns,
        super::super::engine::Port::Query,
    ] {
        for cut in 0..reply.len() {
            link.inject(1, port, &reply[..cut]);
        }
        // The same reply with a text that is not hex, and one with a code of failure.
        let mut text = reply.clone();
        *text.last_mut().unwrap() = b'x';
        link.inject(1, port, &text);
        let mut refused = reply.clone();
        refused[3] = 3;
        link.inject(1, port, &refused);
    }
    assert_eq!(ids(&client.get("a").await.unwrap()), ["a-2"]);
}
