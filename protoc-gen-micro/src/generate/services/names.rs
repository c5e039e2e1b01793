//! [`ServiceNames`]: what the items made for a service are called.

use std::collections::HashSet;

use heck::{ToSnakeCase, ToUpperCamelCase};

use crate::generate::names::{sanitize, snake};
use crate::options::Options;

/// The names made for one service, as go-micro makes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceNames {
    /// Its hidden module, `__hello`. No proto name becomes one with leading underscores.
    pub(crate) module: String,
    /// The trait, `HelloHandler`.
    pub(crate) handler: String,
    /// The function that registers one, `register_hello_handler`.
    pub(crate) register: String,
    /// The client, `HelloService`. A name that ends in `Service` already stays as it is.
    pub(crate) client: String,
    /// The function that makes one, `new_hello_service`.
    pub(crate) new: String,
    /// Those of the names above that the package's module re-exports.
    pub(crate) exported: HashSet<String>,
    /// A public name for the hidden module, if the package cannot re-export all.
    pub(crate) public_module: Option<String>,
}

// ===== impl ServiceNames =====

impl ServiceNames {
    /// The names for a service of this name.
    pub(crate) fn of(proto_name: &str) -> ServiceNames {
        let camel = proto_name.to_upper_camel_case();
        let snake = proto_name.to_snake_case();
        let client = if camel.ends_with("Service") {
            camel.clone()
        } else {
            format!("{camel}Service")
        };
        ServiceNames {
            module: format!("__{snake}"),
            handler: sanitize(&format!("{camel}Handler")),
            register: format!("register_{snake}_handler"),
            new: format!("new_{}", client.to_snake_case()),
            client: sanitize(&client),
            exported: HashSet::new(),
            public_module: None,
        }
    }

    /// The names that users write.
    pub(crate) fn public(&self, options: &Options) -> Vec<&str> {
        let server = [self.handler.as_str(), &self.register]
            .into_iter()
            .filter(|_| options.server);
        let client = [self.client.as_str(), &self.new]
            .into_iter()
            .filter(|_| options.client);
        server.chain(client).collect()
    }

    /// A name for the module that is not among those taken.
    pub(crate) fn free_module(&self, taken: &[String]) -> String {
        let base = self.module.trim_start_matches('_');
        let candidates = [snake(base), format!("{base}_rpc")].into_iter();
        let numbered = (2..).map(|number| format!("{base}_rpc{number}"));
        candidates
            .chain(numbered)
            .find(|name| !taken.contains(name))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(proto_name: &str) -> [String; 5] {
        let names = ServiceNames::of(proto_name);
        [
            names.module,
            names.handler,
            names.register,
            names.client,
            names.new,
        ]
    }

    #[test]
    fn follow_go_micro() {
        assert_eq!(
            names("Hello"),
            [
                "__hello",
                "HelloHandler",
                "register_hello_handler",
                "HelloService",
                "new_hello_service"
            ]
        );
        assert_eq!(
            names("say_hello"),
            [
                "__say_hello",
                "SayHelloHandler",
                "register_say_hello_handler",
                "SayHelloService",
                "new_say_hello_service"
            ]
        );
    }

    #[test]
    fn service_is_not_doubled() {
        assert_eq!(
            names("UserService"),
            [
                "__user_service",
                "UserServiceHandler",
                "register_user_service_handler",
                "UserService",
                "new_user_service"
            ]
        );
    }

    #[test]
    fn keywords_and_digits_make_names() {
        assert_eq!(names("Self")[1], "SelfHandler");
        assert_eq!(names("_1")[1], "_1Handler");
    }

    #[test]
    fn the_public_module_avoids_what_is_taken() {
        let names = ServiceNames::of("Hello");
        assert_eq!(names.free_module(&[]), "hello");
        assert_eq!(names.free_module(&["hello".into()]), "hello_rpc");
        assert_eq!(
            names.free_module(&["hello".into(), "hello_rpc".into()]),
            "hello_rpc2"
        );
        assert_eq!(ServiceNames::of("Type").free_module(&[]), "r#type");
    }
}
