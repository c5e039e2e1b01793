//! Every flag and variable, and what becomes of its value. What they mean is said in `settings.md`, which a
//! test holds against this table.

use super::address;
use super::value::{Given, Origin, shown};
use super::{LogLevel, Proxy, RESERVED_METADATA, Settings, Strategy, tls};
use crate::error::Error;

/// Puts a value where it belongs.
type Take = fn(&mut Settings, &Given<'_>) -> Result<(), Error>;

/// What a flag or variable does.
#[derive(Clone, Copy)]
pub(super) enum Effect {
    /// It sets something.
    Reads(Take),
    /// Nothing, and that harms nobody. The variable is noted, since it may be set for a whole fleet; the
    /// flag is refused, since it was written for this program.
    None(&'static str),
    /// Nothing, and who sets it counts on it.
    Refused(&'static str),
}

use Effect::{None as Nothing, Reads, Refused};

/// A variable, and the flag of the same name if there is one.
pub(super) struct Entry {
    #[cfg_attr(
        not(any(test, feature = "flags")),
        expect(dead_code, reason = "read with the feature flags")
    )]
    /// The flag, without its dashes.
    pub(super) flag: Option<&'static str>,
    /// The variable.
    pub(super) variable: &'static str,
    /// What they do.
    pub(super) effect: Effect,
}

const NO_AUTH: &str = "there are no accounts; check the authorization metadata in an interceptor";
const NO_CONFIG: &str = "there is no configuration service";
const NO_NETWORK: &str = "there is no go-micro network; MICRO_PROXY sends calls through a proxy";
const NO_POOL: &str = "connections are shared by calls, and not taken from a pool";
const NO_PROFILER: &str = "there is no built-in profiler";
const NO_PROFILES: &str = "there are no profiles; set what they stand for, such as the registry";
const NO_RUNTIME: &str = "services do not start services here";
const NO_STORE: &str = "there is no store";
const NO_TRACER: &str = "spans go to the subscriber of the tracing crate";
const NO_TRANSPORT: &str = "the transport has no servers of its own";
const NO_UNCHECKED: &str = "certificates are checked unless MICRO_TLS_INSECURE says otherwise";

/// All of go-micro's (v2 util `config/cmd`, v6 `cmd`), and where they are read from the environment directly.
pub(super) const TABLE: &[Entry] = &[
    both("server_name", "MICRO_SERVER_NAME", Reads(server_name)),
    both(
        "server_version",
        "MICRO_SERVER_VERSION",
        Reads(server_version),
    ),
    both("server_id", "MICRO_SERVER_ID", Reads(server_id)),
    both(
        "server_address",
        "MICRO_SERVER_ADDRESS",
        Reads(server_address),
    ),
    both(
        "server_advertise",
        "MICRO_SERVER_ADVERTISE",
        Reads(server_advertise),
    ),
    both(
        "server_metadata",
        "MICRO_SERVER_METADATA",
        Reads(server_metadata),
    ),
    both("register_ttl", "MICRO_REGISTER_TTL", Reads(register_ttl)),
    both(
        "register_interval",
        "MICRO_REGISTER_INTERVAL",
        Reads(register_interval),
    ),
    both("registry", "MICRO_REGISTRY", Reads(registry)),
    both(
        "registry_address",
        "MICRO_REGISTRY_ADDRESS",
        Reads(registry_address),
    ),
    both(
        "registry_snapshot",
        "MICRO_REGISTRY_SNAPSHOT",
        Reads(registry_snapshot),
    ),
    both("broker", "MICRO_BROKER", Reads(broker)),
    both(
        "broker_address",
        "MICRO_BROKER_ADDRESS",
        Reads(broker_address),
    ),
    both("selector", "MICRO_SELECTOR", Reads(selector)),
    both(
        "client_request_timeout",
        "MICRO_CLIENT_REQUEST_TIMEOUT",
        Reads(request_timeout),
    ),
    both("client_retries", "MICRO_CLIENT_RETRIES", Reads(retries)),
    both(
        "client_pool_size",
        "MICRO_CLIENT_POOL_SIZE",
        Reads(pool_size),
    ),
    both("client", "MICRO_CLIENT", Reads(protocol)),
    both("server", "MICRO_SERVER", Reads(protocol)),
    both("transport", "MICRO_TRANSPORT", Reads(transport)),
    both("tls_cert_file", "MICRO_TLS_CERT_FILE", Reads(tls_cert)),
    both("tls_key_file", "MICRO_TLS_KEY_FILE", Reads(tls_key)),
    both(
        "tls_client_ca_file",
        "MICRO_TLS_CLIENT_CA_FILE",
        Reads(tls_client_ca),
    ),
    both("tls_ca_file", "MICRO_TLS_CA_FILE", Reads(tls_ca)),
    both(
        "tls_server_name",
        "MICRO_TLS_SERVER_NAME",
        Reads(tls_server_name),
    ),
    variable("MICRO_TLS_INSECURE", Reads(tls_insecure)),
    variable("MICRO_PROXY", Reads(proxy)),
    variable("MICRO_LOG_LEVEL", Reads(log_level)),
    both("client_pool_ttl", "MICRO_CLIENT_POOL_TTL", Nothing(NO_POOL)),
    both(
        "transport_address",
        "MICRO_TRANSPORT_ADDRESS",
        Refused(NO_TRANSPORT),
    ),
    both("store", "MICRO_STORE", Nothing(NO_STORE)),
    both("store_address", "MICRO_STORE_ADDRESS", Nothing(NO_STORE)),
    both("store_database", "MICRO_STORE_DATABASE", Nothing(NO_STORE)),
    both("store_table", "MICRO_STORE_TABLE", Nothing(NO_STORE)),
    both("config", "MICRO_CONFIG", Nothing(NO_CONFIG)),
    both("runtime", "MICRO_RUNTIME", Nothing(NO_RUNTIME)),
    both(
        "runtime_source",
        "MICRO_RUNTIME_SOURCE",
        Nothing(NO_RUNTIME),
    ),
    both("tracer", "MICRO_TRACER", Nothing(NO_TRACER)),
    both("tracer_address", "MICRO_TRACER_ADDRESS", Nothing(NO_TRACER)),
    both("profile", "MICRO_PROFILE", Refused(NO_PROFILES)),
    both("debug_profile", "MICRO_DEBUG_PROFILE", Nothing(NO_PROFILER)),
    both("auth", "MICRO_AUTH", Refused(NO_AUTH)),
    both("auth_id", "MICRO_AUTH_ID", Refused(NO_AUTH)),
    both("auth_secret", "MICRO_AUTH_SECRET", Refused(NO_AUTH)),
    both("auth_namespace", "MICRO_AUTH_NAMESPACE", Refused(NO_AUTH)),
    both("auth_public_key", "MICRO_AUTH_PUBLIC_KEY", Refused(NO_AUTH)),
    both(
        "auth_private_key",
        "MICRO_AUTH_PRIVATE_KEY",
        Refused(NO_AUTH),
    ),
    both("auth_provider", "MICRO_AUTH_PROVIDER", Refused(NO_AUTH)),
    variable("MICRO_NETWORK", Refused(NO_NETWORK)),
    variable("MICRO_NETWORK_ADDRESS", Refused(NO_NETWORK)),
    variable("MICRO_ROUTER", Refused(NO_NETWORK)),
    variable("MICRO_ROUTER_ADDRESS", Refused(NO_NETWORK)),
    variable(
        "MICRO_PLUGIN",
        Nothing("plugins written in Go cannot be loaded"),
    ),
    variable("MICRO_TLS_SECURE", Nothing(NO_UNCHECKED)),
];

const fn both(flag: &'static str, variable: &'static str, effect: Effect) -> Entry {
    Entry {
        flag: Some(flag),
        variable,
        effect,
    }
}

const fn variable(variable: &'static str, effect: Effect) -> Entry {
    Entry {
        flag: None,
        variable,
        effect,
    }
}

// ===== what becomes of each =====

fn server_name(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    check_word(given.text, &given.origin, "a name")?;
    settings.name = given.text.to_owned();
    Ok(())
}

fn server_version(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    check_word(given.text, &given.origin, "a version")?;
    settings.version = given.text.to_owned();
    Ok(())
}

fn server_id(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    check_word(given.text, &given.origin, "an id")?;
    settings.id = Some(given.text.to_owned());
    Ok(())
}

fn server_address(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    address::listen(given)?;
    settings.address = given.text.to_owned();
    Ok(())
}

fn server_advertise(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    check_advertise(given)?;
    settings.advertise = Some(given.text.to_owned());
    Ok(())
}

fn server_metadata(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    for pair in given.list() {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(given.expected(format_args!(
                "key=value, more of them parted by commas ({} has no =)",
                shown(pair)
            )));
        };
        check_metadata(key, value, &given.origin)?;
        settings.metadata.insert(key.to_owned(), value.to_owned());
    }
    Ok(())
}

fn register_ttl(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.register_ttl = given.seconds()?;
    Ok(())
}

fn register_interval(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.register_interval = Some(given.seconds()?);
    Ok(())
}

fn registry(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.request.set_name(given.text, given.origin.clone());
    Ok(())
}

fn registry_address(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    let addresses = addresses(given)?;
    settings
        .request
        .set_addresses(addresses, given.origin.clone());
    Ok(())
}

fn broker(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings
        .broker_request
        .set_name(given.text, given.origin.clone());
    Ok(())
}

fn broker_address(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    let addresses = addresses(given)?;
    settings
        .broker_request
        .set_addresses(addresses, given.origin.clone());
    Ok(())
}

fn addresses(given: &Given<'_>) -> Result<Vec<String>, Error> {
    let addresses: Vec<_> = given.list().map(str::to_owned).collect();
    if addresses.is_empty() {
        return Err(given.expected("at least one address"));
    }
    Ok(addresses)
}

fn registry_snapshot(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    if given.text.is_empty() {
        return Err(given.expected("a directory"));
    }
    settings.registry_snapshot = Some(given.text.into());
    Ok(())
}

fn selector(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.strategy = given.one_of(&[
        ("random", Strategy::Random),
        ("round_robin", Strategy::RoundRobin),
        ("weighted", Strategy::Weighted),
        ("p2c", Strategy::P2c),
        // What go-micro calls its default.
        ("registry", Strategy::default()),
    ])?;
    Ok(())
}

fn request_timeout(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.request_timeout = Some(given.duration()?).filter(|timeout| !timeout.is_zero());
    Ok(())
}

fn retries(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.retries = given.number()?;
    Ok(())
}

fn pool_size(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.max_connections_per_node = match given.number()? {
        0 => return Err(given.expected("a number from 1")),
        size => Some(usize::try_from(size).unwrap_or(usize::MAX)),
    };
    Ok(())
}

/// `--client` and `--server`: there is one protocol to choose.
fn protocol(_: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    given.one_of(&[("grpc", ())])
}

/// `http` is go-micro's default for mucp, and its gRPC servers register `grpc`: both name what is there.
fn transport(_: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    given.one_of(&[("grpc", ()), ("http", ())])
}

fn tls_cert(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.tls_request.certificate = tls::Request::said(given);
    Ok(())
}

fn tls_key(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.tls_request.key = tls::Request::said(given);
    Ok(())
}

fn tls_client_ca(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.tls_request.client_ca = tls::Request::said(given);
    Ok(())
}

fn tls_ca(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.tls_request.ca = tls::Request::said(given);
    Ok(())
}

fn tls_server_name(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    check_word(given.text, &given.origin, "a host name or an IP address")?;
    settings.tls_request.server_name = tls::Request::said(given);
    Ok(())
}

fn tls_insecure(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    settings.tls_request.insecure = given.one_of(&[("true", true), ("false", false)])?;
    Ok(())
}

fn proxy(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    let what = "host:port, or the name of a service";
    settings.proxy = Some(if given.text.contains(':') {
        match address::split(given.text) {
            Some((host, Some(port))) if !host.is_empty() && port != 0 => {
                Proxy::Address(address::join(host, port))
            }
            _ => return Err(given.expected(what)),
        }
    } else if given.text == "service" {
        Proxy::Service("go.micro.proxy".to_owned())
    } else {
        check_word(given.text, &given.origin, what)?;
        Proxy::Service(given.text.to_owned())
    });
    Ok(())
}

fn log_level(settings: &mut Settings, given: &Given<'_>) -> Result<(), Error> {
    let lower = Given {
        text: &given.text.to_lowercase(),
        origin: given.origin.clone(),
    };
    settings.log_level = lower.one_of(&[
        ("trace", LogLevel::Trace),
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warn", LogLevel::Warn),
        ("error", LogLevel::Error),
        ("fatal", LogLevel::Fatal),
    ])?;
    Ok(())
}

// ===== checks, also of what code has set =====

/// Names, versions, ids and keys go into log lines and packets.
pub(super) fn check_word(text: &str, origin: &Origin, what: &str) -> Result<(), Error> {
    if !text.is_empty() && text.trim() == text && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(origin.error(format_args!(
        "expected {what}, not empty, without spaces around it and without control characters, found {}",
        shown(text)
    )))
}

pub(super) fn check_metadata(key: &str, value: &str, origin: &Origin) -> Result<(), Error> {
    if RESERVED_METADATA.contains(&key) {
        return Err(origin.error(format_args!(
            "expected a key other than {}, which the server writes itself, found {key:?}",
            RESERVED_METADATA.join(", ")
        )));
    }
    check_word(key, origin, "a key")?;
    if value.contains(char::is_control) {
        return Err(origin.error(format_args!(
            "expected a value without control characters for {}, found {}",
            shown(key),
            shown(value)
        )));
    }
    Ok(())
}

pub(super) fn check_advertise(given: &Given<'_>) -> Result<(), Error> {
    match address::split(given.text) {
        Some((host, port)) if !host.is_empty() || port.is_some() => Ok(()),
        _ => Err(given.expected("host:port, host or :port (an IPv6 host in brackets)")),
    }
}
