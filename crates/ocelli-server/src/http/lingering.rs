//! A request's body that is read to its end even when nobody wants it.
//!
//! A request may be answered before its body has come: it is too large, its key is wrong, its path
//! does not exist. If the connection were closed then, the system would tell the client that it
//! broke, and Node's clients show that in place of the answer. So what is still on its way is taken
//! and thrown away for a while.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::places::Seat;

/// How long, and how many bytes, an unwanted body may still come.
const TIME: Duration = Duration::from_secs(5);
const BYTES: usize = 256 << 20;

/// See the module.
pub(super) struct Lingering {
    body: Option<Incoming>,
    /// False as long as the client waits to be told that it may send: reading would tell it so.
    is_coming: bool,
    /// Is told when the request is there whole.
    seat: Arc<Seat>,
}

impl Lingering {
    /// A request with its body.
    pub(super) fn wrap(request: Request<Incoming>, seat: Arc<Seat>) -> Request<Self> {
        let is_coming = !request.headers().contains_key(header::EXPECT);
        if request.body().is_end_stream() {
            seat.answer();
        }
        request.map(|body| Self {
            body: Some(body),
            is_coming,
            seat,
        })
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_coming = true;
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            // It came to its end, or never will.
            self.body = None;
            self.seat.answer();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let empty = SizeHint::with_exact(0);
        self.body.as_ref().map_or(empty, Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        if self.is_coming
            && let Some(mut body) = unread
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move {
                let mut left = BYTES;
                let rest = async {
                    while let Some(Ok(frame)) = body.frame().await {
                        let bytes = frame.data_ref().map_or(0, Bytes::len);
                        match left.checked_sub(bytes) {
                            Some(rest) => left = rest,
                            None => return,
                        }
                    }
                };
                let _ = timeout(TIME, rest).await;
            });
        }
    }
}
