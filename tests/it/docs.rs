//! What the documentation lists, it lists whole.

use std::fs;
use std::path::Path;

use gatepost::clock::Now;
use gatepost::denial::Denial;
use gatepost::policy::compile::Strictness;
use gatepost::policy::load::Files;
use gatepost::policy::raw::{EgressFile, SecretsFile, Shape, Shaped};
use gatepost::policy::secrets::Store;
use gatepost::telemetry::{Metrics, Readings};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn every_denial_and_its_detail_is_in_the_policy_reference() {
    let page = page("docs/policy.md");
    for denial in Denial::ALL {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", denial.reason())))
            .unwrap_or_else(|| panic!("no row for {}", denial.reason()));
        assert!(row.contains(&format!("| {} |", denial.http_status())), "{row}");
        assert!(row.contains(&format!("| {} ", denial.grpc_code())), "{row}");
        assert!(row.contains(denial.detail()), "{row} lacks {}", denial.detail());
    }
}

#[test]
fn every_metric_is_in_the_operations_reference() {
    let page = page("docs/operations.md");
    let metrics = Metrics::new(Now::read()).unwrap().render(&Readings::default()).unwrap();
    let names: Vec<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}")), "{name} is missing");
    }
}

#[test]
fn every_link_of_the_pages_leads_somewhere() {
    for name in
        ["README.md", "ARCHITECTURE.md", "docs/policy.md", "docs/egress.md", "docs/operations.md"]
    {
        let page = page(name);
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            if !file.is_empty() && !link.starts_with("http") {
                assert!(here.parent().unwrap().join(file).exists(), "{name}: {link}");
            }
        }
    }
}

/// Every field of the files of the egress has a row in its page.
#[test]
fn every_field_is_in_the_egress_reference() {
    fn fields(shape: &Shape, names: &mut Vec<&'static str>) {
        match shape {
            Shape::Object(known) => {
                for field in *known {
                    names.push(field.name);
                    fields(field.shape, names);
                }
            }
            Shape::List(inner) | Shape::Entries(inner) => fields(inner, names),
            Shape::Text | Shape::Secret | Shape::Digest | Shape::Integer | Shape::Boolean => {}
        }
    }
    let page = page("docs/egress.md");
    let mut names = Vec::new();
    fields(&EgressFile::SHAPE, &mut names);
    fields(&SecretsFile::SHAPE, &mut names);
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let ways = [format!("`{name}`"), format!("\"{name}\"")];
        assert!(ways.iter().any(|way| page.contains(way)), "{name} is missing");
    }
}

/// The first example of a page is a whole policy, and loads as it stands.
#[test]
fn the_policies_of_the_pages_load() {
    for (name, file) in [
        ("README.md", "gateway_config.json"),
        ("docs/policy.md", "gateway_config.json"),
        ("docs/egress.md", "egress_config.json"),
    ] {
        let page = page(name);
        let example = page.split("```json\n").nth(1).and_then(|rest| rest.split("```").next());
        let dir = tempfile::TempDir::new().unwrap();
        fs::write(dir.path().join(file), example.unwrap()).unwrap();
        let files = Files::read(dir.path()).unwrap();
        let loaded = files.compile(Strictness::Production, 1, &mut Store::live("."), Now::read());
        assert!(loaded.is_ok(), "{name}: {}", loaded.unwrap_err());
    }
}
