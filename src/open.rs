//! Opens files whose names anybody may have put anything behind.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens a regular file of at most this many bytes. Without waiting: a named pipe in its place would
/// hold up the reader, and every later edit with it, until somebody writes.
///
/// # Errors
/// There is none, it is something else, or it is larger (`FileTooLarge`).
pub fn regular(path: &Path, max_bytes: u64) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a regular file"));
    }
    if about.len() > max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(file)
}
