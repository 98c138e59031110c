//! Split models: finding the other parts and checking that they belong together.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::file::{Gguf, Source};
use crate::limits;
use crate::metadata::Metadata;
use crate::parse::Content;

/// Number of parts that a file says the model has; 1 when it is not split.
pub(crate) fn count(metadata: &Metadata) -> Result<u32, Error> {
    let count = metadata.u32("split.count")?.unwrap_or(1).max(1);
    if count > limits::SHARDS {
        return Err(metadata.error("split.count", count, format!("at most {}", limits::SHARDS)));
    }
    Ok(count)
}

/// A part's file name: `{prefix}-{number}-of-{count}.gguf`, numbers of five digits, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartName<'a> {
    prefix: &'a str,
    number: u32,
    count: u32,
}

impl<'a> PartName<'a> {
    pub(crate) fn parse(file_name: &'a str) -> Option<Self> {
        let stem = file_name.strip_suffix(".gguf")?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let five_digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
            five_digits.then(|| text.parse().ok()).flatten()
        };
        Some(Self {
            prefix,
            number: digits(number)?,
            count: digits(count)?,
        })
    }

    fn of_number(&self, number: u32) -> String {
        part_name(self.prefix, number, self.count)
    }
}

/// File name of part `number` (from 1) of `count`.
pub(crate) fn part_name(prefix: &str, number: u32, count: u32) -> String {
    format!("{prefix}-{number:05}-of-{count:05}.gguf")
}

/// Completes a model from the part that the user named.
pub(crate) fn open_all(path: &Path, given: Source, content: Content) -> Result<Gguf, Error> {
    let count = count(&content.metadata)?;
    if count == 1 {
        return Gguf::join(vec![(given, content)], vec![path.to_path_buf()]);
    }
    let file = given.name.clone();
    let error = |problem| Error::Shards {
        file: file.to_string(),
        problem,
    };
    let given_number = number(&content.metadata, count)?;
    let named = path.file_name().and_then(|name| name.to_str());
    let Some(name) = named.and_then(PartName::parse) else {
        return Err(error(format!(
            "this is part {given_number} of {count}, but its name does not end in \
             -{given_number:05}-of-{count:05}.gguf; give the parts their names back"
        )));
    };
    if name.count != count {
        return Err(error(format!(
            "parts belong to different models: the name says part {} of {}, the file says part {given_number} of {count}",
            name.number, name.count
        )));
    }
    if name.number != given_number {
        let numbers = PartNumbers {
            named: name.number,
            found: given_number,
            count,
        };
        let own_name = name.of_number(given_number);
        let under_own_name = part_in(&path.with_file_name(&own_name), count);
        return Err(error(misnamed(numbers, &own_name, under_own_name)));
    }
    let paths: Vec<PathBuf> = (1..=count)
        .map(|number| path.with_file_name(name.of_number(number)))
        .collect();
    if let Some(missing) =
        (1..=count).find(|&n| n != given_number && !paths[n as usize - 1].exists())
    {
        let missing_name = name.of_number(missing);
        return Err(error(format!(
            "part {missing} of {count} not found: {missing_name}; need it in the same folder"
        )));
    }
    let mut given = Some((given, content));
    let mut parts = Vec::with_capacity(count as usize);
    for (number, path) in (1..=count).zip(&paths) {
        let part = match given.take_if(|_| number == given_number) {
            Some(given) => given,
            None => {
                let source = Source::map(path)?;
                let content = source.parse()?;
                (source, content)
            }
        };
        parts.push(part);
    }
    check_together(&parts, count)?;
    Gguf::join(parts, paths)
}

/// Which part a file says it is, from 1.
fn number(metadata: &Metadata, count: u32) -> Result<u32, Error> {
    let number = metadata.required_u32("split.no")?;
    if number >= count {
        return Err(metadata.error("split.no", number, format!("less than split.count {count}")));
    }
    Ok(number + 1)
}

/// The part that lies under a name, if it is one of so many.
fn part_in(path: &Path, count_needed: u32) -> Option<u32> {
    let content = Source::map(path).and_then(|source| source.parse()).ok()?;
    let is_one_of = count(&content.metadata).is_ok_and(|found| found == count_needed);
    is_one_of.then(|| number(&content.metadata, count_needed).ok())?
}

/// A part whose name and contents do not agree.
struct PartNumbers {
    /// The number in the name.
    named: u32,
    /// The number in the file.
    found: u32,
    /// How many parts there are.
    count: u32,
}

/// What to say of such a part. What lies under its own name tells two that were exchanged from a
/// copy.
fn misnamed(numbers: PartNumbers, own_name: &str, under_own_name: Option<u32>) -> String {
    let PartNumbers {
        named,
        found,
        count,
    } = numbers;
    let what_to_do = match under_own_name {
        Some(other) if other == named => {
            format!("likely swapped with {own_name}, which says part {named}; exchange their names")
        }
        Some(other) if other == found => {
            format!("{own_name} is part {found} too; get part {named} again")
        }
        Some(other) => {
            format!("{own_name} says part {other}; give each part the name of the number it says")
        }
        None => format!("name it {own_name} and put part {named} in its place"),
    };
    format!(
        "the name says part {named} of {count}, the file says part {found} (split.no: found {}, need {}); {what_to_do}",
        found - 1,
        named - 1
    )
}

fn check_together(parts: &[(Source, Content)], count_needed: u32) -> Result<(), Error> {
    const SAME: [&str; 2] = ["split.tensors.count", "general.architecture"];
    let first = &parts[0].1.metadata;
    for ((source, content), number_needed) in parts.iter().zip(1..) {
        let different = |problem: String| Error::Shards {
            file: source.name.to_string(),
            problem: format!("parts belong to different models: {problem}"),
        };
        let count_found = count(&content.metadata)?;
        if count_found != count_needed {
            return Err(different(format!(
                "split.count: found {count_found}, need {count_needed}"
            )));
        }
        let number_found = number(&content.metadata, count_needed)?;
        if number_found != number_needed {
            let (own, own_content) = &parts[number_found as usize - 1];
            let under_own_name = number(&own_content.metadata, count_needed).ok();
            return Err(Error::Shards {
                file: source.name.to_string(),
                problem: misnamed(
                    PartNumbers {
                        named: number_needed,
                        found: number_found,
                        count: count_needed,
                    },
                    &own.name,
                    under_own_name,
                ),
            });
        }
        for key in SAME {
            if let (Some(a), Some(b)) = (first.get(key), content.metadata.get(key))
                && a != b
            {
                return Err(different(format!("{key}: found {b}, need {a}")));
            }
        }
    }
    let total: usize = parts.iter().map(|(_, content)| content.tensors.len()).sum();
    match first.u64("split.tensors.count")? {
        Some(need) if need != total as u64 => Err(Error::Shards {
            file: parts[0].0.name.to_string(),
            problem: format!(
                "parts belong to different models: found {total} tensors in all parts, need {need}"
            ),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_names_are_recognised_and_rebuilt() {
        let name = PartName::parse("a-00002-of-00003-00007-of-00012.gguf").unwrap();
        assert_eq!(
            (name.prefix, name.number, name.count),
            ("a-00002-of-00003", 7, 12)
        );
        assert_eq!(name.of_number(8), "a-00002-of-00003-00008-of-00012.gguf");
        for wrong in [
            "a.gguf",
            "a-1-of-3.gguf",
            "a-00001-of-00003.bin",
            "00001-of-00003.gguf",
            "a-+0001-of-00003.gguf",
        ] {
            assert_eq!(PartName::parse(wrong), None, "{wrong}");
        }
    }
}
