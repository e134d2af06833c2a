// SPDX-License-Identifier: GPL-2.0

//! What the balloon makes of texts, of refusals and of little memory.

#![cfg(not(loom))]

use proptest::prelude::*;
use xen_host_tests::{
    balloon_backoff::{Backoff, Next},
    balloon_floor::default_floor,
    balloon_parse::{flag, number, size, ParseError},
};

proptest! {
    /// What is written is read, with a newline or without, decimal or hexadecimal.
    #[test]
    fn numbers_are_read(value: u64, newline: bool) {
        let end = if newline { "\n" } else { "" };
        prop_assert_eq!(number(format!("{value}{end}").as_bytes()), Ok(value));
        prop_assert_eq!(number(format!("{value:#x}{end}").as_bytes()), Ok(value));
        prop_assert_eq!(size(format!("{value}{end}").as_bytes()), Ok(value));
        prop_assert_eq!(size(format!("{value:#x}{end}").as_bytes()), Ok(value));
    }

    /// Nothing makes it panic, and what is accepted is wholly a number.
    #[test]
    fn other_texts_are_refused(text in proptest::collection::vec(any::<u8>(), 0..24)) {
        let line = text.strip_suffix(b"\n").unwrap_or(&text);
        let decimal = !line.is_empty()
            && line.iter().all(u8::is_ascii_digit)
            && (line[0] != b'0' || line.len() == 1);
        let hexadecimal = line.len() > 2
            && line[0] == b'0'
            && (line[1] == b'x' || line[1] == b'X')
            && line[2..].iter().all(u8::is_ascii_hexdigit);
        match number(&text) {
            Ok(_) => prop_assert!(decimal || hexadecimal),
            Err(ParseError::Range) => prop_assert!(decimal || hexadecimal),
            Err(ParseError::Syntax) => prop_assert!(!decimal && !hexadecimal),
        }
        let _ = size(&text);
        let _ = flag(&text);
    }

    /// One stray byte, anywhere, spoils a number.
    #[test]
    fn stray_bytes_are_refused(value: u64, at: prop::sample::Index, byte: u8) {
        prop_assume!(!byte.is_ascii_digit());
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len() + 1);
        let last = at == text.len();
        text.insert(at, byte);
        prop_assume!(!(last && byte == b'\n'));
        prop_assume!(!(at == 1 && text[0] == b'0' && (byte | 0x20) == b'x'));
        prop_assert_eq!(number(&text), Err(ParseError::Syntax));
        if !(last && b"kKmMgGtTpPeE".contains(&byte)) {
            prop_assert_eq!(size(&text), Err(ParseError::Syntax));
        }
    }

    /// A suffix is a power of 1024, and what does not fit in 64 bits is out of range.
    #[test]
    fn suffixes_multiply(value: u64, suffix in 0usize..6, small: bool) {
        let letter = if small { b"kmgtpe" } else { b"KMGTPE" }[suffix] as char;
        let expected = value
            .checked_mul(1u64 << (10 * (suffix + 1)))
            .ok_or(ParseError::Range);
        prop_assert_eq!(size(format!("{value}{letter}").as_bytes()), expected);
        prop_assert_eq!(number(format!("{value}{letter}").as_bytes()), Err(ParseError::Syntax));
    }

    /// More digits than fit are out of range, not cut.
    #[test]
    fn long_numbers_are_out_of_range(digits in "[1-9][0-9]{20,40}") {
        prop_assert_eq!(number(digits.as_bytes()), Err(ParseError::Range));
        prop_assert_eq!(size(digits.as_bytes()), Err(ParseError::Range));
    }

    /// Delays double up to the limit; attempts end where they should, and stay to be seen.
    #[test]
    fn refusals_back_off(max_delay in 0u32..100, max_attempts in 0u32..20) {
        let mut backoff = Backoff::new();
        let mut last = 1;
        for attempt in 1..100 {
            prop_assert_eq!(backoff.attempt(), attempt);
            match backoff.refused(max_delay, max_attempts) {
                Next::After(seconds) => {
                    prop_assert!(seconds >= 1 && seconds <= max_delay.max(1));
                    prop_assert!(seconds == last || seconds == last * 2 || seconds == max_delay);
                    prop_assert!(seconds >= last.min(max_delay.max(1)));
                    last = seconds;
                    prop_assert!(max_attempts == 0 || attempt < max_attempts);
                }
                Next::GiveUp => {
                    prop_assert_eq!(attempt, max_attempts);
                    prop_assert_eq!(backoff.attempt(), attempt);
                    return Ok(());
                }
            }
        }
        prop_assert_eq!(max_attempts, 0);
    }

    /// Nobody needs more than there is, nor less for having more.
    #[test]
    fn floor_is_below_and_grows(total in 0u64..1 << 52, more in 0u64..1 << 30) {
        let floor = default_floor(total);
        prop_assert!(floor <= total);
        prop_assert!(default_floor(total + more) >= floor);
    }
}

#[test]
fn floor_of_usual_sizes() {
    for (mib, expected) in [
        (16, 16),
        (128, 72),
        (512, 168),
        (1024, 232),
        (2048, 360),
        (65536, 2344),
    ] {
        assert_eq!(default_floor(mib * 256), expected * 256, "{mib} MiB");
    }
    assert!(default_floor(u64::MAX) < u64::MAX);
}

#[test]
fn octal_is_refused() {
    assert_eq!(number(b"010"), Err(ParseError::Syntax));
    assert_eq!(number(b"0"), Ok(0));
    assert_eq!(number(b"00"), Err(ParseError::Syntax));
    assert_eq!(number(b"1\n\n"), Err(ParseError::Syntax));
    assert_eq!(number(b"\n"), Err(ParseError::Syntax));
    assert_eq!(size(b"K"), Err(ParseError::Syntax));
    assert_eq!(size(b"0x1e"), Ok(0x1e));
    assert_eq!(size(b"0x1eK"), Ok(0x1e << 10));
}

#[test]
fn flags() {
    for (text, expected) in [
        ("1", true),
        ("y\n", true),
        ("on", true),
        ("0\n", false),
        ("off", false),
        ("N", false),
    ] {
        assert_eq!(flag(text.as_bytes()), Ok(expected), "{text:?}");
    }
    for text in ["", "2", "11", "yo", "1 ", "of"] {
        assert_eq!(flag(text.as_bytes()), Err(ParseError::Syntax), "{text:?}");
    }
}
