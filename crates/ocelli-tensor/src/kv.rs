//! The key/value cache of text models, in pages that many sequences share.

use std::any::Any;

/// A page of the cache: a run of tokens in every layer of one group. Layers that look at every
/// earlier token are one group, layers that look back over a window the other; each counts its own
/// pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PageId(pub u32);

/// How far back a layer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerCache {
    /// Every earlier token.
    Full,
    /// The token itself and the `n - 1` before it.
    Window(usize),
}

/// One layer's part of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayer {
    /// How far back the layer looks.
    pub cache: LayerCache,
    /// Key/value heads.
    pub heads: usize,
    /// Elements of one head's key and of one head's value.
    pub dim: usize,
}

/// Element type that keys and values are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvElement {
    /// Exact, for verification.
    F32,
    /// Half the memory.
    F16,
    /// About half of that again: codes of 8 bits, with a scale in half precision for each
    /// [`KvElement::GROUP`] elements of a token's head.
    Q8,
}

impl KvElement {
    /// Elements that share a scale, where there are scales.
    pub const GROUP: usize = 32;

    /// Bytes of one token's key or value in a head of so many elements.
    pub fn head_bytes(self, dim: usize) -> usize {
        match self {
            Self::F32 => 4 * dim,
            Self::F16 => 2 * dim,
            Self::Q8 => dim + 2 * dim.div_ceil(Self::GROUP),
        }
    }
}

/// Shape of a cache.
#[derive(Clone, Debug)]
pub struct KvLayout {
    /// One entry a layer.
    pub layers: Vec<KvLayer>,
    /// Pages for layers that look at every earlier token.
    pub pages: usize,
    /// Pages for layers that look back over a window.
    pub near_pages: usize,
    /// Tokens in a page.
    pub page_tokens: usize,
    /// Element type.
    pub element: KvElement,
}

impl KvLayer {
    /// Bytes of one token's key and value.
    fn token_bytes(&self, element: KvElement) -> usize {
        2 * self.heads * element.head_bytes(self.dim)
    }
}

impl KvLayout {
    /// Pages of the group that a layer belongs to.
    pub fn pages_of(&self, layer: &KvLayer) -> usize {
        match layer.cache {
            LayerCache::Full => self.pages,
            LayerCache::Window(_) => self.near_pages,
        }
    }

    /// How far back the layers with a window look at most; `None` where there are none.
    pub fn window(&self) -> Option<usize> {
        let window = |layer: &KvLayer| match layer.cache {
            LayerCache::Full => None,
            LayerCache::Window(tokens) => Some(tokens),
        };
        self.layers.iter().filter_map(window).max()
    }

    /// Bytes of keys and values that a run of tokens adds: a layer with a window never sees more of
    /// them than that.
    pub fn bytes_of(&self, tokens: usize) -> u64 {
        let bytes = |layer: &KvLayer| {
            let seen = match layer.cache {
                LayerCache::Full => tokens,
                LayerCache::Window(window) => tokens.min(window),
            };
            (layer.token_bytes(self.element) as u64).saturating_mul(seen as u64)
        };
        self.layers.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Bytes of the whole cache.
    pub fn bytes(&self) -> u64 {
        let bytes = |layer: &KvLayer| {
            let page =
                (layer.token_bytes(self.element) as u64).saturating_mul(self.page_tokens as u64);
            page.saturating_mul(self.pages_of(layer) as u64)
        };
        self.layers.iter().map(bytes).fold(0, u64::saturating_add)
    }
}

/// A backend's cache, opaque to everyone else. Which page belongs to whom is the engine's business.
pub trait KvStore: Any + Send {
    /// The shape it was made with.
    fn layout(&self) -> &KvLayout;
    /// Copies a page of the layers that look at every earlier token over another one.
    fn copy_page(&mut self, from: PageId, to: PageId);
    /// For the backend that made it to get its own type back.
    fn as_any(&self) -> &dyn Any;
    /// For the backend that made it to get its own type back.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}
