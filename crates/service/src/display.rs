//! What of an answer a caller is shown beside its text.
//!
//! An API key is shown everything. A visitor is shown what the owner of the web chat decided, whatever
//! the page that asks would do with more.

use parlance_domain::{Principal, Result};
use parlance_storage::web_chats;

use crate::App;
use crate::web_chat_settings::{Flags, WebChatSettings};

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

/// What this caller is shown now.
pub async fn of(app: &App, principal: &Principal) -> Result<Display> {
    let Some(visitor) = principal.visitor() else { return Ok(Display::ALL) };
    let mut tx = app.db.read(principal.tenant).await?;
    let details = web_chats::get(&mut tx, principal.tenant, visitor.web_chat).await?;
    // The token of a web chat that was removed is good for another moment.
    Ok(details.map_or(Display::TEXT, |details| {
        Display::of_visitors(&WebChatSettings::read(&details.web_chat.settings).flags)
    }))
}
