//! The guard against real sockets, and the limits against answers without end.

#![expect(clippy::unwrap_used, reason = "a test fails where its set-up does")]

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parlance_outbound::{AllowList, BlockReason, Error, Limits, Lookup, Method, Outbound, Request, parse_url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A listener on loopback that counts connections and answers all of them alike.
struct Canary {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Canary {
    async fn new(answer: impl Into<Vec<u8>>, repeat: Option<&'static [u8]>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (counter, answer) = (Arc::clone(&accepted), answer.into());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let _request_is_not_read = socket.read(&mut request).await;
                    let mut sent = socket.write_all(&answer).await;
                    while let (Ok(()), Some(more)) = (&sent, repeat) {
                        sent = socket.write_all(more).await;
                    }
                });
            }
        });
        Self { address, accepted }
    }

    async fn ok() -> Self {
        Self::new("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", None).await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Gives the answers that it was made with, one list for each question, the last one for ever.
struct FixedLookup {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl FixedLookup {
    fn new(answers: &[&[&str]]) -> Self {
        let answers = answers.iter().map(|list| list.iter().map(|text| text.parse().unwrap()).collect()).collect();
        Self { answers, asked: AtomicUsize::new(0) }
    }
}

impl Lookup for FixedLookup {
    fn lookup(&self, _name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers[asked.min(self.answers.len() - 1)].clone();
        Box::pin(std::future::ready(Ok(answer)))
    }
}

fn limits() -> Limits {
    Limits { connect_timeout: Duration::from_secs(2), max_body_bytes: 100_000, ..Limits::default() }
}

fn install_tls() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}

fn guarded(allow: &str) -> Outbound {
    install_tls();
    Outbound::new(allow.parse().unwrap(), limits()).unwrap()
}

fn operator() -> Outbound {
    install_tls();
    Outbound::operator(limits()).unwrap()
}

fn get(url: &str) -> Request {
    Request::new(Method::GET, parse_url(url).unwrap())
}

/// Forms of URLs that lead to closed addresses; `{port}` is where the listener is.
const CLOSED_URLS: &[&str] = &[
    "http://127.0.0.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://0x7f.0x0.0x0.0x1:{port}/",
    "http://0X7F.0.0.1:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0177.0.0.01:{port}/",
    "http://127.000.000.001:{port}/",
    "http://127.0.0.0x1:{port}/",
    "http://127.255.255.254:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://0x0:{port}/",
    "http://①②⑦.0.0.1:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127．0．0．1:{port}/",
    "http://１２７.0.0.1:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://127.0.0.1%2e:{port}/",
    "http://127.0.0%2e1:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}\\",
    "http://\t127.0.0.1:{port}/",
    "http://127.0.\n0.1:{port}/",
    "  http://127.0.0.1:{port}/  ",
    "HTTP://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "http://user@127.0.0.1:{port}/",
    "http://user:password@127.0.0.1:{port}/",
    "http://example.com@127.0.0.1:{port}/",
    "http://example.com:80@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@example.com/",
    "http://:@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}?@example.com/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://loc%61lhost:{port}/",
    "http://ⓛocalhost:{port}/",
    "http://ｌｏｃａｌｈｏｓｔ:{port}/",
    "http://loc\u{ad}alhost:{port}/",
    "http://sub.localhost:{port}/",
    "http://localhost.localdomain:{port}/",
    "http://ip6-localhost:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[::7f00:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:7f00:0001]:{port}/",
    "http://[::ffff:0:127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[64:ff9b:1::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[2001:0:7f00:1::]:{port}/",
    "http://[fe80::1]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[fc00::1]:{port}/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[::ffff:a9fe:a9fe]/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.169.254./",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://425.510.425.510/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://10.0.0.5/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://example.com:0/",
    "http://example.com./",
    "http://user@example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/",
    "ws://example.com/",
    "data:text/plain,x",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "http://",
];

#[tokio::test]
async fn closed_urls_are_refused_without_a_connection() {
    let canary = Canary::ok().await;
    let client = guarded("");
    for form in CLOSED_URLS {
        let text = form.replace("{port}", &canary.address.port().to_string());
        let Ok(url) = parse_url(&text) else { continue };
        let at_storing = client.check(&url).expect_err(&text);
        assert!(matches!(at_storing, Error::Blocked { .. }), "{text}: {at_storing}");
        let at_sending = client.send(Request::new(Method::GET, url)).await.expect_err(&text);
        assert_eq!(at_sending, at_storing, "{text}");
    }
    assert!(CLOSED_URLS.len() >= 70);
    assert_eq!(canary.accepted(), 0);
}

#[tokio::test]
async fn most_closed_urls_parse_so_that_the_guard_is_what_stops_them() {
    let parsed = CLOSED_URLS.iter().filter(|form| parse_url(&form.replace("{port}", "9")).is_ok()).count();
    assert!(parsed >= 70, "{parsed}");
}

#[tokio::test]
async fn public_urls_pass_the_check() {
    let client = guarded("");
    for text in [
        "https://example.com/",
        "http://example.com:8080/a?b=c",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]/",
        "https://例え.jp/",
        "https://sub.example.co.uk:8443",
        "https://notlocalhost/",
        "https://127.0.0.1.example.com/",
        // The backslash ends the host: what is called is example.com.
        "http://example.com\\@127.0.0.1/",
    ] {
        assert_eq!(client.check(&parse_url(text).unwrap()), Ok(()), "{text}");
    }
}

#[tokio::test]
async fn names_are_judged_by_what_they_resolve_to() {
    install_tls();
    let canary = Canary::ok().await;
    let url = format!("http://name.example:{}/", canary.address.port());
    for answer in [&["127.0.0.1"][..], &["::1", "10.0.0.5"], &["169.254.169.254"], &["::ffff:127.0.0.1"]] {
        let client = Outbound::with_lookup(AllowList::default(), limits(), FixedLookup::new(&[answer])).unwrap();
        let error = client.send(get(&url)).await.unwrap_err();
        assert_eq!(error, Error::Blocked { reason: BlockReason::Address }, "{answer:?}");
    }
    assert_eq!(canary.accepted(), 0);
}

#[tokio::test]
async fn rebinding_never_reaches_the_second_address() {
    install_tls();
    let canary = Canary::ok().await;
    let lookup = FixedLookup::new(&[&["127.0.0.1"], &["::1", "127.0.0.1"]]);
    let client = Outbound::with_lookup(AllowList::default(), limits(), lookup).unwrap();
    for _ in 0..1_000 {
        let url = format!("http://rebind.example:{}/", canary.address.port());
        assert!(matches!(client.send(get(&url)).await.unwrap_err(), Error::Blocked { .. }));
    }
    assert_eq!(canary.accepted(), 0);
}

#[tokio::test]
async fn names_of_the_system_are_judged_too() {
    // `localhost` is refused by name; the lookup under another name shows the resolver's part.
    struct AlwaysLocalhost;
    impl Lookup for AlwaysLocalhost {
        fn lookup(&self, _name: String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> {
            parlance_outbound::SystemLookup.lookup("localhost".to_owned())
        }
    }
    install_tls();
    let canary = Canary::ok().await;
    let client = Outbound::with_lookup(AllowList::default(), limits(), AlwaysLocalhost).unwrap();
    let error = client.send(get(&format!("http://a.example:{}/", canary.address.port()))).await.unwrap_err();
    assert_eq!(error, Error::Blocked { reason: BlockReason::Address });
    assert_eq!(canary.accepted(), 0);
}

#[tokio::test]
async fn the_allow_list_opens_exactly_what_it_names() {
    let (open, closed) = (Canary::ok().await, Canary::ok().await);
    let port = open.address.port();
    for allow in [format!("127.0.0.1:{port}"), format!("127.0.0.0/8:{port}"), format!("localhost:{port}")] {
        let host = allow.split([':', '/']).next().unwrap().replace("127.0.0.0", "127.0.0.1");
        let client = guarded(&allow);
        let body = client.send(get(&format!("http://{host}:{port}/"))).await.unwrap().bytes().await.unwrap();
        assert_eq!(&body[..], b"ok", "{allow}");
        let other = client.send(get(&format!("http://{host}:{}/", closed.address.port()))).await;
        assert!(matches!(other, Err(Error::Blocked { .. })), "{allow}");
    }
    assert_eq!((open.accepted(), closed.accepted()), (3, 0));
}

#[tokio::test]
async fn a_block_opens_names_that_resolve_into_it() {
    install_tls();
    let canary = Canary::ok().await;
    let port = canary.address.port();
    for (allow, is_open) in
        [("127.0.0.0/8".to_owned(), true), (format!("127.0.0.0/8:{port}"), true), ("127.0.0.0/8:1".to_owned(), false)]
    {
        let lookup = FixedLookup::new(&[&["127.0.0.1"]]);
        let client = Outbound::with_lookup(allow.parse().unwrap(), limits(), lookup).unwrap();
        assert_eq!(client.send(get(&format!("http://inner.example:{port}/"))).await.is_ok(), is_open, "{allow}");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let target = Canary::ok().await;
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let answer = format!("HTTP/1.1 {status}\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", target.address);
        let source = Canary::new(answer, None).await;
        let url = format!("http://{}/", source.address);
        for client in [operator(), guarded(&source.address.to_string())] {
            assert!(client.send(get(&url)).await.unwrap().status().is_redirection());
        }
    }
    assert_eq!(target.accepted(), 0);
}

#[tokio::test]
async fn a_body_without_end_stops_at_the_limit() {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let endless = Canary::new(head, Some(&[b'x'; 8192])).await;
    let error = operator().send(get(&format!("http://{}/", endless.address))).await.unwrap().bytes().await.unwrap_err();
    assert_eq!(error, Error::TooLarge { limit: 100_000 });
}

#[tokio::test]
async fn compressed_bodies_count_as_decompressed() {
    let bomb = zeros_in_gzip(10_000_000);
    assert!(bomb.len() < 70_000);
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", bomb.len()).into_bytes();
    answer.extend(bomb);
    let server = Canary::new(answer, None).await;
    let error = operator().send(get(&format!("http://{}/", server.address))).await.unwrap().bytes().await.unwrap_err();
    assert_eq!(error, Error::TooLarge { limit: 100_000 });
}

/// A gzip file of zero bytes in one block with fixed codes (RFC 1951, 3.2.6): a literal 0, then
/// matches of length 258 at distance 1. The check sum is left out: no reader gets that far.
fn zeros_in_gzip(length: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code = |value: u32, width: u32| bits.extend((0..width).rev().map(|bit| value >> bit & 1 == 1));
    code(0b0011_0000, 8);
    for _ in 0..length / 258 {
        code(0b1100_0101, 8);
        code(0, 5);
    }
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    file.extend(bits.chunks(8).map(|chunk| chunk.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))));
    file
}

#[tokio::test]
async fn too_many_header_fields_are_refused() {
    let fields = "x-filler: y\r\n".repeat(10_000);
    let many = Canary::new(format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), None).await;
    let long = Canary::new(format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "y".repeat(1024 * 1024)), None).await;
    for canary in [many, long] {
        assert!(operator().send(get(&format!("http://{}/", canary.address))).await.is_err());
    }
}

#[tokio::test]
async fn silence_ends_in_a_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let short = Duration::from_millis(200);
    let limits = Limits { headers_timeout: short, ..limits() };
    assert_eq!(operator().send_within(get(&url), limits).await.unwrap_err(), Error::Timeout(short));
}

#[tokio::test]
async fn a_drip_ends_with_the_total_time() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = server.accept().await.unwrap();
        let _request_is_not_read = socket.read(&mut [0; 4096]).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await.unwrap();
        while socket.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let limits = Limits { total_timeout: Duration::from_millis(300), ..limits() };
    let response = operator().send_within(get(&url), limits).await.unwrap();
    assert!(matches!(response.bytes().await.unwrap_err(), Error::Timeout(_)));
}

#[tokio::test]
async fn credentials_are_refused_for_operators_too() {
    let error = operator().check(&parse_url("http://user:secret@example.com/").unwrap()).unwrap_err();
    assert_eq!(error, Error::Blocked { reason: BlockReason::Credentials });
    assert!(!error.to_string().contains("secret"));
}

#[test]
fn authorities_that_cannot_be_read_are_refused() {
    install_tls();
    for text in ["", "nothing", "-----BEGIN CERTIFICATE-----\nMTIz\n-----END CERTIFICATE-----\n"] {
        let refused = Outbound::operator_trusting(limits(), text.as_bytes());
        assert!(matches!(refused, Err(Error::Setup(_))), "{text:?}");
    }
}

#[tokio::test]
async fn refused_and_cut_connections_have_their_errors() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = operator().send(get(&format!("http://{closed}/"))).await.unwrap_err();
    assert_eq!(error, Error::Connect);
    assert!(!error.to_string().contains("127.0.0.1"));
    let cut = Canary::new("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", None).await;
    let response = operator().send(get(&format!("http://{}/", cut.address))).await.unwrap();
    assert_eq!(response.bytes().await.unwrap_err(), Error::Broken);
}
