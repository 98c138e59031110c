//! Rotary positions of a prompt: where each token stands in time, height and width.
//!
//! Text advances on all three axes together. An image starts where the text before it ended; its
//! tokens keep one time and take their row and column as height and width; the text after it goes on
//! behind the longer side. Source: HF `get_rope_index`, original paper of Qwen2-VL section 2.1.

use ocelli_image::Grid;

/// A run of a prompt, as positions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// So many text tokens (control tokens and image marks too).
    Text(usize),
    /// The rows of one picture, `grid.tokens()` of them.
    Image(Grid),
}

/// Positions of a prompt's tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// `(time, height, width)` of each token.
    pub tokens: Vec<[u32; 3]>,
    /// The position, on all axes, of the first generated token.
    pub next: u32,
}

impl Positions {
    fn push_text(&mut self, count: usize) {
        for _ in 0..count {
            self.tokens.push([self.next; 3]);
            self.next += 1;
        }
    }

    fn push_image(&mut self, grid: &Grid) {
        let (rows, columns) = (grid.merged_h(), grid.merged_w());
        let start = self.next;
        for time in 0..grid.t {
            for row in 0..rows {
                for column in 0..columns {
                    self.tokens
                        .push([start + time, start + row, start + column]);
                }
            }
        }
        self.next += rows.max(columns).max(grid.t);
    }
}

/// Positions of Qwen2-VL, Qwen2.5-VL and Qwen3-VL for text and still pictures.
pub fn three_axis_positions(prompt: &[Segment]) -> Positions {
    let mut positions = Positions::default();
    for segment in prompt {
        match segment {
            Segment::Text(count) => positions.push_text(*count),
            Segment::Image(grid) => positions.push_image(grid),
        }
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(h: u32, w: u32) -> Grid {
        Grid {
            t: 1,
            h,
            w,
            merge: 2,
        }
    }

    #[test]
    fn two_images_between_text_stand_where_the_reference_puts_them() {
        let prompt = [
            Segment::Text(3),
            Segment::Image(grid(4, 6)),
            Segment::Text(3),
            Segment::Image(grid(6, 4)),
            Segment::Text(2),
        ];
        let got = three_axis_positions(&prompt);
        let axis = |a: usize| got.tokens.iter().map(|p| p[a]).collect::<Vec<_>>();
        assert_eq!(
            axis(0),
            [0, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7, 8, 9, 9, 9, 9, 9, 9, 12, 13]
        );
        assert_eq!(
            axis(1),
            [
                0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8, 9, 9, 10, 10, 11, 11, 12, 13
            ]
        );
        assert_eq!(
            axis(2),
            [
                0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, 9, 10, 9, 10, 9, 10, 12, 13
            ]
        );
        assert_eq!(got.next, 14);
    }

    #[test]
    fn an_empty_prompt_starts_at_zero() {
        assert_eq!(three_axis_positions(&[]), Positions::default());
    }
}
