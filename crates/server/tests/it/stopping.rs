//! Stopping as an operator or a service manager does.

use std::time::{Duration, Instant};

use reqwest::StatusCode;

use crate::client::{Answer, read_events};
use crate::first_start::document;
use crate::install::{Install, Server};
use crate::model::{Model, Speech};

/// A model that says `pieces` words, one each 100 ms.
async fn slow_model(pieces: usize) -> Model {
    Model::start(Speech { pieces: vec!["字".to_owned(); pieces], pause: Duration::from_millis(100) }).await
}

async fn install(model: &Model, grace: &str) -> Install {
    let install = Install::new().await.set("LLM__BASE_URL", &model.url).set("LLM__MODEL", "slow-model");
    install.set("STREAM__STOP_GRACE", grace)
}

/// Begins `count` answers and reads each in the background, after its first text has come.
async fn begin(install: &Install, server: &Server, count: usize) -> Vec<tokio::task::JoinHandle<Answer>> {
    let client = install.client(server);
    let mut reading = Vec::new();
    for _ in 0..count {
        let response = client.begin("你好").await.unwrap();
        let (started, begun) = tokio::sync::oneshot::channel();
        reading.push(tokio::spawn(async move {
            let (mut answer, mut started) = (Answer::default(), Some(started));
            let read = read_events(response, |event| {
                if event["type"] == "text"
                    && let Some(started) = started.take()
                {
                    started.send(()).unwrap();
                }
                answer.events.push(event);
            });
            read.await.unwrap();
            answer
        }));
        begun.await.unwrap();
    }
    reading
}

#[tokio::test]
async fn answers_that_fit_finish_and_readiness_goes_first() {
    let model = slow_model(20).await;
    let install = install(&model, "15s").await;
    let server = install.start().await;
    let client = install.client(&server);
    let reading = begin(&install, &server, 5).await;
    // A connection that is already open still gets an answer; the listener may be gone.
    assert_eq!(client.probe("readyz").await.unwrap(), StatusCode::OK);
    server.terminate();
    let mut told = None;
    for _ in 0..200 {
        match client.probe("readyz").await {
            Ok(StatusCode::OK) => tokio::time::sleep(Duration::from_millis(5)).await,
            other => {
                told = Some(other);
                break;
            }
        }
    }
    if let Ok(status) = told.unwrap() {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }
    for answer in reading {
        let answer = answer.await.unwrap();
        assert_eq!(answer.terminal()["type"], "done");
        assert_eq!(answer.text(), "字".repeat(20));
    }
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn answers_that_do_not_fit_are_told_so_once_and_stored() {
    let model = slow_model(600).await;
    let install = install(&model, "1s").await;
    let server = install.start().await;
    let reading = begin(&install, &server, 5).await;
    // Work that is not finished goes on at the next start.
    let client = install.client(&server);
    let file = client.upload("manual.pdf", &document("manual.pdf")).await;
    server.terminate();
    let mut told = Vec::new();
    for answer in reading {
        let answer = answer.await.unwrap();
        assert_eq!(answer.terminal()["type"], "shutting_down", "{:?}", answer.terminal());
        told.push((answer.terminal()["messageId"].as_str().unwrap().to_owned(), answer.text()));
    }
    assert_eq!(server.ended().await.code(), Some(0));

    let server = install.start().await;
    let client = install.client(&server);
    for (message, text) in told {
        assert!(!text.is_empty());
        let mut stored = Answer::default();
        let stream = client.get(&format!("messages/{message}/stream/")).send().await.unwrap();
        read_events(stream, |event| stored.events.push(event)).await.unwrap();
        assert_eq!(stored.text(), text);
        assert_eq!(stored.terminal()["type"], "error");
        assert_eq!(stored.terminal()["error"]["code"], "shutting_down");
    }
    assert_eq!(client.settled(&file).await["status"], "done");
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let model = slow_model(600).await;
    let install = install(&model, "60s").await;
    let server = install.start().await;
    let reading = begin(&install, &server, 2).await;
    server.terminate();
    // Signals that come together are one: the second is sent when the first was heard.
    while !install.log().contains("a second signal stops at once") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.terminate();
    let began = Instant::now();
    server.ended().await;
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for the answers");
    for answer in reading {
        answer.abort();
    }
}

#[tokio::test]
async fn an_idle_server_stops_without_waiting_for_its_graces() {
    let install = Install::new().await.set("STREAM__STOP_GRACE", "60s");
    let server = install.start().await;
    let client = install.client(&server);
    // A connection that is kept open and an answer that has ended hold nothing up.
    assert_eq!(client.ask("你好").await.terminal()["type"], "done");
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for nothing");
}
