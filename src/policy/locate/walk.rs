//! A syntax tree held against a [`Shape`]: every place where they differ, and the rest of the
//! document without those places.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use jsonc_parser::ast::{Array, Object, ObjectProp, Value};
use jsonc_parser::common::Ranged;

use super::path::{Path, Step};
use super::quote::{quote, shorten, suggest};
use crate::policy::raw::{Field, Shape, is_comment};

/// How many mistakes are kept with their text; the others are counted.
const KEPT: usize = 1_000;

/// From this length on, a text or an unknown name in an object that holds keys may be a key that
/// slipped into the wrong place: 22 characters of base 64 are the 128 bits that a key must have.
const KEY_LENGTH: usize = 22;

/// One mistake and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Mistake {
    /// In bytes from the start of the file.
    pub(super) at: usize,
    pub(super) path: String,
    pub(super) message: String,
    /// Where the first of two keys of the same name stands.
    pub(super) first: Option<usize>,
}

impl Mistake {
    pub(super) fn new(at: usize, path: String, message: String) -> Self {
        Self { at, path, message, first: None }
    }
}

/// What a walk found.
#[derive(Debug)]
pub(super) struct Walked {
    /// In the order of the file.
    pub(super) mistakes: Vec<Mistake>,
    /// How many more there are.
    pub(super) uncounted: usize,
    /// Where they are, and where a misspelt field should have been.
    pub(super) faulty: HashSet<Vec<Step>>,
    /// The document without them.
    pub(super) pruned: Option<String>,
}

impl Walked {
    /// Nothing could be walked.
    pub(super) fn stopped_by(mistake: Mistake) -> Self {
        let faulty = HashSet::from([Vec::new()]);
        Self { mistakes: vec![mistake], uncounted: 0, faulty, pruned: None }
    }
}

/// Holds the tree of `text` against `shape`. The recursion is as deep as the shape, whatever the
/// depth of the document.
pub(super) fn walk(text: &str, tree: &Value<'_>, shape: &Shape) -> Walked {
    let mut walk = Walk {
        text,
        steps: Vec::new(),
        among_keys: false,
        pruned: String::new(),
        mistakes: Vec::new(),
        uncounted: 0,
        faulty: HashSet::new(),
    };
    let kept = walk.value(tree, shape);
    Walked {
        mistakes: walk.mistakes,
        uncounted: walk.uncounted,
        faulty: walk.faulty,
        pruned: kept.then_some(walk.pruned),
    }
}

/// A [`Step`] that borrows its name from the tree.
#[derive(Clone, Copy)]
enum At<'v> {
    Field(&'v str),
    Index(usize),
}

struct Walk<'v> {
    text: &'v str,
    steps: Vec<At<'v>>,
    /// Whether the object around holds keys.
    among_keys: bool,
    pruned: String,
    mistakes: Vec<Mistake>,
    uncounted: usize,
    faulty: HashSet<Vec<Step>>,
}

impl<'v> Walk<'v> {
    /// Copies a value to the pruned document and notes what is wrong inside; or notes that it is
    /// altogether wrong, copies nothing and says `false`.
    fn value(&mut self, value: &'v Value<'_>, shape: &Shape) -> bool {
        match (shape, value) {
            (Shape::List(item), Value::Array(list)) => self.list(list, item),
            (Shape::Entries(entry), Value::Object(object)) => {
                self.object(object, |_, _| Some(entry));
            }
            (Shape::Object(fields), Value::Object(object)) => {
                let holds_key =
                    |field: &Field| matches!(field.shape, Shape::Secret | Shape::Digest);
                let outer = std::mem::replace(&mut self.among_keys, fields.iter().any(holds_key));
                self.object(object, |walk, property| walk.known(property, fields));
                self.among_keys = outer;
            }
            (leaf, value) => match mismatch(leaf, value, self.among_keys) {
                None => self.pruned.push_str(value.text(self.text)),
                Some(message) => {
                    self.mistake(value.start(), message, None);
                    return false;
                }
            },
        }
        true
    }

    fn list(&mut self, list: &'v Array<'_>, item: &Shape) {
        self.pruned.push('[');
        for (index, value) in list.elements.iter().enumerate() {
            if index > 0 {
                self.pruned.push(',');
            }
            self.steps.push(At::Index(index));
            if !self.value(value, item) {
                self.pruned.push_str(empty(item));
            }
            self.steps.pop();
        }
        self.pruned.push(']');
    }

    fn object<'s>(
        &mut self,
        object: &'v Object<'_>,
        shape_of: impl Fn(&mut Self, &'v ObjectProp<'_>) -> Option<&'s Shape>,
    ) {
        let mut seen = HashMap::new();
        let mut separator = "";
        self.pruned.push('{');
        for property in &object.properties {
            let name = property.name.as_str();
            if is_comment(name) {
                continue;
            }
            self.steps.push(At::Field(name));
            let length = self.pruned.len();
            let kept = match seen.entry(name) {
                Entry::Occupied(first) => {
                    let message = "this name stands here for the second time".to_owned();
                    self.mistake(property.start(), message, Some(*first.get()));
                    false
                }
                Entry::Vacant(free) => {
                    free.insert(property.start());
                    shape_of(self, property).is_some_and(|shape| {
                        self.pruned.push_str(separator);
                        self.pruned.push_str(property.name.text(self.text));
                        self.pruned.push(':');
                        self.value(&property.value, shape)
                    })
                }
            };
            if kept {
                separator = ",";
            } else {
                self.pruned.truncate(length);
            }
            self.steps.pop();
        }
        self.pruned.push('}');
    }

    /// The shape of a property of an object with known fields.
    fn known<'s>(
        &mut self,
        property: &'v ObjectProp<'_>,
        fields: &'s [Field],
    ) -> Option<&'s Shape> {
        let name = property.name.as_str();
        if let Some(field) = fields.iter().find(|field| field.name == name) {
            return Some(field.shape);
        }
        let step = self.steps.pop();
        let message = if let Some(meant) = suggest(name, fields.iter().map(|field| field.name)) {
            // What `compile` finds about the absence of the field follows from this.
            self.faulty.insert(self.path_to(At::Field(meant)));
            self.steps.extend(step);
            format!("unknown field, did you mean `{meant}`?")
        } else {
            let hidden = self.among_keys && may_be_key(name);
            self.steps.extend(if hidden { Some(At::Field("…")) } else { step });
            let names: Vec<_> = fields.iter().map(|field| field.name).collect();
            format!("unknown field, expected one of {}", names.join(", "))
        };
        self.mistake(property.start(), message, None);
        None
    }

    fn mistake(&mut self, at: usize, message: String, first: Option<usize>) {
        let steps: Vec<_> = self.steps.iter().map(At::owned).collect();
        if self.mistakes.len() < KEPT {
            let path = Path::from(steps.clone()).to_string();
            self.mistakes.push(Mistake { at, path, message, first });
        } else {
            self.uncounted += 1;
        }
        self.faulty.insert(steps);
    }

    fn path_to(&self, last: At<'_>) -> Vec<Step> {
        self.steps.iter().chain([&last]).map(At::owned).collect()
    }
}

impl At<'_> {
    fn owned(&self) -> Step {
        match *self {
            Self::Field(name) => Step::Field(name.to_owned().into()),
            Self::Index(index) => Step::Index(index),
        }
    }
}

/// What is wrong with a value that is no object or list of the right kind.
fn mismatch(shape: &Shape, value: &Value<'_>, among_keys: bool) -> Option<String> {
    let expected = match (shape, value) {
        (Shape::Text | Shape::Secret | Shape::Digest, Value::StringLit(_))
        | (Shape::Boolean, Value::BooleanLit(_)) => return None,
        (Shape::Integer, Value::NumberLit(number)) => match number.value.parse::<i64>() {
            // The fast pass reads -0 as a fraction, since no integer is negative and zero.
            Ok(_) if number.value != "-0" => return None,
            Err(_) if !number.value.contains(['.', 'e', 'E']) => "a whole number that fits 64 bits",
            Ok(_) | Err(_) => "a whole number",
        },
        (Shape::Text | Shape::Secret | Shape::Digest, _) => "a text",
        (Shape::Integer, _) => "a whole number",
        (Shape::Boolean, _) => "true or false",
        (Shape::List(_), _) => "a list",
        (Shape::Entries(_) | Shape::Object(_), _) => "an object",
    };
    let hidden = match value {
        Value::StringLit(text) => among_keys && may_be_key(&text.value),
        Value::NumberLit(number) => among_keys && may_be_key(number.value),
        Value::BooleanLit(_) | Value::NullKeyword(_) | Value::Array(_) | Value::Object(_) => false,
    };
    let found = describe(value, hidden || shape.is_sensitive());
    Some(format!("expected {expected}, found {found}"))
}

fn may_be_key(text: &str) -> bool {
    text.chars().nth(KEY_LENGTH - 1).is_some()
}

/// What stands in a place, without its text if that may be a key.
fn describe(value: &Value<'_>, sensitive: bool) -> String {
    match value {
        Value::StringLit(text) if !sensitive => format!("the text {}", quote(&text.value)),
        Value::NumberLit(number) if !sensitive => format!("the number {}", shorten(number.value)),
        Value::StringLit(_) => "a text".to_owned(),
        Value::NumberLit(_) => "a number".to_owned(),
        Value::BooleanLit(boolean) => boolean.value.to_string(),
        Value::NullKeyword(_) => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The least that has a shape, to hold the place of a bad item of a list.
fn empty(shape: &Shape) -> &'static str {
    match shape {
        Shape::Text | Shape::Secret | Shape::Digest => "\"\"",
        Shape::Integer => "0",
        Shape::Boolean => "false",
        Shape::List(_) => "[]",
        Shape::Entries(_) | Shape::Object(_) => "{}",
    }
}
