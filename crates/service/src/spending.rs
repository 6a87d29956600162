//! What the visitors of a web chat may use in a day, counted durably.
//!
//! Before an answer is begun, a reply and a number of tokens are set aside in the row of the day; when it
//! has ended, the tokens are corrected to what was used. So answers that are made at the same time see
//! each other, and the limit is passed by the last answer at most. What a crash leaves set aside counts
//! until midnight.

use jiff::Timestamp as Moment;
use jiff::tz::TimeZone;
use parlance_domain::kind::WebChatId;
use parlance_domain::{Error, Result, Tenant, Timestamp};
use parlance_llm::Usage;
use parlance_storage::organisations;
use parlance_storage::web_chat_usage::{self, Usage as Used};
use parlance_storage::web_chats::WebChat;

use crate::App;

/// Tokens set aside for an answer until its own are known.
const SET_ASIDE: i64 = 8000;

/// What was set aside for one answer.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    web_chat: WebChatId,
    day: String,
}

/// Sets aside what one answer for a visitor takes. `None` when the web chat has no limit.
///
/// # Errors
/// [`Error::RateLimited`] until midnight in the organisation's time zone when the day's limit is reached.
pub(crate) async fn reserve(app: &App, tenant: Tenant, web_chat: &WebChat) -> Result<Option<Reservation>> {
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
    let (web_chat, of_day) = (web_chat.id, day.clone());
    app.db
        .write(tenant, move |tx| {
            Box::pin(async move {
                let more = Used { replies: 1, tokens: SET_ASIDE };
                let used = web_chat_usage::add(tx, tenant, web_chat, &of_day, more).await?;
                let used = used.ok_or(Error::NotFound("web chat"))?;
                let is_over = replies.is_some_and(|limit| used.replies > limit)
                    || tokens.is_some_and(|limit| used.tokens - SET_ASIDE >= limit);
                // An error undoes what was set aside.
                if is_over { Err(Error::RateLimited { retry_after_seconds }) } else { Ok(()) }
            })
        })
        .await?;
    Ok(Some(Reservation { web_chat, day }))
}

/// Corrects what was set aside to what the answer used.
pub(crate) async fn settle(app: &App, tenant: Tenant, reservation: Reservation, usage: &Usage) {
    let used = i64::try_from(usage.input_tokens.saturating_add(usage.output_tokens)).unwrap_or(i64::MAX);
    let difference = Used { replies: 0, tokens: used.saturating_sub(SET_ASIDE) };
    let settled = app
        .db
        .write(tenant, move |tx| {
            Box::pin(async move {
                web_chat_usage::add(tx, tenant, reservation.web_chat, &reservation.day, difference).await.map(drop)
            })
        })
        .await;
    if let Err(error) = settled {
        tracing::warn!(%error, "the tokens of an answer were not counted; what was set aside for it stays");
    }
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
