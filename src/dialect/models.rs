//! The models of this gateway, as the clients' APIs list them.

use super::Client;
use crate::base::json::Writer;

/// A name that a client may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Model<'a> {
    pub id: &'a str,
    /// Whose cloud answers.
    pub owner: &'a str,
}

/// Some models of the list, in its order.
#[derive(Debug)]
pub struct Page<'a> {
    pub models: &'a [Model<'a>],
    /// There are more of them, further in the direction that was asked for.
    pub more: bool,
}

/// When every model was made, for clients that insist on a time: nobody tells this gateway, and an "epoch value if
/// the release date is unknown" is what Anthropic documents (`ModelInfo.created_at`, docs.claude.com/en/api/models).
const CREATED: u64 = 0;
const CREATED_AT: &str = "1970-01-01T00:00:00Z";

impl Client {
    /// Writes one model.
    pub fn write_model(self, model: Model<'_>, w: &mut Writer<'_>) {
        match self {
            // platform.openai.com/docs/api-reference/models/object
            Client::OpenAi => w.object(|w| {
                w.key("id").string(model.id);
                w.key("object").string("model");
                w.key("created").number(CREATED);
                w.key("owned_by").string(model.owner);
            }),
            // `ModelInfo` of the `anthropic` package 2.11
            Client::Anthropic => w.object(|w| {
                w.key("type").string("model");
                w.key("id").string(model.id);
                w.key("display_name").string(model.id);
                w.key("created_at").string(CREATED_AT);
                w.key("lifecycle").string("active");
                for unknown in
                    ["capabilities", "deprecated_at", "line", "max_input_tokens", "max_tokens", "retires_at"]
                {
                    w.key(unknown).null();
                }
            }),
        }
    }

    /// Writes a list of models.
    pub fn write_models(self, page: &Page<'_>, w: &mut Writer<'_>) {
        let id = |model: Option<&Model<'_>>, w: &mut Writer<'_>| match model {
            Some(model) => w.string(model.id),
            None => w.null(),
        };
        w.object(|w| {
            if self == Client::OpenAi {
                w.key("object").string("list");
            }
            w.key("data").array(|w| page.models.iter().for_each(|model| self.write_model(*model, w)));
            if self == Client::Anthropic {
                w.key("has_more").bool(page.more);
                id(page.models.first(), w.key("first_id"));
                id(page.models.last(), w.key("last_id"));
            }
        });
    }
}
