//! The members of a Messages request that are looked at, as Anthropic names them: docs.claude.com/en/api/messages.
//! Everything is optional here; what is required is asked for where a missing member can be named by its
//! path.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::request::Conversation;
use crate::base::json::{Count, Number, Str, Text, object};
use crate::dialect::reading::{CacheControl, Gathered, Tools};

object! {
    pub struct Body<'a> {
        model: Str<'a>,
        messages: Gathered<'a, Conversation<'a>>,
        system: &'a RawValue,
        max_tokens: Count<'a>,
        temperature: Number<'a>,
        top_p: Number<'a>,
        top_k: Count<'a>,
        stop_sequences: Vec<Text<'a>>,
        stream: bool,
        tools: Tools<Tool<'a>>,
        tool_choice: ToolChoice<'a>,
        thinking: Thinking<'a>,
        output_config: OutputConfig<'a>,
        output_format: OutputFormat<'a>,
        cache_control: CacheControl<'a>,
        service_tier: Str<'a>,
    }
}

object! {
    pub struct Message<'a> {
        role: Str<'a>,
        content: &'a RawValue,
    }
}

object! {
    /// A content block of any type; `type` tells which members mean something.
    pub struct Block<'a> {
        kind as "type": Str<'a>,
        text: Text<'a>,
        /// An object, or a string in a search result.
        source: &'a RawValue,
        title: Text<'a>,
        context: Text<'a>,
        /// An object, or an array in a text block.
        citations: &'a RawValue,
        id: Str<'a>,
        name: Str<'a>,
        input: &'a RawValue,
        tool_use_id: Str<'a>,
        /// A string or an array.
        content: &'a RawValue,
        is_error: bool,
        thinking: Text<'a>,
        signature: Text<'a>,
        data: Text<'a>,
        cache_control: CacheControl<'a>,
        caller: Caller<'a>,
    }
}

/// Who made a tool call: the model itself, or a tool of Anthropic's.
#[derive(Deserialize)]
pub struct Caller<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Option<Str<'a>>,
}

object! {
    pub struct Source<'a> {
        kind as "type": Str<'a>,
        media_type: Str<'a>,
        data: Text<'a>,
        url: Text<'a>,
        content: &'a RawValue,
    }
}

#[derive(Deserialize)]
pub struct Citations {
    pub enabled: Option<bool>,
}

object! {
    pub struct Tool<'a> {
        kind as "type": Str<'a>,
        name: Str<'a>,
        description: Text<'a>,
        input_schema: &'a RawValue,
        strict: bool,
        cache_control: CacheControl<'a>,
        allowed_callers: Vec<Str<'a>>,
        defer_loading: bool,
    }
}

object! {
    pub struct ToolChoice<'a> {
        kind as "type": Str<'a>,
        name: Str<'a>,
        disable_parallel_tool_use: bool,
    }
}

object! {
    pub struct Thinking<'a> {
        kind as "type": Str<'a>,
        budget_tokens: Count<'a>,
        display: Str<'a>,
    }
}

object! {
    pub struct OutputConfig<'a> {
        effort: Str<'a>,
        format: OutputFormat<'a>,
    }
}

object! {
    pub struct OutputFormat<'a> {
        kind as "type": Str<'a>,
        schema: &'a RawValue,
    }
}
