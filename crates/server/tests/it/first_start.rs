//! The first minutes of an operator: what a start makes and shows.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::process::Command;

use crate::client::Client;
use crate::install::Install;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A document for ingestion, from the tests of the parser.
pub(crate) fn document(name: &str) -> Vec<u8> {
    std::fs::read(document_path(name)).unwrap()
}

fn document_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ingestion/tests/fixtures").join(name)
}

/// The part of the text from a line that starts with `begin` to one that is `end`, both included.
fn cut(text: &str, begin: &str, end: impl Fn(&str) -> bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| line.starts_with(begin)).unwrap();
    let last = first + lines[first..].iter().position(|line| end(line)).unwrap();
    lines[first..=last].join("\n")
}

/// Pastes a command into a shell.
pub(crate) async fn paste(folder: &Path, command: &str) -> Output {
    let script = folder.join("pasted.sh");
    std::fs::write(&script, command).unwrap();
    Command::new("bash").arg(&script).current_dir(folder).output().await.unwrap()
}

/// The two commands of the first-start text: one asks, one uploads a document and asks about it.
pub(crate) fn commands(text: &str, question: &str) -> (String, String) {
    let curl = cut(text, "curl -sN ", |line| !line.ends_with('\\'));
    let python = cut(text, "python3 - ", |line| line == "PYTHON");
    let manual = document_path("manual.pdf");
    let python = python.replacen("manual.pdf", manual.to_str().unwrap(), 1).replacen("這份文件在說什麼？", question, 1);
    (curl, python)
}

#[tokio::test]
async fn the_commands_shown_at_the_first_start_work_as_they_are() {
    let install = Install::new().await;
    let server = install.start().await;
    let text = install.first_start_text();
    assert_eq!(mode(&install.data().join("first-start.txt")), 0o600);
    assert_eq!(mode(&install.data()), 0o700);
    assert_eq!(mode(&install.data().join("master.key")), 0o600);
    let folder = tempfile::tempdir().unwrap();

    let (curl, python) = commands(&text, "退費的手續費是多少？");
    let asked = paste(folder.path(), &curl).await;
    let output = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success(), "{output}");
    assert_eq!(output.matches("\"done\":true").count(), 1, "{output}");

    let asked = paste(folder.path(), &python).await;
    let output = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success(), "{output}\n{}", String::from_utf8_lossy(&asked.stderr));
    assert!(output.contains("百分之五的手續費") && output.contains("[1]"), "{output}");
    assert!(output.contains("\n[1] manual.pdf, p. 2: "), "{output}");

    // Keys belong into the file, not into the log, and are shown once.
    let client = install.client(&server);
    assert!(!install.log().contains(&client.key));
    server.stop().await;
    std::fs::remove_file(install.data().join("first-start.txt")).unwrap();
    let server = install.start().await;
    assert!(!install.data().join("first-start.txt").exists());
    assert!(!install.log().contains(&client.key));
    assert_eq!(client.at(&server).ask("退費的手續費是多少？").await.cited(), [("manual.pdf".to_owned(), Some(2))]);
}

#[tokio::test]
async fn two_installations_share_no_secret() {
    let (one, other) = (Install::new().await, Install::new().await);
    let mut seen = Vec::new();
    for install in [&one, &other] {
        let server = install.start().await;
        let key = install.client(&server).key;
        assert!(key.len() >= 40, "{key}");
        let master = std::fs::read(install.data().join("master.key")).unwrap();
        seen.push((key, master, install.client(&server).chatbot));
        server.stop().await;
    }
    assert_ne!(seen[0].0, seen[1].0);
    assert_ne!(seen[0].1, seen[1].1);
    assert_ne!(seen[0].2, seen[1].2);
}

#[tokio::test]
async fn the_operator_s_own_key_is_made_good_at_every_start() {
    let install = Install::new().await;
    let server = install.start().await;
    let generated = install.client(&server);
    server.stop().await;

    let own = "operator-key-0123456789-0123456789";
    let install = install.set("BOOTSTRAP__API_KEY", own);
    let server = install.start().await;
    let generated = generated.at(&server);
    let status = async |client: &Client| client.get("chatbots/").send().await.unwrap().status().as_u16();
    assert_eq!(status(&generated.with_key(own)).await, 200);
    assert_eq!(status(&generated).await, 200);
    server.stop().await;

    // Taken back both: the operator's is good again at the next start.
    let list = String::from_utf8(install.run(&["key", "list"]).stdout).unwrap();
    assert_eq!(list.lines().count(), 2, "{list}");
    for line in list.lines() {
        assert!(install.run(&["key", "revoke", line.split(' ').next().unwrap()]).status.success());
    }
    let server = install.start().await;
    let generated = generated.at(&server);
    assert_eq!(status(&generated.with_key(own)).await, 200);
    assert_eq!(status(&generated).await, 401);
    assert!(!install.log().contains(own));
    server.stop().await;
}
