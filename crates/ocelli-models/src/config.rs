//! Hyper-parameters from metadata, checked before any tensor is touched.

use ocelli_gguf::{Gguf, Metadata};
use ocelli_tensor::{Activation, Heads, KvLayer, LayerCache};

use crate::parts::{DecoderLayer, DecoderMlp, GatedMlp, QkNorm, SelfAttention, TokenTable};
use crate::{Error, Scope, TextShape};

const MOST_LAYERS: u32 = 1024;
const MOST_HEADS: u32 = 1024;
const WIDEST: u32 = 65_536;
/// What bases, factors and deviations can be. Far beyond any model's, and so that what is computed
/// with them stays finite.
const SENSIBLE: std::ops::RangeInclusive<f32> = 1e-6..=1e12;

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

    fn missing(&self, name: &str) -> Error {
        self.invalid(format!("metadata key '{}' is missing", self.key(name)))
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

    /// A number of [`SENSIBLE`] size.
    pub(crate) fn positive(&self, name: &str, default: Option<f32>) -> Result<f32, Error> {
        let found = self.metadata().f32(&self.key(name))?;
        let value = found.or(default).ok_or_else(|| self.missing(name))?;
        self.sensible(name, value)
    }

    /// Refuses a value that is not of [`SENSIBLE`] size.
    pub(crate) fn sensible(&self, name: &str, value: f32) -> Result<f32, Error> {
        if !SENSIBLE.contains(&value) {
            let (least, most) = (SENSIBLE.start(), SENSIBLE.end());
            return Err(self.invalid(format!(
                "{name} is {value}, need a number from {least:e} to {most:e}"
            )));
        }
        Ok(value)
    }

    /// What keeps a norm from dividing by zero: from 0 to below 1. Families differ in it, so it is
    /// only guessed where all models that leave it out have the `usual` one.
    pub(crate) fn eps(&self, key: &str, shown: &str, usual: Option<f32>) -> Result<f32, Error> {
        let found = self.metadata().f32(&self.key(key))?;
        let value = found.or(usual).ok_or_else(|| self.missing(key))?;
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
    pub(crate) heads: Heads,
    pub(crate) norm_eps: f32,
}

impl TextConfig {
    pub(crate) fn read(keys: &Keys<'_>) -> Result<Self, Error> {
        Self::read_or(keys, None, None)
    }

    /// [`TextConfig::read`] for families whose files may leave out heads and the norms' epsilon,
    /// which all released models of their size have alike.
    pub(crate) fn read_or(
        keys: &Keys<'_>,
        usual_heads: Option<Heads>,
        usual_eps: Option<f32>,
    ) -> Result<Self, Error> {
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
            heads: read_heads(keys, layers, hidden, usual_heads)?,
            norm_eps: keys.eps(
                "attention.layer_norm_rms_epsilon",
                "rms_norm_eps",
                usual_eps,
            )?,
        })
    }

    /// Width of the layers' MLP.
    pub(crate) fn mlp_hidden(&self, keys: &Keys<'_>) -> Result<usize, Error> {
        let found = keys.uniform("feed_forward_length", self.layers, 1 << 20)?;
        found.ok_or_else(|| keys.invalid("feed_forward_length is missing"))
    }

    pub(crate) fn load_tokens(&self, root: &Scope<'_>) -> Result<TokenTable, Error> {
        TokenTable::load(root, (self.vocabulary, self.hidden), self.norm_eps)
    }

    pub(crate) fn load_attention(&self, scope: &Scope<'_>) -> Result<SelfAttention, Error> {
        SelfAttention::load(scope, self.hidden, self.heads, "attn_output")
    }

    pub(crate) fn load_qk_norm(&self, scope: &Scope<'_>) -> Result<QkNorm, Error> {
        QkNorm::load(scope, self.heads.dim, self.norm_eps)
    }

    /// A layer with a gated MLP.
    pub(crate) fn load_layer(
        &self,
        scope: &Scope<'_>,
        attention: SelfAttention,
        mlp_hidden: usize,
    ) -> Result<DecoderLayer, Error> {
        let mlp = GatedMlp::load(scope, self.hidden, mlp_hidden, Activation::Silu)?;
        let norms = (self.hidden, self.norm_eps);
        DecoderLayer::load(scope, norms, attention, DecoderMlp::Gated(mlp))
    }

    /// Every layer sees every earlier token.
    pub(crate) fn shape(&self, weight_bytes: usize) -> TextShape {
        let layer = KvLayer {
            cache: LayerCache::Full,
            heads: self.heads.key_value,
            dim: self.heads.dim,
        };
        TextShape {
            hidden: self.hidden,
            vocabulary: self.vocabulary,
            context_length: self.context_length,
            caches: vec![layer; self.layers],
            weight_bytes,
        }
    }
}

fn read_heads(
    keys: &Keys<'_>,
    layers: usize,
    hidden: usize,
    usual: Option<Heads>,
) -> Result<Heads, Error> {
    let query = keys
        .uniform("attention.head_count", layers, MOST_HEADS)?
        .or(usual.map(|heads| heads.query))
        .ok_or_else(|| keys.invalid("attention.head_count is missing"))?;
    let key_value = keys
        .uniform("attention.head_count_kv", layers, MOST_HEADS)?
        .or(usual.map(|heads| heads.key_value))
        .unwrap_or(query);
    if !query.is_multiple_of(key_value) {
        return Err(keys.invalid(format!(
            "head_count_kv {key_value} does not divide head_count {query}"
        )));
    }
    let usual_dim = usual.map(|heads| heads.dim as u32);
    let dim = match keys.u32("attention.key_length")?.or(usual_dim) {
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
