//! Asking a directory for certificates, by ACME (RFC 8555) with TLS-ALPN-01 (RFC 8737).

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error, HttpClient, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use parlance_outbound::{Limits, Outbound};
use url::Url;

use super::certificates::{Answering, Certificates, challenge_answer};
use super::store::{Store, StoredAccount};

/// Time for a directory's check, and again for the certificate after it.
const PATIENCE: Duration = Duration::from_mins(1);
/// Time for an order in all.
const ORDER_TIME: Duration = Duration::from_mins(3);
/// Bytes of an answer of a directory.
const MAX_ANSWER: u64 = 256 * 1024;

/// Why there is no certificate.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The directory cannot be used: other names fare no better. Nothing was ordered.
    Directory(anyhow::Error),
    /// The directory limits what it is asked for.
    Limited(anyhow::Error),
    /// The name did not get one.
    Name(anyhow::Error),
}

/// The directory of the settings.
pub(crate) struct Directory {
    url: Url,
    /// An address as `mailto:...`, or empty.
    contact: String,
    http: Outbound,
    store: Store,
    account: Option<Account>,
}

impl Directory {
    /// The directory at an address. `authorities`, as PEM, are who vouches for it, if not those that the
    /// system trusts. Asks nothing yet.
    ///
    /// # Errors
    /// When the authorities cannot be read.
    pub(crate) fn new(url: Url, contact: String, authorities: Option<&[u8]>, store: Store) -> Result<Self> {
        let limits = Limits { max_body_bytes: MAX_ANSWER, ..Limits::default() };
        let http = match authorities {
            Some(authorities) => Outbound::operator_trusting(limits, authorities)?,
            None => Outbound::operator(limits)?,
        };
        Ok(Self { url, contact, http, store, account: None })
    }

    /// Orders a certificate for a name. Gives its private key and the certificates, as PEM.
    pub(crate) async fn obtain(&mut self, name: &str, certificates: &Arc<Certificates>) -> Result<String, Failure> {
        let account = self.account().await.map_err(Failure::Directory)?;
        let ordered = tokio::time::timeout(ORDER_TIME, order(&account, name, certificates)).await;
        let error = match ordered {
            Ok(Ok(text)) => return Ok(text),
            Ok(Err(error)) => error,
            Err(_elapsed) => return Err(Failure::Name(anyhow!("the directory took longer than {ORDER_TIME:?}"))),
        };
        // The next order begins with a look at the directory.
        self.account = None;
        match problem_type(&error).as_deref() {
            Some("rateLimited") => Err(Failure::Limited(error)),
            Some("accountDoesNotExist") => {
                let forgotten = self.forget_account().await;
                Err(Failure::Directory(forgotten.err().unwrap_or(error)))
            }
            _ => Err(Failure::Name(error)),
        }
    }

    /// The account, made when there is none.
    async fn account(&mut self) -> Result<Account> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let store = self.store.clone();
        let stored = tokio::task::spawn_blocking(move || store.account()).await??;
        let builder = Account::builder_with_http(Box::new(Http(self.http.clone())));
        let account = if let Some(StoredAccount { contact, credentials }) = stored {
            let account = builder.from_credentials(credentials).await.context("asking the directory")?;
            if contact != self.contact {
                account.update_contacts(&self.contacts()).await.context("changing the account's contact")?;
                // What is stored is that the directory was told.
                let stored = self.stored_account().await?.context("the account is gone")?;
                self.save(StoredAccount { contact: self.contact.clone(), ..stored }).await?;
            }
            account
        } else {
            let wanted =
                NewAccount { contact: &self.contacts(), terms_of_service_agreed: true, only_return_existing: false };
            let (account, credentials) =
                builder.create(&wanted, self.url.to_string(), None).await.context("making an account")?;
            self.save(StoredAccount { contact: self.contact.clone(), credentials }).await?;
            tracing::info!(directory = %self.url, "an account for certificates was made");
            account
        };
        Ok(self.account.insert(account).clone())
    }

    fn contacts(&self) -> Vec<&str> {
        [self.contact.as_str()].into_iter().filter(|contact| !contact.is_empty()).collect()
    }

    async fn stored_account(&self) -> Result<Option<StoredAccount>> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.account()).await?
    }

    async fn save(&self, account: StoredAccount) -> Result<()> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.save_account(&account)).await?
    }

    async fn forget_account(&self) -> Result<()> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.forget_account()).await?
    }
}

/// The last part of the type of a directory's problem.
fn problem_type(error: &anyhow::Error) -> Option<String> {
    match error.downcast_ref::<Error>()? {
        Error::Api(problem) => problem.r#type.as_deref()?.rsplit(':').next().map(str::to_owned),
        _ => None,
    }
}

async fn order(account: &Account, name: &str, certificates: &Arc<Certificates>) -> Result<String> {
    let identifiers = [Identifier::Dns(name.to_owned())];
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    let _answering = answer_challenge(&mut order, name, certificates).await?;
    let retries = RetryPolicy::default().timeout(PATIENCE);
    if order.poll_ready(&retries).await? != OrderStatus::Ready {
        bail!("the directory's check failed: {}", reason(&mut order).await);
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&retries).await?;
    Ok(format!("{key}{chain}"))
}

/// Lets the directory check that the name leads here, if it has not done so already.
async fn answer_challenge(
    order: &mut Order,
    name: &str,
    certificates: &Arc<Certificates>,
) -> Result<Option<Answering>> {
    let mut authorizations = order.authorizations();
    let mut authorization = authorizations.next().await.context("the directory asks for no proof")??;
    match authorization.status {
        AuthorizationStatus::Pending => {}
        AuthorizationStatus::Valid => return Ok(None),
        status => bail!("the directory says of its check: {status:?}"),
    }
    let mut challenge = authorization
        .challenge(ChallengeType::TlsAlpn01)
        .context("the directory does not check by TLS-ALPN-01, the only way that is supported")?;
    let answer = challenge_answer(name, challenge.key_authorization().digest().as_ref())?;
    let answering = certificates.answer(name, answer);
    challenge.set_ready().await?;
    Ok(Some(answering))
}

/// What the directory says of a check that failed.
async fn reason(order: &mut Order) -> String {
    let mut authorizations = order.authorizations();
    let Some(Ok(mut authorization)) = authorizations.next().await else { return "it says no more".to_owned() };
    let found = authorization.refresh().await.ok().and_then(|state| {
        let failed = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        failed.map(ToString::to_string)
    });
    found.unwrap_or_else(|| "it says no more".to_owned())
}

/// The operator's HTTP client in the form of the ACME library.
struct Http(Outbound);

impl HttpClient for Http {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let outbound = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(other)?.to_bytes();
            let request = http::Request::from_parts(head, body);
            let request = parlance_outbound::Request::try_from(request).map_err(other)?;
            let response = outbound.send(request).await.map_err(other)?;
            let mut answer = http::Response::new(());
            *answer.status_mut() = response.status();
            answer.headers_mut().clone_from(response.headers());
            let body = response.bytes().await.map_err(other)?;
            Ok(BytesResponse::from(answer.map(|()| Full::new(body))))
        })
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}
