//! Settings that are wrong, and the commands that only print.

use std::process::Output;

use crate::install::Install;

/// The message of a command that must fail.
fn refused(output: &Output) -> String {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "exit code, with this message: {message}");
    message
}

#[tokio::test]
async fn wrong_settings_are_refused_with_what_to_do() {
    let wrong = [
        ("LLM__BASE_URL", "http://127.0.0.1:1/v1", "LLM__MODEL"),
        ("BOOTSTRAP__API_KEY", "too-short", "BOOTSTRAP__API_KEY must match"),
        ("BOOTSTRAP__API_KEY_FILE", "/nonexistent/key", "BOOTSTRAP__API_KEY_FILE"),
        ("DATABASE__CONNECTIONS", "many", "DATABASE__CONNECTIONS is no whole number"),
        ("DATABASE__URL", "mysql://localhost/x", "sqlite:"),
        ("STREAM__API_GRACE", "soon", "no duration"),
        ("SERVER__PUBLIC_URL", "ftp://example.com", "SERVER__PUBLIC_URL"),
        ("SERVER__LISTEN", "everywhere", "SERVER__LISTEN"),
        ("OUTBOUND__ALLOW", "not an address", "OUTBOUND__ALLOW"),
        ("LOG__FORMAT", "xml", "LOG__FORMAT must be text or json"),
        ("TLS__KEY", "/nonexistent/own.key", "TLS__CERTIFICATE and TLS__KEY are set together"),
        ("RERANKER__KIND", "tei", "RERANKER__BASE_URL"),
    ];
    for (setting, value, told) in wrong {
        let install = Install::new().await.set(setting, value);
        let mut arguments = vec!["serve"];
        if setting != "SERVER__LISTEN" {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        eprintln!("{setting}={value}");
        let message = refused(&install.run(&arguments));
        assert!(message.contains(told), "{message}");
        assert!(!message.contains("panicked"), "{message}");
    }
}

#[tokio::test]
async fn a_settings_file_that_cannot_be_read_is_named() {
    let install = Install::new().await;
    let message = refused(&install.run(&["serve", "--config", "/nonexistent/own.toml"]));
    assert!(message.contains("/nonexistent/own.toml"), "{message}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[server]\nlisten_on = \"127.0.0.1:0\"\n").unwrap();
    let message = refused(&install.run(&["serve", "--config", file.path().to_str().unwrap()]));
    assert!(message.contains("listen_on"), "{message}");
}

#[tokio::test]
async fn an_address_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let install = Install::new().await;
    let message = refused(&install.run(&["serve", "--listen", &address]));
    assert!(message.contains(&address) && message.contains("SERVER__LISTEN"), "{message}");
}

#[tokio::test]
async fn a_second_server_on_the_same_data_is_refused() {
    let install = Install::new().await;
    let mut server = install.start().await;
    let message = refused(&install.run(&["serve", "--listen", "127.0.0.1:0"]));
    assert!(message.contains("another parlance process uses"), "{message}");
    let listed = install.run(&["key", "list"]);
    if install.is_sqlite() {
        let message = refused(&listed);
        assert!(message.contains("another parlance process uses"), "{message}");
    } else {
        assert!(listed.status.success());
    }
    // The first one is not disturbed.
    assert!(server.is_running());
    let client = install.client(&server);
    assert_eq!(client.probe("readyz").await.unwrap(), 200);
    client.learn("one.txt", "編號 KX-0101 的設備每年三月檢修。".as_bytes()).await;
    assert_eq!(client.ask("編號 KX-0101 的設備何時檢修？").await.cited(), [("one.txt".to_owned(), None)]);
    server.stop().await;
    assert!(install.run(&["key", "list"]).status.success());
}

#[tokio::test]
async fn printed_settings_hide_secrets() {
    let canary = "canary-0123456789-0123456789-0123456789";
    let mut install = Install::new().await;
    for section in ["BOOTSTRAP", "LLM", "EMBEDDING", "RERANKER"] {
        install = install.set(&format!("{section}__API_KEY"), canary);
    }
    install = install.set("SERVER__PUBLIC_URL", "https://chat.example.com");
    let printed = install.run(&["config", "print"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.status.success());
    assert!(!text.contains("canary"), "{text}");
    assert!(text.contains("https://chat.example.com"), "{text}");
    assert!(!install.data().exists(), "printing makes no data folder");
}

#[tokio::test]
async fn the_description_of_the_api_is_the_committed_one_and_the_served_one() {
    let install = Install::new().await;
    let printed = String::from_utf8(install.run(&["openapi"]).stdout).unwrap();
    let document: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert!(document["paths"]["/api/v1/chatbots/{id}/completions/"]["post"].is_object());
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json");
    if let Ok(committed) = std::fs::read_to_string(committed) {
        assert!(printed == committed, "run `make generate` and commit openapi.json");
    }
    let server = install.start().await;
    let answer = crate::client::http().get(format!("{}/openapi.json", server.url)).send().await.unwrap();
    assert_eq!(answer.json::<serde_json::Value>().await.unwrap(), document);
}
