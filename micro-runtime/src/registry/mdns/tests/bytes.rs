//! The packets of a go-micro v2.9.1 program, read and written, and packets that nobody should send.
//!
//! Service `greeter`, version `latest`, node `greeter-1` at 127.0.0.1:9090 with the metadata `protocol=grpc`, on
//! the machine `host1`.

use proptest::prelude::*;

use super::super::heard::{instances, listed};
use super::super::name::Name;
use super::super::records::{Instance, TTL, enumeration_reply, query};
use super::super::txt::Text;
use super::super::wire::{
    A, AAAA, ANY, CLASS_TOP_BIT, Data, IN, Message, PTR, Question, Record, SRV, TXT,
};

const QUERY: &str = "9d2f000000010000000000000767726565746572056d6963726f00000c0001";

const REPLY: &str = "0000840000010004000000000767726565746572056d6963726f00000c0001c00c000c000100000078000c0967726565\
     7465722d31c00cc02b0021000100000078000d000a0001238205686f73743100c049000100010000007800047f000001\
     c02b001000010000007800b5b43738396331636363623130393033333130633035643035643765656430396434613734\
     633135343832663763396636303130393239313935333463366262303736653831623766313632666534363237303439\
     663234386238393836333737333864373030383463386261626430663066303662633666303561313066663961333533\
     633539376136393239363436333636353466346230316239393164653766633033303030306666666634336362316539\
     37";

const LIST_QUERY: &str = "daf800000001000000000000095f7365727669636573056d6963726f00000c0001";

const LIST_REPLY: &str = "000084000001000400000000095f7365727669636573056d6963726f00000c0001c00c000c000100000078000a076772\
     6565746572c00cc02d0021000100000078000d000a0001270f05686f73743100c0490001000100000078000400000000\
     c02d00100001000000780000";

const ANNOUNCEMENT: &str = "00008000000000030000000009677265657465722d310767726565746572056d6963726f000021000100000078000d00\
     0a0001238205686f7374310005686f73743100000100010000007800047f00000109677265657465722d310767726565\
     746572056d6963726f00001000010000007800b5b4373839633163636362313039303333313063303564303564376565\
     643039643461373463313534383266376339663630313039323931393533346336626230373665383162376631363266\
     653436323730343966323438623839383633373733386437303038346338626162643066306630366263366630356131\
     306666396133353363353937613639323936343633363635346634623031623939316465376663303330303030666666\
     663433636231653937";

const PROBE: &str = "76380000000100000002000009677265657465722d310767726565746572056d6963726f00000c000109677265657465\
     722d310767726565746572056d6963726f000021000100000078000d00000000238205686f7374310009677265657465\
     722d310767726565746572056d6963726f00001000010000007800b5b437383963316363636231303930333331306330\
     356430356437656564303964346137346331353438326637633966363031303932393139353334633662623037366538\
     316237663136326665343632373034396632343862383938363337373338643730303834633862616264306630663036\
     626336663035613130666639613335336335393761363932393634363336363534663462303162393931646537666330\
     3330303030666666663433636231653937";

const TEXT: &str = "789c1cccb10903310c05d05d7eed09d4a74c15482f7c9f601092919534c6bb076e81b7f162fe4627049f24\
                    8b898637738d70084c8babd0f0f06bc6f05a10ff9a353c597a692964636654f4b01b991de7fc030000ffff\
                    43cb1e97";

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap();
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    assert!(rest.is_empty());
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(digit(*high) << 4 | digit(*low)).unwrap())
        .collect()
}

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn greeter() -> Instance {
    let mut text = vec![0xb4];
    text.extend_from_slice(TEXT.as_bytes());
    Instance {
        service: name("greeter.micro"),
        name: name("greeter-1.greeter.micro"),
        host: name("host1"),
        address: "127.0.0.1:9090".parse().unwrap(),
        text,
    }
}

fn list_entry() -> Instance {
    let entry = name("greeter._services.micro");
    Instance::list_entry(&name("_services.micro"), entry, name("host1"))
}

fn ask(text: &str, kind: u16) -> Question {
    Question::new(name(text), kind)
}

#[test]
fn queries_are_those_of_go() {
    assert_eq!(query(0x9d2f, &name("greeter.micro")), bytes(QUERY));
    assert_eq!(query(0xdaf8, &name("_services.micro")), bytes(LIST_QUERY));
}

#[test]
fn replies_are_those_of_go() {
    let packet = bytes(QUERY);
    let asked = Message::parse(&packet).unwrap();
    let reply = greeter().reply(asked.id, &asked.questions[0]).unwrap();
    assert_eq!(reply, bytes(REPLY));
    let packet = bytes(LIST_QUERY);
    let asked = Message::parse(&packet).unwrap();
    let reply = list_entry().reply(asked.id, &asked.questions[0]).unwrap();
    assert_eq!(reply, bytes(LIST_REPLY));
}

#[test]
fn announcements_and_goodbyes_are_those_of_go() {
    let announcement = bytes(ANNOUNCEMENT);
    assert_eq!(greeter().announcement(TTL), announcement);
    let goodbye = ANNOUNCEMENT.replace("00000078", "00000000");
    assert_eq!(greeter().announcement(0), bytes(&goodbye));
}

#[test]
fn what_go_sends_is_read_and_written_back_byte_for_byte() {
    for (packet, compressed) in [
        (QUERY, true),
        (REPLY, true),
        (LIST_QUERY, true),
        (LIST_REPLY, true),
        (ANNOUNCEMENT, false),
        (PROBE, false),
    ] {
        let packet = bytes(packet);
        let message = Message::parse(&packet).unwrap();
        assert_eq!(message.write(compressed), packet);
    }
}

#[test]
fn what_go_sends_is_understood() {
    for packet in [bytes(REPLY), bytes(ANNOUNCEMENT)] {
        let message = Message::parse(&packet).unwrap();
        let heard = instances(&message, &name("micro"));
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].name, greeter().name);
        assert_eq!(heard[0].address, Some(greeter().address));
        assert_eq!(heard[0].ttl.as_secs(), 120);
        let text = Text::decode(heard[0].text.unwrap()).unwrap();
        assert_eq!(
            (text.service.as_str(), text.version.as_str()),
            ("greeter", "latest")
        );
        assert_eq!(text.metadata.unwrap()["protocol"], "grpc");
    }
    let packet = bytes(LIST_REPLY);
    let message = Message::parse(&packet).unwrap();
    assert_eq!(
        listed(&message, &name("_services.micro")),
        ["greeter".to_owned()].into()
    );
    assert_eq!(instances(&message, &name("micro"))[0].address, None);
    // A probe is a query: what it says in its authority section does not hold yet.
    let packet = bytes(PROBE);
    let message = Message::parse(&packet).unwrap();
    assert!(!message.is_response());
    assert_eq!(message.authorities.len(), 2);
    assert_eq!(instances(&message, &name("micro")), []);
}

#[test]
fn each_question_has_the_answer_that_go_gives() {
    let kinds = |question: Question| -> Option<Vec<u16>> {
        let packet = greeter().reply(7, &question)?;
        let message = Message::parse(&packet).unwrap();
        assert_eq!(message.id, 0);
        assert_eq!(message.questions, [question]);
        let kind = |record: &Record<'_>| match record.data {
            Data::A(_) => A,
            Data::Aaaa(_) => AAAA,
            Data::Ptr(_) => PTR,
            Data::Srv { .. } => SRV,
            Data::Txt(_) => TXT,
            Data::Other(kind, _) => kind,
        };
        Some(message.answers.iter().map(kind).collect())
    };
    let (service, instance) = ("greeter.micro", "greeter-1.greeter.micro");
    let whole = Some(vec![PTR, SRV, A, TXT]);
    assert_eq!(kinds(ask(service, PTR)), whole);
    assert_eq!(kinds(ask(service, ANY)), whole);
    assert_eq!(kinds(ask(service, SRV)), None);
    assert_eq!(kinds(ask(instance, ANY)), Some(vec![SRV, A, TXT]));
    assert_eq!(kinds(ask(instance, SRV)), Some(vec![SRV, A]));
    assert_eq!(kinds(ask(instance, TXT)), Some(vec![TXT]));
    assert_eq!(kinds(ask(instance, A)), Some(vec![A]));
    assert_eq!(kinds(ask(instance, AAAA)), None);
    assert_eq!(kinds(ask(instance, PTR)), None);
    assert_eq!(kinds(ask("host1", A)), Some(vec![A]));
    assert_eq!(kinds(ask("host1", ANY)), None);
    assert_eq!(kinds(ask("other.micro", PTR)), None);
    assert_eq!(kinds(ask("Greeter.micro", PTR)), None, "names have cases");
}

#[test]
fn an_id_comes_back_only_where_unicast_was_asked_for() {
    let mut question = ask("greeter.micro", PTR);
    question.class |= CLASS_TOP_BIT;
    let reply = greeter().reply(0x1234, &question).unwrap();
    let message = Message::parse(&reply).unwrap();
    assert_eq!(message.id, 0x1234);
    assert_eq!(message.questions, [question]);
}

#[test]
fn ipv6_goes_into_aaaa() {
    let mut instance = greeter();
    instance.address = "[fd00::7]:9090".parse().unwrap();
    let packet = instance.announcement(TTL);
    let message = Message::parse(&packet).unwrap();
    let heard = instances(&message, &name("micro"));
    assert_eq!(heard[0].address, Some(instance.address));
    assert!(matches!(message.answers[1].data, Data::Aaaa(_)));
}

#[test]
fn the_kinds_of_service_are_told() {
    let question = ask("_services._dns-sd._udp.micro", PTR);
    let packet = enumeration_reply(0, &question, &name("greeter.micro"));
    let message = Message::parse(&packet).unwrap();
    assert_eq!(message.answers.len(), 1);
    assert_eq!(message.answers[0].data, Data::Ptr(name("greeter.micro")));
}

// ===== packets that nobody should send =====

/// A header with these counts, and a body.
fn packet(counts: [u16; 4], body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0, 0, 0x84, 0];
    for count in counts {
        packet.extend_from_slice(&count.to_be_bytes());
    }
    packet.extend_from_slice(body);
    packet
}

fn fails(packet: &[u8], why: &str) {
    let error = Message::parse(packet).unwrap_err().to_string();
    assert!(error.contains(why), "{error:?} instead of {why:?}");
}

#[test]
fn pointers_must_point_back() {
    // Each stands at offset 12: to itself, forward, and two that point to each other.
    fails(
        &packet([1, 0, 0, 0], b"\xc0\x0c\0\x0c\0\x01"),
        "does not point back",
    );
    fails(
        &packet([1, 0, 0, 0], b"\xc0\x0e\0\x0c\0\x01\0"),
        "does not point back",
    );
    fails(
        &packet([1, 0, 0, 0], b"\x01a\xc0\x0c\0\x0c\0\x01"),
        "does not point back",
    );
    fails(
        &packet(
            [2, 0, 0, 0],
            b"\x01a\0\0\x0c\0\x01\x01b\xc0\x13\0\x0c\0\x01",
        ),
        "does not point back",
    );
    // A long chain of pointers, each one back, ends.
    let mut body = b"\x01a\0\0\x0c\0\x01".to_vec();
    let mut at = 12_u16;
    for _ in 0..200 {
        let next = u16::try_from(12 + body.len()).unwrap();
        body.extend_from_slice(b"\x01b");
        body.extend_from_slice(&(0xc000 | at).to_be_bytes());
        body.extend_from_slice(b"\0\x0c\0\x01");
        at = next;
    }
    fails(&packet([201, 0, 0, 0], &body), "longer than 255 bytes");
    let message = packet([100, 0, 0, 0], &body);
    let message = Message::parse(&message).unwrap();
    assert_eq!(message.questions[99].name.labels().count(), 100);
}

#[test]
fn lengths_must_hold() {
    fails(b"", "ends early");
    fails(&packet([0; 4], b"")[..11], "ends early");
    fails(&packet([1, 0, 0, 0], b""), "past the end");
    fails(&packet([1, 0, 0, 0], b"\x05abc"), "past the end");
    fails(&packet([1, 0, 0, 0], b"\x01a\0\0\x0c\0"), "ends early");
    fails(
        &packet([1, 0, 0, 0], b"\x41a\0\0\x0c\0\x01"),
        "label's type",
    );
    fails(&packet([u16::MAX; 4], b""), "more than 512");
    let record = |kind: u16, data: &[u8], length: u16| {
        let mut body = b"\x01a\0".to_vec();
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(b"\0\x01\0\0\0\x78");
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(data);
        packet([0, 1, 0, 0], &body)
    };
    fails(&record(TXT, b"\x01a", 3), "ends early");
    fails(&record(A, b"\x7f\0\0\x01\0", 5), "does not match");
    fails(&record(A, b"\x7f\0", 2), "ends early");
    fails(&record(AAAA, &[0; 17], 17), "does not match");
    fails(
        &record(SRV, b"\0\0\0\0\0\x50\x01h\0x", 10),
        "does not match",
    );
    fails(&record(PTR, b"\x01h\0", 2), "does not match");
    let empty = record(TXT, b"", 0);
    let message = Message::parse(&empty).unwrap();
    assert_eq!(message.answers[0].data, Data::Txt(b""));
    let unknown = record(47, b"\xff\xff\xff", 3);
    let message = Message::parse(&unknown).unwrap();
    assert_eq!(message.answers[0].data, Data::Other(47, b"\xff\xff\xff"));
}

fn any_name() -> impl Strategy<Value = Name> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6).prop_map(|labels| {
        let mut name = Name::default();
        labels.iter().for_each(|label| name.push(label).unwrap());
        name
    })
}

/// A record without borrowed data: its owner, TTL, class, and a choice of data.
fn any_record() -> impl Strategy<Value = Record<'static>> {
    let data = prop_oneof![
        any::<[u8; 4]>().prop_map(|bytes| Data::A(bytes.into())),
        any::<[u8; 16]>().prop_map(|bytes| Data::Aaaa(bytes.into())),
        any_name().prop_map(Data::Ptr),
        (any::<u16>(), any::<u16>(), any::<u16>(), any_name()).prop_map(
            |(priority, weight, port, target)| Data::Srv {
                priority,
                weight,
                port,
                target
            }
        ),
        prop::sample::select(vec![&b""[..], b"\0", b"\x03abc", b"\x01a\x02bc"]).prop_map(Data::Txt),
        Just(Data::Other(47, b"\xc0\x00")),
    ];
    (any_name(), any::<u32>(), data).prop_map(|(name, ttl, data)| Record {
        name,
        class: IN,
        ttl,
        data,
    })
}

fn any_message() -> impl Strategy<Value = Message<'static>> {
    let question = (any_name(), any::<u16>(), any::<u16>())
        .prop_map(|(name, kind, class)| Question { name, kind, class });
    let records = || prop::collection::vec(any_record(), 0..5);
    (
        any::<u16>(),
        any::<u16>(),
        prop::collection::vec(question, 0..3),
        records(),
        records(),
        records(),
    )
        .prop_map(
            |(id, flags, questions, answers, authorities, additionals)| Message {
                id,
                flags,
                questions,
                answers,
                authorities,
                additionals,
            },
        )
}

/// Reads whatever it is as a listener does.
fn listen(packet: &[u8]) {
    if let Ok(message) = Message::parse(packet) {
        for question in &message.questions {
            let _ = greeter().reply(message.id, question);
        }
        let _ = listed(&message, &name("_services.micro"));
        for heard in instances(&message, &name("micro")) {
            let _ = heard.text.map(Text::decode);
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in any_message(), compress: bool) {
        let packet = message.write(compress);
        prop_assert_eq!(Message::parse(&packet).unwrap(), message);
    }

    #[test]
    fn arbitrary_packets_do_no_harm(packet in prop::collection::vec(any::<u8>(), 0..400)) {
        listen(&packet);
    }

    #[test]
    fn mutated_packets_do_no_harm(
        which in prop::sample::select(vec![REPLY, LIST_REPLY, ANNOUNCEMENT, PROBE]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut packet = bytes(which);
        for (at, byte) in &changes {
            let at = at.index(packet.len());
            packet[at] = *byte;
        }
        listen(&packet);
        packet.truncate(cut.index(packet.len()));
        listen(&packet);
    }
}
