//! Editing `gateway_config.json` in place: everything that is not meant stays as it was written,
//! and a reader at any moment finds either the old file or the new one.

use std::fmt::Display;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstObjectProp, CstRootNode};
use rustix::fs::{FlockOperation, flock};

use super::Error;
use crate::policy::load::{self, GATEWAY};
use crate::policy::locate::STRICT;
use crate::policy::raw::check_syntax;

/// A parsed `gateway_config.json`.
pub(super) struct GatewayFile {
    /// Where it really lies: replacing a symbolic link would cut it off from its target.
    path: PathBuf,
    document: CstRootNode,
    root: CstObject,
    /// Held until the edit is written: of two edits at once, the later one must see the earlier.
    lock: Option<File>,
}

impl GatewayFile {
    /// Reads the file of a policy directory.
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let path = resolve(directory)?;
        Self::parse(path, None)
    }

    /// The same in order to change it; waits until nobody else of us does.
    pub(super) fn open_locked(directory: &Path) -> Result<Self, Error> {
        let path = resolve(directory)?;
        let lock = File::open(parent(&path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        Self::parse(path, Some(lock))
    }

    fn parse(path: PathBuf, lock: Option<File>) -> Result<Self, Error> {
        let text = load::open(&path)
            .and_then(io::read_to_string)
            .map_err(|error| Error(format!("cannot read {}: {error}", path.display())))?;
        let at = |line, column, why: &dyn Display| {
            Error(format!("{}:{line}:{column}: {why}", path.display()))
        };
        // What the server's own parser refuses is not edited either; and the tree's parser bounds no
        // nesting.
        check_syntax(&text).map_err(|error| at(error.line, error.column, &error.fault))?;
        let document = CstRootNode::parse(&text, &STRICT)
            .map_err(|error| at(error.line_display(), error.column_display(), error.kind()))?;
        let root = document
            .object_value()
            .ok_or_else(|| Error(format!("{}: expected an object", path.display())))?;
        Ok(Self { path, document, root, lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The entries of `api_keys`; none when the field is absent.
    pub(super) fn keys(&self) -> Result<Vec<CstObject>, Error> {
        let Some(array) = self.key_array()? else { return Ok(Vec::new()) };
        let entries = array.elements().into_iter().enumerate();
        entries
            .map(|(place, entry)| {
                entry.as_object().ok_or_else(|| self.wrong(&format!("api_keys[{place}]"), "object"))
            })
            .collect()
    }

    /// The value of a field that must be a string if it is there. `place` is for the error.
    pub(super) fn text(
        &self,
        object: &CstObject,
        field: &str,
        place: &str,
    ) -> Result<Option<String>, Error> {
        let Some(property) = self.field(object, field, place)? else { return Ok(None) };
        let literal = property.value().and_then(|value| value.as_string_lit());
        match literal.map(|literal| literal.decoded_value()) {
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) | None => Err(self.wrong(&format!("{place}.{field}"), "string")),
        }
    }

    /// The same for true and false.
    pub(super) fn flag(
        &self,
        object: &CstObject,
        field: &str,
        place: &str,
    ) -> Result<Option<bool>, Error> {
        let Some(property) = self.field(object, field, place)? else { return Ok(None) };
        let literal = property.value().and_then(|value| value.as_boolean_lit());
        literal
            .map(|literal| Some(literal.value()))
            .ok_or_else(|| self.wrong(&format!("{place}.{field}"), "boolean"))
    }

    /// One field, or none. Twice the same is what the server would refuse.
    pub(super) fn field(
        &self,
        object: &CstObject,
        field: &str,
        place: &str,
    ) -> Result<Option<CstObjectProp>, Error> {
        let mut found = object
            .properties()
            .into_iter()
            .filter(|property| property.decoded_name().as_deref() == Some(field));
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(self.error(&format!("{place} has \"{field}\" twice"))),
        }
    }

    /// Fails when `rate_limit_tiers` lacks the tier: the server would refuse the file.
    pub(super) fn check_tier(&self, tier: &str) -> Result<(), Error> {
        let tiers = self.field(&self.root, "rate_limit_tiers", "the file")?;
        let defined = tiers
            .and_then(|property| property.object_value())
            .is_some_and(|tiers| tiers.get(tier).is_some());
        if defined {
            return Ok(());
        }
        Err(self.error(&format!("there is no tier {tier:?} in \"rate_limit_tiers\"")))
    }

    /// Appends an entry to `api_keys`.
    pub(super) fn add_key(&mut self, id: &str, entry: CstInputValue) -> Result<(), Error> {
        if !self.find(id)?.is_empty() {
            return Err(self.error(&format!("there is a key with the id {id:?} already")));
        }
        if self.key_array()?.is_none() {
            self.root.append("api_keys", CstInputValue::Array(Vec::new()));
        }
        if let Some(keys) = self.key_array()? {
            keys.append(entry);
        }
        Ok(())
    }

    /// Sets `enabled` to false. False when it was so already.
    pub(super) fn disable_key(&mut self, id: &str) -> Result<bool, Error> {
        let found = self.find(id)?;
        let [(place, entry)] = found.as_slice() else {
            let what = if found.is_empty() { "is no key" } else { "is more than one key" };
            return Err(self.error(&format!("there {what} with the id {id:?}")));
        };
        match self.flag(entry, "enabled", place)? {
            Some(false) => return Ok(false),
            Some(true) => {
                if let Some(enabled) = self.field(entry, "enabled", place)? {
                    enabled.set_value(CstInputValue::Bool(false));
                }
            }
            None => {
                entry.append("enabled", CstInputValue::Bool(false));
            }
        }
        Ok(true)
    }

    /// Writes the file. Nothing but the edit has changed, owner and mode included.
    pub(super) fn save(&self) -> Result<(), Error> {
        debug_assert!(self.lock.is_some(), "an edit without the lock");
        replace(&self.path, &self.document.to_string())
            .map_err(|error| Error(format!("cannot write {}: {error}", self.path.display())))
    }

    fn key_array(&self) -> Result<Option<CstArray>, Error> {
        let Some(property) = self.field(&self.root, "api_keys", "the file")? else {
            return Ok(None);
        };
        property.array_value().map(Some).ok_or_else(|| self.wrong("api_keys", "array"))
    }

    fn find(&self, id: &str) -> Result<Vec<(String, CstObject)>, Error> {
        let mut found = Vec::new();
        for (index, entry) in self.keys()?.into_iter().enumerate() {
            let place = format!("api_keys[{index}]");
            if self.text(&entry, "id", &place)?.as_deref() == Some(id) {
                found.push((place, entry));
            }
        }
        Ok(found)
    }

    pub(super) fn wrong(&self, place: &str, expected: &str) -> Error {
        self.error(&format!("{place}: expected {expected}"))
    }

    fn error(&self, text: &str) -> Error {
        Error(format!("{}: {text}", self.path.display()))
    }
}

/// A value as the file would show it.
pub(super) fn pretty(value: CstInputValue) -> String {
    match CstRootNode::parse("null", &STRICT) {
        Ok(root) => {
            root.set_value(value);
            root.to_string()
        }
        Err(error) => error.to_string(),
    }
}

fn resolve(directory: &Path) -> Result<PathBuf, Error> {
    let path = directory.join(GATEWAY);
    path.canonicalize().map_err(|error| Error(format!("cannot read {}: {error}", path.display())))
}

/// A canonical path of a file always has one.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let temporary = path.with_file_name(format!(".{GATEWAY}.{}", HEXLOWER.encode(&random)));
    let replaced =
        write(&temporary, &fs::metadata(path)?, text).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = replaced {
        // What failed is worth telling; that its remains could not be removed as well is not.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    // The new name is on disk only when the directory is.
    File::open(parent(path))?.sync_all()
}

fn write(temporary: &Path, old: &Metadata, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Run by root, the file must not become one that the server cannot read any more.
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    file.write_all(text.as_bytes())?;
    file.set_permissions(old.permissions())?;
    file.sync_all()
}
