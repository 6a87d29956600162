//! What the visitors of a web chat may use in a day, counted durably.
//!
//! In the transaction that takes an answer on, a reply and a number of tokens are set aside in the row of
//! the day; in the one that ends it, the tokens are corrected to what was used. So answers that are made
//! at the same time see each other, and the limit is passed by the last answer at most. What was set
//! aside for an answer is noted under the answer's id, so a crash neither loses it nor corrects it twice.

use jiff::Timestamp as Moment;
use jiff::tz::TimeZone;
use parlance_domain::kind::{MessageId, WebChatId};
use parlance_domain::{Error, Result, Tenant, Timestamp};
use parlance_llm::Usage;
use parlance_storage::web_chat_usage::{self, Usage as Used};
use parlance_storage::web_chats::WebChat;
use parlance_storage::{Tx, organisations, web_chat_reservations};

use crate::App;

/// Tokens set aside for an answer until its own are known.
const SET_ASIDE: i64 = 8000;

/// What the visitors of a web chat may use today.
#[derive(Clone, Debug)]
pub(crate) struct Allowance {
    web_chat: WebChatId,
    day: String,
    /// Replies of the day; `None` is no limit.
    replies: Option<i64>,
    /// Tokens of the day; `None` is no limit.
    tokens: Option<i64>,
    /// Seconds until the day ends.
    retry_after_seconds: u64,
}

/// What the visitors of a web chat may use today. `None` when it has no limit.
pub(crate) async fn allowance(app: &App, tenant: Tenant, web_chat: &WebChat) -> Result<Option<Allowance>> {
    let limit = |own: Option<i64>, server: i64| own.or((server > 0).then_some(server));
    let replies = limit(web_chat.daily_reply_limit, app.settings.web_chat_daily_replies);
    let tokens = limit(web_chat.daily_token_limit, app.settings.web_chat_daily_tokens);
    if replies.is_none() && tokens.is_none() {
        return Ok(None);
    }
    let zone = {
        let mut tx = app.db.read(tenant).await?;
        organisations::get(&mut tx, tenant).await?.map(|organisation| organisation.time_zone).unwrap_or_default()
    };
    let (day, retry_after_seconds) = day_at(app.now(), &zone);
    Ok(Some(Allowance { web_chat: web_chat.id, day, replies, tokens, retry_after_seconds }))
}

/// Sets aside what one answer takes, in the transaction that takes it on. The last thing in there:
/// everybody who asks in the web chat waits for the row of its day.
///
/// # Errors
/// [`Error::RateLimited`] until the day ends when its limit is reached. The transaction's end undoes
/// what was set aside then.
pub(crate) async fn reserve(tx: &mut Tx, tenant: Tenant, answer: MessageId, allowance: &Allowance) -> Result<()> {
    let Allowance { web_chat, day, replies, tokens, retry_after_seconds } = allowance;
    let more = Used { replies: 1, tokens: SET_ASIDE };
    let used = web_chat_usage::add(tx, tenant, *web_chat, day, more).await?;
    let used = used.ok_or(Error::NotFound("web chat"))?;
    let is_over = replies.is_some_and(|limit| used.replies > limit)
        || tokens.is_some_and(|limit| used.tokens - SET_ASIDE >= limit);
    if is_over {
        return Err(Error::RateLimited { retry_after_seconds: *retry_after_seconds });
    }
    web_chat_reservations::insert(tx, tenant, answer, (*web_chat, day)).await
}

/// Corrects what was set aside for an answer to what it used, in the transaction that ends it. Does
/// nothing when nothing was set aside.
pub(crate) async fn settle(tx: &mut Tx, tenant: Tenant, answer: MessageId, usage: &Usage) -> Result<()> {
    let used = i64::try_from(usage.input_tokens.saturating_add(usage.output_tokens)).unwrap_or(i64::MAX);
    correct(tx, tenant, answer, Used { replies: 0, tokens: used.saturating_sub(SET_ASIDE) }).await
}

/// Gives back what was set aside for an answer that is not made after all, in the transaction that
/// decides so. Does nothing when nothing was set aside.
pub(crate) async fn release(tx: &mut Tx, tenant: Tenant, answer: MessageId) -> Result<()> {
    correct(tx, tenant, answer, Used { replies: -1, tokens: -SET_ASIDE }).await
}

async fn correct(tx: &mut Tx, tenant: Tenant, answer: MessageId, difference: Used) -> Result<()> {
    let Some((web_chat, day)) = web_chat_reservations::take(tx, tenant, answer).await? else { return Ok(()) };
    web_chat_usage::add(tx, tenant, web_chat, &day, difference).await.map(drop)
}

/// The day in a time zone, and the seconds until it ends. A zone that nobody knows is UTC.
pub(crate) fn day_at(now: Timestamp, zone: &str) -> (String, u64) {
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let moment = Moment::from_millisecond(now.millis()).unwrap_or(Moment::UNIX_EPOCH);
    let local = moment.to_zoned(zone);
    let midnight = local.tomorrow().and_then(|tomorrow| tomorrow.start_of_day());
    let seconds = midnight.map_or(3600, |midnight| midnight.timestamp().as_second() - moment.as_second());
    (local.date().to_string(), u64::try_from(seconds).unwrap_or_default().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_the_organisation_s_midnight() {
        let at = |text: &str| Timestamp::from_millis(text.parse::<Moment>().unwrap().as_millisecond());
        assert_eq!(day_at(at("2026-11-20T15:59:50Z"), "Asia/Taipei"), ("2026-11-20".to_owned(), 10));
        assert_eq!(day_at(at("2026-11-20T16:00:00Z"), "Asia/Taipei"), ("2026-11-21".to_owned(), 86_400));
        // The day on which clocks go back has 25 hours.
        assert_eq!(day_at(at("2026-10-24T22:00:00Z"), "Europe/Berlin"), ("2026-10-25".to_owned(), 25 * 3600));
        assert_eq!(day_at(at("2026-11-20T23:00:00Z"), "Nowhere/Land"), ("2026-11-20".to_owned(), 3600));
    }
}
