//! Whether an assistant answers by itself at a moment: the switch of the conversation and the hours
//! of its inbox, in the organisation's time zone.
//!
//! Hours are compared with what the clocks on the wall show, so a change of daylight saving time
//! needs no rule of its own: an hour that is shown twice counts twice, one that is left out never.

use jiff::tz::TimeZone;
use parlance_domain::{FieldErrors, Timestamp};
use serde::{Deserialize, Serialize};

/// Names of the weekdays as people see them; 0 is Monday.
const WEEKDAY_NAMES: [&str; 7] = ["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"];
/// Slots of one day at most.
const MAX_SLOTS: usize = 24;
/// Seconds of a day.
const DAY: u32 = 24 * 60 * 60;

/// The hours of one weekday, as they are stored with the inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaySchedule {
    /// Its id.
    pub id: String,
    /// 0 (Monday) to 6 (Sunday).
    pub weekday: u8,
    /// Whether the assistant answers on this day at all.
    pub is_enabled: bool,
    /// Start and end as `HH:MM` or `HH:MM:SS`; an end that is not after its start is on the next
    /// day. Absent or empty: the whole day.
    pub time_slots: Option<Vec<[String; 2]>>,
}

impl DaySchedule {
    /// Name of the weekday, for people.
    pub fn weekday_name(&self) -> &'static str {
        WEEKDAY_NAMES.get(usize::from(self.weekday)).copied().unwrap_or_default()
    }

    /// Whether the assistant answers at this second of the schedule's day, or of the day after it.
    fn covers(&self, second: u32, is_day_after: bool) -> bool {
        if !self.is_enabled {
            return false;
        }
        let slots = self.time_slots.as_deref().unwrap_or_default();
        if slots.is_empty() {
            return !is_day_after;
        }
        slots.iter().filter_map(|[start, end]| Some((second_of_day(start)?, second_of_day(end)?))).any(
            |(start, end)| match (start < end, is_day_after) {
                (true, false) => (start..end).contains(&second),
                (true, true) => false,
                (false, false) => second >= start,
                (false, true) => second < end,
            },
        )
    }
}

/// Whether the assistant answers by itself at `now`.
///
/// `switch` is that of the conversation, `schedules` the JSON stored with its inbox and `time_zone`
/// the organisation's IANA name; an unknown one is taken as UTC. Without any schedule the assistant
/// always answers; with some, only in their hours.
pub fn is_on(switch: bool, schedules: &str, time_zone: &str, now: Timestamp) -> bool {
    switch && is_open(&parse(schedules), time_zone, now)
}

/// Reads the schedules as they are stored.
pub fn parse(schedules: &str) -> Vec<DaySchedule> {
    serde_json::from_str(schedules).unwrap_or_default()
}

fn is_open(schedules: &[DaySchedule], time_zone: &str, now: Timestamp) -> bool {
    if schedules.is_empty() {
        return true;
    }
    let Ok(instant) = jiff::Timestamp::from_millisecond(now.millis()) else { return false };
    let local = instant.to_zoned(TimeZone::get(time_zone).unwrap_or(TimeZone::UTC));
    let today = u8::try_from(local.weekday().to_monday_zero_offset()).unwrap_or_default();
    let yesterday = (today + 6) % 7;
    let part = |number: i8, seconds: u32| u32::try_from(number).unwrap_or_default() * seconds;
    let second = part(local.hour(), 3600) + part(local.minute(), 60) + part(local.second(), 1);
    schedules.iter().any(|schedule| {
        (schedule.weekday == today && schedule.covers(second, false))
            || (schedule.weekday == yesterday && schedule.covers(second, true))
    })
}

/// Seconds since midnight of `HH:MM` or `HH:MM:SS`; `24:00` is the end of the day.
fn second_of_day(text: &str) -> Option<u32> {
    let mut parts = text.split(':');
    let mut next = |limit: u32| {
        let part = parts.next()?;
        let is_plain = matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse().ok().filter(|number: &u32| is_plain && *number <= limit)
    };
    let (hour, minute) = (next(24)?, next(59)?);
    let second = if text.matches(':').count() == 1 { 0 } else { next(59)? };
    let total = hour * 3600 + minute * 60 + second;
    (parts.next().is_none() && total <= DAY).then_some(total)
}

/// Says what is wrong with schedules that somebody wants to store.
pub fn check(schedules: &[DaySchedule], errors: &mut FieldErrors) {
    if schedules.len() > 7 {
        errors.add("autoReplySchedules", "At most one schedule for each weekday.");
        return;
    }
    for (position, schedule) in schedules.iter().enumerate() {
        let path = format!("autoReplySchedules.{position}");
        if schedule.weekday > 6 {
            errors.add(format!("{path}.weekday"), "Must be 0 (Monday) to 6 (Sunday).");
        } else if schedules[..position].iter().any(|other| other.weekday == schedule.weekday) {
            errors.add(format!("{path}.weekday"), "This weekday has a schedule already.");
        }
        let slots = schedule.time_slots.as_deref().unwrap_or_default();
        if slots.len() > MAX_SLOTS {
            errors.add(format!("{path}.timeSlots"), format!("At most {MAX_SLOTS} slots."));
        }
        for (number, [start, end]) in slots.iter().take(MAX_SLOTS).enumerate() {
            let path = format!("{path}.timeSlots.{number}");
            match (second_of_day(start), second_of_day(end)) {
                (Some(start), Some(end)) if start == end => {
                    errors.add(path, "Start and end are the same; leave out the slots for a whole day.");
                }
                (Some(start), Some(_)) if start < DAY => {}
                _ => errors.add(path, "Enter start and end as HH:MM, for example [\"09:00\", \"18:00\"]."),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Milliseconds of a UTC time.
    fn at(utc: &str) -> Timestamp {
        Timestamp::from_millis(utc.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn day(weekday: u8, slots: &[[&str; 2]]) -> DaySchedule {
        let slots = slots.iter().map(|[start, end]| [(*start).to_owned(), (*end).to_owned()]).collect();
        DaySchedule { id: weekday.to_string(), weekday, is_enabled: true, time_slots: Some(slots) }
    }

    fn stored(schedules: &[DaySchedule]) -> String {
        serde_json::to_string(schedules).unwrap()
    }

    #[test]
    fn hours_are_those_of_the_wall_clock() {
        // 2026-11-16 is a Monday; 09:00 in Taipei is 01:00 UTC.
        let office = stored(&[day(0, &[["09:00", "12:00"], ["13:30", "18:00"]])]);
        let is_on = |utc: &str| is_on(true, &office, "Asia/Taipei", at(utc));
        assert!(!is_on("2026-11-16T00:59:59Z"));
        assert!(is_on("2026-11-16T01:00:00Z"));
        assert!(is_on("2026-11-16T03:59:59Z"));
        assert!(!is_on("2026-11-16T04:00:00Z"));
        assert!(is_on("2026-11-16T05:30:00Z"));
        assert!(!is_on("2026-11-16T10:00:00Z"));
        assert!(!is_on("2026-11-17T02:00:00Z"), "no schedule on Tuesday");
        assert!(!is_on("2026-11-15T02:00:00Z"), "nor on Sunday");
    }

    #[test]
    fn a_slot_may_go_on_over_midnight() {
        let night = stored(&[day(6, &[["22:00", "06:00"]])]);
        let is_on = |utc: &str| is_on(true, &night, "UTC", at(utc));
        assert!(!is_on("2026-11-22T21:59:59Z"));
        assert!(is_on("2026-11-22T22:00:00Z"), "Sunday evening");
        assert!(is_on("2026-11-23T05:59:59Z"), "Monday morning");
        assert!(!is_on("2026-11-23T06:00:00Z"));
        assert!(!is_on("2026-11-22T03:00:00Z"), "Sunday morning belongs to Saturday");
    }

    #[test]
    fn no_schedule_is_always_and_none_that_is_enabled_is_never() {
        let now = at("2026-11-16T02:00:00Z");
        assert!(is_on(true, "[]", "Asia/Taipei", now));
        assert!(!is_on(false, "[]", "Asia/Taipei", now), "a person took over");
        let off = DaySchedule { is_enabled: false, ..day(0, &[["00:00", "24:00"]]) };
        assert!(!is_on(true, &stored(&[off]), "Asia/Taipei", now));
        let whole = DaySchedule { time_slots: None, ..day(0, &[]) };
        assert!(is_on(true, &stored(std::slice::from_ref(&whole)), "Asia/Taipei", now));
        assert!(!is_on(true, &stored(&[whole]), "Asia/Taipei", at("2026-11-16T16:00:00Z")), "Tuesday there");
        assert!(is_on(true, &stored(&[day(0, &[["00:00", "24:00"]])]), "Asia/Taipei", at("2026-11-16T15:59:59Z")));
    }

    #[test]
    fn daylight_saving_time_needs_no_rule() {
        // In New York clocks go from 02:00 to 03:00 on 2026-03-08 and from 02:00 to 01:00 on 2026-11-01.
        let early = stored(&[day(6, &[["01:00", "02:30"]])]);
        let is_on = |utc: &str| is_on(true, &early, "America/New_York", at(utc));
        assert!(!is_on("2026-03-08T05:59:59Z"));
        assert!(is_on("2026-03-08T06:00:00Z"));
        assert!(is_on("2026-03-08T06:59:59Z"));
        assert!(!is_on("2026-03-08T07:00:00Z"), "the clock shows 03:00");
        assert!(is_on("2026-11-01T05:00:00Z"), "01:00, the first time");
        assert!(is_on("2026-11-01T06:00:00Z"), "01:00, the second time");
        assert!(is_on("2026-11-01T07:29:59Z"));
        assert!(!is_on("2026-11-01T07:30:00Z"));
    }

    #[test]
    fn an_unknown_zone_is_utc() {
        let office = stored(&[day(0, &[["09:00", "18:00"]])]);
        assert!(is_on(true, &office, "Nowhere/Land", at("2026-11-16T09:00:00Z")));
        assert!(!is_on(true, &office, "Nowhere/Land", at("2026-11-16T01:00:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "9", "9:60", "25:00", "24:01", "24:00:01", "09:00:00:00", "+9:00", "09.00", "aa:bb", "009:00"]
        {
            assert_eq!(second_of_day(text), None, "{text}");
        }
        assert_eq!(second_of_day("9:05"), Some(9 * 3600 + 300));
        assert_eq!(second_of_day("23:59:59"), Some(DAY - 1));
        assert_eq!(second_of_day("24:00"), Some(DAY));
        let wrong = |schedules: &[DaySchedule]| {
            let mut errors = FieldErrors::default();
            check(schedules, &mut errors);
            errors.iter().map(|(path, _)| path.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(wrong(&[day(0, &[["09:00", "18:00"], ["22:00", "06:00"]]), day(6, &[])]), Vec::<String>::new());
        assert_eq!(
            wrong(&[day(7, &[["09:00", "9"]])]),
            ["autoReplySchedules.0.timeSlots.0", "autoReplySchedules.0.weekday"]
        );
        assert_eq!(
            wrong(&[day(1, &[["24:00", "06:00"], ["09:00", "09:00"]]), day(1, &[])]),
            ["autoReplySchedules.0.timeSlots.0", "autoReplySchedules.0.timeSlots.1", "autoReplySchedules.1.weekday"]
        );
    }
}
