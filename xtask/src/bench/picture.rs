// SPDX-License-Identifier: GPL-2.0

//! The figures as a picture: for each operation a bar as long as ours takes in terms of C's, with
//! a mark where the floor is.

use std::fmt::Write;

use super::figures::All;
use super::table;
use crate::lane::Dom0;

const ROW: usize = 18;
const LABELS: usize = 230;
/// Pixels for a ratio of one; bars end at [`MOST`].
const ONE: f64 = 400.0;
const MOST: f64 = 1.5;
const WIDTH: usize = LABELS + 700;

/// Draws the figures.
pub fn svg(all: &All) -> String {
    let mut body = String::new();
    let mut y = 10;
    for dom0 in Dom0::ALL {
        let rows = table::rows(all, dom0);
        let rows: Vec<_> = rows.iter().filter(|row| !row.is_part()).collect();
        if rows.is_empty() {
            continue;
        }
        y += 2 * ROW;
        // Writing to a string cannot fail.
        let _ = writeln!(
            body,
            r#"<text x="10" y="{y}" font-weight="bold">{} dom0, Linux {}: instructions, the C drivers' being 1; | is the floor</text>"#,
            dom0.name().to_uppercase(),
            all.release
        );
        let top = y + 8;
        for row in rows {
            y += ROW;
            let baseline = y + 4;
            let _ = writeln!(
                body,
                r#"<text x="{}" y="{baseline}" text-anchor="end">{}</text>"#,
                LABELS - 6,
                row.operation
            );
            if let Some(ratio) = row.ratio() {
                let length = ratio.min(MOST) * ONE;
                let colour = if ratio <= 1.0 { "#3a7d44" } else { "#b3402e" };
                let _ = writeln!(
                    body,
                    r#"<rect x="{LABELS}" y="{}" width="{length:.1}" height="12" fill="{colour}"/>"#,
                    y - 6
                );
                let _ = writeln!(
                    body,
                    r#"<text x="{:.1}" y="{baseline}">{ratio:.2}</text>"#,
                    LABELS as f64 + length + 5.0
                );
            }
            if let (Some(floor), Some(c)) = (row.floor, row.c) {
                let x = LABELS as f64 + (floor / c).min(MOST) * ONE;
                let _ = writeln!(
                    body,
                    r##"<path d="M{x:.1} {}v12" stroke="#000" stroke-width="2"/>"##,
                    y - 6
                );
            }
        }
        let one = LABELS as f64 + ONE;
        let _ = writeln!(
            body,
            r##"<path d="M{one} {top}V{}" stroke="#888" stroke-dasharray="3 3"/>"##,
            y + 8
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{body}</svg>\n",
        y + 2 * ROW
    )
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::*;
    use crate::lane::Drivers;

    #[test]
    fn bars_and_floors_are_drawn() {
        let mut all = All::new("7.3.4");
        all.add(Dom0::Pv, Drivers::C, sample(1.0));
        all.add(Dom0::Pv, Drivers::Rust, sample(0.5));
        let svg = svg(&all);
        assert!(svg.contains("width=\"200.0\""));
        assert_eq!(svg.matches("<rect").count(), 3);
        assert!(svg.ends_with("</svg>\n"));
    }
}
