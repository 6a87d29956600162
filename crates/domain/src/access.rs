//! Who is asking, for which organisation, and what they may do.

use crate::error::{Error, Result};
use crate::kind::{ApiKeyId, ContactId, InboxId, OrganisationId, UserId, WebChatId};

/// Proof that a caller acts for one organisation. Storage functions of tenant data take it, so
/// there is no way to ask for a thing without saying whose it is.
///
/// Only the authenticator, the job runner (from the row of a claimed job) and first start make
/// one; an architecture test holds the list of files that call [`Tenant::authenticated`].
///
/// It also says how far the caller reaches within the organisation: to everything, or only to the
/// chatbots of their groups with what belongs to these. Storage functions that look something up for
/// a caller read that from here, so that no handler can forget it. Two that differ in it are not
/// equal; [`Tenant::is_same_organisation`] compares the organisations alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tenant {
    organisation: OrganisationId,
    reach: Option<Reach>,
}

/// The limit of somebody who reaches only the chatbots of their groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reach {
    /// Whose groups they are.
    pub user: UserId,
    /// Tells whether the chatbots are still the same: a hash of their ids.
    pub chatbots: u64,
}

impl Tenant {
    /// States that the caller has proved to act for `organisation`, and reaches all of it.
    pub const fn authenticated(organisation: OrganisationId) -> Self {
        Self { organisation, reach: None }
    }

    /// The same, limited to `reach`; `None` changes nothing.
    #[must_use]
    pub const fn within(self, reach: Option<Reach>) -> Self {
        match reach {
            Some(_) => Self { organisation: self.organisation, reach },
            None => self,
        }
    }

    /// The organisation acted for.
    pub const fn organisation(self) -> OrganisationId {
        self.organisation
    }

    /// How far the caller reaches; `None` for everything of the organisation.
    pub const fn reach(self) -> Option<Reach> {
        self.reach
    }

    /// The user whose groups limit the caller, if any do.
    pub fn limited_to(self) -> Option<UserId> {
        self.reach.map(|reach| reach.user)
    }

    /// Whether both are of one organisation, however far they reach.
    pub fn is_same_organisation(self, other: Self) -> bool {
        self.organisation == other.organisation
    }
}

macro_rules! permissions {
    ($($variant:ident, $name:literal, $bit:literal;)*) => {
        /// One thing that may be allowed. A scope of an API key has the same name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Permission {
            $(#[doc = $name] $variant,)*
        }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in API keys and messages, for example `chatbots:write`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn bit(self) -> u32 {
                match self { $(Self::$variant => 1 << $bit,)* }
            }
        }
    };
}

permissions! {
    ReadChatbots, "chatbots:read", 0;
    WriteChatbots, "chatbots:write", 1;
    ReadKnowledge, "knowledge:read", 2;
    WriteKnowledge, "knowledge:write", 3;
    ReadConversations, "conversations:read", 4;
    WriteConversations, "conversations:write", 5;
    Complete, "completions:create", 6;
    ReadModels, "models:read", 7;
    WriteModels, "models:write", 8;
    ReadOrganisation, "organisation:read", 9;
    WriteOrganisation, "organisation:write", 10;
    ReadChannels, "channels:read", 11;
    WriteChannels, "channels:write", 12;
    ReadContacts, "contacts:read", 13;
    WriteContacts, "contacts:write", 14;
    ReadTools, "tools:read", 15;
    WriteTools, "tools:write", 16;
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u32);

impl Scopes {
    /// Nothing is allowed.
    pub const NONE: Self = Self(0);

    /// Everything is allowed.
    pub fn all() -> Self {
        Permission::ALL.iter().copied().collect()
    }

    /// Whether `permission` is in the set.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    /// Refuses what needs `permission`, unless it is in the set.
    ///
    /// # Errors
    /// `Forbidden`, which names the permission.
    pub fn require(self, permission: Permission) -> Result<()> {
        if self.contains(permission) { Ok(()) } else { Err(Error::Forbidden(permission.name())) }
    }

    /// Reads names joined by spaces, as stored. `*` is everything; an unknown name allows nothing.
    pub fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::all();
        }
        text.split_whitespace()
            .filter_map(|name| Permission::ALL.iter().copied().find(|permission| permission.name() == name))
            .collect()
    }
}

impl std::ops::BitAnd for Scopes {
    type Output = Self;

    /// What both allow.
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl std::ops::BitOr for Scopes {
    type Output = Self;

    /// What either allows.
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::fmt::Display for Scopes {
    /// Names joined by spaces, as stored. Everything is spelled out, so that it does not grow.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let allowed = Permission::ALL.iter().filter(|permission| self.contains(**permission));
        let names: Vec<_> = allowed.map(|permission| permission.name()).collect();
        formatter.write_str(&names.join(" "))
    }
}

/// What somebody is in their organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// May do everything, also decide about owners. There is always one.
    Owner,
    /// May do everything, but not decide about owners.
    Admin,
    /// Works with assistants, knowledge and conversations.
    Member,
    /// Sees, and changes nothing.
    Viewer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Owner, Self::Admin, Self::Member, Self::Viewer];

    /// Name as stored and shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// The role with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether groups limit which chatbots somebody with this role reaches.
    pub const fn is_limited_by_groups(self) -> bool {
        match self {
            Self::Owner | Self::Admin => false,
            Self::Member | Self::Viewer => true,
        }
    }

    /// What it allows by itself. Groups may add to it.
    pub fn scopes(self) -> Scopes {
        match self {
            Self::Owner | Self::Admin => Scopes::all(),
            Self::Member => Permission::ALL
                .iter()
                .copied()
                .filter(|permission| !matches!(permission, Permission::WriteOrganisation | Permission::WriteModels))
                .collect(),
            Self::Viewer => {
                Permission::ALL.iter().copied().filter(|permission| permission.name().ends_with(":read")).collect()
            }
        }
    }
}

impl FromIterator<Permission> for Scopes {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        Self(permissions.into_iter().fold(0, |bits, permission| bits | permission.bit()))
    }
}

/// How the caller proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalKind {
    /// `Authorization: Api-Key ...` of a program.
    ApiKey(ApiKeyId),
    /// `Authorization: Visitor ...` of a chat page.
    Visitor(Visitor),
}

/// Somebody on a chat page. They reach their own contact, conversations, messages, attachments and
/// streams in this inbox, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The page.
    pub web_chat: WebChatId,
    /// Where its conversations arrive.
    pub inbox: InboxId,
    /// Who they are.
    pub contact: ContactId,
}

/// An authenticated caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The organisation acted for.
    pub tenant: Tenant,
    /// The user behind the credential; nobody for a visitor.
    pub user: Option<UserId>,
    /// The credential.
    pub kind: PrincipalKind,
    /// What is allowed. A visitor has none of these: what they may do follows from who they are.
    pub scopes: Scopes,
}

impl Principal {
    /// The visitor, when the caller is one.
    pub const fn visitor(&self) -> Option<Visitor> {
        match self.kind {
            PrincipalKind::Visitor(visitor) => Some(visitor),
            PrincipalKind::ApiKey(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_scopes_allow_nothing() {
        assert_eq!(Scopes::parse("everything chatbots:wrote"), Scopes::NONE);
    }

    #[test]
    fn roles_allow_less_and_less() {
        for pair in Role::ALL.windows(2) {
            assert_eq!(pair[0].scopes() & pair[1].scopes(), pair[1].scopes(), "{pair:?}");
        }
        assert!(!Role::Member.scopes().contains(Permission::WriteOrganisation));
        assert!(Role::Member.scopes().contains(Permission::Complete));
        assert!(!Role::Viewer.scopes().contains(Permission::Complete));
        assert_eq!(Role::parse("owner"), Some(Role::Owner));
        assert_eq!(Role::parse("Owner"), None);
        assert_eq!(Scopes::parse(&Scopes::all().to_string()), Scopes::all());
        let both = Scopes::parse("chatbots:read") | Scopes::parse("models:write");
        assert_eq!(both.to_string(), "chatbots:read models:write");
    }

    #[test]
    fn scopes_allow_what_they_name_only() {
        let scopes = Scopes::parse("chatbots:read knowledge:write");
        assert!(scopes.contains(Permission::ReadChatbots));
        assert!(scopes.contains(Permission::WriteKnowledge));
        assert!(!scopes.contains(Permission::WriteChatbots));
        assert!(scopes.require(Permission::ReadChatbots).is_ok());
        assert!(matches!(scopes.require(Permission::WriteChatbots), Err(Error::Forbidden("chatbots:write"))));
        assert!(Permission::ALL.iter().all(|permission| Scopes::parse("*").contains(*permission)));
    }
}
