//! Models that other programs put on this machine are found by name, used in place, and listed.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use ocelli_quant::TensorType;
use ocelli_store::{Error, ErrorKind, Found, Origin, Places, list, open, resolve};
use support::{Folder, projector, projector_in, text, with};

const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OLDER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A machine with all four programs.
struct Machine {
    folder: Folder,
    places: Places,
}

impl Machine {
    fn new() -> Self {
        let folder = Folder::new();
        let at = |name: &str| vec![folder.path().join(name)];
        let places = Places {
            hf_hub: at("hub"),
            llama_cache: at("llama"),
            lm_studio: at("lmstudio"),
            ollama: at("ollama"),
        };
        Self { folder, places }
    }

    /// A file of a snapshot in the hub cache.
    fn hub(&self, id: &str, commit: &str, file: &str, model: &ocelli_gguf::Writer<'_>) -> PathBuf {
        let repository = format!("hub/models--{}", id.replace('/', "--"));
        let refs = self.folder.path().join(&repository).join("refs");
        fs::create_dir_all(&refs).expect("a folder");
        fs::write(refs.join("main"), COMMIT).expect("written");
        self.folder
            .add(&format!("{repository}/snapshots/{commit}/{file}"), model)
    }

    /// A model of Ollama's; layers by kind. Gives the blobs.
    fn ollama(&self, name: &str, layers: &[(&str, &ocelli_gguf::Writer<'_>)]) -> Vec<PathBuf> {
        let mut blobs = Vec::new();
        let mut listed = Vec::new();
        for (at, (kind, model)) in layers.iter().enumerate() {
            let hex = format!("{:064x}", name.len() * 1000 + at);
            let blob = self
                .folder
                .add(&format!("ollama/blobs/sha256-{hex}"), model);
            let size = fs::metadata(&blob).expect("there").len();
            listed.push(serde_json::json!({
                "mediaType": format!("application/vnd.ollama.image.{kind}"),
                "digest": format!("sha256:{hex}"),
                "size": size,
            }));
            blobs.push(blob);
        }
        let json = serde_json::json!({ "schemaVersion": 2, "layers": listed });
        self.manifest(name, &json.to_string());
        blobs
    }

    fn manifest(&self, name: &str, json: &str) {
        let path = self.folder.path().join("ollama/manifests").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, json).expect("written");
    }

    fn resolve(&self, name: &str) -> (PathBuf, Option<PathBuf>, Origin) {
        let found = resolve(name, &self.places).unwrap_or_else(|error| panic!("{name}: {error}"));
        open(&found.text, found.projector.as_deref()).expect("a model that opens");
        (found.text, found.projector, found.source)
    }

    fn error(&self, name: &str) -> Error {
        resolve(name, &self.places).expect_err(name)
    }

    fn listed(&self, name: &str) -> Found {
        let all = list(&self.places);
        let found = all.iter().find(|found| found.name == name);
        found.unwrap_or_else(|| panic!("{name} in {all:?}")).clone()
    }
}

#[test]
fn a_repository_in_the_hub_cache_is_found_with_its_projector() {
    let machine = Machine::new();
    let id = "me/Eye-2B-GGUF";
    let q4 = machine.hub(id, COMMIT, "UD/Eye-2B-Q4_K_M.gguf", &text(64));
    let q8 = machine.hub(id, COMMIT, "Eye-2B-Q8_0.gguf", &text(64));
    let f16 = machine.hub(id, COMMIT, "mmproj-F16.gguf", &projector(64));
    machine.hub(
        id,
        COMMIT,
        "mmproj-BF16.gguf",
        &projector_in(64, TensorType::BF16),
    );
    let old = machine.hub(id, OLDER, "Eye-2B-Q6_K.gguf", &text(64));
    for (name, file) in [
        ("me/Eye-2B-GGUF", &q4),
        ("ME/eye-2b-gguf:q4_k_m", &q4),
        ("hf.co/me/Eye-2B-GGUF:Q8_0", &q8),
        ("https://huggingface.co/me/Eye-2B-GGUF:q8_0", &q8),
    ] {
        assert_eq!(
            machine.resolve(name),
            (file.clone(), Some(f16.clone()), Origin::HuggingFace),
            "{name}"
        );
    }
    // A file that only an older snapshot has is still on the disk.
    assert_eq!(machine.resolve("me/Eye-2B-GGUF:Q6_K").0, old);
}

#[test]
fn a_path_that_exists_wins_and_one_that_does_not_is_left_to_opening() {
    let machine = Machine::new();
    let path = machine.folder.add("a.gguf", &text(64));
    let name = path.to_str().expect("text");
    let found = resolve(name, &machine.places).expect("a path");
    assert_eq!((found.text, found.source), (path, Origin::Path));
    for name in ["./none.gguf", "/none/x", "none.gguf", "..", "a\\b"] {
        let found = resolve(name, &machine.places).expect("a path");
        assert_eq!(found.source, Origin::Path, "{name}");
    }
}

#[test]
fn in_llama_cpps_flat_cache_only_the_own_repositorys_projector_counts() {
    let machine = Machine::new();
    let text_path = machine
        .folder
        .add("llama/me_Eye_2B_Eye-Q4_K_M.gguf", &text(64));
    machine
        .folder
        .add("llama/you_Other-GGUF_mmproj-F16.gguf", &projector(64));
    let place = |machine: &Machine| machine.resolve("me/Eye_2B:q4_k_m");
    fs::write(
        machine
            .folder
            .path()
            .join("llama/manifest=me=Eye_2B=latest.json"),
        "{}",
    )
    .expect("written");
    assert_eq!(place(&machine), (text_path.clone(), None, Origin::LlamaCpp));
    let own = machine
        .folder
        .add("llama/me_Eye_2B_mmproj-F16.gguf", &projector(64));
    assert_eq!(place(&machine), (text_path, Some(own), Origin::LlamaCpp));
}

#[test]
fn lm_studios_folders_are_named_by_publisher_and_model() {
    let machine = Machine::new();
    let text_path = machine
        .folder
        .add("lmstudio/pub/Eye/Eye-Q4_K_M.gguf", &text(64));
    let own = machine
        .folder
        .add("lmstudio/pub/Eye/mmproj-Eye.gguf", &projector(64));
    assert_eq!(
        machine.resolve("pub/eye"),
        (text_path, Some(own), Origin::LmStudio)
    );
    assert_eq!(machine.listed("pub/Eye:Q4_K_M").source, Origin::LmStudio);
}

#[test]
fn ollamas_models_are_found_through_their_manifests() {
    let machine = Machine::new();
    let pair = machine.ollama(
        "registry.ollama.ai/library/eye/4b",
        &[("model", &text(64)), ("projector", &projector(64))],
    );
    let merged = machine.ollama(
        "hf.co/me/Eye-GGUF/Q8_0",
        &[("model", &with(text(64), "v.patch_embd.weight", &[8, 8]))],
    );
    let expected = (pair[0].clone(), Some(pair[1].clone()), Origin::Ollama);
    for name in ["ollama:eye:4b", "eye:4b", "EYE:4B", "library/eye:4b"] {
        assert_eq!(machine.resolve(name), expected, "{name}");
    }
    let name = "hf.co/me/Eye-GGUF:Q8_0";
    assert_eq!(
        machine.resolve(name),
        (merged[0].clone(), None, Origin::Ollama)
    );
    let found = machine.listed("ollama:eye:4b");
    assert_eq!(found.projector.as_ref(), Some(&pair[1]));
    assert!(
        found.why.starts_with("named by its manifest; outputs 64"),
        "{}",
        found.why
    );
    assert_eq!(found.architecture.as_deref(), Some("qwen3vl"));
    let found = machine.listed("ollama:hf.co/me/Eye-GGUF:Q8_0");
    assert_eq!(found.why, "the vision tensors are in the same file");
}

#[test]
fn broken_entries_of_ollamas_say_why_and_stay_in_the_list() {
    let machine = Machine::new();
    let cut = machine.ollama(
        "registry.ollama.ai/library/cut/latest",
        &[("model", &text(64))],
    );
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&cut[0])
        .expect("opened");
    file.set_len(100).expect("cut");
    let hostile = r#"{"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../../x","size":1}]}"#;
    machine.manifest("registry.ollama.ai/library/hostile/latest", hostile);
    machine.manifest("registry.ollama.ai/library/noise/latest", "]");
    machine.manifest("registry.ollama.ai/library/empty/latest", "{}");
    let tensors = hostile.replace("image.model", "image.tensor");
    machine.manifest("registry.ollama.ai/library/tensors/latest", &tensors);
    machine.ollama(
        "registry.ollama.ai/library/adapted/latest",
        &[("model", &text(64)), ("adapter", &text(64))],
    );
    for (name, why) in [
        ("cut", "found 100 bytes, need "),
        ("hostile", "digest: found 'sha256:../../x'"),
        ("noise", "latest: expected value"),
        ("empty", "no model layer"),
        ("tensors", "safetensors"),
        ("adapted", "adapter (LoRA)"),
    ] {
        let error = machine.error(name);
        assert_eq!(error.kind(), ErrorKind::Model, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        let broken = machine.listed(&format!("ollama:{name}:latest")).broken;
        assert!(broken.expect("broken").contains(why), "{name}");
    }
}

#[test]
fn an_unknown_name_says_where_was_looked_and_what_is_near() {
    let machine = Machine::new();
    machine.hub("me/Eye-2B-GGUF", COMMIT, "Eye-2B-Q8_0.gguf", &text(64));
    let error = machine.error("me/Eye2B-GGUF").to_string();
    for part in [
        "no model 'me/Eye2B-GGUF': found no file or folder of this name; looked in Hugging Face cache ",
        "hub (1 models)",
        "lmstudio (not there)",
        "Did you mean me/Eye-2B-GGUF? 'ocelli pull me/Eye2B-GGUF' downloads it",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = machine.error("me/Eye-2B-GGUF:Q4_0").to_string();
    assert!(
        error.contains("Of this repository there is Q8_0"),
        "{error}"
    );
    let error = machine.error("ollama:me/Eye-2B-GGUF").to_string();
    assert!(
        !error.contains("pull") && !error.contains("Hugging"),
        "{error}"
    );
}

#[test]
fn the_list_has_every_model_once_with_what_pairs_and_what_is_broken() {
    let machine = Machine::new();
    let id = "me/Eye-2B-GGUF";
    machine.hub(id, COMMIT, "Eye-2B-Q8_0.gguf", &text(64));
    machine.hub(id, OLDER, "Eye-2B-Q8_0.gguf", &text(64));
    let own = machine.hub(id, COMMIT, "mmproj-F16.gguf", &projector(64));
    let alone = machine.hub("me/Plain-GGUF", COMMIT, "Plain-Q4_0.gguf", &text(96));
    let bad = machine.folder.path().join("lmstudio/pub/Bad/Bad-Q4_0.gguf");
    fs::create_dir_all(bad.parent().expect("a folder")).expect("a folder");
    fs::write(&bad, "<html>").expect("written");
    // The same name in a later place is told by its path.
    let twin = machine
        .folder
        .add("lmstudio/me/Eye-2B-GGUF/Eye-2B-Q8_0.gguf", &text(64));
    let all = list(&machine.places);
    let names: Vec<&str> = all.iter().map(|found| found.name.as_str()).collect();
    let twin_name = twin.display().to_string();
    assert_eq!(
        names,
        [
            "me/Eye-2B-GGUF:Q8_0",
            "me/Plain-GGUF:Q4_0",
            twin_name.as_str(),
            "pub/Bad:Q4_0"
        ]
    );
    let sizes = |paths: &[&Path]| -> u64 {
        let size = |path: &&Path| fs::metadata(path).expect("there").len();
        paths.iter().map(size).sum()
    };
    assert_eq!(all[0].projector.as_deref(), Some(own.as_path()));
    assert_eq!(all[0].size, sizes(&[&all[0].text, &own]));
    assert_eq!(all[0].quant.as_deref(), Some("Q8_0"));
    assert_eq!((&all[1].text, &all[1].projector), (&alone, &None));
    assert_eq!(all[1].why, "no other GGUF file beside it");
    assert!(all[3].broken.as_ref().expect("broken").contains("HTML"));
    for found in all.iter().filter(|found| found.broken.is_none()) {
        assert_eq!(machine.resolve(&found.name).0, found.text, "{}", found.name);
    }
}

#[test]
fn links_into_circles_and_to_nowhere_do_not_stop_the_search() {
    let machine = Machine::new();
    let path = machine.hub("me/Eye-GGUF", COMMIT, "Eye-Q8_0.gguf", &text(64));
    #[cfg(unix)]
    {
        let snapshot = path.parent().expect("a folder");
        std::os::unix::fs::symlink(snapshot, snapshot.join("circle")).expect("a link");
        std::os::unix::fs::symlink("../none", snapshot.join("gone-Q4_0.gguf")).expect("a link");
        let gone = machine.listed("me/Eye-GGUF:Q4_0");
        assert!(gone.broken.is_some());
    }
    assert_eq!(machine.resolve("me/Eye-GGUF").0, path);
    let error = machine.error("me/Eye-GGUF:Q5_0");
    assert_eq!(error.kind(), ErrorKind::Path);
}

#[test]
fn a_bad_file_is_passed_over_for_a_good_one_and_told_when_it_is_the_only_one() {
    let machine = Machine::new();
    let good = machine.hub("me/Eye-GGUF", COMMIT, "Eye-Q8_0.gguf", &text(64));
    fs::write(good.with_file_name("Eye-Q4_K_M.gguf"), "GGUF").expect("written");
    assert_eq!(machine.resolve("me/Eye-GGUF").0, good);
    let error = machine.error("me/Eye-GGUF:Q4_K_M");
    assert_eq!(error.kind(), ErrorKind::Model, "{error}");
}
