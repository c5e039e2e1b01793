//! The seam holds: nothing outside `transport` names a type of an engine.

use std::fs;
use std::path::Path;

const ENGINES: [&str; 3] = ["h2::", "hyper::", "http::"];

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), text));
        }
    }
}

/// Whether a path begins there: not within a longer name, as `grpc_http::`, nor in a string, as the target of
/// a log line, nor in a module of ours, as `self::http::`.
fn names(line: &str, engine: &str) -> bool {
    line.match_indices(engine).any(|(at, _)| {
        let before = &line[..at];
        !before.ends_with("self::")
            && !before.ends_with(|last: char| last.is_alphanumeric() || "_\"".contains(last))
    })
}

#[test]
fn no_engine_is_named_outside_transport() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    let inside = root.join("transport").display().to_string();
    let (mut in_transport, mut outside) = (0, Vec::new());
    for (path, text) in &found {
        for (number, line) in text.lines().enumerate() {
            if !ENGINES.iter().any(|engine| names(line, engine)) {
                continue;
            }
            if path.starts_with(&inside) {
                in_transport += 1;
            } else {
                outside.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(
        in_transport > 0,
        "the search finds nothing where there is something"
    );
    assert!(outside.is_empty(), "{}", outside.join("\n"));
}

#[test]
fn only_whole_names_count() {
    assert!(names("use h2::Reason;", "h2::"));
    assert!(names("    let x: http::Uri;", "http::"));
    assert!(names("a(::http::Uri)", "http::"));
    assert!(!names("use broker_http::x;", "http::"));
    assert!(!names("registry::http2", "http::"));
    assert!(!names("pub use self::http::Http;", "http::"));
    assert!(!names("debug!(target: \"h2::codec\")", "h2::"));
}
