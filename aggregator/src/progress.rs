//! How far what takes long has come, on standard error: on a terminal a bar with the time that is left, elsewhere a line now and then.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Where nobody looks at a bar a line is written this often, and none of what ends before.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Progress of one piece of work. It may be told by several threads.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    began: Instant,
    told: Mutex<Instant>,
}

impl Progress {
    /// Of `work` parts; `what` begins a line.
    pub fn new(what: &'static str, work: u64) -> Self {
        let bar = ProgressBar::new(work);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %, {eta} left  {msg}") {
            bar.set_style(style);
        }
        let now = Instant::now();
        Self { bar, what, began: now, told: Mutex::new(now) }
    }

    /// Where it is: a time, a name.
    pub fn at(&self, place: String) {
        self.bar.set_message(place);
    }

    /// So many parts more are done.
    pub fn inc(&self, parts: u64) {
        self.bar.inc(parts);
        self.line();
    }

    /// So many parts of so many are done.
    pub fn set(&self, done: u64, work: u64) {
        self.bar.set_length(work);
        self.bar.set_position(done);
        self.line();
    }

    /// A line that stays, above the bar where there is one.
    pub fn println(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// The bar goes away.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self) {
        if !self.bar.is_hidden() {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() < LINE_EVERY {
            return;
        }
        *told = Instant::now();
        let (done, work) = (self.bar.position(), self.bar.length().unwrap_or_default());
        eprintln!("{}", line(self.what, done, work, self.began.elapsed(), &self.bar.message()));
    }
}

fn line(what: &str, done: u64, work: u64, elapsed: Duration, place: &str) -> String {
    #[allow(clippy::cast_precision_loss, reason = "parts of work")]
    let share = if work == 0 { 0.0 } else { (done as f64 / work as f64).min(1.0) };
    // Of what has hardly begun nobody knows.
    let left =
        if share >= 0.01 { format!(", {} left", lasting(elapsed.mul_f64(1.0 / share - 1.0))) } else { String::new() };
    let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
    format!("{what}: {:.0} %{left}{place}", 100.0 * share)
}

/// A length of time in one unit.
pub fn lasting(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..90 => format!("{seconds} s"),
        seconds @ 90..5_400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1_800) / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_and_how_long_it_takes() {
        let after = Duration::from_secs(30);
        assert_eq!(line("backtest", 25, 100, after, ""), "backtest: 25 %, 2 min left");
        assert_eq!(line("import", 3, 4, after, "2026-01-01"), "import: 75 %, 10 s left (2026-01-01)");
        assert_eq!(line("import", 0, 4, after, ""), "import: 0 %");
        assert_eq!(line("import", 1, 0, after, ""), "import: 0 %");
        assert_eq!(lasting(Duration::from_secs(7_200)), "2 h");
    }
}
