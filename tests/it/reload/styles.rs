//! Every way in which people and machines change a file, at least twice in a row: a watch that
//! goes deaf does so at the second edit.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gatepost::clock::Now;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::solo::{Solo, key, opens, policy, since};
use crate::world::POLICY_FILE;
use crate::world::gatepost::cli;
use crate::world::http2::Http2;
use crate::world::patience::{eventually, within};

/// How long after it can be seen an edit must hold.
const PROMISE: Duration = Duration::from_secs(1);

/// A policy with one key, so that two of them have nothing in common.
fn only(number: usize) -> Value {
    policy([number])
}

/// Key `new` opens the door within a second of `written`, and `old` no longer does.
fn holds(client: &mut Http2, style: &str, written: Duration, old: usize, new: usize) {
    let left = (written + PROMISE).saturating_sub(Now::read().monotonic);
    within(left, &format!("{style}: key {new}"), || opens(client, new).then_some(()));
    assert!(!opens(client, old), "{style}: key {old} still opens");
}

/// A way to change a file: the path, the new text, and a number that is new each time. Returns the
/// moment at which the new text could be seen.
type Style = fn(&Path, &str, usize) -> Duration;

const STYLES: [(&str, Style); 8] = [
    ("truncate and write", |file, text, _| {
        fs::write(file, text).unwrap();
        Now::read().monotonic
    }),
    ("write over, then cut", |file, text, _| {
        let open = OpenOptions::new().write(true).open(file).unwrap();
        open.write_all_at(text.as_bytes(), 0).unwrap();
        open.set_len(text.len().try_into().unwrap()).unwrap();
        Now::read().monotonic
    }),
    ("rename within the directory", |file, text, _| {
        let new = file.with_extension("tmp");
        fs::write(&new, text).unwrap();
        fs::rename(new, file).unwrap();
        Now::read().monotonic
    }),
    ("rename from another directory", |file, text, number| {
        let elsewhere = file.parent().unwrap().with_file_name(format!("elsewhere-{number}"));
        fs::write(&elsewhere, text).unwrap();
        fs::rename(elsewhere, file).unwrap();
        Now::read().monotonic
    }),
    ("vim", |file, text, _| {
        let backup = file.with_extension("json~");
        fs::rename(file, &backup).unwrap();
        fs::write(file, text).unwrap();
        let written = Now::read().monotonic;
        fs::remove_file(backup).unwrap();
        written
    }),
    ("delete and create", |file, text, _| {
        fs::remove_file(file).unwrap();
        fs::write(file, text).unwrap();
        Now::read().monotonic
    }),
    ("a link in its place, as stow does", |file, text, number| {
        let target = file.parent().unwrap().with_file_name(format!("target-{number}"));
        fs::write(&target, text).unwrap();
        let link = file.with_extension("link");
        symlink(target, &link).unwrap();
        fs::rename(link, file).unwrap();
        Now::read().monotonic
    }),
    ("hard link in its place", |file, text, number| {
        let target = file.parent().unwrap().with_file_name(format!("hard-{number}"));
        fs::write(&target, text).unwrap();
        fs::remove_file(file).unwrap();
        fs::hard_link(target, file).unwrap();
        Now::read().monotonic
    }),
];

/// Each style three times, and all of them on one process, so that each meets what the one before
/// has left.
#[test]
fn every_style_of_edit_holds_within_a_second_every_time() {
    let solo = Solo::start(&only(0));
    let mut client = solo.gatepost.connect();
    let mut number = 0;
    for (name, write) in STYLES {
        for _ in 0..3 {
            let written = write(&solo.file(), &only(number + 1).to_string(), number);
            holds(&mut client, name, written, number, number + 1);
            number += 1;
        }
    }
    // Whatever half of an edit was seen on the way, it was never taken for a policy.
    assert_eq!(solo.generation(), u64::try_from(number).unwrap() + 1);
    solo.wait_for_no_error();
}

/// `file -> ..data/file`, `..data -> ..1`, as the kubelet lays out a `ConfigMap`; an update makes
/// `..2`, swaps `..data` and removes `..1`.
#[test]
fn a_config_map_swap_holds_every_time() {
    let dir = TempDir::new().unwrap();
    let mount = dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let swap = |number: usize| {
        let version = mount.join(format!("..{number}"));
        fs::create_dir(&version).unwrap();
        fs::write(version.join(POLICY_FILE), only(number).to_string()).unwrap();
        symlink(format!("..{number}"), mount.join("..data_tmp")).unwrap();
        fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        Now::read().monotonic
    };
    swap(0);
    symlink(Path::new("..data").join(POLICY_FILE), mount.join(POLICY_FILE)).unwrap();
    let solo = Solo::in_directory(dir, mount.clone(), &[]);
    let mut client = solo.gatepost.connect();
    for number in 1..4 {
        let written = swap(number);
        fs::remove_dir_all(mount.join(format!("..{}", number - 1))).unwrap();
        holds(&mut client, "ConfigMap", written, number - 1, number);
    }
    assert_eq!(solo.generation(), 4);
}

/// The policy directory itself is a link, as with releases side by side.
#[test]
fn a_directory_swapped_by_its_link_holds_every_time() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().to_owned();
    let swap = |number: usize| {
        let release = root.join(format!("release-{number}"));
        fs::create_dir(&release).unwrap();
        fs::write(release.join(POLICY_FILE), only(number).to_string()).unwrap();
        symlink(&release, root.join("next")).unwrap();
        fs::rename(root.join("next"), root.join("current")).unwrap();
        Now::read().monotonic
    };
    swap(0);
    let solo = Solo::in_directory(dir, root.join("current"), &[]);
    let mut client = solo.gatepost.connect();
    for number in 1..4 {
        let written = swap(number);
        holds(&mut client, "release", written, number - 1, number);
    }
    // In the new directory an ordinary edit is seen as well.
    solo.replace(&only(4));
    holds(&mut client, "edit of a release", Now::read().monotonic, 3, 4);
}

/// What is no file is refused at once, and holds up neither the next edit nor the end.
#[test]
fn what_is_no_file_is_refused_and_the_next_edit_holds() {
    type Make = fn(&Path);
    let mut solo = Solo::start(&only(0));
    let mut client = solo.gatepost.connect();
    let make: [(&str, Make); 3] = [
        ("a named pipe", |at| assert!(Command::new("mkfifo").arg(at).status().unwrap().success())),
        ("a device", |at| symlink("/dev/zero", at).unwrap()),
        ("400 GiB", |at| File::create(at).unwrap().set_len(400 << 30).unwrap()),
    ];
    for (number, (name, make)) in (1..).zip(make) {
        fs::remove_file(solo.file()).unwrap();
        make(&solo.file());
        solo.refused();
        solo.replace(&only(number));
        holds(&mut client, name, Now::read().monotonic, number - 1, number);
    }
    solo.gatepost.process.signal(Signal::TERM);
    assert_eq!(solo.gatepost.process.wait().code(), Some(0));
}

/// No event comes from a directory that nobody watches: this is what NFS, bind mounts and exhausted
/// watches look like.
#[test]
fn an_edit_that_sends_no_event_holds_every_time() {
    let dir = TempDir::new().unwrap();
    let (directory, elsewhere) = (dir.path().join("policy"), dir.path().join("elsewhere"));
    fs::create_dir(&directory).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    let target = elsewhere.join("policy.json");
    fs::write(&target, only(0).to_string()).unwrap();
    symlink(&target, directory.join(POLICY_FILE)).unwrap();
    let solo = Solo::in_directory(dir, directory, &[]);
    let mut client = solo.gatepost.connect();
    for number in 1..4 {
        fs::write(&target, only(number).to_string()).unwrap();
        holds(&mut client, "silent", Now::read().monotonic, number - 1, number);
    }
}

/// The same length each time, one right after the other: size says nothing, and the coarse clock of
/// the file system may not either.
#[test]
fn of_edits_of_one_length_within_one_tick_the_last_one_holds() {
    let solo = Solo::start(&only(0));
    let mut client = solo.gatepost.connect();
    let file = OpenOptions::new().write(true).open(solo.file()).unwrap();
    let write = |number: usize| {
        file.write_all_at(only(number).to_string().as_bytes(), 0).unwrap();
        Now::read().monotonic
    };
    assert_eq!(only(0).to_string().len(), only(9).to_string().len());
    for _ in 0..5 {
        for number in 1..9 {
            write(number);
        }
        let written = write(9);
        holds(&mut client, "same length", written, 8, 9);
        // Read at once, and edited again before the clock can have moved on.
        write(1);
        solo.gatepost.process.signal(Signal::HUP);
        eventually("the reload", || opens(&mut client, 1).then_some(()));
        let written = write(2);
        holds(&mut client, "right after a reload", written, 1, 2);
    }
}

/// A writer that stops half way: what held holds, and then the whole of the new one.
#[test]
fn half_an_edit_changes_nothing_until_the_rest_is_there() {
    let solo = Solo::start(&only(0));
    let mut client = solo.gatepost.connect();
    for number in 1..3 {
        let text = only(number).to_string();
        let (first, rest) = text.split_at(text.len() / 2);
        let failures = solo.reloads("failure");
        let mut file = fs::File::create(solo.file()).unwrap();
        file.write_all(first.as_bytes()).unwrap();
        let error = solo.refused();
        assert!(error.starts_with(&format!("{POLICY_FILE}:1:")), "{error}");
        assert!(solo.reloads("failure") > failures);
        assert!(opens(&mut client, number - 1), "half an edit took the policy away");
        assert!(!opens(&mut client, number), "half an edit holds");
        file.write_all(rest.as_bytes()).unwrap();
        holds(&mut client, "the rest", Now::read().monotonic, number - 1, number);
        solo.wait_for_no_error();
    }
    assert_eq!(solo.generation(), 3);
}

/// A file, and a directory, that go away and come back: the same, and others.
#[test]
fn what_vanishes_is_missed_and_what_returns_is_seen() {
    let solo = Solo::start(&only(0));
    let mut client = solo.gatepost.connect();
    let (directory, away) = (solo.launch.policy.clone(), solo.dir.path().join("away"));
    let mut number = 0;
    for round in 0..2 {
        let mut gone_and_back = |what: &str, go: &dyn Fn(), back: &dyn Fn(&str)| {
            go();
            let error = solo.refused();
            assert!(error.contains(&*directory.to_string_lossy()), "{what}: {error}");
            assert!(opens(&mut client, number), "{what}: the policy went with it");
            assert_eq!(solo.gatepost.admin("/ready").status, 200);
            back(&only(number + 1).to_string());
            let what = format!("{what}, round {round}");
            holds(&mut client, &what, Now::read().monotonic, number, number + 1);
            solo.wait_for_no_error();
            number += 1;
        };
        gone_and_back("file", &|| fs::remove_file(solo.file()).unwrap(), &|text| {
            fs::write(solo.file(), text).unwrap();
        });
        gone_and_back(
            "directory moved away and back",
            &|| fs::rename(&directory, &away).unwrap(),
            &|text| {
                fs::write(away.join(POLICY_FILE), text).unwrap();
                fs::rename(&away, &directory).unwrap();
            },
        );
        gone_and_back(
            "directory deleted and made again",
            &|| fs::remove_dir_all(&directory).unwrap(),
            &|text| {
                fs::create_dir(&directory).unwrap();
                fs::write(solo.file(), text).unwrap();
            },
        );
        gone_and_back(
            "directory replaced by another inode",
            &|| fs::rename(&directory, solo.dir.path().join(format!("old-{round}"))).unwrap(),
            &|text| {
                fs::create_dir(&directory).unwrap();
                fs::write(solo.file(), text).unwrap();
            },
        );
        gone_and_back(
            "a file where the directory was",
            &|| {
                fs::remove_dir_all(&directory).unwrap();
                fs::write(&directory, "").unwrap();
            },
            &|text| {
                fs::remove_file(&directory).unwrap();
                fs::create_dir(&directory).unwrap();
                fs::write(solo.file(), text).unwrap();
            },
        );
    }
    // It came back as it was: what holds is what holds, and nothing is wrong any more.
    let generation = solo.generation();
    fs::rename(&directory, &away).unwrap();
    solo.refused();
    fs::rename(&away, &directory).unwrap();
    solo.wait_for_no_error();
    assert_eq!(solo.generation(), generation);
}

/// Where the system has no watch to give, the files are looked at all the same.
#[test]
fn without_any_watch_an_edit_holds_every_time() {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join(POLICY_FILE), only(0).to_string()).unwrap();
    // A user namespace has limits of its own, so that nobody else loses a watch.
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let unshare = |command: &mut std::process::Command| {
        let mut unshared = std::process::Command::new("unshare");
        unshared.args(["--map-root-user", "sh", "-c", script, "sh"]);
        unshared.arg(command.get_program()).args(command.get_args());
        unshared
    };
    let possible = unshare(&mut cli(&["--version"])).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "no user namespaces here, and nothing is skipped in CI"
        );
        eprintln!("no user namespaces here: not tested");
        return;
    }
    let policy = dir.path().to_owned();
    let launch = crate::solo::launch(policy.clone(), &[]);
    let gatepost = crate::world::gatepost::Gatepost::spawn(&mut unshare(&mut launch.command()));
    gatepost.process.stderr.wait_for("a warning", |line| {
        (line.contains("WARN") && line.contains("every 250 ms")).then_some(())
    });
    let mut client = gatepost.connect();
    for number in 1..4 {
        fs::write(policy.join(POLICY_FILE), only(number).to_string()).unwrap();
        holds(&mut client, "unwatched", Now::read().monotonic, number - 1, number);
    }
}

/// The promise holds for 100,000 keys in the optimised build, which the benchmarks measure; here
/// it is enough that it is of that order.
#[test]
fn one_edit_among_100_000_keys_holds_soon() {
    const KEYS: usize = 100_000;
    let solo = Solo::start(&policy(0..KEYS));
    let mut client = solo.gatepost.connect();
    assert!(opens(&mut client, KEYS - 1) && !opens(&mut client, KEYS));
    let text = policy(1..=KEYS).to_string();
    fs::write(solo.file(), text).unwrap();
    let written = Now::read().monotonic;
    within(Duration::from_secs(6), "the edit", || opens(&mut client, KEYS).then_some(()));
    eprintln!("100,000 keys: held after {:?}", since(written));
    assert!(!opens(&mut client, 0));
    let line =
        solo.gatepost.process.stderr.wait_for("the difference", |line| {
            line.contains("policy loaded").then(|| line.to_owned())
        });
    assert!(line.contains("api_keys +1 -1 ~0"), "{line}");
    assert_eq!(key(1).len(), 25);
}
