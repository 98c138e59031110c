//! Fetching a picture from the web for somebody else: only from addresses that the whole world can reach.
//!
//! A name is looked up once; if any of its addresses is not public, it is refused, and the
//! connection goes to the addresses that were checked. So neither a second answer of the name
//! server nor a redirect leads to a machine of our own network.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::http::{join, tls};
use crate::Error;

/// More redirects than this are refused.
const REDIRECTS: usize = 3;
/// Time for all of it.
const TIME: Duration = Duration::from_secs(10);
/// The same words for every reason, so that they tell nothing about our network.
const NOT_ALLOWED: &str = "host not allowed";

/// What may be fetched.
#[derive(Clone, Debug)]
pub struct WebOptions {
    /// Also by http, without encryption.
    pub http_too: bool,
    /// If not empty, the only hosts.
    pub hosts: Vec<String>,
    /// Most bytes.
    pub most_bytes: u64,
}

/// Which addresses and ports; tests speak to this machine.
#[derive(Clone, Copy)]
struct Rules {
    is_allowed: fn(IpAddr) -> bool,
    any_port: bool,
}

/// Fetches what is at a public address, within ten seconds and without proxy, cookies or credentials.
///
/// # Errors
/// [`Error::Address`] when the address is not allowed, whatever the reason; [`Error::Fetch`] when
/// nothing comes, or too much.
pub fn fetch_public(url: &str, options: &WebOptions) -> Result<Vec<u8>, Error> {
    let rules = Rules {
        is_allowed: is_public,
        any_port: false,
    };
    fetch(url, options, rules)
}

fn fetch(url: &str, options: &WebOptions, rules: Rules) -> Result<Vec<u8>, Error> {
    let start = Instant::now();
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS {
        check(&url, options, rules)?;
        let left = TIME.saturating_sub(start.elapsed());
        let agent = agent(&url, left, rules)?;
        let reply = agent.get(&url).call().map_err(|error| match error {
            ureq::Error::HostNotFound => not_allowed(),
            error => failed(error),
        })?;
        let status = reply.status().as_u16();
        let target = reply
            .headers()
            .get("location")
            .and_then(|v| v.to_str().ok());
        if let (301 | 302 | 303 | 307 | 308, Some(target)) = (status, target) {
            url = join(&url, target);
            continue;
        }
        if status != 200 {
            return Err(failed(format_args!("status {status}")));
        }
        let mut bytes = Vec::new();
        let reader = reply.into_body().into_reader();
        let read = reader.take(options.most_bytes + 1).read_to_end(&mut bytes);
        read.map_err(failed)?;
        if bytes.len() as u64 > options.most_bytes {
            let most = options.most_bytes;
            return Err(failed(format_args!("more than {most} bytes")));
        }
        return Ok(bytes);
    }
    Err(not_allowed())
}

fn not_allowed() -> Error {
    Error::Address {
        url: "image URL".to_owned(),
        why: NOT_ALLOWED.to_owned(),
    }
}

fn failed(why: impl std::fmt::Display) -> Error {
    Error::Fetch {
        why: why.to_string(),
    }
}

/// Checks an address before anything is looked up.
fn check(url: &str, options: &WebOptions, rules: Rules) -> Result<(), Error> {
    // Browsers read a backslash as a slash, others do not: such an address has two meanings.
    if url.contains(['\\', ' ', '\t', '\n', '\r']) {
        return Err(not_allowed());
    }
    let uri: Uri = url.parse().map_err(|_| not_allowed())?;
    let default_port = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") if options.http_too => 80,
        _ => return Err(not_allowed()),
    };
    let authority = uri.authority().ok_or_else(not_allowed)?;
    let host = authority.host().to_ascii_lowercase();
    let is_named =
        options.hosts.is_empty() || options.hosts.iter().any(|h| h.eq_ignore_ascii_case(&host));
    let port = authority.port_u16().unwrap_or(default_port);
    let is_plain = !authority.as_str().contains('@') && !host.is_empty();
    let has_port = rules.any_port || matches!(port, 80 | 443);
    (is_named && is_plain && has_port)
        .then_some(())
        .ok_or_else(not_allowed)
}

fn agent(url: &str, time: Duration, rules: Rules) -> Result<Agent, Error> {
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("ocelli/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_global(Some(time.max(Duration::from_millis(1))));
    if url.starts_with("https:") {
        config = config.tls_config(tls(url)?);
    }
    let resolver = Public {
        inner: DefaultResolver::default(),
        rules,
    };
    Ok(Agent::with_parts(
        config.build(),
        DefaultConnector::default(),
        resolver,
    ))
}

/// Looks names up and passes on none whose addresses are not all allowed.
struct Public {
    inner: DefaultResolver,
    rules: Rules,
}

impl std::fmt::Debug for Public {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Public").finish_non_exhaustive()
    }
}

impl Resolver for Public {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout);
        // What is not found and what is not allowed look the same.
        let found = found.map_err(|_| ureq::Error::HostNotFound)?;
        match found
            .iter()
            .all(|address| (self.rules.is_allowed)(address.ip()))
        {
            true => Ok(found),
            false => Err(ureq::Error::HostNotFound),
        }
    }
}

/// True for addresses that the whole world can reach, by the registries of special addresses of IANA.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127, ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 88, 99)
            | (192, 168, _)
            | (192, 175, 48)
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            | (224..=255, ..)
    );
    !is_special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, ..] = ip.segments();
    // Global unicast is 2000::/3; of that, protocols (2001::/23), documentation and 6to4 are not for hosts.
    // What wraps IPv4 addresses lies outside of it or is 6to4.
    let is_unicast = a & 0xe000 == 0x2000;
    let is_special = a == 0x2001 && b < 0x200
        || (a, b) == (0x2001, 0xdb8)
        || a == 0x2002
        || a == 0x3fff && b < 0x1000
        || (a, b, c) == (0x2620, 0x4f, 0x8000);
    is_unicast && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::download::tests::server::{Answer, Files, Server};

    fn options() -> WebOptions {
        WebOptions {
            http_too: true,
            hosts: Vec::new(),
            most_bytes: 1000,
        }
    }

    #[test]
    fn addresses_inside_are_refused_with_the_same_words() {
        for url in [
            "http://169.254.169.254/",
            "http://[::1]/",
            "http://0x7f.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://[::ffff:10.0.0.1]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://localhost./",
            "http://user@example.com/",
            "http:\\\\evil",
            "http://example.com:22/",
            "gopher://example.com/",
            "http://x#@127.0.0.1",
            "file:///etc/passwd",
            "",
        ] {
            let error = fetch_public(url, &options()).unwrap_err();
            assert!(matches!(error, Error::Address { .. }), "{url}: {error}");
            assert_eq!(
                error.to_string(),
                "address refused: image URL: host not allowed",
                "{url}"
            );
        }
        let https_only = WebOptions {
            http_too: false,
            ..options()
        };
        assert!(matches!(
            fetch_public("http://1.1.1.1/", &https_only),
            Err(Error::Address { .. })
        ));
        let named = WebOptions {
            hosts: vec!["pictures.example".to_owned()],
            ..options()
        };
        assert!(matches!(
            fetch_public("http://1.1.1.1/", &named),
            Err(Error::Address { .. })
        ));
    }

    #[test]
    fn public_addresses_are_told_from_special_ones() {
        for public in [
            "1.1.1.1",
            "93.184.216.34",
            "172.32.0.1",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:1.1.1.1",
            "64:ff9b::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002::1",
            "fc00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn redirects_are_checked_again_and_sizes_are_bounded() {
        let here = Rules {
            is_allowed: |ip| ip == IpAddr::V4(Ipv4Addr::LOCALHOST),
            any_port: true,
        };
        let server = Server::new(Files::new(), |request, _, _| match request.path.as_str() {
            "/picture" => Answer::status(200).body(&[7; 900]),
            "/large" => Answer::status(200).body(&[7; 1001]),
            "/away" => Answer::status(302).with("location", "http://127.0.0.2/picture"),
            "/near" => Answer::status(302).with("location", "/picture"),
            "/circle" => Answer::status(302).with("location", "/circle"),
            _ => Answer::status(404),
        });
        let get = |path: &str| fetch(&format!("{}{path}", server.url), &options(), here);
        assert_eq!(get("/picture").unwrap(), [7; 900]);
        assert_eq!(get("/near").unwrap(), [7; 900]);
        assert!(
            get("/large")
                .unwrap_err()
                .to_string()
                .contains("more than 1000 bytes")
        );
        assert!(matches!(get("/away"), Err(Error::Address { .. })));
        assert!(matches!(get("/circle"), Err(Error::Address { .. })));
        assert!(
            get("/nosuch")
                .unwrap_err()
                .to_string()
                .contains("status 404")
        );
    }
}
