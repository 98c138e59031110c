//! Escapes of addresses: `%20` and its like.

/// A text with its escapes resolved; `None` where one is broken or what comes out is no text.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'%', [high, low, behind @ ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                bytes.push((digit(high)? * 16 + digit(low)?) as u8);
                behind
            }
            (b'%', _) => return None,
            (byte, behind) => {
                bytes.push(*byte);
                behind
            }
        };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escapes_are_resolved_once_and_broken_ones_refused() {
        assert_eq!(unescape("a%20b%252F%c3%a9").as_deref(), Some("a b%2Fé"));
        for bad in ["%", "%2", "a%zz", "%ff"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
