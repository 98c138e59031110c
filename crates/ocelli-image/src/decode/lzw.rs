//! The packing of GIF's colour indices: LZW with codes of 2 to 12 bits, lowest bits first.

use super::gif::corrupt;
use crate::Error;

/// Undoes it: exactly `count` colour indices.
pub(super) fn unpack(data: &[&[u8]], code_bits: u8, count: usize) -> Result<Vec<u8>, Error> {
    if !(1..=8).contains(&code_bits) {
        return Err(corrupt("the code size is not 1 to 8"));
    }
    // One packed byte holds at most 2 codes of 4096 / 2 indices on average: a short file cannot claim much.
    let packed: usize = data.iter().map(|block| block.len()).sum();
    if count > packed.saturating_mul(8 * 4096) {
        return Err(corrupt("fewer pixels than the header announces"));
    }
    let mut table = CodeTable::new(code_bits);
    let mut indices = Vec::with_capacity(count);
    let (mut bits, mut held) = (0u32, 0u32);
    for &byte in data.iter().copied().flatten() {
        bits |= u32::from(byte) << held;
        held += 8;
        while held >= table.width {
            let code = (bits & ((1 << table.width) - 1)) as u16;
            bits >>= table.width;
            held -= table.width;
            match table.accept(code, &mut indices)? {
                Step::More if indices.len() < count => {}
                Step::More => {
                    indices.truncate(count);
                    return Ok(indices);
                }
                Step::End => break,
            }
        }
        if table.ended {
            break;
        }
    }
    if indices.len() < count {
        return Err(corrupt("fewer pixels than the header announces"));
    }
    Ok(indices)
}

enum Step {
    More,
    End,
}

const MAX_CODES: usize = 4096;

/// The growing table: each code is an earlier code and one more index.
struct CodeTable {
    prefix: Vec<u16>,
    suffix: Vec<u8>,
    length: Vec<u16>,
    clear: u16,
    next: usize,
    start_width: u32,
    width: u32,
    previous: Option<u16>,
    ended: bool,
}

impl CodeTable {
    fn new(code_bits: u8) -> Self {
        let clear = 1u16 << code_bits;
        let mut table = Self {
            prefix: vec![0; MAX_CODES],
            suffix: vec![0; MAX_CODES],
            length: vec![0; MAX_CODES],
            clear,
            next: usize::from(clear) + 2,
            start_width: u32::from(code_bits) + 1,
            width: u32::from(code_bits) + 1,
            previous: None,
            ended: false,
        };
        for index in 0..usize::from(clear) {
            table.suffix[index] = index as u8;
            table.length[index] = 1;
        }
        table
    }

    fn accept(&mut self, code: u16, out: &mut Vec<u8>) -> Result<Step, Error> {
        if code == self.clear {
            self.next = usize::from(self.clear) + 2;
            self.width = self.start_width;
            self.previous = None;
            return Ok(Step::More);
        }
        if code == self.clear + 1 {
            self.ended = true;
            return Ok(Step::End);
        }
        let known = usize::from(code) < self.next;
        let Some(previous) = self.previous else {
            if code > self.clear {
                return Err(corrupt("a code without a beginning"));
            }
            self.write(code, out);
            self.previous = Some(code);
            return Ok(Step::More);
        };
        if !known && usize::from(code) != self.next {
            return Err(corrupt("a code that does not exist"));
        }
        // A code that is just being made ends with the index it starts with.
        let start = out.len();
        self.write(if known { code } else { previous }, out);
        let first = out[start];
        if !known {
            out.push(first);
        }
        if self.next < MAX_CODES {
            self.prefix[self.next] = previous;
            self.suffix[self.next] = first;
            self.length[self.next] = self.length[usize::from(previous)] + 1;
            self.next += 1;
            if self.next == 1 << self.width && self.width < 12 {
                self.width += 1;
            }
        }
        self.previous = Some(code);
        Ok(Step::More)
    }

    fn write(&self, code: u16, out: &mut Vec<u8>) {
        let start = out.len();
        let length = usize::from(self.length[usize::from(code)]);
        out.resize(start + length, 0);
        let mut code = usize::from(code);
        for index in out[start..].iter_mut().rev() {
            *index = self.suffix[code];
            code = usize::from(self.prefix[code]);
        }
    }
}
