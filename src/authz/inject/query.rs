//! The query of a request to a service: pairs that could carry another credential are cut out, the
//! others stay as they are, byte for byte and in their order.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::authz::authenticate::sandbox::holds_token;

/// Parameters in which services take a credential, in lower case, `_` and `-` left out.
const CREDENTIALS: [&str; 23] = [
    "key",
    "apikey",
    "xapikey",
    "accesskey",
    "accesstoken",
    "authtoken",
    "oauthtoken",
    "privatetoken",
    "jobtoken",
    "token",
    "auth",
    "authorization",
    "clientsecret",
    "password",
    "sig",
    "signature",
    "subscriptionkey",
    "secret",
    "apptoken",
    "appkey",
    "userkey",
    "idtoken",
    "jwt",
];

/// The same, as the beginnings of names: signed URLs of object stores.
const PREFIXES: [&str; 2] = ["xamz", "xgoog"];

/// How often an upstream may decode a name before it reads it.
const DEPTH: usize = 3;

/// The pairs that go on. `credentialed`: the service has a credential of ours, so that none of the
/// agent's may go with it. `own` is the pair `NAME=VALUE` that is injected; none of its name survives.
pub(super) fn survivors<'q>(
    query: &'q str,
    credentialed: bool,
    own: Option<&str>,
) -> impl Iterator<Item = &'q str> {
    let own = own.map(|pair| bare(name_of(pair)));
    query.split('&').filter(move |pair| {
        let stays = |part: &str| {
            readings(name_of(part))
                .iter()
                .all(|name| !(credentialed && is_credential(name)) && own.as_ref() != Some(name))
        };
        // Some readers take `;` for another `&`.
        !query.is_empty() && pair.split(';').all(stays) && !holds_token(decoded(pair).as_bytes())
    })
}

fn name_of(pair: &str) -> &str {
    pair.split('=').next().unwrap_or(pair)
}

/// A name as liberal readers take it: without its index (`key[0]`), and with a bracket for one more
/// character that makes no difference (`api[key`).
fn readings(name: &str) -> [String; 2] {
    let decoded = decoded(name);
    let stem = decoded.split('[').next().unwrap_or(&decoded);
    [bare(stem), bare(&decoded)]
}

/// A decoded name in lower case, without the characters that make no difference to some.
fn bare(name: &str) -> String {
    let kept = |c: &char| !matches!(c, '_' | '-' | '.' | '+' | ' ' | '[' | ']');
    let mut bare: String = decoded(name).chars().filter(kept).collect();
    if bare.is_ascii() {
        bare.make_ascii_lowercase();
        return bare;
    }
    bare.to_lowercase()
}

fn is_credential(name: &str) -> bool {
    CREDENTIALS.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn decoded(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..DEPTH {
        if !text.contains('%') {
            break;
        }
        text = Cow::Owned(percent_decode_str(&text).decode_utf8_lossy().into_owned());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(query: &str, credentialed: bool, own: Option<&str>) -> String {
        survivors(query, credentialed, own).collect::<Vec<_>>().join("&")
    }

    #[test]
    fn what_could_be_a_credential_is_cut_out() {
        for (query, expected) in [
            ("", ""),
            ("a=1", "a=1"),
            ("a=1&b=2&a=3", "a=1&b=2&a=3"),
            ("b=%61&a=+", "b=%61&a=+"),
            ("key=evil", ""),
            ("KEY=evil&a", "a"),
            ("a=1&api_key=evil&b=2", "a=1&b=2"),
            ("%6bey=evil&a=1", "a=1"),
            ("%256bey=evil&a=1", "a=1"),
            ("key[]=evil&key%5B0%5D=evil&a=1", "a=1"),
            ("api[key=e&api%5Bkey%5D=e&jwt=e&a=1", "a=1"),
            ("access_token=e&token=e&sig=e&X-Amz-Signature=e", ""),
            ("a=1;key=evil", ""),
            ("page_token=2&monkey=3&keys=4", "page_token=2&monkey=3&keys=4"),
            ("a=gp_sbx_x&b=GP%5fsbx_x&c=3", "c=3"),
            ("&&a=1&", "&&a=1&"),
        ] {
            assert_eq!(kept(query, true, None), expected, "{query}");
        }
    }

    #[test]
    fn a_service_without_credential_gets_all_but_our_tokens() {
        assert_eq!(kept("key=1&a=gp_sbx_x&token=2", false, None), "key=1&token=2");
    }

    #[test]
    fn the_injected_name_is_ours_alone() {
        assert_eq!(kept("appid=evil&a=1&APP%49D=evil", true, Some("appid=s")), "a=1");
    }

    proptest! {
        #[test]
        fn pairs_survive_whole_and_in_order(query in "[a-z=%&;\\[\\]+2-9k]{0,40}") {
            let all: Vec<_> = query.split('&').collect();
            let mut rest = all.iter();
            for pair in survivors(&query, true, None) {
                prop_assert!(rest.any(|other| *other == pair));
                let names = readings(name_of(pair));
                prop_assert!(names.iter().all(|name| !CREDENTIALS.contains(&name.as_str())));
            }
        }
    }
}
