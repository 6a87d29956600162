//! Ten thousand open pages: each holds an event stream of its conversation, and each gets the message that arrives.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::api::Api;
use crate::bench::{Bench, MODEL};
use crate::figures::number;
use crate::http::Connection;
use crate::report::{Row, Wanted};
use crate::requests::Requests;
use crate::sse::EventReader;

const PAGES: usize = 10_000;
const CONVERSATIONS: usize = 100;
/// Pages that are opened at the same time.
const AT_ONCE: usize = 200;
/// Time after the last page was opened until memory is read.
const SETTLE: Duration = Duration::from_secs(3);
const WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.start(MODEL).await?;
    let api = Api { address: server.address };
    let web_chat = api.make_web_chat("Bench of open pages", &bench.plain).await?;
    let mut conversations = Vec::with_capacity(CONVERSATIONS);
    for _ in 0..CONVERSATIONS {
        let conversation = api.make_conversation(&web_chat).await?;
        api.take_over(&conversation).await?;
        conversations.push(conversation);
    }
    let empty = server.resident_mib();
    let mut pages = Vec::with_capacity(PAGES);
    let numbers: Vec<usize> = (0..PAGES).collect();
    for some in numbers.chunks(AT_ONCE) {
        let mut opening = JoinSet::new();
        for number in some {
            let conversation = conversations.get(number % CONVERSATIONS).context("no conversation")?;
            let request = api.request("GET", &format!("conversations/{conversation}/events/"), None);
            opening.spawn(async move {
                let mut connection = Connection::open(api.address).await?;
                let status = connection.send(&request).await?;
                ensure!(status == 200, "status {status} for a page");
                anyhow::Ok(connection)
            });
        }
        while let Some(opened) = opening.join_next().await {
            pages.push(opened.context("a page")??);
        }
    }
    sleep(SETTLE).await;
    let full = server.resident_mib();

    let mut reading = JoinSet::new();
    for page in pages {
        reading.spawn(async move { timeout(WITHIN, first_message(page)).await.context("no event on a page")? });
    }
    let messages = Requests { address: server.address, in_turn: Vec::new().into(), status: 201, starts_with: "{" };
    let mut connection = Connection::open(server.address).await?;
    for conversation in &conversations {
        let body = json!({"conversation": conversation, "content": "到了嗎？"});
        messages.ask(&mut connection, &api.request("POST", "messages/", Some(&body))).await?;
    }
    let mut reached = 0;
    while let Some(read) = reading.join_next().await {
        read.context("a page")??;
        reached += 1;
    }
    let busy = server.resident_mib();
    server.stop().await?;
    ensure!(reached == PAGES, "a message reached {reached} of {PAGES} pages");
    let each = (full - empty) * 1024.0 / number(PAGES);
    let detail =
        format!("{empty:.1} MiB before, so {each:.1} KiB a page; {busy:.1} MiB after each page got a message; all did");
    let wanted = Wanted::lower(300.0, 300.0, " MiB", 1);
    Ok(vec![Row::new("10,000 open event streams: memory", wanted, full, detail)])
}

/// Waits for the first message that arrives on an open page.
async fn first_message(mut connection: Connection) -> Result<()> {
    let mut events = EventReader::default();
    loop {
        while let Some(event) = events.next()? {
            if String::from_utf8_lossy(event.data).contains("\"type\":\"message\"") {
                return Ok(());
            }
        }
        ensure!(connection.read_body(events.buffer()).await?, "a page's stream ended");
    }
}
