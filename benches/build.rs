//! Generates the code of `hello.proto` twice, by our generator and by tonic's, and that of `json.proto`; and notes
//! the compiler's version.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    protoc_gen_micro::Builder::new()
        .files(["../proto/hello.proto", "proto/json.proto"])
        .includes(["../proto", "proto"])
        .include_file("_micro.rs")
        .file_descriptor_set(true)
        .compile()?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("tonic");
    std::fs::create_dir_all(&out)?;
    let mut prost = tonic_prost_build::Config::new();
    prost.protoc_executable(protoc_bin_vendored::protoc_bin_path()?);
    tonic_prost_build::configure()
        .out_dir(&out)
        .compile_with_config(prost, &["../proto/hello.proto"], &["../proto"])?;

    let rustc = std::env::var("RUSTC")?;
    let version = Command::new(rustc).arg("--version").output()?.stdout;
    println!(
        "cargo::rustc-env=BENCH_RUSTC={}",
        String::from_utf8(version)?.trim()
    );
    println!("cargo::rustc-env=BENCH_PROFILE={}", profile());
    println!("cargo::rerun-if-changed=../proto");
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

/// What the measured code is compiled with. Who overrides the profile is told so by every run.
fn profile() -> String {
    if std::env::var("PROFILE").as_deref() != Ok("release") {
        return "dev: no number below means anything".to_owned();
    }
    let mut profile = "release: lto = \"fat\", codegen-units = 1".to_owned();
    for key in ["LTO", "CODEGEN_UNITS", "OPT_LEVEL"] {
        let key = format!("CARGO_PROFILE_RELEASE_{key}");
        println!("cargo::rerun-if-env-changed={key}");
        if let Ok(value) = std::env::var(&key) {
            profile += &format!(", but {key}={value}");
        }
    }
    profile
}
