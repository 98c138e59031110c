//! Keys of the caches: everything that changes the meaning of an entry, each part with its label and
//! length, under a secret, so that nobody can compute or guess another's key.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use sha2::{Digest as _, Sha256};

use crate::ImageKey;

/// A secret that nobody else knows.
pub(crate) type Secret = [u8; 32];

/// What the keys of one engine's caches are made with.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) pages: Secret,
    pub(crate) images: Secret,
    /// Names the projector's weights where entries outlive the process.
    pub(crate) projector: [u8; 32],
}

impl Keys {
    /// Secrets of this process.
    pub(crate) fn random() -> Self {
        Self {
            pages: random_secret(),
            images: random_secret(),
            projector: [0; 32],
        }
    }

    /// Where the keys of a prompt's pages begin, for requests of this salt.
    pub(crate) fn page_root(&self, salt: &[u8; 32]) -> [u8; 32] {
        keyed(&self.pages, &[("use", b"pages"), ("salt", salt)])
    }

    /// The key of a picture's features, for requests of this salt.
    pub(crate) fn image(&self, content: &ImageKey, salt: &[u8; 32]) -> ImageKey {
        keyed(
            &self.images,
            &[
                ("use", b"features"),
                ("projector", &self.projector),
                ("content", content),
                ("salt", salt),
            ],
        )
    }
}

/// The salt of requests that may share what is cached: those of one tenant (an API key's name) with the
/// same `cache_salt`.
pub fn cache_salt(tenant: &str, cache_salt: &str) -> [u8; 32] {
    let parts = [
        ("tenant", tenant.as_bytes()),
        ("salt", cache_salt.as_bytes()),
    ];
    keyed(&[0; 32], &parts)
}

/// HMAC-SHA-256 over labelled parts.
pub(crate) fn keyed(secret: &Secret, parts: &[(&str, &[u8])]) -> [u8; 32] {
    let block = |pad: u8| {
        let mut block = [pad; 64];
        block
            .iter_mut()
            .zip(secret)
            .for_each(|(byte, secret)| *byte ^= secret);
        block
    };
    let mut inner = Sha256::new();
    inner.update(block(0x36));
    for (label, value) in parts {
        for part in [label.as_bytes(), value] {
            inner.update((part.len() as u64).to_le_bytes());
            inner.update(part);
        }
    }
    let mut outer = Sha256::new();
    outer.update(block(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// A secret from the randomness that the system gives the standard library's hash maps.
pub(crate) fn random_secret() -> Secret {
    let state = RandomState::new();
    let mut secret = [0; 32];
    for (index, bytes) in (0_u64..).zip(secret.chunks_exact_mut(8)) {
        let mut hasher = state.build_hasher();
        hasher.write_u64(index);
        bytes.copy_from_slice(&hasher.finish().to_le_bytes());
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyed_hash_is_hmac_sha_256() {
        // RFC 4231's construction, computed with Python: hmac.new(bytes([7])*32, parts, sha256).
        let hex: String = keyed(&[7; 32], &[("a", b"bc")])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            hex,
            "174ca60cad6664cd64f2d5870341b83b971b4e44770c80ec371d381ec27ea7f6"
        );
    }

    #[test]
    fn parts_cannot_run_into_each_other_and_secrets_differ() {
        assert_ne!(cache_salt("ab", "c"), cache_salt("a", "bc"));
        assert_ne!(cache_salt("a", ""), cache_salt("", "a"));
        let (a, b) = (Keys::random(), Keys::random());
        assert_ne!(a.page_root(&[0; 32]), b.page_root(&[0; 32]));
        assert_ne!(a.image(&[1; 32], &[0; 32]), a.image(&[1; 32], &[1; 32]));
        assert_ne!(a.image(&[1; 32], &[0; 32]), a.image(&[2; 32], &[0; 32]));
    }
}
