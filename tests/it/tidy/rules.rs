//! The rules. Each returns its complaints, one line for each.

use std::collections::BTreeMap;

use super::source::{Source, is_test, words};

/// A file is at most this long: what is longer is two things.
const LINES_MAX: usize = 400;

/// Types that prove that a step was taken, and the module that takes it.
const PROOFS: [(&str, &str); 2] =
    [("Permit", "src/authz/authorize.rs"), ("Admitted", "src/authz/limit.rs")];

/// The halves of the wire format, and the modules that may use them.
const WIRE: [(&str, &[&str]); 2] =
    [("Reader", &["decode", "respond"]), ("Writer", &["respond", "sample"])];

/// At every level a module names only modules that are declared before it: the order of the `mod`
/// lines is the order of dependence. A file and the folder of its name count as one, so that a
/// module may use what its parent defines, and a parent what its children do.
pub(super) fn dependency_order(sources: &[Source]) -> Vec<String> {
    let declared: BTreeMap<_, _> =
        sources.iter().map(|source| (source.module(), source.declared())).collect();
    let place = |parent: &[String], name: &String| {
        declared.get(parent).and_then(|names| names.iter().position(|other| other == name))
    };
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|s| s.path != "src/main.rs" && !is_test(&s.path)) {
        let module = source.module();
        let Some((name, parent)) = module.split_last() else { continue };
        if place(parent, name).is_none() {
            complaints.push(format!("{}: no file declares this module", source.path));
        }
        for reference in source.references() {
            let shared = module.iter().zip(&reference).take_while(|(a, b)| a == b).count();
            let (Some(from), Some(to)) = (module.get(shared), reference.get(shared)) else {
                continue;
            };
            let parent = &module[..shared];
            if let (Some(own), Some(other)) = (place(parent, from), place(parent, to))
                && other > own
            {
                let path = reference.join("::");
                complaints.push(format!("{}: {path} stands below {from}", source.path));
            }
        }
    }
    complaints
}

/// Only the modules that mirror files know serde: a type that can be read from anywhere can be made
/// without the checks.
pub(super) fn serde_at_the_border(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let uses = words(&source.code)
            .iter()
            .any(|word| ["serde", "Serialize", "Deserialize"].contains(word));
        let raw = source.path.ends_with("/raw.rs") || source.path.contains("/raw/");
        if uses && !raw {
            complaints.push(format!("{}: uses serde", source.path));
        }
    }
    complaints
}

/// Only `authz/decode` reads a `CheckRequest`; only `authz/respond` writes a `CheckResponse`, and
/// reads one back for `explain`; `authz/sample` writes the requests that tests and benches send.
/// Generated messages are for `xds` alone, where one is made a push and not a request.
pub(super) fn wire_in_its_place(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.path != "src/authz/wire.rs") {
        let module = source.module();
        let words = words(&source.code);
        for (half, allowed) in WIRE {
            let home = matches!(module.as_slice(), [authz, step, ..]
                if authz == "authz" && allowed.contains(&step.as_str()));
            let named = source.references().iter().any(|path| path == &["authz", "wire", half])
                || words.windows(3).any(|three| three == ["wire", "::", half]);
            if named && !home {
                complaints.push(format!("{}: uses wire::{half}", source.path));
            }
        }
        let generates = module.first().is_some_and(|top| top == "xds");
        for generated in ["envoy_types", "prost"] {
            if words.contains(&generated) && !generates {
                complaints.push(format!("{}: uses {generated}", source.path));
            }
        }
    }
    complaints
}

/// A `Permit` is made where it is decided, an `Admitted` where it is counted, and nowhere else.
pub(super) fn proofs_in_their_place(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        let words = words(&source.code);
        for (proof, home) in PROOFS {
            if source.path == home {
                continue;
            }
            // `-> Permit {` is a function that returns one; `impl X for Permit {` could make one.
            let made = words.windows(3).any(|three| {
                let [before, name, after] = three else { return false };
                *name == proof && *after == "{" && *before != ">"
            });
            if made {
                complaints.push(format!("{}: makes or extends {proof}", source.path));
            }
        }
    }
    complaints
}

/// A file begins with what it is for, and is not too long.
pub(super) fn file_shape(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources {
        if !is_test(&source.path) && !source.text.starts_with("//! ") {
            complaints.push(format!("{}: does not begin with //!", source.path));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            complaints.push(format!("{}: {lines} lines", source.path));
        }
    }
    complaints
}

/// In code that decides, an error that becomes "nothing there" opens a door.
pub(super) fn no_error_into_absence(sources: &[Source]) -> Vec<String> {
    // A filter_map over results needs one of these; over options it does no harm.
    const ABSENCE: [&[&str]; 3] = [
        &[".", "ok", "(", ")"],
        &["Result", "::", "ok"],
        &["Err", "(", "_", ")", "=", ">", "None"],
    ];
    const NUMBERS: [&str; 16] = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
        "f32", "f64", "char", "bool",
    ];
    let mut complaints = Vec::new();
    for source in sources {
        let decides = source.module().first().is_some_and(|top| top == "policy" || top == "authz");
        if !decides {
            continue;
        }
        let words = words(&source.code);
        for absence in ABSENCE {
            if words.windows(absence.len()).any(|found| found == absence) {
                complaints.push(format!("{}: {} drops an error", source.path, absence.concat()));
            }
        }
        if words.windows(2).any(|two| two[0] == "as" && NUMBERS.contains(&two[1])) {
            complaints.push(format!("{}: `as` can change a number", source.path));
        }
    }
    complaints
}

/// What was put off, switched off or left behind. Comments count.
pub(super) fn leftovers(path: &str, text: &str) -> Vec<String> {
    // Put together here, so that this file does not find itself.
    let needles = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["dbg", "!"],
        ["#[ign", "ore"],
        ["should_", "panic"],
    ]
    .map(|halves| halves.concat());
    let mut complaints = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for needle in &needles {
            if line.contains(needle.as_str()) {
                complaints.push(format!("{path}:{number}: {needle}"));
            }
        }
    }
    complaints
}

/// A needle counts where a path begins: `/a/` is found in `cat /a/b`, not in `src/a/b`.
pub(super) fn machine_paths(path: &str, text: &str, needles: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for needle in needles {
            let begins = |(place, _): (usize, &str)| {
                let before = line[..place].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-})/*".contains(c))
            };
            if line.match_indices(needle.as_str()).any(begins) {
                complaints.push(format!("{path}:{number}: {needle}"));
            }
        }
    }
    complaints
}
