// SPDX-License-Identifier: GPL-2.0

//! Debian version numbers and the order among them (deb-version(7)).

use std::cmp::Ordering;

/// Compares two Debian versions, `[epoch:]upstream[-revision]`.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0)
        .then_with(|| compare_part(a.1, b.1))
        .then_with(|| compare_part(a.2, b.2))
}

/// The newest of some versions.
pub fn newest<'a>(versions: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    versions.into_iter().max_by(|a, b| compare(a, b))
}

/// The upstream part: `7.2.12` of `7.2.12-1~bpo13+1`.
pub fn upstream(version: &str) -> &str {
    split(version).1
}

/// The first two numbers of a kernel's version: `7.2` of `7.2.12-1~bpo13+1`.
pub fn series(version: &str) -> Option<String> {
    let mut numbers = upstream(version).split('.');
    let major = numbers.next()?;
    let minor = numbers.next()?;
    let minor: String = minor.chars().take_while(char::is_ascii_digit).collect();
    (!minor.is_empty()).then(|| format!("{major}.{minor}"))
}

fn split(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.parse().unwrap_or(0), upstream, revision)
}

/// Where a character sorts: the tilde before the end, letters before the rest.
fn weight(c: Option<u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(c),
        Some(c) => i32::from(c) + 256,
    }
}

fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let is_text = |s: &[u8]| s.first().map_or(false, |c| !c.is_ascii_digit());
        while is_text(a) || is_text(b) {
            match weight(a.first().copied()).cmp(&weight(b.first().copied())) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (number_a, rest_a) = leading_number(a);
        let (number_b, rest_b) = leading_number(b);
        match number_a
            .len()
            .cmp(&number_b.len())
            .then_with(|| number_a.cmp(number_b))
        {
            Ordering::Equal => {}
            unequal => return unequal,
        }
        a = rest_a;
        b = rest_b;
    }
    Ordering::Equal
}

/// The digits a text starts with, without leading zeroes, and the rest.
fn leading_number(s: &[u8]) -> (&[u8], &[u8]) {
    let end = s.iter().take_while(|c| c.is_ascii_digit()).count();
    let (number, rest) = s.split_at(end);
    let zeroes = number.iter().take_while(|c| **c == b'0').count();
    (&number[zeroes..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_as_dpkg_does() {
        for (small, large) in [
            ("7.2.9-1", "7.2.12-1"),
            ("7.2.12-1~bpo13+1", "7.2.12-1"),
            ("7.2.12-1~bpo13+1", "7.2.12-1~bpo13+2"),
            ("7.3~rc1-1~exp1", "7.3.0-1"),
            ("7.2.12-1", "1:6.1-1"),
            ("1.0", "1.0+b1"),
            ("1.0a", "1.0+"),
            ("", "1"),
        ] {
            assert_eq!(compare(small, large), Ordering::Less, "{small} < {large}");
            assert_eq!(
                compare(large, small),
                Ordering::Greater,
                "{large} > {small}"
            );
        }
        assert_eq!(compare("7.02.1-1", "7.2.01-1"), Ordering::Equal);
        assert_eq!(compare("0:1.0", "1.0"), Ordering::Equal);
    }

    #[test]
    fn newest_is_by_number_not_by_text() {
        assert_eq!(
            newest(["7.3.4-1~bpo13+1", "7.10.1-1~bpo13+1", "7.9.9-1"]),
            Some("7.10.1-1~bpo13+1")
        );
        assert_eq!(newest([]), None);
    }

    #[test]
    fn series_and_upstream() {
        assert_eq!(series("7.2.12-1~bpo13+1").as_deref(), Some("7.2"));
        assert_eq!(series("7.3~rc1-1~exp1").as_deref(), Some("7.3"));
        assert_eq!(series("7").as_deref(), None);
        assert_eq!(upstream("7.2.12-1~bpo13+1"), "7.2.12");
    }
}
