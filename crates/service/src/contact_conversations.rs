//! The conversations of one contact.

use parlance_domain::kind::{ContactId, InboxId};
use parlance_domain::{Error, Principal, Result};
use parlance_storage::{contacts, conversations, inboxes};

use crate::App;
use crate::conversation_search::{self, Asked};
use crate::conversations::Shown;

/// Conversations of one answer at most.
pub const MOST: usize = 200;
/// Inboxes of one request.
const MAX_INBOXES: usize = 20;

/// The latest conversations of a contact, at most [`MOST`] and as many as their last messages fit on a
/// page: those in which `keyword` occurs, and of these inboxes alone where some are named. Ids of
/// nothing name no inbox.
pub async fn list(
    app: &App,
    principal: &Principal,
    contact: ContactId,
    keyword: &str,
    named: Option<Vec<InboxId>>,
) -> Result<Vec<Shown>> {
    let mut tx = app.db.read(principal.tenant).await?;
    contacts::get(&mut tx, principal.tenant, contact).await?.ok_or(Error::NotFound("contact"))?;
    let places = match named {
        None => vec![None],
        Some(named) if named.len() > MAX_INBOXES => {
            return Err(Error::field("inboxes", format!("At most {MAX_INBOXES} inboxes.")));
        }
        Some(named) => {
            let mut known = Vec::new();
            for inbox in named {
                if !known.contains(&Some(inbox)) && inboxes::get(&mut tx, principal.tenant, inbox).await?.is_some() {
                    known.push(Some(inbox));
                }
            }
            known
        }
    };
    let mut found = Vec::new();
    for inbox in places {
        let asked = Asked { inbox, contact: Some(contact), keyword: keyword.to_owned() };
        found.extend(conversation_search::find(&mut tx, principal, &asked, None, MOST).await?);
    }
    found.sort_by_key(|candidate| std::cmp::Reverse((candidate.last_activity_at, candidate.id)));
    found.truncate(MOST);
    Ok(crate::conversations::shown(&mut tx, principal, &found).await?.rows)
}

/// The conversation of a contact in which something happened last.
///
/// # Errors
/// `NotFound` when there is no such contact, or they have no conversation.
pub async fn latest(app: &App, principal: &Principal, contact: ContactId) -> Result<Shown> {
    let found = {
        let mut tx = app.db.read(principal.tenant).await?;
        contacts::get(&mut tx, principal.tenant, contact).await?.ok_or(Error::NotFound("contact"))?;
        conversations::latest_of_contact(&mut tx, principal.tenant, contact, None).await?
    };
    let found = found.ok_or(Error::NotFound("conversation"))?;
    crate::conversations::get(app, principal, found.id).await
}
