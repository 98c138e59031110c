//! Which path leads where, and in whose words its errors are.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tokio::task::JoinHandle;

use crate::app::App;
use crate::failure::Failure;
use crate::guard::{self, Caller, RequestId};
use crate::{anthropic, extras, health, metrics, ollama, openai, openapi};

/// Every route: method, path, what it is.
pub const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/livez", "Whether the process should go on"),
    ("GET", "/readyz", "Whether requests are answered now"),
    ("GET", "/health", "Whether requests are answered now"),
    ("GET", "/metrics", "Numbers for Prometheus"),
    ("GET", "/openapi.json", "This description"),
    ("GET", "/v1/models", "Models that can be asked for"),
    ("GET", "/v1/models/{model}", "One model"),
    ("POST", "/v1/chat/completions", "OpenAI: answer a chat"),
    (
        "POST",
        "/v1/chat/completions/input_tokens",
        "Count a chat's tokens without answering",
    ),
    ("POST", "/v1/completions", "OpenAI: go on with a text"),
    ("POST", "/v1/responses", "OpenAI: answer a conversation"),
    (
        "POST",
        "/v1/responses/input_tokens",
        "Count a conversation's tokens without answering",
    ),
    ("POST", "/v1/messages", "Anthropic: answer a conversation"),
    (
        "POST",
        "/v1/messages/count_tokens",
        "Anthropic: count a conversation's tokens",
    ),
    ("GET", "/props", "The first model and how it is run"),
    ("POST", "/tokenize", "Tokens of a text"),
    ("POST", "/detokenize", "Text of tokens"),
    (
        "POST",
        "/apply-template",
        "What the chat template makes of a chat",
    ),
    ("GET", "/", "Ollama: a sign of life"),
    ("GET", "/api/version", "Ollama: the version"),
    ("GET", "/api/tags", "Ollama: models that can be asked for"),
    ("GET", "/api/ps", "Ollama: models in memory"),
    ("POST", "/api/show", "Ollama: one model"),
    ("POST", "/api/chat", "Ollama: answer a chat"),
    ("POST", "/api/generate", "Ollama: answer a prompt"),
    ("POST", "/api/embed", "Not offered"),
    ("POST", "/api/embeddings", "Not offered"),
    ("POST", "/api/pull", "Not offered"),
    ("POST", "/api/push", "Not offered"),
    ("POST", "/api/create", "Not offered"),
    ("POST", "/api/copy", "Not offered"),
    ("DELETE", "/api/delete", "Not offered"),
    ("POST", "/api/blobs/{digest}", "Not offered"),
];

/// True for paths that need no key.
pub(crate) fn is_free(path: &str, is_loopback: bool) -> bool {
    matches!(path, "/livez" | "/readyz" | "/health") || path == "/metrics" && is_loopback
}

/// An error in the words of the API that a path belongs to.
pub(crate) fn render(path: &str, failure: &Failure, request_id: &str) -> Response {
    let mut response = if path == "/api" || path.starts_with("/api/") {
        ollama::render(failure)
    } else if is_anthropic(path) {
        anthropic::render(failure, request_id)
    } else {
        openai::render(failure)
    };
    let headers = response.headers_mut();
    if let Some(seconds) = failure.retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if failure.status == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(methods) = HeaderValue::from_str(&methods(path))
    {
        headers.insert(header::ALLOW, methods);
    }
    response
}

/// True for the paths of Anthropic's API.
pub(crate) fn is_anthropic(path: &str) -> bool {
    path.starts_with("/v1/messages")
}

/// True if a route of [`ROUTES`] leads to a path.
fn fits(route: &str, path: &str) -> bool {
    match route.split_once('{') {
        Some((prefix, _)) => rest(path, prefix).is_some(),
        None => route == path,
    }
}

/// The path that is meant: clients put an address with a slash at its end before one that begins with a
/// slash, or end with one.
fn meant(path: &str) -> Cow<'_, str> {
    let is_route = |path: &str| ROUTES.iter().any(|(_, route, _)| fits(route, path));
    if is_route(path) {
        return path.into();
    }
    let names = path.split('/').filter(|name| !name.is_empty());
    let plain: String = names.flat_map(|name| ["/", name]).collect();
    match is_route(&plain) {
        true => plain.into(),
        false => path.into(),
    }
}

/// Takes slashes that are too many out of a request's path, before anything depends on it.
pub(crate) fn use_meant(request: &mut Request<Body>) -> String {
    let asked = request.uri();
    let path = meant(asked.path()).into_owned();
    if path != asked.path() {
        let mut parts = asked.clone().into_parts();
        let whole = match asked.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.clone(),
        };
        parts.path_and_query = whole.parse().ok();
        if let Ok(plain) = Uri::from_parts(parts) {
            *request.uri_mut() = plain;
        }
    }
    path
}

/// The methods that a path has, as the header `Allow` lists them.
pub(crate) fn methods(path: &str) -> String {
    let mut methods = vec!["OPTIONS"];
    for (method, route, _) in ROUTES {
        if fits(route, path) {
            methods.push(method);
            if *method == "GET" {
                methods.push("HEAD");
            }
        }
    }
    methods.join(", ")
}

/// A path that begins with these words.
fn rest<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix).filter(|rest| !rest.is_empty())
}

/// Answers a request that the guard has let in.
async fn answer(app: Arc<App>, request: Request<Body>) -> Result<Response, Failure> {
    let path = request.uri().path().to_owned();
    let Some(caller) = request.extensions().get::<Caller>().copied() else {
        return Err(Failure::internal("nobody asked"));
    };
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_post = request.method() == Method::POST;
    match path.as_str() {
        "/livez" if is_get => Ok(health::live(&app)),
        "/readyz" | "/health" if is_get => Ok(health::ready(&app)),
        "/metrics" if is_get => Ok(metrics::page(&app)),
        "/openapi.json" if is_get => Ok(openapi::page()),
        "/v1/models" if is_get => Ok(openai::models::list(&app)),
        "/v1/chat/completions" if is_post => openai::chat::complete(app, caller, request).await,
        "/v1/chat/completions/input_tokens" if is_post => {
            openai::chat::count(app, caller, request).await
        }
        "/v1/completions" if is_post => openai::completions::complete(app, caller, request).await,
        "/v1/responses" if is_post => openai::responses::create(app, caller, request).await,
        "/v1/responses/input_tokens" if is_post => {
            openai::responses::count(app, caller, request).await
        }
        "/props" if is_get => extras::props(&app),
        "/tokenize" if is_post => extras::tokenize(app, request).await,
        "/detokenize" if is_post => extras::detokenize(app, request).await,
        "/apply-template" if is_post => extras::apply_template(app, request).await,
        "/v1/messages" if is_post => anthropic::create(app, caller, request).await,
        "/v1/messages/count_tokens" if is_post => anthropic::count(app, caller, request).await,
        "/" if is_get => Ok("Ollama is running".into_response()),
        "/api/version" if is_get => Ok(ollama::version()),
        "/api/tags" if is_get => Ok(ollama::list(&app)),
        "/api/ps" if is_get => Ok(ollama::running(&app)),
        "/api/show" if is_post => ollama::show(app, request).await,
        "/api/chat" if is_post => ollama::chat(app, caller, request).await,
        "/api/generate" if is_post => ollama::generate(app, caller, request).await,
        "/api/embed" | "/api/embeddings" if is_post => Err(ollama::embed()),
        "/api/pull" | "/api/push" | "/api/create" | "/api/copy" if is_post => Err(ollama::manage()),
        "/api/delete" if request.method() == Method::DELETE => Err(ollama::manage()),
        _ if rest(&path, "/api/blobs/").is_some() => Err(ollama::manage()),
        _ => match rest(&path, "/v1/models/") {
            Some(name) if is_get => openai::models::show(&app, name),
            _ => Err(missing(&path)),
        },
    }
}

/// Paths that clients ask for and that are not offered, with what to do.
const ELSEWHERE: &[(&str, &str)] = &[
    ("/v1/embeddings", ollama::NO_EMBEDDINGS),
    (
        "/v1/messages/batches",
        "batches are not offered: send their messages to /v1/messages",
    ),
    (
        "/v1/responses/",
        "responses are not kept: send the whole conversation to /v1/responses",
    ),
];

/// The error for a path, or for a method that a path does not have.
fn missing(path: &str) -> Failure {
    if ROUTES.iter().any(|(_, route, _)| fits(route, path)) {
        return Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path does not have that method",
        );
    }
    let not_found = |message: &str| Failure::new(StatusCode::NOT_FOUND, "not_found", message);
    let mut elsewhere = ELSEWHERE.iter();
    if let Some((_, message)) = elsewhere.find(|(begin, _)| path.starts_with(begin)) {
        return not_found(message);
    }
    let shown: String = path.chars().take(64).collect();
    not_found(&match similar(path) {
        Some(route) => format!("there is no such path: '{shown}'; is {route} meant?"),
        None => format!("there is no such path: '{shown}'; GET /openapi.json lists all"),
    })
}

/// The route whose end a path is, or that is a path's end: `/v1` is left out or said twice.
fn similar(path: &str) -> Option<&'static str> {
    let path = path.trim_end_matches('/');
    let mut routes = ROUTES.iter().map(|(_, route, _)| *route);
    routes.find(|route| {
        let is_end = |whole: &str, end: &str| end.len() > 1 && whole.ends_with(end);
        is_end(route, path) || is_end(path, route)
    })
}

/// Everything behind the guard.
pub(crate) fn router(app: Arc<App>) -> Router {
    let answering = app.clone();
    let handle = move |request: Request<Body>| {
        let app = answering.clone();
        async move {
            let path = request.uri().path().to_owned();
            let id = request.extensions().get::<RequestId>().cloned();
            // On a task of its own: a panic there is one request's, and a client that leaves ends it.
            let task = Task(tokio::spawn(answer(app, request)));
            let answered = task
                .await
                .unwrap_or_else(|_| Err(Failure::internal("internal error")));
            answered.unwrap_or_else(|failure| {
                let id = id.as_ref().map_or("", RequestId::text);
                render(&path, &failure, id)
            })
        }
    };
    let guarding =
        axum::middleware::from_fn(move |request, next| guard::check(app.clone(), request, next));
    Router::new().fallback(handle).layer(guarding)
}

/// A task that ends when nobody waits for it.
struct Task(JoinHandle<Result<Response, Failure>>);

impl Future for Task {
    type Output = Result<Result<Response, Failure>, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_that_addresses_brought_along_change_no_path() {
        for (asked, expected) in [
            ("/", "/"),
            ("//", "//"),
            ("/api/tags/", "/api/tags"),
            ("//api/tags", "/api/tags"),
            ("/v1//chat/completions", "/v1/chat/completions"),
            ("/v1/models/", "/v1/models"),
            ("/v1/models/a/", "/v1/models/a/"),
            ("/v1/models/https://hub/a", "/v1/models/https://hub/a"),
            ("//v1/models/a", "/v1/models/a"),
            ("/nothing//", "/nothing//"),
            ("", ""),
        ] {
            assert_eq!(meant(asked), expected, "{asked}");
        }
    }

    #[test]
    fn a_path_that_is_not_there_leads_to_the_one_that_is_meant() {
        for (asked, expected) in [
            ("/chat/completions", "is /v1/chat/completions meant?"),
            ("/v1/v1/responses", "is /v1/responses meant?"),
            ("/v1/api/chat", "is /api/chat meant?"),
            ("/models/", "is /v1/models meant?"),
            ("/v1", "GET /openapi.json lists all"),
            ("/v2/answers", "GET /openapi.json lists all"),
            ("/v1/embeddings", "makes no embeddings"),
            ("/v1/messages/batches/1", "send their messages to"),
            ("/v1/responses/resp_1", "send the whole conversation"),
        ] {
            let failure = missing(asked);
            assert_eq!(failure.status, StatusCode::NOT_FOUND, "{asked}");
            assert!(failure.message.contains(expected), "{}", failure.message);
        }
        assert!(missing(&"/long".repeat(100)).message.len() < 200);
    }
}
