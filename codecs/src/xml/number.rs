//! Numbers as JSON writes them; XML Schema has more: `INF`, `NaN`, `+1`, `01`, `.5`.

use serde::ser::{self, Serialize};

use super::characters::trim;
use super::error::XmlFault;

pub(super) enum Number<'t> {
    Unsigned(u64),
    Negative(i64),
    /// An integer of more than 64 bits.
    Wide(&'t str),
    Float(f64),
}

impl<'t> Number<'t> {
    /// Reads the text of an element, which may have whitespace around it (XML Schema 1.1, 4.3.6).
    pub(super) fn read(text: &'t str) -> Result<Self, XmlFault> {
        let text = trim(text);
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits.as_bytes()),
            None => (false, text.as_bytes()),
        };
        let wrong = || XmlFault::rule("the number is not written as in JSON");
        let mut value = Some(0_u64);
        let integer = leading_digits(digits, |digit| {
            value =
                value.and_then(|value| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        });
        if integer == 0 || (integer > 1 && digits[0] == b'0') {
            return Err(wrong());
        }
        if integer == digits.len() {
            return Ok(match (negative, value) {
                (false, Some(value)) => Self::Unsigned(value),
                // Integers have no -0.
                (true, Some(0)) => Self::Float(-0.0),
                (true, Some(value)) => match 0_i64.checked_sub_unsigned(value) {
                    Some(value) => Self::Negative(value),
                    None => Self::Wide(text),
                },
                (_, None) => Self::Wide(text),
            });
        }
        if !is_fraction_and_exponent(&digits[integer..]) {
            return Err(wrong());
        }
        float(text).map(Self::Float)
    }
}

/// The double that is nearest to the number.
pub(super) fn float(text: &str) -> Result<f64, XmlFault> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(XmlFault::rule("the number is out of range")),
    }
}

fn leading_digits(bytes: &[u8], mut digit: impl FnMut(u8)) -> usize {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
    digits.inspect(|byte| digit(**byte)).count()
}

/// Source: RFC 8259, 6.
fn is_fraction_and_exponent(mut rest: &[u8]) -> bool {
    if let [b'.', fraction @ ..] = rest {
        let digits = leading_digits(fraction, |_| {});
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    if let [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] = rest {
        let digits = leading_digits(exponent, |_| {});
        if digits == 0 {
            return false;
        }
        rest = &exponent[digits..];
    }
    rest.is_empty()
}

/// Appends a number as JSON: by the crate that makes the JSON codec's numbers.
pub(super) fn push_number<N: Serialize>(frame: &mut Vec<u8>, number: N) -> Result<(), XmlFault> {
    serde_json::to_writer(frame, &number).map_err(ser::Error::custom)
}
