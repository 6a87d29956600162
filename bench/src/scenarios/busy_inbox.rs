//! The list of an inbox with 100,000 conversations and 1,000,000 messages: its first page, and searches by keyword.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use url::form_urlencoded::byte_serialize;

use crate::api::Api;
use crate::bench::{Bench, MODEL};
use crate::busy_inbox::{COMMON, MESSAGES, RARE, fill};
use crate::figures::percentile;
use crate::report::{Row, Wanted};
use crate::requests::Requests;

const CLIENTS: usize = 4;
/// What is typed: nothing, a word of every conversation, one of many, one of few, one of none.
const KEYWORDS: [(&str, &str); 5] = [
    ("first page", ""),
    ("common word", COMMON),
    ("two characters", "濾水"),
    ("rare code", RARE),
    ("absent word", "鸕鶿"),
];

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let folder = bench.path("busy-inbox");
    let mut rows = vec![measure(bench, &folder, None, "busy inbox on SQLite, slowest list, 95 %").await?];
    #[expect(clippy::disallowed_methods, reason = "how `make bench` tells where PostgreSQL is")]
    let has_postgres = std::env::var_os("TEST_DATABASE_URL").is_some();
    if has_postgres {
        let folder = bench.path("busy-inbox-postgres");
        fs::create_dir_all(&folder).context("a folder")?;
        let url = parlance_storage::testing::database_url(&folder).await;
        rows.push(measure(bench, &folder, Some(url), "busy inbox on PostgreSQL, slowest list, 95 %").await?);
    } else {
        bench.note_floor("the busy inbox was not measured on PostgreSQL: TEST_DATABASE_URL names none".to_owned());
    }
    Ok(rows)
}

async fn measure(bench: &Bench, folder: &Path, url: Option<String>, name: &'static str) -> Result<Row> {
    let conversations = bench.effort.conversations;
    let server = bench.start_on(folder, url.as_deref().unwrap_or_default(), MODEL).await?;
    let api = Api { address: server.address };
    let chatbot = api.make_chatbot("Bench of a busy inbox", &[]).await?;
    let inbox = api.inbox_of(&api.make_web_chat("Bench of a busy inbox", &chatbot).await?).await?;
    server.stop().await?;
    let filled = match &url {
        Some(url) => fill(url, &inbox, conversations).await,
        None => fill(&format!("sqlite:{}", folder.join("parlance.db").display()), &inbox, conversations).await,
    };
    filled.context("filling the inbox")?;

    let server = bench.start_on(folder, url.as_deref().unwrap_or_default(), MODEL).await?;
    let api = Api { address: server.address };
    let (mut details, mut worst, mut resting) = (Vec::new(), 0.0_f64, None);
    for (typed, keyword) in KEYWORDS {
        let keyword: String = byte_serialize(keyword.as_bytes()).collect();
        let path = format!("conversations/?inbox={inbox}&keyword={keyword}");
        let listing = Requests {
            address: server.address,
            in_turn: [api.request("GET", &path, None)].into(),
            status: 200,
            starts_with: "{",
        };
        listing.load(CLIENTS, bench.effort.warm_up).await?;
        resting.get_or_insert(server.resident_mib());
        let answers = listing.load(CLIENTS, bench.effort.load).await?;
        let p95 = percentile(&answers.times, 950).context("no answers")?;
        worst = worst.max(p95);
        details.push(format!("{typed} {p95:.1} ms"));
    }
    let (resting, memory) = (resting.unwrap_or_default(), server.resident_mib());
    server.stop().await?;
    let detail = format!(
        "{conversations} conversations, {} messages, {CLIENTS} clients; {}; memory {resting:.0} MiB at first, \
         {memory:.0} MiB at the end",
        conversations * MESSAGES,
        details.join(", ")
    );
    Ok(Row::new(name, Wanted::lower(50.0, 50.0, " ms", 1), worst, detail))
}
