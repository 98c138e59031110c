//! A request on its way: what it asked, what of it is done, and where its keys and values are.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ocelli_models::{ImageFeatures, ImageRows, Positions, TextModel};
use ocelli_tensor::PageId;

use crate::answer::Answer;
use crate::join::Pace;
use crate::keys::Keys;
use crate::logprobs::Scores;
use crate::lookup::{Guess, Lookup};
use crate::table::{PageTable, Pools};
use crate::vision::Rounding;
use crate::{Drafts, Generate, ImageKey, PAGE_TOKENS, PageKey, Picture, Prompt, RowKey, Timings};

/// All mutable state of one request.
pub(crate) struct Sequence {
    pub(crate) prompt: Prompt,
    /// Their pixels go as soon as the features are known.
    pub(crate) pictures: Vec<Arc<Picture>>,
    /// Features of each picture, once it is encoded or found in the cache.
    pub(crate) features: Vec<Option<Arc<ImageFeatures>>>,
    /// Where each picture's features are kept.
    pub(crate) picture_keys: Vec<ImageKey>,
    /// Pictures that are being looked for on disk.
    pub(crate) on_disk: Vec<bool>,
    pub(crate) positions: Positions,
    pub(crate) table: PageTable,
    /// Content of each page that the prompt fills.
    keys: Vec<PageKey>,
    /// What stands before the first of them; none once its pages are not shared any more.
    root: Option<PageKey>,
    /// Tokens whose keys and values are in the pages.
    pub(crate) cached: usize,
    /// How many of them were there at the start.
    pub(crate) reused: usize,
    pub(crate) pace: Pace,
    /// Which backend runs it.
    pub(crate) rounding: Rounding,
    pub(crate) answer: Answer,
    /// How likely the prompt's tokens were, until all have run.
    pub(crate) scores: Option<Scores>,
    /// The token that was chosen last.
    pub(crate) last_token: u32,
    pub(crate) lookup: Lookup,
    /// What may come behind it.
    pub(crate) guess: Guess,
    pub(crate) drafts: Drafts,
    pub(crate) timings: Timings,
    /// When the present phase (encoding, prefill, decoding) began.
    pub(crate) since: Instant,
}

impl Sequence {
    pub(crate) fn new(
        request: Generate,
        answer: Answer,
        model: &dyn TextModel,
        keys: &Keys,
    ) -> Self {
        let (prompt, pictures, salt) = (request.prompt, request.pictures, request.salt);
        let root = keys.page_root(&salt);
        let picture_key = |picture: &Picture| keys.image(&picture.key, &salt);
        let scores = request.prompt_logprobs.map(Scores::new);
        // A page that is taken over has no logits, so that a prompt that is scored takes none.
        let (page_keys, root) = match scores {
            None => (prompt.page_keys(PAGE_TOKENS, &root), Some(root)),
            Some(_) => (Vec::new(), None),
        };
        Self {
            positions: model.positions(&prompt.segments),
            keys: page_keys,
            root,
            scores,
            picture_keys: pictures.iter().map(picture_key).collect(),
            on_disk: vec![false; pictures.len()],
            features: pictures.iter().map(|p| p.features.clone()).collect(),
            table: PageTable::default(),
            cached: 0,
            reused: 0,
            pace: Pace::Queued,
            rounding: Rounding::Usual,
            last_token: 0,
            lookup: Lookup::new(&request.prediction, &prompt),
            guess: Guess::default(),
            drafts: Drafts::default(),
            timings: Timings::default(),
            since: Instant::now(),
            prompt,
            pictures: pictures.into_iter().map(Arc::new).collect(),
            answer,
        }
    }

    /// Takes over pages that hold the beginning of the prompt already. The last token is always run,
    /// since its logits are wanted.
    pub(crate) fn reuse(&mut self, pools: &mut Pools) {
        assert_eq!(self.cached, self.reused, "nothing was run yet");
        self.table.give_back(pools);
        self.cached = self.table.reuse(pools, &self.keys[..self.most_reused()]);
        self.reused = self.cached;
    }

    /// Pages that can be taken over at most.
    fn most_reused(&self) -> usize {
        let most = (self.prompt.tokens.len() - 1) / PAGE_TOKENS;
        most.min(self.keys.len())
    }

    /// Content of the page that is run next, if it could be taken over.
    pub(crate) fn next_key(&self) -> Option<PageKey> {
        let keys = &self.keys[..self.most_reused()];
        keys.get(self.cached / PAGE_TOKENS).copied()
    }

    /// True when this sequence goes on by itself and its page number `page`, not yet full, will hold `key`.
    pub(crate) fn is_about_to_fill(&self, page: usize, key: &PageKey) -> bool {
        self.pace == Pace::Own
            && self.cached < (page + 1) * PAGE_TOKENS
            && self.keys.get(page) == Some(key)
    }

    /// Notes that tokens up to `cached` were run: others can share the prompt's pages that are
    /// full, and pages that no later token sees are given back.
    pub(crate) fn ran(&mut self, pools: &mut Pools, cached: usize) {
        let before = std::mem::replace(&mut self.cached, cached);
        self.table.ran(pools, &self.keys, cached);
        self.describe(pools, before, cached);
    }

    /// Says what the prompt's rows are in each page that was filled since, and in the one that the
    /// prompt ends in.
    fn describe(&self, pools: &mut Pools, before: usize, cached: usize) {
        let end = self.prompt.tokens.len();
        let is_over = cached >= end;
        if before >= end {
            return;
        }
        let first = before / PAGE_TOKENS;
        let last = match is_over {
            true => end.div_ceil(PAGE_TOKENS),
            false => cached / PAGE_TOKENS,
        };
        for page in first..last {
            let Some(key) = self.before(page) else {
                return;
            };
            let rows = page * PAGE_TOKENS..end.min((page + 1) * PAGE_TOKENS);
            self.table
                .describe(pools, page, (key, self.prompt.rows(rows)));
        }
    }

    /// What stands before a page of the prompt.
    fn before(&self, page: usize) -> Option<PageKey> {
        match page.checked_sub(1) {
            None => self.root,
            Some(page) => self.keys.get(page).copied(),
        }
    }

    /// The rows of the prompt from here to the end of the page, the last one of the prompt left
    /// out, and what stands before the page. None in the middle of a page.
    fn next_rows(&self) -> Option<(PageKey, Vec<RowKey>)> {
        let page = self.cached / PAGE_TOKENS;
        let end = (self.prompt.tokens.len() - 1).min((page + 1) * PAGE_TOKENS);
        let is_open = self.cached.is_multiple_of(PAGE_TOKENS) && self.cached < end;
        let before = self.before(page).filter(|_| is_open)?;
        Some((before, self.prompt.rows(self.cached..end)))
    }

    /// Takes over rows of the page that is run next from one that begins with the same: which page
    /// is to be copied where.
    pub(crate) fn reuse_rows(&mut self, pools: &mut Pools) -> Option<(PageId, PageId)> {
        let (before, rows) = self.next_rows()?;
        let (from, to, count) = self.table.take_rows(pools, &before, &rows)?;
        self.cached += count;
        self.reused = self.cached;
        Some((from, to))
    }

    /// True when this sequence goes on by itself and will have run everything that another one's
    /// prompt still needs but its last row: the rest of the page that both end in.
    pub(crate) fn is_about_to_end_as(&self, other: &Self) -> bool {
        let Some((before, rows)) = other.next_rows() else {
            return false;
        };
        let (start, end) = (other.cached, other.cached + rows.len());
        // Its rows are told when the page is full or the prompt at its end.
        let told = self.prompt.tokens.len().min(start + PAGE_TOKENS);
        self.pace == Pace::Own
            && end + 1 == other.prompt.tokens.len()
            && rows.len() > 1
            && self.cached < told
            && self.before(start / PAGE_TOKENS) == Some(before)
            && self.prompt.tokens.len() >= end
            && self.prompt.rows(start..end) == rows
    }

    /// Goes on without rounding. Its pages are not shared any more: others' are rounded, so that
    /// what they say does not depend on who came before.
    pub(crate) fn stop_rounding(&mut self) {
        self.rounding = Rounding::Without;
        self.keys.clear();
        self.root = None;
    }

    /// Begins the prompt again, with pages of its own.
    pub(crate) fn begin_again(&mut self, pools: &mut Pools) {
        self.table.forget(pools);
        self.table.give_back(pools);
        (self.cached, self.reused) = (0, 0);
        if let Some(scores) = &mut self.scores {
            scores.clear();
        }
    }

    /// Takes the features of a picture. Nothing looks at its pixels any more, and an answer may take long.
    pub(crate) fn set_features(&mut self, image: usize, features: Arc<ImageFeatures>) {
        let picture = &self.pictures[image];
        let known = Picture::known(picture.patches.grid, picture.key, Arc::clone(&features));
        self.pictures[image] = Arc::new(known);
        self.features[image] = Some(features);
    }

    /// The next picture that has to be encoded before the prompt can go on; none while it is being
    /// looked for on disk.
    pub(crate) fn next_picture(&self) -> Option<usize> {
        let open = |span: &&crate::ImageSpan| {
            span.tokens.end > self.cached && self.features[span.image].is_none()
        };
        let image = self.prompt.images.iter().find(open)?.image;
        (!self.on_disk[image]).then_some(image)
    }

    /// Prompt tokens that can be run: all before the first picture that is not encoded, none while
    /// another runs them.
    pub(crate) fn ready(&self) -> usize {
        if self.pace != Pace::Own {
            return self.cached;
        }
        let open = |span: &&crate::ImageSpan| {
            span.tokens.end > self.cached && self.features[span.image].is_none()
        };
        let first = self.prompt.images.iter().find(open);
        first.map_or(self.prompt.tokens.len(), |span| span.tokens.start)
    }

    /// The pictures' rows among the prompt's `tokens`, which begin at row `row` of a step.
    pub(crate) fn image_rows(&self, tokens: Range<usize>, row: usize) -> Vec<ImageRows<'_>> {
        let (start, end) = (tokens.start, tokens.end);
        let overlaps =
            |span: &&crate::ImageSpan| span.tokens.start < end && span.tokens.end > start;
        self.prompt
            .images
            .iter()
            .filter(overlaps)
            .filter_map(|span| {
                let features = self.features[span.image].as_deref()?;
                let first = span.tokens.start.max(start);
                let last = span.tokens.end.min(end);
                let offset = span.from.start + first - span.tokens.start;
                Some(ImageRows {
                    features,
                    from: offset..offset + last - first,
                    rows: row + first - start..row + last - start,
                })
            })
            .collect()
    }

    /// Those of the prompt's `tokens` whose logits are wanted: all where they are scored, else the
    /// last one of the prompt.
    pub(crate) fn output_rows(&self, tokens: &Range<usize>) -> Range<usize> {
        match &self.scores {
            Some(_) => tokens.clone(),
            None if tokens.end == self.prompt.tokens.len() => tokens.end - 1..tokens.end,
            None => tokens.end..tokens.end,
        }
    }

    /// Tokens that a step runs behind those that are cached: the last one, and guesses behind it.
    pub(crate) fn next_tokens(&self) -> impl Iterator<Item = u32> {
        let guessed = self.guess.in_step().iter().copied();
        std::iter::once(self.last_token).chain(guessed)
    }

    /// Positions of these tokens, the same on all axes.
    pub(crate) fn next_positions(&self) -> impl Iterator<Item = [u32; 3]> {
        let before = self.answer.tokens.len().saturating_sub(1) as u32;
        let first = self.positions.next.saturating_add(before);
        (0..=self.guess.rows as u32).map(move |i| [first.saturating_add(i); 3])
    }

    /// Time since the phase began; the next phase begins now.
    pub(crate) fn lap(&mut self) -> std::time::Duration {
        let now = Instant::now();
        let lap = now.duration_since(self.since);
        self.since = now;
        lap
    }
}
