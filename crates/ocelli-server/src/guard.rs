//! Who may come in: which host they think they speak to, which page sent them, and which key they have.
//!
//! Being on the same machine is no permission: a web page in a browser there can send requests too.
//! So the host name and the origin are checked before anything else.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use ocelli::ClientId;
use sha2::{Digest as _, Sha256};

use crate::Settings;
use crate::app::{App, Expected};
use crate::failure::Failure;
use crate::http::held::Held;
use crate::http::listen::Ends;
use crate::routes;

/// Wrong keys that an address may show in a minute.
const WRONG_KEYS: usize = 20;
/// Addresses with wrong keys that are remembered.
const ADDRESSES: usize = 4096;

/// Headers of a request, and their bytes together.
const HEADERS: usize = 100;
const HEADER_BYTES: usize = 32 << 10;
/// Bytes of a request's path.
const PATH_BYTES: usize = 8 << 10;

/// Whom a request is from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    /// Takes turns with others.
    pub(crate) client: ClientId,
    /// Shares cached prompts only with its like.
    pub(crate) tenant: [u8; 32],
    /// Answers that it may wait for at once.
    pub(crate) most_answers: usize,
}

/// See the module.
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    keys: Vec<[u8; 32]>,
    share_prefix: bool,
    wrong_keys: Mutex<HashMap<IpAddr, (Instant, usize)>>,
}

impl Guard {
    pub(crate) fn new(settings: &Settings) -> Self {
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Self {
            hosts: lower(&settings.allowed_hosts),
            origins: lower(&settings.allowed_origins),
            keys: settings.api_keys.iter().map(digest).collect(),
            share_prefix: settings.share_prefix,
            wrong_keys: Mutex::default(),
        }
    }

    /// A request's host must be one that this server is known by: another name that leads here is an attack.
    fn check_host(&self, request: &Request<Body>, local: SocketAddr) -> Result<(), Failure> {
        let wrong = || {
            let message =
                "this server is not known by that host name; allow it with --allowed-host";
            Failure::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message)
        };
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(wrong());
        };
        let host = host.to_str().map_err(|_| wrong())?;
        // Proxies send the whole address as path; it must be ours as well.
        let whole = request.uri().authority().map(|it| it.as_str());
        let is_ours = |host: &str| self.is_ours(host, local);
        let are_ours = is_ours(host) && whole.is_none_or(is_ours);
        are_ours.then_some(()).ok_or_else(wrong)
    }

    /// True for a name that this server is known by.
    fn is_ours(&self, host: &str, local: SocketAddr) -> bool {
        let host = host.to_ascii_lowercase();
        let name = host_name(&host);
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost"
            || matches!(address.parse::<IpAddr>(), Ok(ip) if ip.is_loopback() || ip == local.ip())
            || self
                .hosts
                .iter()
                .any(|allowed| *allowed == name || *allowed == host)
    }

    /// A page of another site must not use the server through its visitor's browser. Gives the
    /// origin that is allowed to.
    fn check_origin(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Failure> {
        let wrong = || {
            let message =
                "requests of web pages are not allowed; allow a page with --allowed-origin";
            Failure::new(StatusCode::FORBIDDEN, "wrong_origin", message)
        };
        if let Some(origin) = headers.get(header::ORIGIN) {
            let text = origin.to_str().map_err(|_| wrong())?.to_ascii_lowercase();
            let is_allowed = self.origins.contains(&text);
            return is_allowed.then(|| Some(origin.clone())).ok_or_else(wrong);
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            Some(b"cross-site") => Err(wrong()),
            _ => Ok(None),
        }
    }

    /// Which key a request shows, if any is needed.
    fn check_key(&self, headers: &HeaderMap, peer: IpAddr) -> Result<Option<[u8; 32]>, Failure> {
        if self.keys.is_empty() {
            return Ok(None);
        }
        let patience = self.check_patience(peer);
        let shown = shown_key(headers).map(digest);
        let is_known = shown.is_some_and(|shown| {
            // Every key is compared whole, so that time tells nothing.
            let matches = self.keys.iter().filter(|key| same(key, &shown));
            matches.count() > 0
        });
        // Behind a proxy of this machine all clients have one address: who guesses must not shut out
        // those who know.
        if is_known && peer.is_loopback() {
            return Ok(shown);
        }
        patience?;
        if is_known {
            return Ok(shown);
        }
        self.note_wrong_key(peer);
        let message = "a valid API key is needed: Authorization: Bearer KEY";
        Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "invalid_api_key",
            message,
        ))
    }

    fn check_patience(&self, peer: IpAddr) -> Result<(), Failure> {
        let wrong_keys = self
            .wrong_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match wrong_keys.get(&peer) {
            Some((since, count)) if *count >= WRONG_KEYS && since.elapsed() < MINUTE => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                let mut failure =
                    Failure::new(status, "too_many_wrong_keys", "too many wrong API keys");
                failure.retry_after = Some(60);
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    fn note_wrong_key(&self, peer: IpAddr) {
        let mut wrong_keys = self
            .wrong_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if wrong_keys.len() >= ADDRESSES {
            wrong_keys.retain(|_, (since, _)| since.elapsed() < MINUTE);
        }
        if wrong_keys.len() < ADDRESSES {
            let entry = wrong_keys.entry(peer).or_insert((Instant::now(), 0));
            if entry.0.elapsed() >= MINUTE {
                *entry = (Instant::now(), 0);
            }
            entry.1 += 1;
        }
    }

    fn caller(&self, key: Option<[u8; 32]>, peer: IpAddr, most_answers: usize) -> Caller {
        let mut hasher = Sha256::new();
        hasher.update(b"ocelli client 1");
        match (&key, peer) {
            (Some(key), _) => hasher.update(key),
            (None, IpAddr::V4(ip)) => hasher.update(ip.octets()),
            (None, IpAddr::V6(ip)) => hasher.update(ip.octets()),
        }
        let client: [u8; 32] = hasher.finalize().into();
        let number = client
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes));
        let mut tenant = Sha256::new();
        tenant.update(b"ocelli tenant 1");
        if let Some(key) = key.filter(|_| !self.share_prefix) {
            tenant.update(key);
        }
        Caller {
            client: ClientId(number.unwrap_or_default()),
            tenant: tenant.finalize().into(),
            most_answers,
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn digest(key: impl AsRef<str>) -> [u8; 32] {
    Sha256::digest(key.as_ref().as_bytes()).into()
}

/// Compares without ending early.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter()
        .zip(b)
        .fold(0, |different, (a, b)| different | (a ^ b))
        == 0
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(end) => &host[..end + 2],
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = text("authorization").and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    bearer.or_else(|| text("x-api-key"))
}

/// What a request is called in its answer.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// The id; empty if it is no text, which ours and those that are taken over never are.
    pub(crate) fn text(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// A request's id: the client's own if it is harmless, else one of ours.
fn request_id(app: &App, headers: &HeaderMap) -> RequestId {
    let own = headers.get("x-request-id").filter(|id| {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (1..=128).contains(&id.len()) && id.as_bytes().iter().all(is_plain)
    });
    let ours = || HeaderValue::from_str(&app.id("req_"));
    let id = own.cloned().or_else(|| ours().ok());
    RequestId(id.unwrap_or(HeaderValue::from_static("req")))
}

/// Checks a request, and marks its answer.
pub(crate) async fn check(app: Arc<App>, mut request: Request<Body>, next: Next) -> Response {
    let id = request_id(&app, request.headers());
    let path = routes::use_meant(&mut request);
    request.extensions_mut().insert(id.clone());
    let asked_headers = request
        .headers()
        .get(header::ACCESS_CONTROL_REQUEST_HEADERS)
        .cloned();
    let admitted = admit(&app, &mut request);
    let (mut response, origin) = match admitted {
        Err(failure) => (routes::render(&path, &failure, id.text()), None),
        Ok(Admitted { origin, .. }) if request.method() == Method::OPTIONS => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            if let Ok(methods) = HeaderValue::from_str(&routes::methods(&path)) {
                response.headers_mut().insert(header::ALLOW, methods);
            }
            (response, origin)
        }
        Ok(Admitted { origin, expected }) => {
            let response = next.run(request).await;
            (response.map(|body| Held::wrap(body, expected)), origin)
        }
    };
    let headers = response.headers_mut();
    if routes::is_anthropic(&path) {
        headers.insert("request-id", id.0.clone());
    }
    headers.insert("x-request-id", id.0);
    if app.is_ending() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(origin) = origin {
        allow_page(headers, origin, asked_headers, &path);
    }
    app.metrics.count_answer(response.status());
    response
}

/// Tells a browser what an allowed page may send and read. Clients of the APIs send headers of their own
/// (`x-stainless-lang`, `anthropic-beta`), so whatever the page asks for may come.
fn allow_page(
    headers: &mut HeaderMap,
    origin: HeaderValue,
    asked_headers: Option<HeaderValue>,
    path: &str,
) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let usual =
        HeaderValue::from_static("content-type, authorization, x-api-key, anthropic-version");
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        asked_headers.unwrap_or(usual),
    );
    if let Ok(methods) = HeaderValue::from_str(&routes::methods(path)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    let shown =
        HeaderValue::from_static("x-request-id, request-id, x-ocelli-warnings, retry-after");
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, shown);
}

/// Refuses heads that are larger than any client's.
fn check_size(request: &Request<Body>) -> Result<(), Failure> {
    let headers = request.headers();
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    if headers.len() > HEADERS || bytes.sum::<usize>() > HEADER_BYTES {
        let message = format!("too many headers, limit {HEADERS} of {HEADER_BYTES} bytes together");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Failure::new(status, "headers_too_large", message));
    }
    if request.uri().path().len() > PATH_BYTES {
        let message = format!("the path is too long, limit {PATH_BYTES} bytes");
        return Err(Failure::new(
            StatusCode::URI_TOO_LONG,
            "path_too_long",
            message,
        ));
    }
    Ok(())
}

/// What a request that came in has.
struct Admitted {
    /// The page that it came from.
    origin: Option<HeaderValue>,
    /// Its place among those of its client.
    expected: Option<Expected>,
}

fn admit(app: &App, request: &mut Request<Body>) -> Result<Admitted, Failure> {
    check_size(request)?;
    let Some(ends) = request.extensions().get::<Ends>().copied() else {
        return Err(Failure::internal("the connection is unknown"));
    };
    let guard = &app.guard;
    guard.check_host(request, ends.local)?;
    let origin = guard.check_origin(request.headers())?;
    let path = request.uri().path();
    let is_free = routes::is_free(path, ends.local.ip().is_loopback());
    let is_preflight = request.method() == Method::OPTIONS;
    let key = match is_free || is_preflight {
        true => None,
        false => guard.check_key(request.headers(), ends.peer.ip())?,
    };
    let is_question = request.method() == Method::POST;
    if is_question && app.is_ending() {
        return Err(Failure::busy("ending", "the server is ending", 5));
    }
    if is_question && !app.is_ready() {
        return Err(Failure::busy("loading", "the model is being loaded", 2));
    }
    let peer = ends.peer.ip();
    let caller = guard.caller(key, peer, app.settings.answers_of(peer));
    request.extensions_mut().insert(caller);
    // Before a body is read: a client that may have nothing more shall not cost more.
    let expected = is_question.then(|| app.expect(caller, 1)).transpose()?;
    Ok(Admitted { origin, expected })
}
