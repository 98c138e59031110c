//! Runs a golden case on the CPU backend at the models' level and collects its stages.

use std::ops::Range;

use ocelli_cpu::{CpuBackend, CpuOptions, Precision};
use ocelli_gguf::{Array, Gguf, Value};
use ocelli_image::{Budget, DecodeOptions, RgbImage};
use ocelli_models::registry::{check_fit, join, load_text, load_vision};
use ocelli_models::{
    ImageFeatures, ImageRows, Join, LaidOut, Progress, Segment, Step, TextModel, VisionModel,
    run_step,
};
use ocelli_tensor::{
    Backend as _, KvElement, KvLayout, KvStore, Memory, PageId, Pass, Probe, Span, Stage,
};
use ocelli_testkit::{Case, Stages};

/// Elements of temporaries; the tiny models need far less.
pub(crate) const MEMORY: usize = 1 << 24;
const PAGE_TOKENS: usize = 16;
pub(crate) const PAGES: u32 = 64;

/// A loaded pair.
pub(crate) struct Model {
    pub(crate) backend: CpuBackend,
    pub(crate) text: Box<dyn TextModel>,
    pub(crate) vision: Option<Box<dyn VisionModel>>,
    join: Option<&'static Join>,
    image_token: Option<u32>,
}

/// The backend of all runs: it rounds nothing.
pub(crate) fn backend() -> CpuBackend {
    let options = CpuOptions {
        threads: Some(2),
        precision: Precision::F32,
        ..CpuOptions::default()
    };
    CpuBackend::new(&options).unwrap()
}

impl Model {
    /// Opens a pair; a merged file is given as both.
    pub(crate) fn load(
        text: &Gguf,
        projector: Option<&Gguf>,
    ) -> Result<Self, ocelli_models::Error> {
        let backend = backend();
        let model = load_text(text, &backend, &|_| ())?;
        let vision = projector
            .map(|file| load_vision(file, &backend, &|_| ()))
            .transpose()?;
        let join = projector.map(|file| join(text, file)).transpose()?;
        if let (Some(file), Some(vision)) = (projector, &vision) {
            check_fit((text, model.as_ref()), (file, vision.as_ref()))?;
        }
        Ok(Self {
            backend,
            text: model,
            vision,
            image_token: join.map(|join| token(text, join.image_token)),
            join,
        })
    }

    /// An empty cache of [`PAGES`] pages.
    pub(crate) fn cache(&self) -> Box<dyn KvStore> {
        self.backend.kv_store(KvLayout {
            layers: self.text.caches(),
            pages: PAGES as usize,
            near_pages: PAGES as usize,
            page_tokens: PAGE_TOKENS,
            element: KvElement::F32,
        })
    }

    /// All stages of a case; the prompt runs in steps of at most `chunk` tokens.
    pub(crate) fn run(&self, case: &Case, chunk: usize) -> Stages {
        let mut run = Run {
            model: self,
            memory: Memory::reserve(&self.backend, MEMORY),
            stages: Recorder::default(),
        };
        let features = run.images(case);
        run.text(case, &features, chunk);
        run.stages.finish()
    }
}

/// The id of a token by its text.
fn token(file: &Gguf, text: &str) -> u32 {
    let Some(Value::Array(Array::String(tokens))) = file.metadata().get("tokenizer.ggml.tokens")
    else {
        panic!("{}: no tokens", file.name());
    };
    let found = tokens.iter().position(|token| token == text);
    found.unwrap_or(tokens.len()) as u32
}

struct Run<'a> {
    model: &'a Model,
    memory: Memory,
    stages: Recorder,
}

impl Run<'_> {
    fn images(&mut self, case: &Case) -> Vec<ImageFeatures> {
        let mut shown = Vec::new();
        for path in &case.images {
            let bytes = std::fs::read(path).unwrap();
            let picture = ocelli_image::decode(&bytes, &DecodeOptions::default()).unwrap();
            let crops = self.model.join.and_then(|join| join.crops);
            let crops = crops.filter(|_| case.pan_and_scan);
            let (width, height) = (picture.image.width, picture.image.height);
            let crops = crops.map_or_else(Vec::new, |crops| crops(width, height));
            let parts: Vec<RgbImage> = crops.iter().map(|c| c.of(&picture.image)).collect();
            shown.push(picture.image);
            shown.extend(parts);
        }
        let encode = |(index, picture): (usize, RgbImage)| {
            let vision = self.model.vision.as_deref().expect("a pair with eyes");
            let tokens = case.image_tokens.clone().expect("a budget for pictures");
            let factor = vision.budget().factor;
            let budget = Budget::from_tokens(factor, *tokens.start(), *tokens.end()).unwrap();
            let patches = vision.preprocess(&[picture], &budget).unwrap();
            let grid = patches.grid;
            let [t, h, w] = [grid.t, grid.h, grid.w].map(|n| n as i32);
            self.stages
                .integers(&format!("image.{index}.grid"), &[3], vec![t, h, w]);
            let pixels = format!("image.{index}.pixels");
            if case.stages.get(&pixels).is_some() {
                let columns = patches.pixels.len() / grid.patches();
                self.stages.floats(&pixels, columns, &patches.pixels);
            }
            let stages = &mut self.stages;
            let mut see = |stage: Stage<'_>| {
                let name = format!("vision.{index}.{}", stage.name);
                stages.floats(&name, stage.columns, stage.values);
            };
            let mark = self.memory.mark();
            let mut pass = Pass::new(&self.model.backend, &mut self.memory, Probe::On(&mut see));
            let mut encoding = vision.begin(&mut pass, &patches);
            let features = loop {
                if let Progress::Done(done) = vision.advance(&mut pass, &mut encoding, 1) {
                    break done;
                }
            };
            self.memory.release(mark);
            features
        };
        shown.into_iter().enumerate().map(encode).collect()
    }

    fn text(&mut self, case: &Case, features: &[ImageFeatures], chunk: usize) {
        let tokens = case.prompt_tokens();
        let (segments, places) = self.segments(&tokens, features);
        let positions = self.model.text.positions(&segments);
        let rows = (0..3)
            .flat_map(|axis| positions.tokens.iter().map(move |p| p[axis] as i32))
            .collect();
        let count = tokens.len();
        self.stages.integers("prompt.positions", &[3, count], rows);
        let integers = tokens.iter().map(|t| *t as i32).collect();
        self.stages.integers("prompt.tokens", &[count], integers);

        let mut kv = self.model.cache();
        let mut logits = Vec::new();
        let is_block = |place: &&Place| place.is_block;
        let blocks: Vec<Range<usize>> = places
            .iter()
            .filter(is_block)
            .map(|place| place.tokens.clone())
            .collect();
        let mut start = 0;
        while start < count {
            let end = count.min(start.saturating_add(chunk));
            let cut = blocks.iter().find(|b| b.start < end && end < b.end);
            let rows = start..cut.map_or(end, |block| block.end);
            let images: Vec<ImageRows<'_>> = places
                .iter()
                .filter_map(|place| image_rows(place, &features[place.image], &rows))
                .collect();
            let input = (&tokens[rows.clone()], &positions.tokens[rows.clone()]);
            let pictures = (&images[..], &blocks[..]);
            logits = self.step(kv.as_mut(), input, (start, rows.len()), pictures);
            start = rows.end;
        }
        self.stages.vector("logits", &logits);
        let mut answer = Vec::new();
        for k in 0..case.decode {
            self.stages.vector(&format!("decode.{k}.logits"), &logits);
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
            answer.push(best.unwrap_or(0) as i32);
            if k + 1 < case.decode {
                let token = [answer[k] as u32];
                let position = [[positions.next + k as u32; 3]];
                let input = (&token[..], &position[..]);
                logits = self.step(kv.as_mut(), input, (count + k, 0), (&[], &[]));
            }
        }
        let length = answer.len();
        self.stages.integers("decode.tokens", &[length], answer);
    }

    /// Segments of the prompt, and where each picture's tokens stand in it.
    fn segments(&self, tokens: &[u32], features: &[ImageFeatures]) -> (Vec<Segment>, Vec<Place>) {
        let (mut segments, mut places) = (Vec::new(), Vec::new());
        let (mut at, mut image) = (0, 0);
        while at < tokens.len() {
            if Some(tokens[at]) != self.model.image_token {
                segments.push(Segment::Text(1));
                at += 1;
                continue;
            }
            let grid = features.get(image).expect("a picture a run of pads").grid;
            let pieces = (self.model.join.expect("a join").lay_out)(&grid);
            let (is_whole, mut first) = (pieces.len() == 1, 0);
            for piece in pieces {
                let (LaidOut::Rows(rows) | LaidOut::Block(rows)) = piece else {
                    segments.push(Segment::Text(1));
                    at += 1;
                    continue;
                };
                assert!(
                    tokens[at..at + rows]
                        .iter()
                        .all(|t| Some(*t) == self.model.image_token)
                );
                match is_whole {
                    true => segments.push(Segment::Image(grid)),
                    false => segments.push(Segment::Text(rows)),
                }
                places.push(Place {
                    image,
                    first,
                    tokens: at..at + rows,
                    is_block: matches!(piece, LaidOut::Block(_)),
                });
                (at, first) = (at + rows, first + rows);
            }
            assert_eq!(first, grid.tokens(), "every row is laid out");
            image += 1;
        }
        (segments, places)
    }

    /// Logits of the last row.
    fn step(
        &mut self,
        kv: &mut dyn KvStore,
        (tokens, positions): (&[u32], &[[u32; 3]]),
        (cached, prompt_rows): (usize, usize),
        (images, both_ways): (&[ImageRows<'_>], &[Range<usize>]),
    ) -> Vec<f32> {
        let pages: Vec<PageId> = (0..PAGES).map(PageId).collect();
        let spans = [Span {
            rows: 0..tokens.len(),
            cached,
            pages: &pages,
            near_pages: &pages,
            both_ways,
        }];
        let step = Step {
            tokens,
            positions,
            prompt_rows,
            spans: &spans,
            images,
            output_rows: &[tokens.len() - 1],
        };
        let stages = &mut self.stages;
        let mut see = |stage: Stage<'_>| {
            if prompt_rows > 0 {
                let name = format!("text.{}", stage.name);
                stages.floats(&name, stage.columns, stage.values);
            }
        };
        let mark = self.memory.mark();
        let probe = Probe::On(&mut see);
        let mut pass = Pass::new(&self.model.backend, &mut self.memory, probe).with_kv(kv);
        let logits = run_step(self.model.text.as_ref(), &mut pass, &step);
        let logits = pass.download(&logits);
        self.memory.release(mark);
        logits
    }
}

/// Where a run of a picture's rows stands among the tokens.
struct Place {
    image: usize,
    /// The run's first row.
    first: usize,
    tokens: Range<usize>,
    /// Its rows see each other both ways.
    is_block: bool,
}

/// The part of a run that falls into a step.
fn image_rows<'a>(
    place: &Place,
    features: &'a ImageFeatures,
    step: &Range<usize>,
) -> Option<ImageRows<'a>> {
    let tokens = &place.tokens;
    let (start, end) = (tokens.start.max(step.start), tokens.end.min(step.end));
    (start < end).then(|| ImageRows {
        features,
        from: place.first + start - tokens.start..place.first + end - tokens.start,
        rows: start - step.start..end - step.start,
    })
}

/// Stages under construction: rows of later steps go below those of earlier ones.
#[derive(Default)]
struct Recorder {
    floats: std::collections::BTreeMap<String, (usize, Vec<f32>)>,
    others: Stages,
}

impl Recorder {
    fn floats(&mut self, name: &str, columns: usize, values: &[f32]) {
        let entry = self.floats.entry(name.to_owned()).or_default();
        entry.0 = columns;
        entry.1.extend_from_slice(values);
    }

    fn vector(&mut self, name: &str, values: &[f32]) {
        let stage = ocelli_testkit::Stage::f32(&[values.len()], values.to_vec());
        self.others.insert(name, stage);
    }

    fn integers(&mut self, name: &str, shape: &[usize], values: Vec<i32>) {
        self.others
            .insert(name, ocelli_testkit::Stage::i32(shape, values));
    }

    fn finish(mut self) -> Stages {
        for (name, (columns, values)) in self.floats {
            let shape = [values.len() / columns, columns];
            self.others
                .insert(name, ocelli_testkit::Stage::f32(&shape, values));
        }
        self.others
    }
}
