//! Flags of `ocelli serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::model::HowArgs;
use super::values;

/// `ocelli serve`.
#[derive(Clone, Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Model to serve: [NAME=]TEXT[,PROJECTOR], where TEXT is a file, folder or name; repeatable.
    /// The first is loaded now, others when they are asked for. Default: the built-in demo model
    #[arg(short, long = "model", value_name = "MODEL")]
    pub(crate) models: Vec<String>,

    /// Address to listen on
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1",
        env = "OCELLI_HOST",
        value_parser = values::address
    )]
    pub(crate) host: IpAddr,

    /// Port to listen on; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080, env = "OCELLI_PORT", value_parser = values::port)]
    pub(crate) port: u16,

    /// Requests that run on a model at the same time; more wait
    #[arg(long, visible_alias = "slots", value_name = "N", default_value_t = 16, value_parser = values::count)]
    pub(crate) parallel: usize,

    /// Requests that may wait. Default: four times --parallel, at least 16
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub(crate) queue: Option<usize>,

    /// Answers that a client may wait for at once; more get 429. 0 for no limit. Default: 8 for
    /// each key, and for each address of another machine
    #[arg(long, value_name = "N", value_parser = values::number)]
    pub(crate) per_client: Option<usize>,

    /// Seconds that a request may wait for its turn
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = values::wait)]
    pub(crate) queue_wait: u64,

    /// Tokens in the caches of a model for all requests together. Default: --parallel contexts, if
    /// half of the free memory holds them
    #[arg(long, value_name = "TOKENS", value_parser = values::count)]
    pub(crate) cache_tokens: Option<usize>,

    /// What happens to a conversation that does not fit the context
    #[arg(long, value_name = "POLICY", default_value = "error")]
    pub(crate) context_policy: ContextPolicy,

    /// Folder in which encoded pictures are kept across restarts
    #[arg(long, value_name = "FOLDER")]
    pub(crate) image_cache: Option<PathBuf>,

    /// Most bytes of that folder
    #[arg(long, value_name = "SIZE", default_value = "4G", value_parser = values::size, requires = "image_cache")]
    pub(crate) image_cache_size: std::num::NonZero<u64>,

    /// How long an unused model stays in memory: 5m, 1h, 30s, or -1 for ever. Default: for ever
    /// with one model, else 5m
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = values::time)]
    pub(crate) keep_alive: Option<values::Time>,

    /// Memory for all models together, such as 12G. Default: nine tenths of what is free
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub(crate) memory: Option<std::num::NonZero<u64>>,

    /// Key that clients must show; repeatable: any of them will do
    #[arg(long, value_name = "KEY", env = "OCELLI_API_KEY", hide_env_values = true, help_heading = SAFETY)]
    pub(crate) api_key: Vec<String>,

    /// File with keys, one per line
    #[arg(long, value_name = "FILE", help_heading = SAFETY)]
    pub(crate) api_key_file: Option<PathBuf>,

    /// Let others connect without a key
    #[arg(long, help_heading = SAFETY)]
    pub(crate) insecure_no_auth: bool,

    /// Further host name by which clients may call this server; repeatable
    #[arg(long, value_name = "NAME", value_parser = values::host_name, help_heading = SAFETY)]
    pub(crate) allowed_host: Vec<String>,

    /// Web page that may use this server, such as https://example.org; repeatable
    #[arg(long, value_name = "ORIGIN", value_parser = values::origin, help_heading = SAFETY)]
    pub(crate) allowed_origin: Vec<String>,

    /// Let clients with different keys share cached prompts and pictures
    #[arg(long, help_heading = SAFETY)]
    pub(crate) share_prefix: bool,

    /// Fetch pictures from public addresses of the web
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "https", help_heading = SAFETY)]
    pub(crate) image_urls: Option<ImageUrls>,

    /// Folder whose picture files requests may name, such as file:cat.png; links in it are not followed
    #[arg(long, value_name = "FOLDER", help_heading = SAFETY)]
    pub(crate) media_dir: Option<PathBuf>,

    /// Refuse requests with unknown fields; they are answered with a warning otherwise
    #[arg(long)]
    pub(crate) strict: bool,

    /// Let this machine's ffmpeg read videos from clients that are not GIF, WebP or PNG
    #[arg(long, help_heading = SAFETY)]
    pub(crate) video_ffmpeg: bool,

    /// Host that pictures may be fetched from; repeatable. Default: every public one
    #[arg(long, value_name = "HOST", requires = "image_urls", help_heading = SAFETY)]
    pub(crate) image_url_host: Vec<String>,

    #[command(flatten)]
    pub(crate) how: HowArgs,
}

/// What happens to a conversation that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ContextPolicy {
    /// An error that lists what the tokens are for
    Error,
    /// Its oldest turns and pictures are dropped, and the answer says which
    DropOldest,
}

/// Which pictures of the web may be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImageUrls {
    /// Only by https
    #[value(alias = "public")]
    Https,
    /// By https or http
    Http,
}

const SAFETY: &str = "Access";

const SERVE_EXAMPLES: &str = "\
Examples:
  ocelli serve
  ocelli serve -m Qwen3VL-2B-Instruct-Q4_K_M.gguf --port 11434
  ocelli serve -m small=a.gguf,mmproj-a.gguf -m large=b.gguf --keep-alive 10m

When the server is ready, one line on standard error says where:
listening on http://127.0.0.1:8080";
