//! What goes wrong, when, and for how long: all of it by the seed.

use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::registry::{self, Script};
use super::world::{Mood, World};

/// For so long faults begin; all of them have ended after twice that time.
pub(super) const FAULTS: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A node is unwell for a time. `told`: the registry knows while it is crashed.
    Node {
        mood: Mood,
        told: bool,
    },
    /// A node leaves and joins.
    Flaps,
    /// Another address takes its place.
    Moves,
    Goodbye,
    Registry(registry::Mood),
}

fn any(rng: &mut Rng) -> Fault {
    let node = |mood, told| Fault::Node { mood, told };
    match rng.u32(0..13) {
        0 => node(Mood::Crashed, false),
        1 => node(Mood::Crashed, true),
        2 | 3 => node(Mood::Cut, rng.bool()),
        4 => node(Mood::Slow(Duration::from_millis(rng.u64(20..500))), false),
        5 => node(Mood::Refuses, false),
        6 => {
            let pushbacks = [None, Some("-1"), Some("30"), Some("2000"), Some("?")];
            node(Mood::Busy(pushbacks[rng.usize(0..5)]), false)
        }
        7 => node(Mood::Drops, false),
        8 => Fault::Flaps,
        9 => Fault::Moves,
        10 => Fault::Goodbye,
        11 => Fault::Registry(match rng.bool() {
            true => registry::Mood::Fails,
            false => registry::Mood::Hangs,
        }),
        _ => Fault::Registry(registry::Mood::Forgets),
    }
}

/// Lets faults happen, then mends everything. Resolves when all is well.
pub(super) async fn happen(rng: &mut Rng, world: &World, script: &Script) {
    let start = Instant::now();
    let millis = |rng: &mut Rng, range| Duration::from_millis(rng.u64(range));
    let mut faults = JoinSet::new();
    let mut moved = 0;
    for _ in 0..rng.u32(2..12) {
        let most = u64::try_from(FAULTS.as_millis()).unwrap();
        let at = start + millis(rng, 0..most);
        let time = millis(rng, 50..most);
        let fault = any(rng);
        let nodes = script.truth();
        let node = nodes[rng.usize(0..nodes.len())].clone();
        moved += 1;
        let place = format!("moved-{moved}:1");
        let (world, script) = (world.clone(), script.clone());
        faults.spawn(async move {
            sleep_until(at).await;
            world.trace(format!("{fault:?} of {node} for {time:?}"));
            happens(fault, &node, &place, time, &world, &script).await;
        });
    }
    while faults.join_next().await.is_some() {}
    script.mood(registry::Mood::Works);
    for node in script.truth() {
        world.mood(&node, Mood::Well);
    }
    world.trace("all is well again");
}

async fn happens(
    fault: Fault,
    node: &str,
    place: &str,
    time: Duration,
    world: &World,
    script: &Script,
) {
    match fault {
        Fault::Node { mood, told } => {
            world.mood(node, mood);
            if told {
                script.leave(node);
            }
            sleep(time).await;
            world.mood(node, Mood::Well);
            if told {
                script.join(node);
            }
        }
        Fault::Flaps => {
            let end = Instant::now() + time;
            while Instant::now() < end {
                script.leave(node);
                sleep(Duration::from_millis(200)).await;
                script.join(node);
                sleep(Duration::from_millis(200)).await;
            }
        }
        Fault::Moves => {
            world.add(place);
            script.join(place);
            sleep(Duration::from_millis(100)).await;
            script.leave(node);
            world.mood(node, Mood::Crashed);
        }
        Fault::Goodbye => world.goodbye(node),
        Fault::Registry(mood) => {
            world.trace(format!("the registry {mood:?}"));
            script.mood(mood);
            sleep(time).await;
            script.mood(registry::Mood::Works);
        }
    }
}
