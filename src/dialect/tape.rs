//! A JSON text as a flat list of its values: read in one pass, borrowed, and walked in any order.

use std::borrow::Cow;

use memchr::memchr2;

use crate::base::json::Text;

/// The values of a JSON text in the order in which they begin.
pub struct Tape<'a> {
    json: &'a str,
    entries: Vec<Entry<'a>>,
}

struct Entry<'a> {
    /// The member's name; empty for items and for the whole.
    key: Text<'a>,
    start: usize,
    end: usize,
    /// The first entry that is not part of this value.
    next: usize,
}

/// How deep values may stand inside each other. Schemas of people stay below 30; Google refuses what is
/// much deeper, and whoever walks the values recurses as deep.
pub const MOST_DEPTH: usize = 100;

/// How much of a member's name a path shows.
const LONGEST_STEP: usize = 64;

impl<'a> Tape<'a> {
    /// Reads a text that is known to be JSON; `None` when it is deeper than [`MOST_DEPTH`].
    pub fn read(json: &'a str) -> Option<Self> {
        let bytes = json.as_bytes();
        // A value and its name take some 24 bytes of a schema.
        let mut entries: Vec<Entry<'a>> = Vec::with_capacity(json.len() / 24 + 1);
        let mut open: Vec<usize> = Vec::new();
        let (mut at, mut key, mut is_key) = (0, Text::default(), false);
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => at += 1,
                b':' => {
                    is_key = false;
                    at += 1;
                }
                b',' => {
                    let parent = open.last().and_then(|&index| entries.get(index));
                    is_key = parent.and_then(|entry| bytes.get(entry.start)) == Some(&b'{');
                    at += 1;
                }
                b'{' | b'[' => {
                    if open.len() >= MOST_DEPTH {
                        return None;
                    }
                    is_key = byte == b'{';
                    open.push(entries.len());
                    entries.push(Entry { key: std::mem::take(&mut key), start: at, end: at, next: 0 });
                    at += 1;
                }
                b'}' | b']' => {
                    at += 1;
                    let next = entries.len();
                    let entry = open.pop().and_then(|index| entries.get_mut(index))?;
                    (entry.end, entry.next) = (at, next);
                    is_key = false;
                }
                _ => {
                    let end = if byte == b'"' { string_end(bytes, at) } else { token_end(bytes, at) };
                    if is_key {
                        let inside = json.get(at + 1..end.saturating_sub(1)).unwrap_or_default();
                        key = Text::from_escaped(inside);
                    } else {
                        let next = entries.len() + 1;
                        entries.push(Entry { key: std::mem::take(&mut key), start: at, end, next });
                    }
                    at = end;
                }
            }
        }
        Some(Self { json, entries })
    }

    /// The whole.
    pub fn root(&self) -> Value<'_, 'a> {
        Value { tape: self, at: 0 }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// A member whose object has another of the same name before it.
    pub fn duplicate(&self) -> Option<Value<'_, 'a>> {
        let mut names: Vec<(Cow<'a, str>, usize)> = Vec::new();
        for at in 0..self.entries.len() {
            let value = Value { tape: self, at };
            if !value.is_object() {
                continue;
            }
            names.clear();
            names.extend(value.children().map(|child| (child.key().unescape(), child.at)));
            names.sort_unstable();
            let twice = names.windows(2).find_map(|pair| match pair {
                [(one, _), (other, at)] if one == other => Some(*at),
                _ => None,
            });
            if let Some(at) = twice {
                return Some(Value { tape: self, at });
            }
        }
        None
    }
}

/// Where the string that begins at `start` ends, its quotes included.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
            Some(found) if bytes.get(at + found) == Some(&b'"') => return at + found + 1,
            Some(found) => at += found + 2,
            None => return bytes.len(),
        }
    }
}

fn token_end(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
    length.map_or(bytes.len(), |length| start + length)
}

/// One value of a [`Tape`].
#[derive(Clone, Copy)]
pub struct Value<'t, 'a> {
    tape: &'t Tape<'a>,
    at: usize,
}

impl PartialEq for Value<'_, '_> {
    /// The same place, rather than the same text.
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<'t, 'a> Value<'t, 'a> {
    fn entry(self) -> Option<&'t Entry<'a>> {
        self.tape.entries.get(self.at)
    }

    /// Its number on the tape, below [`Tape::len`].
    pub fn at(self) -> usize {
        self.at
    }

    /// The member's name; empty for items and for the whole.
    pub fn key(self) -> Text<'a> {
        self.entry().map(|entry| entry.key).unwrap_or_default()
    }

    /// The value as it was written.
    pub fn token(self) -> &'a str {
        self.entry().and_then(|entry| self.tape.json.get(entry.start..entry.end)).unwrap_or_default()
    }

    pub fn is(self, token: &str) -> bool {
        self.token() == token
    }

    pub fn is_object(self) -> bool {
        self.token().starts_with('{')
    }

    pub fn is_array(self) -> bool {
        self.token().starts_with('[')
    }

    pub fn is_number(self) -> bool {
        self.token().starts_with(|c: char| c == '-' || c.is_ascii_digit())
    }

    /// The inside of a string.
    pub fn text(self) -> Option<Text<'a>> {
        self.token().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(Text::from_escaped)
    }

    /// The members of an object or the items of an array; none of anything else.
    pub fn children(self) -> impl Iterator<Item = Value<'t, 'a>> + Clone {
        let (tape, end) = (self.tape, self.entry().map_or(0, |entry| entry.next));
        let first = Some(self.at + 1).filter(|&at| at < end);
        std::iter::successors(first, move |&at| {
            tape.entries.get(at).map(|entry| entry.next).filter(|&next| next < end)
        })
        .map(move |at| Value { tape, at })
    }

    /// The member of this name.
    pub fn get(self, name: &str) -> Option<Value<'t, 'a>> {
        self.children().find(|child| child.key().unescape() == name)
    }

    /// Where it stands in the whole, such as `.properties.x.enum[2]`.
    pub fn path(self) -> String {
        let mut path = String::new();
        let mut here = self.tape.root();
        while here.at < self.at {
            let holds = |child: &Value<'_, '_>| {
                child.at <= self.at && child.entry().is_some_and(|entry| self.at < entry.next)
            };
            let Some((index, child)) = here.children().enumerate().find(|(_, child)| holds(child)) else {
                break;
            };
            if here.is_object() {
                path.push('.');
                path.extend(child.key().unescape().chars().take(LONGEST_STEP));
            } else {
                path.push_str(&format!("[{index}]"));
            }
            here = child;
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#" { "a" : [ 1 , -2.50e1 , "x\"]}" , [ ] ] ,"b\u0062":{"c":null,"d":{"e":true}} , "f":"" } "#;

    #[test]
    fn every_value_is_found_as_it_was_written() {
        let tape = Tape::read(JSON).unwrap();
        let root = tape.root();
        let keys: Vec<_> = root.children().map(|child| child.key().unescape().into_owned()).collect();
        assert_eq!(keys, ["a", "bb", "f"]);
        let items: Vec<_> = root.get("a").unwrap().children().map(Value::token).collect();
        assert_eq!(items, ["1", "-2.50e1", r#""x\"]}""#, "[ ]"]);
        let e = root.get("bb").and_then(|b| b.get("d")).and_then(|d| d.get("e")).unwrap();
        assert_eq!((e.token(), e.path().as_str()), ("true", ".bb.d.e"));
        let empty = root.get("a").unwrap().children().nth(3).unwrap();
        assert_eq!((empty.path().as_str(), empty.children().count()), (".a[3]", 0));
        assert_eq!(root.get("f").unwrap().text(), Some(Text::default()));
        assert_eq!((root.token(), tape.len()), (JSON.trim(), 11));
    }

    #[test]
    fn a_name_given_twice_is_found_however_it_is_escaped() {
        assert!(Tape::read(JSON).unwrap().duplicate().is_none());
        let tape = Tape::read(r#"[{"a":1},{"x":{"a":1,"b":2,"\u0061":3}}]"#).unwrap();
        let twice = tape.duplicate().unwrap();
        assert_eq!((twice.token(), twice.path().as_str()), ("3", "[1].x.a"));
    }

    #[test]
    fn what_is_too_deep_is_not_read() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(Tape::read(&nested(MOST_DEPTH)).is_some());
        assert!(Tape::read(&nested(MOST_DEPTH + 1)).is_none());
    }
}
