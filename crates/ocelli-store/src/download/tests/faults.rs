//! A server that breaks off, changes its mind, sends something else, or sends us elsewhere.

use std::time::Duration;

use super::server::{Answer, REPO, Server, file_answer};
use super::{Cache, PROJECTOR, TEXT, assert_holds, files, hub, model, pull_from, quiet};
use crate::Error;
use crate::download::{Hub, pull};

#[test]
fn a_connection_that_breaks_is_resumed_where_it_broke() {
    let server = Server::new(files(), |request, before, answer| match before {
        0 | 1 if request.is_get_of(TEXT) => answer.cut(100_000),
        _ => answer,
    });
    let cache = Cache::new();
    let pulled = pull_from(&server, &cache).expect("pulled");
    assert_holds(&pulled.text, &files()[TEXT]);
    let gets = server.gets_of(TEXT);
    let ranges: Vec<_> = gets.iter().map(|get| get.header("range")).collect();
    assert_eq!(ranges, [None, Some("bytes=100000-"), Some("bytes=200000-")]);
    let etag = format!("\"{}\"", super::sha256(&files()[TEXT]));
    assert_eq!(gets[1].header("if-range"), Some(etag.as_str()));
}

#[test]
fn a_download_of_a_killed_process_is_resumed_from_any_byte() {
    let whole = files()[TEXT].clone();
    for begun in [0, 1, 3, 4, 5, 150_000, 299_999, 300_000] {
        let (server, cache) = (Server::good(files()), Cache::new());
        cache.begin(&whole, &whole[..begun]);
        let pulled = pull_from(&server, &cache).expect("pulled");
        assert_holds(&pulled.text, &whole);
        let asked = server.gets_of(TEXT);
        let range = asked
            .first()
            .map(|get| get.header("range").map(str::to_owned));
        let expected = match begun {
            0 => Some(None),
            300_000 => None,
            at => Some(Some(format!("bytes={at}-"))),
        };
        assert_eq!(range, expected);
    }
}

#[test]
fn a_beginning_with_wrong_or_too_many_bytes_is_thrown_away() {
    let whole = files()[TEXT].clone();
    for begun in [vec![0; 150_000], vec![0; 300_000], vec![0; 400_000]] {
        let (server, cache) = (Server::good(files()), Cache::new());
        cache.begin(&whole, &begun);
        let pulled = pull_from(&server, &cache).expect("pulled");
        assert_holds(&pulled.text, &whole);
    }
}

#[test]
fn a_file_that_changes_in_between_is_downloaded_from_its_beginning() {
    let new = model(9, 280_000);
    let sent = new.clone();
    let server = Server::new(files(), move |request, before, answer| {
        let is_get = request.is_get_of(TEXT);
        match (before, is_get, request.method.as_str()) {
            (0, true, _) => answer.cut(100_000),
            (_, true, _) => file_answer(request, &sent),
            (1.., _, "HEAD") if request.path.ends_with(TEXT) => file_answer(request, &sent),
            _ => answer,
        }
    });
    let cache = Cache::new();
    let pulled = pull_from(&server, &cache).expect("pulled");
    assert_holds(&pulled.text, &new);
    assert!(!cache.incomplete(&files()[TEXT]).exists());
}

#[test]
fn a_server_without_ranges_sends_the_whole_file_again() {
    let whole = files()[TEXT].clone();
    let server = Server::new(files(), move |request, before, answer| match before {
        0 if request.is_get_of(TEXT) => answer.cut(100_000),
        _ if request.is_get_of(TEXT) => Answer::status(200).body(&whole),
        _ => answer,
    });
    let cache = Cache::new();
    let pulled = pull_from(&server, &cache).expect("pulled");
    assert_holds(&pulled.text, &files()[TEXT]);
}

#[test]
fn another_range_than_asked_for_is_not_appended() {
    let whole = files()[TEXT].clone();
    let server = Server::new(files(), move |request, before, answer| match before {
        0 if request.is_get_of(TEXT) => answer.cut(100_000),
        1 if request.is_get_of(TEXT) => Answer::status(206)
            .with("content-range", "bytes 5-299999/300000")
            .body(&whole[5..]),
        2 if request.is_get_of(TEXT) => Answer::status(416),
        _ => answer,
    });
    let cache = Cache::new();
    let pulled = pull_from(&server, &cache).expect("pulled");
    assert_holds(&pulled.text, &files()[TEXT]);
}

#[test]
fn a_web_page_in_place_of_a_model_is_told_and_not_kept() {
    const PAGE: &[u8] = b"\n<!DOCTYPE html><html>Sign in</html>";
    let of_file = Server::new(files(), |request, _, answer| {
        match request.is_get_of(TEXT) {
            true => Answer::status(200)
                .with("content-type", "text/html")
                .body(PAGE),
            false => answer,
        }
    });
    let of_all = Server::new(files(), |_, _, _| Answer::status(200).body(PAGE));
    let cache = Cache::new();
    for (server, need) in [(of_file, "need a GGUF model"), (of_all, "(JSON)")] {
        let error = pull_from(&server, &cache).expect_err("a page").to_string();
        assert!(error.contains("found a web page (HTML)"), "{error}");
        assert!(error.contains(need), "{error}");
    }
    assert!(!cache.repository().join("snapshots").exists());
    let begun = std::fs::metadata(cache.incomplete(&files()[TEXT]));
    assert_eq!(begun.expect("empty").len(), 0);
}

#[test]
fn a_storm_of_429_and_500_is_waited_out() {
    let server = Server::new(files(), |_, before, answer| match before {
        0 => Answer::status(429).with("retry-after", "0"),
        1 => Answer::status(500),
        2 => Answer::status(503),
        _ => answer,
    });
    let cache = Cache::new();
    pull_from(&server, &cache).expect("pulled");
    assert_eq!(server.gets_of(TEXT).len(), 4);
}

#[test]
fn a_storm_that_does_not_end_is_given_up() {
    let server = Server::new(files(), |request, _, answer| {
        match request.is_get_of(TEXT) {
            true => Answer::status(429),
            false => answer,
        }
    });
    let cache = Cache::new();
    let error = pull_from(&server, &cache)
        .expect_err("given up")
        .to_string();
    assert!(error.contains("status 429; tried 4 times"), "{error}");
    assert_eq!(server.gets_of(TEXT).len(), 4);
}

#[test]
fn a_server_that_stalls_is_asked_again() {
    let server = Server::new(files(), |request, before, answer| {
        let is_first = before == 0 && request.is_get_of(TEXT);
        let stall = Duration::from_secs(if is_first { 20 } else { 0 });
        let cut = is_first.then_some(100_000);
        Answer {
            cut,
            stall,
            ..answer
        }
    });
    let cache = Cache::new();
    let pulled = pull_from(&server, &cache).expect("pulled");
    assert_holds(&pulled.text, &files()[TEXT]);
}

#[test]
fn wrong_bytes_are_never_under_a_final_name() {
    let mut wrong = files()[TEXT].clone();
    wrong[200_000] ^= 1;
    let server = Server::new(files(), move |request, _, answer| {
        match request.is_get_of(TEXT) {
            true => Answer {
                body: wrong.clone(),
                ..answer
            },
            false => answer,
        }
    });
    let cache = Cache::new();
    let error = pull_from(&server, &cache).expect_err("wrong");
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert!(!cache.blob(&files()[TEXT]).exists());
    assert!(!cache.repository().join("refs").exists());
}

#[test]
fn a_body_longer_than_the_file_is_not_taken() {
    let server = Server::new(files(), |request, _, mut answer| {
        if request.is_get_of(PROJECTOR) {
            answer.body.extend([0; 10]);
            // Without a length the end of the connection is the end of the body.
            answer = answer.with("transfer-encoding", "identity");
        }
        answer
    });
    let error = pull_from(&server, &Cache::new()).expect_err("too long");
    assert_eq!(error.kind(), crate::ErrorKind::Network, "{error}");
}

#[test]
fn the_token_goes_to_the_hub_and_to_no_other_host() {
    let whole = files()[TEXT].clone();
    let elsewhere = Server::new(files(), move |request, before, _| {
        let answer = file_answer(request, &whole);
        let body_etag = answer.with("x-amz-id", "1");
        if before == 0 {
            body_etag.cut(100_000)
        } else {
            body_etag
        }
    });
    let target = format!("{}/signed/{TEXT}?secret=1", elsewhere.url);
    let etag = format!("\"{}\"", super::sha256(&files()[TEXT]));
    let home = Server::new(files(), move |request, _, answer| {
        if !request.path.ends_with(TEXT) {
            return answer;
        }
        Answer::status(302)
            .with("location", &target)
            .with("x-linked-etag", &etag)
            .with("x-linked-size", 300_000)
    });
    let cache = Cache::new();
    let with_token = Hub {
        token: Some("hf_secret".to_owned()),
        ..hub(&home)
    };
    let pulled = pull(REPO, &with_token, &cache.0, &mut quiet).expect("pulled");
    assert_holds(&pulled.text, &files()[TEXT]);
    let has_token = |server: &Server| -> Vec<bool> {
        let is_sent = |request: &super::server::Request| request.header("authorization").is_some();
        server.requests().iter().map(is_sent).collect()
    };
    assert!(has_token(&home).iter().all(|sent| *sent));
    let sent_elsewhere = has_token(&elsewhere);
    assert!(sent_elsewhere.len() == 2 && !sent_elsewhere.contains(&true));
}

#[test]
fn a_missing_repository_and_one_without_models_are_told_apart() {
    let missing = Server::new(files(), |_, _, _| Answer::status(401));
    let error = pull_from(&missing, &Cache::new())
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("status 401") && error.contains("HF_TOKEN"),
        "{error}"
    );
    assert_eq!(missing.requests().len(), 1);
    let mut only_text = files();
    only_text.retain(|name, _| name == "README.md");
    let error = pull_from(&Server::good(only_text), &Cache::new()).expect_err("none");
    assert!(
        error.to_string().contains("found no GGUF text model"),
        "{error}"
    );
}
