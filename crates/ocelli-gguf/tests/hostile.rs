//! No byte string makes the reader panic: deterministic damage to a small real file.

mod support;

use std::borrow::Cow;
use std::hint::black_box;

use ocelli_gguf::Gguf;
use support::small_model;

/// Opens and, when that works, looks at everything.
fn look(bytes: Vec<u8>) -> bool {
    let Ok(gguf) = Gguf::from_bytes("model.gguf", Cow::Owned(bytes)) else {
        return false;
    };
    for tensor in gguf.tensors() {
        black_box(gguf.data(tensor).iter().fold(0u8, |sum, byte| sum ^ byte));
        assert_eq!(gguf.tensor(tensor.name()), Some(tensor));
        black_box(tensor.elements());
    }
    let metadata = gguf.metadata();
    for (key, value) in metadata.iter() {
        black_box(value.to_string());
        assert!(metadata.get(key).is_some());
        for layers in [2, 40, usize::MAX] {
            let _ = black_box(metadata.per_layer_u32(key, layers));
        }
        let _ = black_box((metadata.u32(key), metadata.f32(key), metadata.bool(key)));
        let _ = black_box((metadata.f32_array(key), metadata.bool_array(key)));
        if let Ok(Some(strings)) = metadata.str_array(key) {
            assert_eq!(strings.iter().count(), strings.len());
            black_box(strings.get(strings.len()));
        }
    }
    gguf.unchanged().expect("bytes in memory do not change");
    true
}

fn header_bytes(whole: &[u8]) -> usize {
    let gguf = Gguf::from_bytes("model.gguf", Cow::Owned(whole.to_vec())).expect("a valid file");
    gguf.tensors()[0].offset() as usize
}

#[test]
fn every_flipped_bit_before_the_data_is_survived() {
    let whole = small_model();
    let header = header_bytes(&whole);
    let mut opened = 0;
    for bit in 0..header * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        opened += usize::from(look(bytes));
    }
    assert!(opened > 0, "some flips only change a value");
}

#[test]
fn every_length_is_survived() {
    let whole = small_model();
    for length in 0..whole.len() {
        look(whole[..length].to_vec());
    }
}

#[test]
fn extreme_numbers_in_every_place_are_survived() {
    let whole = small_model();
    for at in 0..header_bytes(&whole) - 8 {
        for extreme in [
            0,
            1,
            u64::MAX,
            1 << 63,
            1 << 31,
            0x7fff_ffff,
            1 << 40,
            0xffff_fff0,
        ] {
            let mut bytes = whole.clone();
            bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(extreme));
            look(bytes);
        }
    }
}

#[test]
fn random_damage_and_random_bytes_are_survived() {
    let whole = small_model();
    let header = header_bytes(&whole);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        // xorshift64: any fixed sequence will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..=random(6) {
            let (at, value) = (random(header), random(256) as u8);
            bytes[at] = value;
        }
        if random(4) == 0 {
            let (from, to) = (random(header), random(header));
            let length = random(64).min(header - from.max(to));
            bytes.copy_within(from..from + length, to);
        }
        look(bytes);
    }
    for _ in 0..2_000 {
        let mut bytes: Vec<u8> = (0..24 + random(300)).map(|_| random(256) as u8).collect();
        bytes[..8].copy_from_slice(b"GGUF\x03\0\0\0");
        for at in [8, 16] {
            bytes[at..at + 8].copy_from_slice(&(random(4) as u64).to_le_bytes());
        }
        look(bytes);
    }
}
