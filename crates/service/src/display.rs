//! What of an answer a caller is shown beside its text.
//!
//! An API key is shown everything. A visitor is shown what the owner of the web chat decided, whatever
//! the page that asks would do with more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use parlance_domain::kind::WebChatId;
use parlance_domain::{Principal, Result};
use parlance_storage::web_chats;

use crate::App;
use crate::web_chat_settings::{Flags, WebChatSettings};

/// Changes made on another node are seen within this time; those of this one at once.
const CACHE_TIME: Duration = Duration::from_secs(2);
/// Web chats remembered at most.
const CACHE_SIZE: usize = 10_000;

/// What of an answer a caller is shown beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Display {
    /// The passages it cites, and the names of their files.
    pub citations: bool,
    /// Links to the files as they were uploaded.
    pub files: bool,
    /// The model's reasoning.
    pub thinking: bool,
}

impl Display {
    /// Everything.
    pub const ALL: Self = Self { citations: true, files: true, thinking: true };
    /// The text alone.
    pub const TEXT: Self = Self { citations: false, files: false, thinking: false };

    /// What visitors of a web chat with these switches are shown.
    pub fn of_visitors(flags: &Flags) -> Self {
        Self {
            citations: flags.enable_display_citations,
            files: flags.enable_display_citations && flags.enable_download_citations,
            thinking: flags.enable_display_thinking,
        }
    }
}

/// What the visitors of web chats were shown a moment ago: each page that is open asks at each message.
#[derive(Debug, Default)]
pub struct Displays {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    displays: HashMap<WebChatId, (Instant, Display)>,
    /// Counts what was forgotten, so that what was read before a change is not kept after it.
    changes: u64,
}

impl Displays {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a web chat, or else what [`Displays::put`] wants to be given.
    fn get(&self, web_chat: WebChatId, now: Instant) -> std::result::Result<Display, u64> {
        let known = self.known();
        match known.displays.get(&web_chat) {
            Some((since, display)) if now.duration_since(*since) < CACHE_TIME => Ok(*display),
            _ => Err(known.changes),
        }
    }

    /// Remembers what was read at `now` or later, unless something changed since.
    fn put(&self, web_chat: WebChatId, (changes, now): (u64, Instant), display: Display) {
        let mut known = self.known();
        if known.displays.len() >= CACHE_SIZE {
            known.displays.retain(|_, (since, _)| now.duration_since(*since) < CACHE_TIME);
        }
        if known.changes == changes && known.displays.len() < CACHE_SIZE {
            known.displays.insert(web_chat, (now, display));
        }
    }

    /// Forgets a web chat that was changed or removed.
    pub fn forget(&self, web_chat: WebChatId) {
        let mut known = self.known();
        known.changes += 1;
        known.displays.remove(&web_chat);
    }
}

/// What this caller is shown now.
pub async fn of(app: &App, principal: &Principal) -> Result<Display> {
    let Some(visitor) = principal.visitor() else { return Ok(Display::ALL) };
    let (web_chat, now) = (visitor.web_chat, Instant::now());
    let changes = match app.displays.get(web_chat, now) {
        Ok(display) => return Ok(display),
        Err(changes) => changes,
    };
    let details = {
        let mut tx = app.db.read(principal.tenant).await?;
        web_chats::get(&mut tx, principal.tenant, web_chat).await?
    };
    // The token of a web chat that was removed is good for another moment.
    let display = details.map_or(Display::TEXT, |details| {
        Display::of_visitors(&WebChatSettings::read(&details.web_chat.settings).flags)
    });
    app.displays.put(web_chat, (changes, now), display);
    Ok(display)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_visitors_are_shown_is_remembered_for_a_moment() {
        let (displays, now) = (Displays::default(), Instant::now());
        let [one, other] = [1, 2].map(|number| WebChatId::from_uuid(uuid::Uuid::from_u128(number)));
        let changes = displays.get(one, now).unwrap_err();
        displays.put(one, (changes, now), Display::TEXT);
        let moment = Duration::from_millis(1);
        assert_eq!(displays.get(one, now + CACHE_TIME.saturating_sub(moment)), Ok(Display::TEXT));
        assert_eq!(displays.get(one, now + CACHE_TIME), Err(changes), "another node may have changed it");
        assert!(displays.get(other, now).is_err());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let (displays, now) = (Displays::default(), Instant::now());
        let web_chat = WebChatId::from_uuid(uuid::Uuid::nil());
        displays.put(web_chat, (0, now), Display::ALL);
        let late = displays.get(web_chat, now + CACHE_TIME).unwrap_err();
        displays.forget(web_chat);
        let changes = displays.get(web_chat, now).unwrap_err();
        displays.put(web_chat, (late, now), Display::ALL);
        assert_eq!(displays.get(web_chat, now), Err(changes));
        displays.put(web_chat, (changes, now), Display::TEXT);
        assert_eq!(displays.get(web_chat, now), Ok(Display::TEXT));
    }

    #[test]
    fn no_more_web_chats_are_remembered_than_there_is_room_for() {
        let (displays, now) = (Displays::default(), Instant::now());
        let web_chat = |number: usize| WebChatId::from_uuid(uuid::Uuid::from_u128(number as u128));
        for number in 0..=CACHE_SIZE {
            displays.put(web_chat(number), (0, now), Display::ALL);
        }
        assert_eq!(displays.get(web_chat(CACHE_SIZE), now), Err(0));
        let later = now + CACHE_TIME;
        displays.put(web_chat(CACHE_SIZE), (0, later), Display::ALL);
        assert_eq!(displays.get(web_chat(CACHE_SIZE), later), Ok(Display::ALL));
        assert_eq!(displays.known().displays.len(), 1, "those whose time was over went");
    }
}
