//! Figures as a table and as JSON.

use serde_json::{Map, Value};

/// A table whose first columns say what was measured and whose others are numbers.
#[derive(Debug)]
pub(crate) struct Figures {
    labels: Vec<&'static str>,
    numbers: Vec<&'static str>,
    rows: Vec<(Vec<String>, Vec<f64>)>,
}

impl Figures {
    pub(crate) fn new(labels: &[&'static str], numbers: &[&'static str]) -> Figures {
        Figures { labels: labels.to_vec(), numbers: numbers.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: as many labels and numbers as there are columns.
    pub(crate) fn push(&mut self, labels: Vec<String>, numbers: Vec<f64>) {
        assert_eq!((labels.len(), numbers.len()), (self.labels.len(), self.numbers.len()));
        self.rows.push((labels, numbers));
    }

    /// Renders the table for people: Markdown, columns aligned.
    pub(crate) fn text(&self) -> String {
        let head: Vec<String> =
            self.labels.iter().chain(&self.numbers).map(|name| name.to_string()).collect();
        let mut lines = vec![head];
        for (labels, numbers) in &self.rows {
            lines.push(labels.iter().cloned().chain(numbers.iter().map(|n| short(*n))).collect());
        }
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
        let mut text = String::new();
        for (at, line) in lines.iter().enumerate() {
            for (column, cell) in line.iter().enumerate() {
                let width = widths[column];
                text += &match column < self.labels.len() {
                    true => format!("| {cell:<width$} "),
                    false => format!("| {cell:>width$} "),
                };
            }
            text += "|\n";
            if at == 0 {
                widths.iter().for_each(|width| text += &format!("|{}", "-".repeat(width + 2)));
                text += "|\n";
            }
        }
        text
    }

    /// Renders one object a row.
    pub(crate) fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|(labels, numbers)| {
                let mut row = Map::new();
                for (name, label) in self.labels.iter().zip(labels) {
                    row.insert(name.to_string(), label.as_str().into());
                }
                for (name, number) in self.numbers.iter().zip(numbers) {
                    row.insert(name.to_string(), (*number).into());
                }
                Value::Object(row)
            })
            .collect();
        format!("{:#}\n", Value::Array(rows))
    }
}

/// A number in as few digits as it deserves; nothing measured is a dash.
fn short(number: f64) -> String {
    match number {
        n if n.is_nan() => "-".into(),
        n if n.fract() == 0.0 => format!("{n:.0}"),
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_json_has_every_number() {
        let mut figures = Figures::new(&["agent"], &["rss MB", "CPU"]);
        figures.push(vec!["reeve".into()], vec![2.25, f64::NAN]);
        figures.push(vec!["x".into()], vec![1234.5, 10.0]);
        let text = figures.text();
        assert_eq!(text.lines().nth(2), Some("| reeve |   2.25 |   - |"));
        assert_eq!(text.lines().nth(3), Some("| x     |   1234 |  10 |"));
        let json: Value = serde_json::from_str(&figures.json()).expect("JSON");
        assert_eq!(json[1]["rss MB"], 1234.5);
    }
}
