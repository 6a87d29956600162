//! Keeping others from changing a row that is read to be changed.

use parlance_domain::kind::{
    ChatbotId, ContactId, FaqId, FileId, GroupId, InboxId, KnowledgeBaseId, LabelId, ProviderId, ToolId, UserId,
    WebChatId,
};
use parlance_domain::{Result, Tenant};

use crate::tx::{Engine, Tx, fault};

/// A row that a change is made of what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// An assistant.
    Chatbot(ChatbotId),
    /// A contact.
    Contact(ContactId),
    /// An FAQ.
    Faq(FaqId),
    /// A file of a base.
    File(FileId),
    /// A group.
    Group(GroupId),
    /// An inbox.
    Inbox(InboxId),
    /// A base.
    KnowledgeBase(KnowledgeBaseId),
    /// A label.
    Label(LabelId),
    /// A member.
    Member(UserId),
    /// The organisation itself, and with it what counts its members.
    Organisation,
    /// A provider of models.
    Provider(ProviderId),
    /// A tool.
    Tool(ToolId),
    /// A web chat.
    WebChat(WebChatId),
}

macro_rules! lock {
    ($table:literal, $id:literal) => {
        concat!("SELECT 1 FROM ", $table, " WHERE org_id = $1 AND ", $id, " = $2 FOR NO KEY UPDATE")
    };
}

/// Keeps others from changing a row until the transaction ends, so that what is read of it next is what
/// gets replaced: two changes of different fields at the same time both stay. A row that is not there is
/// for the read to find out. SQLite has one writer and needs nothing.
pub async fn lock(tx: &mut Tx, tenant: Tenant, row: Row) -> Result<()> {
    let Engine::PostgresWrite(transaction) = &mut tx.engine else { return Ok(()) };
    let organisation = tenant.organisation();
    let query = match row {
        Row::Chatbot(id) => sqlx::query(lock!("chatbots", "id")).bind(organisation).bind(id),
        Row::Contact(id) => sqlx::query(lock!("contacts", "id")).bind(organisation).bind(id),
        Row::Faq(id) => sqlx::query(lock!("faqs", "id")).bind(organisation).bind(id),
        Row::File(id) => sqlx::query(lock!("files", "id")).bind(organisation).bind(id),
        Row::Group(id) => sqlx::query(lock!("groups", "id")).bind(organisation).bind(id),
        Row::Inbox(id) => sqlx::query(lock!("inboxes", "id")).bind(organisation).bind(id),
        Row::KnowledgeBase(id) => sqlx::query(lock!("knowledge_bases", "id")).bind(organisation).bind(id),
        Row::Label(id) => sqlx::query(lock!("labels", "id")).bind(organisation).bind(id),
        Row::Member(id) => sqlx::query(lock!("users", "id")).bind(organisation).bind(id),
        Row::Organisation => sqlx::query(lock!("organisations", "org_id")).bind(organisation).bind(organisation),
        Row::Provider(id) => sqlx::query(lock!("model_providers", "id")).bind(organisation).bind(id),
        Row::Tool(id) => sqlx::query(lock!("tools", "id")).bind(organisation).bind(id),
        Row::WebChat(id) => sqlx::query(lock!("web_chats", "id")).bind(organisation).bind(id),
    };
    query.execute(&mut **transaction).await.map(drop).map_err(fault)
}
