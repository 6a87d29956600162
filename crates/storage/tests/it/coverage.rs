//! SQL is checked when it runs, so every function of this crate has to be run by a test.

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Names after `pub async fn`, in front of the unit tests.
fn public_functions(source: &str) -> Vec<&str> {
    let product = source.split("#[cfg(test)]").next().unwrap_or_default();
    product
        .split("pub async fn ")
        .skip(1)
        .filter_map(|rest| rest.split(|sign: char| !sign.is_alphanumeric() && sign != '_').next())
        .collect()
}

#[test]
fn every_public_function_is_run_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests: String = sources(&root.join("tests/it")).into_iter().map(|(_, text)| text).collect();
    let mut functions = 0;
    let mut missing = Vec::new();
    for (path, source) in sources(&root.join("src")) {
        let module = path.file_stem().unwrap().to_str().unwrap();
        // Bytes are not SQL: the unit tests of that file run its functions.
        let unit_tests = if module == "blobs" { source.split("#[cfg(test)]").nth(1).unwrap() } else { "" };
        for function in public_functions(&source) {
            functions += 1;
            let called = format!("{module}::{function}(");
            let method = format!(".{function}(");
            let associated = [format!("Db::{function}("), format!("Copy::{function}(")];
            let is_method = matches!(module, "db" | "blobs" | "snapshot");
            let is_run = tests.contains(&called)
                || (is_method && (tests.contains(&method) || associated.iter().any(|call| tests.contains(call))))
                || unit_tests.contains(&method)
                || unit_tests.contains(&format!("::{function}("));
            if !is_run {
                missing.push(called);
            }
        }
    }
    assert!(functions > 90, "only {functions} functions were found: is the search still right?");
    assert_eq!(missing, Vec::<String>::new());
}
