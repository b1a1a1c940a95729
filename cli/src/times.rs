//! Times and spans of time, as people write and read them.

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A span such as `30s`, `10m`, `2h 30m` or `30d`; a day has 24 hours.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 60 * 60;
    let wrong = || format!("{text:?} is not a span of time such as 30s, 10m, 2h or 30d");
    let days = text.strip_suffix('d').or_else(|| text.strip_suffix(" days"));
    if let Some(days) = days.and_then(|days| days.trim().parse::<u64>().ok()) {
        return days.checked_mul(DAY).map(Duration::from_secs).ok_or_else(wrong);
    }
    let span: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

/// A moment, in milliseconds since 1970: a span such as `10m` back from now, a date, or a date and time, in the
/// time zone of this machine if it names none.
pub(crate) fn moment(text: &str) -> Result<u64, String> {
    let moment = if let Ok(span) = span(text) {
        Timestamp::now().checked_sub(SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX))
    } else if let Ok(timestamp) = text.parse::<Timestamp>() {
        Ok(timestamp)
    } else if let Ok(time) = text.parse::<DateTime>() {
        TimeZone::system().to_timestamp(time)
    } else if let Ok(date) = text.parse::<Date>() {
        TimeZone::system().to_timestamp(date.at(0, 0, 0, 0))
    } else {
        return Err(format!(
            "{text:?} is not a time: write a span such as 10m, or a date such as 2026-11-30 or 2026-11-30T14:00"
        ));
    };
    let milliseconds = moment.map_err(|error| error.to_string())?.as_millisecond();
    Ok(u64::try_from(milliseconds).unwrap_or(0))
}

/// The moment in the time zone of this machine, to the second.
pub(crate) fn shown(milliseconds: u64) -> String {
    let timestamp =
        i64::try_from(milliseconds).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(
        || milliseconds.to_string(),
        |timestamp| {
            let here = timestamp.to_zoned_datetime(TimeZone::system());
            here.strftime("%Y-%m-%d %H:%M:%S").to_string()
        },
    )
}
