//! Nodes put aside, and how they come back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_refused_connection_puts_the_node_aside_at_once() {
    let (_registry, _selector, balancer) = ready("round_robin", &["a", "b"]).await;
    let picked = pick(&balancer);
    let dead = id(&picked);
    picked.failed(Failure::Connection);
    let shares = shares(&balancer, 100);
    assert!(!shares.contains_key(&dead), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_gets_one_probe_a_second_at_most_and_fewer_later() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b", "c"]).await;
    fail(&balancer, &["b"]);
    let dead = Instant::now();
    let mut probes = Vec::new();
    while dead.elapsed() < Duration::from_secs(300) {
        let calls: Vec<Picked<()>> = (0..10).map(|_| pick(&balancer)).collect();
        for call in calls {
            if id(&call) == "b" {
                assert!(call.is_probe());
                probes.push(dead.elapsed());
                call.failed(Failure::Connection);
            } else {
                assert!(!call.is_probe());
                call.succeeded();
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert!(probes[0] >= Duration::from_secs(1) && probes[0] < Duration::from_millis(1520));
    for two in probes.windows(2) {
        assert!(two[1] - two[0] >= Duration::from_secs(1), "{probes:?}");
    }
    // 1 + 2 + 4 + 8 + 16 + 32 s, then each minute or so.
    assert!((6..=11).contains(&probes.len()), "{probes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_succeeds_brings_the_node_back() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    fail(&balancer, &["b"]);
    let no_b = shares(&balancer, 100);
    assert_eq!(no_b.get("b"), None);
    sleep(Duration::from_millis(1502)).await;
    let probe = pick(&balancer);
    assert!(probe.is_probe() && id(&probe) == "b");
    // While it is on its way, nobody else goes there.
    assert_eq!(shares(&balancer, 100).get("b"), None);
    probe.succeeded();
    assert!(shares(&balancer, 100)["b"] > 20);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_streams_brings_the_node_back_at_its_start() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    fail(&balancer, &["b"]);
    sleep(Duration::from_secs(2)).await;
    let mut stream = pick(&balancer);
    assert!(stream.is_probe());
    stream.connected();
    assert!(!stream.is_probe() && !stream.slot().is_aside());
    drop(stream);
    assert!(shares(&balancer, 100)["b"] > 20, "its end is no judgement");
}

#[tokio::test(start_paused = true)]
async fn a_probe_given_up_lets_another_follow() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    fail(&balancer, &["b"]);
    for _ in 0..5 {
        sleep(Duration::from_millis(1502)).await;
        let probe = pick(&balancer);
        assert!(probe.is_probe());
        drop(probe);
        assert_eq!(
            shares(&balancer, 100).get("b"),
            None,
            "not before a second has passed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_probe_meets_decides() {
    for (failure, back) in [
        (Failure::Answered, true),
        (Failure::Faulty, true),
        (Failure::Unavailable, false),
        (Failure::Goodbye, false),
        (Failure::Lost, false),
        (Failure::TimedOut, false),
        (Failure::Connection, false),
    ] {
        let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
        fail(&balancer, &["b"]);
        sleep(Duration::from_secs(2)).await;
        let probe = pick(&balancer);
        assert!(probe.is_probe());
        probe.failed(failure);
        assert_eq!(!slot(&balancer, "b").is_aside(), back, "{failure:?}");
    }
}

/// Calls the node `a` so often, which answers so; says whether it is aside then.
fn aside_after(balancer: &Balancer<()>, times: usize, failure: Failure) -> bool {
    let a = slot(balancer, "a");
    for _ in 0..times {
        let picked = Picked::new(Arc::clone(&a), Instant::now(), pick::Kind::Well);
        picked.failed(failure);
    }
    a.is_aside()
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_put_a_node_aside() {
    for failure in [Failure::Lost, Failure::TimedOut, Failure::Unavailable] {
        let (_registry, _selector, balancer) = ready("random", &["a", "b"]).await;
        assert!(!aside_after(&balancer, 4, failure), "{failure:?}");
        // An answer in between, also an error of the application's, begins a new row.
        assert!(!aside_after(&balancer, 1, Failure::Answered));
        assert!(!aside_after(&balancer, 4, failure), "{failure:?}");
        assert!(aside_after(&balancer, 1, failure), "{failure:?}");
        assert_eq!(shares(&balancer, 100).get("a"), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_application_answers_puts_no_node_aside() {
    for failure in [Failure::Answered, Failure::Faulty, Failure::Goodbye] {
        let (_registry, _selector, balancer) = ready("random", &["a", "b"]).await;
        assert!(!aside_after(&balancer, 1_000, failure), "{failure:?}");
    }
}

#[test]
fn codes_say_what_they_say_of_the_node() {
    use Code::*;
    for (code, failure) in [
        (Unavailable, Failure::Unavailable),
        (DeadlineExceeded, Failure::TimedOut),
        (Internal, Failure::Faulty),
        (Unknown, Failure::Faulty),
        (DataLoss, Failure::Faulty),
        (ResourceExhausted, Failure::Faulty),
        (NotFound, Failure::Answered),
        (PermissionDenied, Failure::Answered),
        (Cancelled, Failure::Answered),
        (Unimplemented, Failure::Answered),
    ] {
        assert_eq!(Failure::answered(code), failure, "{code:?}");
    }
}

/// Nodes whose calls take a millisecond, and a call to `a` that has been waiting for so long, while `b` answers.
async fn waited(calls: usize, millis: u64) -> (Memory, Arc<Balancer<()>>, Vec<Picked<()>>) {
    let (registry, _selector, balancer) = ready("round_robin", &["a", "b"]).await;
    let (a, b) = (slot(&balancer, "a"), slot(&balancer, "b"));
    let call = |slot| Picked::new(Arc::clone(slot), Instant::now(), pick::Kind::Well);
    for slot in [&a, &b] {
        for _ in 0..5 {
            let picked = call(slot);
            sleep(Duration::from_millis(1)).await;
            picked.succeeded();
        }
    }
    let waiting = (0..calls).map(|_| call(&a)).collect();
    for _ in 0..millis / 10 {
        let picked = call(&b);
        sleep(Duration::from_millis(10)).await;
        picked.succeeded();
    }
    (registry, balancer, waiting)
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_nothing_goes_with_the_first_call_that_gives_up() {
    let (_registry, balancer, mut waiting) = waited(2, 1_000).await;
    assert!(!slot(&balancer, "a").is_aside());
    waiting.remove(0).failed(Failure::TimedOut);
    let a = slot(&balancer, "a");
    assert!(a.is_aside() && a.is_suspect());
    // Given up by its caller, as one of two hedged calls is, it says the same.
    let (_registry, balancer, mut waiting) = waited(2, 1_000).await;
    drop(waiting.remove(0));
    assert!(slot(&balancer, "a").is_aside());
    // A new connection ends the suspicion, and then it is up to the probe.
    let a = slot(&balancer, "a");
    a.connected();
    assert!(a.is_aside() && !a.is_suspect());
    assert!(pick(&balancer).is_probe());
}

#[tokio::test(start_paused = true)]
async fn a_node_with_many_calls_that_wait_goes_before_they_give_up() {
    let (_registry, balancer, _waiting) = waited(5, 600).await;
    assert_eq!(shares(&balancer, 100).get("a"), None);
    assert!(slot(&balancer, "a").is_aside());
    // A few may be calls that take long.
    let (_registry, balancer, _waiting) = waited(4, 600).await;
    let picked = [pick(&balancer), pick(&balancer)];
    assert!(picked.iter().any(|picked| id(picked) == "a"));
}

#[tokio::test(start_paused = true)]
async fn silence_alone_is_no_sign_of_a_stop() {
    // Shorter than what calls may take.
    let (_registry, balancer, mut waiting) = waited(2, 400).await;
    waiting.remove(0).failed(Failure::TimedOut);
    assert!(!slot(&balancer, "a").is_aside());
    // It has answered somebody.
    let (_registry, balancer, mut waiting) = waited(2, 1_000).await;
    waiting.remove(0).failed(Failure::Answered);
    waiting.remove(0).failed(Failure::TimedOut);
    assert!(!slot(&balancer, "a").is_aside());
    // Nobody else has answered either.
    let (_registry, balancer, mut waiting) = waited(2, 0).await;
    sleep(Duration::from_secs(1)).await;
    waiting.remove(0).failed(Failure::TimedOut);
    assert!(!slot(&balancer, "a").is_aside());
    // Its calls always take long.
    let (_registry, balancer, mut waiting) = waited(2, 1_000).await;
    let now = slot(&balancer, "a").state().clock().nanos();
    slot(&balancer, "a")
        .state()
        .load
        .succeeded(now, 400_000_000);
    waiting.remove(0).failed(Failure::TimedOut);
    assert!(!slot(&balancer, "a").is_aside());
    // Every call to it is given up early, as by hedging.
    let (_registry, balancer, waiting) = waited(0, 0).await;
    let (a, b) = (slot(&balancer, "a"), slot(&balancer, "b"));
    let call = |slot| Picked::new(Arc::clone(slot), Instant::now(), pick::Kind::Well);
    let mut overtaken = std::collections::VecDeque::from(waiting);
    for _ in 0..200 {
        overtaken.push_back(call(&a));
        let picked = call(&b);
        sleep(Duration::from_millis(5)).await;
        picked.succeeded();
        if overtaken.len() > 8 {
            overtaken.pop_front();
        }
        let now = a.state().clock().nanos();
        assert!(!a.state().is_mute_with_many(now));
    }
    assert!(!a.is_aside());
    // It is a stream, which may be silent.
    let (_registry, balancer, mut waiting) = waited(1, 0).await;
    waiting.iter_mut().for_each(Picked::connected);
    for _ in 0..100 {
        sleep(Duration::from_millis(10)).await;
        shares(&balancer, 1);
    }
    drop(waiting);
    assert!(!slot(&balancer, "a").is_aside());
}

#[tokio::test(start_paused = true)]
async fn a_connection_made_behind_the_calls_counts_too() {
    let (_registry, _selector, balancer) = ready("p2c", &["a", "b"]).await;
    let picked = pick(&balancer);
    let (slot, node) = (Arc::clone(picked.slot()), id(&picked));
    picked.succeeded();
    slot.connection_failed(false);
    assert!(slot.is_aside());
    assert_eq!(shares(&balancer, 100).get(&node), None);
    slot.connected();
    assert!(shares(&balancer, 100).contains_key(&node));
}

#[tokio::test(start_paused = true)]
async fn never_more_than_half_are_put_aside_and_never_the_only_one() {
    let (_registry, _selector, balancer) = ready("p2c", &["a"]).await;
    for _ in 0..10 {
        let picked = pick(&balancer);
        assert!(!picked.is_probe());
        picked.failed(Failure::Connection);
    }
    let (_registry, _selector, balancer) = ready("random", &["a", "b", "c", "d", "e"]).await;
    fail(&balancer, &["a", "b", "c", "d"]);
    let shares = shares(&balancer, 1000);
    assert_eq!(
        shares.len(),
        3,
        "two aside, two in use though they are ill: {shares:?}"
    );
    assert!(shares.contains_key("e"));
}

#[tokio::test(start_paused = true)]
async fn an_ill_node_in_use_that_answers_is_well_again() {
    let (_registry, _selector, balancer) = ready("random", &["a", "b"]).await;
    fail(&balancer, &["a"]);
    fail(&balancer, &["b"]);
    // One of them is in use; calls that began before it fell ill say nothing of it.
    let picked = pick(&balancer);
    let slot = Arc::clone(picked.slot());
    assert!(slot.is_aside() && !picked.is_probe());
    picked.succeeded();
    assert!(!slot.is_aside());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_an_earlier_call_does_not_bring_a_node_back() {
    let (_registry, _selector, balancer) = ready("random", &["a", "b"]).await;
    let earlier = std::iter::repeat_with(|| pick(&balancer))
        .find(|p| id(p) == "a")
        .unwrap();
    fail(&balancer, &["a"]);
    earlier.succeeded();
    assert_eq!(shares(&balancer, 100).get("a"), None);
}
