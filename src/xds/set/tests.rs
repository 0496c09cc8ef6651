use super::*;
use crate::policy::destination::Destination;
use crate::xds::tests::{egress, https};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(port: u16) -> Destination {
    https("api.example.com", port)
}

/// The service and port of every cluster.
fn listed(set: &Set) -> Vec<String> {
    let ports = 1..10;
    let known = ["a", "b"].into_iter().flat_map(|name| {
        ports.clone().map(move |port| (at(port).cluster(name), format!("{name}{port}")))
    });
    let known: Vec<_> = known.collect();
    let label = |name: &Arc<str>| known.iter().find(|(cluster, _)| **cluster == **name).unwrap();
    let mut labels: Vec<_> = set.names().map(|name| label(name).1.clone()).collect();
    labels.sort();
    labels
}

#[test]
fn clusters_come_with_the_policy_and_stay_for_a_while_after_it() {
    let mut maker = Maker::default();
    let first = egress([("a", at(1)), ("b", at(2))]);
    assert_eq!(listed(&maker.next(&first, s(0)).unwrap()), ["a1", "b2"]);
    assert!(maker.next(&first, s(1)).is_none(), "nothing has changed");

    // While the old target of `a` holds, both of its clusters are there.
    let second = egress([("a", at(3)), ("b", at(2))]).after(&first);
    assert_eq!(listed(&maker.next(&second, s(1)).unwrap()), ["a1", "a3", "b2"]);
    assert_eq!(maker.deadline(), None);

    let third = second.promote(|_| true);
    assert!(maker.next(&third, s(2)).is_none(), "the old one may just have been named");
    assert_eq!(maker.deadline(), Some(s(7)));
    assert!(maker.next(&third, s(6)).is_none());
    assert_eq!(listed(&maker.next(&third, s(7)).unwrap()), ["a3", "b2"]);
    assert_eq!(maker.deadline(), None);

    // Gone and back within the time: it is as if nothing had happened.
    let without = egress([("b", at(2))]).after(&third);
    assert!(maker.next(&without, s(8)).is_none());
    assert!(maker.next(&third, s(9)).is_none());
    assert_eq!(maker.deadline(), None);
    assert!(maker.next(&without, s(20)).is_none(), "the time begins anew");
    assert_eq!(listed(&maker.next(&without, s(25)).unwrap()), ["b2"]);
}

#[test]
fn a_side_without_services_has_a_set_too() {
    let set = Maker::default().next(&egress([]), s(0)).unwrap();
    assert_eq!(set.count(), 0);
    assert!(!set.version().is_empty());
}

#[test]
fn the_version_is_a_function_of_the_clusters() {
    let version = |services: &[(&'static str, u16)]| {
        let services = services.iter().map(|&(name, port)| (name, at(port)));
        let set = Maker::default().next(&egress(services), s(0)).unwrap();
        assert_eq!(*set.version(), set.version_of(set.names()));
        set.version().clone()
    };
    assert_eq!(version(&[("a", 1), ("b", 2)]), version(&[("b", 2), ("a", 1)]));
    let all = [version(&[]), version(&[("a", 1)]), version(&[("b", 1)]), version(&[("a", 2)])];
    for (place, one) in all.iter().enumerate() {
        assert!(all[..place].iter().all(|other| other != one), "{all:?}");
    }
}
