//! The file of a Unix socket: never open wider than asked for, never somebody else's.
//!
//! The socket is born in a private directory beside its path, gets its mode there, and is then
//! linked into place. Linking fails where something exists, so that nothing is ever replaced by
//! accident. A lock on the directory keeps two of us from both burying the same dead socket, the
//! second one with the first one's new socket in the grave.

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::geteuid;
use tokio::net::UnixListener;

/// The longest path of a Unix socket in bytes: `sun_path` of unix(7) is 108 long and ends in NUL.
const PATH_MAX: usize = 107;

/// What the private directory adds to the directory of the socket: `/.gp-` + 8 + `/s`.
const PRIVATE_LEN: usize = 15;

/// Why a socket cannot be put at its path.
#[derive(Debug)]
pub enum Obstacle {
    /// The path is longer than a socket's path can be. Holds the most bytes that would fit.
    PathTooLong(usize),
    /// Something is there, and it is not a socket.
    NotASocket,
    /// A socket is there, and a process answers on it.
    InUse,
    /// A dead socket of another user is there.
    OfAnotherUser,
    /// The operating system refused.
    Io(io::Error),
}

/// A socket file that is ours, removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Binds a listening socket whose file has the mode `mode` and appears at `path` all at once.
///
/// Blocks for as long as another process of ours does the same in this directory: microseconds.
pub(super) fn bind(path: &Path, mode: u32) -> Result<(SocketFile, UnixListener), Obstacle> {
    check_length(path)?;
    let _lock = lock_directory(path)?;
    let private = PrivateDirectory::beside(path)?;
    let newborn = private.0.join("s");
    let listener = UnixListener::bind(&newborn)?;
    fs::set_permissions(&newborn, Permissions::from_mode(mode))?;
    let metadata = fs::symlink_metadata(&newborn)?;
    clear(path)?;
    match fs::hard_link(&newborn, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(Obstacle::InUse),
        linked => linked?,
    }
    let file = SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() };
    Ok((file, listener))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if self.is(&found) => {
                if let Err(error) = fs::remove_file(&self.path) {
                    tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
                }
            }
            Ok(_somebody_elses) => {}
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "the socket is gone already");
            }
        }
    }
}

impl SocketFile {
    fn is(&self, found: &Metadata) -> bool {
        found.dev() == self.device && found.ino() == self.inode
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PathTooLong(limit) => {
                write!(f, "the path is too long for a socket; here {limit} bytes would fit")
            }
            Self::NotASocket => f.write_str("something that is not a socket is in the way"),
            Self::InUse => f.write_str("the socket is in use by another process"),
            Self::OfAnotherUser => f.write_str("a dead socket of another user is in the way"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Obstacle {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A directory that only this user can look into, removed with all that is left in it.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    /// In the same directory as `path`: a link cannot cross file systems.
    fn beside(path: &Path) -> io::Result<Self> {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let directory = path.with_file_name(format!(".gp-{}", HEXLOWER.encode(&random)));
        DirBuilder::new().mode(0o700).create(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a temporary directory");
        }
    }
}

/// Locks the directory of `path` until the file is dropped.
fn lock_directory(path: &Path) -> io::Result<File> {
    let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
    flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory)
}

fn check_length(path: &Path) -> Result<(), Obstacle> {
    let whole = path.as_os_str().as_bytes().len();
    let name = path.file_name().map_or(0, |name| name.as_bytes().len());
    // The private directory has to fit too, wherever the socket's own name is shorter than that.
    let limit = if name + 1 < PRIVATE_LEN { PATH_MAX + name + 1 - PRIVATE_LEN } else { PATH_MAX };
    if whole > limit { Err(Obstacle::PathTooLong(limit)) } else { Ok(()) }
}

/// Removes a dead socket of ours from `path`. Nothing there is fine; anything else is an error.
fn clear(path: &Path) -> Result<(), Obstacle> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(Obstacle::NotASocket);
    }
    if knock(path) != Err(Errno::CONNREFUSED) {
        // A full queue, a datagram socket, one that we may not touch: all of them are somebody's.
        return Err(Obstacle::InUse);
    }
    if found.uid() != geteuid().as_raw() {
        return Err(Obstacle::OfAnotherUser);
    }
    Ok(fs::remove_file(path)?)
}

/// Connects without waiting: where the queue is full, a plain connect would block until somebody
/// accepts.
fn knock(path: &Path) -> rustix::io::Result<()> {
    let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    ioctl_fionbio(&socket, true)?;
    net::connect(&socket, &SocketAddrUnix::new(path)?)
}
