//! The leaves of a file: strings that borrow from it, and objects that are maps.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::shape::{Shape, Shaped, is_comment};
use super::syntax::Anything;

/// A string of the file, borrowed unless it holds an escape.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl Shaped for Text<'_> {
    const SHAPE: Shape = Shape::Text;
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Borrow).map(Self)
    }
}

/// A live credential as it stands in the file. It has no `Debug`, no `Display` and no equality:
/// nothing prints it by accident, and nothing compares it in a time that depends on it.
#[expect(missing_debug_implementations, reason = "a credential is never printed")]
pub struct Secret<'a>(Cow<'a, str>);

impl Secret<'_> {
    /// The credential itself, to be hashed.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Shaped for Secret<'_> {
    const SHAPE: Shape = Shape::Secret;
}

impl<'de: 'a, 'a> Deserialize<'de> for Secret<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Borrow).map(Self)
    }
}

/// The hash of a credential as it stands in the file: not secret, but no message repeats it, since
/// a credential in its place is the likeliest mistake.
#[expect(missing_debug_implementations, reason = "a credential may stand in its place")]
pub struct Digest<'a>(Cow<'a, str>);

impl Digest<'_> {
    /// The text in which the hash should stand.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Shaped for Digest<'_> {
    const SHAPE: Shape = Shape::Digest;
}

impl<'de: 'a, 'a> Deserialize<'de> for Digest<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Borrow).map(Self)
    }
}

/// Takes a string as a slice of the input where it stands there unchanged. (serde's own `Cow`
/// always copies.)
struct Borrow;

impl<'de> Visitor<'de> for Borrow {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

/// An object whose keys are names, in the order of the file. No name stands twice.
#[derive(Clone, Debug)]
pub struct Entries<'a, T>(Vec<(Text<'a>, T)>);

impl<T> Default for Entries<'_, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T> Deref for Entries<'a, T> {
    type Target = [(Text<'a>, T)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T: Shaped> Shaped for Entries<'_, T> {
    const SHAPE: Shape = Shape::Entries(&T::SHAPE);
}

impl<'de: 'a, 'a, T: Deserialize<'de>> Deserialize<'de> for Entries<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<'a, T>(PhantomData<Entries<'a, T>>);

impl<'de: 'a, 'a, T: Deserialize<'de>> Visitor<'de> for EntriesVisitor<'a, T> {
    type Value = Entries<'a, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut entries: Vec<(Text<'a>, T)> = Vec::new();
        while let Some(name) = map.next_key::<Text<'a>>()? {
            if is_comment(&name) {
                map.next_value::<Anything>()?;
            } else {
                entries.push((name, map.next_value()?));
            }
        }
        let mut seen = HashSet::with_capacity(entries.len());
        if entries.iter().all(|(name, _)| seen.insert(&**name)) {
            Ok(Entries(entries))
        } else {
            Err(M::Error::custom("duplicate name"))
        }
    }
}
