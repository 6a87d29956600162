//! Traces reach a collector.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::install::Install;

/// Takes one export and gives its head and its body.
async fn take_export(listener: TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.unwrap();
        bytes.extend_from_slice(&piece[..length]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
        let announced: usize = announced.trim().parse().unwrap();
        if bytes.len() >= end + 4 + announced {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            return (head, bytes[end + 4..].to_vec());
        }
        assert!(length > 0, "the export was cut");
    }
}

fn holds(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn requests_are_traced_and_the_last_ones_are_handed_over_at_a_stop() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let collector = tokio::spawn(take_export(listener));
    let install = Install::new()
        .await
        .set("TRACING__OTLP_ENDPOINT", endpoint)
        .set("TRACING__SERVICE_NAME", "parlance-under-test");
    let server = install.start().await;
    let asked = crate::client::http().get(format!("{}/api/v1/chatbots/", server.url)).send().await.unwrap();
    assert_eq!(asked.status(), 401);
    server.stop().await;
    let (head, body) = tokio::time::timeout(Duration::from_secs(30), collector).await.unwrap().unwrap();
    assert!(head.starts_with("post /v1/traces"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    for text in ["parlance-under-test", "request", "/readyz"] {
        assert!(holds(&body, text), "no {text:?} in the export");
    }
}
