//! Runs the simulated group in compressed time.

use std::sync::Arc;
use std::time::Duration;

use foreshadow_proto::convert::Id;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::shop::{GROUP, Picture, Shop};
use crate::act;
use crate::rounds::Board;
use crate::store::SampleStore;
use crate::supervise::Running;

/// Turns a second.
const TURNS: u32 = 4;

/// Minutes written in one transaction.
const MINUTES_AT_ONCE: usize = 1_000;

/// How it runs.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub seed: u64,
    /// Simulated minutes in one second.
    pub speed: u32,
    /// Simulated minutes after which it ends.
    pub minutes: Option<i64>,
}

/// The running simulation.
#[derive(Debug)]
pub struct Simulated {
    picture: watch::Receiver<Picture>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Simulated {
    /// Shown at this aggregator, and held by its red button.
    pub fn start(at: &Running, pace: Pace) -> Self {
        let (tell, picture) = watch::channel(Picture::default());
        let stop = CancellationToken::new();
        let (board, store, act) = (at.board.clone(), at.store.clone(), at.act.clone());
        let task = tokio::spawn(run(board, store, act, pace, tell, stop.clone()));
        Self { picture, stop, task }
    }

    pub fn watch(&self) -> watch::Receiver<Picture> {
        self.picture.clone()
    }

    /// Waits until its time is over; an error when it ended by itself before.
    pub async fn finished(&self) -> anyhow::Result<()> {
        let mut picture = self.picture.clone();
        match picture.wait_for(|picture| picture.finished).await {
            Ok(_) => Ok(()),
            Err(_) => anyhow::bail!("the simulated group ended by a fault"),
        }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        drop(self.task.await);
    }
}

async fn run(
    board: Board,
    store: Arc<dyn SampleStore>,
    act: act::Handle,
    pace: Pace,
    tell: watch::Sender<Picture>,
    stop: CancellationToken,
) {
    let Ok(name) = Id::new("group", GROUP) else { return };
    let Ok(Some(mut shop)) = tokio::task::spawn_blocking(move || Shop::open(pace.seed)).await else { return };
    let mut every = tokio::time::interval(Duration::from_secs(1) / TURNS);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut owed = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        owed += pace.speed;
        let (minutes, rest) = (owed / TURNS, owed % TURNS);
        owed = rest;
        // Time goes on, and so do measuring and planning.
        shop.set_paused(act.control().standing(&name).paused);
        let turn = tokio::task::spawn_blocking(move || {
            let mut report = None;
            for _ in 0..minutes {
                if pace.minutes.is_some_and(|most| shop.picture.minutes() >= most) {
                    shop.picture.finished = true;
                    break;
                }
                report = shop.minute().or(report);
            }
            (shop, report)
        });
        let Ok((moved, report)) = turn.await else { return };
        shop = moved;
        // A few at once: samples of this host take turns with them.
        for some in std::mem::take(&mut shop.minutes).chunks(MINUTES_AT_ONCE) {
            if let Err(error) = store.put_minutes(some).await {
                // Only the page would miss them.
                tracing::warn!(%error, "simulated minutes cannot be stored");
            }
        }
        if let Some(report) = report {
            board.publish(&name, report);
        }
        tell.send_replace(shop.picture.clone());
        if shop.picture.finished {
            stop.cancelled().await;
            return;
        }
    }
}
