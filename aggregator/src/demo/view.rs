//! What a person sees of the demo: a live picture on a terminal, plain lines elsewhere.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use foreshadow_proto::convert::Id;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, LegendPosition, Paragraph, Sparkline, Wrap};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::HOST_GROUP;
use super::simulated::{GROUP, Picture};
use crate::live::Arrived;
use crate::rounds::Board;
use crate::supervise::Running;

/// The picture is drawn this often.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// A plain line is written this often.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Samples of this host kept for the sparkline.
const KEPT: usize = 240;
/// Steps of forecast drawn: six hours.
const AHEAD: usize = 72;

/// What was seen of this host.
#[derive(Debug, Default)]
struct Host {
    instance: String,
    cpu: VecDeque<f64>,
    memory_percent: Option<f64>,
    in_bytes: Option<f64>,
    out_bytes: Option<f64>,
    samples: u64,
    cpu_sum: f64,
}

/// The view while it is open.
pub struct View {
    terminal: Option<DefaultTerminal>,
    samples: broadcast::Receiver<Arrived>,
    picture: watch::Receiver<Picture>,
    board: Board,
    url: String,
    host: Host,
    began: Instant,
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
        })
    }

    /// Shows until the person asks to end (`q`, Escape or Ctrl-C on a terminal).
    pub async fn run(&mut self) -> anyhow::Result<()> {
        if self.terminal.is_none() {
            println!("Foreshadow demo. API: {}  (try {}/groups)", self.url, self.url);
            println!("This host is measured for real in the group {HOST_GROUP}; {GROUP} is simulated load.");
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
                _ = draw.tick(), if self.terminal.is_some() => {
                    if asked_to_end()? {
                        return Ok(());
                    }
                    self.draw()?;
                }
                _ = line.tick(), if self.terminal.is_none() => println!("{}", self.line()),
            }
        }
    }

    /// Gives the terminal back.
    pub fn close(&mut self) {
        if self.terminal.take().is_some() {
            ratatui::restore();
        }
    }

    fn host_group(&self) -> Option<std::sync::Arc<crate::rounds::GroupReport>> {
        self.board.report(&Id::new("group", HOST_GROUP).ok()?)
    }

    fn line(&self) -> String {
        let picture = self.picture.borrow();
        let cpu = self.host.cpu.back().map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.1} %"));
        format!(
            "[{:>4} s] this host: cpu {cpu}, {} samples durable | simulated {}: demand {:.0}, serving {}, need {} now, \
             {} ahead (trust {:.2})",
            self.began.elapsed().as_secs(),
            self.host.samples,
            clock(picture.now),
            picture.demand.last().copied().unwrap_or_default(),
            picture.serving,
            or_dash(picture.need_now),
            or_dash(picture.need_ahead),
            picture.trust,
        )
    }

    /// What was seen, for the end.
    pub fn summary(&self) -> String {
        let picture = self.picture.borrow();
        let host = &self.host;
        let mut text = String::new();
        let mut say = |line: std::fmt::Arguments<'_>| {
            text.push_str(&line.to_string());
            text.push('\n');
        };
        #[allow(clippy::cast_precision_loss, reason = "a few samples")]
        let mean = if host.samples > 0 { host.cpu_sum / host.samples as f64 } else { 0.0 };
        say(format_args!("Foreshadow demo, {} s", self.began.elapsed().as_secs()));
        say(format_args!("  this host ({})", if host.instance.is_empty() { "–" } else { &host.instance }));
        say(format_args!("    samples made durable   {}", host.samples));
        say(format_args!("    mean cpu               {mean:.1} %"));
        match self.host_group().and_then(|report| report.summary.need_now) {
            Some(need) => say(format_args!("    need for its demand    {need} instance(s)")),
            None => say(format_args!("    need for its demand    not known yet: a minute of samples is needed")),
        }
        say(format_args!("    its forecast           after 30 minutes of samples"));
        let minutes = (picture.now - picture.started) / 60;
        say(format_args!("  {GROUP} (simulated load, {minutes} minutes in compressed time)"));
        say(format_args!("    plans made in observe  {}", picture.plans_made));
        say(format_args!(
            "    of these wanted        {} to launch, {} to detach into shadow (nothing was done: observe)",
            picture.plans_out, picture.plans_in
        ));
        if picture.judged > 0 {
            say(format_args!(
                "    forecast an hour ahead held {} of {} times at {:.0} % confidence",
                picture.held,
                picture.judged,
                100.0 * picture.confidence
            ));
        }
        say(format_args!("    model                  {} (trust {:.2})", picture.model, picture.trust));
        say(format_args!("Next: foreshadow serve --help, and the README."));
        text
    }

    fn draw(&mut self) -> io::Result<()> {
        let Some(mut terminal) = self.terminal.take() else { return Ok(()) };
        let picture = self.picture.borrow().clone();
        let report = self.host_group();
        let drawn = terminal.draw(|frame| {
            let [top, host, chart, plans] = Layout::vertical([
                Constraint::Length(2),
                Constraint::Length(7),
                Constraint::Min(10),
                Constraint::Length(9),
            ])
            .areas(frame.area());
            let title = format!("Foreshadow demo   API {}   q ends", self.url);
            frame.render_widget(Paragraph::new(vec![Line::from(title).bold(), Line::from("")]), top);
            draw_host(frame, host, &self.host, report.as_deref());
            draw_forecast(frame, chart, &picture);
            draw_plans(frame, plans, &picture);
        });
        let drawn = drawn.map(|_| ());
        self.terminal = Some(terminal);
        drawn
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.close();
    }
}

impl Host {
    fn take(&mut self, arrived: &Arrived) {
        for stored in arrived.samples.iter() {
            let sample = &stored.sample;
            self.instance = stored.instance.to_string();
            self.samples += 1;
            if let Some(cpu) = sample.cpu_percent {
                self.cpu_sum += cpu;
                self.cpu.push_back(cpu);
                if self.cpu.len() > KEPT {
                    self.cpu.pop_front();
                }
            }
            #[allow(clippy::cast_precision_loss, reason = "bytes of memory")]
            if let (Some(used), Some(total)) = (sample.memory_used_bytes, sample.memory_total_bytes) {
                self.memory_percent = Some(100.0 * used as f64 / total.max(1) as f64);
            }
            self.in_bytes = sample.network.map(|network| network.in_bytes);
            self.out_bytes = sample.network.map(|network| network.out_bytes);
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

fn draw_host(frame: &mut ratatui::Frame<'_>, area: Rect, host: &Host, report: Option<&crate::rounds::GroupReport>) {
    let block = Block::bordered().title(format!(" this host, measured: {} ", host.instance));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [words, spark] = Layout::horizontal([Constraint::Length(44), Constraint::Min(20)]).areas(inner);
    let rate = |bytes: Option<f64>| bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{:.1} kB/s", bytes / 1e3));
    let percent = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} %"));
    let mut lines = vec![
        Line::from(format!("cpu     {}", percent(host.cpu.back().copied()))),
        Line::from(format!("memory  {}", percent(host.memory_percent))),
        Line::from(format!("network {} in, {} out", rate(host.in_bytes), rate(host.out_bytes))),
        Line::from(format!("samples {} durable", host.samples)),
    ];
    if let Some(report) = report {
        let need = or_dash(report.summary.need_now);
        let ahead = report.forecasts.values().next();
        let forecast = ahead.map_or("forecast after 30 min".to_owned(), |f| format!("forecast by {}", f.model));
        lines.push(Line::from(format!("need    {need} now; {forecast}")));
    }
    frame.render_widget(Paragraph::new(lines), words);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let recent: Vec<u64> = {
        let skip = host.cpu.len().saturating_sub(usize::from(spark.width));
        host.cpu.iter().skip(skip).map(|cpu| (cpu * 10.0) as u64).collect()
    };
    let sparkline = Sparkline::default().data(&recent).max(1_000).style(Style::new().fg(Color::Cyan));
    frame.render_widget(sparkline, spark);
}

#[allow(clippy::cast_precision_loss, reason = "minutes of a day")]
fn draw_forecast(frame: &mut ratatui::Frame<'_>, area: Rect, picture: &Picture) {
    if picture.demand.is_empty() {
        let text = "making two weeks of history and the first forecast…";
        frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" simulated load ")), area);
        return;
    }
    let count = picture.demand.len();
    let behind = |values: &[f64]| -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(at, value)| (at as f64 - count as f64, *value)).collect()
    };
    let (past, capacity) = (behind(&picture.demand), behind(&picture.capacity));
    let step = f64::from(picture.step_seconds.max(60)) / 60.0;
    let ahead = |path: &[f64]| -> Vec<(f64, f64)> {
        path.iter().take(AHEAD).enumerate().map(|(at, demand)| ((at as f64 + 0.5) * step, *demand)).collect()
    };
    let (median, upper) = (ahead(&picture.median), ahead(&picture.upper));
    let highest = past.iter().chain(&capacity).chain(&upper).map(|(_, demand)| *demand).fold(1.0, f64::max) * 1.1;
    let line = |name: String, color, data| {
        Dataset::default()
            .name(name)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(color))
            .data(data)
    };
    let quantile = format!("{:.0} % stay below", 100.0 * picture.confidence);
    let datasets = vec![
        line("what serves can carry".to_owned(), Color::DarkGray, &capacity),
        line("demand".to_owned(), Color::Cyan, &past),
        line("forecast".to_owned(), Color::Yellow, &median),
        line(quantile, Color::Magenta, &upper),
    ];
    let coverage = picture.coverage.map_or_else(String::new, |coverage| {
        format!(", interval of {:.0} % held {:.0} %", 100.0 * picture.nominal, 100.0 * coverage)
    });
    let title = format!(
        " {GROUP}: SIMULATED load, {}: serving {}, need {} now and {} ahead, trust {:.2}{coverage} ",
        clock(picture.now),
        picture.serving,
        or_dash(picture.need_now),
        or_dash(picture.need_ahead),
        picture.trust
    );
    let (from, to) = (-(count as f64), AHEAD as f64 * step);
    // Labels stand evenly: twelve hours behind and six ahead make thirds.
    let hour = |third: f64| match (from + (to - from) * third / 3.0) / 60.0 {
        hours if hours.abs() < 0.1 => "now".to_owned(),
        hours => format!("{hours:+.0} h"),
    };
    let chart = Chart::new(datasets)
        .block(Block::bordered().title(title))
        .legend_position(Some(LegendPosition::BottomRight))
        .hidden_legend_constraints((Constraint::Ratio(1, 2), Constraint::Ratio(1, 2)))
        .x_axis(Axis::default().bounds([from, to]).labels([0.0, 1.0, 2.0, 3.0].map(hour)))
        .y_axis(Axis::default().bounds([0.0, highest]).labels(["0".to_owned(), format!("{highest:.0}")]));
    frame.render_widget(chart, area);
}

fn draw_plans(frame: &mut ratatui::Frame<'_>, area: Rect, picture: &Picture) {
    let mut lines: Vec<Line<'_>> = picture.plans.iter().map(|plan| Line::from(plan.as_str())).collect();
    if lines.is_empty() {
        lines.push(Line::from("no step wanted so far"));
    }
    let title = format!(" plans in observe: what full would do (by {}) ", picture.model);
    let block = Block::bordered().title(title);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }).block(block), area);
}

fn or_dash(number: Option<u32>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| number.to_string())
}

/// Weekday and time of a simulated moment.
fn clock(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map(|at| at.strftime("%a %H:%M").to_string()).unwrap_or_default()
}
