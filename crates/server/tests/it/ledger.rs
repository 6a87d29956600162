//! Killed at any moment: what was acknowledged is there, once, and nothing is stuck.
//!
//! Writers note each acknowledgement in a ledger before they go on. The server is killed and started
//! again under them; at the end the ledger is compared with what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parlance_domain::{Id, Tenant};
use parlance_storage::{Db, DbConfig, Scope, index_changes, jobs, messages, organisations};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::watch;

use crate::client::{Answer, Client, read_events};
use crate::install::{Install, Server};
use crate::model::{Model, Speech};

const FILES: usize = 100;
const QUESTIONS: usize = 100;
const FEWEST_KILLS: u32 = 10;
/// Pieces of each answer; the whole text is known in advance.
const PIECES: usize = 20;

/// What writers know to be stored.
#[derive(Default)]
struct Ledger {
    /// File ids by name.
    files: BTreeMap<String, String>,
    questions: Vec<Asked>,
}

/// A question whose first event was received.
#[derive(Clone, Default)]
struct Asked {
    question: String,
    conversation: String,
    message: String,
    /// The text that was received.
    text: String,
    is_done: bool,
}

fn file_name(number: usize) -> String {
    format!("ledger-{number:03}.txt")
}

/// The code that only this file holds.
fn code(number: usize) -> String {
    format!("LG-{:04}", 7000 + number)
}

/// Three passages, the code in the second.
fn content(number: usize) -> String {
    let filler = |part: usize| format!("第{part}部分說明設備的日常維護。").repeat(24);
    format!("{}\n\n{}設備編號 {} 每年檢修。\n\n{}", filler(1), filler(2), code(number), filler(3))
}

fn whole_answer() -> String {
    "維護手冊。".repeat(PIECES)
}

/// The address that writers use; it changes with each start.
pub(crate) type Address = watch::Receiver<Client>;

async fn write_files(mut address: Address, next: Arc<AtomicUsize>, ledger: Arc<Mutex<Ledger>>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= FILES {
            return;
        }
        let name = file_name(number);
        // Acknowledged bytes must stay usable, however often the server dies afterwards.
        let mut sent: Option<String> = None;
        loop {
            let client = address.borrow_and_update().clone();
            let step = async {
                if sent.is_none() {
                    sent = Some(client.send_bytes(&name, content(number).as_bytes()).await?);
                } else {
                    // The answer to an earlier attempt may have been lost on its way.
                    let files = client.files().await?;
                    if let Some(file) = files.iter().find(|file| file["filename"] == name.as_str()) {
                        return Ok(file["id"].as_str().unwrap().to_owned());
                    }
                }
                client.add_file(sent.as_ref().unwrap(), &name).await
            };
            match step.await {
                Ok(id) => {
                    ledger.lock().unwrap().files.insert(name, id);
                    break;
                }
                Err(error) => wait_for_restart(&error, &mut address).await,
            }
        }
    }
}

async fn ask_questions(mut address: Address, next: Arc<AtomicUsize>, ledger: Arc<Mutex<Ledger>>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= QUESTIONS {
            return;
        }
        let question = format!("第{number}題：設備如何維護？");
        let mut attempt = 0;
        loop {
            let client = address.borrow_and_update().clone();
            // Each attempt is a question of its own, as each may have been stored.
            attempt += 1;
            let mut asked = Asked { question: format!("{question} {attempt}"), ..Asked::default() };
            let result = async {
                let response = client.begin(&asked.question).await?;
                read_events(response, |event| {
                    event["conversationId"].as_str().unwrap().clone_into(&mut asked.conversation);
                    event["messageId"].as_str().unwrap().clone_into(&mut asked.message);
                    asked.text.push_str(event["content"].as_str().unwrap());
                    asked.is_done |= event["type"] == "done";
                    assert_ne!(event["type"], "error", "{event}");
                })
                .await
            };
            let result = result.await;
            let is_done = asked.is_done;
            if !asked.message.is_empty() {
                ledger.lock().unwrap().questions.push(asked);
            }
            match result {
                _ if is_done => break,
                Ok(()) => tokio::task::yield_now().await,
                Err(error) => wait_for_restart(&error, &mut address).await,
            }
        }
    }
}

/// A request failed because the server was killed. Anything else is a fault.
pub(crate) async fn wait_for_restart(error: &reqwest::Error, address: &mut Address) {
    assert!(error.status().is_none(), "{error}");
    let changed = tokio::time::timeout(Duration::from_secs(30), address.changed()).await;
    changed.unwrap_or_else(|_| panic!("no restart, but {error}")).unwrap();
}

/// Checks the database file of a server that does not run.
pub(crate) async fn assert_sound(install: &Install) {
    if !install.is_sqlite() {
        return;
    }
    let mut connection = SqliteConnection::connect(&install.database_url()).await.unwrap();
    let integrity: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(integrity, "ok");
    let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut connection).await.unwrap();
    assert_eq!(orphans.len(), 0);
    connection.close().await.unwrap();
}

/// Kills and restarts until the writers have ended. Gives the running server and the kills.
pub(crate) async fn kill_again_and_again(
    install: &Install,
    mut server: Server,
    address: &watch::Sender<Client>,
    writers: &[tokio::task::JoinHandle<()>],
) -> (Server, u32) {
    let mut kills = 0;
    // Uptimes from a fixed sequence: short ones too, so that some kills hit a start's own work.
    let mut number: u32 = 12_345;
    while writers.iter().any(|writer| !writer.is_finished()) || kills < FEWEST_KILLS {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        tokio::time::sleep(Duration::from_millis(u64::from(150 + (number >> 16) % 1350))).await;
        server.kill();
        kills += 1;
        assert_sound(install).await;
        server = install.start().await;
        let client = address.borrow().at(&server);
        address.send_replace(client);
    }
    (server, kills)
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_or_doubled_by_kills() {
    let speech = Speech { pieces: vec!["維護手冊。".to_owned(); PIECES], pause: Duration::from_millis(15) };
    let model = Model::start(speech).await;
    let install = Install::new().await.set("LLM__BASE_URL", &model.url).set("LLM__MODEL", "model");
    let server = install.start().await;
    let client = install.client(&server);
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    let (address, following) = watch::channel(client.clone());
    let (next_file, next_question): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
    let mut writers = Vec::new();
    for _ in 0..2 {
        writers.push(tokio::spawn(write_files(following.clone(), Arc::clone(&next_file), Arc::clone(&ledger))));
    }
    for _ in 0..3 {
        writers.push(tokio::spawn(ask_questions(following.clone(), Arc::clone(&next_question), Arc::clone(&ledger))));
    }
    let (server, kills) = kill_again_and_again(&install, server, &address, &writers).await;
    for writer in writers {
        writer.await.unwrap();
    }
    let ledger = std::mem::take(&mut *ledger.lock().unwrap());
    let client = client.at(&server);

    check_files(&client, &ledger).await;
    let interrupted = check_answers(&client, &ledger).await;
    server.stop().await;
    assert_sound(&install).await;
    check_stored(&install, &ledger).await;
    eprintln!(
        "{kills} kills, {} files, {} questions of which {interrupted} were interrupted",
        ledger.files.len(),
        ledger.questions.len()
    );
}

async fn check_files(client: &Client, ledger: &Ledger) {
    assert_eq!(ledger.files.len(), FILES);
    let files = client.files().await.unwrap();
    let names: BTreeSet<_> = files.iter().map(|file| file["filename"].as_str().unwrap()).collect();
    assert_eq!((files.len(), names.len()), (FILES, FILES));
    for number in 0..FILES {
        let id = &ledger.files[&file_name(number)];
        let file = client.settled(id).await;
        assert_eq!(file["status"], "done", "{file}");
        let passages = client.passages(id).await;
        assert_eq!((passages.len(), &file["textNodesCount"]), (3, &serde_json::json!(3)), "{file}");
        let offsets: BTreeSet<_> = passages.iter().map(|passage| passage["startOffset"].as_i64()).collect();
        assert_eq!(offsets.len(), 3);
        let hits = client.search(&format!("設備編號 {}", code(number))).await;
        let ids: BTreeSet<_> = hits.iter().map(|hit| hit["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), hits.len(), "a passage is found twice");
        let holding: Vec<_> = hits.iter().filter(|hit| hit["text"].as_str().unwrap().contains(&code(number))).collect();
        assert_eq!(holding.len(), 1, "{number}");
        assert_eq!(holding[0]["chatbotFile"]["id"], id.as_str());
    }
}

/// Compares what the API tells of each answer. Gives how many were interrupted.
async fn check_answers(client: &Client, ledger: &Ledger) -> usize {
    let mut interrupted = 0;
    for asked in &ledger.questions {
        let stream = client.get(&format!("messages/{}/stream/", asked.message)).send().await.unwrap();
        let mut stored = Answer::default();
        read_events(stream.error_for_status().unwrap(), |event| stored.events.push(event)).await.unwrap();
        if stored.terminal()["type"] == "done" {
            assert_eq!(stored.text(), whole_answer());
            continue;
        }
        assert!(!asked.is_done, "an answer that had ended is gone: {:?}", stored.terminal());
        assert_eq!(stored.terminal()["error"]["code"], "interrupted");
        assert!(whole_answer().starts_with(&stored.text()), "{}", stored.text());
        interrupted += 1;
    }
    let done = ledger.questions.iter().filter(|asked| asked.is_done).count();
    assert_eq!(done, QUESTIONS);
    interrupted
}

/// Compares the messages of each conversation; nothing may be left to do.
async fn check_stored(install: &Install, ledger: &Ledger) {
    let config = DbConfig { url: install.database_url(), migrate_url: None, connections: 2 };
    let db = Db::open(&config).await.unwrap();
    let mut tx = db.read(Scope::System).await.unwrap();
    let tenant = Tenant::authenticated(organisations::first(&mut tx).await.unwrap().unwrap().id);
    assert_eq!(messages::interrupted(&mut tx).await.unwrap(), []);
    assert_eq!(jobs::count(&mut tx).await.unwrap(), 0);
    assert_eq!(index_changes::pending(&mut tx, 10).await.unwrap().len(), 0);
    drop(tx);
    let mut tx = db.read(tenant).await.unwrap();
    for asked in &ledger.questions {
        let conversation = Id::parse(&asked.conversation).unwrap();
        let stored = messages::history(&mut tx, tenant, conversation, 10).await.unwrap();
        assert_eq!(stored.len(), 2, "{}", asked.question);
        let mut kinds: Vec<_> = stored.iter().map(|message| message.kind.as_str()).collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["incoming", "outgoing"]);
        let question = stored.iter().find(|message| message.kind == "incoming").unwrap();
        assert_eq!(question.content, asked.question);
        let answer = stored.iter().find(|message| message.kind == "outgoing").unwrap();
        assert_eq!(answer.id.to_string(), asked.message);
    }
    drop(tx);
    db.close().await;
}

#[tokio::test]
async fn the_part_of_an_answer_that_was_made_is_kept() {
    let speech = Speech { pieces: vec!["維護手冊。".to_owned(); 600], pause: Duration::from_millis(100) };
    let model = Model::start(speech).await;
    let install = Install::new().await.set("LLM__BASE_URL", &model.url).set("LLM__MODEL", "model");
    let server = install.start().await;
    let client = install.client(&server);
    let (mut received, mut server) = (Answer::default(), Some(server));
    let broken = read_events(client.begin("設備如何維護？").await.unwrap(), |event| {
        received.events.push(event);
        // Text is saved at least every second.
        if received.events.len() == 30 {
            server.take().into_iter().for_each(Server::kill);
        }
    });
    broken.await.unwrap_err();
    assert_sound(&install).await;

    let server = install.start().await;
    let client = client.at(&server);
    let message = received.events[0]["messageId"].as_str().unwrap().to_owned();
    let stream = client.get(&format!("messages/{message}/stream/")).send().await.unwrap();
    let mut stored = Answer::default();
    read_events(stream, |event| stored.events.push(event)).await.unwrap();
    assert_eq!(stored.terminal()["error"]["code"], "interrupted");
    assert!(!stored.text().is_empty() && "維護手冊。".repeat(600).starts_with(&stored.text()), "{}", stored.text());
}
