//! A plot as SVG: lines over a logarithmic scale.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const MARGIN: f64 = 56.0;
const COLOURS: [&str; 3] = ["#1f6f8b", "#b5651d", "#6b7280"];

/// One line: what it is, and its points from left to right.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws `lines` above powers of ten.
pub(crate) fn svg(title: &str, across: &str, up: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (left, right) = points().fold((f64::MAX, 1.0_f64), |(least, most), (x, _)| (least.min(*x), most.max(*x)));
    let top = points().fold(1.0_f64, |most, (_, y)| most.max(*y)) * 1.1;
    let x = |value: f64| MARGIN + (value / left).log10() / (right / left).log10().max(1e-9) * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - value / top * (HEIGHT - 2.0 * MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{MARGIN}\" y=\"24\" font-size=\"14\">{title}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{across}</text>\n<text x=\"{MARGIN}\" y=\"44\">{up}</text>\n",
        WIDTH - MARGIN,
        HEIGHT - 12.0
    );
    let mut put = |part: String| text.push_str(&part);
    // Enough of them for the eye, however short the scale is.
    let steps: &[f64] = if right / left > 100.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let first = left.log10().floor() as i32;
    let marks = (first..=first + 12).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
    for mark in marks.filter(|mark| (left * 0.999..=right * 1.001).contains(mark)) {
        let place = x(mark);
        put(format!(
            "<line x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{MARGIN}\" y2=\"{0}\" stroke=\"#e5e7eb\"/>\n\
             <text x=\"{place:.1}\" y=\"{1}\" text-anchor=\"middle\">{mark}</text>\n",
            HEIGHT - MARGIN,
            HEIGHT - MARGIN + 18.0
        ));
    }
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        put(format!(
            "<line x1=\"{MARGIN}\" x2=\"{0}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#e5e7eb\"/>\n\
             <text x=\"{2}\" y=\"{1:.1}\" text-anchor=\"end\">{value:.0}</text>\n",
            WIDTH - MARGIN,
            y(value),
            MARGIN - 6.0
        ));
    }
    for (line, colour) in lines.iter().zip(COLOURS) {
        let mut way = String::new();
        for (across, up) in &line.points {
            write!(way, "{:.1},{:.1} ", x(*across), y(*up)).unwrap_or_default();
        }
        put(format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            way.trim_end()
        ));
        if let Some((across, up)) = line.points.last() {
            put(format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>\n",
                x(*across),
                y(*up) - 8.0,
                line.name
            ));
        }
    }
    text.push_str("</svg>\n");
    text
}
