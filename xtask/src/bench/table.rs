// SPDX-License-Identifier: GPL-2.0

//! The figures as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{anyhow, Result};

use super::figures::{All, Figures};
use super::floor;
use crate::lane::{Dom0, Drivers};

const BEGIN: &str = "<!-- figures: written by `make bench SAVE=1` -->\n";
const END: &str = "<!-- end of figures -->\n";

/// A line of the table.
pub struct Row<'a> {
    pub operation: &'a str,
    pub c: Option<f64>,
    pub ours: Option<f64>,
    pub floor: Option<f64>,
}

impl Row<'_> {
    /// Ours in terms of C's.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.ours? / self.c?)
    }

    /// A part of an operation that has a line itself.
    pub fn is_part(&self) -> bool {
        self.operation.contains('.')
    }
}

/// The lines for a kind of dom0, in the order of measuring.
pub fn rows(all: &All, dom0: Dom0) -> Vec<Row<'_>> {
    let (c, ours) = (all.of(dom0, Drivers::C), all.of(dom0, Drivers::Rust));
    let mut names: Vec<&str> = Vec::new();
    for figures in [ours, c].iter().flatten() {
        for name in figures.order() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
    }
    let get = |figures: Option<&Figures>, name: &str| figures?.operations().get(name).copied();
    names
        .into_iter()
        .map(|operation| Row {
            operation,
            c: get(c, operation),
            ours: get(ours, operation),
            // The same hypercalls in the same kernel: either boot can tell. The C one is there
            // whatever ours lack.
            floor: c.or(ours).and_then(|figures| floor::of(operation, figures)),
        })
        .collect()
}

/// The geometric mean of the ratios of whole operations.
pub fn mean(rows: &[Row<'_>]) -> Option<f64> {
    let logs: Vec<f64> = rows
        .iter()
        .filter(|row| !row.is_part() && !row.operation.ends_with("rejected_ioctl"))
        .filter_map(|row| Some(row.ratio()?.ln()))
        .collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value < 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
        None => "-".to_owned(),
    }
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

/// For the terminal.
pub fn text(all: &All) -> String {
    let mut out = String::new();
    for dom0 in Dom0::ALL {
        let rows = rows(all, dom0);
        let several = scaling(all, dom0);
        if rows.is_empty() && several.is_empty() {
            continue;
        }
        let name = dom0.name().to_uppercase();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name} dom0, instructions for each item");
        let _ = writeln!(
            out,
            "{:32} {:>9} {:>9} {:>6} {:>9}",
            "operation", "C", "ours", "ratio", "floor"
        );
        for row in &rows {
            let name = match row.operation.split_once('.') {
                Some((_, part)) => format!("    {part}"),
                None => row.operation.to_owned(),
            };
            let _ = writeln!(
                out,
                "{name:32} {:>9} {:>9} {:>6} {:>9}",
                number(row.c),
                number(row.ours),
                ratio(row.ratio()),
                number(row.floor)
            );
        }
        let _ = writeln!(
            out,
            "{:32} {:>9} {:>9} {:>6}\n",
            "geometric mean",
            "",
            "",
            ratio(mean(&rows))
        );
        for (what, c, ours) in bytes(all, dom0) {
            let _ = writeln!(out, "{what:32} {:>9} {:>9} bytes", number(c), number(ours));
        }
        for line in missing(all, dom0) {
            let _ = writeln!(out, "{line}");
        }
        for row in several {
            let _ = writeln!(
                out,
                "{:8} {:9} {:>2} processors: {:>9} {:>9} instructions, {:>7} {:>7} in a millisecond",
                row.operation,
                row.files,
                row.processors,
                number(row.c),
                number(row.ours),
                number(row.throughput(row.c)),
                number(row.throughput(row.ours))
            );
        }
        out.push('\n');
    }
    out
}

/// For docs/performance.md, between its markers.
pub fn markdown(all: &All) -> String {
    let mut out = format!("Linux {}.\n\n", all.release);
    for dom0 in Dom0::ALL {
        let rows = rows(all, dom0);
        if rows.is_empty() {
            continue;
        }
        let name = dom0.name().to_uppercase();
        let _ = writeln!(out, "### {name} dom0: instructions for each item\n");
        let _ = writeln!(
            out,
            "| operation | C | ours | ratio | floor |\n|---|--:|--:|--:|--:|"
        );
        for row in &rows {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} |",
                row.operation,
                number(row.c),
                number(row.ours),
                ratio(row.ratio()),
                number(row.floor)
            );
        }
        let _ = writeln!(
            out,
            "| geometric mean of whole operations | | | {} | |\n",
            ratio(mean(&rows))
        );
        let _ = writeln!(
            out,
            "### {name} dom0: bytes of kernel memory\n\n| what | C | ours |\n|---|--:|--:|"
        );
        for (what, c, ours) in bytes(all, dom0) {
            let _ = writeln!(out, "| {what} | {} | {} |", number(c), number(ours));
        }
        out.push('\n');
        for line in missing(all, dom0) {
            let _ = writeln!(out, "- {line}");
        }
        out.push('\n');
        let rows = scaling(all, dom0);
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(
            out,
            "### {name} dom0: several processors\n\n\
             | operation | files | processors | C | ours | ratio | C, in 1 ms | ours, in 1 ms |\n\
             |---|---|--:|--:|--:|--:|--:|--:|"
        );
        for row in rows {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {} | {} | {} | {} | {} |",
                row.operation,
                row.files,
                row.processors,
                number(row.c),
                number(row.ours),
                ratio(row.c.and_then(|c| Some(row.ours? / c))),
                number(row.throughput(row.c)),
                number(row.throughput(row.ours))
            );
        }
        out.push('\n');
    }
    out
}

/// A line about several processors.
struct Scaling<'a> {
    operation: &'a str,
    files: &'a str,
    processors: f64,
    c: Option<f64>,
    ours: Option<f64>,
}

impl Scaling<'_> {
    /// Operations in a millisecond, if each processor executes an instruction in two nanoseconds.
    fn throughput(&self, instructions: Option<f64>) -> Option<f64> {
        Some(self.processors * 500_000.0 / instructions?)
    }
}

fn scaling(all: &All, dom0: Dom0) -> Vec<Scaling<'_>> {
    let (c, ours) = (all.of(dom0, Drivers::C), all.of(dom0, Drivers::Rust));
    let get = |figures: Option<&Figures>, name: &str| figures?.scaling().get(name).copied();
    let names = ours.or(c).into_iter().flat_map(|f| f.scaling().keys());
    names
        .filter_map(|name| {
            let mut words = name.split(' ');
            Some(Scaling {
                operation: words.next()?,
                files: words.next()?,
                processors: words.next()?.parse().ok()?,
                c: get(c, name),
                ours: get(ours, name),
            })
        })
        .collect()
}

/// What one of the two could not do.
fn missing(all: &All, dom0: Dom0) -> Vec<String> {
    let mut lines = Vec::new();
    for (whose, drivers) in [("the C drivers", Drivers::C), ("ours", Drivers::Rust)] {
        let unsupported = all.of(dom0, drivers).map(Figures::unsupported);
        for (operation, reason) in unsupported.into_iter().flatten() {
            lines.push(format!("{operation}: not with {whose} ({reason})"));
        }
    }
    lines
}

/// Kernel memory: what takes it, with the C drivers and with ours.
fn bytes(all: &All, dom0: Dom0) -> Vec<(String, Option<f64>, Option<f64>)> {
    let mut lines: BTreeMap<String, [Option<f64>; 2]> = BTreeMap::new();
    for (which, drivers) in [Drivers::C, Drivers::Rust].iter().enumerate() {
        let figures = match all.of(dom0, *drivers) {
            Some(figures) => figures,
            None => continue,
        };
        for (name, value) in figures.memory() {
            lines.entry(name.clone()).or_default()[which] = Some(*value);
        }
        for (name, value) in figures.modules() {
            lines.entry(format!("module {name}")).or_default()[which] = Some(*value);
        }
    }
    lines
        .into_iter()
        .map(|(name, [c, ours])| (name, c, ours))
        .collect()
}

/// Puts the tables between the markers of a page.
pub fn replace(page: &str, tables: &str) -> Result<String> {
    let parts = page
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| anyhow!("the page has no place for the figures"))?;
    Ok(format!("{before}{BEGIN}\n{tables}{END}{after}"))
}

/// Whether an operation is one of those asked for, in patterns with commas between them; `*` stands for anything.
pub fn wanted(filter: Option<&str>, operation: &str) -> bool {
    let whole = whole(operation);
    filter.map_or(true, |filter| {
        filter.split(',').any(|pattern| matches(pattern, whole))
    })
}

/// The operation that one is a part of: it is measured with it.
pub fn whole(operation: &str) -> &str {
    operation.split('.').next().unwrap_or(operation)
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).map_or(false, |tail| {
            (0..=tail.len()).any(|i| tail.get(i..).map_or(false, |t| matches(rest, t)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::*;

    fn both() -> All {
        let mut all = All::new("7.3.4");
        all.add(Dom0::Pv, Drivers::C, sample(1.0));
        all.add(Dom0::Pv, Drivers::Rust, sample(0.5));
        all
    }

    #[test]
    fn rows_compare() {
        let all = both();
        let rows = rows(&all, Dom0::Pv);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1].ratio(), Some(0.5));
        assert_eq!(rows[1].floor, Some(400.0));
        assert_eq!(mean(&rows), Some(0.5));
        assert!(text(&all).contains("null_hypercall"));
    }

    #[test]
    fn several_processors_have_lines() {
        let mut all = both();
        let mut more = Figures::default();
        more.take(r#"{"scaling":"notify one 4","instructions":1000.0}"#)
            .unwrap();
        all.add(Dom0::Pv, Drivers::Rust, more);
        assert!(markdown(&all).contains("| `notify` | one | 4 | - | 1000 | - | - | 2000 |"));
        assert!(text(&all).contains("notify   one        4 processors"));
        assert_eq!(rows(&all, Dom0::Pv).len(), 2);
    }

    #[test]
    fn tables_go_between_the_markers() {
        let page = format!("a\n{BEGIN}old{END}b\n");
        let page = replace(&page, "new\n").unwrap();
        assert!(page.starts_with("a\n") && page.ends_with("b\n"));
        assert!(page.contains("new") && !page.contains("old"));
        assert_eq!(replace(&page, "new\n").unwrap(), page);
        assert!(replace("nothing", "new").is_err());
    }

    #[test]
    fn parts_go_with_their_operation() {
        assert!(wanted(None, "a.b"));
        assert!(wanted(Some("grants_*"), "grants_16.mmap"));
        assert!(wanted(Some("notify"), "notify"));
        assert!(!wanted(Some("notify"), "notify_x"));
    }
}
