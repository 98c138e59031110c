//! `cargo xtask load throughput`: how much a server answers at 1, 4, 8 and 16 chats about pictures
//! at once, and how soon it answers a second question about a picture. Any server with OpenAI's API
//! on this machine can be asked, so that two can be compared.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::client::{self, Answer, Patience};
use super::percentile;

const FIRST: &str = "What do you see in this picture?";
const SECOND: &str = "Which colours are in it?";

/// What is asked, and how much of it.
struct Plan {
    address: SocketAddr,
    model: String,
    /// Side of the pictures.
    side: u32,
    tokens: usize,
    /// Chats of each client.
    rounds: usize,
    concurrent: Vec<usize>,
}

impl Plan {
    fn read(arguments: &[&str]) -> Result<Self> {
        let mut plan = Self {
            address: "127.0.0.1:8080".parse()?,
            model: "ocelli-demo".to_owned(),
            side: 512,
            tokens: 32,
            rounds: 3,
            concurrent: vec![1, 4, 8, 16],
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let value = arguments.next();
            let value = value.with_context(|| format!("{argument} needs a value"))?;
            match *argument {
                "--address" => plan.address = value.parse().context("--address IP:PORT")?,
                "--model" => plan.model = (*value).to_owned(),
                "--side" => plan.side = value.parse::<u32>()?.clamp(1, 4096),
                "--tokens" => plan.tokens = value.parse::<usize>()?.max(2),
                "--rounds" => plan.rounds = value.parse::<usize>()?.max(1),
                "--concurrent" => {
                    let counts = value.split(',').map(str::parse);
                    plan.concurrent = counts.collect::<Result<_, _>>()?;
                }
                other => bail!("unknown argument `{other}`"),
            }
        }
        anyhow::ensure!(
            plan.address.ip().is_loopback(),
            "only servers of this machine are asked"
        );
        Ok(plan)
    }

    fn chat(&self, picture: &str, question: &str) -> Value {
        json!({"model": self.model, "max_tokens": self.tokens, "temperature": 0, "ignore_eos": true, "stream": true,
        "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": picture}},
            {"type": "text", "text": question},
        ]}]})
    }

    fn ask(&self, picture: &str, question: &str) -> Result<Answer> {
        let answer = client::ask(self.address, &self.chat(picture, question), Patience::Whole);
        let answer = answer.map_err(|missing| anyhow::anyhow!("no answer: {missing:?}"))?;
        anyhow::ensure!(answer.status == 200, "status {}", answer.status);
        Ok(answer)
    }

    /// So many clients at once, each with its chats one after the other.
    fn together(&self, clients: usize, picture: impl Fn(usize) -> String + Sync) -> Result<Rate> {
        let start = Instant::now();
        let answers: Result<Vec<Answer>> = std::thread::scope(|scope| {
            let picture = &picture;
            let clients: Vec<_> = (0..clients)
                .map(|client| {
                    scope.spawn(move || {
                        let rounds = 0..self.rounds;
                        let ask = |round| self.ask(&picture(client * self.rounds + round), FIRST);
                        rounds.map(ask).collect::<Result<Vec<_>>>()
                    })
                })
                .collect();
            let answers = clients.into_iter().map(|client| {
                let ended = client.join();
                ended.unwrap_or_else(|_| bail!("a client failed"))
            });
            Ok(answers
                .collect::<Result<Vec<_>>>()?
                .into_iter()
                .flatten()
                .collect())
        });
        let (answers, seconds) = (answers?, start.elapsed().as_secs_f64());
        let mut firsts: Vec<Duration> = answers.iter().map(|answer| answer.first).collect();
        Ok(Rate {
            tokens_a_second: answers.iter().map(|a| a.tokens).sum::<u64>() as f64 / seconds,
            pictures_a_minute: answers.len() as f64 * 60.0 / seconds,
            first_ms: percentile(&mut firsts, 0.5),
        })
    }
}

struct Rate {
    tokens_a_second: f64,
    pictures_a_minute: f64,
    /// Median time to the first token.
    first_ms: f64,
}

/// Asks a server and prints tables.
///
/// # Errors
/// When an argument is wrong or the server does not answer.
pub(super) fn run(arguments: &[&str]) -> Result<bool> {
    let plan = Plan::read(arguments)?;
    let side = plan.side;
    // What loading and the first pass of every buffer cost is not measured.
    plan.ask(&picture(side, u64::MAX), FIRST)?;
    println!(
        "{} at {}, pictures of {side}x{side}, {} tokens each, {} chats a client",
        plan.model, plan.address, plan.tokens, plan.rounds
    );
    println!(
        "\n| at once | same picture: tok/s | first token, ms | new pictures: tok/s | pictures/min | first token, ms |"
    );
    println!("|---|---|---|---|---|---|");
    // Other pictures than in any earlier run against this server.
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut fresh = clock.map_or(1, |time| time.as_millis() as u64) << 16;
    for &clients in &plan.concurrent {
        let known = picture(side, u64::MAX);
        let same = plan.together(clients, |_| known.clone())?;
        let base = fresh;
        let new = plan.together(clients, |index| picture(side, base + index as u64))?;
        fresh += (clients * plan.rounds) as u64;
        println!(
            "| {clients} | {:.1} | {:.0} | {:.1} | {:.1} | {:.0} |",
            same.tokens_a_second,
            same.first_ms,
            new.tokens_a_second,
            new.pictures_a_minute,
            new.first_ms
        );
    }
    let mut firsts = Vec::new();
    let mut seconds = Vec::new();
    for round in 0..plan.rounds.max(3) {
        let shown = picture(side, fresh + round as u64);
        firsts.push(plan.ask(&shown, FIRST)?.first);
        seconds.push(plan.ask(&shown, SECOND)?.first);
    }
    let (first, second) = (percentile(&mut firsts, 0.5), percentile(&mut seconds, 0.5));
    println!(
        "\nfirst question about a picture: {first:.1} ms to the first token; second question about it: {second:.1} ms, {:.1} % of the first",
        100.0 * second / first
    );
    Ok(true)
}

/// A made-up picture as a data URI: slopes, squares, and a little noise that only this number has.
fn picture(side: u32, number: u64) -> String {
    let row = (3 * side).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    for value in [54 + row * side, 0, 54, 40, side, side] {
        file.extend(value.to_le_bytes());
    }
    file.extend([1, 0, 24, 0]);
    for value in [0, row * side, 2835, 2835, 0, 0] {
        file.extend(value.to_le_bytes());
    }
    let mut noise = (number << 1) | 1;
    for y in 0..side {
        for x in 0..side {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            let square = if (x / 64 + y / 48).is_multiple_of(3) {
                40
            } else {
                0
            };
            let spot = (noise & 7) as u32;
            let slope = [
                200 - (x + y) * 90 / side,
                y * 180 / side + 20,
                x * 180 / side + square,
            ];
            file.extend(slope.map(|value| (value + spot) as u8));
        }
        // Rows begin at multiples of four bytes.
        file.resize(54 + (row * (y + 1)) as usize, 0);
    }
    format!("data:image/bmp;base64,{}", base64(&file))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letters = bytes.chunks(3).flat_map(|chunk| {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        (0..4).map(move |letter| match letter <= chunk.len() {
            true => char::from(LETTERS[(bits >> (18 - 6 * letter)) as usize & 63]),
            false => '=',
        })
    });
    letters.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"A"), "QQ==");
        assert_eq!(base64(b"AB"), "QUI=");
        assert_eq!(base64(b"ABC"), "QUJD");
        assert_eq!(base64(&[255; 4]), "/////w==");
    }

    #[test]
    fn pictures_have_their_size_and_differ() {
        let file = |side, number| picture(side, number).len();
        for side in [1, 5, 6, 64] {
            let bytes = 54 + (3 * side as usize).next_multiple_of(4) * side as usize;
            assert_eq!(file(side, 1), 22 + bytes.div_ceil(3) * 4, "{side}");
        }
        assert_ne!(picture(8, 3), picture(8, 5));
    }

    #[test]
    fn only_this_machine_is_asked() {
        assert!(Plan::read(&["--address", "93.184.216.34:80"]).is_err());
        let plan = Plan::read(&["--concurrent", "1,2", "--side", "64"]).unwrap();
        assert_eq!((plan.concurrent, plan.side), (vec![1, 2], 64));
    }
}
