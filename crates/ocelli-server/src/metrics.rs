//! Numbers for Prometheus, under our own names and under those of vLLM that routers look for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ocelli::service::Finished;

use crate::app::App;

/// Upper bounds of the buckets of times, in seconds.
const BUCKETS: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0,
];

#[derive(Clone, Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn add(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        for (bucket, most) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= most);
        }
    }

    fn write(&self, out: &mut String, name: &str, model: &str) {
        for (count, most) in self.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(
                out,
                "{name}_bucket{{model_name=\"{model}\",le=\"{most}\"}} {count}"
            );
        }
        let (count, sum) = (self.count, self.sum);
        let _ = writeln!(
            out,
            "{name}_bucket{{model_name=\"{model}\",le=\"+Inf\"}} {count}"
        );
        let _ = writeln!(out, "{name}_sum{{model_name=\"{model}\"}} {sum}");
        let _ = writeln!(out, "{name}_count{{model_name=\"{model}\"}} {count}");
    }
}

/// Times of one model's answers.
#[derive(Clone, Debug, Default)]
struct Times {
    first_token: Histogram,
    whole: Histogram,
    finished: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Counts {
    answers: BTreeMap<u16, u64>,
    models: BTreeMap<String, Times>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counts: Mutex<Counts>,
}

impl Metrics {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count_answer(&self, status: StatusCode) {
        *self.counts().answers.entry(status.as_u16()).or_default() += 1;
    }

    pub(crate) fn count_finished(&self, model: &str, finished: &Finished) {
        let mut counts = self.counts();
        if !counts.models.contains_key(model) {
            counts.models.insert(model.to_owned(), Times::default());
        }
        if let Some(times) = counts.models.get_mut(model) {
            times.first_token.add(finished.first_token.as_secs_f64());
            times.whole.add(finished.total.as_secs_f64());
            *times
                .finished
                .entry(finished.finish_reason.name())
                .or_default() += 1;
        }
    }
}

struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{name}{{{labels}}} {value}");
    }
}

/// `GET /metrics`.
pub(crate) fn page(app: &App) -> Response {
    let mut page = Page {
        text: String::new(),
    };
    requests(app, &mut page);
    models(app, &mut page);
    times(app, &mut page);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], page.text).into_response()
}

fn requests(app: &App, page: &mut Page) {
    let name = "ocelli_http_answers_total";
    page.head(name, "counter", "Answers by HTTP status.");
    for (status, count) in &app.metrics.counts().answers {
        page.line(name, &format!("status=\"{status}\""), count);
    }
    let name = "ocelli_http_active";
    page.head(name, "gauge", "Requests for answers that are being served.");
    let _ = writeln!(page.text, "{name} {}", app.active());
}

type Read = fn(&ocelli::service::Counters) -> f64;

/// Names of a value, its kind, what it is, and where it comes from.
const ROWS: [(&[&str], &str, &str, Read); 18] = [
    (
        &["vllm:num_requests_running", "ocelli_requests_running"],
        "gauge",
        "Requests that run.",
        |c| c.running as f64,
    ),
    (
        &["vllm:num_requests_waiting", "ocelli_requests_waiting"],
        "gauge",
        "Requests that wait.",
        |c| c.waiting as f64,
    ),
    (
        &["vllm:prompt_tokens_total", "ocelli_prompt_tokens_total"],
        "counter",
        "Prompt tokens.",
        |c| c.prompt_tokens as f64,
    ),
    (
        &[
            "vllm:generation_tokens_total",
            "ocelli_generated_tokens_total",
        ],
        "counter",
        "Tokens of answers.",
        |c| c.generated_tokens as f64,
    ),
    (
        &["vllm:prefix_cache_queries_total"],
        "counter",
        "Prompt tokens that were looked for in the cache.",
        |c| c.prompt_tokens as f64,
    ),
    (
        &["vllm:prefix_cache_hits_total", "ocelli_cached_tokens_total"],
        "counter",
        "Prompt tokens found in the cache.",
        |c| c.cached_tokens as f64,
    ),
    (
        &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        "gauge",
        "Share of the cache in use.",
        |c| c.pages_in_use as f64 / c.pages.max(1) as f64,
    ),
    (
        &["ocelli_image_cache_hits_total"],
        "counter",
        "Pictures whose features were found.",
        |c| c.feature_hits as f64,
    ),
    (
        &["ocelli_image_cache_misses_total"],
        "counter",
        "Pictures that had to be encoded.",
        |c| c.feature_misses as f64,
    ),
    (
        &["ocelli_image_cache_bytes"],
        "gauge",
        "Bytes of kept picture features.",
        |c| c.feature_bytes as f64,
    ),
    (
        &["ocelli_steps_total"],
        "counter",
        "Steps of the engine.",
        |c| c.steps as f64,
    ),
    (
        &["ocelli_requests_failed_total"],
        "counter",
        "Requests that failed.",
        |c| c.failed as f64,
    ),
    (
        &["ocelli_requests_cancelled_total"],
        "counter",
        "Requests whose client left.",
        |c| c.cancelled as f64,
    ),
    (&["ocelli_images_total"], "counter", "Pictures.", |c| {
        c.images as f64
    }),
    (
        &["ocelli_image_decode_seconds_total"],
        "counter",
        "Time spent decoding pictures.",
        |c| c.image_decode_us as f64 / 1e6,
    ),
    (
        &["ocelli_image_preprocess_seconds_total"],
        "counter",
        "Time spent resizing pictures.",
        |c| c.image_preprocess_us as f64 / 1e6,
    ),
    (
        &["ocelli_image_encode_seconds_total"],
        "counter",
        "Time spent encoding pictures.",
        |c| c.image_encode_us as f64 / 1e6,
    ),
    (
        &["ocelli_panics_total"],
        "counter",
        "Faults of the engine that were caught.",
        |c| c.panics as f64,
    ),
];

/// What the services count: a value under each of its names.
fn models(app: &App, page: &mut Page) {
    let loaded = app.models.loaded();
    for (names, kind, help, read) in ROWS {
        for name in names {
            page.head(name, kind, help);
            for (model, loaded) in &loaded {
                let value = read(&loaded.service.counters());
                page.line(name, &format!("model_name=\"{}\"", label(model)), value);
            }
        }
    }
    let name = "vllm:cache_config_info";
    page.head(name, "gauge", "Shape of the cache of keys and values.");
    for (model, loaded) in &loaded {
        let pages = loaded.service.counters().pages;
        let labels = format!(
            "model_name=\"{}\",block_size=\"16\",num_gpu_blocks=\"{pages}\"",
            label(model)
        );
        page.line(name, &labels, 1);
    }
    let name = "ocelli_model_bytes";
    page.head(name, "gauge", "Weights and caches of loaded models.");
    for (model, loaded) in &loaded {
        page.line(
            name,
            &format!("model_name=\"{}\"", label(model)),
            loaded.service.bytes(),
        );
    }
}

fn times(app: &App, page: &mut Page) {
    let models = app.metrics.counts().models.clone();
    let name = "vllm:time_to_first_token_seconds";
    page.head(name, "histogram", "From the request to its first token.");
    for (model, times) in &models {
        times.first_token.write(&mut page.text, name, &label(model));
    }
    let name = "vllm:e2e_request_latency_seconds";
    page.head(
        name,
        "histogram",
        "From the request to the end of its answer.",
    );
    for (model, times) in &models {
        times.whole.write(&mut page.text, name, &label(model));
    }
    let name = "vllm:request_success_total";
    page.head(name, "counter", "Complete answers by what ended them.");
    for (model, times) in &models {
        for (reason, count) in &times.finished {
            let labels = format!(
                "model_name=\"{}\",finished_reason=\"{reason}\"",
                label(model)
            );
            page.line(name, &labels, count);
        }
    }
}

/// A label's value, which must not end its quotes.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_all_that_is_not_slower() {
        let mut histogram = Histogram::default();
        histogram.add(0.02);
        histogram.add(700.0);
        let mut out = String::new();
        histogram.write(&mut out, "t", &label("a\"b"));
        assert!(
            out.contains("t_bucket{model_name=\"a\\\"b\",le=\"0.01\"} 0"),
            "{out}"
        );
        assert!(out.contains("le=\"0.025\"} 1"), "{out}");
        assert!(out.contains("le=\"600\"} 1"), "{out}");
        assert!(out.contains("le=\"+Inf\"} 2"), "{out}");
    }
}
