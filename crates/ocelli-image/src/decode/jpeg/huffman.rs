//! Huffman tables and the reader of entropy-coded bits.

use super::{TRUNCATED, corrupt};
use crate::Error;

/// Codes up to this long are found with one look.
const QUICK_BITS: u32 = 9;

/// A Huffman code: from the next bits to a symbol.
pub(super) struct Table {
    /// By the next `QUICK_BITS` bits: length and symbol of the code, length 0 where it is longer.
    quick: [(u8, u8); 1 << QUICK_BITS],
    /// By length: one more than the last code, in 16 bits from the left; 0 where there is none.
    end: [u32; 17],
    /// By length: what to add to a code to get its place in `symbols`.
    offset: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// From the number of codes of each length 1 to 16 and their symbols.
    pub(super) fn new(counts: &[u8], symbols: &[u8]) -> Result<Self, Error> {
        let mut table = Self {
            quick: [(0, 0); 1 << QUICK_BITS],
            end: [0; 17],
            offset: [0; 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            let index = length as usize;
            table.offset[index] = place as i32 - code as i32;
            for &symbol in symbols
                .get(place..place + usize::from(count))
                .ok_or(corrupt("a Huffman table is too short"))?
            {
                if code >= 1 << length {
                    return Err(corrupt("a Huffman table has too many codes"));
                }
                if length <= QUICK_BITS {
                    let free = QUICK_BITS - length;
                    let first = (code << free) as usize;
                    table.quick[first..first + (1 << free)].fill((length as u8, symbol));
                }
                code += 1;
            }
            place += usize::from(count);
            table.end[index] = if count == 0 { 0 } else { code << (16 - length) };
            code <<= 1;
        }
        Ok(table)
    }
}

/// Bits of a scan up to the next marker, with the stuffing taken out.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    /// The next bits, from the left.
    held: u64,
    count: u32,
    /// Zero bits that were made up behind the end; they are the last ones in `held`.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            at: 0,
            held: 0,
            count: 0,
            made_up: 0,
        }
    }

    /// Everything from the next marker on. Reads to it if the scan has bytes left.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.data[self.at.min(self.data.len())..]
    }

    /// An error if bits behind the end were used.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.made_up > self.count {
            Err(TRUNCATED)
        } else {
            Ok(())
        }
    }

    /// Drops the rest of the byte and the restart marker that must follow.
    pub(super) fn restart(&mut self, number: usize) -> Result<(), Error> {
        self.check()?;
        (self.held, self.count, self.made_up) = (0, 0, 0);
        while self.data.get(self.at..self.at + 2) == Some(&[0xff, 0xff]) {
            self.at += 1;
        }
        match self.data.get(self.at..self.at + 2) {
            Some([0xff, marker]) if usize::from(*marker) == 0xd0 + number % 8 => self.at += 2,
            Some(_) => return Err(corrupt("a restart marker is missing")),
            None => return Err(TRUNCATED),
        }
        Ok(())
    }

    /// Makes at least 32 bits available.
    #[inline]
    fn fill(&mut self) {
        if self.count >= 32 {
            return;
        }
        // Four plain bytes at once; a 0xff among them needs care.
        if let Some(bytes) = self.data.get(self.at..).and_then(<[u8]>::first_chunk::<4>) {
            let word = u32::from_be_bytes(*bytes);
            let holds_ff = (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080;
            if holds_ff == 0 && self.made_up == 0 {
                self.held |= u64::from(word) << (32 - self.count);
                self.count += 32;
                self.at += 4;
                return;
            }
        }
        self.fill_carefully();
    }

    fn fill_carefully(&mut self) {
        while self.count <= 56 {
            let byte = match (self.data.get(self.at), self.data.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(0xff), _) | (None, _) => {
                    self.made_up += 8;
                    0
                }
                (Some(&byte), _) => {
                    self.at += 1;
                    byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next symbol. At least 16 more bits are available afterwards.
    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Error> {
        self.fill();
        let (length, symbol) = table.quick[(self.held >> (64 - QUICK_BITS)) as usize];
        if length > 0 {
            self.skip(u32::from(length));
            return Ok(symbol);
        }
        let next = (self.held >> 48) as u32;
        for length in QUICK_BITS + 1..=16 {
            if next < table.end[length as usize] {
                let place = (next >> (16 - length)) as i32 + table.offset[length as usize];
                self.skip(length);
                return table
                    .symbols
                    .get(place as usize)
                    .copied()
                    .ok_or(corrupt("a Huffman code is unknown"));
            }
        }
        self.check()?;
        Err(corrupt("a Huffman code is unknown"))
    }

    /// The next `count` bits, at most 16, that follow a symbol.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        let value = (self.held >> (64 - count)) as u32;
        self.skip(count);
        value
    }

    /// One bit, anywhere.
    #[inline]
    pub(super) fn bit(&mut self) -> bool {
        self.fill();
        self.take(1) == 1
    }

    /// The signed value of `size` bits that follow a symbol: small codes stand for negative values.
    #[inline]
    pub(super) fn value(&mut self, size: u32) -> i32 {
        if size == 0 {
            return 0;
        }
        let value = self.take(size) as i32;
        if value < 1 << (size - 1) {
            value - (1 << size) + 1
        } else {
            value
        }
    }

    #[inline]
    fn skip(&mut self, count: u32) {
        self.held <<= count;
        self.count -= count;
    }
}
