//! Pebble, a real ACME server for tests, as the directory that certificates are obtained from.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parlance_testkit::NameServer;
use serde_json::json;
use tempfile::TempDir;

use crate::install::free_port;

/// Until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running directory, which knows names from a name server of the test and looks for the answers to
/// its challenges at one port. It is killed when it is dropped.
pub(crate) struct Directory {
    child: Child,
    folder: TempDir,
    port: u16,
    management: u16,
    /// Where the server of the test listens for HTTPS.
    pub(crate) https: SocketAddr,
}

impl Directory {
    /// Starts it. `None` when Pebble is not installed, which is a failure in CI.
    pub(crate) async fn start(names: &NameServer) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let [port, management, https] = [(); 3].map(|()| free_port());
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let settings = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": file("authority.pem", &certificate.pem()),
            "privateKey": file("authority.key", &key.serialize_pem()),
            "httpPort": 1,
            "tlsPort": https,
        }});
        let settings = file("pebble.json", &settings.to_string());
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new("pebble");
        command.args(["-config", &settings, "-dnsserver", &names.address().to_string()]);
        // Checks begin at once, and each order has one of its own.
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => {
                let is_required = std::env::vars().any(|(name, value)| name == "CI" && value == "true");
                assert!(!is_required, "pebble: {error}; scripts/test-acme.sh installs it");
                eprintln!("SKIPPED: pebble: {error}; scripts/test-acme.sh installs it");
                return None;
            }
        };
        let https = SocketAddr::from((Ipv4Addr::LOCALHOST, https));
        let directory = Self { child, folder, port, management, https };
        let began = Instant::now();
        while [port, management].iter().any(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_err()) {
            assert!(began.elapsed() < PATIENCE, "pebble does not listen:\n{}", directory.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(directory)
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// File of the authority that vouches for itself.
    pub(crate) fn authority(&self) -> String {
        self.folder.path().join("authority.pem").to_str().unwrap().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Certificates that were ordered, with whatever outcome.
    pub(crate) fn orders(&self) -> usize {
        self.log().matches("Added order ").count()
    }

    /// Accounts that were made.
    pub(crate) fn accounts(&self) -> usize {
        self.log().matches("accounts in memory").count()
    }

    /// The root of the certificates that it gives.
    pub(crate) async fn root(&self) -> reqwest::Certificate {
        let authority = std::fs::read(self.authority()).unwrap();
        let http = crate::client::http_trusting(&reqwest::Certificate::from_pem(&authority).unwrap(), &[]);
        let answer = http.get(format!("https://127.0.0.1:{}/roots/0", self.management)).send().await.unwrap();
        reqwest::Certificate::from_pem(&answer.bytes().await.unwrap()).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
