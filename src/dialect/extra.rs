//! What a client says to the cloud itself, in the cloud's own words.
//!
//! Two spellings: members of the object `extra`, and a few fields that clients already send at the top of
//! a request because other gateways read them there.

use crate::base::error::{Error, Kind};
use crate::base::json::{self, Fields, wrong_type};
use crate::chat::Extra;

/// The object whose members are meant for the cloud.
const EXTRA: &str = "extra";

/// Fields of the clouds that stand at the top of a chat request.
pub const CHAT: &[&str] = &[
    "guardrailConfig",
    "performanceConfig",
    "requestMetadata",
    "promptVariables",
    "safety_settings",
    "safetySettings",
    "labels",
    "cached_content",
    "cachedContent",
];

/// Fields of the clouds that stand at the top of a request for images: every name in the tables of
/// [`crate::dialect::image`].
pub const IMAGES: &[&str] = &[
    "negative_prompt",
    "negativePrompt",
    "negative_text",
    "negativeText",
    "seed",
    "cfg_scale",
    "cfgScale",
    "guidance_scale",
    "guidanceScale",
    "aspect_ratio",
    "aspectRatio",
    "image_size",
    "imageSize",
    "sample_image_size",
    "sampleImageSize",
    "image_config",
    "imageConfig",
    "person_generation",
    "personGeneration",
    "safety_setting",
    "safetySetting",
    "safety_settings",
    "safetySettings",
    "safety_filter_level",
    "safetyFilterLevel",
    "add_watermark",
    "addWatermark",
    "enhance_prompt",
    "enhancePrompt",
    "language",
    "labels",
    "storage_uri",
    "storageUri",
    "output_gcs_uri",
    "outputGcsUri",
];

/// Fields of the clouds that stand at the top of a request for embeddings because other gateways read them
/// there: Cohere's, Titan's, Nova's, and Google's in both spellings.
pub const EMBEDDINGS: &[&str] = &[
    "input_type",
    "truncate",
    "normalize",
    "embeddingPurpose",
    "truncationMode",
    "task_type",
    "taskType",
    "title",
    "auto_truncate",
    "autoTruncate",
];

/// How many fields a request may say to the cloud; each is looked for in a list.
pub const MOST_EXTRA: usize = 64;

/// Whether a top-level field belongs here; `at_top` is one of the lists above.
pub fn is_extra(name: &str, at_top: &[&str]) -> bool {
    name == EXTRA || at_top.contains(&name)
}

/// Gathers what is said to the cloud from the members that a client's dialect does not know.
///
/// # Errors
/// When `extra` is no object, or says too much.
pub fn collect<'a>(other: &Fields<'a>, at_top: &[&str]) -> Result<Vec<Extra<'a>>, Error> {
    let mut all = Vec::new();
    for (name, value) in &other.0 {
        if value.get() == "null" {
            continue;
        }
        if name.as_str() == EXTRA {
            let Ok(members) = json::read::<Fields<'a>>(value.get()) else {
                return Err(Error::at(Kind::WrongType, EXTRA, &wrong_type(value, "an object")));
            };
            for (name, value) in members.0 {
                all.push(Extra { path: format!("{EXTRA}.{}", name.as_str()), name, value });
            }
        } else if at_top.contains(&name.as_str()) {
            all.push(Extra { path: name.as_str().to_owned(), name: name.clone(), value });
        }
    }
    if all.len() > MOST_EXTRA {
        let problem = format!("says more than {MOST_EXTRA} things to the cloud");
        return Err(Error::at(Kind::WrongValue, EXTRA, &problem));
    }
    Ok(all)
}

/// The refusal of a field that an upstream has no place for: leaving it out would change the meaning.
pub fn refusal(extra: &Extra<'_>, upstream: &str) -> Error {
    let problem = format!("is no field that {upstream} takes from here; leave it out for this model");
    Error::at(Kind::Unsupported, extra.path.clone(), &problem)
}
