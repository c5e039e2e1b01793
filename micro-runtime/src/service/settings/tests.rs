//! Every flag and variable by a table, their order of precedence, and the documentation held against both.

use std::collections::BTreeSet;
use std::ffi::OsString;

use super::table::{Effect, TABLE};
use super::*;

fn from_environment(settings: &mut Settings, variable: &str, value: &str) -> Result<(), Error> {
    settings.read_environment(|asked| (asked == variable).then(|| OsString::from(value)))
}

#[cfg(feature = "flags")]
fn from_flag(settings: &mut Settings, flag: &str, value: &str) -> Result<(), Error> {
    let rest = settings.read_flags([format!("--{flag}={value}").into()], &[])?;
    assert!(rest.is_empty(), "{rest:?}");
    let mut apart = Settings::new("hello");
    apart.read_flags([format!("--{flag}").into(), value.into()], &[])?;
    let mut together = Settings::new("hello");
    together.read_flags([format!("--{flag}={value}").into()], &[])?;
    assert_eq!(format!("{apart:?}"), format!("{together:?}"));
    Ok(())
}

/// What a setting became.
type Show = fn(&Settings) -> String;

/// A variable, what shows its setting, values with what they become, and values that are refused with what
/// was expected.
type Case = (
    &'static str,
    Show,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
    &'static str,
);

const CASES: &[Case] = &[
    (
        "MICRO_SERVER_NAME",
        |s| s.name.clone(),
        &[("go.micro.srv.greeter", "go.micro.srv.greeter")],
        &[" a", "a\n", "a\u{0}b", " "],
        "a name, not empty",
    ),
    (
        "MICRO_SERVER_VERSION",
        |s| s.version.clone(),
        &[("1.2.3", "1.2.3")],
        &["1\t"],
        "a version, not empty",
    ),
    (
        "MICRO_SERVER_ID",
        |s| format!("{:?}", s.id),
        &[("7", "Some(\"7\")")],
        &["7 "],
        "an id, not empty",
    ),
    (
        "MICRO_SERVER_ADDRESS",
        |s| s.address.clone(),
        &[
            (":8080", ":8080"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("unix:/tmp/a", "unix:/tmp/a"),
        ],
        &["8080", "a", "::1", "a:65536"],
        "host:port, :port or unix:/path",
    ),
    (
        "MICRO_SERVER_ADVERTISE",
        |s| format!("{:?}", s.advertise),
        &[
            ("10.0.0.7:80", "Some(\"10.0.0.7:80\")"),
            ("shop", "Some(\"shop\")"),
            (":80", "Some(\":80\")"),
        ],
        &[":", "a:b", "http://a:80", "[::1"],
        "host:port, host or :port",
    ),
    (
        "MICRO_SERVER_METADATA",
        |s| format!("{:?}", s.metadata),
        &[
            ("a=1", r#"{"a": "1"}"#),
            ("b=2=3, a=1,,c=", r#"{"a": "1", "b": "2=3", "c": ""}"#),
        ],
        &["a", "a=1,2", "=1", "protocol=http", "a=\u{7}"],
        "",
    ),
    (
        "MICRO_REGISTER_TTL",
        |s| format!("{:?}", s.register_ttl),
        &[("60", "60s"), ("0", "0ns"), ("4294967295", "4294967295s")],
        &["60s", "-1", "1.5", "4294967296", "a"],
        "whole seconds",
    ),
    (
        "MICRO_REGISTER_INTERVAL",
        |s| format!("{:?}", s.register_interval),
        &[("20", "Some(20s)"), ("0", "Some(0ns)")],
        &["20s", "-1"],
        "whole seconds",
    ),
    (
        "MICRO_REGISTRY",
        |s| s.request.shown(),
        &[("mdns", "mdns|"), ("a b", "a b|")],
        &[],
        "",
    ),
    (
        "MICRO_REGISTRY_ADDRESS",
        |s| s.request.shown(),
        &[("a:1", "|a:1"), (" a:1, ,b:2,", "|a:1 b:2")],
        &[",", " , "],
        "at least one address",
    ),
    (
        "MICRO_BROKER",
        |s| s.broker_request.shown(),
        &[("http", "http|"), ("a b", "a b|")],
        &[],
        "",
    ),
    (
        "MICRO_BROKER_ADDRESS",
        |s| s.broker_request.shown(),
        &[("a:1", "|a:1"), (" a:1, ,b:2,", "|a:1 b:2")],
        &[",", " , "],
        "at least one address",
    ),
    (
        "MICRO_REGISTRY_SNAPSHOT",
        |s| format!("{:?}", s.registry_snapshot),
        &[("/var/lib/a b", "Some(\"/var/lib/a b\")")],
        &[],
        "",
    ),
    (
        "MICRO_SELECTOR",
        |s| format!("{:?}", s.strategy),
        &[
            ("random", "Random"),
            ("round_robin", "RoundRobin"),
            ("weighted", "Weighted"),
            ("p2c", "P2c"),
            ("registry", "P2c"),
        ],
        &["static", "Random"],
        "one of random, round_robin, weighted, p2c, registry",
    ),
    (
        "MICRO_CLIENT_REQUEST_TIMEOUT",
        |s| format!("{:?}", s.request_timeout),
        &[
            ("1m30s", "Some(90s)"),
            ("300ms", "Some(300ms)"),
            ("0", "None"),
            ("0s", "None"),
        ],
        &["5", "-5s", "5 s", "soon"],
        "a duration such as 5s, 300ms or 1m30s",
    ),
    (
        "MICRO_CLIENT_RETRIES",
        |s| s.retries.to_string(),
        &[("0", "0"), ("3", "3")],
        &["-1", "1.5", "many"],
        "a whole number from 0",
    ),
    (
        "MICRO_CLIENT_POOL_SIZE",
        |s| format!("{:?}", s.max_connections_per_node),
        &[("1", "Some(1)"), ("100", "Some(100)")],
        &["0", "-1", "1m"],
        "a ",
    ),
    (
        "MICRO_CLIENT",
        |_| String::new(),
        &[("grpc", "")],
        &["mucp", "GRPC"],
        "grpc",
    ),
    (
        "MICRO_SERVER",
        |_| String::new(),
        &[("grpc", "")],
        &["mucp"],
        "grpc",
    ),
    (
        "MICRO_TRANSPORT",
        |_| String::new(),
        &[("grpc", ""), ("http", "")],
        &["memory"],
        "one of grpc, http",
    ),
    (
        "MICRO_TLS_CERT_FILE",
        |s| {
            format!(
                "{:?}",
                s.tls_request.certificate.as_ref().map(|said| &said.0)
            )
        },
        &[("/etc/a b", "Some(\"/etc/a b\")")],
        &[],
        "",
    ),
    (
        "MICRO_TLS_KEY_FILE",
        |s| format!("{:?}", s.tls_request.key.as_ref().map(|said| &said.0)),
        &[("/etc/a b", "Some(\"/etc/a b\")")],
        &[],
        "",
    ),
    (
        "MICRO_TLS_CLIENT_CA_FILE",
        |s| format!("{:?}", s.tls_request.client_ca.as_ref().map(|said| &said.0)),
        &[("/etc/a b", "Some(\"/etc/a b\")")],
        &[],
        "",
    ),
    (
        "MICRO_TLS_CA_FILE",
        |s| format!("{:?}", s.tls_request.ca.as_ref().map(|said| &said.0)),
        &[("/etc/a b", "Some(\"/etc/a b\")")],
        &[],
        "",
    ),
    (
        "MICRO_TLS_SERVER_NAME",
        |s| {
            let name = s.tls_request.server_name.as_ref();
            format!("{:?}", name.map(|said| &said.0))
        },
        &[("shop.example", "Some(\"shop.example\")")],
        &[" ", "a\n"],
        "a host name or an IP address, not empty",
    ),
    (
        "MICRO_TLS_INSECURE",
        |s| s.tls_request.insecure.to_string(),
        &[("true", "true"), ("false", "false")],
        &["yes", "TRUE", "1"],
        "one of true, false",
    ),
    (
        "MICRO_PROXY",
        |s| format!("{:?}", s.proxy),
        &[
            ("10.0.0.7:8081", "Some(Address(\"10.0.0.7:8081\"))"),
            ("[::1]:8081", "Some(Address(\"[::1]:8081\"))"),
            ("service", "Some(Service(\"go.micro.proxy\"))"),
            ("my.proxy", "Some(Service(\"my.proxy\"))"),
        ],
        &[":8081", "a:0", "a:b", "http://a:80", " a"],
        "host:port, or the name of a service",
    ),
    (
        "MICRO_LOG_LEVEL",
        |s| format!("{:?}", s.log_level),
        &[
            ("trace", "Trace"),
            ("debug", "Debug"),
            ("info", "Info"),
            ("Warn", "Warn"),
            ("ERROR", "Error"),
            ("fatal", "Fatal"),
        ],
        &["verbose", "1"],
        "one of trace, debug, info, warn, error, fatal",
    ),
];

#[test]
fn each_is_read_by_variable_and_flag() {
    for (variable, show, values, refused, expected) in CASES {
        #[cfg(feature = "flags")]
        let flag = TABLE
            .iter()
            .find(|entry| entry.variable == *variable)
            .unwrap()
            .flag;
        for (value, shown) in *values {
            let mut settings = Settings::new("hello");
            from_environment(&mut settings, variable, value).unwrap();
            assert_eq!(show(&settings), *shown, "{variable}={value}");
            #[cfg(feature = "flags")]
            if let Some(flag) = flag {
                let mut settings = Settings::new("hello");
                from_flag(&mut settings, flag, value).unwrap();
                assert_eq!(show(&settings), *shown, "--{flag}={value}");
            }
        }
        for value in *refused {
            let mut settings = Settings::new("hello");
            let error = from_environment(&mut settings, variable, value).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("{variable}: expected {expected}")),
                "{text}"
            );
            #[cfg(feature = "flags")]
            if let Some(flag) = flag {
                let error = from_flag(&mut settings, flag, value).unwrap_err();
                assert_eq!(
                    error.to_string(),
                    text.replacen(variable, &format!("--{flag}"), 1)
                );
            }
        }
        // An empty variable is one that is not set.
        let mut settings = Settings::new("hello");
        from_environment(&mut settings, variable, "").unwrap();
        assert_eq!(
            format!("{settings:?}"),
            format!("{:?}", Settings::new("hello"))
        );
    }
    let tested: BTreeSet<_> = CASES.iter().map(|case| case.0).collect();
    let read: BTreeSet<_> = TABLE
        .iter()
        .filter(|entry| matches!(entry.effect, Effect::Reads(_)))
        .map(|entry| entry.variable)
        .collect();
    assert_eq!(tested, read);
}

#[test]
fn what_does_nothing_is_refused_or_noted() {
    let mut both = [0, 0];
    for entry in TABLE {
        let mut settings = Settings::new("hello");
        let variable = from_environment(&mut settings, entry.variable, "secret");
        let why = match entry.effect {
            Effect::Reads(_) => continue,
            Effect::None(why) => {
                variable.unwrap();
                assert_eq!(settings.ignored, [(entry.variable, why)]);
                both[0] += 1;
                why
            }
            Effect::Refused(why) => {
                let text = variable.unwrap_err().to_string();
                assert_eq!(
                    text,
                    format!("{}: expected not to be set: {why}", entry.variable)
                );
                both[1] += 1;
                why
            }
        };
        #[cfg(feature = "flags")]
        if let Some(flag) = entry.flag {
            let text = from_flag(&mut settings, flag, "secret")
                .unwrap_err()
                .to_string();
            assert!(
                text.starts_with(&format!("--{flag}: expected not to be set: {why}; ")),
                "{text}"
            );
            assert!(text.ends_with(&format!("own_flags([{flag:?}])")), "{text}");
            assert!(!text.contains("\"secret\""), "{text}");
        }
        assert!(!why.is_empty());
    }
    assert_eq!(both, [13, 13]);
}

#[cfg(unix)]
#[test]
fn a_variable_of_other_bytes_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;

    let mut settings = Settings::new("hello");
    let error = settings
        .read_environment(|name| {
            (name == "MICRO_SERVER_NAME").then(|| OsString::from_vec(vec![0xff]))
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "MICRO_SERVER_NAME: expected UTF-8 text, found other bytes"
    );
}

#[cfg(feature = "flags")]
#[test]
fn flags_win_over_the_environment_and_that_over_code() {
    let environment = std::collections::BTreeMap::from([
        ("MICRO_SERVER_NAME", "by.variable"),
        ("MICRO_SERVER_VERSION", "2"),
        ("MICRO_REGISTER_TTL", "60"),
        ("MICRO_SERVER_METADATA", "a=variable,b=variable"),
        ("MICRO_SELECTOR", "random"),
        ("MICRO_CLIENT_REQUEST_TIMEOUT", "1s"),
    ]);
    let mut settings = Settings::new("by.code");
    settings.version = "1".to_owned();
    settings.retries = 7;
    settings.request_timeout = None;
    settings.metadata = [("a", "code"), ("b", "code"), ("c", "code"), ("d", "code")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    settings
        .read_environment(|name| environment.get(name).map(OsString::from))
        .unwrap();
    settings
        .read_flags(
            [
                "--server-name=by.flag",
                "--server_metadata",
                "b=flag,e=flag",
            ]
            .map(OsString::from),
            &[],
        )
        .unwrap();
    assert_eq!(settings.name, "by.flag");
    assert_eq!(settings.version, "2");
    assert_eq!(settings.retries, 7);
    assert_eq!(settings.strategy, Strategy::Random);
    assert_eq!(settings.register_ttl, Duration::from_secs(60));
    assert_eq!(settings.request_timeout, Some(Duration::from_secs(1)));
    assert_eq!(
        format!("{:?}", settings.metadata),
        r#"{"a": "variable", "b": "flag", "c": "code", "d": "code", "e": "flag"}"#
    );
}

#[test]
fn the_interval_follows_the_ttl() {
    let seconds = Duration::from_secs;
    for (ttl, interval, expected) in [
        (90, None, Some(seconds(30))),
        (60, None, Some(seconds(20))),
        (600, None, Some(seconds(30))),
        (1, None, Some(seconds(1) / 3)),
        (0, None, Some(seconds(30))),
        (0, Some(0), Some(seconds(0))),
        (0, Some(5), Some(seconds(5))),
        (60, Some(59), Some(seconds(59))),
        (60, Some(60), None),
        (60, Some(61), None),
        (60, Some(0), None),
    ] {
        let mut settings = Settings::new("hello");
        settings.register_ttl = seconds(ttl);
        settings.register_interval = interval.map(seconds);
        let found = settings.interval();
        assert_eq!(found.as_ref().ok(), expected.as_ref(), "{ttl} {interval:?}");
        if let Err(error) = found {
            assert!(error.to_string().contains("60s"), "{error}");
        }
    }
}

#[test]
fn what_code_sets_is_checked_too() {
    type Edit = fn(&mut Settings);
    let edits: &[(Edit, &str)] = &[
        (|s| s.name.clear(), "Service::new: expected a name"),
        (
            |s| s.version.clear(),
            "ServiceBuilder::version: expected a version",
        ),
        (
            |s| s.id = Some("\n".to_owned()),
            "ServiceBuilder::id: expected an id",
        ),
        (
            |s| s.address = "80".to_owned(),
            "ServiceBuilder::address: expected host:port",
        ),
        (
            |s| s.advertise = Some(":x".to_owned()),
            "ServiceBuilder::advertise: expected host:port",
        ),
        (
            |s| {
                s.metadata.insert("server".to_owned(), "x".to_owned());
            },
            "ServiceBuilder::metadata: expected a key other than broker, protocol,",
        ),
        (
            |s| s.register_interval = Some(REGISTER_TTL),
            "register_ttl and register_interval: expected",
        ),
    ];
    for (edit, expected) in edits {
        let mut settings = Settings::new("hello");
        edit(&mut settings);
        let text = settings.resolve().unwrap_err().to_string();
        assert!(text.starts_with(expected), "{text}");
    }
}

/// The rows of the tables in the documentation: their cells without the quotes.
fn rows() -> Vec<Vec<String>> {
    include_str!("settings.md")
        .lines()
        .filter(|line| line.starts_with("| `") || line.starts_with("| –"))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

#[test]
fn the_documentation_names_them_all() {
    let documented: Vec<_> = rows()
        .into_iter()
        .map(|row| match row.len() {
            6 => (row[0].clone(), row[1].clone(), "read".to_owned()),
            4 => (
                row[0].clone(),
                row[1].clone(),
                format!("{}: {}", row[2], row[3]),
            ),
            _ => panic!("{row:?}"),
        })
        .collect();
    let table: Vec<_> = TABLE
        .iter()
        .map(|entry| {
            (
                entry
                    .flag
                    .map_or("–".to_owned(), |flag| format!("`{flag}`")),
                format!("`{}`", entry.variable),
                match entry.effect {
                    Effect::Reads(_) => "read".to_owned(),
                    Effect::None(why) => format!("logged: {why}"),
                    Effect::Refused(why) => format!("refused: {why}"),
                },
            )
        })
        .collect();
    assert_eq!(documented, table);
    for entry in TABLE {
        if let Some(flag) = entry.flag {
            assert_eq!(entry.variable, format!("MICRO_{}", flag.to_uppercase()));
        }
    }
}

/// A default that stands in the documentation as a value, set, changes nothing.
#[test]
fn the_documented_defaults_are_those() {
    let mut checked = 0;
    for row in rows().iter().filter(|row| row.len() == 6) {
        let variable = row[1].trim_matches('`');
        if ["MICRO_REGISTRY", "MICRO_BROKER"].contains(&variable) {
            continue;
        }
        if let Some(value) = row[3].strip_prefix('`') {
            let mut settings = Settings::new("hello");
            from_environment(&mut settings, variable, value.trim_end_matches('`')).unwrap();
            assert_eq!(
                format!("{settings:?}"),
                format!("{:?}", Settings::new("hello")),
                "{variable}"
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 11);
}

proptest::proptest! {
    #[test]
    fn any_environment_is_read_or_refused(
        values in proptest::collection::vec(".{0,16}|[-+0-9a-z.,=:/]{0,16}", TABLE.len())
    ) {
        for (entry, value) in TABLE.iter().zip(&values) {
            let mut settings = Settings::new("hello");
            if from_environment(&mut settings, entry.variable, value).is_ok() {
                // What was let in from outside holds when everything is checked.
                let wrong = settings.resolve().err().map(|error| error.to_string());
                proptest::prop_assert!(
                    !wrong.as_ref().is_some_and(|text| text.starts_with("Service")),
                    "{:?}",
                    wrong
                );
            }
        }
    }
}
