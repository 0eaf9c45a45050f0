//! Charts as SVG text: a frame with axes, and lines, bands and points in it.

use std::fmt::Write as _;

/// How a value becomes a place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    Linear,
    /// Near zero it shows more than far away, and zero itself has a place.
    Root,
}

/// A chart under construction; values go in, places come out.
#[derive(Debug)]
pub struct Chart {
    pub width: f64,
    pub height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: (f64, f64),
    y: (f64, f64),
    scale: Scale,
    body: String,
}

impl Chart {
    /// A chart of `width` × `height` for values within `x` and `y`.
    pub fn new(width: f64, height: f64, x: (f64, f64), y: (f64, f64), scale: Scale) -> Self {
        let widened = |(from, to): (f64, f64)| if to > from { (from, to) } else { (from, from + 1.0) };
        let (left, right, top, bottom) = (46.0, 14.0, 12.0, 38.0);
        Self { width, height, left, right, top, bottom, x: widened(x), y: widened(y), scale, body: String::new() }
    }

    pub fn x(&self, value: f64) -> f64 {
        let share = (value - self.x.0) / (self.x.1 - self.x.0);
        self.left + share.clamp(-0.02, 1.02) * (self.width - self.left - self.right)
    }

    pub fn y(&self, value: f64) -> f64 {
        let share = ((value - self.y.0) / (self.y.1 - self.y.0)).clamp(0.0, 1.05);
        let share = if self.scale == Scale::Root { share.sqrt() } else { share };
        self.height - self.bottom - share * (self.height - self.top - self.bottom)
    }

    /// Lines across with their values, and what they are of.
    pub fn y_axis(&mut self, ticks: &[f64], name: &str, unit: &str) {
        for tick in ticks {
            let (y, right) = (self.y(*tick), self.width - self.right);
            let left = self.left;
            let label = number(*tick);
            _ = write!(
                self.body,
                r#"<line class="grid" x1="{left:.1}" x2="{right:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{label}{unit}</text>"#,
                left - 6.0,
                y + 4.0
            );
        }
        if !name.is_empty() {
            let name = escaped(name);
            _ = write!(self.body, r#"<text class="axis" x="{:.1}" y="{:.1}">{name}</text>"#, self.left, self.top - 1.0);
        }
    }

    /// Ticks along the foot: place and label.
    pub fn x_axis(&mut self, ticks: &[(f64, String)], name: &str) {
        let foot = self.height - self.bottom;
        for (tick, label) in ticks {
            let x = self.x(*tick);
            let label = escaped(label);
            _ = write!(
                self.body,
                r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{foot:.1}" y2="{:.1}"/><text class="tick" x="{x:.1}" y="{:.1}" text-anchor="middle">{label}</text>"#,
                foot + 4.0,
                foot + 17.0
            );
        }
        let name = escaped(name);
        _ = write!(
            self.body,
            r#"<text class="axis" x="{:.1}" y="{:.1}" text-anchor="end">{name}</text>"#,
            self.width - self.right,
            self.height - 4.0
        );
    }

    /// A line through points.
    pub fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let path = self.path(points, false);
        _ = write!(self.body, r#"<path class="line {class}" d="{path}"/>"#);
    }

    /// A line that keeps its value until the next point.
    pub fn steps(&mut self, class: &str, points: &[(f64, f64)]) {
        let path = self.path(points, true);
        _ = write!(self.body, r#"<path class="line {class}" d="{path}"/>"#);
    }

    /// The room between a lower and an upper line.
    pub fn band(&mut self, class: &str, lower: &[(f64, f64)], upper: &[(f64, f64)], stepped: bool) {
        if lower.is_empty() || upper.is_empty() {
            return;
        }
        let above = self.path(upper, stepped);
        let back: Vec<(f64, f64)> = lower.iter().rev().copied().collect();
        let below = if stepped { self.stepped_back(&back) } else { self.path(&back, false) };
        _ = write!(self.body, r#"<path class="band {class}" d="{above}L{}Z"/>"#, below.trim_start_matches('M'));
    }

    /// A point that says something when it is pointed at; the keyboard reaches it.
    pub fn point(&mut self, class: &str, x: f64, y: f64, radius: f64, tip: &str) {
        let (x, y, tip) = (self.x(x), self.y(y), escaped(tip));
        _ = write!(
            self.body,
            r#"<circle class="point {class}" cx="{x:.1}" cy="{y:.1}" r="{radius}" data-tip="{tip}" tabindex="0"><title>{tip}</title></circle>"#
        );
    }

    /// A word at a value.
    pub fn word(&mut self, class: &str, x: f64, y: f64, shift: (f64, f64), anchor: &str, text: &str) {
        let (x, y, text) = (self.x(x) + shift.0, self.y(y) + shift.1, escaped(text));
        _ = write!(
            self.body,
            r#"<text class="word {class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        );
    }

    /// A box from `x.0` to `x.1` and `y.0` to `y.1`, which may say something.
    pub fn bar(&mut self, class: &str, x: (f64, f64), y: (f64, f64), tip: &str) {
        let (left, right, top, foot) = (self.x(x.0), self.x(x.1), self.y(y.1), self.y(y.0));
        let tip = escaped(tip);
        _ = write!(
            self.body,
            r#"<rect class="{class}" x="{left:.1}" y="{top:.1}" width="{:.1}" height="{:.1}" data-tip="{tip}"/>"#,
            (right - left).max(0.5),
            (foot - top).max(0.5)
        );
    }

    /// The whole, with what it shows for those who do not see it.
    pub fn finish(self, class: &str, label: &str) -> String {
        let label = escaped(label);
        format!(
            r#"<svg class="{class}" viewBox="0 0 {} {}" role="img" aria-label="{label}">{}</svg>"#,
            self.width, self.height, self.body
        )
    }

    fn path(&self, points: &[(f64, f64)], stepped: bool) -> String {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let (x, y) = (self.x(*x), self.y(*y));
            _ = match (index, stepped) {
                (0, _) => write!(path, "M{x:.1} {y:.1}"),
                (_, true) => write!(path, "H{x:.1}V{y:.1}"),
                (_, false) => write!(path, "L{x:.1} {y:.1}"),
            };
        }
        path
    }

    /// The same steps from right to left.
    fn stepped_back(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let (x, y) = (self.x(*x), self.y(*y));
            _ = if index == 0 { write!(path, "M{x:.1} {y:.1}") } else { write!(path, "V{y:.1}H{x:.1}") };
        }
        path
    }
}

/// Round values from `from` to `to`, about `count` of them.
pub fn ticks(from: f64, to: f64, count: f64) -> Vec<f64> {
    let raw = ((to - from) / count).max(1e-9);
    let power = 10.0_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|it| it * power).find(|it| *it >= raw).unwrap_or(raw);
    let mut ticks = Vec::new();
    let mut tick = (from / step).ceil() * step;
    while tick <= to + step * 1e-6 && ticks.len() < 50 {
        ticks.push(tick);
        tick += step;
    }
    ticks
}

/// A number as short as it may be.
pub fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text that is safe in markup and in attributes.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 10.0, 5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.95, 1.6, 4.0).iter().map(|it| number(*it)).collect::<Vec<_>>(), ["1", "1.2", "1.4", "1.6"]);
    }

    #[test]
    fn what_a_name_holds_cannot_become_markup() {
        let mut chart = Chart::new(300.0, 200.0, (0.0, 1.0), (0.0, 1.0), Scale::Linear);
        chart.point("x", 0.5, 0.5, 3.0, "<script>\"'&");
        assert!(!chart.finish("", "<b>").contains("<script>"));
    }

    #[test]
    fn places_grow_to_the_right_and_upwards_and_zero_has_one() {
        let chart = Chart::new(300.0, 200.0, (0.0, 1.0), (0.0, 9.0), Scale::Root);
        assert!(chart.x(0.2) < chart.x(0.8) && chart.y(1.0) > chart.y(4.0));
        assert!((chart.y(0.0) - 162.0).abs() < 1e-9);
        let third = chart.y(0.0) - chart.y(1.0);
        assert!((chart.y(0.0) - chart.y(9.0) - 3.0 * third).abs() < 1e-6);
    }
}
