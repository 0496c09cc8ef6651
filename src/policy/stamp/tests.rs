use super::*;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::time::{Duration, UNIX_EPOCH};

/// What each change of a file leaves behind; even with the modification time set back, as `cp -p`
/// and `rsync` do.
#[test]
fn every_change_of_a_file_changes_its_stamp() {
    type Change = fn(&Path);
    let set_back = |path: &Path| {
        let file = File::options().write(true).open(path).expect("there");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1)).expect("settable");
    };
    let changes: [(&str, Change); 6] = [
        ("longer", |path| fs::write(path, "longer").expect("writable")),
        ("as long", |path| fs::write(path, "OTHER").expect("writable")),
        ("replaced by its equal", |path| {
            let copy = path.with_extension("copy");
            fs::write(&copy, "first").expect("writable");
            fs::rename(copy, path).expect("renamed");
        }),
        ("replaced by a link", |path| {
            let target = path.with_extension("target");
            fs::write(&target, "first").expect("writable");
            fs::remove_file(path).expect("removed");
            symlink(target, path).expect("linked");
        }),
        ("gone", |path| fs::remove_file(path).expect("removed")),
        ("a directory", |path| {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("made");
        }),
    ];
    for (name, change) in changes {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("file");
        fs::write(&path, "first").expect("writable");
        set_back(&path);
        let before = Found::at(&path);
        assert_eq!(before, Found::at(&path), "{name}: looking changes it");
        change(&path);
        // The clock of the file system may tick as slowly as every 10 ms.
        for _ in 0..100_000 {
            if path.is_file() {
                set_back(&path);
            }
            if Found::at(&path) != before {
                break;
            }
        }
        assert_ne!(before, Found::at(&path), "{name}");
    }
}

#[test]
fn what_is_not_there_says_how() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("file");
    assert_eq!(Found::at(&file), Found::Nothing(io::ErrorKind::NotFound));
    fs::write(&file, "").expect("writable");
    assert_eq!(Found::at(&file.join("x")), Found::Nothing(io::ErrorKind::NotADirectory));
    let circle = dir.path().join("circle");
    symlink(&circle, &circle).expect("linked");
    assert!(matches!(Found::at(&circle), Found::Nothing(_)));
}
