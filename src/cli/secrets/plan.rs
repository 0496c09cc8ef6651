//! Which credentials come from the environment, and what the file says of each.

use super::tree::Node;
use crate::cli::policy_file::{Entry, PolicyFile};
use crate::cli::streams::Error;
use crate::policy::credential::Secret;

/// What the shell script wrote that this command replaces.
const ORIGINAL: [(&str, &str, &str); 4] = [
    ("openai", "bearer", "OPENAI_API_KEY"),
    ("anthropic", "api_key", "ANTHROPIC_API_KEY"),
    ("github", "bearer", "GITHUB_TOKEN"),
    ("slack", "bearer", "SLACK_BOT_TOKEN"),
];

/// Without a policy: four well-known services.
pub(super) fn of_the_original() -> Vec<(String, Node)> {
    let credential = |(name, kind, variable): (&str, &str, &str)| {
        let fields =
            [("type", Node::Text(kind.into())), ("token", Node::Variable(variable.into()))];
        (name.to_owned(), Node::Object(fields.map(|(name, node)| (name.to_owned(), node)).into()))
    };
    ORIGINAL.map(credential).into()
}

/// The credentials of an `egress_config.json` that take a value from the environment.
pub(super) fn of_policy(file: &PolicyFile) -> Result<Vec<(String, Node)>, Error> {
    let mut plan = Vec::new();
    if let Some(credentials) = file.object(&file.root(), "egress_credentials")? {
        for name in file.names(&credentials)? {
            if let Some(entry) = file.object(&credentials, &name)?
                && let Some(node) = credential(file, &entry)?
            {
                plan.push((name, node));
            }
        }
    }
    if plan.is_empty() {
        return Err(file.error(
            "no credential in \"egress_credentials\" takes its value from the environment: there \
             is nothing to write",
        ));
    }
    Ok(plan)
}

fn credential(file: &PolicyFile, entry: &Entry) -> Result<Option<Node>, Error> {
    let kind = file.text(entry, "type")?;
    let value = match kind.as_deref() {
        Some("headers") => headers(file, entry)?.map(|headers| ("headers", headers)),
        Some("basic") => variable(file, entry, &["password", "token"])?
            .map(|variable| ("password", Node::Variable(variable))),
        Some(_) | None => {
            variable(file, entry, &["token"])?.map(|variable| ("token", Node::Variable(variable)))
        }
    };
    Ok(value.map(|(field, node)| {
        let kind = kind.map(|kind| ("type".to_owned(), Node::Text(kind)));
        Node::Object(kind.into_iter().chain([(field.to_owned(), node)]).collect())
    }))
}

/// The headers, all of them as soon as one comes from the environment: a field of the file of
/// secrets takes the place of the same field of the configuration.
fn headers(file: &PolicyFile, entry: &Entry) -> Result<Option<Node>, Error> {
    let Some(headers) = file.object(entry, "headers")? else { return Ok(None) };
    let mut nodes = Vec::new();
    let mut from_environment = false;
    let mut mixed = None;
    for name in file.names(&headers)? {
        let Some(header) = file.object(&headers, &name)? else { continue };
        let mut fields = Vec::new();
        if let Some(variable) = variable(file, &header, &["token"])? {
            from_environment = true;
            fields.push(("token".to_owned(), Node::Variable(variable)));
        } else if let Some(source) = file.text(&header, "source")? {
            fields.push(("source".to_owned(), Node::Text(source)));
        } else if let Some(token) = file.text(&header, "token")? {
            if token.contains("${") {
                mixed.get_or_insert_with(|| header.at("token"));
            }
            fields.push(("token".to_owned(), Node::Secret(Secret::new(token))));
        }
        if let Some(prefix) = file.text(&header, "prefix")? {
            fields.push(("prefix".to_owned(), Node::Text(prefix)));
        }
        nodes.push((name, Node::Object(fields)));
    }
    match mixed {
        // In the file of secrets it would be taken as it stands.
        Some(place) if from_environment => Err(file.wrong(
            &place,
            "one ${NAME} and nothing else, beside headers from the environment; \"prefix\" is for \
             what stands before it",
        )),
        Some(_) | None => Ok(from_environment.then_some(Node::Object(nodes))),
    }
}

/// The variable that a value comes from: as for the server, `source` wins over the value itself.
fn variable(file: &PolicyFile, of: &Entry, fields: &[&str]) -> Result<Option<String>, Error> {
    if let Some(source) = file.text(of, "source")? {
        return match source.strip_prefix("env:") {
            Some("") => Err(file.wrong(&of.at("source"), "the name of a variable after env:")),
            Some(variable) => Ok(Some(variable.to_owned())),
            None => Ok(None),
        };
    }
    for field in fields {
        if let Some(text) = file.text(of, field)? {
            return Ok(whole_reference(&text).map(str::to_owned));
        }
    }
    Ok(None)
}

/// `NAME`, if the text is `${NAME}`.
fn whole_reference(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (!name.is_empty() && name.bytes().all(fits)).then_some(name)
}
