//! Numbers for Prometheus, under our own names and under those of vLLM that routers look for.

mod histogram;
mod process;
mod rows;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ocelli::service::Finished;

use self::histogram::Histogram;
use self::rows::ROWS;
use crate::app::App;

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

    /// A histogram of each model.
    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        models: &BTreeMap<String, Times>,
        of: fn(&Times) -> &Histogram,
    ) {
        self.head(name, "histogram", help);
        for (model, times) in models {
            of(times).write(&mut self.text, name, &label(model));
        }
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
    process(app, &mut page);
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
    let name = "ocelli_http_connections";
    page.head(name, "gauge", "Open connections.");
    let _ = writeln!(page.text, "{name} {}", app.places.taken());
    let name = "ocelli_http_connections_closed_total";
    let help = "Connections that were closed for others while they waited for their clients.";
    page.head(name, "counter", help);
    let _ = writeln!(page.text, "{name} {}", app.places.closed());
}

/// What the services count: a value under each of its names.
fn models(app: &App, page: &mut Page) {
    let loaded = app.models.loaded();
    for row in &ROWS {
        for name in row.names {
            page.head(name, row.kind, row.help);
            for (model, loaded) in &loaded {
                let value = (row.read)(&loaded.service.counters());
                page.line(name, &of_model(model), value);
            }
        }
    }
    let name = "vllm:cache_config_info";
    page.head(name, "gauge", "Shape of the cache of keys and values.");
    for (model, loaded) in &loaded {
        let pages = loaded.service.counters().pages;
        let labels = format!(
            "{},block_size=\"16\",num_gpu_blocks=\"{pages}\"",
            of_model(model)
        );
        page.line(name, &labels, 1);
    }
    let name = "ocelli_model_bytes";
    page.head(name, "gauge", "Weights and caches of loaded models.");
    for (model, loaded) in &loaded {
        page.line(name, &of_model(model), loaded.service.bytes());
    }
}

fn times(app: &App, page: &mut Page) {
    let models = app.metrics.counts().models.clone();
    let name = "vllm:time_to_first_token_seconds";
    let help = "From the request to its first token.";
    page.histogram(name, help, &models, |times| &times.first_token);
    let name = "vllm:e2e_request_latency_seconds";
    let help = "From the request to the end of its answer.";
    page.histogram(name, help, &models, |times| &times.whole);
    let name = "vllm:request_success_total";
    page.head(name, "counter", "Complete answers by what ended them.");
    for (model, times) in &models {
        for (reason, count) in &times.finished {
            let labels = format!("{},finished_reason=\"{reason}\"", of_model(model));
            page.line(name, &labels, count);
        }
    }
}

/// The program and its process.
fn process(app: &App, page: &mut Page) {
    let name = "ocelli_build_info";
    page.head(name, "gauge", "The version that runs.");
    page.line(
        name,
        concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        1,
    );
    for (name, kind, help, value) in process::numbers(app.started) {
        page.head(name, kind, help);
        let _ = writeln!(page.text, "{name} {value}");
    }
}

/// The label that says whose number it is.
fn of_model(model: &str) -> String {
    format!("model_name=\"{}\"", label(model))
}

/// A label's value, which must not end its quotes.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
