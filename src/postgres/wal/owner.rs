//! Whose files a folder holds: what the data folder around `pg_wal` says of itself. Read anew at each call,
//! because a restored or upgraded cluster is another one in the same place.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::postgres::version::Version;

/// What a data folder says of its cluster. What cannot be read is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The system identifier: the first eight bytes of `global/pg_control` (`ControlFileData` in
    /// `pg_control.h`), of a machine with this one's byte order.
    pub system: Option<u64>,
    /// The major version in `PG_VERSION`.
    pub version: Option<Version>,
}

impl Owner {
    /// The owner of a file such as `pg_wal/00000001000000000000000A`: the data folder is the parent of the
    /// folder that the path names, whatever links lead to it.
    pub fn of_file(file: &Path) -> Self {
        Owner::of_data_folder(&data_folder(file))
    }

    /// The owner of a data folder.
    pub fn of_data_folder(folder: &Path) -> Self {
        let mut system = [0; 8];
        let control = File::open(folder.join("global/pg_control"));
        let system = control.and_then(|mut file| file.read_exact(&mut system)).is_ok().then_some(system);
        let version = std::fs::read_to_string(folder.join("PG_VERSION")).ok();
        Owner {
            system: system.map(u64::from_le_bytes),
            version: version.and_then(|text| Version::parse(&text)).map(Version::major),
        }
    }
}

/// The folder above the one that holds `file`, as the path is written.
pub fn data_folder(file: &Path) -> PathBuf {
    match file.parent().map(Path::parent) {
        Some(Some(folder)) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_data_folder_tells_its_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pg_wal/000000010000000000000001");
        assert_eq!(Owner::of_file(&file), Owner::default());
        std::fs::create_dir(folder.path().join("global")).unwrap();
        std::fs::write(folder.path().join("global/pg_control"), 0x0102_0304_0506_0708u64.to_le_bytes())
            .unwrap();
        std::fs::write(folder.path().join("PG_VERSION"), "15\n").unwrap();
        let owner = Owner { system: Some(0x0102_0304_0506_0708), version: Some(Version(150_000)) };
        assert_eq!(Owner::of_file(&file), owner);
        std::fs::write(folder.path().join("global/pg_control"), b"short").unwrap();
        assert_eq!(Owner::of_file(&file).system, None);
        assert_eq!(data_folder(Path::new("pg_wal/x")), Path::new("."));
        assert_eq!(data_folder(Path::new("x")), Path::new("."));
        assert_eq!(data_folder(Path::new("/data/pg_wal/x")), Path::new("/data"));
    }
}
