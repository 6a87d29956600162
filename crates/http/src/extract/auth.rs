//! The caller, with a permission as a type: a handler that takes `Authorized<WriteChatbots>` cannot
//! be reached without that permission, and one that takes none has nobody to act for.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;
use parlance_domain::{Error, Permission, Principal, PrincipalKind, Scopes, Tenant, Visitor};
use parlance_service::App;

use crate::error::ApiError;
use crate::extract::ClientAddress;
use crate::writes;

/// Names the permissions that an operation needs: one of [`grants`], or several in a tuple.
pub(crate) trait Grant: Send + Sync {
    /// Refuses who has not all of them.
    fn check(scopes: Scopes) -> Result<(), Error>;
}

impl<A: Grant, B: Grant> Grant for (A, B) {
    fn check(scopes: Scopes) -> Result<(), Error> {
        A::check(scopes)?;
        B::check(scopes)
    }
}

impl<A: Grant, B: Grant, C: Grant> Grant for (A, B, C) {
    fn check(scopes: Scopes) -> Result<(), Error> {
        A::check(scopes)?;
        B::check(scopes)?;
        C::check(scopes)
    }
}

/// One type per permission, with the permission's name.
pub(crate) mod grants {
    use super::{Error, Grant, Permission, Scopes};

    macro_rules! grants {
        ($($name:ident)*) => {$(
            #[doc = concat!("Grants ", stringify!($name), ".")]
            pub(crate) struct $name;
            impl Grant for $name {
                fn check(scopes: Scopes) -> Result<(), Error> {
                    scopes.require(Permission::$name)
                }
            }
        )*};
    }

    grants! {
        ReadChatbots WriteChatbots ReadKnowledge WriteKnowledge ReadConversations WriteConversations
        Complete ReadModels WriteModels ReadOrganisation WriteOrganisation ReadChannels WriteChannels ReadContacts
        WriteContacts ReadTools WriteTools
    }
}

/// A caller who has the permissions `G`.
pub(crate) struct Authorized<G> {
    /// The caller.
    pub(crate) principal: Principal,
    grant: PhantomData<fn() -> G>,
}

impl<G> Authorized<G> {
    /// The organisation that the caller acts for.
    pub(crate) fn tenant(&self) -> Tenant {
        self.principal.tenant
    }
}

async fn authenticate(parts: &Parts, app: &App) -> Result<Principal, ApiError> {
    let header = parts.headers.get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    let principal = parlance_service::authenticate::authenticate(app, header).await;
    if let Err(Error::Unauthenticated(_)) = principal {
        parlance_service::authenticate::note_refusal(app, ClientAddress::of(parts, app).0)?;
    }
    let principal = principal?;
    parlance_service::authenticate::admit(app, &principal)?;
    Ok(principal)
}

impl<G: Grant> FromRequestParts<App> for Authorized<G> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = authenticate(parts, app).await?;
        // A visitor has no permissions, so none gets in here.
        G::check(principal.scopes)?;
        writes::enter(parts, app, &principal).await?;
        Ok(Self { principal, grant: PhantomData })
    }
}

/// A program that has the permission `G`, or any visitor. What a visitor may reach is for the
/// service to limit: their own contact, conversations, messages, attachments and streams.
pub(crate) struct Caller<G> {
    /// The caller.
    pub(crate) principal: Principal,
    grant: PhantomData<fn() -> G>,
}

impl<G> Caller<G> {
    /// The organisation that the caller acts for.
    pub(crate) fn tenant(&self) -> Tenant {
        self.principal.tenant
    }

    /// The visitor, when the caller is one.
    pub(crate) fn visitor(&self) -> Option<Visitor> {
        self.principal.visitor()
    }
}

impl<G: Grant> FromRequestParts<App> for Caller<G> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let principal = authenticate(parts, app).await?;
        match principal.kind {
            PrincipalKind::Visitor(_) => {}
            PrincipalKind::ApiKey(_) => G::check(principal.scopes)?,
        }
        writes::enter(parts, app, &principal).await?;
        Ok(Self { principal, grant: PhantomData })
    }
}

/// Somebody without a credential, a program that has the permission `G`, or a visitor: for the few
/// operations that a chat page needs before it has a visitor. A credential that is given has to be good.
pub(crate) struct Anyone<G> {
    /// The caller, unless they gave no credential.
    pub(crate) principal: Option<Principal>,
    grant: PhantomData<fn() -> G>,
}

impl<G: Grant> FromRequestParts<App> for Anyone<G> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        if !parts.headers.contains_key(header::AUTHORIZATION) {
            return Ok(Self { principal: None, grant: PhantomData });
        }
        let caller = Caller::<G>::from_request_parts(parts, app).await?;
        Ok(Self { principal: Some(caller.principal), grant: PhantomData })
    }
}
