//! The hostile neighbour: one client sends what is broken and huge without pause beside eight good ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::cases;
use super::client::{Patience, send};
use super::scenarios::{closed_loop, end, start, watch};
use super::{Report, Settings, percentile};

/// One client does its worst while eight chat: what the eight notice.
pub(super) fn hostile(settings: &Settings) -> Result<Report> {
    let (server, cases) = start(settings, &[])?;
    let watched = watch(&server);
    let address = server.address;
    let whole = |_| Patience::Whole;
    let half = settings.time / 2;
    let mut before = closed_loop(address, &cases, 8, half, whole);
    let stop = AtomicBool::new(false);
    let attacks = attacks();
    let mut sent = 0;
    let mut report = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                let attack: &[u8] = &attacks[sent % attacks.len()];
                drop(send(
                    address,
                    &[attack],
                    Patience::Leaves(Duration::from_millis(500)),
                ));
                sent += 1;
            }
            sent
        });
        let report = closed_loop(address, &cases, 8, half, whole);
        stop.store(true, Ordering::Relaxed);
        sent = attacker.join().unwrap_or_default();
        report
    });
    let first = |report: &mut Report| percentile(&mut report.firsts, 0.99);
    let gap = |report: &mut Report| percentile(&mut report.gaps, 0.99);
    let extra = first(&mut report) - first(&mut before);
    let ratio = gap(&mut report) / gap(&mut before).max(1.0);
    report.notes.push(format!("{sent} attacks"));
    report.notes.push(format!(
        "first token p99 {extra:+.0} ms, gap p99 x{ratio:.2} against no attacker"
    ));
    report.lost += before.lost;
    report.wrong += before.wrong;
    end(server, &mut report, watched)?;
    Ok(report)
}

/// Bad requests of every kind, as bytes.
fn attacks() -> Vec<Vec<u8>> {
    let content = |content: Value| {
        json!({"model": "ocelli-demo", "max_tokens": 4, "messages": [
        {"role": "user", "content": content}]})
    };
    let image = |bytes: &[u8]| {
        let url = format!("data:image/png;base64,{}", cases::base64(bytes));
        content(json!([{"type": "image_url", "image_url": {"url": url}}]))
    };
    let wide: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let schema = |schema: Value| {
        let mut chat = content(json!("x"));
        chat["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        chat
    };
    let mut huge = cases::picture(0);
    huge[18..22].copy_from_slice(&22_000_u32.to_le_bytes());
    huge[22..26].copy_from_slice(&22_000_u32.to_le_bytes());
    let bodies = [
        schema(json!({"enum": wide})),
        schema(json!({"type": "array", "minItems": 1_000_000_000_u64})),
        image(&huge),
        image(b"GIF89a\xff\xff\xff\xff\x00\x00\x00"),
        image(&cases::picture(1)[..5000]),
        content(json!("word ".repeat(200_000))),
        content(json!(
            "<|vision_start|><|image_pad|><|vision_end|>".repeat(500)
        )),
        json!({"messages": 5}),
    ];
    let mut all: Vec<Vec<u8>> = bodies.iter().map(|body| post(&body.to_string())).collect();
    all.push(post(&"[".repeat(1_000_000)));
    let pipelined = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    all.push(pipelined.into_bytes());
    all.push(
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
            "y".repeat(100_000)
        )
        .into_bytes(),
    );
    all
}

fn post(body: &str) -> Vec<u8> {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
