//! The committed goldens are whole, and say what the rules of the families say.

use ocelli_gguf::Gguf;
use ocelli_testkit::{Case, Suite, TOLERANCE, Values, suites};

fn all() -> Vec<Suite> {
    suites().iter().map(|name| Suite::load(name)).collect()
}

/// The id that stands in the rows of pictures whose positions have three axes.
fn image_pad(suite: &Suite) -> Option<i32> {
    id_of(suite, "<|image_pad|>")
}

/// The id that stands in the rows of pictures.
fn image_token(suite: &Suite) -> Option<i32> {
    let names = ["<|image_pad|>", "[IMG]", "<image>"];
    // Gemma's own is the one behind the vocabulary of its files.
    let behind = || (suite.family == "gemma3").then(|| tokens_of(suite).len());
    let found = names.iter().find_map(|name| id_of(suite, name));
    found.or_else(|| behind().map(|id| i32::try_from(id).expect("small id")))
}

/// Patches that Gemma pools into one token; files that pool squares of four leave it out.
fn pooled_patches(suite: &Suite) -> i32 {
    let projector = Gguf::open(suite.mmproj.as_ref().expect("a projector")).expect("projector");
    let side = projector
        .metadata()
        .u32("clip.vision.projector.scale_factor");
    i32::try_from(side.expect("a number").unwrap_or(4).pow(2)).expect("small")
}

/// Patches that one of Mistral's rows stands for.
fn merged_patches(suite: &Suite) -> i32 {
    let projector = Gguf::open(suite.mmproj.as_ref().expect("a projector")).expect("projector");
    let side = projector.metadata().u32("clip.vision.spatial_merge_size");
    i32::try_from(side.expect("a number").expect("stated").pow(2)).expect("small")
}

fn tokens_of(suite: &Suite) -> Vec<String> {
    let text = Gguf::open(&suite.text).expect("golden text model");
    let tokens = text
        .metadata()
        .required_str_array("tokenizer.ggml.tokens")
        .expect("tokens");
    tokens.iter().map(|token| (*token).to_owned()).collect()
}

fn id_of(suite: &Suite, name: &str) -> Option<i32> {
    let tokens = tokens_of(suite);
    let found = tokens.iter().position(|token| token == name);
    found.map(|id| i32::try_from(id).expect("small id"))
}

/// Positions by the rule: text advances all axes by one, an image spans its merged grid and
/// advances by its longer side.
fn positions_by_rule(case: &Case, pad: Option<i32>) -> Vec<i32> {
    let tokens = case.i32("prompt.tokens");
    let mut axes = [Vec::new(), Vec::new(), Vec::new()];
    let (mut at, mut image, mut next) = (0, 0, 0);
    while at < tokens.len() {
        if Some(tokens[at]) != pad {
            axes.iter_mut().for_each(|axis| axis.push(next));
            (at, next) = (at + 1, next + 1);
            continue;
        }
        let grid = case.i32(&format!("image.{image}.grid"));
        let (rows, columns) = (grid[1] / 2, grid[2] / 2);
        for cell in 0..rows * columns {
            axes[0].push(next);
            axes[1].push(next + cell / columns);
            axes[2].push(next + cell % columns);
        }
        at += usize::try_from(rows * columns).expect("grid of positive sides");
        (image, next) = (image + 1, next + rows.max(columns));
    }
    axes.concat()
}

#[test]
fn every_family_has_a_suite() {
    let families: Vec<String> = all().into_iter().map(|suite| suite.family).collect();
    for family in [
        "qwen3vl",
        "qwen3vl-moe",
        "qwen2vl",
        "qwen2.5vl",
        "qwen2",
        "qwen3",
        "llama",
        "mistral3",
        "pixtral",
        "llava",
        "llava-next",
    ] {
        assert!(families.iter().any(|known| known == family), "{family}");
    }
}

#[test]
fn every_file_opens_and_every_stage_is_finite() {
    for suite in all() {
        Gguf::open(&suite.text).unwrap();
        if let Some(mmproj) = &suite.mmproj {
            Gguf::open(mmproj).unwrap();
        }
        for case in &suite.cases {
            for image in &case.images {
                assert!(image.is_file(), "{}: {}", case.name, image.display());
            }
            for name in case.stages.names() {
                if let Values::F32(values) = &case.stages.get(name).unwrap().values {
                    assert!(
                        values.iter().all(|value| value.is_finite()),
                        "{}: {name}",
                        case.name
                    );
                }
            }
        }
    }
}

#[test]
fn positions_follow_the_rule_of_three_axes() {
    for suite in all() {
        let pad = image_pad(&suite);
        // Videos have rules of their own, one for each generation: `ocelli-models` tests them.
        for case in suite.cases.iter().filter(|c| c.video_tokens.is_none()) {
            case.assert_integers("prompt.positions", &positions_by_rule(case, pad));
        }
    }
}

#[test]
fn image_tokens_keep_to_the_budget_and_match_rows_and_pads() {
    for suite in all() {
        let pad = image_token(&suite);
        for case in suite.cases.iter().filter(|case| !case.images.is_empty()) {
            let mut total = 0;
            // Crops of a picture stand behind it.
            let seen = |image: &usize| case.stages.get(&format!("image.{image}.grid")).is_some();
            for image in (0..).take_while(seen) {
                let grid = case.i32(&format!("image.{image}.grid"));
                let cell = match suite.family.as_str() {
                    "pixtral" | "llava" | "llava-next" => 1,
                    "gemma3" => pooled_patches(&suite),
                    "mistral3" => merged_patches(&suite),
                    _ => 4,
                };
                let patches = grid[1] * grid[2] / cell;
                // Each square of LLaVA-1.6 gives its patches or fewer, and lines have an end.
                let least_and_most = match suite.family.as_str() {
                    "llava-next" => (patches, 2 * grid[0] * patches),
                    _ => (patches, patches),
                };
                let output = case.stages.get(&format!("vision.{image}.output"));
                let tokens = i32::try_from(output.unwrap().shape[0]).unwrap();
                assert!(
                    (least_and_most.0..=least_and_most.1).contains(&tokens),
                    "{}: {tokens} tokens of {grid:?}",
                    case.name
                );
                let budget = case.image_tokens.clone().unwrap();
                assert!(
                    budget.contains(&u32::try_from(tokens).unwrap()),
                    "{}: {tokens} of {budget:?}",
                    case.name
                );
                total += tokens;
            }
            let pads = case
                .i32("prompt.tokens")
                .iter()
                .filter(|&&token| Some(token) == pad)
                .count();
            assert_eq!(pads, usize::try_from(total).unwrap(), "{}", case.name);
        }
    }
}

#[test]
fn decoding_is_greedy_and_starts_with_the_prompts_logits() {
    for suite in all() {
        for case in &suite.cases {
            assert_eq!(
                case.f32("decode.0.logits"),
                case.f32("logits"),
                "{}",
                case.name
            );
            for (step, &token) in case.i32("decode.tokens").iter().enumerate() {
                let logits = case.f32(&format!("decode.{step}.logits"));
                let best = (0..logits.len())
                    .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
                    .unwrap();
                assert_eq!(
                    usize::try_from(token).unwrap(),
                    best,
                    "{} step {step}",
                    case.name
                );
            }
            assert_eq!(case.answer_tokens().len(), case.decode, "{}", case.name);
        }
    }
}

#[test]
fn the_cases_cover_what_goes_wrong_with_images() {
    let suite = Suite::load("qwen3vl");
    for name in [
        "text_only",
        "text_turns",
        "one_image",
        "two_images_of_equal_size",
        "three_images_of_different_sizes",
        "image_between_texts",
        "second_turn_with_second_image",
        "tall_image",
        "sides_that_round_to_even",
    ] {
        suite.case(name);
    }
    let equal = suite.case("two_images_of_equal_size");
    assert_eq!(equal.i32("image.0.grid"), equal.i32("image.1.grid"));
    assert_ne!(equal.f32("image.0.pixels"), equal.f32("image.1.pixels"));
    let long_decodes = suite.cases.iter().filter(|case| case.decode >= 8).count();
    assert!(long_decodes >= 2);
}

#[test]
fn messages_name_the_same_images_as_the_case() {
    for suite in all() {
        for case in &suite.cases {
            let messages = case.messages();
            let named: Vec<&str> = messages
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|message| message["content"].as_array())
                .flatten()
                .filter_map(|part| part["image_url"]["url"].as_str())
                .collect();
            let images: Vec<&str> = case
                .images
                .iter()
                .map(|path| path.to_str().unwrap())
                .collect();
            assert_eq!(named, images, "{}", case.name);
        }
    }
}

#[test]
fn a_run_that_repeats_the_reference_passes_and_a_changed_one_names_its_first_stage() {
    let suite = Suite::load("qwen3vl");
    let case = suite.case("one_image");
    case.assert_stages(&case.stages);
    let mut got = case.stages.clone();
    for name in ["logits", "vision.0.layer.2", "text.layer.1"] {
        let mut stage = got.get(name).unwrap().clone();
        if let Values::F32(values) = &mut stage.values {
            values[5] += 1.0;
        }
        got.insert(name, stage);
    }
    let failing: Vec<_> = case
        .compare_stages(&got)
        .into_iter()
        .filter(|report| !report.passes(TOLERANCE))
        .collect();
    assert_eq!(failing[0].name, "vision.0.layer.2");
    assert_eq!(failing.len(), 3);
}
