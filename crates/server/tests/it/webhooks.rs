//! Killed between a message, its reply and its webhook: no reply is lost or made twice, and every
//! receiver hears of each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use parlance_domain::{Id, Tenant};
use parlance_storage::{Db, DbConfig, Scope, jobs, messages, organisations, replies};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Client, read_events};
use crate::install::{Install, Server};
use crate::ledger::assert_sound;
use crate::model::{Model, Speech, read_request};

const CONVERSATIONS: usize = 6;
const MESSAGES: usize = 120;
const FEWEST_KILLS: u32 = 50;
/// Pieces of each answer.
const PIECES: usize = 6;
/// What is not delivered after this time is lost.
const PATIENCE: Duration = Duration::from_mins(3);

/// A webhook as it came in.
#[derive(Clone)]
struct Webhook {
    headers: BTreeMap<String, String>,
    body: String,
}

impl Webhook {
    fn of(request: &str) -> Self {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        Self { headers, body: body.to_owned() }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Somebody who notes each webhook before it answers, and refuses some the first time they come.
struct Receiver {
    address: String,
    seen: Arc<Mutex<Vec<Webhook>>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen: Arc<Mutex<Vec<Webhook>>> = Arc::default();
        let noting = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let noting = Arc::clone(&noting);
                // A sender that was killed does not listen to the end.
                tokio::spawn(async move { drop(receive(stream, &noting).await) });
            }
        });
        Self { address, seen, serving }
    }

    fn seen(&self) -> Vec<Webhook> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn receive(mut stream: TcpStream, seen: &Mutex<Vec<Webhook>>) -> std::io::Result<()> {
    let request = read_request(&mut stream).await?;
    let webhook = Webhook::of(&request);
    let is_refused = {
        let mut seen = seen.lock().unwrap();
        let is_new = seen.iter().all(|known| known.headers["webhook-id"] != webhook.headers["webhook-id"]);
        seen.push(webhook);
        is_new && seen.len().is_multiple_of(7)
    };
    let status = if is_refused { "503 Busy" } else { "200 OK" };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The address that writers use; it changes with each start.
type Address = watch::Receiver<Client>;

/// Sends messages and notes the ids of those that were acknowledged.
async fn write_messages(
    mut address: Address,
    conversations: Arc<Vec<String>>,
    next: Arc<AtomicUsize>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= MESSAGES {
            return;
        }
        let conversation = &conversations[number % conversations.len()];
        loop {
            let client = address.borrow_and_update().clone();
            let body = json!({"conversation": conversation, "content": format!("第{number}題：設備如何維護？")});
            let sent = async {
                let answer = client.post("messages/", &body).send().await?.error_for_status()?;
                answer.json::<Value>().await
            };
            match sent.await {
                Ok(message) => {
                    acknowledged.lock().unwrap().insert(message["id"].as_str().unwrap().to_owned());
                    break;
                }
                // It may have been stored all the same; the next attempt is a message of its own.
                Err(error) => wait_for_restart(&error, &mut address).await,
            }
        }
        // So that kills find all the stages, not only the first.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

async fn wait_for_restart(error: &reqwest::Error, address: &mut Address) {
    assert!(error.status().is_none(), "{error}");
    let changed = tokio::time::timeout(Duration::from_secs(30), address.changed()).await;
    changed.unwrap_or_else(|_| panic!("no restart, but {error}")).unwrap();
}

/// Kills and restarts until the writers have ended. Gives the running server and the kills.
async fn kill_again_and_again(
    install: &Install,
    mut server: Server,
    address: &watch::Sender<Client>,
    writers: &[JoinHandle<()>],
) -> (Server, u32) {
    let mut kills = 0;
    let mut number: u32 = 54_321;
    while writers.iter().any(|writer| !writer.is_finished()) || kills < FEWEST_KILLS {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        tokio::time::sleep(Duration::from_millis(u64::from(50 + (number >> 16) % 700))).await;
        server.kill();
        kills += 1;
        assert_sound(install).await;
        server = install.start().await;
        let client = address.borrow().at(&server);
        address.send_replace(client);
    }
    (server, kills)
}

/// Begins conversations with the chatbot. Gives their ids.
async fn begin_conversations(client: &Client) -> Vec<String> {
    let mut conversations = BTreeSet::new();
    for number in 0..CONVERSATIONS {
        let events = client.begin(&format!("第{number}位")).await.unwrap();
        read_events(events, |event| {
            conversations.insert(event["conversationId"].as_str().unwrap().to_owned());
        })
        .await
        .unwrap();
    }
    assert_eq!(conversations.len(), CONVERSATIONS);
    conversations.into_iter().collect()
}

/// Messages that wait for their answers, as they are stored: their ids, and the ids of the answers.
type Replies = BTreeMap<String, String>;

/// Compares the conversations with what they must be. Gives what answers what.
async fn check_stored(install: &Install, conversations: &[String]) -> Replies {
    let config = DbConfig { url: install.database_url(), migrate_url: None, connections: 2 };
    let db = Db::open(&config).await.unwrap();
    let mut tx = db.read(Scope::System).await.unwrap();
    let tenant = Tenant::authenticated(organisations::first(&mut tx).await.unwrap().unwrap().id);
    assert_eq!(jobs::count(&mut tx).await.unwrap(), 0, "nothing is left to do");
    drop(tx);
    let mut tx = db.read(tenant).await.unwrap();
    let mut answered = Replies::new();
    for conversation in conversations {
        let stored = messages::history(&mut tx, tenant, Id::parse(conversation).unwrap(), 10_000).await.unwrap();
        let mut questions = Vec::new();
        let mut answers: BTreeMap<String, _> = BTreeMap::new();
        for message in stored {
            match message.kind.as_str() {
                "incoming" => questions.push(message),
                _ => drop(answers.insert(message.id.to_string(), message)),
            }
        }
        // The first of each was the completion that began the conversation.
        assert_eq!(answers.len(), questions.len(), "one answer for each message");
        let mut last = None;
        for question in &questions[1..] {
            let reply = replies::get(&mut tx, tenant, question.id).await.unwrap().unwrap();
            let answer = &answers[&reply.answer_id.to_string()];
            assert_eq!((answer.state.as_str(), answer.content.as_str()), ("done", whole_answer().as_str()));
            assert!(answer.created_at > question.created_at && last.is_none_or(|last| answer.created_at >= last));
            last = Some(answer.created_at);
            answered.insert(question.id.to_string(), answer.id.to_string());
        }
    }
    drop(tx);
    db.close().await;
    answered
}

fn whole_answer() -> String {
    "維護手冊。".repeat(PIECES)
}

/// Has the receiver's own code, which stands in the manual, check every signature.
fn verify_all(secret: &str, webhooks: &[Webhook]) {
    let manual = include_str!("../../../../docs/API-DESIGN.md").split_once("### Verify a webhook").unwrap().1;
    let code = manual.split_once("```python\n").unwrap().1.split_once("```").unwrap().0;
    let check = r#"
import json, sys
for line in sys.stdin:
    secret, headers, body = json.loads(line)
    verify(secret, headers, body.encode(), int(headers["webhook-timestamp"]))
    print("ok")
"#;
    let mut child = Command::new("python3")
        .args(["-c", &format!("{code}{check}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = webhooks.iter().map(|one| json!([secret, one.headers, one.body]).to_string() + "\n").collect();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), webhooks.len());
}

#[tokio::test]
async fn each_message_is_answered_once_and_each_answer_told_whatever_is_killed() {
    let speech = Speech { pieces: vec!["維護手冊。".to_owned(); PIECES], pause: Duration::from_millis(20) };
    let (model, receiver) = (Model::start(speech).await, Receiver::start().await);
    let install = Install::new().await.set("LLM__BASE_URL", &model.url).set("LLM__MODEL", "model");
    let install = install.set("OUTBOUND__ALLOW", &receiver.address);
    let server = install.start().await;
    let client = install.client(&server);
    let path = format!("chatbots/{}/", client.chatbot);
    let url = format!("http://{}/hook", receiver.address);
    client.patch(&path, &json!({"webhookUrl": url})).send().await.unwrap().error_for_status().unwrap();
    let secret = client.post(&format!("{path}webhook-secret/"), &json!({})).send().await.unwrap();
    let secret: Value = secret.error_for_status().unwrap().json().await.unwrap();
    let conversations = Arc::new(begin_conversations(&client).await);

    let (address, following) = watch::channel(client.clone());
    let (next, acknowledged): (Arc<AtomicUsize>, Arc<Mutex<BTreeSet<String>>>) = Default::default();
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let (next, acknowledged) = (Arc::clone(&next), Arc::clone(&acknowledged));
            tokio::spawn(write_messages(following.clone(), Arc::clone(&conversations), next, acknowledged))
        })
        .collect();
    let (server, kills) = kill_again_and_again(&install, server, &address, &writers).await;
    for writer in writers {
        writer.await.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert_eq!(acknowledged.len(), MESSAGES);

    // Until everything is delivered, the attempts after the receiver's faults included.
    let client = client.at(&server);
    let began = Instant::now();
    let mut quiet = 0;
    // Twice, since what was never tried has no record yet.
    while quiet < 2 {
        assert!(began.elapsed() < PATIENCE, "{:?}", records(&client, &path).await);
        let is_done = is_everything_delivered(&client, &path).await && has_heard(&receiver, &acknowledged);
        quiet = if is_done { quiet + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    server.stop().await;
    assert_sound(&install).await;
    let answered = check_stored(&install, &conversations).await;
    let seen = receiver.seen();
    let mut heard: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    for webhook in &seen {
        let (body, id) = (webhook.json(), webhook.headers["webhook-id"].clone());
        let message = body["replyTo"].as_str().unwrap().to_owned();
        assert_eq!(answered.get(&message).map(String::as_str), body["id"].as_str(), "{body}");
        assert_eq!(body["content"], whole_answer());
        heard.entry(message).or_default().insert(id.clone());
        assert_eq!(bodies.entry(id).or_insert_with(|| webhook.body.clone()), &webhook.body, "the same each time");
    }
    assert!(acknowledged.iter().all(|message| answered.contains_key(message)), "an acknowledged message is gone");
    assert_eq!(heard.len(), answered.len(), "every answer was told");
    assert!(heard.values().all(|ids| ids.len() == 1), "with one id");
    verify_all(secret["secret"].as_str().unwrap(), &seen);
    eprintln!(
        "{kills} kills, {} messages acknowledged of {} stored, {} webhooks of which {} were sent again",
        acknowledged.len(),
        answered.len(),
        seen.len(),
        seen.len() - heard.len()
    );
}

fn has_heard(receiver: &Receiver, acknowledged: &BTreeSet<String>) -> bool {
    let heard: BTreeSet<String> =
        receiver.seen().iter().map(|webhook| webhook.json()["replyTo"].as_str().unwrap().to_owned()).collect();
    acknowledged.is_subset(&heard)
}

/// Whether the last attempt of every delivery was a success and none waits.
async fn is_everything_delivered(client: &Client, path: &str) -> bool {
    let records = records(client, path).await;
    assert!(records.iter().all(|record| record["status"] != "failed"), "{records:?}");
    !records.is_empty() && records.iter().all(|record| record["status"] == "succeeded")
}

/// The attempts, without what was sent.
async fn records(client: &Client, path: &str) -> Vec<Value> {
    let mut records = Vec::new();
    for number in 1.. {
        let page = client.get(&format!("{path}webhook-records/?pageSize=100&page={number}")).send().await.unwrap();
        let mut page: Value = page.error_for_status().unwrap().json().await.unwrap();
        records.append(page["results"].as_array_mut().unwrap());
        if page["next"].is_null() {
            break;
        }
    }
    for record in &mut records {
        record["requestBody"].take();
    }
    records
}
