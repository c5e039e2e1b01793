//! [`Core::list`]: every key of a range, of one revision, in pages.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};

use super::keys::Range;
use super::pb;
use super::rpc::{Core, unary};
use crate::status::{Code, Result, Status};

/// Keys that are asked for at once.
pub(super) const PAGE: i64 = 512;

/// The pages after which one of twice the size is tried again, where one was too large.
const GROW_AFTER: usize = 8;

/// The most keys of one range that are taken in. What a registry says is input from outside.
pub(super) const KEYS_MAX: usize = 262_144;

/// The most bytes of their keys and values: a quarter of what etcd itself holds unless it is told to hold more
/// (`--quota-backend-bytes`).
pub(super) const BYTES_MAX: usize = 512 * 1024 * 1024;

/// How often a list is begun again whose revision is compacted while it is read.
const AGAIN: usize = 3;

/// Where an answer may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// From any member as it is, even one that lags behind or has lost its cluster.
    Local,
    /// From the cluster as it is now.
    Latest,
}

/// All keys of a range as they were at one revision.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) cluster: u64,
    pub(super) revision: i64,
    pub(super) kvs: Vec<pb::KeyValue>,
}

impl Core {
    /// Every key of a range.
    pub(super) async fn list(&self, range: &Range, read: Read) -> Result<Listed> {
        let mut again = 0;
        loop {
            match self.pages(range, read).await {
                // The revision of the first page is compacted, or not yet known to the member that gave a
                // later one.
                Err(status) if status.code() == Code::OutOfRange && again < AGAIN => again += 1,
                listed => return listed,
            }
        }
    }

    async fn pages(&self, range: &Range, read: Read) -> Result<Listed> {
        let mut listed: Option<Listed> = None;
        let mut start = range.key.clone();
        // Shrinks with every page that is too large for a message, and grows again after some that are not: a few
        // large values must not make every further page a small one. A cell, since closures share it.
        let limit = AtomicI64::new(PAGE);
        let (mut good, mut bytes) = (0_usize, 0_usize);
        loop {
            let request = || pb::RangeRequest {
                key: start.clone(),
                range_end: range.end.clone(),
                limit: limit.load(Ordering::Relaxed),
                revision: listed.as_ref().map_or(0, |listed| listed.revision),
                serializable: read == Read::Local,
            };
            let answer = self
                .call(|link, terms| unary(link.kv.range(request()), terms))
                .await;
            let page = match answer {
                Err(status)
                    if status.code() == Code::ResourceExhausted
                        && limit.load(Ordering::Relaxed) > 1 =>
                {
                    limit.store(limit.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
                    continue;
                }
                answer => answer?,
            };
            good += 1;
            if good % GROW_AFTER == 0 {
                let grown = limit.load(Ordering::Relaxed).saturating_mul(2);
                limit.store(grown.min(PAGE), Ordering::Relaxed);
            }
            bytes = bytes.saturating_add(size(page.kvs.iter()));
            if bytes > BYTES_MAX {
                return Err(Status::resource_exhausted(format_args!(
                    "expected at most {BYTES_MAX} bytes below {:?}, found more",
                    String::from_utf8_lossy(&range.key)
                )));
            }
            let header = page.header.unwrap_or_default();
            let more = page.more;
            let last = page.kvs.last().map(|kv| kv.key.clone());
            let all = listed.get_or_insert_with(|| Listed {
                cluster: header.cluster_id,
                revision: header.revision,
                kvs: Vec::new(),
            });
            all.kvs.extend(page.kvs);
            if all.kvs.len() > KEYS_MAX {
                return Err(Status::resource_exhausted(format_args!(
                    "expected at most {KEYS_MAX} keys below {:?}, found more",
                    String::from_utf8_lossy(&range.key)
                )));
            }
            match (more, last) {
                (false, _) => break,
                (true, Some(last)) if last >= start => {
                    let mut next = BytesMut::with_capacity(last.len() + 1);
                    next.extend_from_slice(&last);
                    next.put_u8(0);
                    start = next.freeze();
                }
                (true, _) => {
                    return Err(Status::unknown(
                        "expected a page of keys behind those before, found one that leads nowhere",
                    ));
                }
            }
        }
        listed.ok_or_else(|| Status::unknown("expected a page of keys, found none"))
    }

    /// One key as the cluster has it now, and of which revision that is.
    pub(super) async fn read(
        &self,
        key: &Bytes,
    ) -> Result<(Option<pb::KeyValue>, pb::ResponseHeader)> {
        let answer = self
            .call(|link, terms| {
                let request = pb::RangeRequest {
                    key: key.clone(),
                    ..pb::RangeRequest::default()
                };
                unary(link.kv.range(request), terms)
            })
            .await?;
        Ok((
            answer.kvs.into_iter().next(),
            answer.header.unwrap_or_default(),
        ))
    }
}

/// The bytes of these keys and their values.
pub(super) fn size<'a>(kvs: impl Iterator<Item = &'a pb::KeyValue>) -> usize {
    kvs.map(|kv| kv.key.len().saturating_add(kv.value.len()))
        .fold(0, usize::saturating_add)
}
