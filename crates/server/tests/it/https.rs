//! HTTPS: certificates obtained from a real directory, kept and renewed, and for nobody else.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parlance_testkit::NameServer;
use serde_json::{Value, json};

use crate::client::{Client, http, http_trusting};
use crate::directory::Directory;
use crate::install::{Install, free_port};

const OWN: &str = "assistant.example.com";
const PROVED: &str = "chat.example.com";
const LATER: &str = "later.example.com";
const LAST: &str = "last.example.com";
const UNPROVED: &str = "unproved.example.com";
const UNKNOWN: &str = "nobody.example.com";
const ALL: [&str; 6] = [OWN, PROVED, LATER, LAST, UNPROVED, UNKNOWN];
const TARGET: &str = "pages.example.com";

/// Until a certificate is there.
const PATIENCE: Duration = Duration::from_secs(40);

/// A browser of somebody who trusts the directory, at the server of the test.
struct Browser {
    http: reqwest::Client,
    port: u16,
}

impl Browser {
    async fn new(directory: &Directory) -> Self {
        let root = directory.root().await;
        let names = ALL.map(|name| (name, directory.https));
        Self { http: http_trusting(&root, &names), port: directory.https.port() }
    }

    async fn get(&self, host: &str, path: &str) -> reqwest::Result<(u16, String)> {
        let answer = self.http.get(format!("https://{host}:{}{path}", self.port)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    async fn wait_for(&self, host: &str, install: &Install) -> (u16, String) {
        let began = Instant::now();
        loop {
            match self.get(host, "/").await {
                Ok(page) => return page,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{host}: {error:?}\n{}", install.log()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn web_chat(client: &Client, domain: &str) -> Value {
    let body = json!({
        "theme": {}, "darkTheme": {}, "chatbot": client.chatbot, "customDomain": {"domain": domain},
    });
    client.post("web-chats/", &body).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

/// What the plain listener answers to a host.
async fn plain(client: &Client, host: &str, path: &str) -> (u16, String) {
    let answer = http().get(format!("{}{path}", client.url)).header("host", host).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

async fn install(directory: &Directory, names: &NameServer) -> Install {
    Install::new()
        .await
        .set("TLS__ACME", "true")
        .set("TLS__LISTEN", directory.https.to_string())
        .set("TLS__DIRECTORY_URL", directory.url())
        .set("TLS__DIRECTORY_CA", directory.authority())
        .set("TLS__CONTACT", "operator@example.com")
        .set("SERVER__PUBLIC_URL", format!("https://{OWN}"))
        .set("DOMAINS__RESOLVER", names.address().to_string())
        .set("DOMAINS__TARGET", TARGET)
}

#[tokio::test]
async fn verified_domains_get_certificates_that_last_and_nobody_else_does() {
    let names = NameServer::start().await;
    let Some(directory) = Directory::start(&names).await else { return };
    for name in ALL {
        names.set_address(name, Ipv4Addr::LOCALHOST);
    }
    for name in [PROVED, LATER, LAST] {
        names.set_cname(name, TARGET);
    }
    let install = install(&directory, &names).await;
    let server = install.start().await;
    let client = install.client(&server);
    let browser = Browser::new(&directory).await;
    browser.wait_for(OWN, &install).await;
    assert_eq!(browser.get(OWN, "/healthz").await.unwrap().0, 200);
    assert_eq!((directory.accounts(), directory.orders()), (1, 1));

    web_chat(&client, UNPROVED).await;
    web_chat(&client, PROVED).await;
    let page = browser.wait_for(PROVED, &install).await;
    assert_eq!(page, plain(&client, PROVED, "/").await, "as by the plain listener");
    // Nobody else gets one, however often somebody asks.
    for name in [UNPROVED, UNKNOWN, "127.0.0.1"] {
        for _ in 0..20 {
            assert!(browser.get(name, "/").await.is_err(), "{name}");
        }
    }
    // This one is seen by a later look, which would have seen the others.
    web_chat(&client, LATER).await;
    browser.wait_for(LATER, &install).await;
    assert_eq!((directory.accounts(), directory.orders()), (1, 3));
    let files = files_below(&install.data().join("tls"));
    assert_eq!(files.len(), 5, "{files:?}");
    for file in files {
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    server.stop().await;

    // What was obtained is served at once after a start, and nothing is ordered.
    let server = install.start().await;
    assert_eq!(browser.wait_for(PROVED, &install).await, page);
    browser.get(LATER, "/").await.unwrap();
    web_chat(&client.at(&server), LAST).await;
    browser.wait_for(LAST, &install).await;
    assert_eq!((directory.accounts(), directory.orders()), (1, 4));
    server.stop().await;

    // One that has little time left is replaced by another.
    let files = files_below(&install.data().join("tls"));
    let kept = files.iter().find(|file| file.ends_with(PROVED)).unwrap();
    std::fs::write(kept, old_certificate(PROVED)).unwrap();
    std::fs::remove_file(files.iter().find(|file| file.ends_with("attempts.json")).unwrap()).unwrap();
    let server = install.start().await;
    assert_eq!(browser.wait_for(PROVED, &install).await, page);
    assert_eq!((directory.accounts(), directory.orders()), (1, 5));

    // A domain that is given up is served no more.
    let chats: Value = install.client(&server).get("web-chats/").send().await.unwrap().json().await.unwrap();
    for chat in chats.as_array().unwrap() {
        let path = format!("web-chats/{}/", chat["id"].as_str().unwrap());
        let gone = install.client(&server).patch(&path, &json!({"customDomain": null})).send().await.unwrap();
        gone.error_for_status().unwrap();
    }
    let began = Instant::now();
    while browser.get(PROVED, "/").await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the certificate is still shown");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    browser.get(OWN, "/").await.unwrap();
    server.stop().await;
}

/// A certificate whose time is over, with its key.
fn old_certificate(name: &str) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2020, 4, 1);
    format!("{}{}", key.serialize_pem(), parameters.self_signed(&key).unwrap().pem())
}

#[tokio::test]
async fn a_name_that_does_not_lead_here_is_not_asked_for_again_at_once() {
    let names = NameServer::start().await;
    let Some(directory) = Directory::start(&names).await else { return };
    let install = install(&directory, &names).await;
    let server = install.start().await;
    let began = Instant::now();
    while !install.log().contains("DNS must lead the name to this server") {
        assert!(began.elapsed() < PATIENCE, "{}", install.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    server.stop().await;

    // The next start leaves it alone, and it is in nobody's way.
    let server = install.start().await;
    names.set_address(PROVED, Ipv4Addr::LOCALHOST);
    names.set_cname(PROVED, TARGET);
    web_chat(&install.client(&server), PROVED).await;
    Browser::new(&directory).await.wait_for(PROVED, &install).await;
    assert_eq!(directory.orders(), 2, "{}", install.log());
    server.stop().await;
}

#[tokio::test]
async fn a_certificate_of_the_operator_is_served_and_without_one_nothing_listens() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([OWN.to_owned()]).unwrap().self_signed(&key).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let install = Install::new().await.set("TLS__LISTEN", address.to_string());
    let server = install.start().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert!(!install.data().join("tls").exists());
    server.stop().await;

    let install = install
        .set("TLS__CERTIFICATE", file("own.pem", certificate.pem()))
        .set("TLS__KEY", file("own.key", key.serialize_pem()));
    let server = install.start().await;
    let root = reqwest::Certificate::from_pem(certificate.pem().as_bytes()).unwrap();
    let browser = Browser { http: http_trusting(&root, &[(OWN, address)]), port: address.port() };
    assert_eq!(browser.get(OWN, "/healthz").await.unwrap().0, 200);
    server.stop().await;
}
