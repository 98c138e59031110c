//! Answers that leave while they are made. Each API writes its own words; when nothing happens for
//! a while, something is sent that says the stream lives.

use std::convert::Infallible;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use http_body::Frame;
use ocelli::service::Update;
use serde_json::Value;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::failure::Failure;
use crate::flow::{Flow, too_long};

/// How an API writes a stream.
pub(crate) trait Writer: Send + Unpin + 'static {
    /// The stream's media type.
    const MEDIA_TYPE: &'static str;
    /// Writes what happened to one of the answers.
    fn update(&mut self, index: usize, update: Update, out: &mut Vec<u8>);
    /// Writes that the rest will not come.
    fn failure(&mut self, failure: &Failure, out: &mut Vec<u8>);
    /// Writes the end, when all answers are complete.
    fn end(&mut self, out: &mut Vec<u8>);
    /// Writes something that says the stream lives.
    fn alive(&mut self, out: &mut Vec<u8>);
}

/// Writes an event of a stream of server-sent events.
pub(crate) fn event(out: &mut Vec<u8>, name: Option<&str>, data: &Value) {
    if let Some(name) = name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

/// Makes an answer of a stream.
pub(crate) fn respond<W: Writer>(flow: Flow, writer: W) -> Response {
    let warnings = HeaderValue::from_str(&flow.begun.warnings.join("; "));
    let limits = &flow.begun.app.settings.limits;
    let now = Instant::now();
    let live = Live {
        quiet: limits.keep_alive_time,
        tick: Box::pin(sleep_until(now + limits.keep_alive_time)),
        deadline: Box::pin(sleep_until(now + limits.request_time)),
        flow: Some(flow),
        writer,
    };
    let mut response = Response::new(Body::new(live));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(W::MEDIA_TYPE),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Not every stream has a place for them.
    if let Ok(warnings) = warnings
        && !warnings.is_empty()
    {
        headers.insert("x-ocelli-warnings", warnings);
    }
    // Proxies must not collect the stream.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Live<W> {
    /// `None` when the stream is over.
    flow: Option<Flow>,
    writer: W,
    quiet: std::time::Duration,
    tick: Pin<Box<Sleep>>,
    deadline: Pin<Box<Sleep>>,
}

impl<W: Writer> http_body::Body for Live<W> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let mut out = Vec::new();
        loop {
            let Some(flow) = &mut this.flow else {
                return Poll::Ready(None);
            };
            // One failed answer among several ends the stream: its client cannot tell which is missing.
            match flow.poll_next(context) {
                Poll::Ready(Some((index, Update::Failed(error)))) => {
                    let failure = flow.failure(index, &error);
                    this.writer.failure(&failure, &mut out);
                    this.flow = None;
                }
                Poll::Ready(Some((index, update))) => this.writer.update(index, update, &mut out),
                Poll::Ready(None) => {
                    this.writer.end(&mut out);
                    this.flow = None;
                }
                Poll::Pending => {
                    if this.deadline.as_mut().poll(context).is_ready() {
                        let limit = flow.begun.app.settings.limits.request_time;
                        this.writer.failure(&too_long(limit), &mut out);
                        this.flow = None;
                    } else if this.tick.as_mut().poll(context).is_ready() {
                        this.writer.alive(&mut out);
                        let next = Instant::now() + this.quiet;
                        this.tick.as_mut().reset(next);
                    } else {
                        return Poll::Pending;
                    }
                }
            }
            if !out.is_empty() {
                let next = Instant::now() + this.quiet;
                this.tick.as_mut().reset(next);
                return Poll::Ready(Some(Ok(Frame::data(out.into()))));
            }
        }
    }
}
