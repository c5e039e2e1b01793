//! `micro list …`.

use std::collections::BTreeSet;

use micro_runtime::Service;
use micro_runtime::registry::Registry as _;

use crate::arguments::Output;
use crate::json;

/// The names of all services, sorted, each once; for people no line if there is none.
pub(crate) async fn services(service: &Service, output: Output) -> Result<Option<String>, String> {
    let registry = service.registry();
    let services = registry
        .list()
        .await
        .map_err(|error| format!("{}: {error:?}", registry.name()))?;
    let names: BTreeSet<String> = services.into_iter().map(|service| service.name).collect();
    match output {
        Output::Json => json(&names, output).map(Some),
        Output::Text if names.is_empty() => Ok(None),
        Output::Text => Ok(Some(names.into_iter().collect::<Vec<_>>().join("\n"))),
    }
}
