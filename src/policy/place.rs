//! Where a walk through a document stands.

use super::locate::{Finding, Path};

/// A place in the tree while walking it: costs nothing until something is found there.
#[derive(Clone, Copy, Debug)]
pub enum Place<'p> {
    /// The whole document.
    Root,
    /// The value of this key.
    Field(&'p Place<'p>, &'p str),
    /// This element.
    Index(&'p Place<'p>, usize),
}

impl<'p> Place<'p> {
    /// The value of a key of this object.
    #[must_use]
    pub fn field(&'p self, name: &'p str) -> Self {
        Self::Field(self, name)
    }

    /// An element of this array.
    #[must_use]
    pub fn index(&'p self, index: usize) -> Self {
        Self::Index(self, index)
    }

    /// The way here from the root.
    pub fn path(&self) -> Path {
        match self {
            Self::Root => Path::root(),
            Self::Field(parent, name) => parent.path().field((*name).to_owned()),
            Self::Index(parent, index) => parent.path().index(*index),
        }
    }

    /// Something was found here.
    pub fn report(&self, message: impl Into<String>) -> Finding {
        Finding::new(self.path(), message)
    }
}
