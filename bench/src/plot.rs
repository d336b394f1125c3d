//! Plots as SVG that stand on light and dark pages alike.

use std::fmt::Write;

/// Colours of agents, told apart on white and on black, also by who sees less colour.
const COLOURS: [&str; 6] = ["#0a84c1", "#d9822b", "#7a9a01", "#a05fb4", "#c94f6d", "#808080"];

/// Bars that belong together.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Who and how much.
    pub(crate) bars: Vec<(String, f64)>,
}

/// A line of points.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws horizontal bars from 0, each with its number.
pub(crate) fn bars(title: &str, unit: &str, groups: &[Group]) -> String {
    const LEFT: f64 = 280.0;
    const WIDE: f64 = 420.0;
    const HIGH: f64 = 15.0;
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in groups.iter().flat_map(|group| &group.bars) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let values = groups.iter().flat_map(|group| &group.bars).map(|(_, value)| *value);
    let most = values.fold(f64::MIN_POSITIVE, f64::max);
    let (mut y, mut inner) = (legend_height(&names), String::new());
    for group in groups {
        let middle = y + HIGH * group.bars.len() as f64 / 2.0 + 4.0;
        text(&mut inner, (LEFT - 8.0, middle), "end", &group.name);
        for (name, value) in &group.bars {
            let colour = colour(&names, name);
            let wide = if value.is_finite() { value / most * WIDE } else { 0.0 };
            let _ = writeln!(
                inner,
                r#"<rect x="{LEFT}" y="{y:.1}" width="{wide:.1}" height="{:.1}" fill="{colour}"/>"#,
                HIGH - 2.0
            );
            let label = format!("{} {unit}", short(*value));
            text(&mut inner, (LEFT + wide + 5.0, y + HIGH - 4.0), "start", &label);
            y += HIGH;
        }
        y += 8.0;
    }
    document(title, &names, (LEFT + WIDE + 100.0, y + 8.0), &inner)
}

/// Draws lines; both axes grow by powers of ten.
pub(crate) fn lines(title: &str, axes: (&str, &str), series: &[Series]) -> String {
    const LEFT: f64 = 80.0;
    const WIDE: f64 = 560.0;
    const HIGH: f64 = 320.0;
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    let top = legend_height(&names);
    let points = || series.iter().flat_map(|series| &series.points).filter(|(x, y)| drawn(*x, *y));
    let (x_low, x_high) = decades(points().map(|(x, _)| *x));
    let (y_low, y_high) = decades(points().map(|(_, y)| *y));
    let place = |x: f64, y: f64| {
        let right = (x.log10() - x_low) / (x_high - x_low) * WIDE;
        let up = (y.log10() - y_low) / (y_high - y_low) * HIGH;
        (LEFT + right, top + HIGH - up)
    };
    let mut inner = String::new();
    let mut rule = |from: (f64, f64), to: (f64, f64)| {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(inner, r#"<path class="grid" d="M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}"/>"#);
    };
    for decade in x_low as i32..=x_high as i32 {
        let x = place(10f64.powi(decade), 1.0).0;
        rule((x, top), (x, top + HIGH));
    }
    for decade in y_low as i32..=y_high as i32 {
        let y = place(1.0, 10f64.powi(decade)).1;
        rule((LEFT, y), (LEFT + WIDE, y));
    }
    for decade in x_low as i32..=x_high as i32 {
        let x = place(10f64.powi(decade), 1.0).0;
        text(&mut inner, (x, top + HIGH + 16.0), "middle", &short(10f64.powi(decade)));
    }
    for decade in y_low as i32..=y_high as i32 {
        let y = place(1.0, 10f64.powi(decade)).1;
        text(&mut inner, (LEFT - 6.0, y + 4.0), "end", &short(10f64.powi(decade)));
    }
    text(&mut inner, (LEFT + WIDE / 2.0, top + HIGH + 36.0), "middle", axes.0);
    let (x, y) = (16.0, top + HIGH / 2.0);
    let _ = writeln!(inner, r#"<g transform="rotate(-90 {x} {y})">"#);
    text(&mut inner, (x, y), "middle", axes.1);
    inner += "</g>\n";
    for Series { name, points } in series {
        let colour = colour(&names, name);
        let mut path = String::new();
        for (x, y) in points.iter().filter(|(x, y)| drawn(*x, *y)) {
            let (x, y) = place(*x, *y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { 'M' } else { 'L' });
            let _ = writeln!(inner, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#);
        }
        let _ = writeln!(inner, r#"<path d="{path}" fill="none" stroke="{colour}"/>"#);
    }
    document(title, &names, (LEFT + WIDE + 40.0, top + HIGH + 48.0), &inner)
}

/// Whether a point has a place on axes of powers.
fn drawn(x: f64, y: f64) -> bool {
    x.is_finite() && y.is_finite() && x > 0.0 && y > 0.0
}

/// The whole powers of ten round some values, at least one apart.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value.log10().floor()), high.max(value.log10().ceil()))
    });
    if !low.is_finite() {
        return (0.0, 1.0);
    }
    (low, high.max(low + 1.0))
}

fn colour(names: &[&str], name: &str) -> &'static str {
    let place = names.iter().position(|known| *known == name).unwrap_or(0);
    COLOURS[place % COLOURS.len()]
}

/// Where the drawing begins, below title and legend.
fn legend_height(names: &[&str]) -> f64 {
    44.0 + 16.0 * names.len() as f64
}

fn document(title: &str, names: &[&str], size: (f64, f64), inner: &str) -> String {
    let (wide, high) = size;
    let mut head = String::new();
    text(&mut head, (16.0, 22.0), "start", title);
    for (at, name) in names.iter().enumerate() {
        let (y, colour) = (36.0 + 16.0 * at as f64, COLOURS[at % COLOURS.len()]);
        let _ = writeln!(head, r#"<rect x="16" y="{y}" width="10" height="10" fill="{colour}"/>"#);
        text(&mut head, (32.0, y + 9.0), "start", name);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" \
         viewBox=\"0 0 {wide:.0} {high:.0}\" role=\"img\" aria-label=\"{}\">\n\
         <style>text{{font:12px sans-serif;fill:#222}}.grid{{stroke:#888;stroke-opacity:.4}}\n\
         @media(prefers-color-scheme:dark){{text{{fill:#ddd}}}}</style>\n{head}{inner}</svg>\n",
        escape(title)
    )
}

fn text(out: &mut String, place: (f64, f64), anchor: &str, words: &str) {
    let ((x, y), words) = (place, escape(words));
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#);
}

fn escape(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// A number in as few digits as it deserves; nothing measured is a dash.
pub(crate) fn short(number: f64) -> String {
    match number {
        n if n.is_nan() => "-".into(),
        n if n.fract() == 0.0 || n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 0.1 => format!("{n:.2}"),
        n => format!("{n:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_numbers() {
        let bars_of = |a: f64, b: f64| vec![("Reeve".to_string(), a), ("A & <B>".to_string(), b)];
        let group = Group { name: "KV".into(), bars: bars_of(50.0, 200.0) };
        let svg = bars("title", "µs", &[group]);
        assert!(svg.contains(r#"width="105.0""#) && svg.contains(r#"width="420.0""#), "{svg}");
        assert!(
            svg.contains("50 µs") && svg.contains("A &amp; &lt;B>") && svg.ends_with("</svg>\n")
        );
    }

    #[test]
    fn what_was_not_measured_has_no_bar() {
        let group = Group { name: "x".into(), bars: vec![("y".into(), f64::NAN)] };
        let svg = bars("title", "ms", &[group]);
        assert!(svg.contains(r#"width="0.0""#) && svg.contains("- ms"), "{svg}");
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn lines_run_between_whole_powers() {
        let series = Series { name: "a".into(), points: vec![(1.0, 5.0), (1000.0, 50.0)] };
        let svg = lines("title", ("watchers", "ms"), &[series]);
        // 1 is at the left edge, 1000 at the right one.
        assert!(svg.contains(r#"cx="80.0""#) && svg.contains(r#"cx="640.0""#), "{svg}");
        assert!(svg.contains(">watchers<") && svg.contains(">ms<") && svg.contains(">1000<"));
        let nothing = lines("title", ("x", "y"), &[]);
        assert!(!nothing.contains("NaN") && !nothing.contains("inf"), "{nothing}");
    }
}
