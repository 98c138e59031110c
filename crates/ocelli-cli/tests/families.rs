//! Every command that writes or reads model files, on each family of pairs: what is written gives
//! the stages that the reference has for the pair it was made of.

#![allow(clippy::unwrap_used, reason = "tests say what went wrong by failing")]

mod common;

use common::{Folder, ocelli};
use ocelli_testkit::Suite;
use serde_json::Value;

const FAMILIES: [&str; 5] = ["gemma3", "mistral3", "pixtral", "llava", "llava-next"];
/// A case with pictures that all families have.
const CASE: &str = "second_turn_with_second_image";

/// A golden pair in a folder of its own, beside the conversation of a case.
struct Golden {
    folder: Folder,
    text: String,
    mmproj: String,
    messages: String,
    reference: String,
    picture: String,
}

impl Golden {
    fn of(family: &str) -> Self {
        let folder = Folder::new();
        let root = ocelli_testkit::goldens().join(family);
        let copy = |name: &str| folder.file(name, std::fs::read(root.join(name)).unwrap());
        let (text, mmproj) = (copy("text.gguf"), copy("mmproj.gguf"));
        let messages = Suite::load(family).case(CASE).messages().to_string();
        let messages = folder.file("messages.json", messages);
        let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
        Self {
            reference: path(&format!("cases/{CASE}.safetensors")),
            picture: path("../images/photo.png"),
            folder,
            text,
            mmproj,
            messages,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path(name)
    }

    /// Asserts that files answer as the reference does.
    #[track_caller]
    fn verify(&self, files: &[&str]) {
        let stages = ["--messages", &self.messages, "--reference", &self.reference];
        let table = ocelli(&[&["verify"], files, &stages[..]].concat()).ok();
        assert!(table.contains("stages agree within 1e-4"), "{table}");
    }
}

#[test]
fn a_pair_merged_and_split_again_has_the_stages_of_the_reference() {
    for family in FAMILIES {
        let golden = Golden::of(family);
        let (text, mmproj) = (golden.text.as_str(), golden.mmproj.as_str());
        golden.verify(&["-m", text, "--mmproj", mmproj]);
        for more in [&[][..], &["--repair"]] {
            let merged = golden.path("merged.gguf");
            let command = [&["merge", text, mmproj, &merged, "--force"], more].concat();
            ocelli(&command).ok();
            golden.verify(&["-m", &merged]);
            let parts = golden.path("parts");
            std::fs::create_dir_all(&parts).unwrap();
            let written = ocelli(&["split", &merged, "--out", &parts, "--force"]).ok();
            let files: Vec<&str> = written.lines().collect();
            golden.verify(&["-m", files[0], "--mmproj", files[1]]);
        }
    }
}

#[test]
fn repaired_files_have_the_stages_of_the_reference() {
    for family in FAMILIES {
        let golden = Golden::of(family);
        let (text, mmproj) = (golden.path("new.gguf"), golden.path("mmproj-new.gguf"));
        ocelli(&["repair", &golden.text, &text]).ok();
        ocelli(&["repair", &golden.mmproj, &mmproj]).ok();
        golden.verify(&["-m", &text, "--mmproj", &mmproj]);
        // Current files need no assumption.
        let described: Value =
            serde_json::from_str(&ocelli(&["inspect", "--json", &mmproj]).ok()).unwrap();
        let assumed = described.to_string().contains("swapped");
        assert!(!assumed, "{family}: {described}");
    }
}

#[test]
fn quantised_halves_run_together_and_the_report_tells_what_pictures_lost() {
    for family in FAMILIES {
        let golden = Golden::of(family);
        let (text, mmproj) = (golden.path("small.gguf"), golden.path("mmproj-small.gguf"));
        ocelli(&["quantize", &golden.text, &text, "q4_k_m"]).ok();
        // The encoder's rows of the tiny Gemma 3 fill no blocks, and its projection stays in halves.
        let ty = match family {
            "gemma3" => "bf16",
            _ => "q8_0",
        };
        let ran = ocelli(&[
            "quantize",
            &golden.mmproj,
            &mmproj,
            ty,
            "--text",
            &golden.text,
            "--json",
        ]);
        let report: Value = serde_json::from_str(&ran.ok()).unwrap();
        let report = report.to_string();
        assert!(report.contains("vision.output"), "{family}: {report}");
        let files = ["run", "-m", &text, "--mmproj", &mmproj];
        let asked = ["--image", &golden.picture, "-n", "3", "What is this?"];
        ocelli(&[&files[..], &asked].concat()).ok();
    }
}

#[test]
fn inspect_pairs_the_halves_and_plan_counts_what_the_reference_counts() {
    // Tokens of the picture `photo` (150 x 110): rows, and the breaks of Mistral's family.
    for (family, tokens) in [
        ("gemma3", 4),
        ("mistral3", 24),
        ("pixtral", 24),
        ("llava", 16),
        ("llava-next", 9 + 4 * 7),
    ] {
        let golden = Golden::of(family);
        let described = ocelli(&["inspect", &golden.text]).ok();
        assert!(described.contains("mmproj.gguf"), "{family}: {described}");
        let files = ["plan", "--json", "-m", &golden.text];
        let plan = ocelli(&[&files[..], &[&golden.picture]].concat()).ok();
        let plan: Value = serde_json::from_str(&plan).unwrap();
        assert_eq!(plan["images"][0]["tokens"], tokens, "{family}: {plan}");
    }
}

#[test]
fn fewer_tokens_for_a_picture_take_tiles_away_and_at_last_all_of_them() {
    let golden = Golden::of("llava-next");
    let plan = |asked: &[&str]| {
        let files = ["plan", "--json", "-m", &golden.text, &golden.picture];
        ocelli(&[&files[..], asked].concat())
    };
    // 2 x 2 tiles take 51 tokens at most, 1 x 2 take 30.
    for (most, tokens, size) in [(51, 37, [84, 84]), (40, 24, [84, 42]), (12, 10, [42, 42])] {
        let made = plan(&["--image-max-tokens", &most.to_string()]).ok();
        let made: Value = serde_json::from_str(&made).unwrap();
        let image = &made["images"][0];
        assert_eq!(image["tokens"], tokens, "{most}: {image}");
        let seen = [&image["resized_width"], &image["resized_height"]];
        assert_eq!(seen, size, "{most}: {image}");
    }
    let refused = plan(&["--image-max-tokens", "9"]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("need 10"), "{refused:?}");
}
