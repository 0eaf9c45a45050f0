//! The picture on a terminal of at least 80 columns and 24 rows.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, Paragraph, Sparkline, Wrap};

use super::happenings::{Happening, Kind};
use super::host::Host;
use super::score::Figures;
use super::shop::{GROUP, Picture, TARGET};
use super::view::{clock, words};
use crate::rounds::GroupReport;

/// Steps of forecast drawn: six hours.
const AHEAD: usize = 72;
/// Minutes of a step of forecast.
const STEP_MINUTES: f64 = 5.0;
/// From this height on the host gets a frame of its own, and the log more room.
const TALL: u16 = 34;
/// From this width on the measured coverage is told.
const WIDE: u16 = 100;

/// Everything that is drawn.
pub struct Scene<'a> {
    pub url: &'a str,
    pub host: &'a Host,
    pub report: Option<&'a GroupReport>,
    pub picture: &'a Picture,
}

pub fn scene(frame: &mut Frame<'_>, scene: &Scene<'_>) {
    let tall = frame.area().height >= TALL;
    let [top, host, chart, score, log] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(if tall { 7 } else { 1 }),
        Constraint::Min(9),
        Constraint::Length(4),
        Constraint::Length(if tall { 13 } else { 8 }),
    ])
    .areas(frame.area());
    let title = format!("Foreshadow demo   API {}   q ends", scene.url);
    frame.render_widget(Paragraph::new(Line::from(title).bold()), top);
    if tall {
        draw_host(frame, host, scene.host, scene.report);
    } else {
        frame.render_widget(Paragraph::new(host_in_a_line(scene.host)), host);
    }
    draw_forecast(frame, chart, scene.picture);
    draw_score(frame, score, scene.picture);
    draw_log(frame, log, scene.picture);
}

/// Who is there and who is needed, in words.
pub fn standing(picture: &Picture) -> String {
    format!(
        "serving {}, warming {}, shadow {}, need {} now, {} ahead (trust {:.2})",
        picture.serving,
        picture.warming,
        picture.draining + picture.shadow,
        or_dash(picture.need_now),
        or_dash(picture.need_ahead),
        picture.trust
    )
}

/// Name of a reactive way of scaling.
pub fn reactive(target: f64) -> String {
    let dear = if target < TARGET { ", as dear" } else { "" };
    format!("reactive {target:.0} %{dear}")
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} %"))
}

fn host_in_a_line(host: &Host) -> String {
    format!(
        "this host, measured: {}, cpu {}, memory {}, {} samples durable",
        host.instance,
        percent(host.cpu.back().copied()),
        percent(host.memory_percent),
        host.samples
    )
}

fn draw_host(frame: &mut Frame<'_>, area: Rect, host: &Host, report: Option<&GroupReport>) {
    let block = Block::bordered().title(format!(" this host, measured: {} ", host.instance));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [left, spark] = Layout::horizontal([Constraint::Length(44), Constraint::Min(20)]).areas(inner);
    let rate = |bytes: Option<f64>| bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{:.1} kB/s", bytes / 1e3));
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
    frame.render_widget(Paragraph::new(lines), left);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let recent: Vec<u64> = {
        let skip = host.cpu.len().saturating_sub(usize::from(spark.width));
        host.cpu.iter().skip(skip).map(|cpu| (cpu * 10.0) as u64).collect()
    };
    let sparkline = Sparkline::default().data(&recent).max(1_000).style(Style::new().fg(Color::Cyan));
    frame.render_widget(sparkline, spark);
}

#[allow(clippy::cast_precision_loss, reason = "minutes of a day")]
fn draw_forecast(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    if picture.demand.is_empty() {
        let text = "making two weeks of history and the first forecast…";
        frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" simulated load ")), area);
        return;
    }
    let count = picture.demand.len();
    let behind = |values: &std::collections::VecDeque<f64>| -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(at, value)| (at as f64 - count as f64, *value)).collect()
    };
    let (past, capacity) = (behind(&picture.demand), behind(&picture.capacity));
    let ahead = |path: &[f64]| -> Vec<(f64, f64)> {
        path.iter().take(AHEAD).enumerate().map(|(at, demand)| ((at as f64 + 0.5) * STEP_MINUTES, *demand)).collect()
    };
    let (median, upper) = (ahead(&picture.median), ahead(&picture.upper));
    let highest = past.iter().chain(&capacity).chain(&upper).map(|(_, demand)| *demand).fold(1.0, f64::max) * 1.1;
    let quantile = format!("{:.0} % stay below", 100.0 * picture.confidence);
    let curves = [
        ("can be carried", Color::Green, &capacity),
        ("demand", Color::Cyan, &past),
        ("forecast", Color::Yellow, &median),
        (quantile.as_str(), Color::Magenta, &upper),
    ];
    let mut title = vec![Span::from(format!(" {GROUP}, SIMULATED, {}: ", clock(picture.now)))];
    for (name, colour, _) in &curves {
        title.push(Span::styled((*name).to_owned(), Style::new().fg(*colour)));
        title.push(Span::from("  "));
    }
    let datasets = curves.map(|(_, colour, data)| {
        let style = Style::new().fg(colour);
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(data)
    });
    let coverage = picture.coverage.filter(|_| area.width >= WIDE).map_or_else(String::new, |coverage| {
        format!("; {:.0} % interval held {:.0} %", 100.0 * picture.nominal, 100.0 * coverage)
    });
    let below = format!(" {}{coverage} ", standing(picture));
    let (from, to) = (-(super::shop::SHOWN as f64), AHEAD as f64 * STEP_MINUTES);
    // Labels stand evenly: twelve hours behind and six ahead make thirds.
    let hour = |third: f64| match (from + (to - from) * third / 3.0) / 60.0 {
        hours if hours.abs() < 0.1 => "now".to_owned(),
        hours => format!("{hours:+.0} h"),
    };
    let chart = Chart::new(datasets.to_vec())
        .block(Block::bordered().title(Line::from(title)).title_bottom(below))
        .legend_position(None)
        .x_axis(Axis::default().bounds([from, to]).labels([0.0, 1.0, 2.0, 3.0].map(hour)))
        .y_axis(Axis::default().bounds([0.0, highest]).labels(["0".to_owned(), format!("{highest:.0}")]));
    frame.render_widget(chart, area);
}

/// Ours beside the reactive ones, so far.
fn draw_score(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let row = |name: &str, figures: &Figures| {
        format!("{name:<26}{:>12}{:>13}{:>17.1}", figures.above_target, figures.above_90, figures.instance_hours)
    };
    let above = format!("min > {TARGET:.0} %");
    let head = format!("{:<26}{above:>12}{:>13}{:>17}", "the same load, so far", "min > 90 %", "instance-hours");
    let mut lines = vec![Line::from(head).dim(), Line::from(row("Foreshadow", &picture.ours)).bold()];
    for (target, figures) in picture.rivals() {
        lines.push(Line::from(row(&reactive(target), &figures)));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let newest = picture.happenings.lines.iter().rev().take(usize::from(area.height));
    let mut lines: Vec<Line<'_>> = newest.map(coloured).collect();
    if lines.is_empty() {
        lines.push(Line::from("nothing had to be done so far"));
    }
    let block = Block::default().borders(Borders::TOP).title(" done, newest first, with the plan's reason ");
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }).block(block), area);
}

fn coloured(line: &Happening) -> Line<'static> {
    let colour = match line.kind {
        Kind::LaunchAhead | Kind::Launch => Color::Yellow,
        Kind::Detach => Color::Blue,
        Kind::Reattach => Color::Green,
        Kind::Terminate => Color::Magenta,
        Kind::Lease => Color::DarkGray,
        Kind::Refused => Color::Red,
    };
    let words = words(line);
    let (what, why) = words.split_once(": ").map_or((words.as_str(), ""), |parts| parts);
    Line::from(vec![Span::styled(format!("{what}: "), Style::new().fg(colour).bold()), Span::from(why.to_owned())])
}

fn or_dash(number: Option<u32>) -> String {
    number.map_or_else(|| "–".to_owned(), |number| number.to_string())
}
