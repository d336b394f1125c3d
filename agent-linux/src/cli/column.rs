//! Tables: cells padded to the widest of their column.

/// Space between two columns of a list.
pub(super) const LIST_GAP: usize = 2;
/// Space between a name and its value.
pub(super) const PAIR_GAP: usize = 6;

/// Lays out rows; the last cell of a row is not padded, the last line has no line feed.
pub(super) fn layout(rows: &[Vec<String>], gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| -> String {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            line += cell;
            if at + 1 < row.len() {
                let pad = widths[at] + gap - cell.chars().count();
                line.extend(std::iter::repeat_n(' ', pad));
            }
        }
        line
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Makes a row.
pub(super) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_line_up_and_lines_have_no_tail() {
        let rows = [row(["Node", "DC"]), row(["agent128", "dc1"]), row(["\u{e9}", "x"])];
        assert_eq!(layout(&rows, LIST_GAP), "Node      DC\nagent128  dc1\n\u{e9}         x");
        assert_eq!(layout(&[], LIST_GAP), "");
    }
}
