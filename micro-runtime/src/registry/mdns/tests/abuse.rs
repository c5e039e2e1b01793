//! Whatever comes in, in whatever order: no panic, no busy loop, no growth without a limit.

use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::super::engine::{Engine, Packet, Port, Prepared};
use super::super::lookup::Subject;
use super::super::name::Name;
use super::super::txt::Text;
use super::super::wire::{CLASS_TOP_BIT, Data, IN, Message, PTR, Question, Record};
use super::sim::service;
use crate::registry::{Action, Service};

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn engine() -> Engine {
    Engine::new(name("micro"), name("host1"), fastrand::Rng::with_seed(3)).unwrap()
}

fn prepared(service: &Service) -> Prepared {
    let node = service.nodes[0].clone();
    Prepared {
        address: node.address.parse().unwrap(),
        text: Text::new(service, &node).encode(),
        node,
    }
}

fn register(engine: &mut Engine, now: Instant, service: &Service) {
    let registration = engine.instance(service, prepared(service)).unwrap();
    engine.register(now, registration, Duration::from_secs(90));
}

/// The packets that an engine has to send.
fn packets(engine: &mut Engine) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| engine.next_packet())
        .map(|packet| match packet {
            Packet::Query(bytes) | Packet::Announcement(bytes) | Packet::Reply(_, bytes) => bytes,
        })
        .collect()
}

/// Everything that three nodes say in their lives: announcements, replies, queries, goodbyes.
fn sayings() -> Vec<Vec<u8>> {
    let (mut peer, now) = (engine(), Instant::now());
    let mut said = Vec::new();
    for (service_name, host) in [("a", 7), ("a", 8), ("go.b", 9)] {
        register(&mut peer, now, &service(service_name, host));
    }
    let asker = "10.0.0.5:4000".parse().unwrap();
    for asked in ["a", "go.b", "_services", "_services._dns-sd._udp", "a-7.a"] {
        let question = Question::new(name(asked).join(&name("micro")).unwrap(), PTR);
        let query = Message {
            questions: vec![question],
            ..Message::default()
        };
        let query = query.write(true);
        peer.receive(now, Port::Mdns, asker, &query);
        said.push(query);
    }
    for host in [7, 8] {
        peer.deregister(now, "a", &format!("a-{host}"));
    }
    said.extend(packets(&mut peer));
    assert!(said.len() > 12);
    said
}

#[derive(Clone, Debug)]
struct Blow {
    which: prop::sample::Index,
    changes: Vec<(prop::sample::Index, u8)>,
    port: Port,
    wait: u64,
}

fn blow() -> impl Strategy<Value = Blow> {
    let change = (any::<prop::sample::Index>(), any::<u8>());
    (
        any::<prop::sample::Index>(),
        prop::collection::vec(change, 0..3),
        prop::sample::select(vec![Port::Mdns, Port::Query]),
        prop::sample::select(vec![0, 1, 90, 1000, 30_000, 200_000]),
    )
        .prop_map(|(which, changes, port, wait)| Blow {
            which,
            changes,
            port,
            wait,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn mutated_conversations_do_no_harm(blows in prop::collection::vec(blow(), 1..40)) {
        let said = sayings();
        let (mut engine, mut now) = (engine(), Instant::now());
        let (events, mut heard) = mpsc::channel(10_000);
        engine.watch(now, None, events.clone()).unwrap();
        engine.watch(now, Some("a".into()), events).unwrap();
        register(&mut engine, now, &service("a", 8));
        let (reply, mut answer) = oneshot::channel();
        engine.look_up(now, Subject::Service("go.b".into()), reply);
        for blow in &blows {
            let mut packet = said[blow.which.index(said.len())].clone();
            for (at, byte) in &blow.changes {
                let at = at.index(packet.len());
                packet[at] = *byte;
            }
            engine.receive(now, blow.port, "10.0.0.7:5353".parse().unwrap(), &packet);
            engine.sent(1, None);
            packets(&mut engine);
            // What is due later is done in time, and never wants to be done again at the same time.
            let until = now + Duration::from_millis(blow.wait);
            while let Some(next) = engine.next_timeout().filter(|next| *next <= until) {
                prop_assert!(next >= now, "{next:?} is over at {now:?}");
                now = next;
                engine.timeout(now);
                prop_assert!(engine.next_timeout().is_none_or(|next| next > now));
            }
            now = until;
            packets(&mut engine);
        }
        now += Duration::from_secs(2);
        engine.timeout(now);
        prop_assert!(answer.try_recv().unwrap().is_ok());
        while let Ok(event) = heard.try_recv() {
            prop_assert_eq!(event.unwrap().service.nodes.len(), 1);
        }
    }
}

#[test]
fn a_flood_of_nodes_is_bounded() {
    let (mut engine, now) = (engine(), Instant::now());
    let (events, mut heard) = mpsc::channel(10_000);
    engine.watch(now, Some("a".into()), events).unwrap();
    let template = self::engine()
        .instance(&service("a", 7), prepared(&service("a", 7)))
        .unwrap();
    let flood = |engine: &mut Engine, number: u32| {
        let mut instance = template.instance.clone();
        instance.name = name(&format!("a-{number}.a.micro"));
        let packet = instance.announcement(120);
        engine.receive(now, Port::Mdns, "10.0.0.7:5353".parse().unwrap(), &packet);
    };
    for number in 0..5000 {
        flood(&mut engine, number);
    }
    let told = std::iter::from_fn(|| heard.try_recv().ok()).count();
    assert_eq!(told, 4096);
    // A node that is known is heard as ever.
    let mut changed = service("a", 7);
    changed.nodes[0].id = "a-17".into();
    changed.nodes[0].address = "10.0.0.9:9".into();
    let mut peer = self::engine();
    register(&mut peer, now, &changed);
    for packet in packets(&mut peer) {
        engine.receive(now, Port::Mdns, "10.0.0.7:5353".parse().unwrap(), &packet);
    }
    assert_eq!(heard.try_recv().unwrap().unwrap().action, Action::Update);
}

#[test]
fn what_nobody_wants_is_not_kept() {
    let (mut engine, now) = (engine(), Instant::now());
    for packet in sayings() {
        engine.receive(now, Port::Mdns, "10.0.0.7:5353".parse().unwrap(), &packet);
    }
    let (events, mut heard) = mpsc::channel(10);
    engine.watch(now, None, events).unwrap();
    assert!(heard.try_recv().is_err());
}

#[test]
fn a_node_says_of_itself_which_service_it_is_of_and_must_be_right() {
    let (mut engine, now) = (engine(), Instant::now());
    let (events, mut heard) = mpsc::channel(10);
    engine.watch(now, None, events).unwrap();
    let mut liar = prepared(&service("a", 7));
    liar.text = Text {
        service: "b".into(),
        version: "1".into(),
        ..Text::default()
    }
    .encode();
    let (mut peer, honest) = (self::engine(), service("a", 8));
    let lie = peer.instance(&service("a", 7), liar).unwrap();
    peer.register(now, lie, Duration::ZERO);
    register(&mut peer, now, &honest);
    for packet in packets(&mut peer) {
        engine.receive(now, Port::Mdns, "10.0.0.7:5353".parse().unwrap(), &packet);
    }
    assert_eq!(
        heard.try_recv().unwrap().unwrap().service.nodes,
        honest.nodes
    );
    assert!(heard.try_recv().is_err());
}

#[test]
fn the_texts_of_one_packet_share_a_limit() {
    use std::io::Write;

    // A megabyte of blanks in front of the JSON, as often as it fits: only the first is unpacked.
    let mut json = vec![b' '; 1_000_000];
    json.extend_from_slice(br#"{"Service":"a","Version":"1"}"#);
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    zlib.write_all(&json).unwrap();
    let packed = zlib.finish().unwrap();
    let digits: String = packed.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = Vec::new();
    for string in digits.as_bytes().chunks(255) {
        text.push(u8::try_from(string.len()).unwrap());
        text.extend_from_slice(string);
    }
    let mut answers = Vec::new();
    for number in 0..20 {
        let record = |owner: Name, data| Record {
            name: owner,
            class: IN | CLASS_TOP_BIT,
            ttl: 120,
            data,
        };
        let node = name(&format!("a-{number}.a.micro"));
        let srv = Data::Srv {
            priority: 0,
            weight: 0,
            port: 1,
            target: name("h"),
        };
        answers.push(record(node.clone(), srv));
        answers.push(record(name("h"), Data::A([10, 0, 0, 7].into())));
        answers.push(record(node, Data::Txt(&text)));
    }
    let message = Message {
        flags: 0x8400,
        answers,
        ..Message::default()
    };
    let packet = message.write(true);
    assert!(packet.len() < 65_535);
    let (mut engine, now) = (engine(), Instant::now());
    let (events, mut heard) = mpsc::channel(100);
    engine.watch(now, Some("a".into()), events).unwrap();
    engine.receive(now, Port::Mdns, "10.0.0.7:5353".parse().unwrap(), &packet);
    let told = std::iter::from_fn(|| heard.try_recv().ok()).count();
    assert_eq!(told, 1);
}
