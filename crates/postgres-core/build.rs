//! Computes the checksums of the migrations at build time, so that the Worker, which only compares
//! them, does not contain the files' texts.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

use sha2::{Digest, Sha256};

const FOLDER: &str = "../../migrations/postgres";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed={FOLDER}");
    let mut files =
        fs::read_dir(FOLDER)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let mut rows = String::new();
    for path in &files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let checksum = hex::encode(Sha256::digest(fs::read(path)?));
        // Writing to a string cannot fail.
        let _ = writeln!(rows, "    (\"{name}\", \"{checksum}\"),");
    }
    let count = files.len();
    let text = format!("const CHECKSUMS: [(&str, &str); {count}] = [\n{rows}];\n");
    let folder = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&folder).join("checksums.rs"), text)
}
