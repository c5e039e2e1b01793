//! [`Picker`]: picking without a client.

use std::fmt;
use std::sync::Arc;

use super::balancer::Balancer;
use super::choice::Choice;
use super::core::{Core, Source};
use super::node::Clock;
use super::nodes::CallInfo;
use super::pick::{Failure, NO_REGISTRY, Picked};
use super::strategy::Strategy;
use super::table::Make;
use crate::registry::cache::Known;
use crate::registry::{Node, Service};
use crate::status::{Code, Result};

/// Picks among nodes as a client does for its calls, with their health and loads, but without a registry and
/// without connections: to test a [`Strategy`] or to measure it, and to balance what is no call.
///
/// A pick takes no lock and allocates nothing. Clones share everything.
///
/// ```
/// use micro_runtime::registry::{Node, Service};
/// use micro_runtime::selector::{CallInfo, P2c, Picker};
///
/// let picker = Picker::new(P2c);
/// let node = |n: u32| Node { id: n.to_string(), address: format!("10.0.0.{n}:5000"), ..Node::default() };
/// picker.update(vec![Service { nodes: vec![node(1), node(2)], ..Service::default() }]);
///
/// let pick = picker.pick(&CallInfo::new("greeter", "/Greeter/Hello"))?;
/// println!("to {}", pick.node().address);
/// pick.succeeded();
/// # Ok::<_, micro_runtime::Status>(())
/// ```
#[derive(Clone)]
pub struct Picker {
    core: Arc<Core<()>>,
    balancer: Arc<Balancer<()>>,
}

/// A node that was picked, which counts as a call under way until this is dropped. Dropped without a word, the
/// call was given up.
#[derive(Debug)]
#[must_use = "dropping it says that the call was given up"]
pub struct Pick(Picked<()>);

// ===== impl Picker =====

impl Picker {
    /// A picker without nodes.
    #[must_use]
    pub fn new(strategy: impl Strategy) -> Picker {
        let make: Make<()> = Arc::new(|| ());
        let source = Source::Fixed(Vec::new());
        let core = Core::new(&"picked".into(), NO_REGISTRY, source, Clock::start(), &make);
        let balancer = core.balancer(Choice::default(), Arc::new(strategy));
        Picker { core, balancer }
    }

    /// Takes over the nodes of these versions of a service, in place of those before. What is known of a node
    /// whose id and address stay is kept, for three minutes even if it is not among them. Picks go on meanwhile.
    pub fn update(&self, services: Vec<Service>) {
        let mut known = Vec::with_capacity(services.iter().map(|s| s.nodes.len()).sum());
        for mut service in services {
            let nodes = std::mem::take(&mut service.nodes);
            let service = Arc::new(service);
            known.extend(nodes.into_iter().map(|node| Known {
                node: Arc::new(node),
                service: Arc::clone(&service),
            }));
        }
        self.core.replace(&known);
    }

    /// A node for a call.
    ///
    /// # Errors
    /// UNAVAILABLE: there is none, or the strategy chose none.
    pub fn pick(&self, call: &CallInfo<'_>) -> Result<Pick> {
        Ok(Pick(self.balancer.pick(call)?))
    }
}

impl fmt::Debug for Picker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Picker").field(&self.balancer).finish()
    }
}

// ===== impl Pick =====

impl Pick {
    /// The node.
    #[must_use]
    pub fn node(&self) -> Arc<Node> {
        Arc::clone(&self.0.slot().node())
    }

    /// Whether this is the one call that finds out whether a node that was put aside is well again.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        self.0.is_probe()
    }

    /// The call has succeeded, now.
    pub fn succeeded(self) {
        self.0.succeeded();
    }

    /// The node answered with an error of this code. Five UNAVAILABLE or DEADLINE_EXCEEDED in a row put it aside.
    pub fn failed(self, code: Code) {
        self.0.failed(Failure::answered(code));
    }

    /// No answer came in time.
    pub fn timed_out(self) {
        self.0.failed(Failure::TimedOut);
    }

    /// The node could not be reached, which puts it aside at once.
    pub fn unreachable(self) {
        self.0.failed(Failure::Connection);
    }
}
