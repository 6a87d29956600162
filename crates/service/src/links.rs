//! Links that carry their own permission: signed, for one thing, until a time.
//!
//! `file` fields are absolute URLs made at each read (contract decision D6). The link names the
//! blob, the end of its time and an HMAC-SHA-256 over both; it is checked without the database and
//! never looks at cookies.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use parlance_domain::kind::OrganisationId;
use parlance_domain::{Error, Result, Tenant, Timestamp};
use parlance_storage::secrets::MasterKey;
use sha2::Sha256;
use std::time::Duration;
use url::Url;
use zeroize::Zeroizing;

/// How long a link to a file works.
const FILE_LINK_VALID_FOR: Duration = Duration::from_hours(7 * 24);

/// Makes and checks signed links and upload policies.
pub struct LinkSigner {
    file_key: Zeroizing<[u8; 32]>,
    upload_key: Zeroizing<[u8; 32]>,
    public_url: Url,
}

impl std::fmt::Debug for LinkSigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LinkSigner").field("public_url", &self.public_url.as_str()).finish_non_exhaustive()
    }
}

fn mac(key: &[u8; 32], parts: &[&str]) -> Result<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| Error::internal("signing", error))?;
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part.as_bytes());
    }
    Ok(mac)
}

impl LinkSigner {
    /// Keys for links and forms, derived from the master key.
    pub fn new(master_key: &MasterKey, public_url: Url) -> Result<Self> {
        Ok(Self {
            file_key: master_key.derive("file links")?,
            upload_key: master_key.derive("upload policies")?,
            public_url,
        })
    }

    /// An absolute URL below the public URL.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}/{}", self.public_url.as_str().trim_end_matches('/'), path.trim_start_matches('/'))
    }

    /// A link to a stored file that works for seven days and shows the file under `filename`.
    pub fn file_url(&self, tenant: Tenant, blob_key: &str, filename: &str, now: Timestamp) -> Result<String> {
        let organisation = tenant.organisation().to_string();
        // Whole hours keep the link the same for a while, so that browsers can cache what it shows.
        let expires = (now.plus(FILE_LINK_VALID_FOR).millis() / 3_600_000 + 1) * 3600;
        let expires = expires.to_string();
        let signature = mac(&self.file_key, &[&organisation, blob_key, filename, &expires])?.finalize().into_bytes();
        let mut url = Url::parse(&self.absolute(blob_key)).map_err(|error| Error::internal("making a link", error))?;
        url.query_pairs_mut()
            .append_pair("name", filename)
            .append_pair("org", &organisation)
            .append_pair("expires", &expires)
            .append_pair("signature", &URL_SAFE_NO_PAD.encode(signature));
        Ok(url.into())
    }

    /// Whether a link made by [`LinkSigner::file_url`] is genuine and still works.
    pub fn is_file_link(&self, link: &FileLink<'_>, now: Timestamp) -> bool {
        let in_time = link.expires.parse::<i64>().is_ok_and(|expires| now.millis() / 1000 < expires);
        let signature = URL_SAFE_NO_PAD.decode(link.signature);
        in_time
            && signature.is_ok_and(|signature| {
                mac(&self.file_key, &[link.organisation, link.blob_key, link.filename, link.expires])
                    .is_ok_and(|mac| mac.verify_slice(&signature).is_ok())
            })
    }

    /// The blob key that a client names in a `file` field: a storage key as given by an upload, or
    /// one of our own file links of the same organisation. `None` for anything else; nothing is
    /// ever fetched.
    pub fn blob_key_in(&self, tenant: Tenant, value: &str, now: Timestamp) -> Option<String> {
        let Ok(url) = Url::parse(value) else {
            return Some(value.to_owned());
        };
        if url.origin() != self.public_url.origin() {
            return None;
        }
        let prefix = self.public_url.path().trim_end_matches('/');
        let blob_key = url.path().strip_prefix(prefix)?.trim_start_matches('/');
        let query = |name: &str| url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        let (filename, organisation) = (query("name")?, query("org")?);
        let (expires, signature) = (query("expires")?, query("signature")?);
        let link = FileLink {
            blob_key,
            filename: &filename,
            organisation: &organisation,
            expires: &expires,
            signature: &signature,
        };
        let own = OrganisationId::parse(&organisation) == Some(tenant.organisation());
        (own && self.is_file_link(&link, now)).then(|| blob_key.to_owned())
    }

    /// The signature of an upload policy.
    pub fn sign_policy(&self, policy: &str) -> Result<String> {
        Ok(hex::encode(mac(&self.upload_key, &[policy])?.finalize().into_bytes()))
    }

    /// Whether the signature belongs to the policy.
    pub fn is_policy_signature(&self, policy: &str, signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|signature| {
            mac(&self.upload_key, &[policy]).is_ok_and(|mac| mac.verify_slice(&signature).is_ok())
        })
    }
}

/// The parts of a link to a file.
#[derive(Clone, Copy, Debug)]
pub struct FileLink<'a> {
    /// The stored bytes.
    pub blob_key: &'a str,
    /// The name to show.
    pub filename: &'a str,
    /// Whose file it is.
    pub organisation: &'a str,
    /// Seconds since the epoch.
    pub expires: &'a str,
    /// URL-safe base64.
    pub signature: &'a str,
}
