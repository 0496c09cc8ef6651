//! From a directory to a [`Snapshot`]: read every file, judge every file, build one.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use super::advice;
use super::compile::{self, Strictness};
use super::locate::{self, Errors};
use super::open;
use super::raw::{self, GatewayFile};
use super::{Gateway, Revision, Snapshot};
use crate::clock::Now;

/// The gateway's file.
pub const GATEWAY: &str = "gateway_config.json";
/// The egress's file, which this version does not serve.
pub const EGRESS: &str = "egress_config.json";
/// The egress's credentials, where they do not stand in the file before.
pub const SECRETS: &str = "egress_secrets.json";

/// A file larger than this is not read: a million keys take about 150 MiB.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// The files of a directory, as they were at one moment.
#[derive(Debug)]
pub struct Files {
    gateway: Option<Vec<u8>>,
    revision: Revision,
}

/// Why there is no new snapshot.
#[derive(Debug)]
pub enum Error {
    /// The directory has none of the files.
    Nothing(PathBuf),
    /// A file, or the directory, cannot be read.
    Unreadable(PathBuf, io::Error),
    /// A file went on changing while it was read.
    Unsettled(PathBuf),
    /// A file is there and has nothing in it.
    Empty(PathBuf),
    /// A file that was loaded before is gone.
    Missing(PathBuf),
    /// A file is larger than any policy.
    TooLarge(PathBuf),
    /// A file says something that cannot be used.
    Invalid(Errors),
    /// The edit loses most of something, and the file does not say that this is meant.
    Shrunk {
        /// Of what.
        what: Guarded,
        /// How many there are.
        before: usize,
        /// How many the file has.
        after: usize,
    },
}

/// What an edit may lose most of only where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// API keys.
    Keys,
    /// Services.
    Services,
    /// Sandboxes.
    Sandboxes,
}

impl Files {
    /// Reads the policy files of a directory.
    ///
    /// # Errors
    /// The directory or a file cannot be read, or a file is empty. An absent file is none: its side
    /// is off.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(directory);
        let is_directory = metadata.and_then(|metadata| {
            if metadata.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
        });
        is_directory.map_err(|error| Error::Unreadable(directory.to_owned(), error))?;
        let gateway = read(&directory.join(GATEWAY))?;
        let mut hasher = Sha256::new();
        if let Some(contents) = &gateway {
            begin(&mut hasher, GATEWAY, u64::try_from(contents.len()).unwrap_or(u64::MAX));
            hasher.update(contents);
        }
        Ok(Self { gateway, revision: finish(hasher) })
    }

    /// Whether the gateway has a file.
    pub fn has_gateway(&self) -> bool {
        self.gateway.is_some()
    }

    /// SHA-256 over the names and contents.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// The revision of the files in a directory, read piece by piece: without the memory that all
    /// of them take. If they change meanwhile, it is no version's.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn revision_in(directory: &Path) -> io::Result<Revision> {
        let mut hasher = Sha256::new();
        match open(&directory.join(GATEWAY)) {
            Ok(mut file) => {
                begin(&mut hasher, GATEWAY, file.metadata()?.len());
                let mut piece = vec![0; 64 * 1024];
                loop {
                    let length = file.read(&mut piece)?;
                    match piece.get(..length) {
                        Some(read @ [_, ..]) => hasher.update(read),
                        Some([]) | None => break,
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(finish(hasher))
    }

    /// Builds the snapshot that the files describe.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn compile(&self, strictness: Strictness, generation: u64) -> Result<Snapshot, Error> {
        let gateway = match &self.gateway {
            Some(bytes) => Some(Arc::new(gateway(bytes, strictness).map_err(Error::Invalid)?)),
            None => None,
        };
        Ok(Snapshot { revision: self.revision.clone(), generation, gateway, egress: None })
    }

    /// What is worth a look in files that load, as the snapshot that was made of them shows it.
    ///
    /// # Errors
    /// The files do not load.
    pub fn advice(
        &self,
        snapshot: &Snapshot,
        strictness: Strictness,
        now: Now,
    ) -> Result<Errors, Errors> {
        let (Some(bytes), Some(gateway)) = (&self.gateway, &snapshot.gateway) else {
            return Ok(Errors::default());
        };
        let text = locate::decode_utf8(GATEWAY, bytes)?;
        let explain = |error: Option<&raw::ParseError>| {
            locate::explain::<GatewayFile<'_>>(GATEWAY, text, error)
        };
        let file = raw::parse::<GatewayFile<'_>>(text)
            .map_err(|error| explain(Some(&error)).place(&[]))?;
        Ok(explain(None).place(&advice::gateway(&file, gateway, strictness, now)))
    }
}

/// What stands before each file's contents: the lengths keep one's end apart from the next one's
/// beginning.
fn begin(hasher: &mut Sha256, name: &str, length: u64) {
    hasher.update(u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
    hasher.update(name);
    hasher.update(length.to_be_bytes());
}

fn finish(hasher: Sha256) -> Revision {
    Revision(HEXLOWER.encode(&hasher.finalize()).into())
}

/// Opens a regular file of a size that a policy may have, without waiting.
///
/// # Errors
/// There is none, or it is something else.
pub fn open(path: &Path) -> io::Result<File> {
    open::regular(path, MAX_FILE_BYTES)
}

/// A file's contents; `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    const ATTEMPTS: usize = 3;
    let unreadable = |error| Error::Unreadable(path.to_owned(), error);
    for _ in 0..ATTEMPTS {
        let mut file = match open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(Error::TooLarge(path.to_owned()));
            }
            Err(error) => return Err(unreadable(error)),
        };
        let before = file.metadata().map_err(unreadable)?;
        let mut contents = Vec::with_capacity(usize::try_from(before.len()).unwrap_or(0));
        file.by_ref().take(MAX_FILE_BYTES).read_to_end(&mut contents).map_err(unreadable)?;
        let after = file.metadata().map_err(unreadable)?;
        // An edit in place while we read gives a mixture of both versions.
        if super::stamp::Stamp::of(&before) == super::stamp::Stamp::of(&after) {
            if contents.iter().all(u8::is_ascii_whitespace) {
                return Err(Error::Empty(path.to_owned()));
            }
            return Ok(Some(contents));
        }
    }
    Err(Error::Unsettled(path.to_owned()))
}

/// The fast pass; on failure the second one, which says everything that is wrong and where.
fn gateway(bytes: &[u8], strictness: Strictness) -> Result<Gateway, Errors> {
    let text = locate::decode_utf8(GATEWAY, bytes)?;
    let (fast_error, findings) = match raw::parse::<GatewayFile<'_>>(text) {
        Ok(file) => match compile::gateway(&file, strictness) {
            Ok(gateway) => return Ok(gateway),
            Err(findings) => (None, findings),
        },
        Err(error) => (Some(error), Vec::new()),
    };
    let why = locate::explain::<GatewayFile<'_>>(GATEWAY, text, fast_error.as_ref());
    // What is wrong with the sense is told together with what is wrong with the shape.
    let findings = match why.pruned().map(raw::parse::<GatewayFile<'_>>) {
        Some(Ok(file)) => compile::gateway(&file, strictness).err().unwrap_or_default(),
        Some(Err(_)) | None => findings,
    };
    Err(why.place(&findings))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(directory) => write!(
                f,
                "{}: expected {GATEWAY} there (the sample is in policy/data)",
                directory.display()
            ),
            Self::Unreadable(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Unsettled(path) => {
                write!(f, "{}: went on changing while it was read", path.display())
            }
            Self::Empty(path) => write!(f, "{}: is empty", path.display()),
            Self::Missing(path) => write!(
                f,
                "{}: is gone; the policy that was loaded from it still holds",
                path.display()
            ),
            Self::TooLarge(path) => {
                write!(f, "{}: is larger than {MAX_FILE_BYTES} bytes", path.display())
            }
            Self::Invalid(errors) => errors.fmt(f),
            Self::Shrunk { what, before, after } => {
                let (file, what, options) = match what {
                    Guarded::Keys => (GATEWAY, "api_keys", "gateway_config"),
                    Guarded::Services => (EGRESS, "egress_services", "egress_config"),
                    Guarded::Sandboxes => (EGRESS, "sandboxes", "egress_config"),
                };
                write!(
                    f,
                    "{file}: {what} would go from {before} to {after}: refused in case it is a \
                     mistake; if it is meant, set \"allow_shrink\": true in {options}"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests;
