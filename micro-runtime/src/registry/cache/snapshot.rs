//! [`Snapshots`]: what a client knows of its services, kept in files, so that it can start while its registry
//! is down.
//!
//! One file per service, JSON with go-micro's names. A file is written beside its place and renamed into it,
//! so that a reader finds the old one or the new one, whole.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::Known;
use crate::error::Error;
use crate::registry::{Node, Service};

/// What is older is not used: nodes of yesterday are more likely to be somebody else's by now.
const OLDEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How far a file's time may lie ahead, where clocks were set back meanwhile.
const AHEAD: Duration = Duration::from_secs(60 * 60);

/// The largest file that is read. 65,536 nodes with some metadata fit.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The longest name of a file, without its ending; most file systems take 255 bytes.
const MAX_NAME: usize = 200;

/// The form of the files; another one is not read.
const FORMAT: u32 = 1;

/// What stays as it is in the name of a file.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// A directory of snapshots. Clones name the same one.
#[derive(Clone, Debug)]
pub(super) struct Snapshots {
    directory: PathBuf,
    registry: &'static str,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    registry: String,
    service: String,
    /// When the registry last confirmed it, in seconds since 1970.
    confirmed: u64,
    services: Vec<Service>,
}

// ===== impl Snapshots =====

impl Snapshots {
    /// Snapshots of what this registry says, in a directory that is made when the first is written.
    pub(super) fn new(directory: impl Into<PathBuf>, registry: &'static str) -> Snapshots {
        Snapshots {
            directory: directory.into(),
            registry,
        }
    }

    /// What was last saved of a service; `None` if nothing was, or too long ago. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is none of ours.
    pub(super) fn load(
        &self,
        service: &str,
        now: SystemTime,
    ) -> Result<Option<Vec<Service>>, Error> {
        let path = self.path(service);
        let wrong = |why: &dyn fmt::Display| {
            Error::registry(format_args!(
                "the snapshot {} of service {service:?} cannot be used: {why}",
                path.display()
            ))
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(&error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| wrong(&error))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(wrong(&format_args!("it has more than {MAX_BYTES} bytes")));
        }
        let saved: Saved = serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
        if saved.format != FORMAT {
            return Err(wrong(&format_args!(
                "expected format {FORMAT}, found {}",
                saved.format
            )));
        }
        if saved.registry != self.registry || saved.service != service {
            return Err(wrong(&format_args!(
                "it is of service {:?} in the registry {:?}",
                saved.service, saved.registry
            )));
        }
        let confirmed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(saved.confirmed));
        let usable = confirmed.is_some_and(|confirmed| match now.duration_since(confirmed) {
            Ok(age) => age <= OLDEST,
            Err(ahead) => ahead.duration() <= AHEAD,
        });
        Ok(usable.then_some(saved.services))
    }

    /// Saves what is known of a service, confirmed at `now`. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// The directory or the file cannot be written; what was saved before stays.
    pub(super) fn save(
        &self,
        service: &str,
        services: Vec<Service>,
        now: SystemTime,
    ) -> Result<(), Error> {
        let path = self.path(service);
        let confirmed = now.duration_since(SystemTime::UNIX_EPOCH);
        let saved = Saved {
            format: FORMAT,
            registry: self.registry.to_owned(),
            service: service.to_owned(),
            confirmed: confirmed.map_or(0, |time| time.as_secs()),
            services,
        };
        self.write(&path, &saved).map_err(|error| {
            Error::registry(format_args!(
                "the snapshot {} of service {service:?} cannot be written",
                path.display()
            ))
            .with_source(error)
        })
    }

    fn write(&self, path: &Path, saved: &Saved) -> std::io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        // Other processes save the same service: each has a name of its own until the file is whole.
        let beside = path.with_extension(format!("{}.tmp", uuid::Uuid::new_v4().simple()));
        let written = (|| {
            let mut options = File::options();
            options.write(true).create_new(true);
            // A registry may show what it has to some users alone.
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&beside)?;
            file.write_all(&serde_json::to_vec(saved)?)?;
            // Else a crash of the machine could leave the new name on an empty file.
            file.sync_all()?;
            fs::rename(&beside, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// `<registry>.<service>.json`, with `%` and hexadecimal digits for whatever a file system may not like.
    fn path(&self, service: &str) -> PathBuf {
        let encoded = |name| utf8_percent_encode(name, PLAIN);
        let mut name = format!("{}.{}", encoded(self.registry), encoded(service));
        if name.len() > MAX_NAME {
            // Two such names that begin alike share a file, which `load` notices.
            name.truncate(MAX_NAME);
        }
        name.push_str(".json");
        self.directory.join(name)
    }
}

/// The services of a view, by version, in the form of an answer.
pub(super) fn services(nodes: &[Known]) -> Vec<Service> {
    let mut versions: BTreeMap<&str, Service> = BTreeMap::new();
    for known in nodes {
        let version = versions
            .entry(&known.service.version)
            .or_insert_with(|| Service::clone(&known.service));
        version.nodes.push(Node::clone(&known.node));
    }
    versions.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new() -> Directory {
            let name = format!("micro-snapshot-{}", uuid::Uuid::new_v4());
            Directory(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn greeter() -> Vec<Service> {
        vec![Service {
            name: "greeter".into(),
            version: "1".into(),
            nodes: vec![Node {
                id: "greeter-1".into(),
                address: "10.0.0.7:5000".into(),
                ..Node::default()
            }],
            ..Service::default()
        }]
    }

    #[test]
    fn what_is_saved_is_loaded_for_a_day() {
        let directory = Directory::new();
        let snapshots = Snapshots::new(&directory.0, "consul");
        let saved = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        assert_eq!(snapshots.load("greeter", saved).unwrap(), None);
        snapshots.save("greeter", greeter(), saved).unwrap();
        for (after, found) in [
            (Duration::ZERO, true),
            (OLDEST, true),
            (OLDEST + Duration::from_secs(1), false),
        ] {
            let loaded = snapshots.load("greeter", saved + after).unwrap();
            assert_eq!(loaded, found.then(greeter), "{after:?}");
        }
        assert!(snapshots.load("greeter", saved - AHEAD).unwrap().is_some());
        let long_before = saved - AHEAD - Duration::from_secs(1);
        assert_eq!(snapshots.load("greeter", long_before).unwrap(), None);
        snapshots.save("greeter", Vec::new(), saved).unwrap();
        assert_eq!(snapshots.load("greeter", saved).unwrap(), Some(Vec::new()));
        let files: Vec<_> = fs::read_dir(&directory.0).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }

    #[test]
    fn a_name_stays_inside_the_directory() {
        let directory = Directory::new();
        let snapshots = Snapshots::new(&directory.0, "consul");
        let now = SystemTime::now();
        for name in ["../up", "a/b", "", "ü", "..", "CON", &"x".repeat(300)] {
            snapshots.save(name, greeter(), now).unwrap();
            assert_eq!(
                snapshots.load(name, now).unwrap(),
                Some(greeter()),
                "{name}"
            );
        }
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 7);
        // A registry of the user's has any name.
        let name = format!("../{}", "ü".repeat(150));
        let theirs = Snapshots::new(&directory.0, Box::leak(name.into_boxed_str()));
        theirs.save("a", greeter(), now).unwrap();
        assert_eq!(theirs.load("a", now).unwrap(), Some(greeter()));
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 8);
    }

    #[cfg(unix)]
    #[test]
    fn others_of_the_machine_cannot_read_it() {
        use std::os::unix::fs::PermissionsExt;

        let directory = Directory::new();
        let snapshots = Snapshots::new(&directory.0, "consul");
        snapshots
            .save("greeter", greeter(), SystemTime::now())
            .unwrap();
        let found = fs::metadata(snapshots.path("greeter")).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn nodes_of_many_versions_are_put_together() {
        let known = |version: usize, node: usize| Known {
            node: Node {
                id: format!("{version}-{node}"),
                ..Node::default()
            }
            .into(),
            service: Service {
                version: version.to_string(),
                ..Service::default()
            }
            .into(),
        };
        let nodes: Vec<Known> = (0..2).flat_map(|n| [known(1, n), known(0, n)]).collect();
        let found = services(&nodes);
        let ids: Vec<Vec<&str>> = found
            .iter()
            .map(|service| service.nodes.iter().map(|node| node.id.as_str()).collect())
            .collect();
        assert_eq!(ids, [["0-0", "0-1"], ["1-0", "1-1"]]);
    }

    #[test]
    fn what_is_no_snapshot_is_an_error_that_names_the_file() {
        let directory = Directory::new();
        let snapshots = Snapshots::new(&directory.0, "consul");
        let now = SystemTime::now();
        snapshots.save("greeter", greeter(), now).unwrap();
        let path = snapshots.path("greeter");
        let whole = fs::read_to_string(&path).unwrap();
        for (text, why) in [
            ("", "EOF"),
            (&whole[..whole.len() / 2], "EOF"),
            ("[]", "invalid"),
            (
                &whole.replace("\"format\":1", "\"format\":2"),
                "expected format 1, found 2",
            ),
            (&whole.replace("consul", "etcd"), "in the registry \"etcd\""),
        ] {
            fs::write(&path, text).unwrap();
            let error = snapshots.load("greeter", now).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
            assert!(error.contains(why), "{error}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        snapshots.load("greeter", now).unwrap_err();
        snapshots.save("greeter", greeter(), now).unwrap_err();
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
    }
}
