//! The date for templates that write it into the prompt.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use minijinja::{Error, ErrorKind};

/// A moment, in UTC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    seconds: u64,
}

const DAYS: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Clock {
    /// Moments before 1970 count as its first second.
    pub(super) fn new(now: SystemTime) -> Self {
        Self {
            seconds: now
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO)
                .as_secs(),
        }
    }

    /// Python's `strftime`, with the fields that prompts use.
    pub(super) fn format(self, format: &str) -> Result<String, Error> {
        let days = self.seconds / 86_400;
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (
            self.seconds / 3600 % 24,
            self.seconds / 60 % 60,
            self.seconds % 60,
        );
        let weekday = DAYS[(days % 7) as usize];
        let month_name = MONTHS[month as usize - 1];
        let mut text = String::new();
        let mut characters = format.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            let field: String = match characters.next() {
                Some('-') => ['-'].into_iter().chain(characters.next()).collect(),
                other => other.into_iter().collect(),
            };
            text.push_str(&match field.as_str() {
                "Y" => format!("{year:04}"),
                "y" => format!("{:02}", year % 100),
                "m" => format!("{month:02}"),
                "-m" => month.to_string(),
                "d" => format!("{day:02}"),
                "-d" => day.to_string(),
                "e" => format!("{day:2}"),
                "B" => month_name.into(),
                "b" | "h" => month_name[..3].into(),
                "A" => weekday.into(),
                "a" => weekday[..3].into(),
                "H" => format!("{hour:02}"),
                "-H" => hour.to_string(),
                "I" => format!("{:02}", (hour + 11) % 12 + 1),
                "-I" => ((hour + 11) % 12 + 1).to_string(),
                "p" => if hour < 12 { "AM" } else { "PM" }.into(),
                "M" => format!("{minute:02}"),
                "S" => format!("{second:02}"),
                "F" => format!("{year:04}-{month:02}-{day:02}"),
                "T" => format!("{hour:02}:{minute:02}:{second:02}"),
                "%" => "%".into(),
                _ => {
                    let problem = format!("strftime_now: found %{field}, need one of %Y %y %m %d %e %B %b %A %a %H %I %p %M %S %F %T");
                    return Err(Error::new(ErrorKind::InvalidOperation, problem));
                }
            });
        }
        Ok(text)
    }
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil(mut days: u64) -> (u64, u64, u64) {
    // 400 years always have the same number of days.
    let mut year = 1970 + days / 146_097 * 400;
    days %= 146_097;
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_asked() {
        let at = |seconds| Clock::new(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(
            at(0).format("%A %d %b %Y %H:%M").unwrap(),
            "Thursday 01 Jan 1970 00:00"
        );
        assert_eq!(
            at(951_827_696).format("%F %T, %-I %p").unwrap(),
            "2000-02-29 12:34:56, 12 PM"
        );
        assert_eq!(
            at(1_740_787_199).format("%a %e %B %y%%").unwrap(),
            "Fri 28 February 25%"
        );
        assert!(at(0).format("%Q").is_err());
    }
}
