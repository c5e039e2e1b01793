//! [`Gate`]: whether a call to a service may be made once more; and [`Gates`], one for each service.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::budget::{Budget, RetryBudget};
use super::latencies::Latencies;
use super::throttle::{RetryThrottle, Throttle};
use crate::lock::lock;

/// So many services are remembered while nobody calls them, and so many methods of each.
const REMEMBERED: usize = 1024;

/// What the calls to one service share: their budget, their throttle, and how long they take.
#[derive(Debug)]
pub(super) struct Gate {
    budget: Option<Budget>,
    throttle: Option<Throttle>,
    /// Those that a hedge at a percentile asks for, by path and by the percentile's bits. Held for short
    /// sections without a wait, when a method is first called.
    latencies: Mutex<Methods>,
}

type Methods = HashMap<(Box<str>, u64), Arc<Latencies>>;

/// The gates of a client, and of those made from it without another budget or throttle.
#[derive(Debug)]
pub(super) struct Gates {
    budget: Option<RetryBudget>,
    throttle: Option<RetryThrottle>,
    /// Held for short sections without a wait, when a target is made.
    services: Mutex<HashMap<Arc<str>, Arc<Gate>>>,
}

// ===== impl Gate =====

impl Gate {
    /// A call begins.
    pub(super) fn call(&self, now: Instant) {
        if let Some(budget) = &self.budget {
            budget.call(now);
        }
    }

    /// A call has succeeded.
    pub(super) fn succeeded(&self) {
        if let Some(throttle) = &self.throttle {
            throttle.succeeded();
        }
    }

    /// A node has answered an attempt with what a call is repeated for.
    pub(super) fn failed(&self) {
        if let Some(throttle) = &self.throttle {
            throttle.failed();
        }
    }

    /// An attempt that began then was lost with its connection to this node.
    pub(super) fn lost(&self, node: usize, began: Instant) {
        if let Some(throttle) = &self.throttle {
            throttle.lost(node, began, Instant::now());
        }
    }

    /// Whether a call may be repeated or hedged now; if so, that is paid for.
    pub(super) fn repeat(&self) -> bool {
        self.throttle.as_ref().is_none_or(Throttle::is_open) && self.pay()
    }

    /// The same for what certainly was not processed, which the throttle does not stop.
    pub(super) fn pay(&self) -> bool {
        let budget = self.budget.as_ref();
        budget.is_none_or(|budget| budget.pay(Instant::now()))
    }

    /// How long the calls of a method take; the same each time for the same percentile.
    pub(super) fn latencies(&self, path: &str, percentile: f64) -> Arc<Latencies> {
        let mut latencies = lock(&self.latencies);
        if latencies.len() >= REMEMBERED {
            latencies.retain(|_, latencies| Arc::strong_count(latencies) > 1);
        }
        let key = (path.into(), percentile.to_bits());
        let found = latencies.entry(key);
        Arc::clone(found.or_insert_with(|| Arc::new(Latencies::new(percentile))))
    }
}

// ===== impl Gates =====

impl Gates {
    pub(super) fn new(budget: Option<RetryBudget>, throttle: Option<RetryThrottle>) -> Gates {
        Gates {
            budget,
            throttle,
            services: Mutex::default(),
        }
    }

    /// The same with other settings, which begins anew.
    pub(super) fn with(
        &self,
        budget: Option<Option<RetryBudget>>,
        throttle: Option<Option<RetryThrottle>>,
    ) -> Gates {
        Gates::new(
            budget.unwrap_or(self.budget),
            throttle.unwrap_or(self.throttle),
        )
    }

    /// The gate of a service; the same one each time, as long as anyone holds it or it is not forgotten among
    /// very many.
    pub(super) fn of(&self, service: &str) -> Arc<Gate> {
        let mut services = lock(&self.services);
        if let Some(gate) = services.get(service) {
            return Arc::clone(gate);
        }
        if services.len() >= REMEMBERED {
            services.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        let gate = Arc::new(Gate {
            budget: self.budget.map(Budget::new),
            throttle: self.throttle.map(Throttle::new),
            latencies: Mutex::default(),
        });
        services.insert(service.into(), Arc::clone(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_one_gate_and_unused_ones_are_forgotten() {
        let gates = Gates::new(Some(RetryBudget::new()), Some(RetryThrottle::new()));
        let gate = gates.of("a");
        assert!(Arc::ptr_eq(&gate, &gates.of("a")));
        for number in 0..3 * REMEMBERED {
            gates.of(&number.to_string());
        }
        assert!(lock(&gates.services).len() <= REMEMBERED);
        assert!(Arc::ptr_eq(&gate, &gates.of("a")));
        let latencies = gate.latencies("/a.B/C", 0.95);
        assert!(Arc::ptr_eq(&latencies, &gate.latencies("/a.B/C", 0.95)));
        assert!(!Arc::ptr_eq(&latencies, &gate.latencies("/a.B/C", 0.5)));
    }

    #[test]
    fn without_settings_there_is_no_limit() {
        let gate = Gates::new(None, None).of("a");
        for _ in 0..1000 {
            gate.failed();
            assert!(gate.repeat());
        }
        let gates = Gates::new(None, None).with(Some(Some(RetryBudget::new().per_second(0))), None);
        assert!(!gates.of("a").repeat());
    }

    #[test]
    fn what_was_not_processed_passes_the_throttle_but_not_the_budget() {
        let budget = RetryBudget::new().per_second(1);
        let gate = Gates::new(Some(budget), Some(RetryThrottle::new())).of("a");
        for _ in 0..10 {
            gate.failed();
        }
        assert!(!gate.repeat());
        for _ in 0..10 {
            assert!(gate.pay());
        }
        assert!(!gate.pay());
    }
}
