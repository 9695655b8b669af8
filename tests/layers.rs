//! The layer table of `src/lib.rs`, held against every `use crate::` in the tree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test a panic is the message"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Layers = BTreeMap<String, BTreeSet<String>>;

#[test]
fn every_module_uses_only_the_layers_below_it() {
    let layers = table();
    for (module, file) in sources() {
        let allowed = layers.get(&module).unwrap_or_else(|| panic!("{module} is not in the table of lib.rs"));
        let text = fs::read_to_string(&file).unwrap();
        for used in uses(&text) {
            assert!(
                used == module || allowed.contains(&used),
                "{} uses {used}, which the table of lib.rs does not allow to {module}",
                file.display()
            );
        }
    }
}

#[test]
fn the_table_names_no_layer_twice_and_none_that_uses_itself_through_others() {
    let layers = table();
    for module in layers.keys() {
        let mut open = vec![module];
        let mut seen = BTreeSet::new();
        while let Some(next) = open.pop() {
            for below in &layers[next] {
                assert_ne!(below, module, "{module} uses itself through {next}");
                if seen.insert(below) {
                    open.push(below);
                }
            }
        }
    }
}

#[test]
fn only_the_adapter_names_proxy_wasm() {
    for (module, file) in sources() {
        let text = fs::read_to_string(&file).unwrap();
        let names = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .any(|line| line.contains("proxy_wasm"));
        assert!(!names || module == "plugin", "{} names proxy_wasm", file.display());
    }
}

/// The last fenced block of the crate's documentation.
fn table() -> Layers {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let block =
        text.split("# Layers").nth(1).unwrap().split("```text").nth(1).unwrap().split("```").next().unwrap();
    let mut layers = Layers::new();
    for line in block.lines() {
        let Some((module, below)) = line.trim_start_matches("//!").trim().split_once(':') else { continue };
        let below = below.split_whitespace().map(str::to_owned).collect();
        assert!(layers.insert(module.to_owned(), below).is_none(), "{module} stands twice in the table");
    }
    assert!(layers.len() > 5, "the table of lib.rs could not be read");
    layers
}

/// Every source file but lib.rs, with its top module.
fn sources() -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    let mut open = vec![root().join("src")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if !path.ends_with("lib.rs") {
                let below = path.strip_prefix(root().join("src")).unwrap().to_owned();
                let top = below.components().next().unwrap().as_os_str().to_str().unwrap();
                files.push((top.trim_end_matches(".rs").to_owned(), path));
            }
        }
    }
    assert!(files.len() > 20);
    files
}

/// The top modules behind every `crate::`.
fn uses(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in text.split("crate::").skip(1) {
        let names = rest.strip_prefix('{').map_or(rest, |list| list.split('}').next().unwrap_or_default());
        if rest.starts_with('{') {
            for name in names.split(',') {
                found.insert(head(name.trim()));
            }
        } else {
            found.insert(head(rest));
        }
    }
    found.remove("");
    found
}

fn head(path: &str) -> String {
    path.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
