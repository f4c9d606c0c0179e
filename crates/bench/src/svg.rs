//! The growth curves as a picture. It holds its own colours for light and dark pages, and nothing but the figures of
//! one run.

use crate::report::number;
use std::fmt::Write;

/// One curve: a figure over a size that grows by decades.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    pub(crate) across: &'static str,
    pub(crate) up: &'static str,
    /// Size, and the median with the smallest and the largest of the rounds.
    pub(crate) points: Vec<Point>,
    /// How many times the first value the last may be.
    pub(crate) reach: f64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) size: f64,
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 260.0;
/// Of the field in which the curve is.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 296.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 208.0;
const CAPTION: f64 = 34.0;

const STYLE: &str = "\
text{font:11px system-ui,sans-serif;fill:#24292f}\
.title{font-weight:600}\
.small{font-size:10px;fill:#57606a}\
.axis{stroke:#8c959f;stroke-width:1;fill:none}\
.reach{stroke:#9a6700;stroke-width:1;stroke-dasharray:4 3;fill:none}\
.curve{stroke:#0969da;stroke-width:2;fill:none}\
.spread{stroke:#0969da;stroke-width:1}\
.dot{fill:#0969da}\
@media(prefers-color-scheme:dark){\
text{fill:#e6edf3}.small{fill:#9198a1}.axis{stroke:#656c76}.reach{stroke:#d29922}\
.curve,.spread{stroke:#58a6ff}.dot{fill:#58a6ff}}";

/// All panels beside each other, and a line below them.
pub(crate) fn picture(panels: &[Panel], caption: &str) -> String {
    let (width, height) = (WIDTH * panels.len().max(1) as f64, HEIGHT + CAPTION);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\"><title>What an assertion costs as things grow</title><style>{STYLE}</style>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate({} 0)\">", WIDTH * at as f64);
        panel.draw(&mut out);
        out.push_str("</g>\n");
    }
    text(&mut out, "small", (LEFT - 40.0, HEIGHT + 14.0), "start", caption);
    out.push_str("</svg>\n");
    out
}

impl Panel {
    fn draw(&self, out: &mut String) {
        text(out, "title", (LEFT - 40.0, 18.0), "start", self.title);
        let up_and_reach = format!("{}; dashed: {} x the first", self.up, self.reach);
        text(out, "small", (LEFT - 40.0, 34.0), "start", &up_and_reach);
        text(out, "small", (f64::midpoint(LEFT, RIGHT), BOTTOM + 34.0), "middle", self.across);
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>");
        let top = self.top();
        for part in [0.0, 0.5, 1.0] {
            text(out, "small", (LEFT - 6.0, up(part * top, top) + 4.0), "end", &number(part * top));
        }
        self.draw_reach(out, top);
        let mut way = String::new();
        for (at, point) in self.points.iter().enumerate() {
            let (x, y) = (self.across(point.size), up(point.median, top));
            let _ = write!(way, "{}{x:.1} {y:.1}", if at == 0 { "M" } else { "L" });
            let (low, high) = (up(point.low, top), up(point.high, top));
            let _ = writeln!(out, "<path class=\"spread\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>");
            let _ = writeln!(out, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
            text(out, "", (x, low.max(y) + 16.0), "middle", &number(point.median));
            text(out, "small", (x, BOTTOM + 16.0), "middle", &size_text(point.size));
        }
        let _ = writeln!(out, "<path class=\"curve\" d=\"{way}\"/>");
    }

    fn draw_reach(&self, out: &mut String, top: f64) {
        let Some(first) = self.points.first() else { return };
        let y = up(first.median * self.reach, top);
        let _ = writeln!(out, "<path class=\"reach\" d=\"M{LEFT} {y:.1}H{RIGHT}\"/>");
    }

    /// The scale's end: room above the highest value.
    fn top(&self) -> f64 {
        let reach = self.points.first().map_or(1.0, |first| first.median * self.reach);
        let highest = self.points.iter().map(|point| point.high).fold(reach, f64::max) * 1.15;
        let step = 10f64.powf(highest.log10().floor()) / 2.0;
        (highest / step).ceil() * step
    }

    /// Sizes by their logarithm, with room at both ends.
    fn across(&self, size: f64) -> f64 {
        let ends = (self.points.first(), self.points.last());
        let (Some(first), Some(last)) = ends else { return LEFT };
        let span = (last.size / first.size).log10();
        let part = if span > 0.0 { (size / first.size).log10() / span } else { 0.5 };
        LEFT + 24.0 + part * (RIGHT - LEFT - 48.0)
    }
}

fn up(value: f64, top: f64) -> f64 {
    BOTTOM - value / top * (BOTTOM - TOP)
}

fn size_text(size: f64) -> String {
    if size >= 1e6 {
        format!("{} M", size / 1e6)
    } else if size >= 1e4 {
        format!("{} k", size / 1e3)
    } else {
        format!("{size}")
    }
}

fn text(out: &mut String, class: &str, (x, y): (f64, f64), anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    let _ = writeln!(out, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>");
}

#[cfg(test)]
mod tests {
    use super::{Panel, Point, picture};

    fn panel() -> Panel {
        let point = |size, median| Point { size, median, low: median - 5.0, high: median + 5.0 };
        Panel {
            title: "passkeys & vaults",
            across: "passkeys",
            up: "us",
            points: vec![point(10.0, 200.0), point(1e6, 230.0)],
            reach: 1.2,
        }
    }

    #[test]
    fn every_value_is_in_the_picture_and_words_are_escaped() {
        let picture = picture(&[panel()], "2026 <machine>");
        for words in
            [">200<", ">230<", ">1 M<", ">10<", "passkeys &amp; vaults", "2026 &lt;machine&gt;", "1.2 x"]
        {
            assert!(picture.contains(words), "{words}");
        }
    }

    #[test]
    fn the_curve_stays_within_its_field() {
        let panel = panel();
        let top = panel.top();
        assert!(panel.points.iter().all(|point| point.high < top));
        let ends = [panel.across(10.0), panel.across(1e6)];
        assert!(ends[0] > super::LEFT && ends[1] < super::RIGHT, "{ends:?}");
    }
}
