//! git, which shows its credential only to who asks for one.

use std::path::{Path, PathBuf};
use std::process::Command;

use data_encoding::BASE64;
use serde_json::json;

use super::scene::{policy, service, token};
use crate::world::egress::{EgressWorld, canary};
use crate::world::upstream_tls::{Recorded, Remote, Reply};

/// `git` in a directory, with nothing of this machine's configuration.
fn git(directory: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.current_dir(directory).args([
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@test.test",
    ]);
    command.args(args).env("HOME", directory).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_TERMINAL_PROMPT", "0").env("NO_PROXY", "*");
    let output = command.output().expect("git runs");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "git {args:?}: {said}");
    said
}

/// A bare repository with one file in it, such as any web server can serve.
fn repository(directory: &Path) -> PathBuf {
    let (work, bare) = (directory.join("source"), directory.join("repo.git"));
    std::fs::create_dir(&work).unwrap();
    git(&work, &["init", "--quiet"]);
    std::fs::write(work.join("file.txt"), "what was cloned\n").unwrap();
    git(&work, &["add", "file.txt"]);
    git(&work, &["commit", "--quiet", "-m", "One file"]);
    git(directory, &["clone", "--quiet", "--bare", "source", "repo.git"]);
    git(&bare, &["update-server-info"]);
    bare
}

/// Serves a directory to who knows the password.
fn serve(root: PathBuf, password: &str) -> impl Fn(&Recorded) -> Reply + use<> {
    let basic = format!("Basic {}", BASE64.encode(format!("x-access-token:{password}").as_bytes()));
    move |request| {
        if request.header("authorization") != [basic.as_str()] {
            return Reply::whole(401, &[("www-authenticate", "Basic realm=\"git\"")], "");
        }
        let path = request.target.split('?').next().unwrap_or_default();
        match std::fs::read(root.join(path.trim_start_matches("/repo.git/"))) {
            Ok(bytes) => Reply::whole(200, &[("content-type", "text/plain")], bytes),
            Err(_) => Reply::whole(404, &[], ""),
        }
    }
}

#[test]
fn a_clone_with_the_token_as_its_password_works() {
    let Some(builder) = EgressWorld::prepare() else { return };
    let remote = Remote::named(&["git.test"]);
    let canary = canary("git");
    let mut config = policy(&[("git", service("git.test", &remote))]);
    config["egress_credentials"] =
        json!({ "git": { "type": "basic", "username": "x-access-token", "password": canary } });
    let directory = builder.path("git");
    std::fs::create_dir(&directory).unwrap();
    remote.answer(serve(repository(&directory), &canary));
    let world = builder.start(&config);
    let port = world.envoy.gateway.port();
    let url = format!("http://x:{}@localhost:{port}/git/repo.git", token("agent"));
    let said = git(&directory, &["clone", "--quiet", &url, "cloned"]);
    assert!(!said.contains(&canary), "{said}");
    let file = std::fs::read_to_string(directory.join("cloned/file.txt")).unwrap();
    assert_eq!(file, "what was cloned\n");
    // It asked without a credential first, was told to bring one, and then did.
    world.decision_where("the first request", |line| line["reason"] == "credential_missing");
    world.decision_where("the second", |line| line["sandbox"] == "agent");
    let received = String::from_utf8_lossy(&remote.received()).into_owned();
    assert!(!received.contains(&BASE64.encode(format!("x:{}", token("agent")).as_bytes())));
    let cloned = std::fs::read_to_string(directory.join("cloned/.git/config")).unwrap();
    assert!(!cloned.contains(&canary), "{cloned}");
    assert_eq!(world.leaks(&canary, &[]), Vec::<String>::new());
}
