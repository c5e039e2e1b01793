//! [`Names`]: what the members of queues are called over the restarts of their process.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::error::Error;
use crate::lock::lock;

/// The longest name that Kafka takes.
const LONGEST: usize = 249;

/// Gives every member of this process a name of its own within its queue, and the same ones to the next process
/// of this name.
#[derive(Clone)]
pub(super) struct Names {
    instance: String,
    /// The queue and the name of each member that there is. Held for a look at it.
    taken: Arc<Mutex<BTreeSet<(String, String)>>>,
}

/// A member's name, which is free when this is dropped.
pub(super) struct Name {
    key: (String, String),
    names: Names,
}

// ===== impl Names =====

impl Names {
    /// # Errors
    /// Kafka takes no such name.
    pub(super) fn new(instance: &str) -> Result<Names, Error> {
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if instance.is_empty() || !instance.bytes().all(is_allowed) {
            return Err(Error::config(format_args!(
                "expected letters, digits, '.', '_' and '-' as the name of an instance, found {instance:?}"
            )));
        }
        Ok(Names {
            instance: instance.to_owned(),
            taken: Arc::default(),
        })
    }

    /// The first name that is free for a member that subscribes to this.
    ///
    /// # Errors
    /// It is too long.
    pub(super) fn take(&self, queue: &str, topic: &str) -> Result<Name, Error> {
        let mut taken = lock(&self.taken);
        let first = format!("{}.{topic}", self.instance);
        let mut name = first.clone();
        let mut number = 1_usize;
        while taken.contains(&(queue.to_owned(), name.clone())) {
            number += 1;
            name = format!("{first}.{number}");
        }
        if name.len() > LONGEST {
            return Err(Error::config(format_args!(
                "the names of the instance and of the topic have at most {LONGEST} bytes together in Kafka, found {}",
                name.len()
            )));
        }
        let key = (queue.to_owned(), name);
        taken.insert(key.clone());
        Ok(Name {
            key,
            names: self.clone(),
        })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Names").field(&self.instance).finish()
    }
}

// ===== impl Name =====

impl Name {
    pub(super) fn text(&self) -> &str {
        &self.key.1
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        lock(&self.names.taken).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_has_its_own_and_the_next_process_has_the_same() {
        let names = Names::new("pod-0").unwrap();
        let first = names.take("q", "t").unwrap();
        let second = names.take("q", "t").unwrap();
        let other = names.take("r", "t").unwrap();
        let texts = [first.text(), second.text(), other.text()];
        assert_eq!(texts, ["pod-0.t", "pod-0.t.2", "pod-0.t"]);
        drop(first);
        assert_eq!(names.take("q", "t").unwrap().text(), "pod-0.t");
        assert!(names.take("q", &"t".repeat(249)).is_err());
        for bad in ["", "a b", "a/b", "ä"] {
            assert!(Names::new(bad).is_err(), "{bad:?}");
        }
    }
}
