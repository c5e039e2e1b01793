//! The rows, and what they share.

mod answers;
mod nodes;
mod registries;

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use micro_runtime::registry::Registry;
use micro_runtime::{Error, Service};
use micro_tests::front::v1::{FrontService, new_front_service};
use tokio::time::{Instant, sleep};

/// The name of every fleet.
pub(crate) const NAME: &str = "faults.fleet";

/// What a row is given.
pub(crate) struct Ask {
    pub(crate) seed: u64,
    pub(crate) random: fastrand::Rng,
    pub(crate) slow: bool,
}

/// The figures of a row that held, or what did not.
pub(crate) type Outcome = Result<String, String>;

type Run = Box<dyn Fn(Ask) -> Pin<Box<dyn Future<Output = Outcome> + Send>>>;

pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) run: Run,
}

fn row<F, Fut>(name: &str, run: F) -> Row
where
    F: Fn(Ask) -> Fut + 'static,
    Fut: Future<Output = Outcome> + Send + 'static,
{
    Row {
        name: name.to_owned(),
        run: Box::new(move |ask| Box::pin(run(ask))),
    }
}

/// All of them, in order; with `slow`, only those that have a slow variant.
pub(crate) fn all(slow: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    if !slow {
        nodes::rows(&mut rows);
        answers::rows(&mut rows);
    }
    registries::rows(&mut rows, slow);
    rows
}

/// What must hold, each with what was found; all that does not is told at once.
#[derive(Default)]
pub(crate) struct Bounds {
    figures: Vec<String>,
    broken: Vec<String>,
}

impl Bounds {
    /// A figure without a bound.
    pub(crate) fn note(&mut self, figure: impl Into<String>) {
        self.figures.push(figure.into());
    }

    pub(crate) fn hold(&mut self, holds: bool, figure: impl Into<String>) {
        let figure = figure.into();
        if !holds {
            self.broken.push(figure.clone());
        }
        self.figures.push(figure);
    }

    pub(crate) fn none(&mut self, what: &str, found: &[impl Debug]) {
        let shown = &found[..found.len().min(3)];
        let figure = match found {
            [] => format!("no {what}"),
            _ => format!("{} {what}, such as {shown:?}", found.len()),
        };
        self.hold(found.is_empty(), figure);
    }

    pub(crate) fn outcome(self) -> Outcome {
        let figures = self.figures.join("; ");
        if self.broken.is_empty() {
            Ok(figures)
        } else {
            Err(format!(
                "broken: {}; all figures: {figures}",
                self.broken.join("; ")
            ))
        }
    }
}

/// A client of the fleet over this registry. The service lives as long as what is returned.
pub(crate) fn client(registry: impl Registry) -> Result<(Service, FrontService), String> {
    made(Service::new("faults.client").registry(registry).build())
}

/// The same over the registry of these flags.
pub(crate) fn client_by(flags: &[String]) -> Result<(Service, FrontService), String> {
    made(Service::new("faults.client").init_from(flags))
}

fn made(service: Result<Service, Error>) -> Result<(Service, FrontService), String> {
    let service = service.map_err(|error| format!("{error:?}"))?;
    let front = new_front_service(NAME, service.client());
    Ok((service, front))
}

/// Lets time pass, under load.
pub(crate) async fn pass(seconds: f64) -> Instant {
    sleep(Duration::from_secs_f64(seconds)).await;
    Instant::now()
}
