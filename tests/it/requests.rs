//! Hosts, methods and other parts of a request that a proxy and a service may read in two ways.

use http::uri::Authority;

use crate::scene::{Clients, decision, decision_id, everywhere, is_shipped, key, shipped};
use crate::world::Protocol;
use crate::world::answer::{Answer, Request};
use crate::world::check::{check, check_request};

/// What becomes of a host under a rule for `api.example.com`, an internationalised name and an
/// address: judged as this one and passed, judged and not covered (401), or refused (400).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Is(&'static str),
    Other,
    Refused,
}

use Host::{Is, Other, Refused};

const API: Host = Is("api.example.com");

const HOSTS: [(&str, Host); 34] = [
    ("api.example.com", API),
    ("API.Example.COM", API),
    ("api.example.com.", API),
    ("api.example.com:443", API),
    ("api.example.com:00443", API),
    ("API.example.com.:8080", API),
    ("xn--bcher-kva.example", Is("xn--bcher-kva.example")),
    ("XN--BCHER-KVA.example:80", Is("xn--bcher-kva.example")),
    ("[2001:db8::1]", Is("[2001:db8::1]")),
    ("[2001:DB8:0:0::1]:443", Is("[2001:db8::1]")),
    ("evil.example", Other),
    ("evil.api.example.com", Other),
    ("api.example.com.evil.example", Other),
    ("apiXexample.com", Other),
    ("127.0.0.1", Other),
    ("[::1]:443", Other),
    ("*", Refused),
    ("*.example.com", Refused),
    ("user@api.example.com", Refused),
    ("api.example.com@evil.example", Refused),
    ("user:443@api.example.com", Refused),
    ("api.example.com:", Refused),
    ("api.example.com:65536", Refused),
    ("api.example.com:443:443", Refused),
    ("api.example.com:443@evil.example", Refused),
    ("api.example.com:-1", Refused),
    (".api.example.com", Refused),
    ("api..example.com", Refused),
    ("api.example.com..", Refused),
    ("2001:db8::1", Refused),
    ("[2001:db8::1", Refused),
    ("[2001:db8::1]443", Refused),
    ("[2001:db8::1%25eth0]", Refused),
    ("[api.example.com]", Refused),
];

/// Those that HTTP/1.1 can carry, and HTTP/2 clients will not send.
const ODD_HOSTS: [(&str, Host); 11] = [
    ("", Refused),
    ("bücher.example", Refused),
    ("api.example.com,evil.example", Refused),
    ("api.example.com, api.example.com", Refused),
    ("api.example.com evil.example", Refused),
    ("api.example.com/", Refused),
    ("api.example.com/admin", Refused),
    ("api.example.com?x", Refused),
    ("api.example.com#x", Refused),
    ("http://api.example.com", Refused),
    ("api\u{2024}example.com", Refused),
];

#[test]
fn past_envoy_each_host_is_refused_or_judged_as_it_is() {
    let mut client = shipped().gatepost.connect();
    let long = "a".repeat(254);
    let odd = [(&*long, Refused), ("api.example.com\0", Refused), ("api.example.com\n", Refused)];
    for (host, wanted) in HOSTS.into_iter().chain(ODD_HOSTS).chain(odd) {
        let mut request = check_request("GET", "/host/x", &[]);
        let http = request.attributes.as_mut().unwrap().request.as_mut().unwrap();
        http.http.as_mut().unwrap().host = host.to_owned();
        let status = check(&mut client, &request).response.unwrap().status.unwrap();
        let code = match wanted {
            Is(_) => 0,
            Other => 16,
            Refused => 3,
        };
        assert_eq!(status.code, code, "{host:?}");
    }
}

fn check_host(told: &str, answer: &Answer, wanted: Host, judged: Option<&str>) {
    match wanted {
        Is(host) => {
            assert_eq!((answer.status, judged), (200, Some(host)), "{told}");
            // What arrived is the same host, however it is written.
            let [arrived] = &answer.upstream_header("host")[..] else { panic!("{told}") };
            let arrived = arrived.to_lowercase();
            let arrived = arrived.replace("[2001:db8:0:0::1]", "[2001:db8::1]");
            let rest = arrived.strip_prefix(host).unwrap_or_else(|| panic!("{told}"));
            let port = rest.trim_start_matches('.').trim_start_matches(':');
            assert!(port.bytes().all(|byte| byte.is_ascii_digit()), "{told}");
        }
        Other => assert_eq!(answer.status, 401, "{told}"),
        Refused => assert_eq!(answer.status, 400, "{told}"),
    }
}

#[test]
fn behind_any_envoy_each_host_is_refused_or_judged_as_it_is() {
    for (config, world) in everywhere() {
        let mut clients = Clients::connect(world);
        let http1 = HOSTS.into_iter().chain(ODD_HOSTS).map(|case| (Protocol::Http1, case));
        // What Envoy takes for a broken HTTP/2 peer costs a second each, and never gets to us.
        let sayable = |host: &str| host.parse::<Authority>().is_ok() && !host.contains('@');
        let http2 = HOSTS.into_iter().filter(|(host, _)| sayable(host));
        for (protocol, (host, wanted)) in http1.chain(http2.map(|case| (Protocol::Http2, case))) {
            let answer = clients.send(protocol, &Request::get("/host/x").host(host));
            let told = format!("{config:?} {protocol:?} {host:?}: {answer:?}");
            let answer = answer.unwrap_or_else(|| panic!("{told}"));
            let line = (answer.status == 200).then(|| decision(world, &answer));
            let judged = line.as_ref().and_then(|line| line["host"].as_str());
            check_host(&told, &answer, wanted, judged);
        }
    }
}

#[test]
fn one_request_has_one_host() {
    for (config, world) in everywhere() {
        let get = |head: &str| {
            let bytes = format!("{head}\r\n\r\n");
            world.http1().send_bytes(bytes.as_bytes()).unwrap_or_else(|| panic!("{head:?}"))
        };
        // In absolute form the target's own host counts (RFC 9112 section 3.2.2), and arrives.
        for authority in ["api.example.com", "user@api.example.com"] {
            let head = format!("GET http://{authority}/host/x HTTP/1.1\r\nhost: evil.example");
            let absolute = get(&head);
            assert_eq!(absolute.status, 200, "{config:?}: {absolute:?}");
            assert_eq!(absolute.upstream_header("host"), ["api.example.com"]);
        }
        let absolute = get("GET http://evil.example/host/x HTTP/1.1\r\nhost: api.example.com");
        assert_eq!(absolute.status, 401, "{config:?}: {absolute:?}");
        for head in [
            "GET /host/x HTTP/1.1\r\nhost: api.example.com\r\nhost: evil.example",
            "GET /host/x HTTP/1.1\r\nhost: evil.example\r\nhost: api.example.com",
            "GET /host/x HTTP/1.1",
            "GET http:///host/x HTTP/1.1\r\nhost: api.example.com",
        ] {
            let answer = get(head);
            assert_eq!(answer.status, 400, "{config:?} {head:?}: {answer:?}");
        }
    }
}

const USUAL: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];
const UNUSUAL: [&str; 13] = [
    "HEAD",
    "OPTIONS",
    "get",
    "Get",
    "gET",
    "QUERY",
    "PROPFIND",
    "PURGE",
    "GETS",
    "GE",
    "MERGE",
    "SUBSCRIBE",
    "M-SEARCH",
];
const NEVER: [&str; 2] = ["TRACE", "CONNECT"];

#[test]
fn past_envoy_only_the_usual_methods_pass() {
    let mut client = shipped().gatepost.connect();
    let customer = key("customer");
    let key: [(&str, &[u8]); 1] = [("x-api-key", customer.as_bytes())];
    let odd = ["", " ", "GET ", "G\0T", "GET,POST", "ＧＥＴ", "connect", "trace"];
    for method in USUAL.into_iter().chain(UNUSUAL).chain(NEVER).chain(odd) {
        let mut code = |path: &str, headers: &[(&str, &[u8])]| {
            let checked = check(&mut client, &check_request(method, path, headers));
            checked.response.unwrap().status.unwrap().code
        };
        let usual = USUAL.contains(&method);
        let asked = usual || method == "HEAD" || method == "OPTIONS";
        let never = NEVER.contains(&method);
        assert_eq!(code("/api/v1/x", &key), if usual { 0 } else { 7 }, "{method:?}");
        // Without a key: what a rule would say to it is for those with a key.
        assert_eq!(code("/api/v1/x", &[]), if never { 7 } else { 16 }, "{method:?}");
        assert_eq!(code("/public/x", &[]), if asked { 0 } else { 7 }, "{method:?}");
        assert_eq!(code("/reads/x", &key), if method == "GET" { 0 } else { 7 }, "{method:?}");
        // Also a rule that is only watched never passes these two.
        assert_eq!(code("/shadow/x", &key), if never { 7 } else { 0 }, "{method:?}");
    }
}

#[test]
fn behind_any_envoy_only_the_usual_methods_pass() {
    for (config, world) in everywhere() {
        for method in USUAL.into_iter().chain(UNUSUAL).chain(NEVER) {
            for protocol in Protocol::BOTH {
                // A CONNECT has no path in HTTP/2.
                if protocol == Protocol::Http2 && method == "CONNECT" {
                    continue;
                }
                let mut clients = Clients::connect(world);
                let mut ask = |target: &str| {
                    let request = Request::new(method, target).header("x-api-key", key("customer"));
                    let answer = clients.send(protocol, &request);
                    if let Some(answer) =
                        answer.as_ref().filter(|answer| answer.status == 200 && method != "HEAD")
                    {
                        assert_eq!(answer.json()["method"], method, "{config:?} {protocol:?}");
                    }
                    // Envoy hangs up on some, and answers others by itself.
                    answer.map_or(0, |answer| answer.status)
                };
                let told = format!("{config:?} {protocol:?} {method}");
                let (rest, public) = (ask("/api/v1/x"), ask("/public/x"));
                if USUAL.contains(&method) {
                    assert_eq!((rest, public), (200, 200), "{told}");
                } else if method == "HEAD" || method == "OPTIONS" {
                    assert_eq!((rest, public), (403, 200), "{told}");
                } else {
                    assert!(matches!(rest, 0 | 400 | 403 | 404 | 405), "{told}: {rest}");
                    assert!(matches!(public, 0 | 400 | 403 | 404 | 405), "{told}: {public}");
                }
            }
        }
    }
}

/// CONNECT, `OPTIONS *` and upgrades have no path to judge: none of them gets anywhere.
#[test]
fn what_is_no_request_for_a_path_ends_at_the_gateway() {
    for (config, world) in everywhere() {
        let requests = world.envoy.stat("cluster.gatepost.upstream_rq_total");
        for (head, statuses) in [
            ("CONNECT gateway.test:443 HTTP/1.1\r\nhost: gateway.test:443", [403, 404]),
            ("CONNECT /api/v1/x HTTP/1.1\r\nhost: gateway.test", [400, 404]),
            ("OPTIONS * HTTP/1.1\r\nhost: gateway.test", [400, 404]),
            (
                "GET /public/x HTTP/1.1\r\nhost: gateway.test\r\nconnection: upgrade\r\nupgrade: websocket",
                [403, 403],
            ),
            (
                "GET /public/x HTTP/1.1\r\nhost: gateway.test\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk",
                [200, 403],
            ),
        ] {
            let bytes = format!("{head}\r\n\r\n");
            let answer = world.http1().send_bytes(bytes.as_bytes());
            let status = answer.as_ref().map_or(0, |answer| answer.status);
            assert!(status == 0 || statuses.contains(&status), "{config:?} {head:?}: {answer:?}");
        }
        assert!(world.envoy.stat("cluster.gatepost.upstream_rq_total") >= requests);
    }
}

#[test]
fn what_no_rule_covers_is_checked_as_well() {
    for (config, world) in everywhere() {
        for target in
            ["/", "/nowhere", "/health", "/favicon.ico", "/api/v1", "/api/v2/x", "/ADMIN/x"]
        {
            for protocol in Protocol::BOTH {
                let nobody = world.send(protocol, &Request::get(target));
                assert_eq!(nobody.status, 401, "{config:?} {target}: {nobody:?}");
                let known = Request::get(target).header("x-api-key", key("admin"));
                let known = world.send(protocol, &known);
                let allowed = target == "/api/v1";
                assert_eq!(
                    known.status,
                    if allowed { 200 } else { 403 },
                    "{config:?} {target}: {known:?}"
                );
                assert!(decision_id(&known).is_some());
            }
        }
    }
}

/// Frameworks that honour these serve another request than the one that was judged.
#[test]
fn headers_that_name_another_request_go_no_further() {
    let names = [
        "x-original-url",
        "x-rewrite-url",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-forwarded-uri",
        "x-host",
        "x-original-host",
        "x-original-method",
        "x-original-uri",
        "x-rewrite-uri",
    ];
    for (config, world) in everywhere() {
        let mut request = Request::get("/public/x");
        for name in names {
            request = request.header(name, "/admin/x");
            if !is_shipped(config) {
                request = request.header(&name.replace('-', "_"), "/admin/x");
            }
        }
        let answer = world.send(Protocol::Http1, &request);
        assert!(
            answer.status == 200 && !answer.text().contains("/admin/x"),
            "{config:?} {answer:?}"
        );
    }
}
