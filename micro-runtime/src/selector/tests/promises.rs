//! What holds whatever happens: a property test, and many threads at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{TTL, by_name, call, id, ready, service};
use crate::registry::cache::Known;
use crate::registry::{Node, Registry, Service};
use crate::selector::core::{Core, Source};
use crate::selector::node::Clock;
use crate::selector::table::Make;
use crate::selector::{Balancer, Choice, Failure, Filter, Picked, Tried, pick};

#[derive(Clone, Debug)]
enum Op {
    /// A pick that avoids these nodes, by the strategy and the filter of these numbers; what becomes of it.
    Pick(u16, usize, usize, u8),
    /// One of the calls under way ends: which, and how.
    End(usize, u8),
    Connected(usize),
    Advance(u16),
}

fn ops() -> impl proptest::strategy::Strategy<Value = Vec<Op>> {
    use proptest::prelude::*;
    let op = prop_oneof![
        6 => (any::<u16>(), 0..3usize, 0..3usize, 0..8u8)
            .prop_map(|(tried, strategy, filter, end)| Op::Pick(tried, strategy, filter, end)),
        2 => (any::<usize>(), 0..6u8).prop_map(|(call, end)| Op::End(call, end)),
        1 => any::<usize>().prop_map(Op::Connected),
        2 => (0..3000u16).prop_map(Op::Advance),
    ];
    proptest::collection::vec(op, 1..120)
}

fn end(picked: Picked<()>, how: u8) {
    match how {
        0 | 1 => picked.failed(Failure::Connection),
        2 => picked.failed(Failure::Lost),
        3 => drop(picked),
        4 => picked.failed(Failure::Answered),
        _ => picked.succeeded(),
    }
}

/// Whatever the calls meet: no pick goes to a node that is filtered out or tried, or that is put aside unless
/// it is its one probe or more than half are ill; and as long as there is a node to go to, one is picked.
async fn holds_what_a_pick_promises(nodes: usize, ops: Vec<Op>) {
    let known = |n: usize| Known {
        node: Arc::new(Node {
            id: format!("n{n}"),
            address: format!("10.0.0.7:{n}"),
            metadata: [("even".to_owned(), n.is_multiple_of(2).to_string())].into(),
        }),
        service: Arc::new(Service::default()),
    };
    let known = (0..nodes).map(known).collect();
    let make: Make<()> = Arc::new(|| ());
    let core: Arc<Core<()>> = Core::new(
        &"s".into(),
        "none",
        Source::Fixed(known),
        Clock::start(),
        &make,
    );
    core.update();
    let filters: [Box<[Filter]>; 3] = [
        Box::default(),
        Box::new([Filter::label("even", "true")]),
        Box::new([Filter::label("even", "false")]),
    ];
    let balancers: Vec<Vec<Arc<Balancer<()>>>> = ["random", "round_robin", "p2c"]
        .iter()
        .map(|name| {
            let of = |f: &[Filter]| core.balancer(Choice::of(f), by_name(name));
            filters.iter().map(|f| of(f)).collect()
        })
        .collect();
    let all = balancers[0][0].slots();
    let mut calls: Vec<Picked<()>> = Vec::new();
    let mut last_probe: HashMap<String, Instant> = HashMap::new();
    for op in ops {
        match op {
            Op::Pick(mask, strategy, filter, how) => {
                let mut tried = Tried::default();
                let mut avoid = Vec::new();
                for (n, slot) in all.iter().enumerate() {
                    if mask >> n & 1 == 1 && mask & 0x8000 != 0 {
                        let visit = Picked::new(Arc::clone(slot), Instant::now(), pick::Kind::Well);
                        tried.add(&visit);
                        avoid.push(n);
                    }
                }
                let balancer = &balancers[strategy][filter];
                let kept = |n: &usize| filter == 0 || n.is_multiple_of(2) == (filter == 1);
                let members: Vec<usize> = (0..nodes).filter(kept).collect();
                let ill = |n: &&usize| all[**n].is_aside();
                let ill_members = members.iter().filter(ill).count();
                let open: Vec<usize> = members
                    .iter()
                    .copied()
                    .filter(|n| !avoid.contains(n))
                    .collect();
                let well = open.iter().any(|n| !all[*n].is_aside());
                let was_aside: Vec<bool> = all.iter().map(|slot| slot.is_aside()).collect();
                match balancer.pick(&call().with_tried(&tried)) {
                    Ok(picked) => {
                        let slot = picked.slot();
                        let n = all
                            .iter()
                            .position(|other| Arc::ptr_eq(other, slot))
                            .unwrap();
                        assert!(open.contains(&n), "{n} is not of {open:?}");
                        if picked.is_probe() {
                            let now = Instant::now();
                            if let Some(last) = last_probe.insert(id(&picked), now) {
                                assert!(now - last >= Duration::from_secs(1));
                            }
                        } else if was_aside[n] {
                            // The pick itself may have put a mute node aside, and then looked again.
                            let ill_now = members.iter().filter(ill).count();
                            let ill = ill_members.max(ill_now);
                            assert!(ill > members.len() / 2, "{n} is aside");
                        }
                        if how < 6 {
                            end(picked, how);
                        } else {
                            calls.push(picked);
                        }
                    }
                    Err(none) => {
                        let still = open.iter().any(|n| !all[*n].is_aside());
                        assert!(!well || !still, "{none}, but {open:?} of which one is well");
                        assert!(open.len() <= members.len() / 2, "{none}, but {open:?}");
                    }
                }
            }
            Op::End(call, how) if !calls.is_empty() => {
                let call = calls.swap_remove(call % calls.len());
                end(call, how);
            }
            Op::End(..) => {}
            Op::Connected(n) => {
                let slot = &all[n % nodes];
                slot.connected();
                // What it is dialled for: the next call is the probe.
                last_probe.remove(&slot.node().id);
            }
            Op::Advance(millis) => tokio::time::advance(Duration::from_millis(millis.into())).await,
        }
        let in_flight: u32 = all.iter().map(|slot| slot.state().load.in_flight()).sum();
        assert_eq!(in_flight as usize, calls.len());
    }
}

proptest::proptest! {
    #[test]
    fn a_pick_keeps_its_promises(nodes in 1..12usize, ops in ops()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(holds_what_a_pick_promises(nodes, ops));
    }
}

/// Threads pick, fail and recover while the registry changes: nothing is lost or counted twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn picks_from_many_threads_while_everything_changes() {
    let (registry, selector, balancer) = ready("p2c", &["a", "b", "c", "d"]).await;
    let mut calls = tokio::task::JoinSet::new();
    for task in 0..8 {
        let balancer = Arc::clone(&balancer);
        calls.spawn(async move {
            for n in 0..5_000 {
                let picked = balancer.pick(&call()).unwrap();
                match (n + task) % 11 {
                    0 => picked.failed(Failure::Connection),
                    1 => picked.slot().connected(),
                    2 => drop(picked),
                    _ => picked.succeeded(),
                }
                if n % 100 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    for n in 0..50 {
        let extra = service(&[&format!("n{}", n % 5)]);
        registry.register(&extra, TTL).await.unwrap();
        tokio::task::yield_now().await;
        registry.deregister(&extra).await.unwrap();
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    // What was left is consistent: nothing in flight, and the snapshot follows the health of the nodes.
    let aside = balancer
        .slots()
        .iter()
        .filter(|slot| slot.is_aside())
        .count();
    let none = |tried| {
        balancer
            .pick(&call().with_tried(tried))
            .unwrap_err()
            .to_string()
    };
    let mut tried = Tried::default();
    for slot in balancer.slots() {
        assert_eq!(slot.state().load.in_flight(), 0);
        tried.add(&Picked::new(slot, Instant::now(), pick::Kind::Well));
    }
    let nodes = balancer.seen();
    assert!(
        none(&tried).contains(&format!("{} put aside", aside.min(nodes / 2))),
        "{aside} of {nodes}: {}",
        none(&tried)
    );
    drop(selector);
}
