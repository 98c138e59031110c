//! What a request may ask of the choice of its tokens.

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 takes the most likely token. Default 0.
    pub temperature: f32,
    /// Keeps this many of the most likely tokens; 0 keeps all. Default 0.
    pub top_k: u32,
    /// Keeps the most likely tokens up to this share of probability. Default 1: all.
    pub top_p: f32,
    /// Drops tokens below this share of the most likely one's probability. Default 0: none.
    pub min_p: f32,
    /// Divides (or, below zero, multiplies) the logits of tokens that occurred. Default 1: none.
    pub repeat_penalty: f32,
    /// How many of the last tokens `repeat_penalty` looks at; `None` for all. Default `None`.
    pub repeat_last: Option<usize>,
    /// Taken from the logit of each token generated so far. Default 0.
    pub presence_penalty: f32,
    /// Taken from the logit of a token for each time it was generated. Default 0.
    pub frequency_penalty: f32,
    /// Added to the logits of tokens: -100 forbids one, 100 forces it. Default empty.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed gives the same draws. Default 0.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the value that is out of its range.
    pub fn check(&self) -> Result<(), String> {
        let in_range = |name: &str, value: f32, least: f32, most: f32| {
            if value >= least && value <= most {
                return Ok(());
            }
            Err(format!("{name} is {value}, need {least}..{most}"))
        };
        in_range("temperature", self.temperature, 0.0, 100.0)?;
        in_range("top_p", self.top_p, 0.0, 1.0)?;
        in_range("min_p", self.min_p, 0.0, 1.0)?;
        in_range("presence_penalty", self.presence_penalty, -2.0, 2.0)?;
        in_range("frequency_penalty", self.frequency_penalty, -2.0, 2.0)?;
        for (token, bias) in &self.logit_bias {
            in_range(
                &format!("logit_bias of token {token}"),
                *bias,
                -100.0,
                100.0,
            )?;
        }
        if !(self.repeat_penalty > 0.0 && self.repeat_penalty <= 10.0) {
            return Err(format!(
                "repeat_penalty is {}, need above 0 and at most 10",
                self.repeat_penalty
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        let plain = Sampling::default;
        for (options, name) in [
            (
                Sampling {
                    temperature: -1.0,
                    ..plain()
                },
                "temperature",
            ),
            (
                Sampling {
                    temperature: f32::NAN,
                    ..plain()
                },
                "temperature",
            ),
            (
                Sampling {
                    top_p: 2.0,
                    ..plain()
                },
                "top_p",
            ),
            (
                Sampling {
                    min_p: 5.0,
                    ..plain()
                },
                "min_p",
            ),
            (
                Sampling {
                    repeat_penalty: 0.0,
                    ..plain()
                },
                "repeat_penalty",
            ),
        ] {
            assert!(options.check().unwrap_err().contains(name));
        }
    }
}
