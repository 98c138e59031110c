//! Accepting connections, and letting them go when the server ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::held::Held;
use super::lingering::Lingering;
use super::places::{Place, Seat};
use super::stalling::Stalling;
use crate::app::App;
use crate::clients::Shares;

/// Most bytes of a request line with its headers; hyper answers 431 to more.
const HEADER_BYTES: usize = 64 << 10;
/// Most headers; hyper answers 431 to more.
const HEADERS: usize = 100;
/// How long the last bytes of answers may take to leave.
const LAST_BYTES: Duration = Duration::from_secs(1);
/// A client may have sent its next request just before it learnt that the server ends.
const CROSSING: Duration = Duration::from_millis(200);

/// Both ends of a connection, as the server sees them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// Serves connections until `ending` is seen, and then until what runs is answered or its time is over.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    app: Arc<App>,
    mut ending: watch::Receiver<bool>,
) {
    let places = app.places.clone();
    let of_one = Shares::new();
    let most_of_one = app.settings.limits.connections_of_one;
    let (close, closing) = watch::channel(false);
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // One that has too many is closed at once; programs of this machine look all alike.
                    let most = match peer.ip().is_loopback() {
                        true => usize::MAX,
                        false => most_of_one,
                    };
                    let Some(share) = of_one.take(peer.ip(), 1, most) else {
                        continue;
                    };
                    // Those behind it wait with the system.
                    let place = places.take().await;
                    let (router, app) = (router.clone(), app.clone());
                    let serving = serve((stream, peer), place, router, app, closing.clone());
                    tokio::spawn(async move {
                        serving.await;
                        drop(share);
                    });
                }
                // Out of descriptors, as a rule.
                Err(_) => places.make_room().await,
            }
        }
    };
    let end = async {
        let _ = ending.wait_for(|is_ending| *is_ending).await;
        // New requests are answered with 503 by now.
        let drained = async {
            while app.active() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(app.settings.limits.drain_time, drained).await;
        tokio::time::sleep(CROSSING).await;
    };
    tokio::select! {
        () = accept => {}
        () = end => {}
    }
    drop(listener);
    let _ = close.send(true);
    let _ = tokio::time::timeout(LAST_BYTES, places.empty()).await;
}

async fn serve(
    (stream, peer): (TcpStream, SocketAddr),
    place: Place,
    router: Router,
    app: Arc<App>,
    mut closing: watch::Receiver<bool>,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // Small pieces of an answer must not wait for each other.
    let _ = stream.set_nodelay(true);
    let limits = &app.settings.limits;
    let seat = place.seat.clone();
    let stream = Stalling::new(stream, limits.stall_time, seat.clone());
    let stream = TokioIo::new(stream);
    let ends = Ends { peer, local };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        let request = Lingering::wrap(request, seat.clone());
        let answering = router.clone().oneshot(request);
        let seat = seat.clone();
        async move {
            let answer = answering.await;
            answer.map(|answer| answer.map(|body| Held::wrap(body, Answering(seat))))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    // The value that `wait_for` gives must not be held while the connection ends.
    let closing = async move { drop(closing.wait_for(|is_closing| *is_closing).await) };
    // What breaks a connection breaks it for its client alone.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = place.seat.left() => {}
        () = closing => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// An answer on its way. When nothing of it is left, its connection waits for the next request.
struct Answering(Arc<Seat>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered();
    }
}
