//! What every turn of an assistant needs to know, remembered for a moment: its settings, its bases
//! and the inbox of its API conversations.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::kind::{ChatbotId, InboxId};
use parlance_domain::{Error, Result, Tenant};
use parlance_storage::chatbots::{self, Chatbot};
use parlance_storage::knowledge_bases::{self, KnowledgeBase};
use parlance_storage::{inboxes, labels};

use crate::App;
use crate::query_metadata::Layer;

/// Changes made on another node are seen within this time; those of this one at once.
const CACHE_TIME: Duration = Duration::from_secs(2);
/// Assistants remembered at most.
const CACHE_SIZE: usize = 10_000;

/// What a turn needs to know.
#[derive(Clone, Debug)]
pub(crate) struct TurnPlan {
    /// The assistant.
    pub(crate) chatbot: Chatbot,
    /// The bases it answers from.
    pub(crate) bases: Vec<KnowledgeBase>,
    /// Where new conversations of API keys arrive.
    pub(crate) inbox: InboxId,
    /// What the assistant itself may see.
    pub(crate) layer: Layer,
    /// What its inboxes may see, those that are narrowed.
    inboxes: HashMap<InboxId, Layer>,
    /// Whether its bases have labels.
    pub(crate) has_labels: bool,
}

impl TurnPlan {
    /// What the conversations of an inbox may see.
    pub(crate) fn layer_of(&self, inbox: InboxId) -> &Layer {
        const OPEN: &Layer = &Layer::OPEN;
        self.inboxes.get(&inbox).unwrap_or(OPEN)
    }
}

/// The plans of a moment ago.
#[derive(Debug, Default)]
pub struct TurnPlans {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    plans: HashMap<ChatbotId, (Tenant, Instant, Arc<TurnPlan>)>,
    /// Counts what was forgotten, so that a plan read before a change is not kept after it.
    changes: u64,
}

impl TurnPlans {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the plans of an organisation, because something in one of them changed.
    pub fn forget(&self, tenant: Tenant) {
        let mut known = self.known();
        known.changes += 1;
        known.plans.retain(|_, (owner, _, _)| !owner.is_same_organisation(tenant));
    }
}

/// The plan of an assistant.
pub(crate) async fn turn_plan(app: &App, tenant: Tenant, chatbot: ChatbotId) -> Result<Arc<TurnPlan>> {
    let changes = {
        let known = app.plans.known();
        if let Some((owner, since, plan)) = known.plans.get(&chatbot)
            && *owner == tenant
            && since.elapsed() < CACHE_TIME
        {
            return Ok(Arc::clone(plan));
        }
        known.changes
    };
    // On the heap: most turns do not come to this, and all would keep room for it.
    let plan = Arc::new(Box::pin(read(app, tenant, chatbot)).await?);
    let mut known = app.plans.known();
    if known.plans.len() >= CACHE_SIZE {
        known.plans.retain(|_, (_, since, _)| since.elapsed() < CACHE_TIME);
    }
    if known.changes == changes && known.plans.len() < CACHE_SIZE {
        known.plans.insert(chatbot, (tenant, Instant::now(), Arc::clone(&plan)));
    }
    Ok(plan)
}

async fn read(app: &App, tenant: Tenant, id: ChatbotId) -> Result<TurnPlan> {
    let tx = &mut app.db.read(tenant).await?;
    let chatbot = chatbots::get(tx, tenant, id).await?.ok_or(Error::NotFound("chatbot"))?;
    let bases = knowledge_bases::of_chatbot(tx, tenant, id).await?;
    let inbox = inboxes::of_api(tx, tenant, id).await?.ok_or_else(|| Error::bug("a chatbot without its inbox"))?;
    let layer = Layer::stored(query_metadata_of(&chatbot).as_deref());
    let narrowed = inboxes::query_metadata_of(tx, tenant, id).await?;
    let narrowed = narrowed.into_iter().map(|(inbox, text)| (inbox, Layer::stored(Some(&text)))).collect();
    let ids: Vec<_> = bases.iter().map(|base| base.id).collect();
    let has_labels = labels::any(tx, tenant, &ids).await?;
    Ok(TurnPlan { chatbot, bases, inbox: inbox.id, layer, inboxes: narrowed, has_labels })
}

/// The query metadata of an assistant, JSON.
pub(crate) fn query_metadata_of(chatbot: &Chatbot) -> Option<String> {
    let settings: serde_json::Value = serde_json::from_str(&chatbot.settings).ok()?;
    settings.get(crate::chatbots::QUERY_METADATA).filter(|value| !value.is_null()).map(ToString::to_string)
}
