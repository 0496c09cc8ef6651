//! The shipped Envoy files by themselves.

use tempfile::TempDir;

use crate::world::certificates::Authority;
use crate::world::egress::{egress_supported, shipped as shipped_egress};
use crate::world::envoy::{rejected, replace_once, root, version};

fn shipped() -> String {
    std::fs::read_to_string(root().join("envoy/gateway.yaml")).unwrap()
}

#[test]
fn the_tls_listener_works_when_uncommented() {
    let yaml = shipped();
    assert!(yaml.contains("\n  #tls - name"), "the TLS block is gone");
    let yaml = yaml.replace("\n  #tls ", "\n  ");
    let certificates = root().join("tests/it/certificates");
    let yaml = yaml.replace("/etc/gatepost/tls", certificates.to_str().unwrap());
    assert_eq!(rejected(&yaml), "");
}

#[test]
fn the_commented_alternatives_are_valid() {
    let mut yaml = shipped();
    for first in ["typed_per_filter_config:", "health_checks:"] {
        yaml = uncomment(&yaml, first);
    }
    assert_eq!(rejected(&yaml), "");
}

/// Removes the "# " from a comment block that begins with this line.
fn uncomment(yaml: &str, first: &str) -> String {
    let mut inside = false;
    let lines = yaml.lines().map(|line| {
        let comment = line.trim_start().strip_prefix("# ");
        inside = comment.is_some_and(|text| inside || text == first);
        if inside { line.replacen("# ", "", 1) } else { line.to_owned() }
    });
    let lines: Vec<_> = lines.collect();
    assert_ne!(lines.join("\n"), yaml.trim_end(), "no comment block {first:?}");
    lines.join("\n")
}

/// A file without one of its comment markers, and with the certificates of the tests in place of
/// those that it names.
fn with_certificates(yaml: &str, dir: &TempDir) -> String {
    let authority = Authority::new("an authority");
    let certificate = authority.certificate(&["egress.test"]);
    for name in ["sandbox-ca.crt", "gatepost-ca.crt"] {
        std::fs::write(dir.path().join(name), authority.pem()).unwrap();
    }
    for name in ["egress", "envoy"] {
        std::fs::write(dir.path().join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(dir.path().join(format!("{name}.key")), certificate.key_pem()).unwrap();
    }
    assert!(yaml.contains("/etc/gatepost/tls"), "no certificate is named");
    yaml.replace("/etc/gatepost/tls", dir.path().to_str().unwrap())
}

#[test]
fn the_egress_file_is_valid_from_1_39_on_and_refused_before() {
    let said = rejected(&shipped_egress());
    if version() >= vec![1, 39] {
        assert_eq!(said, "");
    } else {
        assert!(said.contains("upstream_rbac"), "{said}");
    }
}

#[test]
fn the_listener_for_sandboxes_with_certificates_works_when_uncommented() {
    if egress_supported() {
        let yaml = shipped_egress();
        assert!(yaml.contains("\n  #mtls - name"), "the mTLS block is gone");
        let dir = TempDir::new().unwrap();
        let yaml = with_certificates(&yaml.replace("\n  #mtls ", "\n  "), &dir);
        assert_eq!(rejected(&yaml), "");
    }
}

#[test]
fn a_gatepost_on_another_machine_works_when_uncommented() {
    if egress_supported() {
        let pipe =
            "        - endpoint: { address: { pipe: { path: /run/gatepost/egress.sock } } }\n";
        let yaml = replace_once(&shipped_egress(), pipe, "");
        assert_eq!(yaml.matches("\n    #tcp transport_socket:").count(), 1);
        assert_eq!(yaml.matches("\n        #tcp - endpoint:").count(), 1);
        let dir = TempDir::new().unwrap();
        let yaml = with_certificates(&yaml.replace("#tcp ", ""), &dir);
        assert_eq!(rejected(&yaml), "");
    }
}

/// The access log is read by more people than may know a credential, or what an agent searches for.
#[test]
fn the_egress_access_log_has_no_place_for_a_query_or_a_credential() {
    let yaml = shipped_egress();
    let (_, log) = yaml.split_once("json_format:").unwrap();
    let (log, _) = log.split_once("#mtls").unwrap();
    assert!(log.contains("%PATH(NQ)%"));
    let read: Vec<_> = log.match_indices("%REQ(").map(|(place, _)| &log[place..]).collect();
    let allowed = ["%REQ(:METHOD)%", "%REQ(:AUTHORITY)%"];
    assert!(read.iter().all(|rest| allowed.iter().any(|it| rest.starts_with(it))), "{read:?}");
    for never in ["%PATH%", "PATH(WQ", "%RESP(", "%TRAILER("] {
        assert!(!log.contains(never), "{never}");
    }
}
