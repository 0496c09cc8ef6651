//! Editing a policy file in place: everything that is not meant stays as it was written, and a
//! reader at any moment finds either the old file or the new one.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use jsonc_parser::cst::{CstArray, CstInputValue, CstObject, CstObjectProp, CstRootNode};
use rustix::fs::{FlockOperation, flock};

use super::streams::Error;
use super::whole_file;
use crate::policy::load;
use crate::policy::locate::STRICT;
use crate::policy::raw::{check_syntax, is_comment};

/// The place of the outermost object, for errors.
pub(super) const ROOT: &str = "the file";

/// A parsed policy file.
pub(super) struct PolicyFile {
    /// Where it really lies: replacing a symbolic link would cut it off from its target.
    path: PathBuf,
    document: CstRootNode,
    root: CstObject,
    /// Held until the edit is written: of two edits at once, the later one must see the earlier.
    lock: Option<File>,
}

/// An object within a file, and where it stands, for errors.
pub(super) struct Entry {
    /// As in `api_keys[0]` or `sandboxes.demo`.
    pub(super) place: String,
    /// The object.
    pub(super) object: CstObject,
}

impl PolicyFile {
    /// Reads a file of a policy directory.
    pub(super) fn open(directory: &Path, name: &str) -> Result<Self, Error> {
        Self::parse(resolve(directory, name)?, None)
    }

    /// The same in order to change it; waits until nobody else of us does.
    pub(super) fn open_locked(directory: &Path, name: &str) -> Result<Self, Error> {
        let path = resolve(directory, name)?;
        let lock = File::open(whole_file::directory(&path))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        Self::parse(path, Some(lock))
    }

    fn parse(path: PathBuf, lock: Option<File>) -> Result<Self, Error> {
        let text = load::open(&path)
            .and_then(io::read_to_string)
            .map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))?;
        let at = |line, column, why: &dyn Display| {
            Error::new(format!("{}:{line}:{column}: {why}", path.display()))
        };
        // What the server's own parser refuses is not edited either; and the tree's parser bounds no
        // nesting.
        check_syntax(&text).map_err(|error| at(error.line, error.column, &error.fault))?;
        let document = CstRootNode::parse(&text, &STRICT)
            .map_err(|error| at(error.line_display(), error.column_display(), error.kind()))?;
        let root = document
            .object_value()
            .ok_or_else(|| Error::new(format!("{}: expected an object", path.display())))?;
        Ok(Self { path, document, root, lock })
    }

    /// Where it really lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The outermost object.
    pub(super) fn root(&self) -> Entry {
        Entry { place: ROOT.to_owned(), object: self.root.clone() }
    }

    /// The value of a field that must be a string if it is there.
    pub(super) fn text(&self, of: &Entry, field: &str) -> Result<Option<String>, Error> {
        let Some(property) = self.field(of, field)? else { return Ok(None) };
        let literal = property.value().and_then(|value| value.as_string_lit());
        match literal.map(|literal| literal.decoded_value()) {
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) | None => Err(self.wrong(&of.at(field), "string")),
        }
    }

    /// The same for true and false.
    pub(super) fn flag(&self, of: &Entry, field: &str) -> Result<Option<bool>, Error> {
        let Some(property) = self.field(of, field)? else { return Ok(None) };
        let literal = property.value().and_then(|value| value.as_boolean_lit());
        literal
            .map(|literal| Some(literal.value()))
            .ok_or_else(|| self.wrong(&of.at(field), "boolean"))
    }

    /// The same for an array.
    pub(super) fn array(&self, of: &Entry, field: &str) -> Result<Option<CstArray>, Error> {
        let Some(property) = self.field(of, field)? else { return Ok(None) };
        property.array_value().map(Some).ok_or_else(|| self.wrong(&of.at(field), "array"))
    }

    /// The same for an object.
    pub(super) fn object(&self, of: &Entry, field: &str) -> Result<Option<Entry>, Error> {
        let Some(property) = self.field(of, field)? else { return Ok(None) };
        let place = of.at(field);
        match property.object_value() {
            Some(object) => Ok(Some(Entry { place, object })),
            None => Err(self.wrong(&place, "object")),
        }
    }

    /// The items of an array of objects; none when the field is absent.
    pub(super) fn items(&self, of: &Entry, field: &str) -> Result<Vec<Entry>, Error> {
        let Some(array) = self.array(of, field)? else { return Ok(Vec::new()) };
        let items = array.elements().into_iter().enumerate();
        items
            .map(|(number, item)| {
                let place = format!("{}[{number}]", of.at(field));
                let object = item.as_object().ok_or_else(|| self.wrong(&place, "object"))?;
                Ok(Entry { place, object })
            })
            .collect()
    }

    /// The names that an object has, comments aside, in file order.
    pub(super) fn names(&self, of: &Entry) -> Result<Vec<String>, Error> {
        let mut seen = HashSet::new();
        let mut names = Vec::new();
        for property in of.object.properties() {
            let name = property.decoded_name().ok_or_else(|| self.wrong(&of.place, "names"))?;
            if is_comment(&name) {
                continue;
            }
            if !seen.insert(name.clone()) {
                return Err(self.twice(of, &name));
            }
            names.push(name);
        }
        Ok(names)
    }

    /// One field, or none. Twice the same is what the server would refuse.
    pub(super) fn field(&self, of: &Entry, field: &str) -> Result<Option<CstObjectProp>, Error> {
        let mut found = of
            .object
            .properties()
            .into_iter()
            .filter(|property| property.decoded_name().as_deref() == Some(field));
        let first = found.next();
        match found.next() {
            None => Ok(first),
            Some(_) => Err(self.twice(of, field)),
        }
    }

    /// Sets `enabled` to false. False when it was so already.
    pub(super) fn disable(&self, entry: &Entry) -> Result<bool, Error> {
        match self.flag(entry, "enabled")? {
            Some(false) => return Ok(false),
            Some(true) => {
                if let Some(enabled) = self.field(entry, "enabled")? {
                    enabled.set_value(CstInputValue::Bool(false));
                }
            }
            None => {
                entry.object.append("enabled", CstInputValue::Bool(false));
            }
        }
        Ok(true)
    }

    /// Writes the file. Nothing but the edit has changed, owner and mode included.
    pub(super) fn save(&self) -> Result<(), Error> {
        debug_assert!(self.lock.is_some(), "an edit without the lock");
        whole_file::replace(&self.path, &self.document.to_string())
            .map_err(|error| Error::new(format!("cannot write {}: {error}", self.path.display())))
    }

    /// Something is there and is not of the kind that is expected.
    pub(super) fn wrong(&self, place: &str, expected: &str) -> Error {
        self.error(&format!("{place}: expected {expected}"))
    }

    /// An error that names the file.
    pub(super) fn error(&self, text: &str) -> Error {
        Error::new(format!("{}: {text}", self.path.display()))
    }

    fn twice(&self, of: &Entry, field: &str) -> Error {
        self.error(&format!("{} has {field:?} twice", of.place))
    }
}

impl Entry {
    /// The place of one of its fields.
    pub(super) fn at(&self, field: &str) -> String {
        if self.place == ROOT { field.to_owned() } else { format!("{}.{field}", self.place) }
    }
}

/// An object with these fields in this order.
pub(super) fn object(fields: Vec<(&str, CstInputValue)>) -> CstInputValue {
    CstInputValue::Object(
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    )
}

/// A value as a file would show it.
pub(super) fn pretty(value: CstInputValue) -> String {
    match CstRootNode::parse("null", &STRICT) {
        Ok(root) => {
            root.set_value(value);
            root.to_string()
        }
        Err(error) => error.to_string(),
    }
}

fn resolve(directory: &Path, name: &str) -> Result<PathBuf, Error> {
    let path = directory.join(name);
    path.canonicalize()
        .map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))
}
