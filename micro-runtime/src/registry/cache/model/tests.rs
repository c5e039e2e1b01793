use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NODES: usize = 8;

#[derive(Clone, Debug)]
enum Step {
    /// An answer with the nodes whose bits are set, some of them in a second version.
    Answer(u8, u8),
    Came(usize),
    Left(usize),
    Fate(usize, u8),
    Advance(u64),
    Prune,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (any::<u8>(), any::<u8>()).prop_map(|(bits, second)| Step::Answer(bits, second)),
        1 => Just(Step::Answer(0, 0)),
        2 => (0..NODES).prop_map(Step::Came),
        2 => (0..NODES).prop_map(Step::Left),
        3 => (0..NODES, 0..3u8).prop_map(|(node, fate)| Step::Fate(node, fate)),
        2 => (0..200u64).prop_map(Step::Advance),
        1 => Just(Step::Prune),
    ]
}

fn service(version: &str, nodes: impl IntoIterator<Item = usize>) -> Service {
    Service {
        version: version.into(),
        nodes: nodes
            .into_iter()
            .map(|n| Node {
                id: n.to_string(),
                address: format!("10.0.0.7:{n}"),
                ..Node::default()
            })
            .collect(),
        ..Service::default()
    }
}

fn known(model: &Model) -> BTreeSet<usize> {
    let nodes = model.nodes().into_iter();
    nodes.map(|known| known.node.id.parse().unwrap()).collect()
}

proptest! {
    /// After an answer: what it names is there; what is there besides was there before, can be reached as
    /// far as anyone knows, and was left out for less than the grace; and two living nodes or more never
    /// become none. After an event, exactly its nodes have come or gone.
    #[test]
    fn answers_add_and_events_remove(steps in proptest::collection::vec(step(), 1..60)) {
        let mut now = Instant::now();
        let mut model = Model::default();
        let mut fates = [Fate::Unknown; NODES];
        let mut left_out: BTreeMap<usize, Instant> = BTreeMap::new();
        for step in steps {
            let before = known(&model);
            let fate = |node: &Node| fates[node.id.parse::<usize>().unwrap()];
            match step {
                Step::Answer(bits, second) => {
                    let named: BTreeSet<usize> =
                        (0..NODES).filter(|n| bits >> n & 1 == 1).collect();
                    let in_second = |n: &usize| second >> n & 1 == 1;
                    let services = vec![
                        service("1", named.iter().copied().filter(|n| !in_second(n))),
                        service("2", named.iter().copied().filter(in_second)),
                    ];
                    model.answer(services, now, &fate);
                    let after = known(&model);
                    prop_assert!(named.is_subset(&after));
                    for n in &named {
                        left_out.remove(n);
                    }
                    for n in after.difference(&named) {
                        prop_assert!(before.contains(n));
                        prop_assert!(fates[*n] != Fate::Dead);
                        let since = *left_out.entry(*n).or_insert(now);
                        prop_assert!(now - since < GRACE);
                    }
                    if named.is_empty() && before.len() >= 2 {
                        let stays = |n: &usize| {
                            let kept = left_out.get(n).is_none_or(|since| now - *since < GRACE);
                            kept && fates[*n] != Fate::Dead
                        };
                        prop_assert_eq!(&after, &before.iter().copied().filter(stays).collect());
                    }
                    for known in model.nodes() {
                        let n: usize = known.node.id.parse().unwrap();
                        if named.contains(&n) {
                            let version = if in_second(&n) { "2" } else { "1" };
                            prop_assert_eq!(&known.service.version, version);
                        }
                    }
                    left_out.retain(|n, _| after.contains(n));
                }
                Step::Came(n) => {
                    let event = Event { action: Action::Create, service: service("1", [n]) };
                    let changed = model.event(event.clone(), now, &fate);
                    prop_assert!(changed || before.contains(&n));
                    prop_assert!(!model.event(event, now, &fate), "the same again is no change");
                    let mut expected = before;
                    expected.insert(n);
                    prop_assert_eq!(known(&model), expected);
                    left_out.remove(&n);
                }
                Step::Left(n) => {
                    // Each by itself; of many at once, the next test.
                    now += BURST + Duration::from_millis(1);
                    let event = Event { action: Action::Delete, service: service("1", [n]) };
                    prop_assert_eq!(model.event(event, now, &fate), before.contains(&n));
                    let mut expected = before;
                    expected.remove(&n);
                    prop_assert_eq!(known(&model), expected);
                    left_out.remove(&n);
                }
                Step::Fate(n, fate) => {
                    fates[n] = [Fate::Unknown, Fate::Alive, Fate::Dead][usize::from(fate)];
                }
                Step::Advance(seconds) => now += Duration::from_secs(seconds),
                Step::Prune => {
                    model.prune(now, &fate);
                    let expected: BTreeSet<usize> = before
                        .into_iter()
                        .filter(|n| match left_out.get(n) {
                            None => true,
                            Some(since) => now - *since < GRACE && fates[*n] != Fate::Dead,
                        })
                        .collect();
                    prop_assert_eq!(known(&model), expected.clone());
                    left_out.retain(|n, _| expected.contains(n));
                }
            }
            prop_assert_eq!(model.keeps_any(), !left_out.is_empty());
            prop_assert!(model.versions.len() <= model.records.len() + 1);
        }
    }
}

#[test]
fn what_a_registry_floods_is_cut() {
    let mut model = Model::default();
    let unknown = |_: &Node| Fate::Unknown;
    model.answer(
        vec![service("1", 0..MAX_NODES + 10)],
        Instant::now(),
        &unknown,
    );
    assert_eq!(model.nodes().len(), MAX_NODES);
    let event = Event {
        action: Action::Create,
        service: service("1", MAX_NODES..MAX_NODES + 10),
    };
    assert!(!model.event(event, Instant::now(), &unknown));
    assert_eq!(model.nodes().len(), MAX_NODES);
}

#[test]
fn a_burst_of_deletions_is_believed_of_the_dead_alone() {
    let now = Instant::now();
    let fate = |node: &Node| match node.id.as_str() {
        "0" | "1" => Fate::Dead,
        "2" => Fate::Unknown,
        _ => Fate::Alive,
    };
    let deleted = |nodes: &[usize]| Event {
        action: Action::Delete,
        service: service("1", nodes.iter().copied()),
    };
    // One event for all, one event each, and one that names no node.
    let all: Vec<usize> = (0..NODES).collect();
    for events in [
        vec![all.clone()],
        all.iter().map(|n| vec![*n]).collect(),
        vec![vec![]],
    ] {
        let mut model = Model::default();
        model.answer(vec![service("1", 0..NODES)], now, &fate);
        for (passed, nodes) in events.iter().enumerate() {
            let at = now + Duration::from_millis(10 * passed as u64);
            assert!(model.event(deleted(nodes), at, &fate));
        }
        assert_eq!(known(&model), (2..NODES).collect(), "{events:?}");
        assert!(model.keeps_any());
        // Who comes back is a node as any other, and who is silent goes in time.
        let back = Event {
            action: Action::Create,
            service: service("1", [3]),
        };
        model.event(back, now, &fate);
        model.prune(now + 2 * GRACE, &fate);
        assert_eq!(known(&model), BTreeSet::from([3]));
    }
    // Half of them, or all of them one after the other, are stopped.
    for (step, left) in [(Duration::ZERO, 4..8), (2 * BURST, 8..8)] {
        let mut model = Model::default();
        model.answer(vec![service("1", 0..NODES)], now, &fate);
        let gone = if step.is_zero() { 4 } else { NODES };
        for n in 0..gone {
            let at = now + step * u32::try_from(n).unwrap();
            assert!(model.event(deleted(&[n]), at, &fate));
        }
        assert_eq!(known(&model), left.collect());
    }
}
