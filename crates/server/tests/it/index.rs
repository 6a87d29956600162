//! The search index is made again from the database when it is lost or does not fit.

use crate::client::Client;
use crate::install::Install;

const QUESTION: &str = "編號 KX-0101 的設備";

async fn finds_once(client: &Client, name: &str) {
    for _ in 0..200 {
        let hits = client.search(QUESTION).await;
        let files: Vec<_> = hits.iter().map(|hit| hit["chatbotFile"]["filename"].as_str().unwrap()).collect();
        if files.iter().filter(|file| **file == name).count() == 1 {
            return;
        }
        // The index is filled in the background.
        assert!(!files.iter().skip(1).any(|file| *file == name), "found twice: {files:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{name} is not found");
}

#[tokio::test]
async fn a_lost_index_is_made_again() {
    let install = Install::new().await;
    let server = install.start().await;
    let client = install.client(&server);
    client.learn("one.txt", "編號 KX-0101 的設備每年三月檢修。".as_bytes()).await;
    finds_once(&client, "one.txt").await;
    server.stop().await;
    std::fs::remove_dir_all(install.data().join("index")).unwrap();
    let server = install.start().await;
    let client = client.at(&server);
    finds_once(&client, "one.txt").await;
    assert_eq!(client.ask(QUESTION).await.cited(), [("one.txt".to_owned(), None)]);
    server.stop().await;

    // Not an index at all.
    for entry in std::fs::read_dir(install.data().join("index/text")).unwrap().flatten() {
        if entry.path().is_file() {
            std::fs::write(entry.path(), b"damaged").unwrap();
        }
    }
    let server = install.start().await;
    finds_once(&client.at(&server), "one.txt").await;
}

/// A clean stop leaves one file to copy: the write-ahead log is gone or empty.
fn assert_all_in_one_file(install: &Install) {
    let log = std::fs::metadata(install.data().join("parlance.db-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0);
}

#[tokio::test]
async fn an_index_that_is_ahead_of_a_restored_database_is_made_again() {
    let install = Install::new().await;
    if !install.is_sqlite() {
        // The copy of a file is the point here.
        return;
    }
    let server = install.start().await;
    let client = install.client(&server);
    client.learn("one.txt", "編號 KX-0101 的設備每年三月檢修。".as_bytes()).await;
    server.stop().await;
    assert_all_in_one_file(&install);
    let (database, copy) = (install.data().join("parlance.db"), install.data().join("copy.db"));
    std::fs::copy(&database, &copy).unwrap();

    let server = install.start().await;
    let later = client.at(&server);
    later.learn("two.txt", "編號 KX-0101 的設備改為每年五月檢修。".as_bytes()).await;
    finds_once(&later, "two.txt").await;
    server.stop().await;
    assert_all_in_one_file(&install);
    std::fs::rename(&copy, &database).unwrap();

    let server = install.start().await;
    let restored = client.at(&server);
    finds_once(&restored, "one.txt").await;
    let hits = restored.search(QUESTION).await;
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert_eq!(restored.files().await.unwrap().len(), 1);
    // And the index goes on from there.
    restored.learn("three.txt", "編號 KX-0101 的設備已經停用。".as_bytes()).await;
    finds_once(&restored, "three.txt").await;
}
