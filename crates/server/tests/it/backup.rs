//! A backup made while the server is written to, restored into an empty folder; and what is refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::client::Client;
use crate::install::Install;

const PASSPHRASE: &str = "a long enough passphrase\n";
/// Programs that write at the same time.
const WRITERS: usize = 4;

/// A folder for backups with the passphrase in it.
struct Shelf(tempfile::TempDir);

impl Shelf {
    fn new() -> Self {
        let shelf = Self(tempfile::tempdir().unwrap());
        std::fs::write(shelf.path("passphrase"), PASSPHRASE).unwrap();
        std::fs::write(shelf.path("another"), "quite another passphrase").unwrap();
        std::fs::write(shelf.path("short"), "hunter2").unwrap();
        shelf
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `backup` or `restore`. Gives whether it succeeded and what it said.
    fn run(&self, install: &Install, command: &str, name: &str, passphrase: &str) -> (bool, String) {
        let (folder, passphrase) = (self.path(name), self.path(passphrase));
        let place = if command == "backup" { "--to" } else { "--from" };
        let (folder, passphrase) = (folder.to_str().unwrap(), passphrase.to_str().unwrap());
        let output = install.run(&[command, place, folder, "--passphrase-file", passphrase]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said)
    }
}

/// Refused, for a reason that holds these words, and without a trace in the data folder.
fn assert_refused((done, said): (bool, String), words: &str, install: &Install) {
    assert!(!done && said.contains(words), "{said}");
    assert!(is_empty(&install.data()), "{said}");
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none())
}

/// Makes assistants one after the other until it is told to stop. Gives their names, each with whether
/// it was acknowledged before the backup began.
async fn write_on(client: Client, writer: usize, began: Arc<AtomicBool>, stop: Arc<AtomicBool>) -> Vec<(String, bool)> {
    let mut written = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let name = format!("bot {writer} {}", written.len());
        client.post("chatbots/", &json!({"name": name})).send().await.unwrap().error_for_status().unwrap();
        written.push((name, !began.load(Ordering::SeqCst)));
    }
    written
}

async fn names(client: &Client) -> Vec<String> {
    let answer = client.get("chatbots/?pageSize=10000").send().await.unwrap().error_for_status().unwrap();
    let page: Value = answer.json().await.unwrap();
    page["results"].as_array().unwrap().iter().map(|bot| bot["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_holds_every_write_from_before_it() {
    let shelf = Arc::new(Shelf::new());
    let fast = |install: Install| {
        install
            .set("LIMITS__KEY_REQUESTS_PER_SECOND", "100000")
            .set("LIMITS__ORGANISATION_REQUESTS_PER_SECOND", "100000")
    };
    let install = Arc::new(fast(Install::new().await));
    let server = install.start().await;
    if !install.is_sqlite() {
        let (done, said) = shelf.run(&install, "backup", "one", "passphrase");
        assert!(!done && said.contains("pg_dump"), "{said}");
        return;
    }
    let client = install.client(&server);
    let file = client.learn("one.txt", "編號 KX-0101 的設備每年三月檢修。".as_bytes()).await;

    let (began, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write_on(client.clone(), writer, Arc::clone(&began), Arc::clone(&stop))))
        .collect();
    while names(&client).await.len() < 40 {
        tokio::task::yield_now().await;
    }
    began.store(true, Ordering::SeqCst);
    let (from, on) = (Arc::clone(&install), Arc::clone(&shelf));
    let backup = tokio::task::spawn_blocking(move || on.run(&from, "backup", "one", "passphrase"));
    let (done, said) = backup.await.unwrap();
    assert!(done, "{said}");
    stop.store(true, Ordering::SeqCst);
    let mut written = Vec::new();
    for writer in writers {
        written.extend(writer.await.unwrap());
    }
    let master_key = std::fs::read(install.data().join("master.key")).unwrap();
    server.stop().await;
    let before: Vec<_> = written.iter().filter(|(_, before)| *before).map(|(name, _)| name).collect();
    assert!(before.len() >= 30 && before.len() < written.len(), "{} of {}", before.len(), written.len());

    let second = fast(Install::new().await);
    let (done, said) = shelf.run(&second, "restore", "one", "passphrase");
    assert!(done, "{said}");
    assert_eq!(std::fs::read(second.data().join("master.key")).unwrap(), master_key);
    let server = second.start().await;
    let restored = client.at(&server);
    let found = names(&restored).await;
    let lost: Vec<_> = before.iter().filter(|name| !found.contains(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    // The bytes are there, and the index is made again.
    let files = restored.files().await.unwrap();
    assert_eq!((files.len(), &files[0]["id"]), (1, &file["id"]));
    let stored = std::fs::read_dir(second.data().join("blobs/files/media/chatbots/chatbot-file")).unwrap();
    assert_eq!(stored.count(), 1);
    let mut hits = Vec::new();
    for _ in 0..200 {
        hits = restored.search("編號 KX-0101 的設備").await;
        if !hits.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(hits.len(), 1);
    server.stop().await;

    // The other way back: into a folder that is not empty.
    let (done, said) = shelf.run(&second, "restore", "one", "passphrase");
    assert!(!done && said.contains("is not empty"), "{said}");
}

#[tokio::test]
async fn a_backup_that_is_not_as_it_was_made_is_refused() {
    let shelf = Shelf::new();
    let install = Install::new().await;
    if !install.is_sqlite() {
        return;
    }
    let (done, said) = shelf.run(&install, "backup", "none", "passphrase");
    assert!(!done && said.contains("nothing to back up"), "{said}");
    let server = install.start().await;
    let client = install.client(&server);
    client.learn("one.txt", b"Bring the receipt within seven days.").await;
    server.stop().await;
    let (done, said) = shelf.run(&install, "backup", "one", "short");
    assert!(!done && said.contains("fewer than 12 characters") && !shelf.path("one").exists(), "{said}");
    let (done, said) = shelf.run(&install, "backup", "one", "passphrase");
    assert!(done && said.contains("with the master key"), "{said}");
    let (done, said) = shelf.run(&install, "backup", "one", "passphrase");
    assert!(!done && said.contains("exists"), "{said}");
    let undecided = install.run(&["backup", "--to", shelf.path("two").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&undecided.stderr).contains("--without-master-key"));
    let key = std::fs::read(install.data().join("master.key")).unwrap();
    for file in ["parlance.db", "master.key.sealed", "manifest.json", "SHA256SUMS"] {
        let bytes = std::fs::read(shelf.path("one").join(file)).unwrap();
        assert!(!bytes.windows(key.len()).any(|window| window == key), "the master key stands in {file}");
    }

    let target = Install::new().await;
    assert_refused(shelf.run(&target, "restore", "one", "another"), "passphrase does not open", &target);
    assert_refused(shelf.run(&target, "restore", "nowhere", "passphrase"), "complete backup", &target);
    // Each file cut off at its end, changed, or gone.
    let blob = {
        let sums = std::fs::read_to_string(shelf.path("one/SHA256SUMS")).unwrap();
        sums.lines().find_map(|line| line.split_once("  blobs/")).map(|(_, path)| format!("blobs/{path}")).unwrap()
    };
    for file in ["parlance.db", "master.key.sealed", "manifest.json", "SHA256SUMS", &blob] {
        let path = shelf.path("one").join(file);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert_refused(shelf.run(&target, "restore", "one", "passphrase"), "", &target);
        let mut changed = whole.clone();
        changed[whole.len() / 3] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        if file != "manifest.json" {
            assert_refused(shelf.run(&target, "restore", "one", "passphrase"), "", &target);
        }
        std::fs::remove_file(&path).unwrap();
        assert_refused(shelf.run(&target, "restore", "one", "passphrase"), "reading", &target);
        std::fs::write(&path, &whole).unwrap();
    }
    let manifest = shelf.path("one/manifest.json");
    let whole = std::fs::read_to_string(&manifest).unwrap();
    let schema = serde_json::from_str::<Value>(&whole).unwrap()["schema"].as_i64().unwrap();
    let newer = whole.replace(&format!("\"schema\": {schema}"), "\"schema\": 900");
    std::fs::write(&manifest, newer).unwrap();
    assert_refused(shelf.run(&target, "restore", "one", "passphrase"), "newer release", &target);
    std::fs::write(&manifest, whole).unwrap();

    let from = shelf.path("one");
    let without = target.run(&["restore", "--from", from.to_str().unwrap(), "--without-master-key"]);
    assert!(without.status.success(), "{}", String::from_utf8_lossy(&without.stderr));
    assert!(!target.data().join("master.key").exists());
    let server = target.start().await;
    assert_eq!(client.at(&server).files().await.unwrap().len(), 1);
}
