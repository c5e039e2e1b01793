//! A broker that is not there.

use std::sync::Arc;
use std::time::Duration;

use micro_runtime::broker::{Broker, Delivery};
use micro_runtime::{Deadline, ErrorKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{Case, Kit, message, prefix};
use crate::contract::Report;

/// How much later than its deadline a publish may return, on a busy machine.
const LATE: Duration = Duration::from_secs(1);

/// Runs the cases of a broker that cannot be reached, at these levels: `make` gives clients with an address
/// where nobody answers, or one that takes connections and says nothing. Returns the number of cases.
///
/// # Panics
/// A case failed; all that did are named.
pub async fn unreachable<B: Broker>(
    name: &str,
    make: impl Fn() -> B,
    levels: &[Delivery],
) -> usize {
    let kit = Kit {
        make,
        able: super::Abilities::default(),
        prefix: prefix(),
    };
    let mut report = Report::new(format!("contract {name}"));
    for &level in levels {
        let title = |what: &str| format!("{what}, {level}");
        report
            .case(&title("publish gives up in time"), deadline(&kit, level))
            .await;
        report
            .case(&title("so do many at once"), many(&kit, level))
            .await;
        report
            .case(&title("subscribe waits"), waits(&kit, level))
            .await;
        report.case(&title("close ends"), closes(&kit, level)).await;
    }
    report.finish()
}

/// A publish returns by its deadline, also if that has passed.
async fn deadline<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let broker = kit.client();
    let topic = kit.topic("deadline", level);
    for limit in [Duration::from_millis(700), Duration::ZERO] {
        let begun = Instant::now();
        let publishing = broker.publish(message(&topic, "x"), level, Deadline::after(limit));
        let published = timeout(limit + LATE, publishing)
            .await
            .map_err(|_| format!("no answer {LATE:?} after a deadline of {limit:?}"))?;
        let found = published.map_err(|error| error.kind());
        if found != Err(ErrorKind::Broker) {
            return Err(format!(
                "expected an error of kind Broker, found {found:?} after {:?}",
                begun.elapsed()
            ));
        }
    }
    Ok(())
}

/// More than any bound on those that wait: each returns by its deadline all the same.
async fn many<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    const MANY: usize = 3000;
    let broker = Arc::new(kit.client());
    let limit = Duration::from_millis(800);
    let deadline = Deadline::after(limit);
    let mut publishing = JoinSet::new();
    for number in 0..MANY {
        let (broker, topic) = (Arc::clone(&broker), kit.topic("many", level));
        publishing.spawn(async move {
            let event = message(&topic, number.to_string());
            broker.publish(event, level, deadline).await
        });
    }
    let all = async {
        while let Some(result) = publishing.join_next().await {
            if result.map_err(|error| error.to_string())?.is_ok() {
                return Err("expected errors, found that a publish resolved".to_owned());
            }
        }
        Ok(())
    };
    timeout(limit + LATE * 2, all)
        .await
        .map_err(|_| format!("not all of {MANY} returned by their deadline of {limit:?}"))?
}

/// Subscribing goes on until the broker comes; it can be given up.
async fn waits<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let broker = kit.client();
    let topic = kit.topic("waits", level);
    match timeout(Duration::from_millis(1500), broker.subscribe(&topic)).await {
        Err(_) => Ok(()),
        Ok(Ok(_)) => Err("expected subscribe to wait, found that it resolved".to_owned()),
        Ok(Err(error)) => Err(format!("expected subscribe to wait, found {error:?}")),
    }
}

/// There is nothing to wait for when it is closed.
async fn closes<B: Broker>(kit: &Kit<impl Fn() -> B>, level: Delivery) -> Case {
    let broker = kit.client();
    let topic = kit.topic("closes", level);
    let deadline = Deadline::after(Duration::from_millis(200));
    // It fails, as the first case shows.
    let _ = broker.publish(message(&topic, "x"), level, deadline).await;
    timeout(Duration::from_secs(10), broker.close())
        .await
        .map_err(|_| "expected close to end, found that it did not within 10 s".to_owned())
}
