//! Our picker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use micro_runtime::registry::{Node, Service};
use micro_runtime::selector::{
    CallInfo, P2c, Pick, Picker, Random, RoundRobin, Strategy, Weighted,
};

use super::{BATCH, Picks, measure, timed};
use crate::Result;

pub(super) struct Ours {
    picker: Picker,
    held: Vec<Pick>,
    /// Each pick reads the clock itself.
    clock: bool,
}

/// How long an update took.
pub(super) struct Update {
    pub(super) new: Duration,
    pub(super) same: Duration,
    /// The longest pick that another thread made meanwhile.
    pub(super) longest_pick: Duration,
}

fn call() -> CallInfo<'static> {
    CallInfo::new("greeter", "/greeter.Greeter/Hello")
}

/// A service with so many nodes, some of them of another weight.
fn service(nodes: usize, of: &str) -> Vec<Service> {
    let nodes = (0..nodes).map(|n| Node {
        id: format!("greeter-{of}-{n}"),
        address: format!("10.{}.{}.{}:5000", n >> 16 & 255, n >> 8 & 255, n & 255),
        metadata: [("weight".to_owned(), (1 + n % 3).to_string())].into(),
    });
    vec![Service {
        name: "greeter".to_owned(),
        version: "latest".to_owned(),
        nodes: nodes.collect(),
        ..Service::default()
    }]
}

/// A picker of which every node has answered some calls.
fn picker(strategy: &str, nodes: usize) -> Result<Picker> {
    let strategy: Arc<dyn Strategy> = match strategy {
        "p2c" => Arc::new(P2c),
        "random" => Arc::new(Random),
        "round_robin" => Arc::new(RoundRobin),
        "weighted" => Arc::new(Weighted),
        other => return Err(format!("there is no strategy {other}").into()),
    };
    let picker = Picker::new(strategy);
    picker.update(service(nodes, "a"));
    for _ in 0..8 * nodes {
        picker.pick(&call())?.succeeded();
    }
    Ok(picker)
}

// ===== impl Ours =====

impl Ours {
    pub(super) fn new(strategy: &str, nodes: usize, aside: usize) -> Result<Ours> {
        let picker = picker(strategy, nodes)?;
        for _ in 0..aside {
            picker.pick(&call())?.unreachable();
        }
        Ok(Ours {
            picker,
            held: Vec::with_capacity(BATCH),
            clock: false,
        })
    }

    pub(super) fn with_clock(self) -> Ours {
        Ours {
            clock: true,
            ..self
        }
    }
}

impl Picks for Ours {
    fn batch(&mut self) -> (Duration, u64) {
        let Ours {
            picker,
            held,
            clock,
        } = self;
        let (call, clock) = (call(), *clock);
        let timed = timed(held, |now| {
            let call = if clock { call } else { call.at(now) };
            picker.pick(&call).ok()
        });
        for pick in held.drain(..) {
            // A node that comes back for its probe goes aside again.
            match pick.is_probe() {
                true => pick.unreachable(),
                false => pick.succeeded(),
            }
        }
        timed
    }
}

/// Nanoseconds a pick while another thread picks from the same nodes.
pub(super) fn on_two_threads(nodes: usize, picks: usize) -> Result<f64> {
    let picker = picker("p2c", nodes)?;
    let run = |picker: Picker| {
        let mut ours = Ours {
            picker,
            held: Vec::with_capacity(BATCH),
            clock: false,
        };
        measure(&mut ours, picks).0
    };
    let other = picker.clone();
    thread::scope(|scope| {
        let other = scope.spawn(move || run(other));
        let this = run(picker);
        let other = other.join().map_err(|_| "a thread panicked")?;
        Ok(f64::midpoint(this, other))
    })
}

/// Updates while another thread picks.
pub(super) fn update(nodes: usize) -> Result<Update> {
    let picker = picker("p2c", nodes)?;
    let (before, after) = (service(nodes, "a"), service(nodes, "b"));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let picks = scope.spawn(|| {
            let mut longest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                if let Ok(pick) = picker.pick(&call()) {
                    longest = longest.max(start.elapsed());
                    pick.succeeded();
                }
            }
            longest
        });
        let start = Instant::now();
        picker.update(before);
        let same = start.elapsed();
        let start = Instant::now();
        picker.update(after);
        let new = start.elapsed();
        stop.store(true, Ordering::Relaxed);
        let longest_pick = picks.join().map_err(|_| "a thread panicked")?;
        Ok(Update {
            new,
            same,
            longest_pick,
        })
    })
}
