//! The shipped Envoy files by themselves.

use std::process::Command;

use crate::world::envoy::{binary, root};

/// What `envoy --mode validate` says: empty when it accepts the file.
fn rejected(yaml: &str) -> String {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("envoy.yaml");
    std::fs::write(&file, yaml).unwrap();
    let mut envoy = Command::new(binary());
    let envoy = envoy.args(["--mode", "validate", "--log-level", "warning"]).arg("-c").arg(file);
    let output = envoy.output().unwrap();
    if output.status.success() {
        String::new()
    } else {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

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
