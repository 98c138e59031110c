//! HTTP requests: which addresses may be asked, redirects, and where the token goes.
//!
//! Redirects are followed here and not by the client library: the hub states a file's hash in the
//! redirect itself, and the token must not leave the hub's own host.

use std::net::IpAddr;
use std::time::Duration;

use ureq::http::{HeaderMap, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body, ProxyProtocol};

use super::hub::Hub;
use crate::Error;

/// More redirects than this are a circle.
const REDIRECTS: usize = 8;
const CONNECT: Duration = Duration::from_secs(20);

/// Asks the hub and the hosts that it sends us to.
pub(super) struct Client {
    agent: Agent,
    token: Option<String>,
    /// Scheme, host and port of the hub: the token goes nowhere else.
    home: Host,
}

/// An answer's head; the body is still to be read.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// Who answered.
    pub(super) host: Host,
    /// True when the hub itself answered, and not a host that it sent us to.
    pub(super) is_home: bool,
}

impl Reply {
    /// A header's value, when it is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// True when the server says that this is a web page.
    pub(super) fn is_html(&self) -> bool {
        let kind = self.header("content-type").unwrap_or_default();
        kind.to_ascii_lowercase().starts_with("text/html")
    }
}

/// Headers of a request.
pub(super) type Headers = Vec<(&'static str, String)>;

/// Why there is no answer.
pub(super) enum Failed {
    /// It may work the next time, or after a while that the server states.
    ForNow {
        /// What happened.
        why: String,
        /// What the server asks to wait.
        after: Option<Duration>,
    },
    /// It will not.
    ForGood(Error),
}

impl Failed {
    /// It may work the next time.
    pub(super) fn for_now(why: impl ToString) -> Self {
        Self::ForNow {
            why: why.to_string(),
            after: None,
        }
    }
}

/// Where a redirect to another host is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// `HEAD`; redirects that leave the host are the answer: they state what the file is.
    HeadAtHome,
    /// `GET`; all redirects are followed.
    Get,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    scheme: String,
    name: String,
    port: u16,
}

impl Client {
    /// # Errors
    /// [`Error::Address`] when the hub's address or the proxy's is none, or TLS cannot be had on
    /// this machine.
    pub(super) fn new(hub: &Hub) -> Result<Self, Error> {
        let home = host_of(&hub.endpoint, &hub.endpoint)?;
        let proxy = match &hub.proxy {
            // A proxy is for the way out; what runs on this machine is asked directly.
            Some(proxy) if !is_loopback(&home.name) => {
                let parsed = ureq::Proxy::new(proxy).ok();
                let is_http = |proxy: &ureq::Proxy| {
                    matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
                };
                let usable = parsed.filter(is_http);
                Some(usable.ok_or_else(|| refused("HTTPS_PROXY", "need http://host:port"))?)
            }
            _ => None,
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(concat!("ocelli/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(hub.patience.stall))
            .timeout_per_read(Some(hub.patience.stall));
        if home.scheme == "https" {
            config = config.https_only(true).tls_config(tls(&hub.endpoint)?);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            token: hub.token.clone(),
            home,
        })
    }

    /// Asks for an address. `headers_for` gives further headers for the host that is asked; it is
    /// told whether that is the hub.
    ///
    /// # Errors
    /// As [`Failed`] says.
    pub(super) fn ask(
        &self,
        method: Method,
        url: &str,
        headers_for: &dyn Fn(&Host, bool) -> Headers,
    ) -> Result<Reply, Failed> {
        let mut url = url.to_owned();
        for _ in 0..REDIRECTS {
            let host = host_of(&url, &url).map_err(Failed::ForGood)?;
            if host.scheme != "https" && self.home.scheme == "https" {
                let why = "http is not safe: need https, or an HF_ENDPOINT that says http";
                return Err(Failed::ForGood(refused(without_query(&url), why)));
            }
            let is_home = host == self.home;
            let reply = self.once(method, &url, is_home, &headers_for(&host, is_home))?;
            let status = reply.status().as_u16();
            let target = reply
                .headers()
                .get("location")
                .and_then(|v| v.to_str().ok());
            if let (301 | 302 | 303 | 307 | 308, Some(target)) = (status, target) {
                let target = join(&url, target);
                let stays = host_of(&target, &url).map_err(Failed::ForGood)? == host;
                if stays || method == Method::Get {
                    url = target;
                    continue;
                }
            }
            let (parts, body) = reply.into_parts();
            return Ok(Reply {
                status,
                headers: parts.headers,
                body,
                host,
                is_home,
            });
        }
        let why = format!("more than {REDIRECTS} redirects");
        Err(Failed::ForGood(refused(without_query(&url), &why)))
    }

    fn once(
        &self,
        method: Method,
        url: &str,
        is_home: bool,
        headers: &[(&'static str, String)],
    ) -> Result<ureq::http::Response<Body>, Failed> {
        let mut request = match method {
            Method::HeadAtHome => self.agent.head(url),
            Method::Get => self.agent.get(url),
        };
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if let (true, Some(token)) = (is_home, &self.token) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|error| match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::RequireHttpsOnly(_) => {
                Failed::ForGood(refused(without_query(url), &error.to_string()))
            }
            // A certificate that is not trusted will not be trusted the next time.
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                let why = format!("{error}; SSL_CERT_FILE names further certificates to trust");
                Failed::ForGood(refused(without_query(url), &why))
            }
            error => Failed::for_now(error),
        })
    }
}

/// TLS in Rust alone; the system's certificates, else the ones built in.
pub(super) fn tls(url: &str) -> Result<TlsConfig, Error> {
    let found = rustls_native_certs::load_native_certs().certs;
    let roots = match found.as_slice() {
        // Small containers come without any.
        [] => RootCerts::WebPki,
        some => some
            .iter()
            .map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned())
            .into(),
    };
    let config = TlsConfig::builder().root_certs(roots);
    with_cryptography(config)
        .map(ureq::tls::TlsConfigBuilder::build)
        .ok_or_else(|| {
            let why = "https needs an x86-64 processor with AES, AVX2, BMI and ADX or an ARMv8 one with AES and SHA2; \
                       copy the model's files to this machine instead";
            refused(url, why)
        })
}

type TlsBuilder = ureq::tls::TlsConfigBuilder;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn with_cryptography(config: TlsBuilder) -> Option<TlsBuilder> {
    // The library asserts what it needs of the processor, so that it must be asked about before.
    #[cfg(target_arch = "x86_64")]
    let can_run = std::is_x86_feature_detected!("aes")
        && std::is_x86_feature_detected!("pclmulqdq")
        && std::is_x86_feature_detected!("bmi1")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("adx")
        && std::is_x86_feature_detected!("avx")
        && std::is_x86_feature_detected!("avx2");
    #[cfg(target_arch = "aarch64")]
    let can_run = std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
    can_run.then(|| {
        let provider = std::sync::Arc::new(rustls_graviola::default_provider());
        config.unversioned_rustls_crypto_provider(provider)
    })
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn with_cryptography(_config: TlsBuilder) -> Option<TlsBuilder> {
    None
}

/// Scheme, host and port of an address.
fn host_of(url: &str, shown: &str) -> Result<Host, Error> {
    let no_address = || refused(without_query(shown), "need https://host/...");
    let uri: Uri = url.parse().map_err(|_| no_address())?;
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return Err(no_address()),
    };
    let authority = uri.authority().ok_or_else(no_address)?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(no_address());
    }
    Ok(Host {
        scheme,
        name: authority.host().to_ascii_lowercase(),
        port: authority.port_u16().unwrap_or(default_port),
    })
}

fn is_loopback(name: &str) -> bool {
    let address = name.trim_matches(['[', ']']);
    name == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The address that a `Location` header means.
pub(super) fn join(base: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    if let Some(other) = location.strip_prefix("//") {
        return format!("{scheme}://{other}");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if location.starts_with('/') {
        return format!("{scheme}://{authority}{location}");
    }
    let path = path.split('?').next().unwrap_or_default();
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{scheme}://{authority}/{folder}{slash}{location}")
}

/// An address for messages. What follows `?` may be a signature, which is a secret for a while.
pub(super) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

fn refused(url: &str, why: &str) -> Error {
    Error::Address {
        url: url.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_may_be_absolute_or_relative() {
        let base = "https://a.example:8443/u/r/x.gguf?download=1";
        for (location, whole) in [
            ("http://b.example/y", "http://b.example/y"),
            ("//b.example/y", "https://b.example/y"),
            ("/y?z", "https://a.example:8443/y?z"),
            ("y", "https://a.example:8443/u/r/y"),
        ] {
            assert_eq!(join(base, location), whole);
        }
    }

    #[test]
    fn another_port_or_scheme_is_another_host() {
        let host = |url| host_of(url, url).ok();
        assert_eq!(host("https://A.example/x"), host("https://a.example:443/y"));
        assert_ne!(host("https://a.example/"), host("https://a.example:444/"));
        assert_ne!(host("https://a.example/"), host("http://a.example/"));
        for bad in ["", "a.example/x", "ftp://a/", "https://u:p@a/", "https://"] {
            assert!(host(bad).is_none(), "{bad}");
        }
    }
}
