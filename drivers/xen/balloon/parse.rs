// SPDX-License-Identifier: GPL-2.0

//! Numbers as people write them into the attributes.
//!
//! A text is wholly a number or refused, but for one newline at its end. Numbers are decimal, or
//! hexadecimal with `0x` in front. A leading zero is refused: C's functions take such a number for
//! an octal one, most people do not.
//!
//! Touches nothing of the kernel, so that the host's tests run it as it is.

/// Why a text is refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It is not a number.
    Syntax,
    /// It is a number beyond 64 bits.
    Range,
}

/// Takes one newline off the end.
fn line(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\n").unwrap_or(text)
}

fn digits(text: &[u8]) -> Result<u64, ParseError> {
    let (text, radix) = match text {
        [b'0', b'x' | b'X', rest @ ..] => (rest, 16),
        [b'0', _, ..] => return Err(ParseError::Syntax),
        _ => (text, 10),
    };
    if text.is_empty() {
        return Err(ParseError::Syntax);
    }
    // All of it has to be digits before its size is judged.
    let digit = |&byte: &u8| char::from(byte).to_digit(radix).ok_or(ParseError::Syntax);
    for byte in text {
        digit(byte)?;
    }
    text.iter().try_fold(0u64, |number, byte| {
        number
            .checked_mul(u64::from(radix))
            .and_then(|number| number.checked_add(u64::from(digit(byte).ok()?)))
            .ok_or(ParseError::Range)
    })
}

/// A number without a unit.
pub fn number(text: &[u8]) -> Result<u64, ParseError> {
    digits(line(text))
}

/// A number of bytes, or of their multiples: `K`, `M`, `G`, `T`, `P` and `E`, of either case, by
/// 1024 each.
pub fn size(text: &[u8]) -> Result<u64, ParseError> {
    let text = line(text);
    let (text, shift) = match text {
        // In a hexadecimal number an E is a digit.
        [b'0', b'x' | b'X', .., b'e' | b'E'] => (text, 0),
        [rest @ .., suffix] => match suffix {
            b'k' | b'K' => (rest, 10),
            b'm' | b'M' => (rest, 20),
            b'g' | b'G' => (rest, 30),
            b't' | b'T' => (rest, 40),
            b'p' | b'P' => (rest, 50),
            b'e' | b'E' => (rest, 60),
            _ => (text, 0),
        },
        [] => (text, 0),
    };
    digits(text)?
        .checked_mul(1 << shift)
        .ok_or(ParseError::Range)
}

/// Yes or no, in the words that the kernel's parameters know.
pub fn flag(text: &[u8]) -> Result<bool, ParseError> {
    match line(text) {
        b"1" | b"y" | b"Y" | b"yes" | b"on" | b"true" => Ok(true),
        b"0" | b"n" | b"N" | b"no" | b"off" | b"false" => Ok(false),
        _ => Err(ParseError::Syntax),
    }
}
