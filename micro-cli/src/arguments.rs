//! What the command line says.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Looks into a fleet of micro services, and calls them.
#[derive(Debug, Parser)]
#[command(name = "micro", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) registry: RegistryArguments,

    /// How to print results.
    #[arg(long, global = true, value_enum, default_value_t, env = "MICRO_OUTPUT")]
    pub(crate) output: Output,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug)]
pub(crate) struct RegistryArguments {
    /// Where services are found: consul, dns, etcd, fixed, kubernetes, mdns, memory, multi, nats or zookeeper, as
    /// far as this build has them. Default: mdns, or MICRO_REGISTRY.
    #[arg(long, global = true)]
    registry: Option<String>,

    /// Addresses of the registry, parted by commas; for dns a name pattern with {service} among them, for fixed
    /// those of the nodes, for mdns the interfaces, for multi registries such as consul://10.0.0.7.
    /// Default: MICRO_REGISTRY_ADDRESS.
    #[arg(long = "registry_address", alias = "registry-address", global = true)]
    registry_address: Option<String>,
}

impl RegistryArguments {
    /// The same as the flags that every service reads; what is not given is left to the environment.
    pub(crate) fn flags(&self) -> Vec<String> {
        let flag = |name: &str, value: &Option<String>| {
            value.as_ref().map(|value| format!("--{name}={value}"))
        };
        [
            flag("registry", &self.registry),
            flag("registry_address", &self.registry_address),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
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
        ])
        .unwrap();
        assert_eq!(arguments.output, Output::Json);
        assert_eq!(arguments.registry.flags(), ["--registry_address=lo"]);
        let Command::Call(call) = arguments.command else {
            panic!("expected a call");
        };
        assert_eq!(call.request, ["{\"name\":", "\"a\"}"]);
        assert_eq!(call.metadata, [("a".to_owned(), "b=c".to_owned())]);
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
