//! Request bodies: JSON, bounded in bytes, in time, and in bytes of all together.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout_at;

use super::kind;
use crate::app::App;
use crate::failure::Failure;

/// A slow client must bring at least this much a second, beside a fixed time.
pub(super) const BYTES_PER_SECOND: u64 = 16 << 10;
/// Bodies up to this size are parsed where they are; larger ones on a thread that may take its time.
const SMALL: usize = 64 << 10;

/// A body with its share of the memory for all bodies.
struct Received {
    bytes: Bytes,
    share: Share,
}

/// A request's share of the memory for all bodies, until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share(Option<OwnedSemaphorePermit>);

impl Share {
    /// Adds so many bytes to it.
    pub(crate) fn add(&mut self, app: &App, bytes: usize) -> Result<(), Failure> {
        let has = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.grow(app, (has << 10).saturating_add(bytes))
    }

    /// Makes it large enough for so many bytes.
    fn grow(&mut self, app: &App, bytes: usize) -> Result<(), Failure> {
        let has = self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        // Counted in KiB.
        let more = bytes.div_ceil(1 << 10).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let taken = app.bodies.clone().try_acquire_many_owned(more);
        let taken = taken.map_err(|_| {
            let message = "too many large requests are being read";
            Failure::busy("too_many_bodies", message, 1)
        })?;
        match &mut self.0 {
            Some(has) => has.merge(taken),
            None => self.0 = Some(taken),
        }
        Ok(())
    }
}

/// Reads the body of a request.
///
/// # Errors
/// 415 for what is not called JSON (see [`kind`]), 413 when too large, 408 when too slow, 503 when
/// too much is being read already.
async fn receive(app: &App, request: Request<Body>) -> Result<Received, Failure> {
    let (parts, mut body) = request.into_parts();
    kind::check(&parts.headers)?;
    let limits = &app.settings.limits;
    let too_large = || {
        let limit = limits.body_bytes;
        let message = format!("request body is too large, limit {limit} bytes");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
    };
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limits.body_bytes) {
        return Err(too_large());
    }
    // Memory is taken as bytes come: one that announces much and sends nothing holds up nobody.
    let mut share = Share::default();
    let start = Instant::now();
    let mut bytes = Vec::with_capacity(length.unwrap_or_default().min(SMALL));
    loop {
        let seconds = bytes.len() as u64 / BYTES_PER_SECOND;
        let until = start + limits.body_time + std::time::Duration::from_secs(seconds);
        let frame = timeout_at(until.into(), body.frame()).await;
        let frame = match frame {
            Err(_) => {
                let message = "the request body did not arrive in time";
                return Err(Failure::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "timeout",
                    message,
                ));
            }
            Ok(None) => break,
            Ok(Some(frame)) => frame.map_err(|_| Failure::bad("the request body broke off"))?,
        };
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limits.body_bytes {
                return Err(too_large());
            }
            share.grow(app, bytes.len() + data.len())?;
            bytes.extend_from_slice(&data);
        }
    }
    Ok(Received {
        bytes: bytes.into(),
        share,
    })
}

/// Reads a body and makes something of it, away from the threads that serve others if it is large.
/// What is made has about the size of the body as long as its pictures are not decoded: the share
/// of memory is to be kept until then.
///
/// # Errors
/// Those of [`receive`], and what `parse` says.
pub(crate) async fn parse<T: Send + 'static>(
    app: &Arc<App>,
    request: Request<Body>,
    parse: impl FnOnce(&serde_json::Map<String, serde_json::Value>) -> Result<T, Failure>
    + Send
    + 'static,
) -> Result<(T, Share), Failure> {
    let Received { bytes, share } = receive(app, request).await?;
    let is_small = bytes.len() <= SMALL;
    let work = move || parse(&crate::json::object(&bytes)?);
    if is_small {
        return Ok((work()?, share));
    }
    let parsed = tokio::task::spawn_blocking(work).await;
    let parsed = parsed.unwrap_or_else(|_| Err(Failure::internal("the request could not be read")));
    Ok((parsed?, share))
}
