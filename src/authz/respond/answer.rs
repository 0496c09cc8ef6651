//! A `CheckResponse` read back: what Envoy would do with it, for `explain` and for table cases.

use super::{
    DENIED_BODY, DENIED_HEADERS, DENIED_RESPONSE, DENIED_STATUS, DYNAMIC_METADATA, OK_HEADERS,
    OK_HEADERS_TO_REMOVE, OK_RESPONSE, OK_RESPONSE_HEADERS, STATUS,
};
use crate::authz::wire::{Reader, Undecodable, Value};

/// A header, its name first.
pub type Header = (String, String);

/// What Envoy was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The gRPC code of the decision: 0 lets the request pass.
    pub code: u64,
    /// The HTTP status of a denial.
    pub status: Option<u64>,
    /// What the upstream gets, over whatever the client sent.
    pub set: Vec<Header>,
    /// What the upstream never sees.
    pub removed: Vec<String>,
    /// What the client gets: beside the upstream's own answer, or with the denial.
    pub client: Vec<Header>,
    /// The body of a denial.
    pub body: String,
    /// Dynamic metadata, for Envoy's access log and other filters.
    pub metadata: Vec<(String, String)>,
}

impl Answer {
    /// Reads a response of ours.
    ///
    /// # Errors
    /// The bytes are no message.
    pub fn read(bytes: &[u8]) -> Result<Self, Undecodable> {
        let ok = message(bytes, OK_RESPONSE)?;
        let denied = message(bytes, DENIED_RESPONSE)?;
        let mut client = headers(ok, OK_RESPONSE_HEADERS)?;
        client.extend(headers(denied, DENIED_HEADERS)?);
        let mut metadata = Vec::new();
        for entry in messages(message(bytes, DYNAMIC_METADATA)?, 1)? {
            metadata.push((text(entry, 1)?, text(message(entry, 2)?, 3)?));
        }
        let removed = messages(ok, OK_HEADERS_TO_REMOVE)?;
        Ok(Self {
            code: number(message(bytes, STATUS)?, 1)?.unwrap_or(0),
            status: number(message(denied, DENIED_STATUS)?, 1)?,
            set: headers(ok, OK_HEADERS)?,
            removed: removed.into_iter().map(lossy).collect(),
            client,
            body: text(denied, DENIED_BODY)?,
            metadata,
        })
    }

    /// One entry of the dynamic metadata.
    pub fn metadata(&self, name: &str) -> Option<&str> {
        find(&self.metadata, name)
    }
}

/// The value under a name in a list of headers or of metadata.
pub fn find<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
}

fn headers(bytes: &[u8], field: u32) -> Result<Vec<Header>, Undecodable> {
    let mut headers = Vec::new();
    for option in messages(bytes, field)? {
        let header = message(option, 1)?;
        headers.push((text(header, 1)?, text(header, 2)?));
    }
    Ok(headers)
}

fn text(bytes: &[u8], field: u32) -> Result<String, Undecodable> {
    message(bytes, field).map(lossy)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The field's last value; empty where it is absent.
fn message(bytes: &[u8], field: u32) -> Result<&[u8], Undecodable> {
    Ok(messages(bytes, field)?.pop().unwrap_or(&[]))
}

fn messages(bytes: &[u8], field: u32) -> Result<Vec<&[u8]>, Undecodable> {
    let mut found = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        match value {
            Value::Bytes(value) if number == field => found.push(value),
            Value::Bytes(_) | Value::Varint(_) | Value::Fixed => {}
        }
    }
    Ok(found)
}

fn number(bytes: &[u8], field: u32) -> Result<Option<u64>, Undecodable> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((number, value)) = reader.field()? {
        match value {
            Value::Varint(value) if number == field => found = Some(value),
            Value::Bytes(_) | Value::Varint(_) | Value::Fixed => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::inject::Mutations;
    use crate::authz::respond::{Metadata, Refusal, allow, deny};
    use crate::denial::{Denial, Window};
    use crate::side::Side;

    fn owned(headers: &[(&str, &str)]) -> Vec<Header> {
        headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn reads_what_respond_writes() {
        let metadata = Metadata { decision_id: "d", outcome: "allow", ..Metadata::default() };
        let mutations = Mutations {
            set: vec![("x-tenant", "acme".into())],
            remove: vec!["x-api-key", "x-user-a"],
        };
        let answer = Answer::read(&allow(&mutations, &[("ratelimit", "r")], &metadata)).unwrap();
        assert_eq!((answer.code, answer.status, &*answer.body), (0, None, ""));
        assert_eq!(answer.set, owned(&[("x-tenant", "acme")]));
        assert_eq!(answer.removed, ["x-api-key", "x-user-a"]);
        assert_eq!(answer.client, owned(&[("ratelimit", "r")]));
        assert_eq!((answer.metadata("outcome"), answer.metadata("rule")), (Some("allow"), None));

        let denial = Denial::RateLimited(Window::Minute);
        let refusal = Refusal { denial, side: Side::Gateway, grpc: true, decision_id: "d" };
        let answer = Answer::read(&deny(refusal, &[("retry-after", "9")], &metadata)).unwrap();
        assert_eq!((answer.code, answer.status), (8, Some(429)));
        assert_eq!(find(&answer.client, "grpc-status"), Some("8"));
        assert_eq!(find(&answer.client, "retry-after"), Some("9"));
        assert_eq!((answer.set, answer.removed), (vec![], Vec::<String>::new()));
        assert!(answer.body.contains(denial.title(Side::Gateway)), "{}", answer.body);

        assert!(Answer::read(&[0x0a, 9]).is_err());
    }
}
