//! What a person sees of the demo: a live picture on a terminal, plain lines elsewhere, a summary at
//! the end.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use foreshadow_proto::convert::Id;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::HOST_GROUP;
use super::draw::{self, Scene};
use super::happenings::{Happening, Kind};
use super::host::Host;
use super::score::Figures;
use super::shop::{GROUP, Picture, TARGET};
use crate::live::Arrived;
use crate::rounds::{Board, GroupReport};
use crate::supervise::Running;

/// The picture is drawn this often.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// A plain line of how things stand is written this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The view while it is open.
pub struct View {
    terminal: Option<DefaultTerminal>,
    samples: broadcast::Receiver<Arrived>,
    picture: watch::Receiver<Picture>,
    board: Board,
    url: String,
    host: Host,
    began: Instant,
    /// Number of the last happening that was written.
    told: usize,
}

impl View {
    pub fn open(running: &Running, picture: watch::Receiver<Picture>, live: bool) -> io::Result<Self> {
        let terminal = if live { Some(ratatui::try_init()?) } else { None };
        Ok(Self {
            terminal,
            samples: running.live.follow(),
            picture,
            board: running.board.clone(),
            url: running.url.clone(),
            host: Host::default(),
            began: Instant::now(),
            told: 0,
        })
    }

    /// Shows until the person asks to end (`q`, Escape or Ctrl-C on a terminal).
    pub async fn run(&mut self) -> anyhow::Result<()> {
        if self.terminal.is_none() {
            println!("Foreshadow demo. API: {}  (try {}/groups)", self.url, self.url);
            println!(
                "This host is measured for real in the group {HOST_GROUP}. {GROUP} is simulated: load, cloud and time;"
            );
            println!("forecast, plans, checker and journal are the product's own, in mode full.");
        }
        let mut draw = tokio::time::interval(DRAW_EVERY);
        draw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut line = tokio::time::interval_at(Instant::now() + LINE_EVERY, LINE_EVERY);
        loop {
            tokio::select! {
                arrived = self.samples.recv() => match arrived {
                    Ok(arrived) => self.host.take(&arrived),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                _ = draw.tick() => if self.terminal.is_some() {
                    if asked_to_end()? {
                        return Ok(());
                    }
                    self.draw()?;
                } else {
                    self.tell();
                },
                _ = line.tick(), if self.terminal.is_none() => println!("{}", self.line()),
            }
        }
    }

    /// Gives the terminal back, or writes what is not written yet.
    pub fn close(&mut self) {
        match self.terminal.take() {
            Some(_) => ratatui::restore(),
            None => self.tell(),
        }
    }

    fn host_group(&self) -> Option<Arc<GroupReport>> {
        self.board.report(&Id::new("group", HOST_GROUP).ok()?)
    }

    /// Writes what happened since the last time.
    fn tell(&mut self) {
        let picture = self.picture.borrow();
        for line in picture.happenings.lines.iter().filter(|line| line.number > self.told) {
            println!("  {}", words(line));
        }
        self.told = picture.happenings.count;
    }

    fn line(&self) -> String {
        let picture = self.picture.borrow();
        if picture.demand.is_empty() {
            return format!("[{:>4} s] making two weeks of simulated history", self.began.elapsed().as_secs());
        }
        let cpu = self.host.cpu.back().map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.1} %"));
        format!(
            "[{:>4} s] this host: cpu {cpu}, {} samples durable | simulated {}: demand {:.0}, {}",
            self.began.elapsed().as_secs(),
            self.host.samples,
            clock(picture.now),
            picture.demand.back().copied().unwrap_or_default(),
            draw::standing(&picture),
        )
    }

    /// What was seen, for the end.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        _ = self.summarise(&mut text);
        text
    }

    fn summarise(&self, text: &mut String) -> std::fmt::Result {
        let (picture, host) = (self.picture.borrow(), &self.host);
        #[allow(clippy::cast_precision_loss, reason = "a few samples")]
        let mean = if host.samples > 0 { host.cpu_sum / host.samples as f64 } else { 0.0 };
        writeln!(text, "Foreshadow demo, {} s", self.began.elapsed().as_secs())?;
        writeln!(text, "  this host ({}), measured", if host.instance.is_empty() { "–" } else { &host.instance })?;
        writeln!(text, "    samples made durable   {}, mean cpu {mean:.1} %", host.samples)?;
        match self.host_group().and_then(|report| report.summary.need_now) {
            Some(need) => writeln!(text, "    need for its demand    {need} instance(s)")?,
            None => writeln!(text, "    need for its demand    not known yet: a minute of samples is needed")?,
        }
        writeln!(text, "    its forecast           after 30 minutes of samples")?;
        if picture.demand.is_empty() {
            // Before its first minute the picture has no time at all.
            return writeln!(
                text,
                "  {GROUP}: SIMULATED load and cloud; nothing was shown yet, its past takes some seconds to make"
            );
        }
        #[allow(clippy::cast_precision_loss, reason = "minutes of days")]
        let hours = picture.minutes() as f64 / 60.0;
        writeln!(text, "  {GROUP}: SIMULATED load and cloud, {hours:.1} hours in compressed time, mode full")?;
        if picture.judged > 0 {
            let (held, judged, confidence) = (picture.held, picture.judged, 100.0 * picture.confidence);
            writeln!(text, "    forecast an hour ahead held {held} of {judged} times at {confidence:.0} % confidence")?;
            writeln!(text, "    model {} (trust {:.2})", picture.model, picture.trust)?;
        }
        if !picture.happenings.firsts.is_empty() {
            writeln!(text, "  the first of each kind")?;
        }
        for first in picture.happenings.firsts.iter().filter(|first| first.kind != Kind::Refused) {
            writeln!(text, "    {}", words(first))?;
        }
        let above = format!("> {TARGET:.0} %");
        writeln!(
            text,
            "  {:<23}{above:>7}{:>7}{:>7}{:>7}{:>7}{:>10}{:>10}",
            "the same load, scaled", "> 90 %", "hours", "launch", "detach", "re-attach", "terminate"
        )?;
        writeln!(text, "  {}", row("Foreshadow", &picture.ours))?;
        for (target, figures) in picture.rivals() {
            writeln!(text, "  {}", row(&draw::reactive(target), &figures))?;
        }
        writeln!(
            text,
            "  > {TARGET:.0} %, > 90 %: minutes in which those that serve were used more than that; hours: of"
        )?;
        writeln!(text, "  everything that ran, warming, draining and shadows included; the rest: instances.")?;
        writeln!(text, "Next: foreshadow serve --help, and the README.")
    }

    fn draw(&mut self) -> io::Result<()> {
        let Some(mut terminal) = self.terminal.take() else { return Ok(()) };
        let picture = self.picture.borrow().clone();
        let report = self.host_group();
        let scene = Scene { url: &self.url, host: &self.host, report: report.as_deref(), picture: &picture };
        let drawn = terminal.draw(|frame| draw::scene(frame, &scene)).map(|_| ());
        self.terminal = Some(terminal);
        drawn
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if self.terminal.take().is_some() {
            ratatui::restore();
        }
    }
}

/// A key was pressed that ends the demo. On a terminal in raw mode Ctrl-C is a key.
fn asked_to_end() -> io::Result<bool> {
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()? {
            let control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            if control_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// One line of the log.
pub(super) fn words(line: &Happening) -> String {
    format!("{}  {}", clock(line.at), line.words)
}

fn row(name: &str, of: &Figures) -> String {
    format!(
        "{name:<23}{:>7}{:>7}{:>7.0}{:>7}{:>7}{:>10}{:>10}",
        of.above_target, of.above_90, of.instance_hours, of.launched, of.detached, of.reattached, of.terminated
    )
}

/// Weekday and time of a simulated moment.
pub(super) fn clock(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|at| at.strftime("%a %H:%M").to_string()).unwrap_or_default()
}
