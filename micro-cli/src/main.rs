//! The command `micro`: looks into a fleet of micro services, calls them, and publishes and receives events.

mod arguments;
mod call;
mod get;
mod list;
mod publish;
mod signal;
mod subscribe;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use micro_runtime::Service;

use arguments::{Arguments, Command, Get, List, Output};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(Some(text)) => print(&text),
        Ok(None) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints to stdout; a reader that has gone (`micro … | head`) is no failure of ours.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;

    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("the result could not be written: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// Runs a command; what it has to print, if it has not done so itself.
async fn run(arguments: Arguments) -> Result<Option<String>, String> {
    let Arguments {
        registry,
        broker,
        tls,
        output,
        command,
    } = arguments;
    let service = Service::new("micro.cli")
        .init_from([registry.flags(), broker.flags(), tls.flags()].concat())
        .map_err(|error| format!("{error:?}"))?;
    match command {
        Command::List(List::Services) => list::services(&service, output).await,
        Command::Get(Get::Service { name }) => {
            get::service(&service, &name, output).await.map(Some)
        }
        Command::Call(call) => call::run(&service, &call, output).await.map(Some),
        Command::Publish(publish) => publish::run(&service, &publish).await.map(Some),
        Command::Subscribe(subscribe) => {
            subscribe::run(&service, &subscribe, output).await?;
            Ok(None)
        }
        Command::Watch { service: name } => {
            watch::run(&service, name.as_deref(), output).await?;
            Ok(None)
        }
    }
}

/// The words of a command line as the JSON object that they must be; none are `{}`. `what` is what they stand for.
fn object(words: &[String], what: &str) -> Result<serde_json::Value, String> {
    let text = match words.join(" ") {
        empty if empty.trim().is_empty() => "{}".to_owned(),
        text => text,
    };
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| format!("expected {what} as a JSON object, found {text:?}: {error}"))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(format!(
            "expected {what} as a JSON object such as {{\"name\": \"John\"}}, found {text:?}"
        )),
    }
}

/// A value as `--output json` prints it.
fn json(value: &impl serde::Serialize, output: Output) -> Result<String, String> {
    use serde_json::ser::{PrettyFormatter, Serializer};

    let mut text = Vec::new();
    let written = match output {
        Output::Json => value.serialize(&mut Serializer::new(&mut text)),
        Output::Text => value.serialize(&mut Serializer::with_formatter(
            &mut text,
            // A tab, as go-micro's command.
            PrettyFormatter::with_indent(b"\t"),
        )),
    };
    written.map_err(|error| format!("the result could not be written as JSON: {error}"))?;
    String::from_utf8(text).map_err(|error| error.to_string())
}
