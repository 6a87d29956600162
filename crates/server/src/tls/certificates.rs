//! The certificates that HTTPS is served with, by the name that a client asks for.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use anyhow::{Context, Result, ensure};
use parlance_domain::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The protocol by which a directory looks for the answer to its challenge.
pub(crate) const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// A certificate with its key.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// As handshakes need it.
    pub(crate) key: Arc<CertifiedKey>,
    /// When another is asked for: after two thirds of its time.
    pub(crate) renew_at: Timestamp,
}

impl Certificate {
    /// Reads a key and a chain, the server's own certificate first.
    ///
    /// # Errors
    /// When something is missing or damaged, or the key is that of another certificate.
    pub(crate) fn read(chain: &[u8], key: &[u8]) -> Result<Self> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().context("reading the certificates")?;
        let renew_at = renewal(chain.first().context("there is no certificate")?)?;
        let key = PrivateKeyDer::from_pem_slice(key).context("reading the private key")?;
        let key = CertifiedKey::from_der(chain, key, provider()?).context("the key and the first certificate")?;
        Ok(Self { key: Arc::new(key), renew_at })
    }

    /// Whether clients that ask for `name` take it.
    ///
    /// # Errors
    /// When they do not.
    pub(crate) fn check_name(&self, name: &str) -> Result<()> {
        let own = self.key.end_entity_cert().context("reading the certificate")?;
        let own = ParsedCertificate::try_from(own).context("reading the certificate")?;
        let name = ServerName::try_from(name).context("the name is no host name")?;
        rustls::client::verify_server_name(&own, &name).context("the certificate is for another name")
    }
}

/// The time after two thirds of a certificate's own.
fn renewal(certificate: &CertificateDer<'_>) -> Result<Timestamp> {
    let (_rest, parsed) = X509Certificate::from_der(certificate).context("reading the first certificate")?;
    let (from, to) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let third = to.saturating_sub(from) / 3;
    Ok(Timestamp::from_millis(to.saturating_sub(third).saturating_mul(1000)))
}

/// The provider that the program has installed.
pub(super) fn provider() -> Result<&'static Arc<CryptoProvider>> {
    CryptoProvider::get_default().context("no TLS provider is installed")
}

/// Which certificate a client is shown.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    /// Answers to a directory's challenges, while it looks for them.
    challenges: HashMap<String, Arc<CertifiedKey>>,
    /// The operator's own, for every other name.
    for_others: Option<Arc<CertifiedKey>>,
    /// Which of the names is meant by clients that name none.
    unnamed: Option<String>,
}

impl Certificates {
    /// With a certificate for all names that have none of their own.
    pub(crate) fn new(for_others: Option<Arc<CertifiedKey>>, unnamed: Option<String>) -> Self {
        Self { held: RwLock::new(Held { for_others, unnamed, ..Held::default() }) }
    }

    /// Shows it from the next handshake on.
    pub(crate) fn show(&self, name: &str, key: Arc<CertifiedKey>) {
        self.write().by_name.insert(name.to_owned(), key);
    }

    /// Shows certificates only to names that `is_wanted` accepts.
    pub(crate) fn keep(&self, is_wanted: impl Fn(&str) -> bool) {
        self.write().by_name.retain(|name, _key| is_wanted(name));
    }

    /// Answers a directory's challenge while the value lives.
    pub(crate) fn answer(self: &Arc<Self>, name: &str, key: Arc<CertifiedKey>) -> Answering {
        self.write().challenges.insert(name.to_owned(), key);
        Answering { certificates: Arc::clone(self), name: name.to_owned() }
    }

    fn choose(&self, name: Option<&str>, is_challenge: bool) -> Option<Arc<CertifiedKey>> {
        let held = self.read();
        if is_challenge {
            return held.challenges.get(name?).cloned();
        }
        let own = name.or(held.unnamed.as_deref()).and_then(|name| held.by_name.get(name));
        own.or(held.for_others.as_ref()).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A directory offers this protocol alone.
        let is_challenge = hello.alpn().is_some_and(|mut offered| offered.all(|name| name == CHALLENGE_PROTOCOL));
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.choose(name.as_deref(), is_challenge)
    }
}

/// An answer to a challenge, taken back when it is dropped.
#[derive(Debug)]
pub(crate) struct Answering {
    certificates: Arc<Certificates>,
    name: String,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.certificates.write().challenges.remove(&self.name);
    }
}

/// The certificate that answers a challenge of TLS-ALPN-01: signed by itself, with the digest of the
/// key authorisation in an extension that other programs refuse.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn challenge_answer(name: &str, digest: &[u8]) -> Result<Arc<CertifiedKey>> {
    ensure!(digest.len() == 32, "the digest of a key authorisation has 32 bytes");
    let mut parameters = rcgen::CertificateParams::new([name.to_owned()])?;
    parameters.custom_extensions.push(rcgen::CustomExtension::new_acme_identifier(digest));
    let pair = rcgen::KeyPair::generate()?;
    let certificate = parameters.self_signed(&pair)?;
    let private = PrivateKeyDer::try_from(pair.serialize_der()).map_err(|error| anyhow::anyhow!("{error}"))?;
    let key = provider()?.key_provider.load_private_key(private)?;
    // Not checked against each other: the extension keeps the usual parser from reading it.
    Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str) -> Arc<CertifiedKey> {
        drop(rustls::crypto::ring::default_provider().install_default());
        challenge_answer(name, &[7; 32]).unwrap()
    }

    #[test]
    fn only_names_with_a_certificate_are_shown_one() {
        let certificates = Certificates::new(None, Some("own.example".to_owned()));
        assert!(certificates.choose(None, false).is_none());
        let (own, custom) = (answer("own.example"), answer("custom.example"));
        certificates.show("own.example", Arc::clone(&own));
        certificates.show("custom.example", Arc::clone(&custom));
        let shown = |name, key: &Arc<CertifiedKey>| {
            certificates.choose(name, false).is_some_and(|shown| Arc::ptr_eq(&shown, key))
        };
        assert!(shown(None, &own) && shown(Some("own.example"), &own) && shown(Some("custom.example"), &custom));
        assert!(certificates.choose(Some("other.example"), false).is_none());
        certificates.keep(|name| name == "own.example");
        assert!(certificates.choose(Some("custom.example"), false).is_none());
        assert!(shown(None, &own));

        let with_other = Certificates::new(Some(Arc::clone(&custom)), None);
        assert!(with_other.choose(None, false).is_some() && with_other.choose(Some("any.example"), false).is_some());
    }

    #[test]
    fn a_challenge_is_answered_while_it_lasts_and_by_its_own_protocol() {
        let certificates = Arc::new(Certificates::new(Some(answer("other.example")), None));
        let answering = certificates.answer("new.example", answer("new.example"));
        assert!(certificates.choose(Some("new.example"), true).is_some());
        assert!(
            certificates.choose(Some("other.example"), true).is_none() && certificates.choose(None, true).is_none()
        );
        drop(answering);
        assert!(certificates.choose(Some("new.example"), true).is_none());
        assert!(challenge_answer("new.example", b"short").is_err());
    }
}
