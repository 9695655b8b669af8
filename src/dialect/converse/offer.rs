//! What the model is offered to call, to what it is made, and the schema that its reply must fit.

use serde_json::value::RawValue;

use super::model::{self, Choice, Takes};
use crate::base::error::{Error, Kind};
use crate::base::json::Text;
use crate::chat::{Format, Request, Tool, ToolChoice};
use crate::dialect::schema::{ANSWER, NOT_BESIDE_TOOLS};

/// What the model is offered to call, and to what it is made. It may always call nothing where no choice
/// says otherwise, so that `auto` is never written: some models refuse the word.
pub struct Offer<'r, 'a> {
    pub tools: &'r [Tool<'a>],
    pub choice: Option<Choice>,
    /// The tool of [`Choice::Named`].
    pub named: &'r str,
    /// The schema of [`ANSWER`], if that is the one tool.
    pub answer: Option<Schema<'a>>,
}

impl<'r, 'a> Offer<'r, 'a> {
    /// Converse has no choice `none`, so there the tools are left out: what the model does not know it
    /// cannot call.
    ///
    /// # Errors
    /// What the model cannot be offered or made to, by its path.
    pub fn of(request: &'r Request<'a>, takes: Takes) -> Result<Self, Error> {
        let mut tools = request.tools.as_slice();
        let mut choice = None;
        let mut named = "";
        let spelling = request.spelling;
        match &request.tool_choice {
            None | Some(ToolChoice::Auto) => {}
            Some(ToolChoice::None) => tools = &[],
            Some(ToolChoice::Required) if tools.is_empty() => {
                let problem = "requires a call, but `tools` is empty";
                return Err(Error::at(Kind::WrongValue, "tool_choice", problem));
            }
            Some(ToolChoice::Required) => choice = Some(Choice::Any),
            Some(ToolChoice::Named(name)) => {
                let Some(at) = tools.iter().position(|tool| tool.name == *name) else {
                    let problem = "names a function that is not among `tools`";
                    return Err(Error::at(Kind::WrongValue, spelling.chosen_tool, problem));
                };
                (choice, named) = (Some(Choice::Named), name.as_str());
                if takes.choice == Choice::Any {
                    // To be made to call any of one tool is the same.
                    tools = tools.get(at..=at).unwrap_or_default();
                    choice = Some(Choice::Any);
                }
            }
        }
        if !tools.is_empty() && !takes.tools {
            return Err(Error::at(Kind::Unsupported, "tools", "this model calls no tools; leave them out"));
        }
        if choice.is_some_and(|choice| choice > takes.choice) {
            let problem = "this model cannot be made to call a tool; leave it out, or say `auto`";
            return Err(Error::at(Kind::Unsupported, "tool_choice", problem));
        }
        let answer = match (Schema::of(&request.format), takes.schema) {
            (None, _) | (_, model::Schema::Native) => None,
            (Some(_), model::Schema::None) => {
                let problem = "this model answers by no schema; ask for JSON in words, and check what comes";
                return Err(Error::at(Kind::Unsupported, spelling.format, problem));
            }
            (Some(_), model::Schema::Tool) if !tools.is_empty() => {
                return Err(Error::at(Kind::Unsupported, spelling.format, NOT_BESIDE_TOOLS));
            }
            (answer, model::Schema::Tool) => {
                (choice, named) = (Some(takes.choice), ANSWER);
                answer
            }
        };
        Ok(Self { tools, choice, named, answer })
    }

    /// There is something to call.
    pub fn is_made(&self) -> bool {
        !self.tools.is_empty() || self.answer.is_some()
    }
}

/// The schema that the reply must fit.
#[derive(Clone, Copy)]
pub struct Schema<'a> {
    pub name: Option<Text<'a>>,
    pub description: Option<Text<'a>>,
    pub schema: &'a RawValue,
}

impl<'a> Schema<'a> {
    /// The schema of a format that has one; for some JSON object it has been asked in words.
    pub fn of(format: &Format<'a>) -> Option<Self> {
        match *format {
            Format::Text | Format::JsonObject => None,
            Format::JsonSchema { name, description, schema } => Some(Self { name, description, schema }),
        }
    }
}
