//! JSON at the edges: borrowed reading, text carried unread, and a writer that pastes it.
//!
//! A chat body is mostly text that nobody here needs to understand. It is carried as the inside of its
//! JSON string literal, escapes untouched ([`Text`]), and pasted into the outgoing body as it came.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use memchr::memchr;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The inside of a JSON string literal: escaped, without the quotes.
///
/// Pasting one into a JSON string is always valid, and so is joining two. It may hold lone surrogates
/// (`\ud83d`), which a decoding parser would refuse.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    /// Takes text that needs no escaping: no quote, backslash or control character.
    /// `None` where the text would need it.
    pub fn plain(text: &'a str) -> Option<Self> {
        text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\').then_some(Self(text))
    }

    /// Takes back what [`Text::escaped`] gave, or several of them joined.
    pub const fn from_escaped(escaped: &'a str) -> Self {
        Self(escaped)
    }

    /// Reads a JSON token; `None` unless it is a string.
    pub fn from_raw(raw: &'a RawValue) -> Option<Self> {
        raw.get().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).map(Self)
    }

    /// The escaped inside.
    pub fn escaped(self) -> &'a str {
        self.0
    }

    /// Bytes of its JSON form, without the quotes.
    pub fn length(self) -> usize {
        self.escaped().len()
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// How many characters it stands for, a pair of surrogates being one.
    pub fn characters(self) -> u64 {
        let characters = |text: &str| text.chars().count() as u64;
        let mut pieces = self.0.split('\\');
        let mut count = pieces.next().map_or(0, characters);
        while let Some(piece) = pieces.next() {
            count = count.saturating_add(match (piece.as_bytes().first(), code_unit(piece)) {
                // `\\`: the piece behind it is no escape.
                (None, _) => 1 + pieces.next().map_or(0, characters),
                // The second of a pair was counted with the first.
                (Some(b'u'), Some(0xdc00..0xe000)) => characters(piece).saturating_sub(5),
                (Some(b'u'), _) => characters(piece).saturating_sub(4),
                (Some(_), _) => characters(piece),
            });
        }
        count
    }

    /// Splits at the first `separator`, which must be a character that JSON never escapes.
    pub fn split_once(self, separator: char) -> Option<(Self, Self)> {
        self.0.split_once(separator).map(|(before, after)| (Self(before), Self(after)))
    }

    /// Nothing but white space, written plainly or as an escape. Bedrock refuses such text blocks.
    pub fn is_blank(self) -> bool {
        let mut rest = self.0;
        loop {
            rest = rest.trim_start();
            let Some(after) = rest.strip_prefix('\\') else { return rest.is_empty() };
            rest = match after.as_bytes().first() {
                Some(b'n' | b't' | b'r' | b'f') => after.get(1..).unwrap_or_default(),
                Some(b'u') => match unicode_escape(after) {
                    Some(c) if c.is_whitespace() => after.get(5..).unwrap_or_default(),
                    _ => return false,
                },
                _ => return false,
            };
        }
    }

    /// The same without white space at its end, written plainly or as an escape.
    pub fn trim_end(self) -> Self {
        let mut end = 0;
        let mut rest = self.0;
        while let Some(first) = rest.chars().next() {
            let escape = rest.strip_prefix('\\').unwrap_or_default();
            let (length, blank) = match escape.as_bytes().first() {
                None => (first.len_utf8(), first.is_whitespace()),
                Some(b'n' | b't' | b'r' | b'f') => (2, true),
                Some(b'u') => (6, unicode_escape(escape).is_some_and(char::is_whitespace)),
                Some(_) => (2, false),
            };
            rest = rest.get(length..).unwrap_or_default();
            if !blank {
                end = self.0.len() - rest.len();
            }
        }
        Self(self.0.get(..end).unwrap_or(self.0))
    }

    /// The text itself. Borrows unless there are escapes; lone surrogates become U+FFFD.
    pub fn unescape(self) -> Cow<'a, str> {
        if split_at_escape(self.0).is_none() {
            return Cow::Borrowed(self.0);
        }
        let mut text = String::with_capacity(self.0.len());
        self.pieces(|piece| match piece {
            Piece::Text(piece) => text.push_str(piece),
            Piece::Char(character) => text.push(character),
        });
        Cow::Owned(text)
    }

    /// Gives the text itself, like [`Text::unescape`], in pieces that nobody has to put together.
    pub fn pieces(self, mut take: impl FnMut(Piece<'_>)) {
        let mut rest = self.0;
        while let Some((before, escape)) = split_at_escape(rest) {
            take(Piece::Text(before));
            let (character, length) = match escape.as_bytes().first() {
                Some(b'n') => ('\n', 1),
                Some(b't') => ('\t', 1),
                Some(b'r') => ('\r', 1),
                Some(b'b') => ('\u{8}', 1),
                Some(b'f') => ('\u{c}', 1),
                Some(b'u') => unicode_pair(escape),
                // `\"`, `\\` and `\/` stand for themselves.
                Some(&other) => (char::from(other), 1),
                None => break,
            };
            take(Piece::Char(character));
            rest = escape.get(length..).unwrap_or_default();
        }
        take(Piece::Text(rest));
    }
}

/// A piece of a text: what stands there as it is, or the character of an escape.
pub enum Piece<'a> {
    Text(&'a str),
    Char(char),
}

/// What stands before the first backslash and behind it. Arguments of tool calls are full of them, and `str::find` takes
/// longer to set out.
fn split_at_escape(text: &str) -> Option<(&str, &str)> {
    let (before, escape) = text.split_at_checked(memchr(b'\\', text.as_bytes())?)?;
    Some((before, escape.strip_prefix('\\')?))
}

/// The character of `uXXXX`; `None` for surrogates and for anything else.
fn unicode_escape(escape: &str) -> Option<char> {
    char::from_u32(code_unit(escape)?)
}

fn code_unit(escape: &str) -> Option<u32> {
    let digits = escape.strip_prefix('u')?.get(..4)?;
    u32::from_str_radix(digits, 16).ok()
}

/// Decodes `uXXXX` or `uXXXX\uXXXX`; gives the character and how many bytes it took.
fn unicode_pair(escape: &str) -> (char, usize) {
    let Some(high) = code_unit(escape) else { return (char::REPLACEMENT_CHARACTER, 1) };
    if let Some(character) = char::from_u32(high) {
        return (character, 5);
    }
    let low = escape.get(5..).and_then(|rest| rest.strip_prefix('\\')).and_then(code_unit);
    match low {
        Some(low) if (0xd800..0xdc00).contains(&high) && (0xdc00..0xe000).contains(&low) => {
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 11)
        }
        _ => (char::REPLACEMENT_CHARACTER, 5),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Text::from_raw(raw).ok_or_else(|| de::Error::custom(wrong_type(raw, "a string")))
    }
}

/// Texts as lines of one: two must not run into one word.
pub fn lines<'a>(texts: impl IntoIterator<Item = Text<'a>>) -> Vec<Text<'a>> {
    let mut lines = Vec::new();
    for text in texts {
        if !lines.is_empty() {
            lines.push(Text("\\n"));
        }
        lines.push(text);
    }
    lines
}

/// A decoded string that borrows where the JSON has no escapes. For short strings that are looked at:
/// roles, types, names. (`Option<Cow<str>>` never borrows under serde, hence a type of our own.)
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Str<'a>(pub Cow<'a, str>);

impl Str<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Str<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Str(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Str(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// A number as it was written, so that `0`, `1.0` and `0.1` leave as they came.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Number<'a>(&'a str);

impl<'a> Number<'a> {
    pub const ZERO: Number<'static> = Number("0");

    /// Reads a JSON token; `None` unless it is a number.
    pub fn from_raw(raw: &'a RawValue) -> Option<Self> {
        let token = raw.get();
        matches!(token.as_bytes().first(), Some(b'-' | b'0'..=b'9')).then_some(Self(token))
    }

    /// The digits as written.
    pub fn token(self) -> &'a str {
        self.0
    }

    /// The value; a number too large for an `f64` is infinite, as IEEE 754 has it.
    pub fn value(self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Number<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Number::from_raw(raw).ok_or_else(|| de::Error::custom(wrong_type(raw, "a number")))
    }
}

/// A whole number of zero or more, kept as written (`100` but not `100.5`, `-1` or `"100"`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Count<'a>(&'a str);

impl<'a> Count<'a> {
    /// The digits as written.
    pub fn token(self) -> &'a str {
        self.0
    }

    /// The value; one that does not fit is `u64::MAX`.
    pub fn value(self) -> u64 {
        self.0.parse().unwrap_or(u64::MAX)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Count<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let digits = raw.get();
        let whole = digits.bytes().all(|b| b.is_ascii_digit());
        whole
            .then_some(Self(digits))
            .ok_or_else(|| de::Error::custom(wrong_type(raw, "a whole number of zero or more")))
    }
}

/// The members of an object in the order they came, values unread.
#[derive(Clone, Debug, Default)]
pub struct Fields<'a>(pub Vec<(Str<'a>, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The member of a name; the last of several, as JSON parsers have it.
    pub fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().rev().find(|(known, _)| known.as_str() == name).map(|(_, raw)| *raw)
    }

    /// The same, if it is a text.
    pub fn text(&self, name: &str) -> Option<Text<'a>> {
        self.get(name).and_then(Text::from_raw)
    }

    /// The members that are not `null`.
    pub fn given(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (name.as_str(), *raw)).filter(|(_, raw)| raw.get() != "null")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Takes the indentation out of a JSON text, such as Google puts into whole replies.
pub fn compact(json: &str) -> Cow<'_, str> {
    if !json.contains('\n') {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    Cow::Owned(out)
}

/// Says what a token is instead of what it should be, without showing it: it may be a prompt.
pub fn wrong_type(raw: &RawValue, wanted: &str) -> String {
    let found = match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    };
    format!("expected {wanted}, found {found}")
}

/// Declares a struct for a JSON object of which every member is optional and unknown members are kept.
///
/// serde's `flatten` can hold no raw slices and `deny_unknown_fields` would refuse what a newer client
/// may say, so the catch-all is written here once. `null` counts as absent, as OpenAI's API has it.
/// A wire name that is no Rust name is given with `as`.
macro_rules! object {
    ($(#[$doc:meta])* $vis:vis struct $name:ident<$life:lifetime> {
        $($(#[$field_doc:meta])* $field:ident $(as $wire:literal)? : $type:ty,)*
    }) => {
        $(#[$doc])*
        $vis struct $name<$life> {
            $($(#[$field_doc])* pub $field: Option<$type>,)*
            /// Members that are not listed above.
            pub other: $crate::base::json::Fields<$life>,
        }

        impl<$life> $name<$life> {
            /// The names of the listed members that were given and are not `null`.
            #[allow(dead_code, reason = "not every object is asked")]
            pub fn known(&self) -> impl Iterator<Item = &'static str> {
                let known = [$((self.$field.is_some(), $crate::base::json::object!(@wire $field $($wire)?)),)*];
                known.into_iter().filter_map(|(given, name)| given.then_some(name))
            }
        }

        impl<'de: $life, $life> serde::Deserialize<'de> for $name<$life> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Read<$life>(std::marker::PhantomData<&$life ()>);
                impl<'de: $life, $life> serde::de::Visitor<'de> for Read<$life> {
                    type Value = $name<$life>;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<Self::Value, A::Error> {
                        $(let mut $field: Option<Option<$type>> = None;)*
                        let mut other = $crate::base::json::Fields::default();
                        while let Some(key) = map.next_key::<$crate::base::json::Str<$life>>()? {
                            match key.as_str() {
                                $($crate::base::json::object!(@wire $field $($wire)?) => {
                                    if $field.is_some() {
                                        return Err(serde::de::Error::duplicate_field(
                                            $crate::base::json::object!(@wire $field $($wire)?),
                                        ));
                                    }
                                    $field = Some(map.next_value()?);
                                })*
                                _ => other.0.push((key, map.next_value()?)),
                            }
                        }
                        Ok($name { $($field: $field.flatten(),)* other })
                    }
                }
                deserializer.deserialize_map(Read(std::marker::PhantomData))
            }
        }
    };
    (@wire $field:ident) => { stringify!($field) };
    (@wire $field:ident $wire:literal) => { $wire };
}
pub(crate) use object;

/// Why a JSON text could not be read, with the place for a person to look.
#[derive(Debug, PartialEq)]
pub struct Unreadable {
    /// Path inside the text that was read, such as `image_url.url`; empty for the text itself.
    pub path: String,
    /// What is wrong, without any of the text.
    pub problem: String,
    /// Not JSON at all, rather than JSON of another shape.
    pub syntax: bool,
}

/// Reads JSON. Only when that fails, reads it again more slowly to learn where.
pub fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Unreadable> {
    serde_json::from_str(text).map_err(|_| explain::<T>(text))
}

/// Reads an array as [`read`] does, item by item.
pub fn each<'a, T: Deserialize<'a>>(text: &'a str, take: impl FnMut(T)) -> Result<(), Unreadable> {
    struct Items<T>(PhantomData<T>);
    impl<'a, T: Deserialize<'a>> Deserialize<'a> for Items<T> {
        fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
            Each::new(|_: T| {}).deserialize(deserializer).map(|()| Self(PhantomData))
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = Each::new(take).deserialize(&mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|_| explain::<Items<T>>(text))
}

/// Takes the items of an array one by one, as they are read. They may be so many that a list of them would not fit;
/// and a list of their raw texts has to be read once more.
pub struct Each<T, F>(F, PhantomData<T>);

impl<T, F: FnMut(T)> Each<T, F> {
    pub fn new(take: F) -> Self {
        Self(take, PhantomData)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> DeserializeSeed<'de> for Each<T, F> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>, F: FnMut(T)> Visitor<'de> for Each<T, F> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            (self.0)(item);
        }
        Ok(())
    }
}

/// The first items of an array, and how many it has.
#[derive(Debug)]
pub struct First<T, const MOST: usize> {
    pub items: Vec<T>,
    pub count: usize,
}

impl<T, const MOST: usize> Default for First<T, MOST> {
    fn default() -> Self {
        Self { items: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for First<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut first = Self::default();
        let take = |item: T| {
            first.count = first.count.saturating_add(1);
            if first.items.len() < MOST {
                first.items.push(item);
            }
        };
        Each::new(take).deserialize(deserializer)?;
        Ok(first)
    }
}

#[cold]
fn explain<'a, T: Deserialize<'a>>(text: &'a str) -> Unreadable {
    let deserializer = &mut serde_json::Deserializer::from_str(text);
    let (path, error) = match serde_path_to_error::deserialize::<_, T>(&mut *deserializer) {
        Ok(_) => match deserializer.end() {
            Err(error) => (String::new(), error),
            Ok(()) => return Unreadable { path: String::new(), problem: "unreadable".into(), syntax: true },
        },
        Err(error) => {
            let path = error.path().to_string();
            // `?` is the library's word for a place it could not name.
            (if matches!(path.as_str(), "." | "?") { String::new() } else { path }, error.into_inner())
        }
    };
    let syntax = !error.is_data();
    Unreadable { path, problem: if syntax { error.to_string() } else { describe(&error) }, syntax }
}

/// Says what is wrong with JSON of another shape. serde's message for a wrong type quotes the value
/// (`invalid type: string "secret"`) and counts positions from the start of a part that the client never
/// sees alone: only the kinds are kept, in JSON's words.
pub fn describe(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
    // Derived structs would take a list of their members, too, and complain of its length.
    if message.starts_with("invalid length ") {
        return "expected an object, found an array".to_owned();
    }
    let Some((found, wanted)) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return message.to_owned();
    };
    let found = match found.split([' ', '`']).next() {
        Some("map") => "an object",
        Some("sequence") => "an array",
        Some("string") => "a string",
        Some("boolean") => "a boolean",
        Some("null" | "unit") => "null",
        _ => "a number",
    };
    let wanted = match wanted {
        "a sequence" => "an array",
        wanted if wanted == "a map" || wanted.starts_with("struct ") => "an object",
        "u64" | "usize" | "u32" => "a whole number of zero or more",
        other => other,
    };
    format!("expected {wanted}, found {found}")
}

/// Writes JSON into a caller's buffer and sets the commas itself.
///
/// Values go in through closures, so that what is opened is closed. The buffer may already hold bytes
/// (the `data: ` of an event, which ends in a blank); a comma is written only after a byte that ends a value.
pub struct Writer<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Writes `"key":`; the value must follow. `key` is one of ours and needs no escaping.
    pub fn key(&mut self, key: &'static str) -> &mut Self {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self
    }

    /// Writes a key that came from outside.
    pub fn foreign_key(&mut self, key: &str) -> &mut Self {
        self.string(key);
        self.out.push(b':');
        self
    }

    /// Writes an object and gives what `members` gives.
    pub fn object<T>(&mut self, members: impl FnOnce(&mut Writer<'_>) -> T) -> T {
        self.separate();
        self.out.push(b'{');
        let outcome = members(self);
        self.out.push(b'}');
        outcome
    }

    /// Writes an array and gives what `items` gives.
    pub fn array<T>(&mut self, items: impl FnOnce(&mut Writer<'_>) -> T) -> T {
        self.separate();
        self.out.push(b'[');
        let outcome = items(self);
        self.out.push(b']');
        outcome
    }

    /// Pastes text that is escaped already.
    pub fn text(&mut self, text: Text<'_>) {
        self.texts(&[text]);
    }

    /// Pastes several texts as one string.
    pub fn texts(&mut self, texts: &[Text<'_>]) {
        self.separate();
        self.out.push(b'"');
        for text in texts {
            self.out.extend_from_slice(text.0.as_bytes());
        }
        self.out.push(b'"');
    }

    /// Escapes and writes a string.
    pub fn string(&mut self, text: &str) {
        self.separate();
        // Writing a str into a Vec has no way to fail.
        let _ = serde_json::to_writer(&mut *self.out, text);
    }

    /// Pastes a JSON value that was read but not looked at.
    pub fn raw(&mut self, raw: &RawValue) {
        self.token(raw.get());
    }

    /// Pastes a complete JSON value that the caller has checked.
    pub fn token(&mut self, token: &str) {
        self.separate();
        // White space at its end would hide from the next member that a comma is due.
        self.out.extend_from_slice(token.trim_ascii().as_bytes());
    }

    /// Pastes members or items that another [`Writer`] wrote, with the commas between them.
    pub fn written(&mut self, members: &[u8]) {
        self.separate();
        self.out.extend_from_slice(members);
    }

    /// Writes bytes as a string of base64 (RFC 4648, section 4).
    pub fn base64(&mut self, bytes: &[u8]) {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        self.separate();
        self.out.reserve(bytes.len().div_ceil(3).saturating_mul(4).saturating_add(2));
        self.out.push(b'"');
        for group in bytes.chunks(3) {
            let byte = |at: usize| group.get(at).map_or(0, |byte| u32::from(*byte));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            let letter = |shift: u32| LETTERS.get((bits >> shift) as usize & 63).copied().unwrap_or(b'=');
            let mut quad = [letter(18), letter(12), letter(6), letter(0)];
            // What stands for no byte is padding.
            for letter in quad.iter_mut().skip(group.len() + 1) {
                *letter = b'=';
            }
            self.out.extend_from_slice(&quad);
        }
        self.out.push(b'"');
    }

    pub fn number(&mut self, number: u64) {
        self.separate();
        let _ = serde_json::to_writer(&mut *self.out, &number);
    }

    pub fn bool(&mut self, value: bool) {
        self.token(if value { "true" } else { "false" });
    }

    pub fn null(&mut self) {
        self.token("null");
    }

    /// JSON values end in none of these bytes, so what stands before tells whether a comma is due.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':' | b',' | b' ' | b'\n')) {
            self.out.push(b',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(literal: &str) -> Text<'_> {
        serde_json::from_str(literal).unwrap()
    }

    #[test]
    fn unescaping_gives_what_a_json_parser_gives() {
        for literal in [
            r#""""#,
            r#""plain é 🎈""#,
            r#""a\"b\\c\/d\b\f\n\r\te""#,
            r#""\u00e9\ud83c\udf88\u0000""#,
            r#""\\u0041""#,
            r#""ends in \\""#,
        ] {
            let expected: String = serde_json::from_str(literal).unwrap();
            assert_eq!(text(literal).unescape(), expected, "{literal}");
            assert_eq!(text(literal).characters(), expected.chars().count() as u64, "{literal}");
        }
    }

    #[test]
    fn white_space_at_the_end_goes_however_it_is_written() {
        for (literal, trimmed) in [
            (r#""""#, r#""""#),
            (r#"" a b ""#, r#"" a b""#),
            (r#""a\n\t\u00a0\u0020 ""#, r#""a""#),
            (r#""a\\n""#, r#""a\\n""#),
            (r#""a\\\n""#, r#""a\\""#),
            (r#""a\" \r""#, r#""a\"""#),
            (r#""\ud83d\ude00 ""#, r#""\ud83d\ude00""#),
            ("\"é\u{2003}\"", "\"é\""),
        ] {
            assert_eq!(text(literal).trim_end(), text(trimmed), "{literal}");
        }
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        for (literal, expected) in [
            (r#""\ud83c""#, "\u{fffd}"),
            (r#""\ud83cx""#, "\u{fffd}x"),
            (r#""\udf88\ud83c""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83c\n""#, "\u{fffd}\n"),
            (r#""\ud83c\u0041""#, "\u{fffd}A"),
        ] {
            assert_eq!(text(literal).unescape(), expected, "{literal}");
        }
    }

    #[test]
    fn blank_is_white_space_however_it_is_written() {
        for literal in [r#""""#, r#"" \n\t""#, r#""\u0020\u00a0\r""#, "\"\u{3000}\""] {
            assert!(text(literal).is_blank(), "{literal}");
        }
        for literal in [r#"".""#, r#"" \\n""#, r#""\u0041""#, r#""\ud83c\udf88""#, r#"" \"""#] {
            assert!(!text(literal).is_blank(), "{literal}");
        }
    }

    object! {
        struct Thing<'a> {
            kind as "type": Str<'a>,
            size: Count<'a>,
            parts: Vec<Count<'a>>,
        }
    }

    #[test]
    fn an_object_keeps_what_it_does_not_know_and_takes_null_for_absent() {
        let thing: Thing<'_> = read(r#"{"x":1,"type":"a\u0062","size":null,"y":{"z":[]},"n":null}"#).unwrap();
        assert_eq!(thing.kind.as_ref().map(Str::as_str), Some("ab"));
        assert_eq!(thing.size, None);
        assert_eq!(thing.known().collect::<Vec<_>>(), ["type"]);
        let given: Vec<_> = thing.other.given().map(|(name, raw)| (name, raw.get())).collect();
        assert_eq!(given, [("x", "1"), ("y", r#"{"z":[]}"#)]);
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_path_and_never_shown() {
        for (json, path, problem) in [
            (r#"{"size":"secret"}"#, "size", "expected a whole number of zero or more, found a string"),
            (r#"{"size":1.5}"#, "size", "expected a whole number of zero or more, found a number"),
            (
                r#"{"parts":[1,{"secret":1}]}"#,
                "parts[1]",
                "expected a whole number of zero or more, found an object",
            ),
            (r#"{"parts":"secret"}"#, "parts", "expected an array, found a string"),
            (r#"{"type":{"secret":1}}"#, "type", "expected a string, found an object"),
            (r#"["secret"]"#, "", "expected an object, found an array"),
            (r#"{"type":"a","type":"b"}"#, "", "duplicate field `type`"),
        ] {
            let fault = read::<Thing<'_>>(json).err().unwrap();
            let expected = Unreadable { path: path.into(), problem: problem.into(), syntax: false };
            assert_eq!(fault, expected, "{json}");
        }
        for json in [
            "",
            "{",
            r#"{"size":1"#,
            r#"{"size":1}}"#,
            "{\"type\":\"\u{1}\"}",
            "{'size':1}",
            r#"{"size":01}"#,
        ] {
            assert!(read::<Thing<'_>>(json).err().unwrap().syntax, "{json}");
        }
    }

    #[test]
    fn items_are_taken_as_they_come_and_a_wrong_one_is_named_by_its_place() {
        let taken = |json| {
            let mut sizes = Vec::new();
            let read = each(json, |thing: Thing<'_>| sizes.push(thing.size.map(Count::value)));
            (sizes, read.map_err(|fault| (fault.path, fault.problem)))
        };
        assert_eq!(taken("[]"), (vec![], Ok(())));
        assert_eq!(taken(r#" [{"size":1},{},{"size":3}] "#), (vec![Some(1), None, Some(3)], Ok(())));
        let wrong = |path: &str, problem: &str| Err((path.to_owned(), problem.to_owned()));
        let (_, fault) = taken(r#"[{},{"type":2},{}]"#);
        assert_eq!(fault, wrong("[1].type", "expected a string, found a number"));
        assert_eq!(taken(r#"{"size":1}"#).1, wrong("", "expected an array, found an object"));
        assert!(taken("[{}").1.is_err());
        assert!(taken("[{}] 1").1.is_err());
    }

    #[test]
    fn of_an_array_the_first_items_are_kept_and_all_are_counted() {
        for (json, kept, count) in [("[]", 0, 0), ("[1,2]", 2, 2), ("[1,2,3,4]", 2, 4)] {
            let first: First<u8, 2> = read(json).unwrap();
            assert_eq!((first.items.len(), first.count), (kept, count), "{json}");
        }
        assert_eq!(read::<First<u8, 1>>(r#"[1,"x"]"#).unwrap_err().path, "[1]");
    }

    #[test]
    fn numbers_leave_as_they_came() {
        let number: Number<'_> = serde_json::from_str("0.10").unwrap();
        assert_eq!((number.token(), number.value()), ("0.10", 0.1));
        let count: Count<'_> = serde_json::from_str("12345678901234567890123").unwrap();
        assert_eq!((count.token(), count.value()), ("12345678901234567890123", u64::MAX));
    }

    #[test]
    fn bytes_leave_as_base64_with_its_padding() {
        for (bytes, text) in [
            (b"".as_slice(), ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"\xfb\xff\xfe", "+//+"),
        ] {
            let mut out = Vec::new();
            Writer::new(&mut out).base64(bytes);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"{text}\""));
        }
    }

    #[test]
    fn the_writer_sets_commas_between_values_and_nowhere_else() {
        let mut out = b"data: ".to_vec();
        Writer::new(&mut out).object(|w| {
            w.key("a").token(" {} \n");
            w.key("b").array(|w| {
                w.array(|_| {});
                w.number(1);
                w.text(text(r#""{[:,\"""#));
                w.null();
                w.object(|w| w.foreign_key("\"k").bool(true));
            });
            w.key("c").texts(&[text(r#""x\n""#), text(r#""y""#)]);
        });
        let expected = r#"data: {"a":{},"b":[[],1,"{[:,\"",null,{"\"k":true}],"c":"x\ny"}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
