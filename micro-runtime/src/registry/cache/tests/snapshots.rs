//! Snapshots on disk, in a directory of the test's own.

use std::path::PathBuf;

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let name = format!("micro-cache-{}", uuid::Uuid::new_v4());
        Directory(std::env::temp_dir().join(name))
    }

    fn entry(&self, registry: &(impl Registry + Clone)) -> Arc<Entry> {
        let cache = Cache::new(Arc::new(registry.clone())).with_snapshots(&self.0);
        cache.entry("greeter")
    }

    /// Waits until the snapshot names these nodes.
    async fn holds(&self, expected: &[&str]) {
        loop {
            let snapshots = Snapshots::new(&self.0, "script");
            let saved = snapshots.load("greeter", std::time::SystemTime::now());
            let nodes = saved.unwrap().into_iter().flatten().flat_map(|s| s.nodes);
            if nodes.map(|node| node.id).collect::<Vec<_>>() == expected {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A directory in which a client has left a snapshot of these nodes.
async fn saved(nodes: &[&str]) -> (Directory, Script) {
    let directory = Directory::new();
    let script = Script::of(nodes);
    let entry = directory.entry(&script);
    find(&entry).await.unwrap();
    directory.holds(nodes).await;
    (directory, script)
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_refuses_is_stood_in_for_at_once() {
    let (directory, script) = saved(&["a", "b"]).await;
    script.fail(ErrorKind::Registry);
    let started = Instant::now();
    let entry = directory.entry(&script);
    let found = || !entry.view().nodes.is_empty();
    entry.look_up(soon(), found).await.unwrap();
    assert_eq!(ids(&entry), ["a", "b"]);
    assert!(started.elapsed() < Duration::from_millis(50));
    let view = entry.view();
    assert!(view.answered.is_none() && view.stale.is_some(), "{view:?}");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_hangs_is_stood_in_for_after_50_ms() {
    let (directory, script) = saved(&["a", "b"]).await;
    script.delay(Duration::from_secs(3600));
    let started = Instant::now();
    let entry = directory.entry(&script);
    let found = || !entry.view().nodes.is_empty();
    entry.look_up(soon(), found).await.unwrap();
    assert_eq!(ids(&entry), ["a", "b"]);
    let took = started.elapsed();
    assert!((50..100).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_registry_has_the_last_word() {
    let (directory, script) = saved(&["a", "b"]).await;
    script.fail(ErrorKind::Registry);
    let entry = directory.entry(&script);
    let found = || !entry.view().nodes.is_empty();
    entry.look_up(soon(), found).await.unwrap();
    let health = Arc::new(Health::default());
    let listener: Weak<dyn Listener> = Arc::downgrade(&(Arc::clone(&health) as Arc<dyn Listener>));
    entry.listen(listener);
    script.set(&["a", "c"]);
    script.fail(None);
    query(&entry).await;
    // Half of them at once is not doubted.
    assert_eq!(ids(&entry), ["a", "c"]);
    directory.holds(&["a", "c"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_needs_no_snapshot() {
    let (directory, script) = saved(&["a", "b"]).await;
    script.set(&["c"]);
    script.delay(Duration::from_millis(40));
    let entry = directory.entry(&script);
    find(&entry).await.unwrap();
    assert_eq!(ids(&entry), ["c"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_confirmed_does_not_become_younger() {
    let (directory, script) = saved(&["a", "b"]).await;
    let file = directory.0.join("script.greeter.json");
    let before = std::fs::read(&file).unwrap();
    script.fail(ErrorKind::Registry);
    let entry = directory.entry(&script);
    let found = || !entry.view().nodes.is_empty();
    entry.look_up(soon(), found).await.unwrap();
    sleep(SNAPSHOT_LONG).await;
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

/// Longer than any interval at which snapshots are written.
const SNAPSHOT_LONG: Duration = Duration::from_secs(20 * 60);

#[tokio::test(start_paused = true)]
async fn changes_are_saved_and_a_snapshot_without_any_is_renewed() {
    let (directory, script) = saved(&["a", "b"]).await;
    let entry = directory.entry(&script);
    find(&entry).await.unwrap();
    script.set(&["a", "b", "c"]);
    script.tell(Action::Create, service(&["c"]));
    directory.holds(&["a", "b", "c"]).await;
    std::fs::remove_dir_all(&directory.0).unwrap();
    sleep(SNAPSHOT_LONG).await;
    directory.holds(&["a", "b", "c"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_cannot_be_read_is_none() {
    let (directory, script) = saved(&["a", "b"]).await;
    std::fs::write(directory.0.join("script.greeter.json"), "{").unwrap();
    script.fail(ErrorKind::Registry);
    let entry = directory.entry(&script);
    let looked_up = entry.look_up(soon(), || false).await;
    assert_eq!(looked_up, Err(LookUpError::Deadline));
    assert!(ids(&entry).is_empty());
}
