//! Messages stored by `POST messages/`: each is on disk before it is acknowledged.

use anyhow::{Context, Result};
use serde_json::json;

use crate::api::Api;
use crate::bench::{Bench, MODEL};
use crate::figures::{median, percentile};
use crate::process::Server;
use crate::report::{Row, Wanted};
use crate::requests::Requests;

const CLIENTS: usize = 64;

pub(super) async fn run(bench: &Bench) -> Result<Vec<Row>> {
    let server = bench.start(MODEL).await?;
    let (stored, p95) = rate(bench, &server, false).await?;
    let (replied_to, _) = rate(bench, &server, true).await?;
    server.stop().await?;
    let detail = format!(
        "95 % within {p95:.1} ms; a person has taken the conversations over; while the assistant replies to each: \
         {replied_to:.0} per s"
    );
    let wanted = Wanted::higher(1000.0, 1000.0, " per s", 0);
    Ok(vec![Row::new("messages stored, 64 clients", wanted, stored, detail)])
}

/// Median rate of the repetitions, and the 95th percentile of all answers' times.
async fn rate(bench: &Bench, server: &Server, replies: bool) -> Result<(f64, f64)> {
    let api = Api { address: server.address };
    let web_chat = api.make_web_chat("Bench of messages", &bench.plain).await?;
    let mut requests = Vec::with_capacity(CLIENTS);
    for client in 0..CLIENTS {
        let conversation = api.make_conversation(&web_chat).await?;
        if !replies {
            api.take_over(&conversation).await?;
        }
        let body = json!({"conversation": conversation, "content": format!("請問退貨的期限是多久？ {client}")});
        requests.push(api.request("POST", "messages/", Some(&body)));
    }
    let messages = Requests { address: server.address, in_turn: requests.into(), status: 201, starts_with: "{" };
    messages.load(CLIENTS, bench.effort.warm_up).await?;
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    for _ in 0..bench.effort.repetitions {
        let answers = messages.load(CLIENTS, bench.effort.load).await?;
        rates.push(answers.rate);
        times.extend(answers.times);
    }
    let rate = median(&rates).context("no repetitions")?;
    Ok((rate, percentile(&times, 950).context("no messages")?))
}
