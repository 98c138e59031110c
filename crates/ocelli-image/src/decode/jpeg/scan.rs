//! One scan: from bits to coefficients.

use super::frame::{Component, Frame};
use super::huffman::{Bits, Table};
use super::{ZIGZAG, corrupt};
use crate::{DecodeOptions, Error};

/// MCU rows of a sequential scan that are decoded before they are transformed.
const STRIP_ROWS: usize = 32;

/// What a scan header says.
pub(super) struct Scan {
    pub(super) members: Vec<Member>,
    pub(super) restart_interval: usize,
    options: DecodeOptions,
    kind: Kind,
    /// First and last coefficient, in zigzag order.
    band: (usize, usize),
    /// How many low bits are still missing after this scan.
    low_bits: u32,
}

/// A component in a scan.
pub(super) struct Member {
    pub(super) component: usize,
    dc_table: usize,
    ac_table: usize,
}

/// Which part of the coefficients a scan brings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// All, at once.
    Sequential,
    /// The upper bits of the mean.
    DcFirst,
    /// One more bit of it.
    DcRefine,
    /// The upper bits of a band.
    AcFirst,
    /// One more bit of it.
    AcRefine,
}

impl Scan {
    pub(super) fn parse(
        header: &[u8],
        frame: &Frame,
        options: &DecodeOptions,
    ) -> Result<Self, Error> {
        let wrong = || corrupt("the scan header is wrong");
        let count = usize::from(*header.first().ok_or_else(wrong)?);
        let listed = header.get(1..1 + 2 * count).ok_or_else(wrong)?;
        let mut members: Vec<Member> = Vec::new();
        for entry in listed.chunks_exact(2) {
            // Some writers give all components one identifier: they are meant in order then.
            let is_taken = |at| members.iter().any(|member| member.component == at);
            let mut components = frame.components.iter().enumerate();
            let (component, _) = components
                .find(|&(at, component)| component.id == entry[0] && !is_taken(at))
                .ok_or_else(wrong)?;
            let (dc_table, ac_table) = (usize::from(entry[1] >> 4), usize::from(entry[1] & 15));
            members.push(Member {
                component,
                dc_table,
                ac_table,
            });
        }
        let &[start, end, bits] = header
            .get(1 + 2 * count..)
            .and_then(<[u8]>::first_chunk)
            .ok_or_else(wrong)?;
        let (band, high_bits, low_bits) = (
            (usize::from(start), usize::from(end)),
            bits >> 4,
            u32::from(bits & 15),
        );
        let (kind, band, low_bits) = match (frame.progressive, band, high_bits) {
            (false, ..) => (Kind::Sequential, (0, 63), 0),
            (true, (0, 0), 0) => (Kind::DcFirst, band, low_bits),
            (true, (0, 0), _) => (Kind::DcRefine, band, low_bits),
            (true, (1.., ..=63), 0) => (Kind::AcFirst, band, low_bits),
            (true, (1.., ..=63), _) => (Kind::AcRefine, band, low_bits),
            _ => return Err(wrong()),
        };
        let is_alone = !matches!(kind, Kind::AcFirst | Kind::AcRefine) || count == 1;
        let follows = high_bits == 0 || u32::from(high_bits) == low_bits + 1 || !frame.progressive;
        if count == 0 || band.0 > band.1 || low_bits > 13 || !is_alone || !follows {
            return Err(wrong());
        }
        Ok(Self {
            members,
            restart_interval: 0,
            options: *options,
            kind,
            band,
            low_bits,
        })
    }

    /// Decodes the scan's data into the frame; returns what follows it.
    pub(super) fn run<'a>(
        &self,
        frame: &mut Frame,
        dc: &[Option<Table>; 4],
        ac: &[Option<Table>; 4],
        data: &'a [u8],
    ) -> Result<&'a [u8], Error> {
        let mut state = State {
            scan: self,
            bits: Bits::new(data),
            end_of_band: 0,
            predictions: [0; 4],
        };
        let tables = self
            .members
            .iter()
            .map(|member| self.tables(member, dc, ac))
            .collect::<Result<Vec<_>, _>>()?;
        // A scan of one component goes block by block over the picture, else over whole MCUs.
        let first = &frame.components[self.members[0].component];
        let (across, down) = if self.is_interleaved() {
            frame.mcus
        } else {
            first.blocks
        };
        let strip = if frame.progressive { down } else { STRIP_ROWS };
        let mut mcu = 0;
        for strip_start in (0..down).step_by(strip) {
            let rows = strip.min(down - strip_start);
            self.begin_strip(frame, rows);
            for row in 0..rows {
                self.options.check_time()?;
                for column in 0..across {
                    if self.restart_interval > 0 && mcu > 0 && mcu % self.restart_interval == 0 {
                        state.restart(mcu / self.restart_interval - 1)?;
                    }
                    for (m, member) in self.members.iter().enumerate() {
                        let component = &mut frame.components[member.component];
                        let result = state.mcu(m, component, &tables[m], row, column);
                        // Bits made up behind the end may mean anything.
                        result.map_err(|error| state.bits.check().err().unwrap_or(error))?;
                    }
                    mcu += 1;
                }
                state.bits.check()?;
            }
            self.end_strip(frame, strip_start)?;
        }
        for member in &self.members {
            let component = &mut frame.components[member.component];
            component.seen |= matches!(self.kind, Kind::Sequential | Kind::DcFirst);
        }
        Ok(state.bits.rest())
    }

    fn is_interleaved(&self) -> bool {
        self.members.len() > 1
    }

    /// Blocks of a component in an MCU: across and down.
    fn blocks_per_mcu(&self, component: &Component) -> (usize, usize) {
        if self.is_interleaved() {
            (component.h, component.v)
        } else {
            (1, 1)
        }
    }

    /// Makes room for the next `rows` MCU rows of a sequential scan.
    fn begin_strip(&self, frame: &mut Frame, rows: usize) {
        if self.kind != Kind::Sequential {
            return;
        }
        for member in &self.members {
            let component = &mut frame.components[member.component];
            let blocks = rows * self.blocks_per_mcu(component).1 * component.stride;
            component.coefficients.clear();
            component.coefficients.resize(blocks * 64, 0);
        }
    }

    /// Turns the coefficients of a sequential scan's strip into samples.
    fn end_strip(&self, frame: &mut Frame, start: usize) -> Result<(), Error> {
        if self.kind != Kind::Sequential {
            return Ok(());
        }
        for member in &self.members {
            let component = &mut frame.components[member.component];
            component.transform_rows(start * self.blocks_per_mcu(component).1)?;
        }
        Ok(())
    }

    fn tables<'t>(
        &self,
        member: &Member,
        dc: &'t [Option<Table>; 4],
        ac: &'t [Option<Table>; 4],
    ) -> Result<Tables<'t>, Error> {
        let tables = Tables {
            dc: dc.get(member.dc_table).and_then(Option::as_ref),
            ac: ac.get(member.ac_table).and_then(Option::as_ref),
        };
        let lacks_dc = matches!(self.kind, Kind::Sequential | Kind::DcFirst) && tables.dc.is_none();
        let lacks_ac = matches!(self.kind, Kind::Sequential | Kind::AcFirst | Kind::AcRefine)
            && tables.ac.is_none();
        if lacks_dc || lacks_ac {
            return Err(corrupt("a Huffman table is missing"));
        }
        Ok(tables)
    }
}

struct Tables<'t> {
    dc: Option<&'t Table>,
    ac: Option<&'t Table>,
}

/// Where decoding stands inside a scan.
struct State<'s, 'd> {
    scan: &'s Scan,
    bits: Bits<'d>,
    /// Blocks that still belong to an end-of-band run.
    end_of_band: u32,
    /// The mean of the block before, by member.
    predictions: [i32; 4],
}

impl State<'_, '_> {
    fn restart(&mut self, number: usize) -> Result<(), Error> {
        self.bits.restart(number)?;
        self.predictions = [0; 4];
        self.end_of_band = 0;
        Ok(())
    }

    /// One member's blocks of one MCU.
    fn mcu(
        &mut self,
        member: usize,
        component: &mut Component,
        tables: &Tables<'_>,
        row: usize,
        column: usize,
    ) -> Result<(), Error> {
        let (h, v) = self.scan.blocks_per_mcu(component);
        for y in 0..v {
            for x in 0..h {
                let place = (row * v + y) * component.stride + column * h + x;
                let block = &mut component.coefficients.as_chunks_mut::<64>().0[place];
                match (self.scan.kind, tables.dc, tables.ac) {
                    (Kind::Sequential, Some(dc), Some(ac)) => {
                        self.dc_first(member, block, dc)?;
                        self.ac_sequential(block, ac)?;
                    }
                    (Kind::DcFirst, Some(dc), _) => self.dc_first(member, block, dc)?,
                    (Kind::DcRefine, ..) => {
                        if self.bits.bit() {
                            block[0] |= 1 << self.scan.low_bits;
                        }
                    }
                    (Kind::AcFirst, _, Some(ac)) => self.ac_first(block, ac)?,
                    (Kind::AcRefine, _, Some(ac)) => self.ac_refine(block, ac)?,
                    _ => return Err(corrupt("a Huffman table is missing")),
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn dc_first(&mut self, member: usize, block: &mut [i16; 64], dc: &Table) -> Result<(), Error> {
        let size = u32::from(self.bits.symbol(dc)?);
        if size > 15 {
            return Err(corrupt("a coefficient is too large"));
        }
        let difference = self.bits.value(size);
        let prediction = &mut self.predictions[member];
        *prediction = prediction.wrapping_add(difference);
        block[0] = (*prediction << self.scan.low_bits) as i16;
        Ok(())
    }

    #[inline]
    fn ac_sequential(&mut self, block: &mut [i16; 64], ac: &Table) -> Result<(), Error> {
        let mut k = 1;
        while k < 64 {
            let symbol = self.bits.symbol(ac)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 {
                if run < 15 {
                    break;
                }
                k += 16;
                continue;
            }
            k += run;
            let place = ZIGZAG
                .get(k)
                .ok_or(corrupt("a block has too many coefficients"))?;
            block[usize::from(*place)] = self.bits.value(size) as i16;
            k += 1;
        }
        Ok(())
    }

    fn ac_first(&mut self, block: &mut [i16; 64], ac: &Table) -> Result<(), Error> {
        if self.end_of_band > 0 {
            self.end_of_band -= 1;
            return Ok(());
        }
        let (mut k, last) = self.scan.band;
        while k <= last {
            let symbol = self.bits.symbol(ac)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 {
                if run < 15 {
                    self.end_of_band = (1 << run) - 1 + self.bits.take(run);
                    break;
                }
                k += 16;
                continue;
            }
            k += run as usize;
            if k > last {
                return Err(corrupt("a block has too many coefficients"));
            }
            block[usize::from(ZIGZAG[k])] = (self.bits.value(size) << self.scan.low_bits) as i16;
            k += 1;
        }
        Ok(())
    }

    /// New coefficients of this bit are placed between those that are known, and these get one more bit as
    /// they are passed.
    fn ac_refine(&mut self, block: &mut [i16; 64], ac: &Table) -> Result<(), Error> {
        let (mut k, last) = self.scan.band;
        let unit = 1i16 << self.scan.low_bits;
        while self.end_of_band == 0 && k <= last {
            let symbol = self.bits.symbol(ac)?;
            let (mut run, size) = (u32::from(symbol >> 4), symbol & 15);
            let mut new = None;
            match (size, run) {
                (0, 15) => {}
                (0, _) => {
                    self.end_of_band = (1 << run) + self.bits.take(run);
                    break;
                }
                (1, _) => new = Some(if self.bits.bit() { unit } else { -unit }),
                _ => return Err(corrupt("a coefficient is too large")),
            }
            while let Some(place) = ZIGZAG.get(k).filter(|_| k <= last) {
                let coefficient = &mut block[usize::from(*place)];
                if *coefficient != 0 {
                    self.refine(coefficient, unit);
                } else if run == 0 {
                    if let Some(new) = new.take() {
                        *coefficient = new;
                    }
                    k += 1;
                    break;
                } else {
                    run -= 1;
                }
                k += 1;
            }
            if new.is_some() {
                self.bits.check()?;
                return Err(corrupt("a block has too many coefficients"));
            }
        }
        if self.end_of_band > 0 {
            for &place in &ZIGZAG[k.min(64)..=last] {
                let coefficient = &mut block[usize::from(place)];
                if *coefficient != 0 {
                    self.refine(coefficient, unit);
                }
            }
            self.end_of_band -= 1;
        }
        Ok(())
    }

    #[inline]
    fn refine(&mut self, coefficient: &mut i16, unit: i16) {
        if self.bits.bit() && *coefficient & unit == 0 {
            *coefficient = if *coefficient >= 0 {
                coefficient.wrapping_add(unit)
            } else {
                coefficient.wrapping_sub(unit)
            };
        }
    }
}
