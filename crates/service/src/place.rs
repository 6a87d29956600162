//! Where knowledge is addressed: in a base, or, as the older paths do, in whatever an assistant
//! answers from.

use parlance_domain::kind::{ChatbotId, KnowledgeBaseId};
use parlance_domain::{Error, Principal, Result, Tenant};
use parlance_storage::{Tx, chatbots, knowledge_bases};

use crate::App;
use crate::knowledge_bases::KnowledgeBaseDraft;

/// Whose files, FAQs and passages are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Those of one base.
    Base(KnowledgeBaseId),
    /// Those of every base of an assistant.
    Chatbot(ChatbotId),
}

impl Place {
    /// The bases, oldest first. A base or an assistant that does not exist is not found.
    pub(crate) async fn bases(self, tx: &mut Tx, tenant: Tenant) -> Result<Vec<KnowledgeBaseId>> {
        match self {
            Self::Base(id) => {
                knowledge_bases::get(tx, tenant, id).await?.ok_or(Error::NotFound("knowledge base"))?;
                Ok(vec![id])
            }
            Self::Chatbot(id) => {
                chatbots::get(tx, tenant, id).await?.ok_or(Error::NotFound("chatbot"))?;
                let bases = knowledge_bases::of_chatbot(tx, tenant, id).await?;
                Ok(bases.into_iter().map(|base| base.id).collect())
            }
        }
    }
}

/// Whether there is such a base or assistant, for requests that name their things in the body.
pub async fn check(app: &App, tenant: Tenant, place: Place) -> Result<()> {
    let mut tx = app.db.read(tenant).await?;
    place.bases(&mut tx, tenant).await.map(drop)
}

/// The base that an assistant's new files and FAQs go to: its oldest one. One is made, with the
/// assistant's name, when it has none; that changes the assistant, which needs `chatbots:write`.
pub async fn base_of_chatbot(app: &App, principal: &Principal, chatbot: ChatbotId) -> Result<KnowledgeBaseId> {
    let tenant = principal.tenant;
    let (name, bases) = {
        let mut tx = app.db.read(tenant).await?;
        let row = chatbots::get(&mut tx, tenant, chatbot).await?.ok_or(Error::NotFound("chatbot"))?;
        (row.name, Place::Chatbot(chatbot).bases(&mut tx, tenant).await?)
    };
    if let Some(base) = bases.first() {
        return Ok(*base);
    }
    let draft = KnowledgeBaseDraft {
        name: Some(name),
        chatbots: Some(vec![chatbot]),
        scopes: principal.scopes,
        ..KnowledgeBaseDraft::default()
    };
    let (made, _) = crate::knowledge_bases::create(app, tenant, draft).await?;
    Ok(made.base.id)
}
