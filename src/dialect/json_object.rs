//! `json_object`, an answer that is some JSON object, where the upstream has no word for it: it is asked for in
//! words, at the end of the instructions.
//!
//! A schema of "some object" is no way: Bedrock and Anthropic decode only by schemas that close every object, and
//! one that is closed and names no member is always `{}` (stdapi-ai/stdapi.ai#96). A tool is none either: newer
//! Claudes cannot be made to call one (BerriAI/litellm#42717), nor can those that think. Clients have asked
//! in words already, because OpenAI's API refuses `json_object` unless the conversation speaks of JSON; what they
//! have not asked for is that nothing stands around it.

use crate::base::json::Text;
use crate::chat::{Content, Format, Part, Place, Request};

const ANSWER: &str =
    "Reply with a single JSON object and nothing else: no code fence around it, no words before or after it.";

/// Where there are tools the model may call one instead.
const ANSWER_OR_CALL: &str = "Unless you call a tool, reply with a single JSON object and nothing else: no code fence around it, \
     no words before or after it.";

/// Adds the instruction, if it is wanted. It goes last, so that what is in the cloud's cache stays good.
pub fn ask(request: &mut Request<'_>) {
    match request.format {
        Format::Text | Format::JsonSchema { .. } => return,
        Format::JsonObject => {}
    }
    let words = if request.tools.is_empty() { ANSWER } else { ANSWER_OR_CALL };
    let content = Content::Text(Text::from_escaped(words));
    request.system.push(Part { place: Place::System, content, cache: None, proof: None });
}
