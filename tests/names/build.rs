//! Generates code for every file below `proto`, in one run.

use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    // A new file is a new case.
    println!("cargo::rerun-if-changed=proto");
    let mut files = Vec::new();
    protos(Path::new("proto"), &mut files)?;
    files.sort();
    let report = protoc_gen_micro::Builder::new()
        .files(files)
        .includes(["proto"])
        .include_file("_micro.rs")
        // The warnings are compared by the tests, and not printed.
        .emit_rerun(false)
        .compile()?;
    let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    std::fs::write(Path::new(&out).join("warnings.txt"), warnings.join("\n"))?;
    Ok(())
}

fn protos(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            protos(&path, found)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            found.push(path);
        }
    }
    Ok(())
}
