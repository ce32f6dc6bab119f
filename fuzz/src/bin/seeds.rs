//! Writes the seeds of every target to `corpus/`, below the folder of this crate. Run it after a
//! change of the format; what it writes is the same each time.
//!
//!     cargo run --manifest-path fuzz/Cargo.toml --bin seeds

use std::fs;
use std::io;
use std::path::Path;

use kamba_vault_fuzz::seeds;

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in seeds::all() {
        let folder = corpus.join(target);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        for (name, bytes) in seeds {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}
