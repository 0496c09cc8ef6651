//! Which service a request to the egress proxy is addressed to, and what of its path is the
//! service's own.

use super::Request;

/// A request's service and the rest of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addressed<'r, 'a> {
    /// The name that it is addressed by, in lower case; nothing may be configured under it.
    pub service: &'r str,
    /// The service's part of the canonical path, with its leading `/`: what is matched.
    pub path: &'r str,
    /// The same part as it was sent, not decoded, with the query; without a leading `/` where the
    /// path ends with the service's name.
    pub sent: &'a str,
}

/// Reads the address: the host names the service, or, on one of `proxy_hosts`, the first segment of
/// the path does. `None` where the path of a proxy host names none.
pub fn addressed<'r, 'a>(
    request: &'r Request<'a>,
    proxy_hosts: &[Box<str>],
) -> Option<Addressed<'r, 'a>> {
    let (text, sent) = (&*request.path.text, request.path.sent);
    if !proxy_hosts.iter().any(|host| **host == *request.host) {
        return Some(Addressed { service: &request.host, path: text, sent });
    }
    let (name, path) = match text.strip_prefix('/')?.split_once('/') {
        Some((name, _)) => (name, text.get(name.len() + 1..)?),
        None => (text.strip_prefix('/')?, "/"),
    };
    // As it was sent, so that what is cut off is what was read: `%6fpenai` names nothing.
    let sent = sent.strip_prefix('/')?.strip_prefix(name)?;
    let ends = sent.is_empty() || sent.starts_with(['/', '?']);
    (ends && !name.is_empty()).then_some(Addressed { service: name, path, sent })
}

#[cfg(test)]
mod tests {
    use super::super::headers::Headers;
    use super::super::{host, path};
    use super::*;

    fn request<'a>(authority: &'a str, target: &'a str) -> Request<'a> {
        let host = host::canonical(authority).unwrap();
        let path = path::canonical(target, &host).unwrap();
        Request {
            method: "GET",
            host,
            path,
            headers: Headers::default(),
            peer: None,
            principal: None,
            rule: None,
        }
    }

    #[test]
    fn the_host_names_the_service_or_the_path_does() {
        let proxies: [Box<str>; 2] = ["egress".into(), "127.0.0.1".into()];
        for (authority, target, expected) in [
            ("openai", "/v1/models?x=1", Some(("openai", "/v1/models", "/v1/models?x=1"))),
            ("OpenAI:443", "/%61", Some(("openai", "/a", "/%61"))),
            ("openai.", "/", Some(("openai", "/", "/"))),
            ("api.openai.com", "/", Some(("api.openai.com", "/", "/"))),
            ("egress", "/openai/v1/%61?x", Some(("openai", "/v1/a", "/v1/%61?x"))),
            ("EGRESS:8443", "/openai/", Some(("openai", "/", "/"))),
            ("egress.", "/openai", Some(("openai", "/", ""))),
            ("127.0.0.1:8443", "/openai?x=1", Some(("openai", "/", "?x=1"))),
            ("egress", "/OpenAI/v1", Some(("OpenAI", "/v1", "/v1"))),
            ("egress", "/", None),
            ("egress", "/?openai", None),
            ("egress", "/%6fpenai/v1", None),
            ("egress", "/openai%3Fa/v1", None),
            ("egress", "http://egress/openai/v1", Some(("openai", "/v1", "/v1"))),
        ] {
            let request = request(authority, target);
            let found = addressed(&request, &proxies);
            let found = found.map(|found| (found.service, found.path, found.sent));
            assert_eq!(found, expected, "{authority} {target}");
        }
    }
}
