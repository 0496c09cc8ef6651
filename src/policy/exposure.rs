//! Who else may touch a file that holds credentials.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{StatVfsMountFlags, fstatvfs};

/// What users other than the owner may do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Nothing that matters.
    Private,
    /// Read it. On a read-only mount, as Kubernetes makes them for secrets, that is somebody's
    /// decision and counts as private.
    Readable,
    /// Write it: whoever does chooses which credential goes where.
    Writable,
}

/// What the mode of an open file lets its group and all others do.
///
/// # Errors
/// The system does not say.
pub fn of(file: &File) -> io::Result<Exposure> {
    const WRITE: u32 = 0o022;
    const READ: u32 = 0o044;
    let mode = file.metadata()?.permissions().mode();
    let read_only = || io::Result::Ok(fstatvfs(file)?.f_flag.contains(StatVfsMountFlags::RDONLY));
    if mode & WRITE != 0 {
        Ok(Exposure::Writable)
    } else if mode & READ != 0 && !read_only()? {
        Ok(Exposure::Readable)
    } else {
        Ok(Exposure::Private)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_decides() {
        for (mode, expected) in [
            (0o600, Exposure::Private),
            (0o400, Exposure::Private),
            (0o711, Exposure::Private),
            (0o640, Exposure::Readable),
            (0o604, Exposure::Readable),
            (0o620, Exposure::Writable),
            (0o602, Exposure::Writable),
            (0o666, Exposure::Writable),
        ] {
            let file = tempfile::tempfile().unwrap();
            file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(of(&file).unwrap(), expected, "{mode:o}");
        }
    }
}
