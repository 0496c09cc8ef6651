use super::*;
use crate::xds::set::Maker;
use crate::xds::tests::{egress, https};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A stream and what goes with it. `n` services are `s000`, `s001`, …
#[derive(Default)]
struct Scene {
    stream: Stream,
    history: History,
    maker: Maker,
    /// The edits so far: retired clusters are no matter here, so each lies long after the last.
    edits: u64,
}

impl Scene {
    fn with(services: usize) -> Self {
        let mut scene = Self::default();
        scene.edit(services, 1);
        scene
    }

    /// From now on there are so many services, at this port.
    fn edit(&mut self, services: usize, port: u16) {
        self.edits += 1;
        let names: Vec<_> = (0..services).map(|number| format!("s{number:03}")).collect();
        let all = names.iter().map(|name| (&**name, https("api.example.com", port)));
        let (egress, at) = (egress(all), ms(self.edits * 100_000));
        let set = self.maker.next(&egress, at).into_iter();
        let late = self.maker.next(&egress, at + ms(50_000));
        self.stream.offer(set.chain(late).last().unwrap());
    }

    fn name(number: usize, port: u16) -> String {
        https("api.example.com", port).cluster(&format!("s{number:03}")).into()
    }

    fn hear(&mut self, at: u64, version: &str, nonce: &str, error: Option<&str>) -> Heard {
        self.stream.hear(Request { version, nonce, error }, &mut self.history, ms(at))
    }

    /// The number of clusters of the response at this moment, with its version and nonce.
    fn sent(&mut self, at: u64) -> Option<(usize, Arc<str>, String)> {
        let response = self.stream.respond(&mut self.history, ms(at))?;
        Some((response.resources.len(), response.version, response.nonce))
    }

    /// Expects a response with so many clusters, and acknowledges it.
    #[track_caller]
    fn acknowledge(&mut self, at: u64, clusters: usize) -> Arc<str> {
        let (count, version, nonce) = self.sent(at).expect("a response");
        assert_eq!(count, clusters);
        assert_eq!(self.hear(at, &version, &nonce, None), Heard::Acknowledged);
        version
    }

    /// The same Envoy on another stream.
    fn reconnect(&mut self, version: &str) {
        let set = self.stream.set.clone();
        self.stream = Stream { set, ..Stream::default() };
        assert_eq!(self.hear(0, version, "", None), Heard::Subscribed);
    }
}

fn refusal(names: &[String]) -> String {
    let all: Vec<_> = names.iter().map(|name| format!("{name}: Invalid path: /ca.pem")).collect();
    format!("Error adding/updating cluster(s) {}", all.join(", "))
}

#[test]
fn nothing_is_sent_before_envoy_asks_and_nothing_twice() {
    let mut scene = Scene::with(3);
    assert_eq!(scene.sent(0), None);
    assert_eq!(scene.stream.standing(&Scene::name(0, 1)), None);
    assert_eq!(scene.hear(0, "", "", None), Heard::Subscribed);
    assert_eq!(scene.stream.standing(&Scene::name(0, 1)), Some(Standing::Open));
    scene.acknowledge(0, 3);
    assert_eq!(scene.stream.standing(&Scene::name(0, 1)), Some(Standing::Held));
    assert_eq!(scene.sent(100_000), None);
    assert_eq!(scene.stream.deadline(ms(0)), None);
}

/// Envoy holds its answers back while a name is being resolved. The error of one response is then
/// said with the answer to the next.
#[test]
fn an_old_error_with_a_new_version_is_no_refusal() {
    let mut scene = Scene::with(1);
    scene.hear(0, "", "", None);
    scene.sent(0).unwrap();
    scene.edit(2, 1);
    let (_, version, nonce) = scene.sent(500).unwrap();
    assert_eq!(scene.hear(500, &version, &nonce, Some("of the one before")), Heard::Acknowledged);
    assert_eq!(scene.stream.held(), 2);
}

/// What a refused response takes away is gone, though Envoy says the version before it.
#[test]
fn what_a_refused_response_took_away_is_sent_again() {
    let mut scene = Scene::with(2);
    scene.hear(0, "", "", None);
    let version = scene.acknowledge(0, 2);
    // s001 goes, and s000 moves to where Envoy refuses it.
    scene.edit(1, 2);
    let (_, _, nonce) = scene.sent(0).unwrap();
    scene.hear(0, &version, &nonce, Some(&refusal(&[Scene::name(0, 2)])));
    scene.edit(2, 1);
    scene.acknowledge(0, 2);
}

/// An Envoy that waits for the first answer before it opens its listener gets one.
#[test]
fn no_clusters_are_an_answer_too() {
    let mut scene = Scene::with(0);
    scene.hear(0, "", "", None);
    scene.acknowledge(0, 0);
}

#[test]
fn many_come_in_batches() {
    let mut scene = Scene::with(450);
    scene.hear(0, "", "", None);
    assert_eq!(scene.sent(0).unwrap().0, 200);
    assert_eq!(scene.sent(299), None, "the first is not answered");
    assert_eq!(scene.stream.deadline(ms(299)), Some(ms(300)));
    assert_eq!(scene.sent(300).unwrap().0, 400);
    let (count, version, nonce) = scene.sent(1_000).unwrap();
    assert_eq!(count, 450);
    assert_eq!(scene.sent(3_000), None, "all is said");
    assert_eq!(scene.stream.deadline(ms(3_000)), None);
    assert_eq!(scene.hear(3_000, "", "1", None), Heard::Stale);
    assert_eq!(scene.stream.held(), 0);
    assert_eq!(scene.hear(3_000, &version, &nonce, None), Heard::Acknowledged);
    assert_eq!(scene.stream.held(), 450);

    // Removals ride along: nothing that is listed is new.
    scene.edit(10, 1);
    scene.acknowledge(4_000, 10);
    scene.edit(210, 1);
    scene.acknowledge(5_000, 210);
}

#[test]
fn an_answer_to_another_response_is_ignored() {
    let mut scene = Scene::with(1);
    scene.hear(0, "", "", None);
    let (_, version, nonce) = scene.sent(0).unwrap();
    for (nonce, error) in [("", None), ("0", None), ("7", Some("x")), ("x", Some("x"))] {
        assert_eq!(scene.hear(0, &version, nonce, error), Heard::Stale);
    }
    assert_eq!(scene.hear(0, &version, &nonce, None), Heard::Acknowledged);
    assert_eq!(scene.hear(0, &version, &nonce, None), Heard::Stale, "answered already");
}

#[test]
fn what_is_refused_is_left_out_and_offered_again() {
    let mut scene = Scene::with(3);
    scene.hear(0, "", "", None);
    let (_, _, nonce) = scene.sent(0).unwrap();
    let bad = Scene::name(1, 1);
    assert_eq!(
        scene.hear(5, "", &nonce, Some(&refusal(std::slice::from_ref(&bad)))),
        Heard::Refused
    );
    assert_eq!(scene.stream.standing(&bad), Some(Standing::Refused));
    assert_eq!(scene.stream.standing(&Scene::name(0, 1)), Some(Standing::Held));
    // So that Envoy is in a version that we know.
    scene.acknowledge(5, 2);

    // Another edit does not wait for it, and is acknowledged.
    scene.edit(4, 1);
    let version = scene.acknowledge(6_000, 3);
    assert_eq!(scene.sent(10_004), None);
    assert_eq!(scene.stream.deadline(ms(6_000)), Some(ms(10_005)));
    let (count, _, nonce) = scene.sent(10_005).unwrap();
    assert_eq!(count, 4);
    assert_eq!(scene.stream.standing(&bad), Some(Standing::Refused), "until it is taken");
    scene.hear(10_010, &version, &nonce, Some(&refusal(std::slice::from_ref(&bad))));
    assert_eq!(scene.sent(10_010), None, "what Envoy has is what it is to have");
    assert_eq!(scene.stream.deadline(ms(10_010)), Some(ms(20_010)));
    scene.acknowledge(20_010, 4);
    assert_eq!(scene.stream.standing(&bad), Some(Standing::Held));
}

/// Envoy cuts the text: what is not named may be good or not.
#[test]
fn a_refusal_that_is_cut_says_nothing_about_the_rest() {
    let mut scene = Scene::with(4);
    scene.hear(0, "", "", None);
    let (_, _, nonce) = scene.sent(0).unwrap();
    let [one, two] = [1, 2].map(|number| Scene::name(number, 1));
    let text = format!("{}, {two}...(truncated)", refusal(&[one]));
    scene.hear(0, "", &nonce, Some(&text));
    assert_eq!(scene.stream.standing(&Scene::name(0, 1)), Some(Standing::Open));
    let (count, _, nonce) = scene.sent(0).unwrap();
    assert_eq!(count, 3);
    scene.hear(0, "", &nonce, Some(&refusal(&[two])));
    assert_eq!(scene.stream.standing(&Scene::name(0, 1)), Some(Standing::Held));
    scene.acknowledge(0, 2);
}

#[test]
fn a_response_that_is_refused_whole_changes_nothing() {
    let mut scene = Scene::with(3);
    scene.hear(0, "", "", None);
    let version = scene.acknowledge(0, 3);
    scene.edit(5, 1);
    let (count, _, nonce) = scene.sent(0).unwrap();
    assert_eq!(count, 5);
    scene.hear(0, &version, &nonce, Some("cannot be read"));
    assert_eq!(scene.stream.standing(&Scene::name(0, 1)), Some(Standing::Held));
    assert_eq!(scene.stream.standing(&Scene::name(4, 1)), Some(Standing::Refused));
    assert_eq!(scene.sent(0), None);
    scene.acknowledge(10_000, 5);
}

#[test]
fn an_envoy_that_comes_back_goes_on_from_where_it_was() {
    let mut scene = Scene::with(450);
    scene.hear(0, "", "", None);
    let first = scene.acknowledge(0, 200);
    scene.reconnect(&first);
    assert_eq!(scene.stream.held(), 200);
    scene.acknowledge(0, 400);
    let whole = scene.acknowledge(0, 450);
    scene.reconnect(&whole);
    assert_eq!(scene.sent(0), None, "it has everything");
    assert_eq!(scene.stream.standing(&Scene::name(7, 1)), Some(Standing::Held));
    assert_eq!(scene.stream.version(), Some(&whole));

    // The same after a restart of this process.
    scene.history = History::default();
    scene.reconnect(&whole);
    assert_eq!(scene.sent(0), None);
    scene.edit(451, 1);
    scene.acknowledge(0, 451);
}

#[test]
fn an_envoy_of_which_we_know_nothing_gets_all_at_once() {
    for version in ["never heard of", &"x".repeat(1_000_000)] {
        let mut scene = Scene::with(450);
        scene.hear(0, version, "", None);
        let (count, _, nonce) = scene.sent(0).unwrap();
        assert_eq!(count, 450);
        scene.hear(0, version, &nonce, Some("cannot be read"));
        assert_eq!(scene.sent(9_999), None, "least of all a shorter list");
        assert_eq!(scene.sent(10_000).unwrap().0, 450);
        scene.hear(10_000, version, "2", Some("cannot be read"));
        scene.edit(451, 1);
        scene.acknowledge(0, 451);
    }
}

/// Of a response that it refuses Envoy keeps the good part, and says the version before it.
#[test]
fn a_version_that_was_left_is_not_believed() {
    let mut scene = Scene::with(200);
    scene.hear(0, "", "", None);
    let version = scene.acknowledge(0, 200);
    scene.edit(450, 1);
    assert_eq!(scene.sent(0).unwrap().0, 400);
    scene.reconnect(&version);
    let arrived = scene.acknowledge(0, 450);
    scene.reconnect(&arrived);
    assert_eq!(scene.stream.held(), 450);
}

/// A cluster that the last response takes away is not one that a service can be handed over to.
#[test]
fn what_is_no_longer_listed_is_not_held() {
    let mut scene = Scene::with(2);
    scene.hear(0, "", "", None);
    scene.acknowledge(0, 2);
    scene.edit(1, 1);
    assert_eq!(scene.sent(0).unwrap().0, 1);
    scene.edit(2, 1);
    assert_eq!(scene.stream.standing(&Scene::name(1, 1)), Some(Standing::Open));
    assert_eq!(scene.sent(1_000).unwrap().0, 2);
    assert_eq!(scene.stream.standing(&Scene::name(1, 1)), Some(Standing::Open));
}
