//! What services count, and under which names it is told.

use ocelli::service::Counters;

/// A number of a model.
pub(super) struct Row {
    /// Ours and those that routers look for.
    pub(super) names: &'static [&'static str],
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
    pub(super) read: fn(&Counters) -> f64,
}

const fn gauge(
    names: &'static [&'static str],
    help: &'static str,
    read: fn(&Counters) -> f64,
) -> Row {
    Row {
        names,
        kind: "gauge",
        help,
        read,
    }
}

const fn counter(
    names: &'static [&'static str],
    help: &'static str,
    read: fn(&Counters) -> f64,
) -> Row {
    Row {
        kind: "counter",
        ..gauge(names, help, read)
    }
}

pub(super) static ROWS: [Row; 22] = [
    gauge(
        &["vllm:num_requests_running", "ocelli_requests_running"],
        "Requests that run.",
        |c| c.running as f64,
    ),
    gauge(
        &["vllm:num_requests_waiting", "ocelli_requests_waiting"],
        "Requests that wait.",
        |c| c.waiting as f64,
    ),
    counter(
        &["vllm:prompt_tokens_total", "ocelli_prompt_tokens_total"],
        "Prompt tokens.",
        |c| c.prompt_tokens as f64,
    ),
    counter(
        &[
            "vllm:generation_tokens_total",
            "ocelli_generated_tokens_total",
        ],
        "Tokens of answers.",
        |c| c.generated_tokens as f64,
    ),
    counter(
        &[
            "vllm:spec_decode_num_draft_tokens_total",
            "ocelli_draft_tokens_total",
        ],
        "Guesses at tokens of answers that were run.",
        |c| c.draft_tokens as f64,
    ),
    counter(
        &[
            "vllm:spec_decode_num_accepted_tokens_total",
            "ocelli_draft_tokens_accepted_total",
        ],
        "Guesses that were right.",
        |c| c.draft_tokens_accepted as f64,
    ),
    counter(
        &["vllm:prefix_cache_queries_total"],
        "Prompt tokens that were looked for in the cache.",
        |c| c.prompt_tokens as f64,
    ),
    counter(
        &["vllm:prefix_cache_hits_total", "ocelli_cached_tokens_total"],
        "Prompt tokens found in the cache.",
        |c| c.cached_tokens as f64,
    ),
    gauge(
        &["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        "Share of the cache in use.",
        |c| c.pages_in_use as f64 / c.pages.max(1) as f64,
    ),
    counter(
        &["ocelli_image_cache_hits_total"],
        "Pictures whose features were found.",
        |c| c.feature_hits as f64,
    ),
    counter(
        &["ocelli_image_cache_misses_total"],
        "Pictures that had to be encoded.",
        |c| c.feature_misses as f64,
    ),
    gauge(
        &["ocelli_image_cache_bytes"],
        "Bytes of kept picture features.",
        |c| c.feature_bytes as f64,
    ),
    counter(
        &["ocelli_image_encodings_repeated_total"],
        "Pictures that were encoded again without rounding.",
        |c| c.encodings_repeated as f64,
    ),
    counter(
        &["ocelli_requests_repeated_total"],
        "Requests that went on without rounding.",
        |c| c.requests_repeated as f64,
    ),
    counter(&["ocelli_steps_total"], "Steps of the engine.", |c| {
        c.steps as f64
    }),
    counter(
        &["ocelli_requests_failed_total"],
        "Requests that failed.",
        |c| c.failed as f64,
    ),
    counter(
        &["ocelli_requests_cancelled_total"],
        "Requests whose client left.",
        |c| c.cancelled as f64,
    ),
    counter(&["ocelli_images_total"], "Pictures.", |c| c.images as f64),
    counter(
        &["ocelli_image_decode_seconds_total"],
        "Time spent decoding pictures.",
        |c| c.image_decode_us as f64 / 1e6,
    ),
    counter(
        &["ocelli_image_preprocess_seconds_total"],
        "Time spent resizing pictures.",
        |c| c.image_preprocess_us as f64 / 1e6,
    ),
    counter(
        &["ocelli_image_encode_seconds_total"],
        "Time spent encoding pictures.",
        |c| c.image_encode_us as f64 / 1e6,
    ),
    counter(
        &["ocelli_panics_total"],
        "Faults of the engine that were caught.",
        |c| c.panics as f64,
    ),
];
