//! What a server is started with. The defaults are safe on a machine that others can reach.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Whether pictures may be fetched from the web.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageUrls {
    /// Never: pictures come inside the request.
    #[default]
    Off,
    /// From public addresses by https.
    Https,
    /// From public addresses by https or http.
    HttpToo,
}

/// What becomes of a request with fields that this server does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// It is answered, and the answer names them.
    #[default]
    Named,
    /// It is refused.
    Refused,
}

/// Bounds of what one client can take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body (64 MiB).
    pub body_bytes: usize,
    /// Bytes of all bodies that are being read or parsed (512 MiB).
    pub all_bodies_bytes: usize,
    /// Open connections (256).
    pub connections: usize,
    /// Open connections of one address that is not of this machine (32).
    pub connections_of_one: usize,
    /// Time for the headers of a request (10 s); also how long a connection may idle between requests.
    pub header_time: Duration,
    /// Time for a body, beside one second for each 16 KiB of it (30 s).
    pub body_time: Duration,
    /// How long a client may take nothing of its answer (30 s).
    pub stall_time: Duration,
    /// Time for a whole request (600 s).
    pub request_time: Duration,
    /// How long running requests may go on when the server ends (30 s).
    pub drain_time: Duration,
    /// A quiet stream says that it lives after this long (15 s).
    pub keep_alive_time: Duration,
    /// A step of an engine takes milliseconds; one that takes this long is stuck, and the server is
    /// not ready (10 s).
    pub stuck_time: Duration,
    /// After this long only a restart helps: the server does not live, and whoever waits is told (60 s).
    pub lost_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 20,
            all_bodies_bytes: 512 << 20,
            connections: 256,
            connections_of_one: 32,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            stall_time: Duration::from_secs(30),
            request_time: Duration::from_secs(600),
            drain_time: Duration::from_secs(30),
            keep_alive_time: Duration::from_secs(15),
            stuck_time: Duration::from_secs(10),
            lost_time: Duration::from_secs(60),
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address to listen on (127.0.0.1).
    pub host: IpAddr,
    /// Port to listen on; 0 for any that is free.
    pub port: u16,
    /// Keys that clients must show one of; without any, everyone who reaches the server may use it.
    pub api_keys: Vec<String>,
    /// Allows an address that others can reach without keys.
    pub insecure_no_auth: bool,
    /// Names by which clients may call the server beside its address and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Web pages that may use the server, as in `https://example.org`.
    pub allowed_origins: Vec<String>,
    /// Whether pictures may be fetched from the web.
    pub image_urls: ImageUrls,
    /// If not empty, the only hosts that pictures are fetched from.
    pub image_url_hosts: Vec<String>,
    /// A folder whose picture files requests may name. Without one, none can be named.
    pub media_folder: Option<PathBuf>,
    /// What becomes of a request with unknown fields.
    pub unknown_fields: UnknownFields,
    /// Lets clients with different keys share cached prompts and pictures.
    pub share_prefix: bool,
    /// Answers that a client may be waiting for at once. `None`: eight for clients with a key or on
    /// another machine, no limit for those of this machine without a key, who all look alike.
    pub answers_per_client: Option<usize>,
    /// Bounds.
    pub limits: Limits,
}

impl Settings {
    /// Answers that a client of `peer` may be waiting for at once.
    pub(crate) fn answers_of(&self, peer: IpAddr) -> usize {
        let alike = self.api_keys.is_empty() && peer.is_loopback();
        match self.answers_per_client {
            Some(limit) => limit,
            None if alike => usize::MAX,
            None => ANSWERS_PER_CLIENT,
        }
    }
}

/// See [`Settings::answers_per_client`].
const ANSWERS_PER_CLIENT: usize = 8;

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: IpAddr::from([127, 0, 0, 1]),
            port: 8080,
            api_keys: Vec::new(),
            insecure_no_auth: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            image_urls: ImageUrls::Off,
            image_url_hosts: Vec::new(),
            media_folder: None,
            unknown_fields: UnknownFields::default(),
            share_prefix: false,
            answers_per_client: None,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// Refuses what would be open to others by accident.
    pub(crate) fn check(&self) -> Result<(), crate::Error> {
        let wrong = |what: String| Err(crate::Error::Settings(what));
        if !self.host.is_loopback() && self.api_keys.is_empty() && !self.insecure_no_auth {
            let host = self.host;
            return wrong(format!(
                "--host {host}: found no API key, need one where others can connect. Give --api-key-file, or --insecure-no-auth if that is meant"
            ));
        }
        if self.api_keys.iter().any(|key| key.trim().is_empty()) {
            return wrong("API key: found an empty one, need at least one character".to_owned());
        }
        Ok(())
    }
}
