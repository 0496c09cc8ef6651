//! Writing a file as a whole: a reader at any moment finds either the old one or the new one.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::process::geteuid;

/// Replaces a file; owner and mode stay. `path` must not be a symbolic link, which would be cut off
/// from its target.
///
/// # Errors
/// It cannot be written; the old file stands.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(path)?;
    put(path, text, |file| take_over(file, &old))
}

/// Makes or replaces a file that nobody but its owner can read, at no moment.
///
/// # Errors
/// It cannot be written, or what stands there is not simply a file of this user's.
pub(super) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => refuse_foreign(&found?)?,
    }
    put(path, text, |_file| Ok(()))
}

/// The directory of a file.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

/// Whoever put a link, a device or a file of their own there would get to read what is written.
fn refuse_foreign(found: &Metadata) -> io::Result<()> {
    let why = if found.is_symlink() {
        "a symbolic link stands there: name the file that it leads to".to_owned()
    } else if !found.is_file() {
        "something that is not a regular file stands there".to_owned()
    } else if found.uid() != geteuid().as_raw() {
        format!("the file there belongs to another user (uid {}): remove it first", found.uid())
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
}

fn put(path: &Path, text: &str, prepare: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let temporary = beside(path)?;
    let written = write(&temporary, text, prepare).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // What failed is worth telling; that its remains could not be removed as well is not.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    // The new name is on disk only when the directory is.
    File::open(directory(path))?.sync_all()
}

/// A name in the same directory that nobody can foresee.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "expected the name of a file at the end")
    })?;
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(path.with_file_name(format!(".{}.{}", name.display(), HEXLOWER.encode(&random))))
}

fn write(
    temporary: &Path,
    text: &str,
    prepare: impl Fn(&File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(text.as_bytes())?;
    prepare(&file)?;
    file.sync_all()
}

fn take_over(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Run by root, the file must not become one that the server cannot read any more.
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(old.permissions())
}
