//! Reading the fields of a request with errors that name the field, what was found wrong, and what is needed.
//!
//! Fields that are there but unknown are accepted and listed, since routers add some of their own.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::UnknownFields;
use crate::failure::Failure;

/// An object of a request. A field that is `null` counts as absent.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// How messages call it: empty for the request itself, else as in `options.`.
    prefix: String,
    known: RefCell<Vec<&'a str>>,
}

/// What a field holds with which nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Flag,
    Number,
    Object,
}

impl Kind {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Object => value.is_object(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Flag => "true or false",
            Self::Number => "a number",
            Self::Object => "an object",
        }
    }
}

/// False for what asks for nothing.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn new(object: &'a Map<String, Value>) -> Self {
        Self {
            object,
            prefix: String::new(),
            known: RefCell::new(Vec::new()),
        }
    }

    /// Fields of a part of the request, at a place as in `messages[0]`.
    pub(crate) fn at(value: &'a Value, place: &str) -> Result<Self, Failure> {
        let Value::Object(object) = value else {
            return Err(Failure::field(place, "must be an object"));
        };
        Ok(Self {
            prefix: format!("{place}."),
            ..Self::new(object)
        })
    }

    /// How messages call a field.
    pub(crate) fn place(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(crate) fn wrong(&self, key: &str, what: impl std::fmt::Display) -> Failure {
        Failure::field(self.place(key), what)
    }

    /// A field that is not `null`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        let (name, value) = self.object.get_key_value(key)?;
        self.known.borrow_mut().push(name);
        (!value.is_null()).then_some(value)
    }

    /// Notes that fields are known though nothing is done with them. What they hold is looked at
    /// all the same, so that a mistake is told.
    ///
    /// # Errors
    /// When one holds something of another kind.
    pub(crate) fn ignore(&self, kind: Kind, keys: &[&str]) -> Result<(), Failure> {
        for key in keys {
            if let Some(value) = self.get(key)
                && !kind.is(value)
            {
                return Err(self.wrong(key, format_args!("must be {}", kind.name())));
            }
        }
        Ok(())
    }

    /// Refuses fields that would change the answer and are not there. What asks for nothing
    /// (`false`, 0, empty) may come: some clients send every field they know.
    ///
    /// # Errors
    /// When one of them asks for something.
    pub(crate) fn refuse(&self, keys: &[&str]) -> Result<(), Failure> {
        match keys.iter().find(|key| self.get(key).is_some_and(asks)) {
            Some(key) => Err(self.wrong(key, "is not supported")),
            None => Ok(()),
        }
    }

    /// Notes that a field is known if it holds what is done anyway. With anything else it stays unknown.
    pub(crate) fn expect(&self, key: &str, usual: f64) {
        if self.object.get(key).and_then(Value::as_f64) == Some(usual) {
            self.get(key);
        }
    }

    /// What is to be said about fields that nobody asked for.
    ///
    /// # Errors
    /// When there are some and they are to be refused.
    pub(crate) fn warnings(&self, rule: UnknownFields) -> Result<Vec<String>, Failure> {
        let unknown = self.unknown();
        match (rule, unknown.first()) {
            (UnknownFields::Refused, Some(key)) => {
                let message = format!("unknown field '{}{key}'", self.prefix);
                Err(Failure {
                    code: "unknown_field",
                    param: Some(self.place(key)),
                    ..Failure::bad(message)
                })
            }
            _ => {
                let warning = |key| format!("unknown field '{}{key}' was ignored", self.prefix);
                Ok(unknown.iter().map(warning).collect())
            }
        }
    }

    fn unknown(&self) -> Vec<String> {
        let known = self.known.borrow();
        let unknown = self
            .object
            .keys()
            .filter(|key| !known.contains(&key.as_str()));
        unknown
            .take(16)
            .map(|key| key.escape_default().take(64).collect())
            .collect()
    }

    pub(crate) fn string(&self, key: &str) -> Result<Option<&'a str>, Failure> {
        self.get(key)
            .map(|value| {
                value
                    .as_str()
                    .ok_or_else(|| self.wrong(key, "must be a string"))
            })
            .transpose()
    }

    /// An object inside.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Self>, Failure> {
        self.get(key)
            .map(|value| Self::at(value, &self.place(key)))
            .transpose()
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, Failure> {
        self.get(key)
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| self.wrong(key, "must be true or false"))
            })
            .transpose()
    }

    pub(crate) fn list(&self, key: &str) -> Result<Option<&'a Vec<Value>>, Failure> {
        self.get(key)
            .map(|value| {
                value
                    .as_array()
                    .ok_or_else(|| self.wrong(key, "must be a list"))
            })
            .transpose()
    }

    pub(crate) fn number(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number as f32)),
            None => {
                let (least, most) = (range.start(), range.end());
                Err(self.wrong(key, format_args!("must be a number in {least}..{most}")))
            }
        }
    }

    pub(crate) fn integer(
        &self,
        key: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match value.as_u64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let least = range.start();
                let most = match *range.end() {
                    u64::MAX => String::new(),
                    most => most.to_string(),
                };
                Err(self.wrong(key, format_args!("must be an integer in {least}..{most}")))
            }
        }
    }

    /// Most tokens of an answer; the context is checked when the model is known.
    pub(crate) fn max_tokens(&self, key: &str) -> Result<Option<usize>, Failure> {
        self.tokens(key, 1)
    }

    /// The same where an answer may also be empty.
    pub(crate) fn max_tokens_or_none(&self, key: &str) -> Result<Option<usize>, Failure> {
        self.tokens(key, 0)
    }

    fn tokens(&self, key: &str, least: u64) -> Result<Option<usize>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let count = value.as_u64();
        match count.filter(|count| (least..=1 << 31).contains(count)) {
            Some(count) => Ok(Some(count as usize)),
            None => Err(self.wrong(key, format_args!("must be an integer in {least}..context"))),
        }
    }

    /// A seed; negative ones mean a random one, as absent ones do.
    pub(crate) fn seed(&self, key: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        match (value.as_u64(), value.as_i64()) {
            (Some(seed), _) => Ok(Some(seed)),
            (None, Some(_)) => Ok(None),
            (None, None) => Err(self.wrong(key, "must be an integer below 2^64")),
        }
    }

    /// One stop string or a list of them.
    pub(crate) fn stop(&self, key: &str) -> Result<Vec<String>, Failure> {
        const MOST: usize = 16;
        const BYTES: usize = 256;
        let wrong = || {
            let what = format!(": at most {MOST} strings of 1..{BYTES} bytes");
            let mut failure = self.wrong(key, "");
            failure.message = format!("{}{what}", self.place(key));
            failure
        };
        let strings: Vec<&str> = match self.get(key) {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(list)) if list.len() <= MOST => {
                let strings = list.iter().map(|item| item.as_str().ok_or_else(wrong));
                strings.collect::<Result<_, _>>()?
            }
            Some(_) => return Err(wrong()),
        };
        match strings.iter().all(|text| (1..=BYTES).contains(&text.len())) {
            true => Ok(strings.into_iter().map(str::to_owned).collect()),
            false => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
        result.unwrap_err().message
    }

    #[test]
    fn a_wrong_field_is_named_with_what_it_must_be() {
        let value = json!({"max_tokens": -5, "temperature": "hot", "n": 9, "stop": [""], "stream": "yes",
            "seed": 1.5, "model": 5});
        let fields = Fields::new(value.as_object().unwrap());
        let max_tokens = message(fields.max_tokens("max_tokens"));
        assert_eq!(max_tokens, "max_tokens must be an integer in 1..context");
        let temperature = message(fields.number("temperature", 0.0..=2.0));
        assert_eq!(temperature, "temperature must be a number in 0..2");
        assert_eq!(
            message(fields.integer("n", 1..=8)),
            "n must be an integer in 1..8"
        );
        let stop = message(fields.stop("stop"));
        assert_eq!(stop, "stop: at most 16 strings of 1..256 bytes");
        assert_eq!(
            message(fields.bool("stream")),
            "stream must be true or false"
        );
        assert_eq!(
            message(fields.seed("seed")),
            "seed must be an integer below 2^64"
        );
        assert_eq!(message(fields.string("model")), "model must be a string");
        let object = fields.object("model").map(|_| ());
        assert_eq!(message(object), "model must be an object");
    }

    #[test]
    fn fields_that_change_nothing_are_looked_at_and_those_that_would_are_refused() {
        let value = json!({"user": "u", "store": "maybe", "echo": false, "best_of": 0, "bad_words": [], "audio": {"a": 1},
            "mirostat": 2, "tfs_z": 1});
        let fields = Fields::new(value.as_object().unwrap());
        fields.ignore(Kind::Text, &["user", "absent"]).unwrap();
        let store = message(fields.ignore(Kind::Flag, &["store"]));
        assert_eq!(store, "store must be true or false");
        fields
            .refuse(&["echo", "best_of", "bad_words", "absent"])
            .unwrap();
        let audio = message(fields.refuse(&["echo", "audio"]));
        assert_eq!(audio, "audio is not supported");
        fields.expect("tfs_z", 1.0);
        fields.expect("mirostat", 0.0);
        let warnings = fields.warnings(UnknownFields::Named).unwrap();
        assert_eq!(warnings, ["unknown field 'mirostat' was ignored"]);
    }

    #[test]
    fn unknown_fields_are_listed_and_null_is_absent() {
        let value = json!({"model": null, "no_stop_trim": true});
        let fields = Fields::new(value.as_object().unwrap());
        assert_eq!(fields.string("model").unwrap(), None);
        assert_eq!(
            fields.warnings(UnknownFields::Named).unwrap(),
            ["unknown field 'no_stop_trim' was ignored"]
        );
        let refused = fields.warnings(UnknownFields::Refused).unwrap_err();
        assert_eq!(refused.message, "unknown field 'no_stop_trim'");
        assert_eq!(refused.param.as_deref(), Some("no_stop_trim"));
        assert!(fields.string("no_stop_trim").is_err());
        assert_eq!(fields.warnings(UnknownFields::Refused), Ok(Vec::new()));
    }
}
