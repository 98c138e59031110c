//! Whether the server lives, and whether it can answer: by the progress of the engines, not by a
//! socket that is open.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use ocelli::service::Health;
use serde_json::json;

use crate::app::App;

fn worst(app: &App) -> Health {
    let healths = app
        .models
        .loaded()
        .into_iter()
        .map(|(_, l)| l.service.health());
    let both = |a: Health, b: Health| Health {
        is_alive: a.is_alive && b.is_alive,
        stuck_for: a.stuck_for.max(b.stuck_for),
    };
    healths.fold(
        Health {
            is_alive: true,
            stuck_for: Duration::ZERO,
        },
        both,
    )
}

fn say(problem: Option<&str>) -> Response {
    match problem {
        None => Json(json!({"status": "ok"})).into_response(),
        Some(problem) => {
            let error = json!({"message": problem, "type": "unavailable_error", "code": 503});
            let body = Json(json!({"status": problem, "error": error}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// `GET /livez`: fails when only a restart helps.
pub(crate) fn live(app: &App) -> Response {
    let health = worst(app);
    say(
        (!health.is_alive || health.stuck_for > app.settings.limits.lost_time)
            .then_some("engine stuck"),
    )
}

/// `GET /readyz` and `GET /health`: fails when a request would not be answered now.
pub(crate) fn ready(app: &App) -> Response {
    let health = worst(app);
    say(match () {
        () if app.is_ending() => Some("ending"),
        () if !app.is_ready() => Some("loading model"),
        () if !health.is_alive || health.stuck_for > app.settings.limits.stuck_time => {
            Some("engine stuck")
        }
        () => None,
    })
}
