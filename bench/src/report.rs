//! Figures as a table and as JSON, plots beside them.

use crate::plot::short;
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;

/// What a verb found out.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) verb: &'static str,
    pub(crate) figures: Figures,
    /// Names of files without their ending, and SVG.
    pub(crate) plots: Vec<(String, String)>,
    /// What could not be measured, and why.
    pub(crate) missed: Vec<String>,
}

impl Report {
    /// A report without plots.
    pub(crate) fn plain(verb: &'static str, figures: Figures) -> Report {
        Report::plotted(verb, figures, Vec::new())
    }

    /// A report of everything that was to be measured.
    pub(crate) fn plotted(
        verb: &'static str,
        figures: Figures,
        plots: Vec<(String, String)>,
    ) -> Report {
        Report { verb, figures, plots, missed: Vec::new() }
    }

    /// Writes `VERB.txt`, `VERB.json` and the plots into a folder, which is made.
    ///
    /// # Errors
    ///
    /// Of the file system; what was written stays.
    pub(crate) fn write(&self, folder: &Path, heading: &str) -> Result<(), String> {
        let told = |error: std::io::Error| format!("{folder:?}: {error}");
        fs::create_dir_all(folder).map_err(told)?;
        let text = format!("{}: {heading}\n\n{}", self.verb, self.figures.text());
        fs::write(folder.join(format!("{}.txt", self.verb)), text).map_err(told)?;
        fs::write(folder.join(format!("{}.json", self.verb)), self.figures.json()).map_err(told)?;
        for (name, svg) in &self.plots {
            fs::write(folder.join(format!("{name}.svg")), svg).map_err(told)?;
        }
        Ok(())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_folder_of_text_json_and_plots() {
        let folder = std::env::temp_dir().join(format!("reeve-report-{}", std::process::id()));
        let mut figures = Figures::new(&["agent"], &["ms"]);
        figures.push(vec!["x".into()], vec![1.0]);
        let plots = vec![("kv-cpu".to_string(), "<svg/>".to_string())];
        let report = Report::plotted("kv", figures, plots);
        report.write(&folder, "today").expect("written");
        let text = fs::read_to_string(folder.join("kv.txt")).expect("text");
        assert!(text.starts_with("kv: today\n\n| agent |"), "{text}");
        assert!(folder.join("kv.json").exists() && folder.join("kv-cpu.svg").exists());
        fs::remove_dir_all(&folder).expect("removed");
    }

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
