//! HTTPS, experimental and off by default: with a certificate that the operator has, or with ones that
//! are obtained by ACME for the server's own name and for verified custom domains.

mod acme;
mod certificates;
mod keeper;
mod schedule;
mod store;
mod stream;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use parlance_service::App;
use rustls::ServerConfig;
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;
use url::{Host, Url};

use self::acme::Directory;
use self::certificates::{CHALLENGE_PROTOCOL, Certificate, Certificates};
use self::keeper::{Keeper, Names};
use self::store::Store;
use self::stream::Handshakes;
use crate::config::{Config, Tls};

/// A listener for HTTPS, and what keeps its certificates.
pub(crate) struct Https {
    pub(crate) listener: TcpListener,
    pub(crate) handshakes: Handshakes,
    keeper: Option<Keeper>,
}

/// Listens for HTTPS, if the settings want it.
///
/// # Errors
/// When the address is taken or a file of the settings cannot be used.
pub(crate) async fn listen(config: &Config, data: &Path, public_url: &Url) -> Result<Option<Https>> {
    let settings = &config.tls;
    let files = own_certificate(settings)?;
    if !settings.acme && files.is_none() {
        return Ok(None);
    }
    let listener = TcpListener::bind(&settings.listen)
        .await
        .with_context(|| format!("listening on {}; set TLS__LISTEN to a free address", settings.listen))?;
    // A name with a certificate from a file needs no other.
    let own = host_name(public_url).filter(|_| files.is_none());
    let shown = Arc::new(Certificates::new(files, own.clone()));
    let keeper = if settings.acme { Some(keeper(settings, data, own, Arc::clone(&shown))?) } else { None };
    let mut server = ServerConfig::builder().with_no_client_auth().with_cert_resolver(shown);
    server.alpn_protocols = vec![b"http/1.1".to_vec(), CHALLENGE_PROTOCOL.to_vec()];
    Ok(Some(Https { listener, handshakes: Handshakes::new(server), keeper }))
}

impl Https {
    /// Begins to look after the certificates.
    pub(crate) fn start(&mut self, app: &App) {
        if let Some(keeper) = self.keeper.take() {
            let keeping = app.clone();
            app.tasks.spawn(async move { keeper.run(&keeping).await });
        }
    }
}

fn own_certificate(settings: &Tls) -> Result<Option<Arc<CertifiedKey>>> {
    if settings.certificate.as_os_str().is_empty() {
        return Ok(None);
    }
    let read = |setting: &str, path: &Path| {
        std::fs::read(path).with_context(|| format!("TLS__{setting}: reading {}", path.display()))
    };
    let (chain, key) = (read("CERTIFICATE", &settings.certificate)?, read("KEY", &settings.key)?);
    let certificate = Certificate::read(&chain, &key).context("TLS__CERTIFICATE and TLS__KEY")?;
    Ok(Some(certificate.key))
}

fn keeper(settings: &Tls, data: &Path, own: Option<String>, shown: Arc<Certificates>) -> Result<Keeper> {
    let url = Url::parse(&settings.directory_url).context("TLS__DIRECTORY_URL")?;
    ensure!(url.scheme() == "https" && url.has_host(), "TLS__DIRECTORY_URL must be an https URL");
    let authorities = if settings.directory_ca.as_os_str().is_empty() {
        None
    } else {
        let path = settings.directory_ca.display();
        Some(std::fs::read(&settings.directory_ca).with_context(|| format!("TLS__DIRECTORY_CA: reading {path}"))?)
    };
    let contact = match settings.contact.trim() {
        "" => String::new(),
        contact if contact.contains(':') => contact.to_owned(),
        address => format!("mailto:{address}"),
    };
    let store = Store::open(data, &url)?;
    let directory = Directory::new(url, contact, authorities.as_deref(), store.clone()).context("TLS__DIRECTORY_CA")?;
    let names = Names { own, per_organisation: settings.domains_per_organisation, limit: settings.domains };
    Ok(Keeper::new(names, directory, store, shown))
}

/// The host of the server's address, if a directory can know it.
fn host_name(url: &Url) -> Option<String> {
    match url.host()? {
        Host::Domain(name) if name != "localhost" => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    }
}
