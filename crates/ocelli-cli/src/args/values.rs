//! Values of flags: text to checked numbers. Each error says what is needed.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZero;
use std::str::FromStr;
use std::time::Duration;

use ocelli::{Fps, MOST_FRAMES};

/// Most stop strings, and most bytes of one.
pub(crate) const STOP_STRINGS: usize = 16;
const STOP_BYTES: usize = 256;

/// A name that becomes part of file names.
pub(super) fn file_stem(text: &str) -> Result<String, String> {
    let is_plain = std::path::Path::new(text).file_name() == Some(text.as_ref());
    match is_plain {
        true => Ok(text.to_owned()),
        false => Err(format!("found '{text}', need a file name without folders")),
    }
}

/// Bytes: a whole number with K, M, G or nothing behind it (thousands).
pub(super) fn size(text: &str) -> Result<NonZero<u64>, String> {
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.strip_suffix('B').unwrap_or(&upper);
    let (digits, unit) = match upper.char_indices().last() {
        Some((at, 'K')) => (&upper[..at], 1_000),
        Some((at, 'M')) => (&upper[..at], 1_000_000),
        Some((at, 'G')) => (&upper[..at], 1_000_000_000),
        _ => (upper, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    let bytes = number
        .and_then(|n| n.checked_mul(unit))
        .and_then(NonZero::new);
    bytes.ok_or_else(|| format!("found '{text}', need a size above 0 as 4G or 500M"))
}

/// How long: a time, or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// This long.
    For(Duration),
    /// For ever.
    Forever,
}

/// A time: a whole number with s, m, h or nothing behind it (seconds), or `-1` for ever.
pub(super) fn time(text: &str) -> Result<Time, String> {
    if text == "-1" || text == "forever" {
        return Ok(Time::Forever);
    }
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.parse().ok();
    let seconds = number
        .and_then(|n| n.checked_mul(unit))
        .filter(|s| *s < 1 << 32);
    let seconds = seconds.map(|s| Time::For(Duration::from_secs(s)));
    seconds.ok_or_else(|| format!("found '{text}', need a time as 30s, 5m or 1h, or -1 for ever"))
}

/// A port; 0 is any free one.
pub(super) fn port(text: &str) -> Result<u16, String> {
    number_in(text, 0, u64::from(u16::MAX))
}

/// An address to listen on. The one name that is taken is this machine's own: others may stand for
/// several addresses.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let need = "localhost or an address as 127.0.0.1, 0.0.0.0 or ::1";
    match text {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => parse(text, need),
    }
}

/// How many may wait, or be waited for; 0 is said by the flag.
pub(super) fn number(text: &str) -> Result<usize, String> {
    number_in(text, 0, 1 << 32)
}

/// Seconds that somebody waits: a year at most.
pub(super) fn wait(text: &str) -> Result<u64, String> {
    number_in(text, 0, 31_536_000)
}

/// A host name, with or without a port.
pub(super) fn host_name(text: &str) -> Result<String, String> {
    match is_host(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "found '{text}', need a name as example.org or example.org:8080"
        )),
    }
}

/// Where a web page comes from, as browsers say it: with a scheme and without a path.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let parts = text.split_once("://");
    // `null` is what a page from a file says.
    match text == "null" || parts.is_some_and(|(scheme, host)| !scheme.is_empty() && is_host(host))
    {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "found '{text}', need the start of an address as https://example.org, without a path"
        )),
    }
}

/// Anything else would be compared with what clients send and never be equal.
fn is_host(text: &str) -> bool {
    let is_foreign = |c: char| c.is_whitespace() || c.is_control() || "/*?#@,".contains(c);
    !text.is_empty() && !text.contains(is_foreign)
}

/// A whole number of at least one.
pub(super) fn count(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1 << 32)
}

/// Threads: a whole number in 1..=1024.
pub(super) fn threads(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1024)
}

/// Tokens that are guessed ahead: a whole number in 0..=16.
pub(super) fn draft(text: &str) -> Result<usize, String> {
    number_in(text, 0, 16)
}

/// Tokens of a measured prompt or answer: a whole number in 1..=1048576.
pub(super) fn bench_tokens(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1 << 20)
}

/// Sequences side by side: a whole number in 1..=1024.
pub(super) fn sequences(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1024)
}

/// Repeats of a measurement: a whole number in 1..=1000.
pub(super) fn repeats(text: &str) -> Result<usize, String> {
    number_in(text, 1, 1000)
}

/// Tokens of one image: a whole number in 1..=65536.
pub(super) fn image_tokens(text: &str) -> Result<u32, String> {
    number_in(text, 1, 65_536)
}

/// Tokens of a whole video: a whole number in 1..=1048576.
pub(super) fn video_tokens(text: &str) -> Result<u32, String> {
    number_in(text, 1, 1 << 20)
}

/// Frames a second.
pub(super) fn fps(text: &str) -> Result<Fps, String> {
    let need = "a number above 0 and at most 1000";
    let value: f64 = parse(text, need)?;
    Fps::new(value).map_err(|_| format!("found {text}, need {need}"))
}

/// Frames of a video that are looked at: two are the fewest.
pub(super) fn frames(text: &str) -> Result<usize, String> {
    number_in(text, 2, MOST_FRAMES as u64)
}

/// Seconds that a program may be silent.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    number_in(text, 1, 86_400).map(Duration::from_secs)
}

/// Tokens to decode in a trace: 0 is none.
pub(super) fn decode(text: &str) -> Result<usize, String> {
    number_in(text, 0, 65_536)
}

/// `temperature`: 0 takes the most likely token.
pub(super) fn temperature(text: &str) -> Result<f32, String> {
    real_in(text, 0.0, 100.0)
}

/// A probability, or a share of one.
pub(super) fn share(text: &str) -> Result<f32, String> {
    real_in(text, 0.0, 1.0)
}

/// Presence and frequency penalties.
pub(super) fn penalty(text: &str) -> Result<f32, String> {
    real_in(text, -2.0, 2.0)
}

/// The repeat penalty divides, so that it cannot be 0.
pub(super) fn repeat_penalty(text: &str) -> Result<f32, String> {
    let value = real_in(text, 0.0, 10.0)?;
    if value == 0.0 {
        return Err("found 0, need more than 0 and at most 10".to_owned());
    }
    Ok(value)
}

/// An error that is not exceeded by a stage that is right.
pub(super) fn tolerance(text: &str) -> Result<f64, String> {
    let value: f64 = parse(text, "a number above 0")?;
    if !(value.is_finite() && value > 0.0) {
        return Err(format!("found {text}, need a number above 0"));
    }
    Ok(value)
}

/// A question that is asked of many pictures. Nothing at all is more likely an unset variable of a script.
pub(super) fn question(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        false => Ok(text.to_owned()),
        true => Err("found nothing, need a question".to_owned()),
    }
}

/// A text that ends the answer.
pub(super) fn stop_string(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > STOP_BYTES {
        return Err(format!(
            "found {} bytes, need 1 to {STOP_BYTES}",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// Where random draws start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// The same number, the same draws.
    Fixed(u64),
    /// Another one in each run.
    Random,
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "-1" | "random" => Ok(Self::Random),
            _ => parse(
                text,
                "a whole number from 0 to 18446744073709551615, or -1 for a random one",
            )
            .map(Self::Fixed),
        }
    }
}

fn number_in<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Result<T, String> {
    let need = format!("a whole number from {least} to {most}");
    let value: u64 = parse(text, &need)?;
    let in_range = (least..=most).contains(&value);
    let narrow = T::try_from(value).ok().filter(|_| in_range);
    narrow.ok_or_else(|| format!("found {value}, need {need}"))
}

fn real_in(text: &str, least: f32, most: f32) -> Result<f32, String> {
    let need = format!("a number from {least} to {most}");
    let value: f32 = parse(text, &need)?;
    // NaN compares false.
    if value >= least && value <= most {
        Ok(value)
    } else {
        Err(format!("found {text}, need {need}"))
    }
}

fn parse<T: FromStr>(text: &str, need: &str) -> Result<T, String> {
    let shown: String = text.chars().take(64).collect();
    text.trim()
        .parse()
        .map_err(|_| format!("found '{shown}', need {need}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_at_the_limits_pass_and_those_beyond_do_not() {
        assert_eq!(temperature("0"), Ok(0.0));
        assert_eq!(temperature("100"), Ok(100.0));
        for bad in ["-1", "1e308", "hot", "NaN", "inf", ""] {
            assert!(
                temperature(bad)
                    .unwrap_err()
                    .contains("need a number from 0 to 100"),
                "{bad}"
            );
        }
        assert_eq!(share("1"), Ok(1.0));
        assert!(share("2").is_err() && share("-0.1").is_err());
        assert!(repeat_penalty("0").is_err() && repeat_penalty("10").is_ok());
        assert!(penalty("-2").is_ok() && penalty("2.1").is_err());
        assert!(
            count("0").is_err()
                && count("-5").is_err()
                && count("1.5").is_err()
                && count("1").is_ok()
        );
        assert!(
            fps("0").is_err() && fps("-1").is_err() && fps("nan").is_err() && fps("0.5").is_ok()
        );
        assert!(frames("1").is_err() && frames("2").is_ok() && frames("769").is_err());
        assert!(image_tokens("65536").is_ok() && image_tokens("65537").is_err());
        assert!(tolerance("0").is_err() && tolerance("1e-4").is_ok() && tolerance("nan").is_err());
        assert!(stop_string("").is_err() && stop_string(&"x".repeat(257)).is_err());
    }

    #[test]
    fn an_address_is_one_or_localhost() {
        assert_eq!(address("localhost"), address("127.0.0.1"));
        assert!(address("::1").is_ok_and(|address| address.is_loopback()));
        for bad in ["", "example.org", "127.0.0.1:80"] {
            assert!(
                address(bad).unwrap_err().contains("need localhost or"),
                "{bad}"
            );
        }
    }

    #[test]
    fn hosts_and_origins_are_what_clients_can_send() {
        assert!(host_name("box.local:8080").is_ok() && host_name("[::1]").is_ok());
        assert!(origin("https://example.org:8443").is_ok() && origin("null").is_ok());
        for bad in ["", "*", "a b", "https://example.org"] {
            assert!(host_name(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "*",
            "example.org",
            "https://",
            "https://example.org/",
            "https://*.org",
        ] {
            assert!(origin(bad).unwrap_err().contains("without a path"), "{bad}");
        }
    }

    #[test]
    fn a_seed_is_a_number_or_random() {
        assert_eq!("-1".parse(), Ok(Seed::Random));
        assert_eq!("18446744073709551615".parse(), Ok(Seed::Fixed(u64::MAX)));
        assert!("18446744073709551616".parse::<Seed>().is_err());
        assert!("-2".parse::<Seed>().is_err());
    }
}
