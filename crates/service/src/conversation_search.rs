//! Lists of conversations, and finding those in which a keyword occurs.
//!
//! A keyword that many conversations have fills a page from the newest ones, so these are read
//! first, as far as a fixed number of bytes goes. Any other is looked up in the index of terms, which
//! names the conversations that may have it; their texts decide. Both ways find the same, and neither
//! takes memory that grows with the number of conversations.

use std::collections::HashMap;

use parlance_domain::kind::{ContactId, ConversationId, InboxId};
use parlance_domain::{Error, Principal, Result, Tenant};
use parlance_retrieval::fold;
use parlance_storage::conversation_lists::{self, Candidate, Place, Position};
use parlance_storage::conversation_terms::{self, Wanted};
use parlance_storage::{Part, Tx, inboxes, message_lists};

use crate::App;
use crate::conversations::{self, Shown};
use crate::keyword::{Keyword, Seen};

/// Conversations whose texts are read together.
const AT_ONCE: usize = 50;
/// Newest conversations that are read at most before the index is asked.
const READ_FIRST: usize = 300;
/// Bytes of text that are read before the index is asked.
const BYTES_FIRST: usize = 2 << 20;

/// Which conversations are asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Those of one inbox.
    pub inbox: Option<InboxId>,
    /// Those of one contact.
    pub contact: Option<ContactId>,
    /// Those in which this occurs; blank for any.
    pub keyword: String,
}

/// A part of a list of conversations, nearest to `from` first, `limit` at most.
pub async fn list(
    app: &App,
    principal: &Principal,
    asked: &Asked,
    from: Option<Position>,
    limit: usize,
) -> Result<Part<Shown>> {
    let mut tx = app.db.read(principal.tenant).await?;
    let found = find(&mut tx, principal, asked, from, limit).await?;
    conversations::shown(&mut tx, principal, &found).await
}

/// The conversations that are asked for, nearest to `from` first, `limit` at most.
pub(crate) async fn find(
    tx: &mut Tx,
    principal: &Principal,
    asked: &Asked,
    from: Option<Position>,
    limit: usize,
) -> Result<Vec<Candidate>> {
    let tenant = principal.tenant;
    let keyword = Keyword::parse(tenant, &asked.keyword)?;
    let place = place(tx, principal, asked).await?;
    let Some(keyword) = &keyword else {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        return conversation_lists::walk(tx, tenant, place, from, limit).await;
    };
    if keyword.terms().is_empty() {
        return Ok(Vec::new());
    }
    let mut search = Search { tenant, keyword, found: Vec::new(), limit, from, place };
    if !search.read_newest(tx).await? {
        search.ask_index(tx).await?;
    }
    Ok(search.found)
}

/// Which conversations are asked for. A visitor is shown their own only.
async fn place(tx: &mut Tx, principal: &Principal, asked: &Asked) -> Result<Place> {
    let unknown = || Error::field("inbox", "No inbox has this id.");
    if let Some(visitor) = principal.visitor() {
        if asked.inbox.is_some_and(|inbox| inbox != visitor.inbox) {
            return Err(unknown());
        }
        return Ok(Place { inbox: Some(visitor.inbox), contact: Some(visitor.contact) });
    }
    if let Some(inbox) = asked.inbox {
        inboxes::get(tx, principal.tenant, inbox).await?.ok_or_else(unknown)?;
    }
    Ok(Place { inbox: asked.inbox, contact: asked.contact })
}

struct Search<'a> {
    tenant: Tenant,
    keyword: &'a Keyword,
    place: Place,
    /// Where to go on.
    from: Option<Position>,
    limit: usize,
    found: Vec<Candidate>,
}

impl Search<'_> {
    fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    /// Reads the newest conversations, as long as they have the keyword often enough to fill the page.
    /// False when they do not and the index has to be asked about the others.
    async fn read_newest(&mut self, tx: &mut Tx) -> Result<bool> {
        let mut bytes = BYTES_FIRST;
        for read in (AT_ONCE..=READ_FIRST).step_by(AT_ONCE) {
            let limit = i64::try_from(AT_ONCE).unwrap_or_default();
            let next = conversation_lists::walk(tx, self.tenant, self.place, self.from, limit).await?;
            let is_last = next.len() < AT_ONCE;
            let Some(matching) = self.matching(tx, &next, &mut bytes).await? else { return Ok(false) };
            self.take(&next, &matching);
            if self.is_full() || is_last {
                return Ok(true);
            }
            if self.found.len() * READ_FIRST < self.limit * read {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Asks the index, and reads what it names.
    async fn ask_index(&mut self, tx: &mut Tx) -> Result<()> {
        let mut unlimited = usize::MAX;
        loop {
            let limit = i64::try_from(AT_ONCE).unwrap_or_default();
            let wanted = Wanted { parts: self.keyword.terms(), place: self.place, from: self.from, limit };
            let next = conversation_terms::candidates(tx, self.tenant, &wanted).await?;
            let is_last = next.len() < AT_ONCE;
            // Most of them match, so no more are read than there are places.
            for some in next.chunks(self.limit.clamp(1, AT_ONCE)) {
                if let Some(matching) = self.matching(tx, some, &mut unlimited).await? {
                    self.take(some, &matching);
                }
                if self.is_full() {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Notes those that match and goes on after the last.
    fn take(&mut self, next: &[Candidate], matching: &[bool]) {
        for (candidate, matches) in next.iter().zip(matching) {
            if *matches && !self.is_full() {
                self.found.push(candidate.clone());
            }
        }
        if let Some(last) = next.last() {
            let is_back = self.from.is_some_and(|from| from.is_back);
            self.from = Some(Position { at: last.last_activity_at, id: last.id, is_back });
        }
    }

    /// Whether each of them matches. `None` when that would take more than `bytes`, which what is
    /// read is taken from.
    async fn matching(&self, tx: &mut Tx, next: &[Candidate], bytes: &mut usize) -> Result<Option<Vec<bool>>> {
        let keyword = self.keyword;
        let mut seen: HashMap<ConversationId, Seen> = HashMap::with_capacity(next.len());
        for candidate in next {
            let entry = seen.entry(candidate.id).or_default();
            keyword.look_at(entry, &candidate.title_folded);
            keyword.look_at(entry, &candidate.name_folded);
        }
        let unread: Vec<ConversationId> =
            next.iter().map(|candidate| candidate.id).filter(|id| !keyword.is_found(seen[id])).collect();
        let mut missing = unread.len();
        let mut is_too_much = false;
        message_lists::look_at_texts(tx, self.tenant, &unread, |conversation, text| {
            if let Some(entry) = seen.get_mut(&conversation).filter(|entry| !keyword.is_found(**entry)) {
                keyword.look_at(entry, &fold(text));
                missing -= usize::from(keyword.is_found(*entry));
            }
            is_too_much = text.len() > *bytes;
            *bytes = bytes.saturating_sub(text.len());
            missing > 0 && !is_too_much
        })
        .await?;
        let found = || next.iter().map(|candidate| keyword.is_found(seen[&candidate.id])).collect();
        Ok((!is_too_much).then(found))
    }
}
