//! The members of a chat completion request that are looked at, as OpenAI names them:
//! platform.openai.com/docs/api-reference/chat/create. Everything is optional here; what is required is
//! asked for where a missing member can be named by its path.

use serde_json::value::RawValue;

use super::request::Conversation;
use crate::base::json::{Count, Number, Str, Text, object};
use crate::dialect::reading::{CacheControl, Gathered, Tools};

object! {
    pub struct Body<'a> {
        model: Str<'a>,
        messages: Gathered<'a, Conversation<'a>>,
        stream: bool,
        stream_options: StreamOptions<'a>,
        max_tokens: Count<'a>,
        max_completion_tokens: Count<'a>,
        temperature: Number<'a>,
        top_p: Number<'a>,
        stop: &'a RawValue,
        seed: Number<'a>,
        presence_penalty: Number<'a>,
        frequency_penalty: Number<'a>,
        tools: Tools<Tool<'a>>,
        tool_choice: &'a RawValue,
        parallel_tool_calls: bool,
        response_format: ResponseFormat<'a>,
        reasoning_effort: Str<'a>,
        user: Text<'a>,
        safety_identifier: Text<'a>,
        service_tier: Str<'a>,
    }
}

object! {
    pub struct StreamOptions<'a> {
        include_usage: bool,
    }
}

object! {
    pub struct Message<'a> {
        role: Str<'a>,
        content: &'a RawValue,
        refusal: Text<'a>,
        tool_calls: Tools<ToolCall<'a>>,
        tool_call_id: Str<'a>,
        function_call: &'a RawValue,
        audio: &'a RawValue,
        reasoning_content: Text<'a>,
        thinking_blocks: Vec<&'a RawValue>,
        extra_content: ExtraContent<'a>,
        cache_control: CacheControl<'a>,
    }
}

object! {
    pub struct Part<'a> {
        kind as "type": Str<'a>,
        text: Text<'a>,
        refusal: Text<'a>,
        image_url: ImageUrl<'a>,
        file: File<'a>,
        input_audio: InputAudio<'a>,
        video_url: ImageUrl<'a>,
        audio_url: ImageUrl<'a>,
        cache_control: CacheControl<'a>,
        prompt_cache_breakpoint: CacheBreakpoint<'a>,
    }
}

object! {
    /// `PromptCacheBreakpoint` of the `openai` package 3.52: OpenAI's own word for a mark of the cache.
    pub struct CacheBreakpoint<'a> {
        mode: Str<'a>,
        ttl: Str<'a>,
    }
}

object! {
    /// A block of thoughts, as the replies of this and of other gateways have it.
    pub struct ThinkingBlock<'a> {
        kind as "type": Str<'a>,
        thinking: Text<'a>,
        signature: Text<'a>,
        data: Text<'a>,
    }
}

object! {
    pub struct File<'a> {
        file_data: Text<'a>,
        filename: Text<'a>,
        file_id: &'a RawValue,
        /// The media type of what is at an address, as LiteLLM's clients tell it.
        format: Str<'a>,
    }
}

object! {
    pub struct InputAudio<'a> {
        /// Base64.
        data: Text<'a>,
        /// Such as `wav`.
        format: Str<'a>,
    }
}

object! {
    pub struct ImageUrl<'a> {
        url: Text<'a>,
        /// As in [`File`].
        format: Str<'a>,
    }
}

object! {
    pub struct ToolCall<'a> {
        id: Str<'a>,
        kind as "type": Str<'a>,
        function: FunctionCall<'a>,
        extra_content: ExtraContent<'a>,
    }
}

object! {
    pub struct FunctionCall<'a> {
        name: Str<'a>,
        arguments: Text<'a>,
    }
}

object! {
    /// Where Google's own OpenAI endpoint puts what its models want back:
    /// ai.google.dev/gemini-api/docs/thought-signatures.
    pub struct ExtraContent<'a> {
        google: GoogleContent<'a>,
    }
}

object! {
    pub struct GoogleContent<'a> {
        thought_signature: Text<'a>,
    }
}

object! {
    pub struct Tool<'a> {
        kind as "type": Str<'a>,
        function: Function<'a>,
        cache_control: CacheControl<'a>,
    }
}

object! {
    pub struct Function<'a> {
        name: Str<'a>,
        description: Text<'a>,
        parameters: &'a RawValue,
        strict: bool,
    }
}

object! {
    pub struct ToolChoice<'a> {
        kind as "type": Str<'a>,
        function: ChosenFunction<'a>,
        allowed_tools: AllowedTools<'a>,
    }
}

object! {
    /// `ChatCompletionAllowedToolsParam` of the `openai` package 3.52.
    pub struct AllowedTools<'a> {
        mode: Str<'a>,
        tools: Tools<AllowedTool<'a>>,
    }
}

object! {
    pub struct AllowedTool<'a> {
        kind as "type": Str<'a>,
        function: ChosenFunction<'a>,
    }
}

object! {
    pub struct ChosenFunction<'a> {
        name: Str<'a>,
    }
}

object! {
    pub struct ResponseFormat<'a> {
        kind as "type": Str<'a>,
        json_schema: JsonSchema<'a>,
    }
}

object! {
    pub struct JsonSchema<'a> {
        name: Text<'a>,
        description: Text<'a>,
        schema: &'a RawValue,
        strict: bool,
    }
}
