//! Looking up.

use std::sync::Arc;

use tokio::time::Instant;

use super::fake::{Fakes, Reply};
use super::*;
use crate::error::ErrorKind;
use crate::registry::Registry;

fn ids(services: &[Service]) -> Vec<&str> {
    let nodes = services.iter().flat_map(|service| &service.nodes);
    nodes.map(|node| &*node.id).collect()
}

#[tokio::test(start_paused = true)]
async fn gets_and_lists() {
    let fake = Fake::new(|asked| {
        let body = if asked.line.contains("/health/") {
            health("a/ b", "one two! three")
        } else {
            r#"{"consul":[],"hellooo":["v=1"]}"#.to_owned()
        };
        Reply::Say(200, Some(7), body)
    });
    let consul = consul(&fake)
        .token("s3cret")
        .datacenter("dc 2")
        .namespace("n");
    let found = consul.get("a/ b").await.unwrap();
    assert_eq!(ids(&found), ["one", "three"]);
    assert_eq!(found[0].nodes[0].address, "10.0.0.1:83");
    let names: Vec<_> = consul.list().await.unwrap();
    assert_eq!(names[1].name, "hellooo");
    assert_eq!(names[0].name, "consul");
    let asked = fake.asked();
    assert_eq!(
        asked[0].line,
        "GET /v1/health/service/a%2F%20b?stale&dc=dc%202&ns=n"
    );
    assert_eq!(asked[0].token.as_deref(), Some("s3cret"));
    assert!(!format!("{consul:?}").contains("s3cret"));
    assert_eq!(fake.connections(), 1, "it is used again");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_told() {
    for (reply, why) in [
        (
            Reply::Say(500, None, "No cluster leader".into()),
            "consul refused the service \"a\" with the status 500: \"No cluster leader\"",
        ),
        (
            Reply::Say(403, None, "Permission denied".into()),
            "set one with Consul::token",
        ),
        (
            Reply::Say(429, None, String::new()),
            "no more requests or connections",
        ),
        (
            Reply::Say(301, None, String::new()),
            "expected the API of a consul agent",
        ),
        (
            Reply::Say(200, Some(1), "[{\"Node\":".into()),
            "expected a list of instances as JSON from consul for the service \"a\", found 9 bytes",
        ),
        (
            Reply::Say(200, Some(1), "<html>".into()),
            "expected a list of instances as JSON",
        ),
        (
            Reply::Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{\"No".to_vec()),
            "the connection broke",
        ),
        (Reply::Cut(b"HTTP/1.1 2".to_vec()), "the connection broke"),
        (
            Reply::Cut(b"SSH-2.0-x\r\n\r\n".to_vec()),
            "the connection broke",
        ),
        (Reply::Cut(Vec::new()), "the connection broke"),
        (Reply::Silence, "http://agent:8500: no answer within 4s"),
        (
            Reply::Cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n[".to_vec()),
            "more than the 67108864 bytes",
        ),
    ] {
        let fake = Fake::new({
            let reply = reply.clone();
            move |_| reply.clone()
        });
        let error = consul(&fake).get("a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Registry);
        let text = error.to_string();
        assert!(text.contains(why), "{reply:?}: {text}");
        assert!(text.len() < 600, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_is_given_up() {
    let fake = Fake::new(|_| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
        Reply::Cut([head.as_slice(), &chunk.repeat(65)].concat())
    });
    let error = consul(&fake).get("a").await.unwrap_err().to_string();
    assert!(error.contains("more than the 67108864 bytes"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_agent_closed_meanwhile_is_no_error() {
    let fake = Fake::new(|_| Reply::Say(200, Some(1), "[]".into()));
    let consul = consul(&fake);
    consul.get("a").await.unwrap();
    fake.becomes(|_| Reply::Cut(Vec::new()));
    // The agent closes without an answer what it has open, and takes the next one.
    let mut first = true;
    fake.becomes(move |_| {
        if std::mem::take(&mut first) {
            Reply::Cut(Vec::new())
        } else {
            Reply::Say(200, Some(1), health("a", "one"))
        }
    });
    assert_eq!(ids(&consul.get("a").await.unwrap()), ["one"]);
    assert_eq!(fake.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let fake = Fake::new(|_| Reply::Say(200, Some(1), "[]".into()));
    let consul = consul(&fake);
    consul.get("a").await.unwrap();
    assert_eq!(fake.open(), 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.open(), 0);
    consul.get("a").await.unwrap();
    assert_eq!(fake.connections(), 2);
    drop(consul);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(fake.open(), 0, "the last clone takes them along");
}

#[tokio::test(start_paused = true)]
async fn the_first_agent_that_answers_counts() {
    let answers = || Fake::new(|_| Reply::Say(200, Some(1), health("a", "one")));
    let (dead, hangs, sick, well) = (
        answers(),
        Fake::script([]),
        Fake::new(|_| Reply::Say(500, None, "No known Consul servers".into())),
        answers(),
    );
    dead.dies();
    let agents = ["dead", "hangs", "sick", "well", "nowhere"];
    let network = Arc::new(Fakes(vec![
        ("dead", dead),
        ("hangs", hangs.clone()),
        ("sick", sick.clone()),
        ("well", well.clone()),
    ]));
    let consul = Consul::new(agents).with(|config| config.connect = Some(network));
    let begun = Instant::now();
    assert_eq!(ids(&consul.get("a").await.unwrap()), ["one"]);
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!((hangs.connections(), sick.connections()), (1, 1));
    consul.get("a").await.unwrap();
    assert_eq!(hangs.connections(), 1, "the one that answered comes first");
    well.dies();
    let error = consul.get("a").await.unwrap_err().to_string();
    assert!(error.contains("No known Consul servers"), "{error}");
}

#[tokio::test]
async fn settings_that_cannot_be_are_told() {
    for (address, why) in [
        ("agent:0", "a port is a number"),
        ("ftp://agent", "expected one of http, https"),
        ("http://agent?token=x", "expected no parameter"),
        ("http://agent?ca=x", "is one of TLS"),
        ("http://x@agent", "found a user alone"),
        #[cfg(feature = "tls")]
        ("https://agent?cert=x", "cert and key need each other"),
        #[cfg(not(feature = "tls"))]
        ("https://agent", "build with the cargo feature tls"),
    ] {
        let error = Consul::try_new([address]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{address}");
        assert!(error.to_string().contains(why), "{address}: {error}");
        let error = Consul::new([address]).get("a").await.unwrap_err();
        assert!(error.to_string().contains(why), "{address}: {error}");
    }
    let error = Consul::new(["a"]).token("a\nb").list().await.unwrap_err();
    assert!(!error.to_string().contains("a\nb"), "{error}");
    assert!(Consul::try_new([] as [&str; 0]).is_ok());
}

#[cfg(feature = "tls")]
#[test]
fn tls_in_code_contradicts_plain_addresses() {
    let tls = crate::transport::ClientTls::new();
    for (address, good) in [("https://a", true), ("a", true), ("http://a", false)] {
        let consul = Consul::new([address]).tls(tls.clone());
        assert_eq!(consul.agents().is_ok(), good, "{address}");
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_carry_credentials_and_paths() {
    let fake = Fake::new(|_| Reply::Say(200, Some(1), "{}".into()));
    let ask = async |address: &str| {
        let consul = Consul::new([address]).with(|config| config.connect = Some(fake.network()));
        assert!(!format!("{consul:?}").contains("s3cret"));
        consul.list().await.unwrap();
        fake.asked().pop().unwrap()
    };
    let asked = ask("http://:s3cret@agent/a/b%20c/").await;
    assert_eq!(asked.token.as_deref(), Some("s3cret"));
    assert_eq!(asked.line, "GET /a/b%20c/v1/catalog/services?stale");
    let asked = ask("http://user:s3cret@agent").await;
    assert_eq!(asked.token, None);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_may_be_as_long_as_it_can_be() {
    let fake = Fake::script([Reply::Say(200, Some(1), "[]".into())]);
    let consul = consul(&fake).timeout(Duration::MAX);
    assert!(consul.get("a").await.unwrap().is_empty());
}
