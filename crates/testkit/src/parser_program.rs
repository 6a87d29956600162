//! The program that parses documents for the tests.
//!
//! Cargo tells a test only about programs of its own package, so the program is looked for beside
//! the test, where a build of the workspace puts it, and built when it is not there or is older
//! than its source.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

const PROGRAM: &str = "parse-document";

/// Where the program is.
///
/// # Panics
/// When it is not there and cannot be built.
pub(crate) fn path() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(find).clone()
}

#[expect(clippy::expect_used, reason = "a test cannot go on without its parser")]
fn find() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    // target/debug/deps/it-0123 lies in the folder of target/debug/parse-document.
    let profile = test.parent().and_then(Path::parent).expect("the folder of the profile");
    let program = profile.join(PROGRAM);
    if is_current(&program) {
        return program;
    }
    let lock = std::fs::File::create(profile.join(".parse-document.lock")).expect("the lock of the build");
    lock.lock().expect("locking the build");
    if !is_current(&program) {
        build(profile);
    }
    program
}

/// Folder of the package that has the program.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingestion")
}

fn is_current(program: &Path) -> bool {
    let Ok(built) = program.metadata().and_then(|metadata| metadata.modified()) else { return false };
    newest(&package().join("src")).is_none_or(|changed| changed <= built)
}

fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok()?;
            if metadata.is_dir() { newest(&entry.path()) } else { metadata.modified().ok() }
        })
        .max()
}

#[expect(clippy::expect_used, reason = "a test cannot go on without its parser")]
fn build(profile: &Path) {
    #[expect(clippy::disallowed_methods, reason = "how Cargo tells a test where it is itself")]
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "parlance-ingestion", "--bin", PROGRAM, "--manifest-path"]);
    command.arg(package().join("Cargo.toml")).arg("--target-dir").arg(profile.parent().expect("the target folder"));
    if profile.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let status = command.status().expect("starting cargo");
    assert!(status.success(), "{PROGRAM} could not be built");
    // Cargo leaves a program alone whose source has a newer date but no other content.
    let program = std::fs::File::options().append(true).open(profile.join(PROGRAM)).expect("the built program");
    #[expect(clippy::disallowed_methods, reason = "a date of the file system, not of the product")]
    program.set_modified(SystemTime::now()).expect("dating the built program");
}
