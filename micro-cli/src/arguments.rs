//! What the command line says.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Looks into a fleet of micro services, and calls them.
#[derive(Debug, Parser)]
#[command(name = "micro", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) registry: RegistryArguments,

    #[command(flatten)]
    pub(crate) broker: BrokerArguments,

    #[command(flatten)]
    pub(crate) tls: TlsArguments,

    /// How to print results.
    #[arg(long, global = true, value_enum, default_value_t, env = "MICRO_OUTPUT")]
    pub(crate) output: Output,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug)]
pub(crate) struct RegistryArguments {
    /// Where services are found: consul, dns, etcd, fixed, kubernetes, mdns, nats or zookeeper, as far as this
    /// build has them; or multi, several of them. Default: mdns, or MICRO_REGISTRY.
    #[arg(long, global = true)]
    registry: Option<String>,

    /// Addresses of the registry, parted by commas; for dns a name pattern with {service} among them, for fixed
    /// those of the nodes, for mdns the interfaces, for multi with the registries' names:
    /// consul://10.0.0.7,etcd://10.0.0.8. Default: MICRO_REGISTRY_ADDRESS.
    #[arg(long = "registry_address", alias = "registry-address", global = true)]
    registry_address: Option<String>,
}

impl RegistryArguments {
    /// The same as the flags that every service reads; what is not given is left to the environment.
    pub(crate) fn flags(&self) -> Vec<String> {
        flags([
            ("registry", &self.registry),
            ("registry_address", &self.registry_address),
        ])
    }
}

#[derive(Args, Debug)]
pub(crate) struct BrokerArguments {
    /// What carries events, for publish and subscribe: http, kafka, nats, rabbitmq or redis, as far as this build
    /// has them. Default: http, or MICRO_BROKER.
    #[arg(long, global = true)]
    broker: Option<String>,

    /// Addresses of the broker, parted by commas; for http where to listen. Default: MICRO_BROKER_ADDRESS.
    #[arg(long = "broker_address", alias = "broker-address", global = true)]
    broker_address: Option<String>,
}

impl BrokerArguments {
    /// The same as the flags that every service reads.
    pub(crate) fn flags(&self) -> Vec<String> {
        flags([
            ("broker", &self.broker),
            ("broker_address", &self.broker_address),
        ])
    }
}

/// How `micro call` speaks TLS; a build without the cargo feature `tls` refuses them.
#[derive(Args, Debug)]
pub(crate) struct TlsArguments {
    /// Calls over TLS, and trusts the authorities in this file (PEM), or with `system` the machine's. Default:
    /// plain text, or MICRO_TLS_CA_FILE.
    #[arg(
        long = "tls_ca_file",
        alias = "tls-ca-file",
        global = true,
        value_name = "FILE"
    )]
    ca_file: Option<String>,

    /// The certificate to show to services that ask for one (PEM). Default: MICRO_TLS_CERT_FILE.
    #[arg(
        long = "tls_cert_file",
        alias = "tls-cert-file",
        global = true,
        value_name = "FILE"
    )]
    cert_file: Option<String>,

    /// The key to it (PEM). Default: MICRO_TLS_KEY_FILE.
    #[arg(
        long = "tls_key_file",
        alias = "tls-key-file",
        global = true,
        value_name = "FILE"
    )]
    key_file: Option<String>,

    /// The name that the certificates of services must have. Default: the node's host, or MICRO_TLS_SERVER_NAME.
    #[arg(
        long = "tls_server_name",
        alias = "tls-server-name",
        global = true,
        value_name = "NAME"
    )]
    server_name: Option<String>,
}

impl TlsArguments {
    /// The same as the flags that every service reads.
    pub(crate) fn flags(&self) -> Vec<String> {
        flags([
            ("tls_ca_file", &self.ca_file),
            ("tls_cert_file", &self.cert_file),
            ("tls_key_file", &self.key_file),
            ("tls_server_name", &self.server_name),
        ])
    }
}

/// Those that were given, as a service's flags.
fn flags<const N: usize>(given: [(&str, &Option<String>); N]) -> Vec<String> {
    let flag = |(name, value): (&str, &Option<String>)| {
        value.as_ref().map(|value| format!("--{name}={value}"))
    };
    given.into_iter().filter_map(flag).collect()
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: JSON in one line.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists what there is.
    #[command(subcommand)]
    List(List),
    /// Shows one thing.
    #[command(subcommand)]
    Get(Get),
    /// Calls a service with a JSON object and prints the reply.
    Call(Call),
    /// Publishes an event with a JSON object as its body, and prints ok when the broker has it.
    Publish(Publish),
    /// Prints the events of a topic, as they come, until it is interrupted.
    ///
    /// A line per event: the time, the topic, the headers and the body, as JSON or text if it is that, else in
    /// base64. With --at-least-once an event is acknowledged when its line is written.
    Subscribe(Subscribe),
    /// Prints what happens to services, as it happens, until it is interrupted.
    ///
    /// A line per node: the time, `create`, `update` or `delete`, service, version, node, address and
    /// metadata. A registry that is away is told on stderr; the watch goes on when it is back.
    Watch {
        /// The service to watch. Default: all.
        service: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum List {
    /// The names of all services, sorted, one a line.
    Services,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Get {
    /// A service: versions, nodes, endpoints with the types of their messages.
    Service {
        /// Its name.
        name: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Call {
    /// The service's name.
    pub(crate) service: String,

    /// What to call: `Hello.Ping`, or a path such as `/pkg.Hello/Ping`.
    pub(crate) endpoint: String,

    /// The request, a JSON object; several words are joined with a space. Default: {}.
    pub(crate) request: Vec<String>,

    /// Calls the node at this address, rather than one of the registry's.
    #[arg(long, env = "MICRO_ADDRESS")]
    pub(crate) address: Option<String>,

    /// Metadata that goes with the request; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, env = "MICRO_METADATA", value_delimiter = ',')]
    pub(crate) metadata: Vec<(String, String)>,

    /// The time that the call may take, such as 5s or 300ms. Default: 5s.
    #[arg(long, value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct Publish {
    /// The topic.
    pub(crate) topic: String,

    /// The event, a JSON object; several words are joined with a space. Default: {}.
    pub(crate) event: Vec<String>,

    /// Headers that go with the event; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, env = "MICRO_METADATA", value_delimiter = ',')]
    pub(crate) metadata: Vec<(String, String)>,

    /// The key of the event: events of one key keep their order, where the broker says so.
    #[arg(long)]
    pub(crate) key: Option<String>,

    /// Waits until the broker has confirmed that it keeps the event.
    #[arg(long)]
    pub(crate) at_least_once: bool,

    /// The time that it may take, such as 5s or 300ms. Default: 5s.
    #[arg(long, value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct Subscribe {
    /// The topic.
    pub(crate) topic: String,

    /// Shares the events with the other subscribers of this queue. Default: a subscriber of its own.
    #[arg(long)]
    pub(crate) queue: Option<String>,

    /// Takes events that are kept until they are acknowledged.
    #[arg(long)]
    pub(crate) at_least_once: bool,

    /// Ends after so many events. Default: never.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected key=value".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a number and a unit: 5s, 300ms or 2m".to_owned();
    let split = text
        .find(|character: char| !character.is_ascii_digit())
        .ok_or_else(expected)?;
    let (number, unit) = text.split_at(split);
    let number: u32 = number.parse().map_err(|_| expected())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return Err(expected()),
    };
    Ok(unit * number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_may_stand_anywhere() {
        let arguments = Arguments::try_parse_from([
            "micro",
            "call",
            "--output",
            "json",
            "hellooo",
            "Hello.Ping",
            "{\"name\":",
            "\"a\"}",
            "--metadata",
            "a=b=c",
            "--registry_address",
            "lo",
            "--tls-ca-file=ca.pem",
        ])
        .unwrap();
        assert_eq!(arguments.output, Output::Json);
        assert_eq!(arguments.registry.flags(), ["--registry_address=lo"]);
        assert_eq!(arguments.tls.flags(), ["--tls_ca_file=ca.pem"]);
        let Command::Call(call) = arguments.command else {
            panic!("expected a call");
        };
        assert_eq!(call.request, ["{\"name\":", "\"a\"}"]);
        assert_eq!(call.metadata, [("a".to_owned(), "b=c".to_owned())]);
    }

    #[test]
    fn what_carries_events_is_said_as_to_a_service() {
        let arguments = Arguments::try_parse_from([
            "micro",
            "publish",
            "orders",
            "{}",
            "--broker=nats",
            "--broker-address",
            "n1,n2",
            "--at-least-once",
        ])
        .unwrap();
        assert_eq!(
            arguments.broker.flags(),
            ["--broker=nats", "--broker_address=n1,n2"]
        );
        let Command::Publish(publish) = arguments.command else {
            panic!("expected a publish");
        };
        assert!(publish.at_least_once);
        assert!(Arguments::try_parse_from(["micro", "subscribe", "t", "--count", "0"]).is_err());
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "5", "s", "5h", "-1s", "99999999999s", "1.5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
