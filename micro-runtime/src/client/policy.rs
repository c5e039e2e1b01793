//! [`MethodOptions`]: what the calls of one method can be told; [`Hedging`]; and [`Policy`], what comes of
//! them and of the client's settings, once per method.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::gate::Gate;
use super::latencies::Latencies;
use super::options::Settings;
use crate::method::{Idempotency, MethodInfo};

/// Attempts at most, hedges included: gRPC's limit (proposal A6).
const ATTEMPTS_MAX: u32 = 5;

/// Sends a unary call to another node as well when the first is slow, and takes the first good reply; the
/// others are cancelled, which the servers are told.
///
/// Only calls of methods that are safe to repeat are hedged: those with an `idempotency_level`, or with
/// [`MethodOptions::safe`]. A hedge counts as a further attempt: it comes out of the
/// [budget](super::ClientOptions::retry_budget) and the [throttle](super::ClientOptions::retry_throttle),
/// which is asked again after the delay when they refuse it; a server may stop it
/// (`grpc-retry-pushback-ms`). It never goes to a node that the
/// call is at, or has been to. UNAVAILABLE and a lost connection bring the next hedge at once; any other
/// status is the call's. A hedged call has no other repeats.
///
/// ```
/// use std::time::Duration;
/// use micro_runtime::client::{ClientOptions, Hedging, MethodOptions};
///
/// let options = ClientOptions::new()
///     .hedging(Hedging::percentile(95.0))
///     .method("/shop.Stock/Left", MethodOptions::new().hedging(Hedging::after(Duration::from_millis(20))))
///     .method("Stock.Audit", MethodOptions::new().hedging(None));
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use = "hedging does nothing until it is given to a client's options"]
pub struct Hedging {
    when: When,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    After(Duration),
    /// From 0 to 1.
    Percentile(f64),
}

// ===== impl Hedging =====

impl Hedging {
    /// Hedges when there is no reply after this time, and again after it has passed once more. Zero sends all
    /// attempts at once.
    pub fn after(delay: Duration) -> Hedging {
        Hedging {
            when: When::After(delay),
            attempts: 2,
        }
    }

    /// Hedges the calls that take longer than this part of the calls of the method did of late, in percent:
    /// 95 hedges about every twentieth call. Nothing is hedged before 64 calls were seen. A number that is
    /// not between 0 and 100 is refused when the client is made.
    pub fn percentile(percentile: f64) -> Hedging {
        Hedging {
            when: When::Percentile(percentile / 100.0),
            attempts: 2,
        }
    }

    /// Attempts at most, the first included: default 2, at least 1 and at most 5.
    pub fn attempts(mut self, attempts: u32) -> Hedging {
        self.attempts = attempts.clamp(1, ATTEMPTS_MAX);
        self
    }

    fn check(self) -> Result<(), String> {
        match self.when {
            When::Percentile(percentile) if !(percentile > 0.0 && percentile < 1.0) => {
                Err(format!(
                    "the percentile of a hedge lies between 0 and 100, found {}",
                    percentile * 100.0
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Settings of the calls of one method, for [`ClientOptions::method`](super::ClientOptions::method). What is
/// not set stays as the client has it; what a call sets itself goes before.
///
/// ```
/// use std::time::Duration;
/// use micro_runtime::client::{ClientOptions, MethodOptions};
///
/// let options = ClientOptions::new()
///     .method("/shop.Stock/Left", MethodOptions::new().timeout(Duration::from_millis(300)).retries(2))
///     .method("Stock.Import", MethodOptions::new().timeout(None).safe(true).wait_for_ready(true));
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until they are given to a client's options"]
pub struct MethodOptions {
    timeout: Option<Option<Duration>>,
    retries: Option<u32>,
    hedging: Option<Option<Hedging>>,
    safe: Option<bool>,
    wait_for_ready: Option<bool>,
}

// ===== impl MethodOptions =====

impl MethodOptions {
    /// No changes.
    pub fn new() -> MethodOptions {
        MethodOptions::default()
    }

    /// How long a call may take, everything included; `None`: for ever. Default: the client's (5 s) for a
    /// unary call, none for a stream.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> MethodOptions {
        self.timeout = Some(timeout.into());
        self
    }

    /// How often a call that may have been processed is made again. Default: the client's (1). It means
    /// nothing for a method that is not safe to repeat.
    pub fn retries(mut self, retries: u32) -> MethodOptions {
        self.retries = Some(retries);
        self
    }

    /// Whether and when calls are sent to a second node. Default: the client's (never). It means nothing for
    /// streams, and for a method that is not safe to repeat.
    pub fn hedging(mut self, hedging: impl Into<Option<Hedging>>) -> MethodOptions {
        self.hedging = Some(hedging.into());
        self
    }

    /// Whether the method is safe to repeat: a call may run twice, even at the same time, and do no more than
    /// one. Default: what the proto's `idempotency_level` says; without one, and for calls by name, it is not.
    pub fn safe(mut self, safe: bool) -> MethodOptions {
        self.safe = Some(safe);
        self
    }

    /// Whether a call waits until its deadline for a node that takes it. Default: the client's (no); see
    /// [`ClientOptions::wait_for_ready`](super::ClientOptions::wait_for_ready).
    pub fn wait_for_ready(mut self, wait: bool) -> MethodOptions {
        self.wait_for_ready = Some(wait);
        self
    }

    /// These, with the changes of others.
    pub(super) fn merge(&mut self, others: &MethodOptions) {
        let MethodOptions {
            timeout,
            retries,
            hedging,
            safe,
            wait_for_ready,
        } = others;
        self.timeout = timeout.or(self.timeout);
        self.retries = retries.or(self.retries);
        self.hedging = hedging.or(self.hedging);
        self.safe = safe.or(self.safe);
        self.wait_for_ready = wait_for_ready.or(self.wait_for_ready);
    }

    pub(super) fn check(&self) -> Result<(), String> {
        check_hedging(self.hedging)
    }
}

pub(super) fn check_hedging(hedging: Option<Option<Hedging>>) -> Result<(), String> {
    hedging.flatten().map_or(Ok(()), Hedging::check)
}

/// The key under which a method's options are kept: its path, or its endpoint's name.
pub(super) fn key(name: &str) -> Result<Box<str>, String> {
    let parts = |name: &str, at: char| {
        let parts = name.rsplit_once(at);
        parts.is_some_and(|(service, method)| !service.is_empty() && !method.is_empty())
    };
    let path = name.strip_prefix('/').unwrap_or(name);
    match path.matches('/').count() {
        1 if parts(path, '/') => Ok(format!("/{path}").into()),
        0 if path == name && parts(name, '.') => Ok(name.into()),
        _ => Err(format!(
            "expected a method such as /pkg.Svc/Method or Svc.Method, found {name:?}"
        )),
    }
}

/// What the calls of one method are made with, unless they say otherwise.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    /// `None`: the method has none of its own.
    pub(super) timeout: Option<Option<Duration>>,
    /// How often a call that may have been processed is repeated; `None`: the method is not safe to repeat.
    pub(super) repeats: Option<u32>,
    pub(super) wait_for_ready: bool,
    /// `None` if the method is not safe to repeat, too.
    pub(super) hedge: Option<Arc<Hedge>>,
}

/// How the calls of one method are hedged.
#[derive(Debug)]
pub(super) struct Hedge {
    hedging: Hedging,
    latencies: Option<Arc<Latencies>>,
}

/// The policies of a target's methods, each worked out when the method is first called. Methods are statics:
/// their address tells them apart, and there are only so many.
#[derive(Debug, Default)]
pub(super) struct Policies(ArcSwap<HashMap<usize, Policy>>);

// ===== impl Policy =====

impl Policy {
    /// Of a client that says nothing of single methods, and hedges nothing.
    pub(super) fn plain(idempotency: Idempotency, settings: &Settings) -> Policy {
        Policy {
            timeout: None,
            repeats: match idempotency {
                Idempotency::Unknown => None,
                Idempotency::NoSideEffects | Idempotency::Idempotent => Some(settings.retries),
            },
            wait_for_ready: settings.wait_for_ready,
            hedge: None,
        }
    }

    /// Of the method with this path, or else with this endpoint's name. `named`: nothing is known of it, and
    /// a call that says how often it may be repeated says that it is safe.
    pub(super) fn resolve(
        path: &str,
        endpoint: &str,
        idempotency: Option<Idempotency>,
        settings: &Settings,
        gate: &Gate,
    ) -> Policy {
        let plain = Policy::plain(idempotency.unwrap_or_default(), settings);
        let default = MethodOptions::default();
        let options = settings.methods.get(path);
        let options = options.or_else(|| settings.methods.get(endpoint));
        let options = options.unwrap_or(&default);
        let safe = options.safe.unwrap_or(plain.repeats.is_some());
        let repeats = match (safe, idempotency) {
            (true, _) => Some(options.retries.unwrap_or(settings.retries)),
            // A call by name.
            (false, None) => Some(0),
            (false, Some(_)) => None,
        };
        let hedging = options.hedging.unwrap_or(settings.hedging);
        Policy {
            timeout: options.timeout,
            repeats,
            wait_for_ready: options.wait_for_ready.unwrap_or(settings.wait_for_ready),
            hedge: hedging
                .filter(|hedging| safe && hedging.attempts > 1)
                .map(|hedging| Arc::new(Hedge::new(hedging, path, gate))),
        }
    }
}

// ===== impl Policies =====

impl Policies {
    pub(super) fn of(
        &self,
        method: &'static MethodInfo,
        settings: &Settings,
        gate: &Gate,
    ) -> Policy {
        if !settings.has_policies() {
            return Policy::plain(method.idempotency, settings);
        }
        let address = std::ptr::from_ref(method).addr();
        if let Some(policy) = self.0.load().get(&address) {
            return policy.clone();
        }
        let (path, endpoint) = (method.path, method.endpoint);
        let policy = Policy::resolve(path, endpoint, Some(method.idempotency), settings, gate);
        self.0.rcu(|policies| {
            let mut policies = HashMap::clone(policies);
            policies.insert(address, policy.clone());
            policies
        });
        policy
    }
}

// ===== impl Hedge =====

impl Hedge {
    fn new(hedging: Hedging, path: &str, gate: &Gate) -> Hedge {
        Hedge {
            hedging,
            latencies: match hedging.when {
                When::After(_) => None,
                When::Percentile(percentile) => Some(gate.latencies(path, percentile)),
            },
        }
    }

    pub(super) fn attempts(&self) -> u32 {
        self.hedging.attempts
    }

    /// When the next hedge follows; `None` while that is not known.
    pub(super) fn delay(&self) -> Option<Duration> {
        match self.hedging.when {
            When::After(delay) => Some(delay),
            When::Percentile(_) => self.latencies.as_ref()?.percentile(),
        }
    }

    /// An attempt took so long, or longer if it was given up.
    pub(super) fn record(&self, latency: Duration) {
        if let Some(latencies) = &self.latencies {
            latencies.record(latency);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::ClientOptions;

    fn resolved(options: ClientOptions, idempotency: Option<Idempotency>) -> Policy {
        let settings = Settings::default().with(options).unwrap();
        let gate = settings.gates.of("a");
        Policy::resolve(
            "/pkg.Svc/Method",
            "Svc.Method",
            idempotency,
            &settings,
            &gate,
        )
    }

    #[test]
    fn a_method_has_three_names() {
        for name in ["/pkg.Svc/Method", "pkg.Svc/Method", "Svc.Method"] {
            let method = MethodOptions::new().safe(true).retries(7);
            let policy = resolved(ClientOptions::new().method(name, method), None);
            assert_eq!(policy.repeats, Some(7), "{name}");
        }
        for name in [
            "",
            "/",
            "Method",
            "/a/b/c",
            "/Svc.Method",
            "//b",
            "a/",
            ".b",
            "a.",
        ] {
            assert!(key(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_not_said_is_as_the_client_has_it() {
        let client = ClientOptions::new().retries(3).wait_for_ready(true);
        let policy = resolved(client.clone(), Some(Idempotency::Idempotent));
        assert_eq!(policy.repeats, Some(3));
        assert!(policy.wait_for_ready && policy.hedge.is_none() && policy.timeout.is_none());
        let method = MethodOptions::new().wait_for_ready(false).timeout(None);
        let client = client.method("Svc.Method", method);
        let client = client.method("Svc.Method", MethodOptions::new().safe(false));
        let policy = resolved(client, Some(Idempotency::Idempotent));
        assert_eq!(policy.repeats, None);
        assert_eq!(policy.timeout, Some(None), "it was said before");
        assert!(!policy.wait_for_ready);
    }

    #[test]
    fn only_what_is_safe_is_hedged() {
        let hedging = ClientOptions::new().hedging(Hedging::percentile(99.0));
        let hedged = |idempotency| resolved(hedging.clone(), idempotency).hedge.is_some();
        assert!(hedged(Some(Idempotency::NoSideEffects)));
        assert!(!hedged(Some(Idempotency::Unknown)));
        assert!(!hedged(None));
        let client = hedging.clone();
        let client = client.method("Svc.Method", MethodOptions::new().safe(true));
        assert!(resolved(client, None).hedge.is_some());
        let client = hedging.method("Svc.Method", MethodOptions::new().hedging(None));
        assert!(
            resolved(client, Some(Idempotency::Idempotent))
                .hedge
                .is_none()
        );
    }
}
