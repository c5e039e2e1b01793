//! What a pod's environment says of Kubernetes.

use std::sync::Arc;

use crate::error::Error;
use crate::registry::{DynRegistry, Kubernetes};

/// Its own name, which Kubernetes makes the name of its host.
const POD: &str = "HOSTNAME";

/// Where its API server is, by address, which needs no DNS.
const HOST: &str = "KUBERNETES_SERVICE_HOST";
const PORT: &str = "KUBERNETES_SERVICE_PORT";

/// The registry at this address, or in the cluster that this process runs in.
pub(super) fn make(addresses: &[String]) -> Result<Arc<dyn DynRegistry>, Error> {
    from(addresses, |name| std::env::var(name).ok())
}

fn from(
    addresses: &[String],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Arc<dyn DynRegistry>, Error> {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let mut registry = Kubernetes::try_new(addresses)?;
    if addresses.is_empty()
        && let (Some(host), Some(port)) = (variable(HOST), variable(PORT))
    {
        registry = registry.api_server(&host, &port)?;
    }
    if !registry.has_pod()
        && let Some(pod) = variable(POD)
    {
        registry = registry.pod(pod);
    }
    Ok(Arc::new(registry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_knows_its_name_and_its_server() {
        let variables = |name: &str| match name {
            POD => Some("greeter-1".to_owned()),
            HOST => Some("fd00::1".to_owned()),
            PORT => Some("443".to_owned()),
            _ => None,
        };
        assert!(from(&[], variables).is_ok());
        let bad = |name: &str| {
            (name != PORT)
                .then(|| "x".to_owned())
                .or(Some("http".to_owned()))
        };
        let error = from(&[], bad).err().unwrap().to_string();
        assert!(error.contains("KUBERNETES_SERVICE_PORT"), "{error}");
        assert!(from(&["https://10.0.0.1:6443?pod=a".to_owned()], bad).is_ok());
    }
}
