//! A piece of a file of credentials, and how it is written.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::policy::credential::Secret;

/// A piece of the file.
pub(super) enum Node {
    /// Text that is no secret.
    Text(String),
    /// The value of a variable that has not been read yet, by its name.
    Variable(String),
    /// A value.
    Secret(Secret),
    /// Fields in the order in which they are written.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// Every variable in it.
    pub(super) fn variables(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Variable(_) => vec![self],
            Self::Object(fields) => {
                fields.iter_mut().flat_map(|(_, field)| field.variables()).collect()
            }
            Self::Text(_) | Self::Secret(_) => Vec::new(),
        }
    }

    /// As JSON, with a newline at the end. A variable that has not been read is "".
    pub(super) fn render(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        self.write(0, &mut text);
        text.push('\n');
        text
    }

    fn write(&self, depth: usize, out: &mut Zeroizing<String>) {
        match self {
            Self::Text(text) => quote(text, out),
            Self::Secret(secret) => quote(secret.expose(), out),
            Self::Variable(_) => quote("", out),
            Self::Object(fields) => {
                out.push('{');
                for (number, (name, field)) in fields.iter().enumerate() {
                    out.push_str(if number == 0 { "\n" } else { ",\n" });
                    out.push_str(&"  ".repeat(depth + 1));
                    quote(name, out);
                    out.push_str(": ");
                    field.write(depth + 1, out);
                }
                if !fields.is_empty() {
                    out.push('\n');
                    out.push_str(&"  ".repeat(depth));
                }
                out.push('}');
            }
        }
    }
}

fn quote(text: &str, out: &mut Zeroizing<String>) {
    let quoted = Zeroizing::new(Value::from(text).to_string());
    out.push_str(&quoted);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_value_is_a_reader_finds_it_again(name in ".*", value in ".*") {
            let node = Node::Object(vec![
                (name.clone(), Node::Secret(Secret::new(value.clone()))),
                (format!("{name}x"), Node::Object(vec![(name.clone(), Node::Text(value.clone()))])),
            ]);
            let read: Value = serde_json::from_str(&node.render()).unwrap();
            let inner = serde_json::json!({ name.clone(): value });
            prop_assert_eq!(read, serde_json::json!({ name.clone(): value, format!("{name}x"): inner }));
        }
    }
}
