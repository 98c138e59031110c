//! Hyper-parameters from metadata, checked before any tensor is touched.

use ocelli_gguf::{Gguf, Metadata};
use ocelli_tensor::Heads;

use crate::Error;

const MOST_LAYERS: u32 = 1024;
const MOST_HEADS: u32 = 1024;
const WIDEST: u32 = 65_536;

/// Metadata below one prefix: `qwen3vl.` or `clip.vision.`.
pub(crate) struct Keys<'a> {
    gguf: &'a Gguf,
    prefix: String,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(gguf: &'a Gguf, prefix: &str) -> Self {
        Self {
            gguf,
            prefix: format!("{prefix}."),
        }
    }

    pub(crate) fn metadata(&self) -> &'a Metadata {
        self.gguf.metadata()
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) fn invalid(&self, what: impl Into<String>) -> Error {
        Error::Invalid {
            file: self.gguf.name().to_owned(),
            what: what.into(),
        }
    }

    pub(crate) fn u32(&self, name: &str) -> Result<Option<u32>, Error> {
        Ok(self.metadata().u32(&self.key(name))?)
    }

    /// A count in `1..=most`.
    pub(crate) fn count(&self, name: &str, most: u32) -> Result<usize, Error> {
        let value = self.metadata().required_u32(&self.key(name))?;
        self.in_range(name, value, most)
    }

    fn in_range(&self, name: &str, value: u32, most: u32) -> Result<usize, Error> {
        if !(1..=most).contains(&value) {
            return Err(self.invalid(format!("{name} is {value}, need 1..={most}")));
        }
        Ok(value as usize)
    }

    /// A count that may be written once or once a layer; all layers must agree.
    pub(crate) fn uniform(
        &self,
        name: &str,
        layers: usize,
        most: u32,
    ) -> Result<Option<usize>, Error> {
        let Some(values) = self.metadata().per_layer_u32(&self.key(name), layers)? else {
            return Ok(None);
        };
        let first = values.first().copied().unwrap_or(0);
        if let Some(other) = values.iter().find(|v| **v != first) {
            return Err(self.invalid(format!(
                "{name} differs between layers ({first} and {other}), need one value"
            )));
        }
        self.in_range(name, first, most).map(Some)
    }

    /// A finite number above zero.
    pub(crate) fn positive(&self, name: &str, default: Option<f32>) -> Result<f32, Error> {
        let found = self.metadata().f32(&self.key(name))?;
        let Some(value) = found.or(default) else {
            return Err(self.invalid(format!("metadata key '{}' is missing", self.key(name))));
        };
        if value.is_nan() {
            return Err(self.invalid(format!("{name} is NaN, need a number above 0")));
        }
        if !(value.is_finite() && value > 0.0) {
            return Err(self.invalid(format!("{name} is {value}, need a finite number above 0")));
        }
        Ok(value)
    }

    /// Like [`Keys::positive`], but zero is allowed.
    pub(crate) fn eps(&self, key: &str, shown: &str) -> Result<f32, Error> {
        let value = self.metadata().f32(&self.key(key))?.unwrap_or(1e-6);
        if value.is_nan() {
            return Err(self.invalid(format!("{shown} is NaN, need 0..1")));
        }
        if !(0.0..1.0).contains(&value) {
            return Err(self.invalid(format!("{shown} is {value}, need 0..1")));
        }
        Ok(value)
    }
}

/// What all text decoders of the LLaMA kind are described by.
#[derive(Clone, Debug)]
pub(crate) struct TextConfig {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) vocabulary: usize,
    pub(crate) context_length: usize,
    pub(crate) mlp_hidden: Option<usize>,
    pub(crate) heads: Heads,
    pub(crate) norm_eps: f32,
    pub(crate) rope_theta: f32,
}

impl TextConfig {
    pub(crate) fn read(keys: &Keys<'_>) -> Result<Self, Error> {
        let layers = keys.count("block_count", MOST_LAYERS)?;
        let hidden = keys.count("embedding_length", WIDEST)?;
        let embedding = keys.gguf.tensor("token_embd.weight");
        let shape = embedding.map_or(&[][..], |info| info.shape());
        let &[width, rows] = shape else {
            return Err(keys.invalid("missing tensor 'token_embd.weight' of two dimensions"));
        };
        if width != hidden as u64 {
            return Err(keys.invalid(format!(
                "embedding_length {hidden} but token_embd has {width}"
            )));
        }
        Ok(Self {
            layers,
            hidden,
            vocabulary: usize::try_from(rows).unwrap_or(usize::MAX),
            context_length: keys.count("context_length", u32::MAX)?,
            mlp_hidden: keys.uniform("feed_forward_length", layers, 1 << 20)?,
            heads: read_heads(keys, layers, hidden)?,
            norm_eps: keys.eps("attention.layer_norm_rms_epsilon", "rms_norm_eps")?,
            rope_theta: keys.positive("rope.freq_base", Some(10_000.0))?,
        })
    }
}

fn read_heads(keys: &Keys<'_>, layers: usize, hidden: usize) -> Result<Heads, Error> {
    let query = keys
        .uniform("attention.head_count", layers, MOST_HEADS)?
        .ok_or_else(|| keys.invalid("attention.head_count is missing"))?;
    let key_value = keys
        .uniform("attention.head_count_kv", layers, MOST_HEADS)?
        .unwrap_or(query);
    if !query.is_multiple_of(key_value) {
        return Err(keys.invalid(format!(
            "head_count_kv {key_value} does not divide head_count {query}"
        )));
    }
    let dim = match keys.u32("attention.key_length")? {
        Some(dim) => dim as usize,
        None if hidden.is_multiple_of(query) => hidden / query,
        None => {
            return Err(keys.invalid(format!(
                "head_count {query} does not divide n_embd {hidden}"
            )));
        }
    };
    let value_dim = keys.u32("attention.value_length")?.unwrap_or(dim as u32) as usize;
    if dim != value_dim || dim == 0 || !dim.is_multiple_of(2) || dim > 1024 {
        return Err(keys.invalid(format!(
            "key_length {dim} and value_length {value_dim}, need equal even lengths up to 1024"
        )));
    }
    Ok(Heads {
        query,
        key_value,
        dim,
    })
}

/// How rotary frequencies are shared among axes: three entries, or four with a zero at the end.
pub(crate) fn rope_sections(
    keys: &Keys<'_>,
    half_dim: usize,
    default: Option<[usize; 3]>,
) -> Result<[usize; 3], Error> {
    let mut found = keys
        .metadata()
        .i32_array(&keys.key("rope.dimension_sections"))?;
    if found.is_none() {
        found = keys.metadata().i32_array(&keys.key("rope.mrope_section"))?;
    }
    let sections = match (found.as_deref(), default) {
        (Some([t, h, w]) | Some([t, h, w, 0]), _) if [t, h, w].iter().all(|n| **n >= 0) => {
            [*t as usize, *h as usize, *w as usize]
        }
        (Some(other), _) => {
            return Err(keys.invalid(format!(
                "rope.dimension_sections is {other:?}, need time, height, width and at most a 0"
            )));
        }
        (None, Some(default)) => default,
        (None, None) => {
            return Err(keys.invalid(
                "rope.dimension_sections is missing; without it image positions are unknown",
            ));
        }
    };
    if sections.iter().sum::<usize>() != half_dim {
        return Err(keys.invalid(format!(
            "rope.dimension_sections {sections:?} add up to {}, need {half_dim} (half of a head)",
            sections.iter().sum::<usize>()
        )));
    }
    Ok(sections)
}
