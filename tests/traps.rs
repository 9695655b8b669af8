//! `traps.md` names a test for each fault of other gateways; here those tests are looked for.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the message")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every test there is, by the name that the table uses.
fn tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeSet::new();
    for folder in ["src", "tests", "integration"] {
        gather(root, &root.join(folder), &mut found);
    }
    found
}

fn gather(root: &Path, path: &Path, found: &mut BTreeSet<String>) {
    if path.is_dir() {
        if let Ok(case) = path.strip_prefix(root.join("tests/golden"))
            && path.join("request.json").exists()
        {
            found.insert(case.display().to_string());
        }
        for entry in fs::read_dir(path).unwrap() {
            gather(root, &entry.unwrap().path(), found);
        }
    } else if let Some("rs" | "py") = path.extension().and_then(|extension| extension.to_str()) {
        let text = fs::read_to_string(path).unwrap();
        let mut marked = false;
        for line in text.lines() {
            let name = |keyword| {
                line.trim_start().strip_prefix(keyword).and_then(|rest: &str| rest.split('(').next())
            };
            let rust = name("fn ").filter(|_| marked);
            let python = name("def ").filter(|name| name.starts_with("test_"));
            found.extend(rust.or(python).map(str::to_owned));
            marked = line.trim() == "#[test]";
        }
    }
}

#[test]
fn every_trap_has_a_test_that_exists() {
    let tests = tests();
    let mut traps = 0;
    for line in include_str!("traps.md").lines() {
        let Some((symptom, names)) = line.strip_prefix("| ").and_then(|row| row.split_once(" | ")) else {
            continue;
        };
        if symptom == "symptom" || symptom == "---" {
            continue;
        }
        let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{symptom}: has no test");
        for name in names {
            assert!(tests.contains(name), "{symptom}: there is no test {name}");
        }
        traps += 1;
    }
    assert!(traps > 50, "only {traps} traps were read");
}
