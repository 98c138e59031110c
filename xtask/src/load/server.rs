//! A server under load: started, watched, ended.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A running server; killed when dropped.
pub(super) struct Server {
    child: Child,
    pub(super) address: SocketAddr,
    /// Lines on standard error that speak of a panic.
    pub(super) panics: Arc<AtomicU64>,
}

impl Server {
    /// Starts it on any free port and waits until it is ready.
    pub(super) fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(["serve", "--port", "0"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}; build it first", program.display()))?;
        let Some(stderr) = child.stderr.take() else {
            bail!("the server has no standard error");
        };
        let mut lines = BufReader::new(stderr).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let Some(address) = first.strip_prefix("listening on http://") else {
            let _ = child.kill();
            bail!("the server did not start: {first}");
        };
        let address = address.parse()?;
        let panics = Arc::new(AtomicU64::new(0));
        let count = panics.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                count.fetch_add(u64::from(line.contains("internal")), Ordering::Relaxed);
                eprintln!("server: {line}");
            }
        });
        Ok(Self {
            child,
            address,
            panics,
        })
    }

    /// Asks it to end, as an operator would.
    pub(super) fn terminate(&self) -> Result<()> {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status()?;
        anyhow::ensure!(killed.success(), "kill failed");
        Ok(())
    }

    /// Waits for its end and gives its exit code.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<Option<i32>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            if start.elapsed() > limit {
                bail!("the server did not end within {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Samples memory each second until `stop`.
    pub(super) fn watch(&self, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Memory> {
        let path = format!("/proc/{}/status", self.child.id());
        std::thread::spawn(move || {
            let start = Instant::now();
            let mut samples = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let anonymous = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
                let kib = anonymous.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
                if let Some(kib) = kib {
                    samples.push((start.elapsed().as_secs_f64(), kib));
                }
                std::thread::sleep(Duration::from_secs(1));
            }
            Memory { samples }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Memory over time: seconds and KiB.
pub(super) struct Memory {
    samples: Vec<(f64, f64)>,
}

impl Memory {
    /// The most there was, in MiB.
    pub(super) fn peak_mib(&self) -> f64 {
        self.samples
            .iter()
            .map(|sample| sample.1)
            .fold(0.0, f64::max)
            / 1024.0
    }

    /// Growth in MiB an hour by least squares over the later half, where caches are filled.
    pub(super) fn slope_mib_an_hour(&self) -> f64 {
        let late = &self.samples[self.samples.len() / 2..];
        let count = late.len().max(1) as f64;
        let mean = |value: fn(&(f64, f64)) -> f64| late.iter().map(value).sum::<f64>() / count;
        let (mean_x, mean_y) = (mean(|s| s.0), mean(|s| s.1));
        let covariance: f64 = late.iter().map(|s| (s.0 - mean_x) * (s.1 - mean_y)).sum();
        let variance: f64 = late.iter().map(|s| (s.0 - mean_x).powi(2)).sum();
        if variance > 0.0 {
            covariance / variance * 3600.0 / 1024.0
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn growth_is_a_straight_line_through_the_later_half() {
        let samples = (0..100).map(|i| {
            (
                f64::from(i),
                if i < 50 { 0.0 } else { f64::from(i) * 1024.0 },
            )
        });
        let memory = Memory {
            samples: samples.collect(),
        };
        assert!((memory.slope_mib_an_hour() - 3600.0).abs() < 1e-6);
        assert!((memory.peak_mib() - 99.0).abs() < 1e-9);
    }
}
