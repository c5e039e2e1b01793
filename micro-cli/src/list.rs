//! `micro list …`.

use std::collections::BTreeSet;

use micro_runtime::Service;
use micro_runtime::registry::Registry as _;

use crate::arguments::Output;
use crate::json;

/// The names of all services, sorted, each once.
pub(crate) async fn services(service: &Service, output: Output) -> Result<String, String> {
    let registry = service.registry();
    let services = registry
        .list()
        .await
        .map_err(|error| format!("{}: {error:?}", registry.name()))?;
    let names: BTreeSet<String> = services.into_iter().map(|service| service.name).collect();
    match output {
        Output::Json => json(&names, output),
        Output::Text => Ok(names.into_iter().collect::<Vec<_>>().join("\n")),
    }
}
