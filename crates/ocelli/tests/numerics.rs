//! What rounding costs: every golden and the demo model in each precision against `f32`. The tables
//! of `docs/numerics.md`: `cargo test --release -p ocelli --test numerics -- --nocapture`. With
//! `OCELLI_ALL_PICTURES=1` the demo is asked about every picture of the goldens, which takes a
//! minute; with `OCELLI_DEMO_FILE` another file of it is asked, for example one that `ocelli
//! quantize` made with weights of 16 bits.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use ocelli::trace::{Trace, Values};
use ocelli::{KvElement, Model, Options, Precision, Request, Source, messages};
use ocelli_testkit::{Case, Suite, goldens, suites};

/// What is rounded: operands of products, keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rounding {
    precision: Precision,
    kv: Option<KvElement>,
}

impl Rounding {
    const NONE: Self = Self::of(Precision::F32);

    const fn of(precision: Precision) -> Self {
        Self {
            precision,
            kv: None,
        }
    }

    /// Nothing but keys and values.
    const fn of_keys_and_values(kv: KvElement) -> Self {
        Self {
            precision: Precision::F32,
            kv: Some(kv),
        }
    }

    fn name(self) -> String {
        match self.kv {
            None => format!("{:?}", self.precision),
            Some(kv) => format!("{:?}, {kv:?} kv", self.precision),
        }
    }
}

/// What rounds, with the error that each may have in picture rows and logits of random models, whose
/// mixtures of experts may choose others.
const ROUNDED: [(Rounding, f64); 6] = [
    (Rounding::of(Precision::Bf16), 0.1),
    (Rounding::of(Precision::Int8), 0.3),
    (Rounding::of(Precision::Auto), 0.2),
    (Rounding::of_keys_and_values(KvElement::F16), 0.1),
    (Rounding::of_keys_and_values(KvElement::Q8), 0.2),
    (
        Rounding {
            precision: Precision::Auto,
            kv: Some(KvElement::Q8),
        },
        0.2,
    ),
];

fn load(
    source: &Source,
    projector: Option<PathBuf>,
    case: Option<&Case>,
    rounding: Rounding,
) -> Model {
    let budget = case.and_then(|case| case.image_tokens.clone());
    let options = Options {
        projector,
        precision: rounding.precision,
        kv: rounding.kv,
        image_min_tokens: budget.as_ref().map(|b| *b.start()),
        image_max_tokens: budget.as_ref().map(|b| *b.end()),
        ..Options::default()
    };
    Model::load(source, &options, &mut |_, _| {}).unwrap()
}

fn run(suite: &Suite, case: &Case, rounding: Rounding) -> Trace {
    let source = Source::File(suite.text.clone());
    let mut model = load(&source, suite.mmproj.clone(), Some(case), rounding);
    let messages = messages::from_openai(&case.messages().to_string(), Path::new("")).unwrap();
    let request = Request::from_messages(messages);
    model.trace(&request, case.decode).unwrap()
}

fn floats<'a>(trace: &'a Trace, name: &str) -> &'a [f32] {
    match &trace.stages[name].values {
        Values::F32(values) => values,
        Values::I32(_) => panic!("{name} has whole numbers"),
    }
}

fn tokens(trace: &Trace) -> Vec<i32> {
    match trace.stages.get("decode.tokens").map(|entry| &entry.values) {
        Some(Values::I32(tokens)) => tokens.clone(),
        _ => Vec::new(),
    }
}

/// `sqrt(sum (a - b)^2 / sum b^2)`.
fn difference(got: &[f32], wanted: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f32>| -> f64 {
        values.map(|x| f64::from(x) * f64::from(x)).sum()
    };
    let error = squares(&mut got.iter().zip(wanted).map(|(a, b)| a - b));
    (error / squares(&mut wanted.iter().copied())).sqrt()
}

#[test]
fn rounding_moves_the_stages_of_random_models_a_little() {
    println!("| model | precision | pictures | logits | greedy tokens changed |");
    for name in suites() {
        let suite = Suite::load(&name);
        let exact: Vec<Trace> = suite
            .cases
            .iter()
            .map(|case| run(&suite, case, Rounding::NONE))
            .collect();
        for (rounding, bound) in ROUNDED {
            let how = rounding.name();
            let (mut pictures, mut logits, mut changed, mut all) = (0.0_f64, 0.0_f64, 0, 0);
            for (case, exact) in suite.cases.iter().zip(&exact) {
                let got = run(&suite, case, rounding);
                for stage in exact
                    .stages
                    .keys()
                    .filter(|stage| stage.ends_with(".output"))
                {
                    let error = difference(floats(&got, stage), floats(exact, stage));
                    pictures = pictures.max(error);
                }
                let error = difference(floats(&got, "logits"), floats(exact, "logits"));
                logits = logits.max(error);
                let (got, exact) = (tokens(&got), tokens(exact));
                all += exact.len();
                changed += got.iter().zip(&exact).filter(|(a, b)| a != b).count();
            }
            println!("| {name} | {how} | {pictures:.1e} | {logits:.1e} | {changed} of {all} |");
            assert!(pictures <= bound && logits <= bound, "{name}, {how}");
        }
    }
}

/// Questions that the demo model was made for.
const QUESTIONS: [&str; 10] = [
    "What is in this picture?",
    "How many objects are there?",
    "What color is the largest object?",
    "What text is in the picture?",
    "Is there a circle?",
    "Is there a red square?",
    "Where is the star?",
    "What shapes are there?",
    "Give the bounding box of the square in JSON.",
    "Who are you?",
];

/// A picture of the demo's world, whose answers must not change, and a photo, on which it guesses.
const SCENE: &str = "../../../examples/scene.png";
const PHOTO: &str = "photo.png";

/// The demo's greedy answers, and the mean negative log probability of `reference`'s tokens as far
/// as the same were chosen.
fn answers(picture: &str, rounding: Rounding) -> Vec<(String, f64, usize)> {
    let source = match std::env::var_os("OCELLI_DEMO_FILE") {
        Some(file) => Source::File(file.into()),
        None => Source::Demo,
    };
    let mut model = load(&source, None, None, rounding);
    QUESTIONS
        .into_iter()
        .map(|question| {
            let path = goldens().join("images").join(picture);
            let request = || Request::new(question).image(path.clone());
            let text = model.ask(request()).unwrap().text;
            let trace = model.trace(&request(), 24).unwrap();
            let chosen = tokens(&trace);
            let mut loss = 0.0;
            for (k, token) in chosen.iter().enumerate() {
                let stage = format!("decode.{k}.logits");
                let logits = floats(&trace, &stage);
                let most = logits.iter().copied().fold(f32::MIN, f32::max);
                let total: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
                loss += total.ln() - f64::from(logits[*token as usize] - most);
            }
            (text, loss, chosen.len())
        })
        .collect()
}

fn perplexity(answers: &[(String, f64, usize)]) -> f64 {
    let loss: f64 = answers.iter().map(|answer| answer.1).sum();
    let count: usize = answers.iter().map(|answer| answer.2).sum();
    (loss / count as f64).exp()
}

/// The two pictures, and the others of the goldens if they are asked for.
fn pictures() -> Vec<String> {
    let mut all = vec![SCENE.to_owned(), PHOTO.to_owned()];
    if std::env::var_os("OCELLI_ALL_PICTURES").is_some() {
        let folder = std::fs::read_dir(goldens().join("images")).unwrap();
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        all.extend(names.filter(|name| name.ends_with("png") && name != PHOTO));
    }
    all
}

#[test]
fn what_is_chosen_changes_no_greedy_answer_of_the_demo() {
    println!("| picture | precision | answers changed | perplexity | moved by |");
    for picture in &pictures() {
        let name = Path::new(picture).file_name().unwrap().display();
        let exact = answers(picture, Rounding::NONE);
        let before = perplexity(&exact);
        println!("| {name} | F32 | | {before:.4} | |");
        for (rounding, _) in ROUNDED {
            let got = answers(picture, rounding);
            let pairs = || got.iter().zip(&exact);
            let changed = pairs().filter(|(got, exact)| got.0 != exact.0).count();
            let (after, count) = (perplexity(&got), got.len());
            let moved = 100.0 * (after / before - 1.0);
            println!(
                "| {name} | {} | {changed} of {count} | {after:.4} | {moved:.2} % |",
                rounding.name()
            );
            if rounding.precision == Precision::Auto && picture == SCENE {
                for (got, exact) in pairs() {
                    assert_eq!(got.0, exact.0);
                }
                assert!(moved.abs() < 0.5, "perplexity moved by {moved} %");
            }
        }
    }
}
