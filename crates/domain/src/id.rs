//! Typed identifiers. A `ChatbotId` cannot be passed where a `FileId` is expected.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Database, Decode, Encode, Type};
use uuid::{ContextV7, Uuid};

use crate::Timestamp;

/// Marks what an [`Id`] identifies and gives the noun used in messages.
pub trait IdKind: 'static {
    /// Singular noun in lower case, for example `knowledge base`.
    const NOUN: &'static str;
}

/// A UUIDv7 that identifies one thing of kind `K`. Stored as 36 characters of text on both engines.
pub struct Id<K: IdKind> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

impl<K: IdKind> Id<K> {
    /// Wraps a UUID that came from the database or a request.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self { uuid, kind: PhantomData }
    }

    /// The bare UUID.
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }

    /// Reads an id as people and clients write it (with or without hyphens, any case).
    /// `None` for anything else, so that a malformed id reads as "no such thing".
    pub fn parse(text: &str) -> Option<Self> {
        Uuid::try_parse(text.trim()).ok().map(Self::from_uuid)
    }
}

impl<K: IdKind> Copy for Id<K> {}
impl<K: IdKind> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K: IdKind> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K: IdKind> Eq for Id<K> {}
impl<K: IdKind> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K: IdKind> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K: IdKind> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}
impl<K: IdKind> fmt::Display for Id<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.fmt(formatter)
    }
}
impl<K: IdKind> fmt::Debug for Id<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", K::NOUN, self.uuid)
    }
}
impl<K: IdKind> FromStr for Id<K> {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::from_str(text).map(Self::from_uuid)
    }
}
impl<K: IdKind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.uuid.serialize(serializer)
    }
}
impl<'de, K: IdKind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::from_uuid)
    }
}

impl<K: IdKind, Db: Database> Type<Db> for Id<K>
where
    String: Type<Db>,
{
    fn type_info() -> Db::TypeInfo {
        <String as Type<Db>>::type_info()
    }

    fn compatible(info: &Db::TypeInfo) -> bool {
        <String as Type<Db>>::compatible(info)
    }
}
impl<'q, K: IdKind, Db: Database> Encode<'q, Db> for Id<K>
where
    String: Encode<'q, Db>,
{
    fn encode_by_ref(&self, buffer: &mut Db::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.uuid.to_string().encode(buffer)
    }
}
impl<'r, K: IdKind, Db: Database> Decode<'r, Db> for Id<K>
where
    &'r str: Decode<'r, Db>,
{
    fn decode(value: Db::ValueRef<'r>) -> Result<Self, BoxDynError> {
        let text = <&str as Decode<Db>>::decode(value)?;
        Ok(Self::from_uuid(Uuid::try_parse(text)?))
    }
}

/// Makes new identifiers: UUIDv7 from the clock's time, a counter and the operating system's
/// randomness. Ids of one process sort by creation, also within a millisecond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ids;

/// The counter has to be one for the process: changes of the index are replayed in the order of
/// their ids. With it, the latest millisecond that an id was made in: a clock that is set back does
/// not set the ids back.
static COUNTER: Mutex<(u64, ContextV7)> = Mutex::new((0, ContextV7::new()));

impl Ids {
    /// A new id for something created at `now`.
    pub fn next<K: IdKind>(self, now: Timestamp) -> Id<K> {
        let mut counter = COUNTER.lock().unwrap_or_else(PoisonError::into_inner);
        let millis = u64::try_from(now.millis()).unwrap_or_default().max(counter.0);
        counter.0 = millis;
        let seconds = millis / 1000;
        let nanos = u32::try_from(millis % 1000).unwrap_or_default() * 1_000_000;
        let stamp = uuid::Timestamp::from_unix(&counter.1, seconds, nanos);
        Id::from_uuid(Uuid::new_v7(stamp))
    }
}

/// The kinds of things that have an id, and an alias of [`Id`] for each.
pub mod kind {
    use super::{Id, IdKind};

    macro_rules! kinds {
        ($($kind:ident, $alias:ident, $noun:literal;)*) => {$(
            #[doc = concat!("Kind of a ", $noun, ".")]
            #[derive(Debug)]
            pub enum $kind {}
            impl IdKind for $kind {
                const NOUN: &'static str = $noun;
            }
            #[doc = concat!("Id of a ", $noun, ".")]
            pub type $alias = Id<$kind>;
        )*};
    }

    kinds! {
        Organisation, OrganisationId, "organisation";
        User, UserId, "user";
        ApiKey, ApiKeyId, "API key";
        Provider, ProviderId, "model provider";
        Model, ModelId, "model";
        Chatbot, ChatbotId, "chatbot";
        KnowledgeBase, KnowledgeBaseId, "knowledge base";
        File, FileId, "file";
        Passage, PassageId, "passage";
        WebChat, WebChatId, "web chat";
        Inbox, InboxId, "inbox";
        Contact, ContactId, "contact";
        Conversation, ConversationId, "conversation";
        Message, MessageId, "message";
        Attachment, AttachmentId, "attachment";
        Record, RecordId, "record";
        Upload, UploadId, "upload";
        Job, JobId, "job";
        Parser, ParserId, "parser";
        Tool, ToolId, "tool";
        ContactCredential, ContactCredentialId, "contact credential";
        Label, LabelId, "label";
        Faq, FaqId, "FAQ";
        Group, GroupId, "group";
        GroupMember, GroupMemberId, "group member";
        GroupChatbot, GroupChatbotId, "group chatbot";
        AuditEntry, AuditEntryId, "audit entry";
        WebhookDelivery, WebhookDeliveryId, "webhook delivery";
        WebhookAttempt, WebhookAttemptId, "webhook attempt";
        VisitorSession, VisitorSessionId, "visitor session";
        CustomDomain, CustomDomainId, "custom domain";
        Feedback, FeedbackId, "feedback";
        SignAuth, SignAuthId, "sign-in";
        AutoReplySchedule, AutoReplyScheduleId, "auto-reply schedule";
        Canvas, CanvasId, "canvas";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_moment_sort_by_creation() {
        let now = Timestamp::from_millis(1_700_000_000_123);
        let ids: Vec<kind::MessageId> = (0..10_000).map(|_| Ids.next(now)).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
        assert_eq!(kind::MessageId::parse(&ids[0].to_string()), Some(ids[0]));
        assert_eq!(kind::MessageId::parse("not-an-id"), None);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_set_the_ids_back() {
        let clock = [1_700_000_000_123, 1_700_000_000_122, 1_699_999_000_000, 1_700_000_000_124, 0, 1_700_000_000_124];
        let ids: Vec<kind::JobId> = clock.map(|millis| Ids.next(Timestamp::from_millis(millis))).into();
        assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    }
}
