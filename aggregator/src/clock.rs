//! The `Clock` seam: the only place where the aggregator reads time.

use std::fmt;

/// Wall and boot time. Production uses [`SystemClock`]; tests and the demo bring their own.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Microseconds since the Unix epoch.
    fn wall_micros(&self) -> i64;

    /// Seconds since the Unix epoch, rounded down.
    fn wall_seconds(&self) -> i64 {
        self.wall_micros().div_euclid(1_000_000)
    }
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    fn wall_micros(&self) -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

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
