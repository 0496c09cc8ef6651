//! From a directory to a [`Snapshot`]: read every file, judge every file, build one.

mod judge;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::advice;
use super::compile::Strictness;
use super::egress::Egress;
use super::exposure::{self, Exposure};
use super::locate::{self, Errors, Finding};
use super::raw::{EgressFile, GatewayFile, SecretsFile};
use super::secrets::Store;
use super::stamp::{Found, Stamp};
use super::{Revision, Snapshot};
use crate::clock::Now;
use crate::open;
use judge::Written;

/// The gateway's file.
pub const GATEWAY: &str = "gateway_config.json";
/// The egress's file.
pub const EGRESS: &str = "egress_config.json";
/// The egress's credentials, where they do not stand in the file before.
pub const SECRETS: &str = "egress_secrets.json";

/// A file larger than this is not read: a million keys take about 150 MiB.
const MAX_FILE_BYTES: u64 = 512 * 1024 * 1024;

/// The files of a directory, as they were at one moment.
pub struct Files {
    gateway: Option<Vec<u8>>,
    egress: Option<Vec<u8>>,
    secrets: Option<Secrets>,
    /// There is an `egress_secrets.json` and no `egress_config.json`, without which it says nothing.
    stray_secrets: bool,
    revision: Revision,
    fingerprint: Fingerprint,
}

/// `egress_secrets.json`: nothing prints it, and its memory is overwritten when it is given back.
struct Secrets {
    contents: Zeroizing<Vec<u8>>,
    exposure: Exposure,
}

/// Tells one version of all the files from another. Nothing prints it: it is a hash of secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

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
    /// A file of secrets that others than its owner may write.
    Writable(PathBuf),
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
    /// The directory or a file cannot be read, a file is empty, or others may write the secrets. An
    /// absent file is none: its side is off.
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(directory);
        let is_directory = metadata.and_then(|metadata| {
            if metadata.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
        });
        is_directory.map_err(|error| Error::Unreadable(directory.to_owned(), error))?;
        let contents = |name| Ok(read(&directory.join(name))?.map(|(_file, contents)| contents));
        let (gateway, egress) = (contents(GATEWAY)?, contents(EGRESS)?);
        let at = directory.join(SECRETS);
        let (secrets, stray_secrets) = match &egress {
            Some(_) => (secrets(&at)?, false),
            None => (None, matches!(Found::at(&at), Found::File(_))),
        };
        let mut hasher = Sha256::new();
        for (name, contents) in [(GATEWAY, &gateway), (EGRESS, &egress)] {
            if let Some(contents) = contents {
                add(&mut hasher, name, contents);
            }
        }
        let revision = revision(hasher.clone());
        if let Some(secrets) = &secrets {
            add(&mut hasher, SECRETS, &secrets.contents);
        }
        let fingerprint = Fingerprint(hasher.finalize().into());
        Ok(Self { gateway, egress, secrets, stray_secrets, revision, fingerprint })
    }

    /// Whether the gateway has a file.
    pub fn has_gateway(&self) -> bool {
        self.gateway.is_some()
    }

    /// Whether the egress has a file.
    pub fn has_egress(&self) -> bool {
        self.egress.is_some()
    }

    /// SHA-256 over the names and contents, secrets aside: it is shown in public places.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Another one whenever anything in the files is, secrets included.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The revision of the files in a directory, read piece by piece: without the memory that all
    /// of them take. If they change meanwhile, it is no version's.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn revision_in(directory: &Path) -> io::Result<Revision> {
        let mut hasher = Sha256::new();
        for name in [GATEWAY, EGRESS] {
            stream(&mut hasher, directory, name)?;
        }
        Ok(revision(hasher))
    }

    /// [`Files::fingerprint`] in the manner of [`Files::revision_in`].
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn fingerprint_in(directory: &Path) -> io::Result<Fingerprint> {
        let mut hasher = Sha256::new();
        stream(&mut hasher, directory, GATEWAY)?;
        if stream(&mut hasher, directory, EGRESS)? {
            stream(&mut hasher, directory, SECRETS)?;
        }
        Ok(Fingerprint(hasher.finalize().into()))
    }

    /// Builds the snapshot that the files describe, with the credentials of this moment.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn compile(
        &self,
        strictness: Strictness,
        generation: u64,
        secrets: &mut Store,
        now: Now,
    ) -> Result<Snapshot, Error> {
        let gateway =
            self.gateway.as_ref().map(|bytes| judge::gateway(bytes, strictness)).transpose();
        let egress = self.egress.as_ref();
        let egress =
            egress.map(|bytes| judge::egress(bytes, self.secrets(), strictness)).transpose();
        let (gateway, map) = match (gateway, egress) {
            (Ok(gateway), Ok(map)) => (gateway, map),
            (Err(errors), Ok(_)) | (Ok(_), Err(errors)) => return Err(Error::Invalid(errors)),
            (Err(gateway), Err(egress)) => return Err(Error::Invalid(gateway.and(egress))),
        };
        let egress = map.map(|map| {
            let map = Arc::new(map);
            let wanted = secrets.supply(&map, now);
            Egress::new(map, wanted)
        });
        let gateway = gateway.map(Arc::new);
        Ok(Snapshot { revision: self.revision.clone(), generation, gateway, egress })
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
        let mut advice = Errors::default();
        if let (Some(bytes), Some(gateway)) = (&self.gateway, &snapshot.gateway) {
            let written = Written::<GatewayFile<'_>>::decode(GATEWAY, bytes)?;
            let findings = advice::gateway(written.file()?, gateway, strictness, now);
            advice = advice.and(written.explain().place(&findings));
        }
        if let (Some(bytes), Some(egress)) = (&self.egress, &snapshot.egress) {
            let written = Written::<EgressFile<'_>>::decode(EGRESS, bytes)?;
            let secrets = Written::<SecretsFile<'_>>::decode(SECRETS, self.secrets())?;
            let files = advice::EgressFiles { config: written.file()?, secrets: secrets.file()? };
            let mut found = advice::egress(files, egress, strictness, now);
            if self.secrets.as_ref().is_some_and(|s| s.exposure == Exposure::Readable) {
                let message = format!("others than its owner may read it: chmod 600 {SECRETS}");
                found.secrets.insert(0, Finding::new(locate::Path::root(), message));
            }
            advice = advice.and(written.explain().place(&found.config));
            advice = advice.and(secrets.explain().place(&found.secrets));
        }
        if self.stray_secrets {
            advice = advice.and(Errors::from(locate::Error {
                file: SECRETS.to_owned(),
                line: 1,
                column: 1,
                path: locate::Path::root().to_string(),
                message: format!("is not used: there is no {EGRESS} beside it"),
            }));
        }
        Ok(advice)
    }

    /// The contents of `egress_secrets.json`; where there is none, those of one that says nothing.
    fn secrets(&self) -> &[u8] {
        self.secrets.as_ref().map_or(b"{}", |secrets| &secrets.contents)
    }
}

/// Each file with what stands before its contents: the lengths keep one's end apart from the next
/// one's beginning.
fn add(hasher: &mut Sha256, name: &str, contents: &[u8]) {
    begin(hasher, name, u64::try_from(contents.len()).unwrap_or(u64::MAX));
    hasher.update(contents);
}

fn begin(hasher: &mut Sha256, name: &str, length: u64) {
    hasher.update(u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
    hasher.update(name);
    hasher.update(length.to_be_bytes());
}

/// [`add`], piece by piece. `false` where there is no such file.
fn stream(hasher: &mut Sha256, directory: &Path, name: &str) -> io::Result<bool> {
    let mut file = match open(&directory.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    begin(hasher, name, file.metadata()?.len());
    let mut piece = Zeroizing::new(vec![0; 64 * 1024]);
    loop {
        let length = file.read(&mut piece)?;
        match piece.get(..length) {
            Some(read @ [_, ..]) => hasher.update(read),
            Some([]) | None => return Ok(true),
        }
    }
}

fn revision(hasher: Sha256) -> Revision {
    Revision(HEXLOWER.encode(&hasher.finalize()).into())
}

/// Opens a regular file of a size that a policy may have, without waiting.
///
/// # Errors
/// There is none, or it is something else.
pub fn open(path: &Path) -> io::Result<File> {
    open::regular(path, MAX_FILE_BYTES)
}

/// The secrets, unless others could have put theirs in.
fn secrets(path: &Path) -> Result<Option<Secrets>, Error> {
    let Some((file, contents)) = read(path)? else { return Ok(None) };
    let contents = Zeroizing::new(contents);
    let exposure =
        exposure::of(&file).map_err(|error| Error::Unreadable(path.to_owned(), error))?;
    match exposure {
        Exposure::Writable => Err(Error::Writable(path.to_owned())),
        Exposure::Readable | Exposure::Private => Ok(Some(Secrets { contents, exposure })),
    }
}

/// A file and its contents; `None` where there is no such file.
fn read(path: &Path) -> Result<Option<(File, Vec<u8>)>, Error> {
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
        if Stamp::of(&before) == Stamp::of(&after) {
            if contents.iter().all(u8::is_ascii_whitespace) {
                return Err(Error::Empty(path.to_owned()));
            }
            return Ok(Some((file, contents)));
        }
    }
    Err(Error::Unsettled(path.to_owned()))
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(directory) => write!(
                f,
                "{}: expected {GATEWAY} or {EGRESS} there (the sample is in policy/data)",
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
            Self::Writable(path) => write!(
                f,
                "{}: others than its owner may write it, and so choose which credential goes where: \
                 chmod 600 it, and look at what it says",
                path.display()
            ),
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
