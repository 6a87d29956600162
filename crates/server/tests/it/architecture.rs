//! Rules of the source that no compiler checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Rust files of the product's packages, by their path from the root.
fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = root();
    let mut paths = Vec::new();
    collect(&root.join("crates"), &mut paths);
    collect(&root.join("bench"), &mut paths);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let mut sources: Vec<_> = paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect();
    sources.sort();
    assert!(sources.len() > 100, "the sources were not found");
    sources
}

/// What each package may use of the others in the product itself, tests aside.
const MAY_USE: [(&str, &[&str]); 11] = [
    ("domain", &[]),
    ("outbound", &["domain"]),
    ("ingestion", &["domain"]),
    ("storage", &["domain"]),
    ("llm", &["domain", "outbound"]),
    ("retrieval", &["domain", "storage", "llm"]),
    ("service", &["domain", "storage", "retrieval", "llm", "ingestion", "outbound"]),
    ("http", &["domain", "storage", "service"]),
    ("jobs", &["domain", "storage", "service"]),
    ("web-assets", &[]),
    (
        "server",
        &["domain", "storage", "retrieval", "llm", "ingestion", "outbound", "service", "http", "jobs", "web-assets"],
    ),
];

#[test]
fn packages_use_each_other_in_one_direction() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let may_use: BTreeMap<_, _> = MAY_USE.into_iter().collect();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let Some(name) = package["name"].as_str().unwrap().strip_prefix("parlance-") else { continue };
        for dependency in package["dependencies"].as_array().unwrap() {
            let Some(used) = dependency["name"].as_str().unwrap().strip_prefix("parlance-") else { continue };
            let allowed =
                may_use.get(name).map_or(name == "testkit" || name == "bench", |allowed| allowed.contains(&used));
            if dependency["kind"].is_null() && !allowed {
                wrong.push(format!("{name} -> {used}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// Files that are longer than they should be. To be split, not to be added to.
const LONG_FILES: [&str; 0] = [];

#[test]
fn files_are_short_enough_to_read() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 800, "{name} has {lines} lines");
        assert!(lines <= 500 || LONG_FILES.contains(&name.as_str()), "{name} has {lines} lines; split it");
    }
}

/// Where a caller, a stored row or a signed policy is turned into the right to an organisation's data.
const TENANTS_ARE_MADE_IN: [&str; 13] = [
    // Fills a database of its own.
    "bench/src/busy_inbox.rs",
    "crates/domain/src/access.rs",
    "crates/jobs/src/runner.rs",
    "crates/server/src/keys.rs",
    "crates/service/src/authenticate.rs",
    "crates/service/src/first_start.rs",
    "crates/service/src/forgetting.rs",
    "crates/service/src/indexer.rs",
    "crates/service/src/indexer/collect.rs",
    "crates/service/src/indexer/rebuild.rs",
    "crates/service/src/interrupted.rs",
    "crates/service/src/uploads.rs",
    "crates/storage/src/secrets.rs",
];

/// The part of a source before its unit tests.
fn product(text: &str) -> &str {
    text.split_once("#[cfg(test)]").map_or(text, |(product, _tests)| product)
}

#[test]
fn the_right_to_an_organisation_s_data_is_made_in_few_places() {
    let sources = sources();
    let found: BTreeSet<&str> = sources
        .iter()
        .filter(|(name, _)| {
            let tests = name.ends_with("_tests.rs") || name.contains("_tests/");
            name.contains("/src/") && !name.starts_with("crates/testkit/") && !tests
        })
        .filter(|(_, text)| product(text).contains("Tenant::authenticated("))
        .map(|(name, _)| name.as_str())
        .collect();
    let expected: BTreeSet<&str> = TENANTS_ARE_MADE_IN.into_iter().collect();
    let new: Vec<_> = found.difference(&expected).collect();
    assert!(new.is_empty(), "does this have to make a tenant? {new:?}");
}

#[test]
fn sql_is_written_in_one_package() {
    for (name, text) in sources() {
        if name.contains("/src/") && !name.starts_with("crates/storage/") {
            assert!(!text.contains("sqlx::query"), "{name}: statements belong into crates/storage");
        }
    }
}
