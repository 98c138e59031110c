//! The scenarios. Each starts a server of its own and ends it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::cases::{self, Case};
use super::client::{Missing, Patience, ask};
use super::server::Server;
use super::{Report, Settings};

/// Longest that a server may take to end.
const END: Duration = Duration::from_secs(40);

/// Requests that a server answers a second when `clients` ask as fast as they can.
fn capacity(address: SocketAddr, cases: &[Case], clients: usize) -> f64 {
    let start = Instant::now();
    let report = closed_loop(address, cases, clients, Duration::from_secs(5), |_| {
        Patience::Whole
    });
    report.firsts.len() as f64 / start.elapsed().as_secs_f64()
}

/// Every client asks again as soon as it has its answer.
pub(super) fn closed_loop(
    address: SocketAddr,
    cases: &[Case],
    clients: usize,
    time: Duration,
    patience: impl Fn(usize) -> Patience + Sync,
) -> Report {
    let start = Instant::now();
    let work = |client: usize| {
        let mut report = Report::default();
        let mut number = client;
        while start.elapsed() < time {
            let case = &cases[number % cases.len()];
            report.count(ask(address, &case.body, patience(number)), &case.alone);
            number += clients;
        }
        report
    };
    gather(clients, &work)
}

/// Requests come at this rate, each at its time; as many at once as there are clients.
fn open_loop(
    address: SocketAddr,
    cases: &[Case],
    (clients, rate): (usize, f64),
    time: Duration,
    patience: impl Fn(usize) -> Patience + Sync,
) -> Report {
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let work = |_| {
        let mut report = Report::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let due = Duration::from_secs_f64(number as f64 / rate);
            if due >= time {
                return report;
            }
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let case = &cases[number % cases.len()];
            match patience(number) {
                Patience::Whole => {
                    let answer = ask(address, &case.body, Patience::Whole);
                    report.count(answer, &case.alone);
                }
                // Nobody is left to be answered.
                other => drop(ask(address, &case.body, other)),
            }
        }
    };
    gather(clients, &work)
}

fn gather(clients: usize, work: &(impl Fn(usize) -> Report + Sync)) -> Report {
    let mut whole = Report::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| scope.spawn(move || work(client)))
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(report) => whole.add(report),
                Err(_) => whole.failed.push("a client panicked".to_owned()),
            }
        }
    });
    whole
}

/// Ends a server as an operator would, and puts into the report what was watched.
pub(super) fn end(
    mut server: Server,
    report: &mut Report,
    watched: (
        Arc<AtomicBool>,
        std::thread::JoinHandle<super::server::Memory>,
    ),
) -> Result<()> {
    let (stop, watching) = watched;
    stop.store(true, Ordering::Relaxed);
    if let Ok(memory) = watching.join() {
        report.peak_mib = memory.peak_mib();
        report.slope_mib = memory.slope_mib_an_hour();
    }
    server.terminate()?;
    let code = server.wait(END)?;
    if code != Some(0) {
        report
            .failed
            .push(format!("the server ended with {code:?}"));
    }
    report.panics = server.panics.load(Ordering::Relaxed);
    Ok(())
}

pub(super) fn watch(
    server: &Server,
) -> (
    Arc<AtomicBool>,
    std::thread::JoinHandle<super::server::Memory>,
) {
    let stop = Arc::new(AtomicBool::new(false));
    let watching = server.watch(stop.clone());
    (stop, watching)
}

/// Room for all clients, so that nothing is refused.
fn roomy(clients: usize) -> [String; 4] {
    [
        "--queue".to_owned(),
        clients.to_string(),
        "--queue-wait".to_owned(),
        "120".to_owned(),
    ]
}

pub(super) fn start(settings: &Settings, arguments: &[String]) -> Result<(Server, Vec<Case>)> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let server = Server::start(&settings.program, &arguments)?;
    let cases = cases::all(server.address)?;
    Ok((server, cases))
}

/// Chats about pictures, as many at once as there are clients.
pub(super) fn steady(settings: &Settings) -> Result<Report> {
    let clients = settings.clients;
    let (server, cases) = start(settings, &roomy(clients * 2))?;
    let watched = watch(&server);
    let rate = capacity(server.address, &cases, clients);
    let whole = |_| Patience::Whole;
    let mut report = closed_loop(server.address, &cases, clients, settings.time, whole);
    report
        .notes
        .push(format!("{rate:.1} answers/s at {clients} at once"));
    if report.refused + report.other > 0 {
        report.failed.push("some were refused".to_owned());
    }
    end(server, &mut report, watched)?;
    Ok(report)
}

/// Half of the clients leave at any moment; the others get the answers they would get alone.
pub(super) fn disconnects(settings: &Settings) -> Result<Report> {
    let clients = settings.clients;
    let (server, cases) = start(settings, &roomy(clients * 2))?;
    let watched = watch(&server);
    let rate = capacity(server.address, &cases, clients);
    let longest = clients as f64 / rate.max(1.0) * 1e3;
    let patience = |number: usize| match number % 2 {
        0 => Patience::Whole,
        // Spread over the life of a request, in steps that share no factor with anything.
        _ => Patience::Leaves(Duration::from_secs_f64(
            (number.wrapping_mul(7919) % 1000) as f64 / 1e6 * longest,
        )),
    };
    let load = (clients, rate * 0.9);
    let mut report = open_loop(server.address, &cases, load, settings.time, patience);
    let freed = wait_until_idle(server.address);
    match freed {
        Some(time) => report.notes.push(format!(
            "all places free {:.0} ms after",
            time.as_secs_f64() * 1e3
        )),
        None => report.failed.push("places were not given back".to_owned()),
    }
    end(server, &mut report, watched)?;
    Ok(report)
}

/// Time until no request runs or waits; `None` if that does not come.
fn wait_until_idle(address: SocketAddr) -> Option<Duration> {
    let start = Instant::now();
    while start.elapsed() < END {
        let page = get(address, "/metrics")?;
        let is_zero = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(name))?;
            Some(line.ends_with(" 0"))
        };
        if is_zero("ocelli_requests_running{")? && is_zero("ocelli_requests_waiting{")? {
            return Some(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

fn get(address: SocketAddr, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Half of the clients read a few bytes now and then.
pub(super) fn slow_readers(settings: &Settings) -> Result<Report> {
    let clients = settings.clients;
    let (server, cases) = start(settings, &roomy(clients * 2))?;
    let watched = watch(&server);
    let patience = |number: usize| match number % 2 {
        0 => Patience::Whole,
        _ => Patience::Slow,
    };
    let mut report = closed_loop(server.address, &cases, clients, settings.time, patience);
    end(server, &mut report, watched)?;
    Ok(report)
}

/// Ten times as many requests as the server can answer: those that it takes it answers, the others
/// it refuses at once.
pub(super) fn overload(settings: &Settings) -> Result<Report> {
    let (server, cases) = start(settings, &[])?;
    let watched = watch(&server);
    let rate = capacity(server.address, &cases, 16);
    let load = (240, rate * 10.0);
    let begun = Instant::now();
    let mut report = open_loop(server.address, &cases, load, settings.time, |_| {
        Patience::Whole
    });
    let answered = report.firsts.len() as f64 / begun.elapsed().as_secs_f64();
    report
        .notes
        .push(format!("capacity {rate:.1}/s, answered {answered:.1}/s"));
    match wait_until_idle(server.address) {
        Some(time) => report
            .notes
            .push(format!("idle {:.1} s after", time.as_secs_f64())),
        None => report.failed.push("the queue did not empty".to_owned()),
    }
    if report.refused == 0 || report.other > 0 {
        report.failed.push(format!(
            "{} refused, {} other",
            report.refused, report.other
        ));
    }
    end(server, &mut report, watched)?;
    Ok(report)
}

/// The server is ended under load, again and again: what it has begun to answer it answers whole.
pub(super) fn sigterm(settings: &Settings) -> Result<Report> {
    let mut whole = Report::default();
    let mut closed = 0;
    for round in 0..settings.restarts {
        let (mut server, cases) = start(settings, &roomy(settings.clients * 2))?;
        let address = server.address;
        let (is_ending, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
        let work = |client: usize| {
            let mut report = Report::default();
            let mut number = client;
            while !is_over.load(Ordering::Relaxed) {
                let case = &cases[number % cases.len()];
                let was_ending = is_ending.load(Ordering::Relaxed);
                match ask(address, &case.body, Patience::Whole) {
                    // Sent when it was asked to end already, and not a byte of it was read.
                    Err(Missing::NoConnection | Missing::NoAnswer) if was_ending => {
                        report.other += 1
                    }
                    answer => report.count(answer, &case.alone),
                }
                number += settings.clients;
            }
            report
        };
        let mut ended = Ok(None);
        std::thread::scope(|scope| {
            let clients = scope.spawn(|| gather(settings.clients, &work));
            // At another moment each time.
            std::thread::sleep(Duration::from_millis(300 + 137 * (round as u64 % 10)));
            is_ending.store(true, Ordering::Relaxed);
            ended = server.terminate().and_then(|()| {
                let code = server.wait(END);
                is_over.store(true, Ordering::Relaxed);
                code
            });
            is_over.store(true, Ordering::Relaxed);
            if let Ok(report) = clients.join() {
                closed += report.other;
                whole.add(report);
            }
        });
        let code = ended?;
        if code != Some(0) {
            whole
                .failed
                .push(format!("round {round}: exit code {code:?}"));
        }
        whole.panics += server.panics.load(Ordering::Relaxed);
    }
    whole.notes.push(format!(
        "{} restarts, {closed} found it closed",
        settings.restarts
    ));
    Ok(whole)
}
