//! The two files of the egress.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;

const CANARY: &str = "canary-key-9f86d081884c7d659a2f";

/// A directory with these files; the secrets with this mode.
fn directory(egress: &str, secrets: Option<(&str, u32)>) -> TempDir {
    let dir = TempDir::new().expect("a directory");
    fs::write(dir.path().join(EGRESS), egress).expect("writable");
    if let Some((secrets, mode)) = secrets {
        let path = dir.path().join(SECRETS);
        fs::write(&path, secrets).expect("writable");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("changed");
    }
    dir
}

/// Everything that loading these two files says: errors, or else warnings.
fn said(egress: &str, secrets: &str, strictness: Strictness) -> Result<String, String> {
    let dir = directory(egress, Some((secrets, 0o600)));
    let files = Files::read(dir.path()).map_err(|error| error.to_string())?;
    let (now, store) = (Now::read(), &mut Store::live("."));
    let snapshot = files.compile(strictness, 1, store, now).map_err(|error| error.to_string())?;
    Ok(files.advice(&snapshot, strictness, now).expect("it loads").to_string())
}

#[test]
fn every_mistake_has_its_place_in_the_right_file() {
    let egress = r#"{
  "egress_config": { "sandbox_identity": ["header"], "secret_grace": 5 },
  "egress_services": {
    "openai": { "base_url": "https://user@api.openai.com", "allowed_methods": ["TRACE"] },
    "Slack": { "base_url": "https://slack.com/api", "colour": "blue" },
    "echo": { "base_url": "http://echo.test" }
  },
  "egress_policies": { "default": { "allowed_services": ["opnai"] } },
  "sandbox_policies": { "s": "gold" },
  "sandboxes": { "s": { "tokens": [ { "id": "t", "sha256": "gp_sbx_x" } ], "credentials": { "echo": "openai" } } },
  "egress_credentials": { "openai": { "type": "bearer", "source": "sk-1" }, "none": { "type": "bearer" },
                          "echo": {} }
}"#;
    let secrets = r#"{ "egress_credentials": {
  "echo": { "type": "bearer", "token": 5, "hosts": ["other.test"] },
  "openai": { "tokn": "x" }, "orphan": { "type": "bearer" } } }"#;
    let found = said(egress, secrets, Strictness::Production).expect_err("mistakes");
    let expected = [
        "egress_config.json:2:43: egress_config.sandbox_identity[0]: believes whatever",
        "egress_config.json:2:70: egress_config.secret_grace: expected a text, found the number 5",
        "egress_config.json:4:29: egress_services.openai.base_url: names a user",
        "egress_config.json:4:80: egress_services.openai.allowed_methods[0]: TRACE is never allowed",
        "egress_config.json:5:5: egress_services.Slack: expected a name of 1 to 63 characters",
        "egress_config.json:5:53: egress_services.Slack.colour: unknown field",
        "egress_config.json:6:27: egress_services.echo.base_url: expected https",
        "egress_config.json:8:58: egress_policies.default.allowed_services[0]: expected a name out of egress_services (Slack, echo, openai), found \"opnai\"",
        "egress_config.json:9:25: sandbox_policies.s: stands in `sandboxes` too",
        "egress_config.json:10:60: sandboxes.s.tokens[0].sha256: expected the SHA-256",
        "egress_config.json:10:101: sandboxes.s.credentials.echo: \"openai\" belongs to another service",
        "egress_config.json:11:67: egress_credentials.openai.source: expected `env:NAME`",
        "egress_config.json:11:77: egress_credentials.none: belongs to no service",
        "egress_secrets.json:2:40: egress_credentials.echo.token: expected a text, found a number",
        "egress_secrets.json:2:52: egress_credentials.echo.hosts: expected echo.test to be among them",
        "egress_secrets.json:3:15: egress_credentials.openai.tokn: unknown field, did you mean `token`?",
    ];
    let found: Vec<_> = found.lines().collect();
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "expected {expected}\nfound    {found}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn both_sides_are_judged_together() {
    let dir = directory(r#"{ "egress_services": [] }"#, Some(("[]", 0o600)));
    fs::write(dir.path().join(GATEWAY), r#"{ "rules": [] }"#).expect("writable");
    let error = compile(&Files::read(dir.path()).expect("readable"), 1).expect_err("mistakes");
    let error = error.to_string();
    let lines: Vec<_> = error.lines().collect();
    assert!(lines[0].starts_with("gateway_config.json:1:12: rules: names no rule"), "{error}");
    assert!(lines[1].starts_with("egress_config.json:1:22: egress_services: expected"), "{error}");
    assert!(lines[2].starts_with("egress_secrets.json:1:1: $: expected an object"), "{error}");
    assert_eq!(lines.len(), 3, "{error}");
}

#[test]
fn secrets_are_for_their_owner() {
    for (mode, wanted) in [
        (0o600, Ok("")),
        (0o400, Ok("")),
        (0o640, Ok("egress_secrets.json:1:1: $: others than its owner may read it: chmod 600")),
        (0o604, Ok("egress_secrets.json:1:1: $: others than its owner may read it: chmod 600")),
        (0o660, Err("egress_secrets.json: others than its owner may write it")),
        (0o602, Err("egress_secrets.json: others than its owner may write it")),
    ] {
        let dir = directory("{}", Some(("{}", mode)));
        let read = Files::read(dir.path());
        match (read, wanted) {
            (Ok(files), Ok(wanted)) => {
                let snapshot = compile(&files, 1).expect("valid");
                let advice = files.advice(&snapshot, Strictness::Production, Now::read());
                let advice = advice.expect("it loads").to_string();
                assert!(advice.starts_with(wanted), "{mode:o}: {advice}");
                assert_eq!(advice.is_empty(), wanted.is_empty(), "{mode:o}: {advice}");
            }
            (Err(error), Err(wanted)) => {
                let error = error.to_string();
                assert!(error.contains(wanted) && error.contains("chmod 600"), "{mode:o}: {error}");
            }
            (read, _) => panic!("{mode:o}: {read:?}"),
        }
    }
}

#[test]
fn secrets_without_a_config_say_nothing() {
    let dir = directory("{}", Some(("no JSON at all", 0o666)));
    fs::rename(dir.path().join(EGRESS), dir.path().join(GATEWAY)).expect("moved");
    let files = Files::read(dir.path()).expect("readable");
    assert!(files.has_gateway() && !files.has_egress());
    let snapshot = compile(&files, 1).expect("valid");
    assert!(snapshot.egress.is_none());
    let advice = files.advice(&snapshot, Strictness::Production, Now::read()).expect("it loads");
    let last = advice.to_string();
    let last = last.lines().last().expect("a warning");
    assert_eq!(
        last,
        "egress_secrets.json:1:1: $: is not used: there is no egress_config.json beside it"
    );
}

#[test]
fn the_revision_is_public_and_the_fingerprint_knows_the_secrets_too() {
    let version = |gateway: Option<&str>, egress: Option<&str>, secrets: Option<&str>| {
        let dir = directory(egress.unwrap_or(""), secrets.map(|secrets| (secrets, 0o600)));
        if egress.is_none() {
            fs::remove_file(dir.path().join(EGRESS)).expect("removed");
        }
        if let Some(gateway) = gateway {
            fs::write(dir.path().join(GATEWAY), gateway).expect("writable");
        }
        let files = Files::read(dir.path()).expect("readable");
        let streamed = Files::revision_in(dir.path()).expect("readable");
        assert_eq!(*files.revision(), streamed);
        assert!(files.fingerprint() == Files::fingerprint_in(dir.path()).expect("readable"));
        assert!(!format!("{files:?}").contains("fingerprint"));
        (files.revision().clone(), files.fingerprint())
    };
    let base = version(Some("{}"), Some("{}"), Some("{}"));
    assert!(base == version(Some("{}"), Some("{}"), Some("{}")));
    let secrets = version(Some("{}"), Some("{}"), Some("{} "));
    assert!(base.0 == secrets.0 && base.1 != secrets.1, "the secrets alone");
    let none = version(Some("{}"), Some("{}"), None);
    assert!(base.0 == none.0 && base.1 != none.1, "no secrets");
    for other in [
        version(Some("{}"), Some("{} "), Some("{}")),
        version(Some("{} "), Some("{}"), Some("{}")),
        version(Some("{}"), None, Some("{}")),
        version(None, Some("{}"), Some("{}")),
    ] {
        assert!(base.0 != other.0 && base.1 != other.1);
    }
    let stray = version(Some("{}"), None, Some("{}"));
    assert!(stray == version(Some("{}"), None, None), "secrets that nothing reads");
}

#[test]
fn the_original_files_load() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/cases/original");
    let egress = fs::read_to_string(root.join(EGRESS)).expect("readable");
    let secrets = r#"{"egress_credentials": {"openai": {"type": "bearer", "token": "sk-1"},
        "anthropic": {"type": "api_key", "token": "sk-2"}, "github": {"type": "bearer", "token": "ghp"},
        "slack": {"type": "bearer", "token": "xoxb"}}}"#;
    for secrets in ["{}", secrets] {
        let dir = directory(&egress, Some((secrets, 0o600)));
        let snapshot = compile(&Files::read(dir.path()).expect("readable"), 1).expect("valid");
        let map = snapshot.egress.expect("an egress").map;
        assert_eq!((map.services.len(), map.tiers.len(), map.sandboxes.len()), (5, 5, 2));
        assert_eq!(map.credentials.len(), 4);
        let (slack, service) = map.service("slack").expect("a service");
        assert_eq!(&*service.base_path, "/api");
        let sandbox = map.sandbox("sandbox-dev-001").expect("a sandbox");
        assert!(!map.tier(Some(sandbox)).expect("a tier").has(slack));
    }
}

/// Places where a secret may be put by mistake: one is chosen, and what it holds is wrong or not.
const PLACES: &[(&str, &str)] = &[
    (r#""egress_credentials": { "openai": { "type": "bearer", "token": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "bearer", "token": [SECRET] } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "bearer", "source": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "bearer", "tokn": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": SECRET }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "basic", "username": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "basic", "password": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "query", "parameter": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "api_key", "header": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "api_key", "prefix": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "headers", "headers": SECRET } }"#, "{}"),
    (
        r#""egress_credentials": { "openai": { "type": "headers", "headers": { "a": SECRET } } }"#,
        "{}",
    ),
    (
        r#""egress_credentials": { "openai": { "type": "headers", "headers": { "a": { "token": SECRET } } } }"#,
        "{}",
    ),
    (r#""egress_credentials": { "openai": { "type": "bearer", "service": SECRET } }"#, "{}"),
    (r#""egress_credentials": { "openai": { "type": "bearer", "hosts": [SECRET] } }"#, "{}"),
    (r#""sandboxes": { "s": { "tokens": SECRET } }"#, "{}"),
    (r#""sandboxes": { "s": { "tokens": [SECRET] } }"#, "{}"),
    (r#""sandboxes": { "s": { "tokens": [{ "id": SECRET }] } }"#, "{}"),
    (r#""sandboxes": { "s": { "tokens": [{ "id": "t", "sha256": SECRET }] } }"#, "{}"),
    (r#""sandboxes": { "s": { "credentials": { "openai": SECRET } } }"#, "{}"),
    (
        r#""egress_services": { "a": { "base_url": "https://a.test", "headers": { "x": SECRET } } }"#,
        "{}",
    ),
    (r#""egress_services": { "a": { "base_url": "https://a.test", "headers": SECRET } }"#, "{}"),
    (r#""egress_services": { "a": { "base_url": SECRET } }"#, "{}"),
    ("", r#"{ "egress_credentials": { "openai": { "type": "bearer", "token": SECRET } } }"#),
    ("", r#"{ "egress_credentials": { "openai": { "type": "bearer", "token": SECRET "#),
    (
        "",
        r#"{ "egress_credentials": { "openai": { "type": "bearer", "token": { "a": SECRET } } } }"#,
    ),
    ("", r#"{ "egress_credentials": { "openai": { "type": "bearer", "source": SECRET } } }"#),
    ("", r#"{ "egress_credentials": { "openai": SECRET } }"#),
    ("", r#"{ "egress_credentials": SECRET }"#),
    ("", r#"{ "egress_credentials": { "openai": { "type": "api_key", "passwrod": SECRET } } }"#),
];

/// A credential is easily put where a name belongs, and every message names its place.
#[test]
fn no_message_shows_a_secret_that_stands_for_a_name() {
    let value = "sk-LEAKED-abcdefghijklmnopqrstuvwxyz0123456789";
    let config = r#"{ "egress_services": { "o": { "base_url": "https://o.test" } },
        "egress_credentials": { "o": { "type": "headers" } } }"#;
    for secrets in [
        r#"{ "SECRET": 1 }"#,
        r#"{ "egress_credentials": { "SECRET": { "type": "bearer", "token": "x" } } }"#,
        r#"{ "egress_credentials": { "o": { "SECRET": 1 } } }"#,
        r#"{ "egress_credentials": { "o": { "headers": { "SECRET": "SECRET" } } } }"#,
    ] {
        let (Ok(text) | Err(text)) =
            said(config, &secrets.replace("SECRET", value), Strictness::Production);
        assert!(!text.contains("LEAKED") && !text.is_empty(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever is wrong with the files, and wherever the secret stands in them: no error and no
    /// warning repeats it.
    #[test]
    fn no_message_shows_a_secret(
        place in prop::sample::select(PLACES),
        before in "(https://|env:|file:|[$]\\{| |\\\\n)?",
        after in "( |\\\\n|\\\\u0000|@a|:b|[?]c)?",
        development in any::<bool>(),
    ) {
        let secret = format!("\"{before}{CANARY}{after}\"");
        let (config, secrets) = place;
        let services = r#""egress_services": { "openai": { "base_url": "https://api.openai.com" } }"#;
        let nothing = r#""_": 0"#;
        let services = if config.contains("egress_services") { nothing } else { services };
        let config = if config.is_empty() { nothing } else { config };
        let egress = format!(
            r#"{{ {services}, {config}, "egress_policies": {{ "default": {{}} }} }}"#
        );
        let egress = egress.replace("SECRET", &secret);
        let strictness =
            if development { Strictness::Development } else { Strictness::Production };
        let text = match said(&egress, &secrets.replace("SECRET", &secret), strictness) {
            Ok(text) | Err(text) => text,
        };
        // A variable or a path that is named so is shown: that is where to look.
        let named = before == "env:" || before == "file:" || before.starts_with('$');
        prop_assert!(named || !text.contains(&CANARY[..16]), "{egress}\n{secrets}\n{text}");
    }
}
