//! The picture of the step rule in the docs is drawn by the rule itself. `FORESHADOW_REGENERATE=1`
//! draws it anew.

use std::fmt::Write as _;
use std::path::Path;

use planner::rule::step;

const SERVING: u32 = 20;
const REACTIVE: u32 = 14;
const MOST: u32 = 40;
const TRUSTS: [(f64, &str); 5] =
    [(0.0, "#888888"), (0.25, "#7b9acc"), (0.5, "#3b75af"), (0.75, "#d98324"), (1.0, "#b03a2e")];
const LEFT: f64 = 60.0;
const TOP: f64 = 20.0;
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 300.0;

fn x(forecast: u32) -> f64 {
    LEFT + WIDTH * f64::from(forecast) / f64::from(MOST)
}

/// Steps from −8 to +20.
fn y(change: i64) -> f64 {
    TOP + HEIGHT * (20 - change) as f64 / 28.0
}

fn picture() -> String {
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 380\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"760\" height=\"380\" fill=\"white\"/>\n",
    );
    let mut say = |line: std::fmt::Arguments<'_>| writeln!(svg, "{line}").expect("a string");
    for change in (-8..=20).step_by(4) {
        let (y, right) = (y(change), LEFT + WIDTH);
        say(format_args!(
            "<path d=\"M{LEFT:.0} {y:.1}H{right:.0}\" stroke=\"{}\"/>",
            if change == 0 { "#000" } else { "#ddd" }
        ));
        say(format_args!("<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{change:+}</text>", LEFT - 8.0, y + 4.0));
    }
    for forecast in (0..=MOST).step_by(10) {
        let (x, bottom) = (x(forecast), TOP + HEIGHT + 18.0);
        say(format_args!("<text x=\"{x:.1}\" y=\"{bottom:.0}\" text-anchor=\"middle\">{forecast}</text>"));
    }
    for (place, what) in [(REACTIVE, "needed now"), (SERVING, "serving")] {
        let (x, bottom) = (x(place), TOP + HEIGHT);
        say(format_args!("<path d=\"M{x:.1} {TOP:.0}V{bottom:.0}\" stroke=\"#aaa\" stroke-dasharray=\"4 3\"/>"));
        say(format_args!("<text x=\"{:.1}\" y=\"{:.0}\" fill=\"#666\">{what}</text>", x + 4.0, TOP + 12.0));
    }
    for (index, (trust, colour)) in TRUSTS.into_iter().enumerate() {
        let mut path = String::new();
        for forecast in 0..=MOST {
            let sizes = step(SERVING, REACTIVE, forecast, trust);
            let change = i64::from(sizes.out) - i64::from(sizes.inward);
            let command = if forecast == 0 { 'M' } else { 'L' };
            write!(path, "{command}{:.1} {:.1}", x(forecast), y(change)).expect("a string");
        }
        say(format_args!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"));
        let at = 140.0 + 20.0 * index as f64;
        say(format_args!("<text x=\"640\" y=\"{at:.0}\" fill=\"{colour}\">trust {trust:.2}</text>"));
    }
    say(format_args!(
        "<text x=\"340\" y=\"362\" text-anchor=\"middle\">forecast need (20 serve, 14 needed now)</text>"
    ));
    say(format_args!(
        "<text x=\"14\" y=\"170\" transform=\"rotate(-90 14 170)\" text-anchor=\"middle\">instances</text>"
    ));
    svg.push_str("</svg>\n");
    svg
}

#[test]
fn the_picture_in_the_docs_is_the_rule() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/step-rule.svg");
    let drawn = picture();
    if std::env::var_os("FORESHADOW_REGENERATE").is_some() {
        std::fs::write(&path, &drawn).expect("written");
    }
    let kept = std::fs::read_to_string(&path).expect("docs/step-rule.svg");
    assert!(drawn == kept, "the rule draws another picture: FORESHADOW_REGENERATE=1 accepts it");
}
