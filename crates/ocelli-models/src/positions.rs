//! Rotary positions of a prompt: where each token stands in time, height and width.
//!
//! Text advances on all three axes together. An image starts where the text before it ended; its
//! tokens keep one time and take their row and column as height and width; the text after it goes on
//! behind the longer side. A video is a pile of images, one a temporal patch, whose times advance; the
//! text after it goes on behind its largest position on any axis, as the models were trained. (HF 5.23
//! goes on behind the longer side and ignores the video's length.) Source: HF `get_rope_index`, paper of
//! Qwen2-VL, section 2.1.

use ocelli_image::Grid;

/// A run of a prompt, as positions see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Segment {
    /// So many text tokens (control tokens and image marks too).
    Text(usize),
    /// The rows of one picture, `grid.tokens()` of them.
    Image(Grid),
    /// The rows of one video, `grid.tokens()` of them, frame after frame.
    Video {
        /// Its size; `grid.t` temporal patches.
        grid: Grid,
        /// Time positions from one temporal patch to the next, see [`crate::TimeRule`].
        step: f64,
    },
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
            self.next = self.next.saturating_add(1);
        }
    }

    /// Temporal patches `step` time positions apart.
    fn push_grid(&mut self, grid: &Grid, step: f64) {
        let (rows, columns) = (grid.merged_h(), grid.merged_w());
        let start = self.next;
        // Whole positions, cut and not rounded, from the reference's single precision; the
        // conversion saturates.
        let time_of = |patch: u32| start.saturating_add((patch as f32 * step as f32) as u32);
        for patch in 0..grid.t {
            let time = time_of(patch);
            for row in 0..rows {
                for column in 0..columns {
                    self.tokens.push([
                        time,
                        start.saturating_add(row),
                        start.saturating_add(column),
                    ]);
                }
            }
        }
        let sides = start.saturating_add(rows.max(columns));
        let times = time_of(grid.t.saturating_sub(1)).saturating_add(1);
        self.next = sides.max(times);
    }
}

/// Positions of Qwen2-VL, Qwen2.5-VL and Qwen3-VL for text, still pictures and videos.
pub fn three_axis_positions(prompt: &[Segment]) -> Positions {
    let mut positions = Positions::default();
    for segment in prompt {
        match segment {
            Segment::Text(count) => positions.push_text(*count),
            Segment::Image(grid) => positions.push_grid(grid, 1.0),
            Segment::Video { grid, step } => positions.push_grid(grid, *step),
        }
    }
    positions
}

/// Positions of models that count tokens one by one, those of pictures too.
pub fn one_axis_positions(prompt: &[Segment]) -> Positions {
    let mut positions = Positions::default();
    for segment in prompt {
        positions.push_text(match segment {
            Segment::Text(count) => *count,
            Segment::Image(grid) | Segment::Video { grid, .. } => grid.tokens(),
        });
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
            tiles: None,
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

    /// Two tokens, a video of four temporal patches of 2 x 2 cells, three tokens: time of each
    /// temporal patch, positions of the text behind, and of the first generated token.
    fn video(step: f64) -> ([u32; 4], [u32; 3], u32) {
        let grid = Grid { t: 4, ..grid(4, 4) };
        let video = Segment::Video { grid, step };
        let got = three_axis_positions(&[Segment::Text(2), video, Segment::Text(3)]);
        assert_eq!(got.tokens.len(), 21);
        for patch in got.tokens[2..18].chunks(4) {
            let places: Vec<[u32; 2]> = patch.iter().map(|p| [p[1], p[2]]).collect();
            assert_eq!(places, [[2, 2], [2, 3], [3, 2], [3, 3]]);
        }
        let times = [2, 6, 10, 14].map(|row| got.tokens[row][0]);
        let behind = [18, 19, 20].map(|row| {
            assert_eq!(got.tokens[row], [got.tokens[row][0]; 3]);
            got.tokens[row][0]
        });
        (times, behind, got.next)
    }

    #[test]
    fn video_of_qwen2vl_advances_one_time_a_temporal_patch() {
        assert_eq!(video(1.0), ([2, 3, 4, 5], [6, 7, 8], 9));
    }

    #[test]
    fn video_of_qwen25vl_advances_with_its_seconds() {
        // Two positions a second; seconds of a temporal patch: 1, 0.5 and 2.5.
        assert_eq!(video(2.0 * 1.0), ([2, 4, 6, 8], [9, 10, 11], 12));
        assert_eq!(video(2.0 * 0.5), ([2, 3, 4, 5], [6, 7, 8], 9));
        assert_eq!(video(2.0 * 2.5), ([2, 7, 12, 17], [18, 19, 20], 21));
    }

    #[test]
    fn parts_of_a_time_position_are_cut() {
        assert_eq!(video(2.0 * 0.4), ([2, 2, 3, 4], [5, 6, 7], 8));
    }

    #[test]
    fn frames_of_qwen3vl_are_pictures_with_text_between() {
        let frame = Segment::Image(grid(4, 4));
        let got = three_axis_positions(&[
            Segment::Text(4),
            frame,
            Segment::Text(4),
            frame,
            Segment::Text(2),
        ]);
        let times: Vec<u32> = got.tokens.iter().map(|p| p[0]).collect();
        assert_eq!(
            times,
            [0, 1, 2, 3, 4, 4, 4, 4, 6, 7, 8, 9, 10, 10, 10, 10, 12, 13]
        );
        assert_eq!(got.tokens[7], [4, 5, 5]);
        assert_eq!(got.tokens[14], [10, 11, 10]);
        assert_eq!(got.next, 14);
    }

    #[test]
    fn no_step_of_time_overflows() {
        assert_eq!(video(f64::INFINITY).2, u32::MAX);
        assert_eq!(video(f64::NAN).0, [2; 4]);
    }

    #[test]
    fn on_one_axis_a_picture_counts_its_tokens() {
        let prompt = [
            Segment::Text(2),
            Segment::Image(grid(4, 6)),
            Segment::Text(1),
        ];
        let got = one_axis_positions(&prompt);
        assert_eq!(got.tokens, (0..9).map(|p| [p; 3]).collect::<Vec<_>>());
        assert_eq!(got.next, 9);
    }

    #[test]
    fn an_empty_prompt_starts_at_zero() {
        assert_eq!(three_axis_positions(&[]), Positions::default());
    }
}
