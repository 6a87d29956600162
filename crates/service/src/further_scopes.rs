//! What a write needs besides the permission to write its noun, because it reaches another one. A key
//! with narrow scopes could otherwise read or change through a link what it may not touch itself.
//!
//! Only what a write changes counts: what was read may be written back as it is.

use parlance_domain::kind::{ChatbotId, KnowledgeBaseId};
use parlance_domain::{Permission, Principal, Result, Scopes, Tenant};
use parlance_storage::chatbots::{self, Chatbot};
use parlance_storage::uploads::{self, Upload};
use parlance_storage::{Tx, tools};

use crate::chatbots::ChatbotDraft;
use crate::conversation_turn::Question;

/// What a new assistant needs. It shows what is in its bases to whoever may ask it, calls its tools
/// with the secrets that are stored for them, and sends what is said to its webhook.
pub(crate) fn check_new(draft: &ChatbotDraft) -> Result<()> {
    let needed_for = |some: bool, permission| if some { draft.scopes.require(permission) } else { Ok(()) };
    needed_for(draft.knowledge_bases.as_ref().is_some_and(|bases| !bases.is_empty()), Permission::ReadKnowledge)?;
    needed_for(draft.tools.as_ref().is_some_and(|tools| !tools.is_empty()), Permission::ReadTools)?;
    needed_for(address(draft.webhook_url.as_ref()).is_some(), Permission::ReadConversations)
}

/// As [`check_new`], for what a change adds to an assistant as it is known. To be called before the change,
/// in its transaction.
pub(crate) async fn check_change(tx: &mut Tx, tenant: Tenant, known: &Chatbot, draft: &ChatbotDraft) -> Result<()> {
    if let Some(bases) = &draft.knowledge_bases
        && !draft.scopes.contains(Permission::ReadKnowledge)
    {
        let linked = chatbots::knowledge_bases(tx, tenant, known.id).await?;
        if bases.iter().any(|base| linked.iter().all(|(known_base, _)| known_base != base)) {
            draft.scopes.require(Permission::ReadKnowledge)?;
        }
    }
    if let Some(wanted) = &draft.tools
        && !draft.scopes.contains(Permission::ReadTools)
    {
        let linked = tools::of_chatbot(tx, tenant, known.id).await?;
        if wanted.iter().any(|tool| linked.iter().all(|known_tool| known_tool.id != *tool)) {
            draft.scopes.require(Permission::ReadTools)?;
        }
    }
    if let Some(wanted) = address(draft.webhook_url.as_ref())
        && known.webhook_url.as_deref() != Some(wanted)
    {
        draft.scopes.require(Permission::ReadConversations)?;
    }
    Ok(())
}

fn address(webhook_url: Option<&Option<String>>) -> Option<&str> {
    webhook_url?.as_deref().map(str::trim).filter(|address| !address.is_empty())
}

/// What a question needs whose attachments the model reads: what making them takes. Which ones a visitor
/// may name is looked up with the attachments.
pub(crate) fn check_question(principal: &Principal, question: &Question) -> Result<()> {
    if question.attachments.is_empty() || principal.visitor().is_some() {
        return Ok(());
    }
    principal.scopes.require(Permission::WriteConversations)
}

/// Other assistants of a base than before are other assistants.
pub(crate) async fn check_assistants(
    tx: &mut Tx,
    tenant: Tenant,
    scopes: Scopes,
    (base, wanted): (KnowledgeBaseId, &[ChatbotId]),
) -> Result<()> {
    if scopes.contains(Permission::WriteChatbots) {
        return Ok(());
    }
    let linked = parlance_storage::knowledge_bases::chatbots(tx, tenant, &[base]).await?;
    let is_same = linked.iter().all(|(_, id, _)| wanted.contains(id))
        && wanted.iter().all(|id| linked.iter().any(|(_, known, _)| known == id));
    if is_same { Ok(()) } else { scopes.require(Permission::WriteChatbots) }
}

/// What a request makes of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A file of a knowledge base.
    File,
    /// An attachment of messages.
    Attachment,
    /// A picture of a web chat, which anybody may look at.
    Picture,
}

/// Bytes that are something already may become something else only for whoever may read what they are:
/// the answer has a link to them.
pub(crate) async fn check_upload(
    tx: &mut Tx,
    tenant: Tenant,
    scopes: Scopes,
    (upload, made): (&Upload, Use),
) -> Result<()> {
    let of_files = scopes.contains(Permission::ReadKnowledge) || made == Use::File;
    let of_attachments = scopes.contains(Permission::ReadConversations) || made == Use::Attachment;
    if of_files && of_attachments {
        return Ok(());
    }
    let shown = uploads::shown_by(tx, tenant, &upload.blob_key).await?;
    if shown.file && !of_files && !(shown.attachment && of_attachments) {
        return scopes.require(Permission::ReadKnowledge);
    }
    if shown.attachment && !of_attachments && !(shown.file && of_files) {
        return scopes.require(Permission::ReadConversations);
    }
    Ok(())
}
