//! Generates code for every file below `proto` in one run, and for a big file in another.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use protoc_gen_micro::Builder;

fn main() -> Result<(), Box<dyn Error>> {
    // A new file is a new case.
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut files = Vec::new();
    protos(Path::new("proto"), &mut files)?;
    files.sort();
    let report = Builder::new()
        .files(files)
        .includes(["proto"])
        .include_file("_micro.rs")
        // The warnings are compared by the tests, and not printed.
        .emit_rerun(false)
        .compile()?;
    let warnings: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    std::fs::write(out.join("warnings.txt"), warnings.join("\n"))?;
    big(&out.join("big"))
}

/// 600 messages and 600 rpcs of all kinds.
fn big(out: &Path) -> Result<(), Box<dyn Error>> {
    const COUNT: usize = 600;
    let mut proto = "syntax = \"proto3\";\npackage big;\n".to_owned();
    let mut rpcs = String::new();
    for index in 0..COUNT {
        writeln!(
            proto,
            "message M{index} {{ int32 number = 1; M{} next = 2; }}",
            (index * 7 + 1) % COUNT
        )?;
        let (ask, answer) = [
            ("", ""),
            ("stream ", ""),
            ("", "stream "),
            ("stream ", "stream "),
        ][index % 4];
        writeln!(
            rpcs,
            "rpc Call{index}({ask}M{index}) returns ({answer}M{});",
            (index + 1) % COUNT
        )?;
    }
    writeln!(proto, "service Big {{ {rpcs} }}")?;
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("big.proto"), proto)?;
    Builder::new()
        .files([out.join("big.proto")])
        .includes([out])
        .out_dir(out)
        .emit_rerun(false)
        .compile()?;
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
