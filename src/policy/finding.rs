//! What is wrong with a file, and where in its tree.

/// One step down the tree of a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// Into the value of this key.
    Field(String),
    /// Into this element, counted from 0.
    Index(usize),
}

/// Something that makes a file unfit, or worth a warning. Its place in the text is looked up only
/// when it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The way from the root to the value in question.
    pub path: Vec<Step>,
    /// What was expected, and what stands there instead. Never the text of a credential.
    pub message: String,
}

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

    /// Something was found here.
    pub fn report(&self, message: impl Into<String>) -> Finding {
        let mut path = Vec::new();
        let mut place = self;
        loop {
            match place {
                Self::Root => break,
                Self::Field(parent, name) => {
                    path.push(Step::Field((*name).to_owned()));
                    place = parent;
                }
                Self::Index(parent, index) => {
                    path.push(Step::Index(*index));
                    place = parent;
                }
            }
        }
        path.reverse();
        Finding { path, message: message.into() }
    }
}
