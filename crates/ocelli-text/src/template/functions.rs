//! The filters, methods and functions that templates may call: those of Jinja and Python that chat
//! templates use, without those that can take memory at will.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use super::budget::{Budget, STEPS, exceeded};
use super::clock::Clock;
use super::guard::{CHARGE, FACTOR, TICK};
use super::json::{self, Layout};
use super::space;

/// Start of the detail of an error that the template raised itself.
pub(super) const RAISED: &str = "raised: ";
/// Bytes of a raised message that are kept.
const RAISED_CHARACTERS: usize = 200;
/// Most spaces to indent by.
const INDENT: usize = 16;

/// An interpreter for one rendering.
pub(super) fn environment<'e>(budget: &Budget, clock: Clock) -> Environment<'e> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(STEPS));
    let syntax = environment
        .syntax()
        .to_builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    // `batch` and `slice` fill up to any number, `format` and `pprint` widen to any width.
    for filter in ["batch", "slice", "format", "pprint"] {
        environment.remove_filter(filter);
    }
    environment.remove_global("debug");
    add_meters(&mut environment, budget);
    add_filters(&mut environment, budget);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<Value, Error> {
            let message: String = message.chars().take(RAISED_CHARACTERS).collect();
            Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("{RAISED}{message}"),
            ))
        },
    );
    environment.add_function("strftime_now", move |format: String| clock.format(&format));
    environment
}

fn add_meters(environment: &mut Environment<'_>, budget: &Budget) {
    let meter = budget.clone();
    environment.add_filter(CHARGE, move |value: Value| {
        meter.charge(&value).map(|()| value)
    });
    let meter = budget.clone();
    environment.add_filter(FACTOR, move |value: Value| {
        meter.factor(&value).map(|()| value)
    });
    let meter = budget.clone();
    environment.add_function(TICK, move |bytes: u64| {
        meter.take(bytes).map(|()| Value::UNDEFINED)
    });
    let meter = budget.clone();
    environment.set_formatter(move |output, _, value| {
        match value.as_str() {
            Some(text) => meter.take(text.len() as u64)?,
            None => meter.charge(value)?,
        }
        write!(output, "{value}").map_err(|_| exceeded("memory budget: the output is too long"))
    });
    let meter = budget.clone();
    environment.set_unknown_method_callback(move |state, value, method, arguments| {
        call_method(&meter, state, value, method, arguments)
    });
}

fn add_filters(environment: &mut Environment<'_>, budget: &Budget) {
    let meter = budget.clone();
    environment.add_filter(
        "tojson",
        move |value: Value, indent: Option<usize>, options: Kwargs| {
            meter.charge(&value)?;
            let json = to_json(&value, indent, &options)?;
            meter.take(json.len() as u64).map(|()| json)
        },
    );
    let meter = budget.clone();
    environment.add_filter(
        "join",
        move |value: Value, separator: Option<String>, options: Kwargs| {
            let attribute: Option<String> = options.get("attribute")?;
            let separator = separator.or(options.get("d")?).unwrap_or_default();
            options.assert_all_used()?;
            join(&meter, &value, &separator, attribute.as_deref())
        },
    );
    environment.add_filter("trim", |value: &Value, characters: Option<String>| {
        space::trim(value, characters)
    });
    let meter = budget.clone();
    environment.add_filter("replace", move |text: String, old: String, new: String| {
        replace(&meter, &text, &old, &new, None)
    });
    let meter = budget.clone();
    environment.add_filter(
        "indent",
        move |text: String, width: Option<usize>, first: Option<bool>, options: Kwargs| {
            let width = width.or(options.get("width")?).unwrap_or(4);
            let first = first.or(options.get("first")?).unwrap_or(false);
            let blank: bool = options.get::<Option<bool>>("blank")?.unwrap_or(false);
            options.assert_all_used()?;
            indent(&meter, &text, width, [first, blank])
        },
    );
}

/// `tojson(indent=, separators=, sort_keys=, ensure_ascii=)` as Hugging Face defines it.
fn to_json(value: &Value, indent: Option<usize>, options: &Kwargs) -> Result<String, Error> {
    let indent = indent.or(options.get("indent")?);
    let separators: Option<(String, String)> = match options.get::<Option<Value>>("separators")? {
        Some(pair) => Some((
            pair.get_item_by_index(0)?.to_string(),
            pair.get_item_by_index(1)?.to_string(),
        )),
        None => None,
    };
    let sort_keys: bool = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ensure_ascii: bool = options
        .get::<Option<bool>>("ensure_ascii")?
        .unwrap_or(false);
    options.assert_all_used()?;
    if ensure_ascii {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "tojson: found ensure_ascii=true, need false",
        ));
    }
    if indent.is_some_and(|indent| indent > INDENT) {
        return Err(exceeded("memory budget: tojson indents by more than 16"));
    }
    let between = if indent.is_some() { "," } else { ", " };
    let (between_items, after_key) = separators.unwrap_or((between.into(), ": ".into()));
    json::dumps(
        value,
        &Layout {
            indent,
            between_items,
            after_key,
            sort_keys,
        },
    )
}

fn join(
    budget: &Budget,
    value: &Value,
    separator: &str,
    attribute: Option<&str>,
) -> Result<Value, Error> {
    if value.is_undefined() {
        return Ok(Value::from(""));
    }
    let mut joined = String::new();
    for (at, item) in value.try_iter()?.enumerate() {
        let item = match attribute {
            Some(attribute) => item.get_attr(attribute)?,
            None => item,
        };
        budget.take(separator.len() as u64)?;
        budget.charge(&item)?;
        if at > 0 {
            joined.push_str(separator);
        }
        joined.push_str(&item.to_string());
    }
    Ok(Value::from(joined))
}

fn replace(
    budget: &Budget,
    text: &str,
    old: &str,
    new: &str,
    most: Option<usize>,
) -> Result<Value, Error> {
    let found = text.matches(old).count().min(most.unwrap_or(usize::MAX));
    budget.take(
        (text.len() as u64).saturating_add((found as u64).saturating_mul(new.len() as u64)),
    )?;
    Ok(Value::from(text.replacen(old, new, found)))
}

fn indent(
    budget: &Budget,
    text: &str,
    width: usize,
    [first, blank]: [bool; 2],
) -> Result<Value, Error> {
    if width > INDENT {
        return Err(exceeded("memory budget: indent by more than 16"));
    }
    budget.take((text.len() as u64).saturating_mul(1 + width as u64))?;
    let spaces = " ".repeat(width);
    let mut indented = String::new();
    for (at, line) in text.lines().enumerate() {
        if at > 0 {
            indented.push('\n');
        }
        if if at == 0 {
            first
        } else {
            blank || !line.is_empty()
        } {
            indented.push_str(&spaces);
        }
        indented.push_str(line);
    }
    Ok(Value::from(indented))
}

/// Python's methods of strings and dictionaries.
fn call_method(
    budget: &Budget,
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        budget.take(text.len() as u64)?;
        if let Some(found) = space::call(text, method, arguments) {
            return Ok(found);
        }
        match (method, arguments) {
            ("join", [items]) => return join(budget, items, text, None),
            ("replace", [old, new]) if both_text(old, new) => {
                return replace(budget, text, &old.to_string(), &new.to_string(), None);
            }
            ("replace", [old, new, most]) if both_text(old, new) => {
                return replace(
                    budget,
                    text,
                    &old.to_string(),
                    &new.to_string(),
                    most.as_usize(),
                );
            }
            ("removeprefix", [prefix]) => {
                let prefix = prefix.as_str().unwrap_or_default();
                return Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)));
            }
            ("removesuffix", [suffix]) => {
                let suffix = suffix.as_str().unwrap_or_default();
                return Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)));
            }
            // A width in the format could ask for any amount of padding.
            ("format", _) if text.contains(':') => {
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    "format: found a format with `:`, need plain `{}`",
                ));
            }
            ("format", _) => {
                for _ in text.matches('{') {
                    arguments
                        .iter()
                        .try_for_each(|argument| budget.charge(argument))?;
                }
            }
            _ => {}
        }
    } else if value.kind() == ValueKind::Seq {
        budget.charge(value)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, arguments)
}

fn both_text(old: &Value, new: &Value) -> bool {
    old.as_str().is_some() && new.as_str().is_some()
}
