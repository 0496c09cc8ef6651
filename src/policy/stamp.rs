//! What tells one version of a file from another without reading it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Device, inode, size, and the times of the last change to contents and attributes.
///
/// Editors, `mv`, `ConfigMap`s and NFS change at least one of them. The attribute time is what shows
/// an edit that keeps the size within one tick of the modification time's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a name leads to, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A file in this state.
    File(Stamp),
    /// Nothing, or nothing that can be reached.
    Nothing(io::ErrorKind),
}

impl Stamp {
    /// The stamp of an open file.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Device and inode: which file it is, whatever it says.
    pub fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}

impl Found {
    /// Looks.
    pub fn at(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) => Self::File(Stamp::of(&metadata)),
            Err(error) => Self::Nothing(error.kind()),
        }
    }
}

#[cfg(test)]
mod tests;
