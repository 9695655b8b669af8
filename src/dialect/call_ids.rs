//! Ids of tool calls that every cloud takes, so that a conversation may move between models.

use crate::base::json::Text;

/// The longest id of a call that every cloud takes: OpenAI (vercel/ai#5171). Bedrock takes 64 characters.
pub const LONGEST_ID: usize = 40;

/// How much of the reply's id goes into made-up ids of calls: `call_`, `_` and ten digits take the rest.
const LONGEST_MARK: usize = LONGEST_ID - 16;

/// Gives every call of a reply an id of its own.
#[derive(Default)]
pub struct CallIds {
    /// Marks the ids of calls that had none: clients must be able to tell those of a conversation apart.
    mark: Option<String>,
    given: Vec<String>,
}

impl CallIds {
    /// Takes the upstream's id of the reply, as far as it may be part of a call's id.
    pub fn mark(&mut self, id: Text<'_>) {
        self.mark = Some(
            id.escaped().bytes().filter(|b| is_id_byte(*b)).take(LONGEST_MARK).map(char::from).collect(),
        );
    }

    /// The upstream's own id where it is one and no other call has it, else a new one; nothing in it needs
    /// escaping. `name` is the function's: some servers send it for an id, turn after turn. `json` holds the
    /// call.
    pub fn make(&mut self, id: Option<Text<'_>>, name: Text<'_>, json: &str) -> String {
        let fits = |id: &str| {
            let known = self.given.iter().any(|given| given == id);
            (1..=LONGEST_ID).contains(&id.len())
                && id.bytes().all(is_id_byte)
                && id != name.escaped()
                && !known
        };
        let id = match id.map(Text::escaped).filter(|id| fits(id)) {
            Some(id) => id.to_owned(),
            None => {
                let mark = self.mark.get_or_insert_with(|| digest(json));
                format!("call_{mark}_{}", self.given.len())
            }
        };
        self.given.push(id.clone());
        id
    }
}

/// Another id for a call whose own is too long: the same for its result.
pub fn short(id: &str) -> String {
    format!("call_{}", digest(id))
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Stands in for an id that the upstream did not give: FNV-1a of the piece with the first call. The
/// token counts and arguments in it differ from turn to turn, and a test gives the same every time.
pub fn digest(json: &str) -> String {
    let hash = json
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_where_it_is_one_and_made_where_it_is_none() {
        let mut ids = CallIds::default();
        ids.mark(Text::from_escaped("chatcmpl-1/\\u00e9"));
        let name = Text::from_escaped("weather");
        let mut make =
            |id: &str| ids.make(Some(Text::from_escaped(id)).filter(|id| !id.is_empty()), name, "{}");
        assert_eq!(make("call_a"), "call_a");
        assert_eq!(make("call_a"), "call_chatcmpl-1u00e9_1", "another call has it");
        assert_eq!(make("weather"), "call_chatcmpl-1u00e9_2", "the name of the function");
        assert_eq!(make(""), "call_chatcmpl-1u00e9_3");
        assert_eq!(make("functions.weather:0"), "call_chatcmpl-1u00e9_4", "Bedrock takes no dots");
        assert_eq!(make(&"x".repeat(41)), "call_chatcmpl-1u00e9_5");
    }

    #[test]
    fn without_an_id_of_the_reply_the_call_itself_is_the_mark() {
        let make = |json| CallIds::default().make(None, Text::default(), json);
        assert_ne!(make("{\"a\":1}"), make("{\"a\":2}"));
        assert_eq!(make("{\"a\":1}"), make("{\"a\":1}"));
    }
}
