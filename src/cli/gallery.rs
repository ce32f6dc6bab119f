//! The demo's product images: a folder of small files whose bytes no compressor makes smaller, as
//! those of photos, and a day of changes to them. Knows what each has to hold from when it wrote it,
//! so that what comes back is compared with nothing of ours in between.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::class::Class;
use crate::cli::exit::Failure;

/// How many products there are.
const PRODUCTS: u64 = 290;
/// So many products share a folder.
const IN_A_FOLDER: u64 = 50;
/// Every one with this remainder shows the picture of the one before it, as variants in a shop do.
const VARIANTS: (u64, u64) = (12, 7);
/// Products that come with a day.
const NEW: u64 = 4;
/// How images of this kind begin.
const MAGIC: [u8; 4] = [0xff, 0xd8, 0xff, 0xe0];

/// The images, in a folder.
pub struct Gallery {
    folder: PathBuf,
    /// What is to be there, by the path below the folder.
    images: BTreeMap<String, Vec<u8>>,
}

impl Gallery {
    /// Makes `folder` and the images of all products in it.
    pub fn create(folder: PathBuf) -> Result<Self, Failure> {
        let mut gallery = Gallery { folder, images: BTreeMap::new() };
        for product in 1..=PRODUCTS {
            let is_variant = product % VARIANTS.0 == VARIANTS.1;
            gallery.put(product, picture(product - u64::from(is_variant), 0))?;
        }
        Ok(gallery)
    }

    /// A day: products are added, some get a better picture, one leaves, one moves.
    pub fn a_day(&mut self) -> Result<(), Failure> {
        for product in PRODUCTS + 1..=PRODUCTS + NEW {
            self.put(product, picture(product, 0))?;
        }
        for product in [17, 118, 219] {
            self.put(product, picture(product, 1))?;
        }
        let (leaves, moves) = (name(60), name(161));
        self.change(|folder| fs::remove_file(folder.join(&leaves)))?;
        self.images.remove(&leaves);
        let to = moves.replace(".jpg", "-old.jpg");
        self.change(|folder| fs::rename(folder.join(&moves), folder.join(&to)))?;
        if let Some(image) = self.images.remove(&moves) {
            self.images.insert(to, image);
        }
        Ok(())
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An image that somebody may delete: its path below the folder.
    pub fn favourite(&self) -> String {
        name(42)
    }

    /// How many there are, and how many bytes in all.
    pub fn size(&self) -> (usize, u64) {
        (self.images.len(), self.images.values().map(|image| image.len() as u64).sum())
    }

    /// Fails unless the folder holds what it has to, byte for byte, and nothing else.
    pub fn compare(&self) -> Result<(), Failure> {
        let mut found = BTreeMap::new();
        self.change(|folder| read(folder, "", &mut found))?;
        let wrong = self.images.iter().find(|(name, image)| found.get(*name) != Some(*image));
        let other = || found.keys().find(|name| !self.images.contains_key(*name));
        match wrong.map(|(name, _)| name).or_else(other) {
            None => Ok(()),
            Some(name) => {
                let message = format!("{} is not as it was before", self.folder.join(name).display());
                Err(Failure::new(Class::Damaged, message))
            }
        }
    }

    fn put(&mut self, product: u64, image: Vec<u8>) -> Result<(), Failure> {
        let name = name(product);
        self.change(|folder| {
            let file = folder.join(&name);
            fs::create_dir_all(file.parent().unwrap_or(folder))?;
            fs::write(file, &image)
        })?;
        self.images.insert(name, image);
        Ok(())
    }

    fn change(&self, act: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Failure> {
        act(&self.folder).map_err(|e| Failure::io(format!("work in {}", self.folder.display()), &e))
    }
}

/// Where a product's image is.
fn name(product: u64) -> String {
    format!("{}/product-{product:04}.jpg", (product - 1) / IN_A_FOLDER + 1)
}

/// Between 4 and 36 KiB that nothing can be left out of, the same for the same product and version.
fn picture(product: u64, version: u64) -> Vec<u8> {
    let mut state = (product << 8) + version;
    // SplitMix64: any generator would do whose output does not compress.
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let words = 512 + next() % 4096;
    let body = (0..words).flat_map(|_| next().to_le_bytes());
    MAGIC.into_iter().chain(body).collect()
}

/// All files below `folder` with what they hold.
fn read(folder: &Path, below: &str, into: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read(&entry.path(), &format!("{name}/"), into)?;
        } else {
            into.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn any_difference_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut gallery = Gallery::create(folder.path().join("images")).unwrap();
        gallery.a_day().unwrap();
        gallery.compare().unwrap();
        let distinct: BTreeSet<&Vec<u8>> = gallery.images.values().collect();
        assert!(distinct.len() < gallery.images.len());

        let file = gallery.folder().join(gallery.favourite());
        let mut image = fs::read(&file).unwrap();
        image[1000] ^= 1;
        fs::write(&file, &image).unwrap();
        assert!(gallery.compare().unwrap_err().render().contains("product-0042.jpg is not"));
        fs::remove_file(&file).unwrap();
        assert!(gallery.compare().is_err());
        image[1000] ^= 1;
        fs::write(&file, &image).unwrap();
        gallery.compare().unwrap();
        fs::write(gallery.folder().join("other"), "").unwrap();
        assert!(gallery.compare().is_err());
    }
}
