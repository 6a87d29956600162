//! What happens when providers fail: the class, the number of calls, the end of the stream.

use std::time::Duration;

use parlance_llm::{BreakerPolicy, CallPolicy, ErrorKind, RetryPolicy, StopReason};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::server::{Act, Server, answer, events, stream_header};
use crate::{SHORT, openai_with, policy, request, run};

const PIECE: &str = r#"{"choices":[{"delta":{"content":"七天"}}]}"#;
const STOP: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;

fn good() -> Vec<Act> {
    events(&[PIECE, STOP, "[DONE]"])
}

fn after(start: &[&str], last: Act) -> Vec<Act> {
    let mut acts = events(start);
    acts.push(last);
    acts
}

#[tokio::test]
async fn every_fault_has_its_class_and_number_of_calls() {
    let html = "<html><body>Service Unavailable</body></html>";
    let json = "Content-Type: application/json\r\n";
    let in_band = r#"{"error":{"message":"boom","type":"server_error"}}"#;
    let rejected = r#"{"error":{"message":"no such model","type":"invalid_request_error"}}"#;
    let too_long = r#"{"error":{"message":"maximum context length is 8","code":"context_length_exceeded"}}"#;
    let big = format!("data: {}", "x".repeat(1024 * 1024 + 10));
    let long_answer = format!(r#"{{"choices":[{{"delta":{{"content":"{}"}}}}]}}"#, "x".repeat(600_000));
    let cases: Vec<(&str, Vec<Act>, ErrorKind, usize, &str)> = vec![
        ("400", answer("400 Bad Request", json, rejected), ErrorKind::Rejected, 1, ""),
        ("400 too long", answer("400 Bad Request", json, too_long), ErrorKind::TooLong, 1, ""),
        ("401", answer("401 Unauthorized", json, "{}"), ErrorKind::Credentials, 1, ""),
        ("403", answer("403 Forbidden", json, "{}"), ErrorKind::Credentials, 1, ""),
        ("404", answer("404 Not Found", json, rejected), ErrorKind::Rejected, 1, ""),
        ("408", answer("408 Request Timeout", "", ""), ErrorKind::Timeout, 1, ""),
        ("413", answer("413 Too Large", "", ""), ErrorKind::TooLong, 1, ""),
        ("302", answer("302 Found", "Location: /elsewhere\r\n", ""), ErrorKind::Rejected, 1, ""),
        ("429", answer("429 Too Many Requests", "", ""), ErrorKind::RateLimited, 3, ""),
        ("500", answer("500 Oops", json, in_band), ErrorKind::Unavailable, 3, ""),
        ("502", answer("502 Bad Gateway", "", ""), ErrorKind::Unavailable, 3, ""),
        ("503 with HTML", answer("503 Down", "Content-Type: text/html\r\n", html), ErrorKind::Unavailable, 3, ""),
        ("529", answer("529 Overloaded", "", ""), ErrorKind::Unavailable, 3, ""),
        ("close before the header", Vec::new(), ErrorKind::Network, 3, ""),
        ("reset before the header", vec![Act::Reset], ErrorKind::Network, 3, ""),
        ("hang before the header", vec![Act::Hang], ErrorKind::Timeout, 1, ""),
        ("hang before the first piece", vec![stream_header(), Act::Hang], ErrorKind::Timeout, 1, ""),
        ("hang after comments", after(&["{}"], Act::Hang), ErrorKind::Timeout, 1, ""),
        ("hang mid-stream", after(&[PIECE], Act::Hang), ErrorKind::Timeout, 1, "七天"),
        ("reset mid-stream", after(&[PIECE], Act::Reset), ErrorKind::Network, 1, "七天"),
        ("close without end mark", events(&[PIECE]), ErrorKind::Network, 1, "七天"),
        ("close inside an event", after(&[PIECE], Act::Send(b"data: {\"choi".to_vec())), ErrorKind::Network, 1, "七天"),
        ("error in a stream, first", events(&[in_band]), ErrorKind::Unavailable, 3, ""),
        ("error in a stream, later", events(&[PIECE, in_band]), ErrorKind::Unavailable, 1, "七天"),
        ("error in a 200", answer("200 OK", json, in_band), ErrorKind::Unavailable, 3, ""),
        ("empty 200", answer("200 OK", "", ""), ErrorKind::Network, 3, ""),
        ("200 with HTML", answer("200 OK", "Content-Type: text/html\r\n", html), ErrorKind::Protocol, 1, ""),
        ("200 with other JSON", answer("200 OK", json, r#"{"ok":true}"#), ErrorKind::Protocol, 1, ""),
        ("not JSON inside", events(&["nonsense"]), ErrorKind::Protocol, 1, ""),
        (
            "an event over the limit",
            vec![stream_header(), Act::Send(big.into()), Act::Hang],
            ErrorKind::Protocol,
            1,
            "",
        ),
        ("not HTTP", vec![Act::Send(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())], ErrorKind::Network, 3, ""),
        ("an answer over the limit", events(&[PIECE, &long_answer, &long_answer]), ErrorKind::Protocol, 1, "long"),
    ];
    let policy = CallPolicy { headers_timeout: SHORT, first_event_timeout: SHORT, idle_timeout: SHORT, ..policy() };
    for (name, acts, kind, calls, text) in cases {
        let server = Server::play(vec![acts]).await;
        let outcome = run(&*openai_with(&server.base_url, policy), request()).await;
        let error = outcome.error.unwrap_or_else(|| panic!("{name} did not fail"));
        assert_eq!((error.kind, server.seen().len()), (kind, calls), "{name}: {error}");
        if text == "long" {
            assert!(outcome.text.len() < 1024 * 1024, "{name}");
        } else {
            assert_eq!(outcome.text, text, "{name}");
        }
        assert!(!error.detail.contains('<') && !error.detail.contains("127.0.0.1"), "{name}: {error}");
    }
}

#[tokio::test]
async fn refused_connections_and_unknown_names() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for base_url in [format!("http://{closed}"), "http://name.invalid".to_owned(), "https://127.0.0.1:1".to_owned()] {
        let outcome = run(&*openai_with(&base_url, policy()), request()).await;
        assert_eq!(outcome.error.unwrap().kind, ErrorKind::Network, "{base_url}");
    }
}

#[tokio::test]
async fn tls_that_is_not_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _client_may_be_gone = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let outcome = run(&*openai_with(&base_url, policy()), request()).await;
    assert_eq!(outcome.error.unwrap().kind, ErrorKind::Network);
}

#[tokio::test]
async fn a_transient_fault_is_overcome() {
    let server = Server::play(vec![answer("500 Oops", "", ""), events(&[r#"{"error":{"code":503}}"#]), good()]).await;
    let outcome = run(&*openai_with(&server.base_url, policy()), request()).await;
    assert_eq!((outcome.text.as_str(), outcome.stop()), ("七天", Some(StopReason::Complete)));
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn the_total_time_ends_a_drip() {
    let mut acts = vec![stream_header()];
    for _ in 0..200 {
        acts.push(Act::Send(format!("data: {PIECE}\n\n").into()));
        acts.push(Act::Pause(Duration::from_millis(50)));
    }
    let server = Server::play(vec![acts]).await;
    let policy = CallPolicy { total_timeout: Duration::from_millis(500), ..policy() };
    let outcome = run(&*openai_with(&server.base_url, policy), request()).await;
    assert_eq!(outcome.error.unwrap().kind, ErrorKind::Timeout);
    assert!(outcome.text.starts_with("七天"));
}

#[tokio::test]
async fn the_wish_to_wait_is_kept_or_passed_on() {
    let limited = |wait: &str| answer("429 Too Many Requests", &format!("Retry-After: {wait}\r\n"), "");
    let server = Server::play(vec![limited("1"), good()]).await;
    let started = std::time::Instant::now();
    let outcome = run(&*openai_with(&server.base_url, policy()), request()).await;
    assert_eq!((outcome.text.as_str(), server.seen().len()), ("七天", 2));
    assert!(started.elapsed() >= Duration::from_secs(1));
    // Too long to wait for; the date is ten minutes after the test's clock.
    for wait in ["600", "Fri, 20 Nov 2026 12:10:00 GMT"] {
        let server = Server::play(vec![limited(wait)]).await;
        let error = run(&*openai_with(&server.base_url, policy()), request()).await.error.unwrap();
        assert_eq!((error.kind, server.seen().len()), (ErrorKind::RateLimited, 1));
        assert_eq!(error.retry_after, Some(Duration::from_mins(10)), "{wait}");
    }
}

#[tokio::test]
async fn a_dead_endpoint_is_left_alone_and_found_again() {
    let mut lists = vec![answer("500 Oops", "", ""); 10];
    lists.push(good());
    let server = Server::play(lists).await;
    let policy = CallPolicy {
        retry: RetryPolicy { attempts: 1, ..policy().retry },
        breaker: BreakerPolicy { failures_to_open: 10, open_for: Duration::from_millis(400) },
        ..policy()
    };
    let model = openai_with(&server.base_url, policy);
    for _ in 0..30 {
        let error = run(&*model, request()).await.error.unwrap();
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }
    assert_eq!(server.seen().len(), 10, "the breaker opens at the tenth failure");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(run(&*model, request()).await.text, "七天");
    assert_eq!(run(&*model, request()).await.text, "七天");
}

#[tokio::test]
async fn keys_stay_out_of_errors() {
    let echo = format!(r#"{{"error":{{"message":"wrong key {}","code":"invalid_api_key"}}}}"#, crate::KEY);
    let server = Server::play(vec![answer("401 Unauthorized", "Content-Type: application/json\r\n", &echo)]).await;
    let model = openai_with(&server.base_url, policy());
    let error = run(&*model, request()).await.error.unwrap();
    assert!(error.detail.contains("wrong key [key]"), "{error}");
    assert!(!format!("{error:?} {model:?}").contains(crate::KEY));
}
