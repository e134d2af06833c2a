// SPDX-License-Identifier: GPL-2.0

//! What the balloon makes of texts, of refusals and of little memory.

use kernel::prelude::*;

#[path = "../../drivers/xen/balloon/backoff.rs"]
pub mod backoff;
#[path = "../../drivers/xen/balloon/floor.rs"]
pub mod floor;
#[path = "../../drivers/xen/balloon/parse.rs"]
pub mod parse;

#[kunit_tests(xen_balloon)]
mod tests {
    use super::{
        backoff::{
            Backoff,
            Next, //
        },
        floor::default_floor,
        parse::{
            flag,
            number,
            size,
            ParseError, //
        },
    };

    #[test]
    fn numbers() {
        assert_eq!(number(b"0"), Ok(0));
        assert_eq!(number(b"4096\n"), Ok(4096));
        assert_eq!(number(b"0x1F"), Ok(31));
        assert_eq!(number(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), Err(ParseError::Range));
    }

    #[test]
    fn not_numbers() {
        for text in [
            &b""[..],
            b"\n",
            b" 1",
            b"1 ",
            b"-1",
            b"+1",
            b"1k",
            b"010",
            b"0x",
            b"1\n\n",
            b"1\0",
        ] {
            assert_eq!(number(text), Err(ParseError::Syntax));
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size(b"1024"), Ok(1024));
        assert_eq!(size(b"3k\n"), Ok(3 << 10));
        assert_eq!(size(b"5M"), Ok(5 << 20));
        assert_eq!(size(b"7G"), Ok(7 << 30));
        assert_eq!(size(b"0x1e"), Ok(0x1e));
        assert_eq!(size(b"16E"), Err(ParseError::Range));
        assert_eq!(size(b"M"), Err(ParseError::Syntax));
        assert_eq!(size(b"1MB"), Err(ParseError::Syntax));
    }

    #[test]
    fn flags() {
        assert_eq!(flag(b"1\n"), Ok(true));
        assert_eq!(flag(b"off"), Ok(false));
        assert_eq!(flag(b"2"), Err(ParseError::Syntax));
    }

    #[test]
    fn refusals_back_off() {
        let mut backoff = Backoff::new();
        assert_eq!(backoff.refused(4, 5), Next::After(1));
        assert_eq!(backoff.refused(4, 5), Next::After(2));
        assert_eq!(backoff.refused(4, 5), Next::After(4));
        assert_eq!(backoff.refused(4, 5), Next::After(4));
        assert_eq!(backoff.attempt(), 5);
        assert_eq!(backoff.delay(), 4);
        assert_eq!(backoff.refused(4, 5), Next::GiveUp);
        assert_eq!(backoff.attempt(), 5);
    }

    #[test]
    fn floor_of_usual_sizes() {
        assert_eq!(default_floor(1024 * 256), 232 * 256);
        assert_eq!(default_floor(2048 * 256), 360 * 256);
        assert!(default_floor(1) <= 1);
        assert!(default_floor(u64::MAX) < u64::MAX);
    }
}
