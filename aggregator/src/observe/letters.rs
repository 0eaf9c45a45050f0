//! Reads the queue of the cloud's events. Each is a hint and nothing more; it is deleted when it was
//! taken. One that is lost, doubled, late or about somebody else changes nothing: the periodic
//! description is the source of record, with or without a queue.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Hint, Timeline};
use crate::clock::Clock;
use crate::fleet::{AwsQueue, Letter};

/// First and longest wait after a reading that failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Under this name a queue that cannot be read is told.
const QUEUE: &str = "event queue";

/// Reads until it is told to stop.
pub async fn read_letters(
    queue: AwsQueue,
    hint: Hint,
    timeline: Timeline,
    clock: Arc<dyn Clock>,
    shutdown: CancellationToken,
) {
    let mut wait = BACK_OFF.0;
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            received = queue.receive() => received,
        };
        let problem = match received {
            Ok(letters) => {
                let now = clock.wall_seconds();
                letters.letters.iter().for_each(|letter| take(letter, &hint, now));
                queue.delete(&letters.receipts).await.err()
            }
            Err(error) => Some(error),
        };
        metrics::gauge!("foreshadow_queue_read").set(f64::from(u8::from(problem.is_none())));
        match problem {
            None => {
                timeline.set_problem(QUEUE, None);
                wait = BACK_OFF.0;
            }
            Some(error) => {
                if wait == BACK_OFF.0 {
                    tracing::error!(%error, "the event queue cannot be read; detachments are found by describing alone");
                }
                timeline.set_problem(QUEUE, Some(error.to_string()));
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                wait = BACK_OFF.1.min(wait * 2);
            }
        }
    }
}

fn take(letter: &Letter, hint: &Hint, now: i64) {
    metrics::counter!("foreshadow_letters_total", "was" => letter.word()).increment(1);
    match letter {
        Letter::Moves(notices) => {
            for notice in notices {
                hint.notice(notice, now);
            }
        }
        Letter::Other(what) => tracing::debug!(what, "an event that says nothing of a move"),
        Letter::Unreadable(problem) => tracing::warn!(problem, "a message of the event queue cannot be read"),
    }
}
