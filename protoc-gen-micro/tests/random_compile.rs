//! Random requests, and the compiler's word on what is made of them: all outputs in one crate, checked at once.
//!
//! `.ci/run random` runs this. `MICRO_RANDOM_REQUESTS` says how many (200 if it does not), `MICRO_RANDOM_SEED`
//! which (it is printed).

#[path = "random/descriptors.rs"]
mod descriptors;

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use descriptors::{Tape, request};
use prost::Message;
use protoc_gen_micro::generate;

const PARAMETERS: [&str; 4] = [
    "include_file",
    "include_file,layout=nested",
    "include_file,btree_map=.,file_descriptor_set",
    "include_file,retain_enum_prefix,bytes=.",
];

fn number(name: &str, default: u64) -> Result<u64, Box<dyn Error>> {
    match std::env::var(name) {
        Ok(text) => Ok(text
            .parse()
            .map_err(|_| format!("{name}: expected a number, found {text:?}"))?),
        Err(_) => Ok(default),
    }
}

/// The numbers of a tape (SplitMix64).
fn tape(seed: u64) -> Vec<u32> {
    let mut state = seed;
    let numbers = (0..400).map(|_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 33) as u32
    });
    numbers.collect()
}

#[test]
fn what_is_generated_compiles() -> Result<(), Box<dyn Error>> {
    let (count, seed) = (
        number("MICRO_RANDOM_REQUESTS", 200)?,
        number("MICRO_RANDOM_SEED", 1)?,
    );
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.parent().ok_or("the package is in a workspace")?;
    let scratch = tempfile::tempdir()?;
    let source = scratch.path().join("src");
    let (mut library, mut compiled, mut refused, mut findings) = (String::new(), 0, 0, 0);
    for index in 0..count {
        let parameter = PARAMETERS[usize::try_from(index)? % PARAMETERS.len()];
        let numbers = tape(seed.wrapping_mul(1_000_003).wrapping_add(index));
        let request = request(&mut Tape::new(&numbers), parameter);
        match generate(&request.encode_to_vec()) {
            Ok(generated) => {
                compiled += 1;
                for file in generated.files {
                    let path = source.join(format!("case_{index}")).join(&file.name);
                    fs::create_dir_all(path.parent().ok_or("files are in a folder")?)?;
                    fs::write(path, file.content)?;
                }
                writeln!(
                    library,
                    "pub mod case_{index} {{ include!(\"case_{index}/mod.rs\"); }}"
                )?;
            }
            Err(error) => {
                refused += 1;
                findings += error.diagnostics().len();
            }
        }
    }
    println!(
        "{count} requests of seed {seed}: {compiled} to compile, {refused} refused with {findings} findings"
    );
    fs::create_dir_all(&source)?;
    fs::write(
        source.join("lib.rs"),
        format!("#![deny(warnings)]\n{library}"),
    )?;
    let runtime = root.join("micro-runtime");
    fs::write(
        scratch.path().join("Cargo.toml"),
        format!(
            "[package]\nname = \"random\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
             [dependencies]\nmicro-runtime = {{ path = {runtime:?}, default-features = false }}\n[workspace]\n"
        ),
    )?;
    fs::copy(root.join("Cargo.lock"), scratch.path().join("Cargo.lock"))?;
    let output = Command::new(env!("CARGO"))
        .args(["check", "--offline", "--quiet"])
        .env(
            "CARGO_TARGET_DIR",
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("random"),
        )
        .current_dir(scratch.path())
        .output()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
