//! What cannot be kept is refused, word for word: each folder of `refused` is a run, and its `refusal.txt` the answer.
//!
//! `UPDATE_GOLDEN=1 cargo test -p micro-names --test refused` writes the answers anew.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// The answer to a run with all files of a folder.
fn refusal(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "proto")
        {
            files.push(path);
        }
    }
    files.sort();
    let out = tempfile::tempdir()?;
    let answer = protoc_gen_micro::Builder::new()
        .files(files)
        .includes([folder])
        .out_dir(out.path())
        .emit_rerun(false)
        .compile();
    let error = answer.err().ok_or("code was generated")?;
    let folder = format!("{}/", folder.display());
    Ok(format!("{}\n", error.to_string().replace(&folder, "")))
}

#[test]
fn every_collision_is_said_at_once() -> Result<(), Box<dyn Error>> {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differences = Vec::new();
    let mut runs = 0;
    for entry in fs::read_dir("refused")? {
        let folder = entry?.path();
        let found = refusal(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let path = folder.join("refusal.txt");
        if update {
            fs::write(&path, &found)?;
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if found != expected {
            differences.push(format!("{}: found\n{found}", path.display()));
        }
        runs += 1;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(runs >= 11, "expected the runs, found {runs}");
    Ok(())
}
