//! Whether a projector belongs to a text model, by what both files say.

use crate::{ProjectorFacts, TextFacts};

/// Projector types and the architectures they were trained with.
///
/// This says what belongs together, not what can be run: the registry of `ocelli-models` decides that.
const BELONGS: [(&str, &[&str]); 7] = [
    ("qwen2vl_merger", &["qwen2vl"]),
    ("qwen2.5vl_merger", &["qwen2vl", "qwen25vl"]),
    ("qwen2.5o", &["qwen2vl", "qwen25vl"]),
    (
        "qwen3vl_merger",
        &["qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe"],
    ),
    ("gemma3", &["gemma3"]),
    ("pixtral", &["mistral3", "llama"]),
    ("mlp", &["llama", "mistral3", "qwen2", "phi3", "gemma"]),
];

/// Why two files do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The projector has no picture encoder.
    #[error("mmproj has no vision encoder")]
    NoVision,
    /// The encoder's rows have another width than the model's.
    #[error("mmproj outputs {found}, model expects {need}")]
    Width {
        /// Width of the projector's rows.
        found: u64,
        /// The model's embedding length.
        need: u64,
    },
    /// Another number of layers takes rows of the encoder.
    #[error("mmproj has {found} deepstack layers, model expects {need}")]
    Deepstack {
        /// Deepstack layers of the projector.
        found: u64,
        /// Layers of the model that take them.
        need: u64,
    },
    /// The projector was trained with another kind of model.
    #[error("mmproj is of type {projector_type}, model is {architecture}")]
    Architecture {
        /// The projector's type.
        projector_type: String,
        /// The model's architecture.
        architecture: String,
    },
}

/// True when the projector type is one that [`fit`] has a row for.
pub(crate) fn is_known(projector_type: &str) -> bool {
    BELONGS.iter().any(|(known, _)| *known == projector_type)
}

/// Checks that a projector belongs to a text model; `Ok` lists what matched, for people.
///
/// A fact that one of the files does not state is not held against it: loading checks every
/// tensor's shape again.
///
/// # Errors
/// The first fact that contradicts, with both values.
pub fn fit(text: &TextFacts, projector: &ProjectorFacts) -> Result<Vec<String>, Misfit> {
    let mut matched = Vec::new();
    if !projector.has_vision {
        return Err(Misfit::NoVision);
    }
    if let (Some(found), Some(need)) = (projector.output_width, text.embedding_length) {
        if found != need {
            return Err(Misfit::Width { found, need });
        }
        matched.push(format!("outputs {found} as the model expects"));
    }
    let row = BELONGS
        .iter()
        .find(|(known, _)| *known == projector.projector_type);
    if let Some((_, architectures)) = row {
        if !architectures.contains(&text.architecture.as_str()) {
            return Err(Misfit::Architecture {
                projector_type: projector.projector_type.clone(),
                architecture: text.architecture.clone(),
            });
        }
        matched.push(format!(
            "{} belongs to {}",
            projector.projector_type, text.architecture
        ));
    }
    if let Some(need) = text.deepstack_layers {
        let found = projector.deepstack_layers;
        if found != need {
            return Err(Misfit::Deepstack { found, need });
        }
        if need > 0 {
            matched.push(format!("{need} deepstack layers in both"));
        }
    }
    Ok(matched)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> TextFacts {
        TextFacts {
            architecture: "qwen3vl".to_owned(),
            embedding_length: Some(2048),
            deepstack_layers: Some(3),
            name: None,
        }
    }

    fn projector() -> ProjectorFacts {
        ProjectorFacts {
            projector_type: "qwen3vl_merger".to_owned(),
            output_width: Some(2048),
            deepstack_layers: 3,
            has_vision: true,
            element_type: "F16".to_owned(),
            name: None,
        }
    }

    #[test]
    fn equal_facts_fit_and_are_named() {
        let matched = fit(&text(), &projector()).expect("fits").join(", ");
        assert_eq!(
            matched,
            "outputs 2048 as the model expects, qwen3vl_merger belongs to qwen3vl, 3 deepstack layers in both"
        );
    }

    #[test]
    fn each_contradiction_is_named_with_both_values() {
        let cases = [
            (
                ProjectorFacts {
                    output_width: Some(3584),
                    ..projector()
                },
                "mmproj outputs 3584, model expects 2048",
            ),
            (
                ProjectorFacts {
                    deepstack_layers: 0,
                    ..projector()
                },
                "mmproj has 0 deepstack layers, model expects 3",
            ),
            (
                ProjectorFacts {
                    projector_type: "gemma3".to_owned(),
                    ..projector()
                },
                "mmproj is of type gemma3, model is qwen3vl",
            ),
            (
                ProjectorFacts {
                    has_vision: false,
                    ..projector()
                },
                "mmproj has no vision encoder",
            ),
        ];
        for (projector, message) in cases {
            assert_eq!(
                fit(&text(), &projector).expect_err(message).to_string(),
                message
            );
        }
    }

    #[test]
    fn facts_that_are_not_stated_are_not_held_against_a_file() {
        let text = TextFacts {
            embedding_length: None,
            deepstack_layers: None,
            ..text()
        };
        assert!(fit(&text, &projector()).is_ok());
        let unknown = ProjectorFacts {
            projector_type: "new".to_owned(),
            output_width: None,
            ..projector()
        };
        assert!(fit(&text, &unknown).is_ok());
    }

    #[test]
    fn the_families_of_the_table_fit() {
        for (projector_type, architecture) in [
            ("qwen2vl_merger", "qwen2vl"),
            ("qwen2.5vl_merger", "qwen2vl"),
            ("qwen3vl_merger", "qwen3vlmoe"),
            ("gemma3", "gemma3"),
            ("pixtral", "mistral3"),
            ("pixtral", "llama"),
            ("mlp", "llama"),
        ] {
            let text = TextFacts {
                architecture: architecture.to_owned(),
                ..text()
            };
            let projector = ProjectorFacts {
                projector_type: projector_type.to_owned(),
                ..projector()
            };
            assert!(
                fit(&text, &projector).is_ok(),
                "{projector_type} with {architecture}"
            );
        }
    }
}
