//! Instants and durations in microseconds, and Go's text form of a duration.
//!
//! There is no clock here: drivers pass `now`. Microseconds in a `u64` last 584,000 years and keep
//! the sub-millisecond round trips that network coordinates need.

use core::fmt;
use core::ops::{Add, Sub};

/// A point on the driver's monotonic clock, in microseconds since an origin of its choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

/// A span of time in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Duration(u64);

impl Instant {
    /// Names the instant `micros` after the clock's origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Tells the microseconds since the clock's origin.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Tells the time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// Picks what is due first, and of two at one instant the first. (A chain of iterators does the
/// same and costs a board a KiB of flash.)
pub fn sooner<R>(one: Option<(Instant, R)>, two: Option<(Instant, R)>) -> Option<(Instant, R)> {
    match (one, two) {
        (Some(one), Some(two)) => Some(if two.0 < one.0 { two } else { one }),
        (one, two) => one.or(two),
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// A span of `micros` microseconds.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// A span of `millis` milliseconds, saturating.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// A span of `secs` seconds, saturating.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Tells the span in microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Tells the span in whole milliseconds, rounded down.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Multiplies the span, saturating.
    #[must_use]
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// Tells the same span for `core` and `std`.
    pub const fn to_core(self) -> core::time::Duration {
        core::time::Duration::from_micros(self.0)
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A duration's text was not one that Go's `time.ParseDuration` takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidDuration;

impl fmt::Display for InvalidDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid duration")
    }
}

impl core::error::Error for InvalidDuration {}

/// Nanoseconds in each unit that Go names, longest names first so that `ms` is not read as `m`.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Parses Go's text form (`1h15m30.918s`, `-1.5h`, `0`) to signed nanoseconds.
///
/// # Errors
///
/// [`InvalidDuration`] for an empty text, a missing or unknown unit, or a value beyond 63 bits.
/// Source: <https://pkg.go.dev/time#ParseDuration>.
pub fn parse_go(text: &str) -> Result<i64, InvalidDuration> {
    let (sign, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(InvalidDuration);
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanos, after) = parse_term(rest)?;
        total = total.checked_add(nanos).ok_or(InvalidDuration)?;
        rest = after;
    }
    i64::try_from(total).map(|nanos| sign * nanos).map_err(|_| InvalidDuration)
}

/// Parses one number and its unit; answers nanoseconds and what follows.
fn parse_term(text: &str) -> Result<(u64, &str), InvalidDuration> {
    let whole_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, mut rest) = text.split_at(whole_len);
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        let len = after.bytes().take_while(u8::is_ascii_digit).count();
        (fraction, rest) = after.split_at(len);
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err(InvalidDuration);
    }
    let (name, unit) =
        UNITS.iter().find(|(name, _)| rest.starts_with(name)).ok_or(InvalidDuration)?;
    let whole: u64 =
        if whole.is_empty() { 0 } else { whole.parse().map_err(|_| InvalidDuration)? };
    let mut nanos = whole.checked_mul(*unit).ok_or(InvalidDuration)?;
    let mut scale = *unit;
    for digit in fraction.bytes() {
        scale /= 10;
        nanos = nanos.checked_add(u64::from(digit - b'0') * scale).ok_or(InvalidDuration)?;
    }
    Ok((nanos, &rest[name.len()..]))
}

/// A moment as date and time in UTC, by the Gregorian calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Civil {
    /// Year, from 1970 on.
    pub year: u64,
    /// Month, from 1 to 12.
    pub month: u8,
    /// Day of the month, from 1 on.
    pub day: u8,
    /// Hour, from 0 to 23.
    pub hour: u8,
    /// Minute, from 0 to 59.
    pub minute: u8,
    /// Second, from 0 to 59.
    pub second: u8,
}

impl Civil {
    /// Translates seconds since 1970.
    ///
    /// Source: civil-from-days, <https://howardhinnant.github.io/date_algorithms.html>.
    pub const fn of(secs: u64) -> Self {
        let (days, of_day) = (secs / 86_400 + 719_468, secs % 86_400);
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let new_year = if month <= 2 { 1 } else { 0 };
        Self {
            year: year_of_era + era * 400 + new_year,
            month: month as u8,
            day: day as u8,
            hour: (of_day / 3_600) as u8,
            minute: (of_day / 60 % 60) as u8,
            second: (of_day % 60) as u8,
        }
    }
}

/// Writes seconds since 1970 as Go's `time.Time.String` does: `2026-11-22 08:48:20 +0000 UTC`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoTime(pub u64);

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second } = Civil::of(self.0);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} +0000 UTC")
    }
}

/// Writes nanoseconds as Go's `time.Duration.String` does: `1m30s`, `1.5ms`, `0s`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GoDuration(pub i64);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => decimal(f, nanos, 1_000, "\u{b5}s"),
            1_000_000..1_000_000_000 => decimal(f, nanos, 1_000_000, "ms"),
            _ => {
                let (hours, minutes) = (nanos / 3_600_000_000_000, nanos / 60_000_000_000 % 60);
                if hours > 0 {
                    write!(f, "{hours}h")?;
                }
                if hours > 0 || minutes > 0 {
                    write!(f, "{minutes}m")?;
                }
                decimal(f, nanos % 60_000_000_000, 1_000_000_000, "s")
            }
        }
    }
}

/// Writes `nanos / unit` with its fraction, trailing zeros dropped.
fn decimal(f: &mut fmt::Formatter<'_>, nanos: u64, unit: u64, name: &str) -> fmt::Result {
    write!(f, "{}", nanos / unit)?;
    let mut rest = nanos % unit;
    let mut scale = unit;
    if rest > 0 {
        f.write_str(".")?;
    }
    while rest > 0 {
        scale /= 10;
        write!(f, "{}", rest / scale)?;
        rest %= scale;
    }
    f.write_str(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn reads_what_go_reads() {
        for (text, nanos) in [
            ("0", 0),
            ("5m", 300_000_000_000),
            ("1h15m30.918s", 4_530_918_000_000),
            ("1.5ms", 1_500_000),
            ("-2s", -2_000_000_000),
            (".5s", 500_000_000),
            ("10\u{b5}s", 10_000),
        ] {
            assert_eq!(parse_go(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in ["", "-", "5", "s", ".s", "1x", "1m5", "99999999999h", "1\u{20ac}s"] {
            assert_eq!(parse_go(text), Err(InvalidDuration), "{text}");
        }
    }

    #[test]
    fn writes_what_go_writes() {
        for (nanos, text) in [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5\u{b5}s"),
            (25_409_948, "25.409948ms"),
            (90_000_000_000, "1m30s"),
            (86_400_000_000_000, "24h0m0s"),
            (-7_000_000_000, "-7s"),
        ] {
            assert_eq!(GoDuration(nanos).to_string(), text);
        }
    }

    #[test]
    fn moments_are_told_by_the_calendar() {
        assert_eq!(GoTime(0).to_string(), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(GoTime(951_782_400).to_string(), "2000-02-29 00:00:00 +0000 UTC");
        assert_eq!(GoTime(1_795_337_300).to_string(), "2026-11-22 08:48:20 +0000 UTC");
    }

    #[test]
    fn what_is_due_first_is_picked() {
        let at = |micros, what| Some((Instant::from_micros(micros), what));
        assert_eq!(sooner(at(2, 'a'), at(1, 'b')), at(1, 'b'));
        assert_eq!(sooner(at(1, 'a'), at(1, 'b')), at(1, 'a'));
        assert_eq!((sooner(None, at(1, 'b')), sooner(at(1, 'a'), None)), (at(1, 'b'), at(1, 'a')));
        assert_eq!(sooner::<char>(None, None), None);
    }

    #[test]
    fn time_never_runs_backwards() {
        let (early, late) = (Instant::from_micros(1), Instant::from_micros(5));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.since(early), Duration::from_micros(4));
        assert_eq!(early - Duration::from_secs(1), Instant::from_micros(0));
    }
}
