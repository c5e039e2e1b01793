//! [`Router`]: which method a path means.

use std::collections::HashMap;
use std::sync::Arc;

use super::routes::Route;
use crate::error::{Error, ErrorKind};
use crate::status::Status;

/// The methods of a server, by path.
///
/// The exact path `/pkg.Svc/Method` comes first. Else the last dotted label of the service segment counts, if
/// it is unique among the server's services: go-micro's clients put the registry's name of the service where
/// gRPC has the package, and its servers ignore whatever stands before the last dot.
#[derive(Clone, Debug, Default)]
pub(super) struct Router {
    exact: HashMap<Box<str>, Arc<Route>>,
    /// Full names of the services with this last label; more than one is ambiguous.
    labels: HashMap<Box<str>, Vec<&'static str>>,
}

// ===== impl Router =====

impl Router {
    /// Adds a service's methods.
    ///
    /// # Errors
    /// The service is there already.
    pub(super) fn add(
        &mut self,
        service: &'static str,
        routes: impl IntoIterator<Item = Route>,
    ) -> Result<(), Error> {
        let label = last_label(service);
        let services = self.labels.entry(label.into()).or_default();
        if services.contains(&service) {
            return Err(Error::new(
                ErrorKind::Duplicate,
                format_args!(
                    "the service {service:?} is registered already: a server takes one handler per service"
                ),
            ));
        }
        services.push(service);
        for route in routes {
            let route = Arc::new(route);
            // The proto's own spelling, and the CamelCase one that go-micro's servers know.
            let camel = last_label(route.info.endpoint);
            for name in [route.info.name, camel] {
                self.exact
                    .entry(format!("/{service}/{name}").into())
                    .or_insert_with(|| Arc::clone(&route));
            }
        }
        Ok(())
    }

    /// The method of a path.
    ///
    /// # Errors
    /// UNIMPLEMENTED, saying what is not there.
    pub(super) fn find(&self, path: &str) -> Result<&Arc<Route>, Status> {
        if let Some(route) = self.exact.get(path) {
            return Ok(route);
        }
        self.find_by_label(path)
    }

    #[cold]
    fn find_by_label(&self, path: &str) -> Result<&Arc<Route>, Status> {
        let Some((service, method)) = split(path) else {
            return Err(Status::unimplemented(format_args!(
                "malformed method name {path:?}: expected \"/package.Service/Method\""
            )));
        };
        match self.labels.get(last_label(service)).map(Vec::as_slice) {
            Some(&[full]) => self
                .exact
                .get(format!("/{full}/{method}").as_str())
                .ok_or_else(|| {
                    Status::unimplemented(format_args!(
                        "unknown method {method}: the service {full} has no such method"
                    ))
                }),
            Some(many @ [_, _, ..]) => {
                // A full name that is here needs no guess: only its method is wrong.
                if many.contains(&service) {
                    return Err(Status::unimplemented(format_args!(
                        "unknown method {method}: the service {service} has no such method"
                    )));
                }
                Err(Status::unimplemented(format_args!(
                    "ambiguous service {service}: this server has {}; call one by its full name",
                    many.join(" and ")
                )))
            }
            _ => Err(Status::unimplemented(format_args!(
                "unknown service {service}: this server has no such service"
            ))),
        }
    }

    /// Every method once, ordered by service and name.
    pub(super) fn routes(&self) -> Vec<&Arc<Route>> {
        let mut routes: Vec<_> = self.exact.values().collect();
        routes.sort_by_key(|route| (route.info.endpoint, route.info.path));
        routes.dedup_by(|a, b| Arc::ptr_eq(a, b));
        routes
    }
}

/// `/service/method`, both non-empty, and nothing more.
fn split(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/'))
        .then_some((service, method))
}

fn last_label(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Idempotency, MethodInfo, MethodKind, Shape};
    use proptest::prelude::*;

    static SHAPE: Shape = Shape::message("", "", &[]);

    fn route(service: &'static str, name: &'static str, endpoint: &'static str) -> Route {
        Route::for_tests(MethodInfo {
            kind: MethodKind::Unary,
            service,
            name,
            path: "",
            endpoint,
            idempotency: Idempotency::Unknown,
            deprecated: false,
            comment: "",
            http: &[],
            request: &SHAPE,
            response: &SHAPE,
        })
    }

    fn router() -> Router {
        let mut router = Router::default();
        router
            .add(
                "a.Greeter",
                [route("a.Greeter", "say_hello", "Greeter.SayHello")],
            )
            .unwrap();
        router
            .add("b.Clock", [route("b.Clock", "Now", "Clock.Now")])
            .unwrap();
        router
            .add("c.Clock", [route("c.Clock", "Now", "Clock.Now")])
            .unwrap();
        router
    }

    fn found(path: &str) -> Result<(&'static str, &'static str), String> {
        router()
            .find(path)
            .map(|route| (route.info.service, route.info.name))
            .map_err(|status| status.to_string())
    }

    #[test]
    fn the_last_label_is_enough_where_it_is_unique() {
        for path in [
            "/a.Greeter/say_hello",
            "/a.Greeter/SayHello",
            "/go.micro.srv.greeter.Greeter/SayHello",
            "/Greeter/say_hello",
        ] {
            assert_eq!(found(path), Ok(("a.Greeter", "say_hello")), "{path}");
        }
        assert_eq!(found("/c.Clock/Now"), Ok(("c.Clock", "Now")));
    }

    #[test]
    fn says_what_is_not_there() {
        let text = |path| found(path).unwrap_err();
        assert!(text("/x.Clock/Now").contains("b.Clock and c.Clock"));
        assert!(text("/b.Clock/Then").contains("unknown method Then"));
        assert!(text("/Greeter/Nope").contains("unknown method Nope"));
        assert!(text("/Nope/Ping").contains("unknown service Nope"));
        for path in [
            "",
            "/",
            "Greeter/SayHello",
            "/Greeter",
            "/Greeter/",
            "//x",
            "/a/Greeter/SayHello",
        ] {
            assert!(text(path).contains("malformed method name"), "{path}");
        }
    }

    #[test]
    fn one_service_twice_is_an_error() {
        let mut router = router();
        let error = router.add("b.Clock", []).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Duplicate);
    }

    proptest! {
        #[test]
        fn any_path_finds_or_tells(path in ".{0,40}") {
            let _ = router().find(&path);
        }
    }
}
