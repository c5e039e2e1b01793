//! [`Lookup`]: questions to name servers, and hickory's answers in our words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::error::Error;
use crate::exchange::BoxFuture;
use crate::lock::lock;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Srv,
    A,
    Aaaa,
}

/// An answer; empty if there is no such name or it has no such records.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) srv: Vec<Srv>,
    /// Addresses by the name that has them, in lower case and without the last dot: those asked for, or those
    /// that came along with SRV records. What comes along with addresses is of others, such as the zone's own
    /// name servers, and is left out.
    pub(super) addresses: BTreeMap<String, Vec<IpAddr>>,
    /// How long all of this holds; zero of an empty answer.
    pub(super) ttl: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Srv {
    pub(super) priority: u16,
    pub(super) weight: u16,
    /// In lower case and without the last dot; empty means that there is no such service (RFC 2782).
    pub(super) target: String,
    pub(super) port: u16,
}

/// Asks name servers; tests have their own.
pub(super) trait Lookup: Send + Sync + 'static {
    /// `name` ends in a dot.
    fn ask<'a>(&'a self, name: &'a str, kind: Kind) -> BoxFuture<'a, Result<Records, Error>>;
}

/// The name servers that were named, or the system's.
pub(super) struct Servers {
    /// `host:port`; none means those of the system.
    servers: Vec<String>,
    timeout: Duration,
    /// Made when first asked. A resolver that failed is made anew if what it was made of may have changed: a
    /// host moves between networks, a name server that is given by name between addresses. Held for short
    /// sections without a wait.
    resolver: Mutex<Option<Arc<TokioResolver>>>,
    changes: bool,
}

// ===== impl Servers =====

impl Servers {
    pub(super) fn new(servers: Vec<String>, timeout: Duration) -> Servers {
        let is_address = |server: &String| server.parse::<std::net::SocketAddr>().is_ok();
        Servers {
            changes: servers.is_empty() || !servers.iter().all(is_address),
            servers,
            timeout,
            resolver: Mutex::new(None),
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Arc<TokioResolver>>> {
        lock(&self.resolver)
    }

    async fn resolver(&self) -> Result<Arc<TokioResolver>, Error> {
        if let Some(resolver) = &*self.slot() {
            return Ok(Arc::clone(resolver));
        }
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()
                .map_err(|error| failed("the system's name servers could not be read", error))?
        } else {
            let mut servers = Vec::new();
            for server in &self.servers {
                let addresses = tokio::net::lookup_host(server).await.map_err(|error| {
                    Error::registry(format_args!(
                        "the name server {server:?} could not be resolved"
                    ))
                    .with_source(error)
                })?;
                for address in addresses {
                    let mut udp = ConnectionConfig::udp();
                    udp.port = address.port();
                    // Without TCP an answer that is cut short would stay so.
                    let mut tcp = ConnectionConfig::tcp();
                    tcp.port = address.port();
                    servers.push(NameServerConfig::new(address.ip(), true, vec![udp, tcp]));
                }
            }
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = self.timeout;
        // Which makes two tries.
        options.attempts = 1;
        // What is known is kept here, and for how long is said here.
        options.cache_size = 0;
        if !self.servers.is_empty() {
            options.use_hosts_file = ResolveHosts::Never;
        }
        let resolver = builder
            .build()
            .map_err(|error| failed("the name servers cannot be used", error))?;
        let resolver = Arc::new(resolver);
        *self.slot() = Some(Arc::clone(&resolver));
        Ok(resolver)
    }
}

impl Lookup for Servers {
    fn ask<'a>(&'a self, name: &'a str, kind: Kind) -> BoxFuture<'a, Result<Records, Error>> {
        Box::pin(async move {
            let what = match kind {
                Kind::Srv => RecordType::SRV,
                Kind::A => RecordType::A,
                Kind::Aaaa => RecordType::AAAA,
            };
            let parsed = Name::from_ascii(name).map_err(|error| {
                Error::config(format_args!("{name:?} is no name")).with_source(error)
            })?;
            let resolver = self.resolver().await?;
            match resolver.lookup(parsed, what).await {
                Ok(lookup) => {
                    let beside = match kind {
                        Kind::Srv => lookup.additionals(),
                        Kind::A | Kind::Aaaa => &[],
                    };
                    Ok(records(lookup.answers(), beside))
                }
                // The server knows nothing but who to ask instead, which says nothing of the name.
                Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_referral(&none) => {
                    Err(Error::registry(format_args!(
                        "the {what} records of {name:?} could not be asked for: the name server refers to others, \
                         expected one that answers for the name"
                    )))
                }
                // No such name, or none of these records: an answer like any other.
                Err(error) if error.is_nx_domain() || error.is_no_records_found() => {
                    Ok(Records::default())
                }
                Err(error) => {
                    if self.changes {
                        *self.slot() = None;
                    }
                    Err(failed(
                        &format!("the {what} records of {name:?} could not be asked for"),
                        error,
                    ))
                }
            }
        })
    }
}

/// Whether a server that has no records points to other servers: neither "no such name" nor "none of these",
/// which both come with the zone's SOA record (RFC 2308 §2).
fn is_referral(none: &NoRecords) -> bool {
    none.response_code == ResponseCode::NoError && none.soa.is_none() && none.ns.is_some()
}

fn failed(what: &str, error: NetError) -> Error {
    Error::registry(format_args!("{what}: {error}")).with_source(error)
}

fn records(answers: &[Record], additionals: &[Record]) -> Records {
    let mut records = Records::default();
    let mut ttl: Option<u32> = None;
    for (record, asked) in answers
        .iter()
        .map(|record| (record, true))
        .chain(additionals.iter().map(|record| (record, false)))
    {
        match &record.data {
            RData::SRV(srv) if asked => records.srv.push(Srv {
                priority: srv.priority,
                weight: srv.weight,
                target: plain(&srv.target),
                port: srv.port,
            }),
            RData::A(address) => {
                let of = records.addresses.entry(plain(&record.name));
                of.or_default().push(IpAddr::V4(address.0));
            }
            RData::AAAA(address) => {
                let of = records.addresses.entry(plain(&record.name));
                of.or_default().push(IpAddr::V6(address.0));
            }
            RData::CNAME(_) if asked => {}
            _ => continue,
        }
        ttl = Some(ttl.map_or(record.ttl, |least| least.min(record.ttl)));
    }
    records.ttl = Duration::from_secs(u64::from(ttl.unwrap_or(0)));
    records
}

fn plain(name: &Name) -> String {
    let name = name.to_ascii().to_ascii_lowercase();
    name.strip_suffix('.').unwrap_or(&name).to_owned()
}
