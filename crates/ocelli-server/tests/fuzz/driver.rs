//! Changes inputs at random and hands them to a body, for so many seconds.
//!
//! Stable Rust, no instrumentation: what it lacks in feedback it makes up for with seeds that reach
//! far and with words of the format. A run can be repeated with the seed that it prints.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// No input may take longer, on however busy a machine.
const LONGEST: Duration = Duration::from_secs(30);

/// How long each body runs: `OCELLI_FUZZ_SECONDS`, else one second.
pub(crate) fn seconds() -> Duration {
    let given = std::env::var("OCELLI_FUZZ_SECONDS").ok();
    let seconds = given.map(|text| text.parse().expect("OCELLI_FUZZ_SECONDS is a number"));
    Duration::from_secs(seconds.unwrap_or(1))
}

/// A reproducible source of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides.max(1)
    }

    /// A place, near the front more often than not: there are the headers.
    fn place(&mut self, length: usize) -> usize {
        let whole = self.roll(length);
        match self.roll(2) {
            0 => whole,
            _ => self.roll(whole + 1),
        }
    }
}

/// What is changed, and with what.
pub(crate) struct Corpus {
    pub(crate) seeds: Vec<Vec<u8>>,
    pub(crate) words: Vec<&'static [u8]>,
}

impl Corpus {
    fn mutate(&self, dice: &mut Dice) -> Vec<u8> {
        let mut input = self.seeds[dice.roll(self.seeds.len())].clone();
        for _ in 0..=dice.roll(4) {
            self.change(&mut input, dice);
        }
        input
    }

    fn change(&self, input: &mut Vec<u8>, dice: &mut Dice) {
        const EXTREMES: [u64; 8] = [
            0,
            1,
            0x7f,
            0xff,
            0x7fff_ffff,
            0xffff_ffff,
            1 << 62,
            u64::MAX,
        ];
        let at = dice.place(input.len() + 1);
        let length = (1 + dice.roll(64)).min(input.len() - at);
        match dice.roll(9) {
            0 if at < input.len() => input[at] ^= 1 << dice.roll(8),
            1 if at < input.len() => input[at] = dice.roll(256) as u8,
            2 => input.truncate(at),
            3 => drop(input.drain(at..at + length)),
            4 => {
                let copied = input[at..at + length].repeat(1 + dice.roll(8));
                let to = dice.place(input.len() + 1);
                input.splice(to..to, copied);
            }
            5 => {
                let bytes = EXTREMES[dice.roll(8)].to_le_bytes();
                let bytes = &bytes[..(1 << dice.roll(4)).min(length)];
                input[at..at + bytes.len()].copy_from_slice(bytes);
            }
            6 => {
                let other = &self.seeds[dice.roll(self.seeds.len())];
                let from = dice.place(other.len() + 1);
                let to = (from + 1 + dice.roll(256)).min(other.len());
                input.splice(at..at + length, other[from..to].iter().copied());
            }
            7 if !self.words.is_empty() => {
                let word = self.words[dice.roll(self.words.len())];
                input.splice(at..at + length, word.iter().copied());
            }
            _ if !self.words.is_empty() => {
                let word = self.words[dice.roll(self.words.len())];
                input.splice(at..at, word.repeat(1 + dice.roll(3)));
            }
            _ => {}
        }
    }

    /// Runs a body on its seeds and then on changed ones until the time is over.
    pub(crate) fn run(&self, name: &str, body: impl Fn(&[u8])) {
        let start = Instant::now();
        // The same inputs each time unless asked otherwise: whether a change passes is not to be a
        // matter of chance.
        let seed: u64 = match std::env::var("OCELLI_FUZZ_SEED").as_deref() {
            Err(_) => 0x9E37_79B9_7F4A_7C15,
            Ok("random") => {
                let random = std::hash::RandomState::new();
                std::hash::BuildHasher::hash_one(&random, name) | 1
            }
            Ok(number) => number
                .parse()
                .expect("OCELLI_FUZZ_SEED is a number or random"),
        };
        eprintln!("{name}: OCELLI_FUZZ_SEED={seed}");
        let mut dice = Dice(seed);
        let mut runs = 0_u64;
        for input in &self.seeds {
            attempt(name, input, &body);
        }
        while start.elapsed() < seconds() {
            attempt(name, &self.mutate(&mut dice), &body);
            runs += 1;
        }
        eprintln!("{name}: {runs} changed inputs in {:.1?}", start.elapsed());
    }
}

fn attempt(name: &str, input: &[u8], body: &impl Fn(&[u8])) {
    let start = Instant::now();
    let ended = catch_unwind(AssertUnwindSafe(|| body(input)));
    let took = start.elapsed();
    let shown = || {
        let shown = input[..input.len().min(2000)].escape_ascii();
        format!("{name}, input of {} bytes: {shown}", input.len())
    };
    assert!(ended.is_ok(), "panic: {}", shown());
    assert!(took < LONGEST, "{took:?}: {}", shown());
}
