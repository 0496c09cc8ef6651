//! What a file may hold, as a constant that can be walked beside its syntax tree.

/// What is expected at one place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A string.
    Text,
    /// A string that no message may repeat: a live credential.
    Secret,
    /// A string that no message may repeat: the hash of a credential.
    Digest,
    /// A number without fraction or exponent that fits 64 bits with a sign.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// An array of one kind of item.
    List(&'static Shape),
    /// An object whose keys are names that the author of the file chose.
    Entries(&'static Shape),
    /// An object whose keys are known.
    Object(&'static [Field]),
}

/// One known key of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The key as it is written.
    pub name: &'static str,
    /// What its value must be.
    pub shape: &'static Shape,
}

/// A type that can be read from a file.
pub trait Shaped {
    /// What it looks like there.
    const SHAPE: Shape;
}

impl Shape {
    /// Whether a value at this place, well-formed or not, may hold a credential or its hash, so
    /// that no message may repeat it. A list of keys counts: `"keys": "s3cret"` is a likely slip.
    pub fn is_sensitive(&self) -> bool {
        match self {
            Self::Secret | Self::Digest => true,
            Self::Text | Self::Integer | Self::Boolean => false,
            Self::List(inner) | Self::Entries(inner) => inner.is_sensitive(),
            Self::Object(fields) => fields.iter().any(|field| field.shape.is_sensitive()),
        }
    }
}

impl Shaped for i64 {
    const SHAPE: Shape = Shape::Integer;
}

impl Shaped for bool {
    const SHAPE: Shape = Shape::Boolean;
}

impl<T: Shaped> Shaped for Vec<T> {
    const SHAPE: Shape = Shape::List(&T::SHAPE);
}

/// Whether a key is a comment: it and its value are skipped in every object.
pub fn is_comment(key: &str) -> bool {
    key.starts_with(['_', '$'])
}
