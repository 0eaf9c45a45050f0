//! The `Clock` seam: the only place where the aggregator reads time.

use std::fmt;

use foreshadow_agent::clock::{Clock as _, HostClock};

/// Wall and boot time. Production uses [`SystemClock`]; tests and the demo bring their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Microseconds since the Unix epoch.
    fn wall_micros(&self) -> i64;

    /// Seconds since the host booted, suspended time included: no jump of the wall clock moves it.
    fn boot_seconds(&self) -> i64;

    /// Seconds since the Unix epoch, rounded down.
    fn wall_seconds(&self) -> i64 {
        self.wall_micros().div_euclid(1_000_000)
    }

    /// Both clocks at once.
    fn now(&self) -> Now {
        Now { wall: self.wall_seconds(), boot: self.boot_seconds() }
    }
}

/// One moment by two clocks. What must not end too early ends when both say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since the Unix epoch.
    pub wall: i64,
    /// Seconds since boot.
    pub boot: i64,
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_micros(&self) -> i64 {
        HostClock.wall_micros()
    }

    fn boot_seconds(&self) -> i64 {
        i64::try_from(HostClock.boot_micros() / 1_000_000).unwrap_or(i64::MAX)
    }
}

/// Seconds since the epoch from RFC 3339, whole seconds, or `+15m`, `-6h`, `+2d` from `now`.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn read_time(text: &str, now: i64) -> Result<i64, String> {
    let unknown = || format!("{text:?} is neither RFC 3339, nor seconds since 1970, nor like +15m, -6h, +2d");
    // A plus in a query stands for a blank.
    let text = text.trim_start();
    let relative = text.strip_suffix(['s', 'm', 'h', 'd']).and_then(|number| number.parse::<i64>().ok());
    if let (Some(number), Some(unit)) = (relative, text.chars().last()) {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            _ => 86_400,
        };
        return number.checked_mul(seconds).and_then(|offset| now.checked_add(offset)).ok_or_else(unknown);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds);
    }
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second).map_err(|_| unknown())
}

/// Seconds since the epoch of a time in a file: RFC 3339, whole seconds, or as spreadsheets write it, `2026-01-01 00:00:00`: without a
/// zone it is UTC.
///
/// # Errors
/// What is wrong with the text, in words.
pub fn written_time(text: &str) -> Result<i64, String> {
    let seconds = text.parse::<i64>().ok();
    let zoned = || text.parse::<jiff::Timestamp>().ok();
    let plain = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    seconds
        .or_else(|| zoned().map(jiff::Timestamp::as_second))
        .or_else(|| plain().map(|at| at.timestamp().as_second()))
        .ok_or_else(|| {
            format!("{text:?} is neither RFC 3339 nor seconds since 1970, nor like 2026-01-01 00:00:00, which is UTC")
        })
}

/// A time of the command line, for the aggregator to read by its own clock; wrong ones are found out before anything is asked.
///
/// # Errors
/// As of [`read_time`].
pub fn time_argument(text: &str) -> Result<String, String> {
    read_time(text, SystemClock.wall_seconds()).map(|_| text.to_owned())
}

/// A clock that a test moves.
#[cfg(test)]
pub mod hand {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::Clock;

    /// A full hour, seconds since the Unix epoch.
    pub const START: i64 = 1_800_000_000;

    /// Seconds since the start, and how far the wall clock jumped beyond them.
    #[derive(Debug, Default)]
    pub struct Hand {
        pub passed: AtomicI64,
        pub jumped: AtomicI64,
    }

    impl Clock for Hand {
        fn wall_micros(&self) -> i64 {
            (START + self.boot_seconds() + self.jumped.load(Ordering::Relaxed)) * 1_000_000
        }

        fn boot_seconds(&self) -> i64 {
            self.passed.load(Ordering::Relaxed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_a_file_may_be_as_a_spreadsheet_writes_it() {
        for text in [
            "2026-01-01T00:00:00Z",
            "2026-01-01T02:00:00+02:00",
            "1767225600",
            "2026-01-01 00:00:00",
            "2026-01-01 00:00",
        ] {
            assert_eq!(written_time(text), Ok(1_767_225_600), "{text}");
        }
        for text in ["01/02/2026 00:00", "noon", "", "1767225600.5"] {
            assert!(written_time(text).unwrap_err().contains("neither RFC 3339"), "{text}");
        }
    }

    #[test]
    fn times_are_read_in_every_usual_way() {
        assert_eq!(read_time("2027-01-15T08:00:00Z", 0), Ok(1_800_000_000));
        assert_eq!(read_time("1800000000", 0), Ok(1_800_000_000));
        assert_eq!(read_time("+15m", 100), Ok(1_000));
        assert_eq!(read_time(" 15m", 100), Ok(1_000), "an unescaped plus arrives as a blank");
        assert_eq!(read_time("-2h", 10_000), Ok(2_800));
        assert!(read_time("soon", 0).is_err() && read_time("9223372036854775807d", 5).is_err());
    }
}
