//! The key/value cache of text models, in pages that many sequences share.

use std::any::Any;

/// A page of the cache: the same page id holds a run of tokens in every layer.
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
}

impl KvElement {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Shape of a cache.
#[derive(Clone, Debug)]
pub struct KvLayout {
    /// One entry a layer.
    pub layers: Vec<KvLayer>,
    /// Pages in the pool.
    pub pages: usize,
    /// Tokens in a page.
    pub page_tokens: usize,
    /// Element type.
    pub element: KvElement,
}

impl KvLayout {
    /// Bytes that one token takes over all layers.
    pub fn token_bytes(&self) -> usize {
        let elements: usize = self.layers.iter().map(|l| 2 * l.heads * l.dim).sum();
        elements * self.element.bytes()
    }

    /// Bytes of the whole cache.
    pub fn bytes(&self) -> usize {
        self.token_bytes() * self.page_tokens * self.pages
    }
}

/// A backend's cache, opaque to everyone else. Which page belongs to whom is the engine's business.
pub trait KvStore: Any + Send {
    /// The shape it was made with.
    fn layout(&self) -> &KvLayout;
    /// For the backend that made it to get its own type back.
    fn as_any(&self) -> &dyn Any;
    /// For the backend that made it to get its own type back.
    fn as_any_mut(&mut self) -> &mut dyn Any;
}
