//! JSON laid out for reading, its tokens untouched: order, numbers and escapes stay as they were written.

/// Values that fit are not broken over several lines.
const WIDTH: usize = 100;

/// Lays out a JSON text. One that is no JSON comes back as it is.
pub fn layout(json: &str) -> String {
    if serde_json::from_str::<&serde_json::value::RawValue>(json).is_err() {
        return json.to_owned();
    }
    let mut out = String::new();
    write(&parse(&mut tokens(json).into_iter()), 0, 0, &mut out);
    out.push('\n');
    out
}

enum Value<'a> {
    Token(&'a str),
    /// Opening bracket; keys (empty in arrays) and values.
    Group(char, Vec<(&'a str, Value<'a>)>),
    End,
}

/// Strings, words and brackets; white space, colons and commas are left out.
fn tokens(json: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = json.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '{' | '}' | '[' | ']' | ':' | ',' => 1,
            '"' => {
                let mut escaped = false;
                let inside = rest[1..].find(|c| {
                    let end = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    end
                });
                inside.unwrap() + 2
            }
            _ => rest.find([',', ':', '}', ']', ' ', '\n', '\r', '\t']).unwrap_or(rest.len()),
        };
        if !matches!(first, ':' | ',') {
            tokens.push(&rest[..length]);
        }
        rest = rest[length..].trim_start();
    }
    tokens
}

fn parse<'a>(tokens: &mut impl Iterator<Item = &'a str>) -> Value<'a> {
    match tokens.next().unwrap() {
        "]" | "}" => Value::End,
        "[" => {
            let items = std::iter::from_fn(|| match parse(tokens) {
                Value::End => None,
                item => Some(("", item)),
            });
            Value::Group('[', items.collect())
        }
        "{" => {
            let mut members = Vec::new();
            loop {
                match tokens.next().unwrap() {
                    "}" => return Value::Group('{', members),
                    key => members.push((key, parse(tokens))),
                }
            }
        }
        token => Value::Token(token),
    }
}

/// `column` is where the line stands already.
fn write(value: &Value<'_>, indent: usize, column: usize, out: &mut String) {
    match value {
        Value::Token(token) => out.push_str(token),
        Value::Group(..) if column + width(value) <= WIDTH => inline(value, out),
        Value::Group(open, members) => {
            out.push(*open);
            for (number, (key, value)) in members.iter().enumerate() {
                out.push_str(if number == 0 { "\n" } else { ",\n" });
                out.push_str(&" ".repeat(indent + 2));
                let mut column = indent + 2;
                if !key.is_empty() {
                    out.push_str(key);
                    out.push_str(": ");
                    column += key.len() + 2;
                }
                write(value, indent + 2, column, out);
            }
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            out.push(close(*open));
        }
        Value::End => unreachable!("never kept"),
    }
}

fn inline(value: &Value<'_>, out: &mut String) {
    match value {
        Value::Token(token) => out.push_str(token),
        Value::Group(open, members) => {
            let space = if *open == '{' && !members.is_empty() { " " } else { "" };
            out.push(*open);
            out.push_str(space);
            for (number, (key, value)) in members.iter().enumerate() {
                if number > 0 {
                    out.push_str(", ");
                }
                if !key.is_empty() {
                    out.push_str(key);
                    out.push_str(": ");
                }
                inline(value, out);
            }
            out.push_str(space);
            out.push(close(*open));
        }
        Value::End => unreachable!("never kept"),
    }
}

fn width(value: &Value<'_>) -> usize {
    let mut text = String::new();
    inline(value, &mut text);
    text.chars().count()
}

fn close(open: char) -> char {
    if open == '{' { '}' } else { ']' }
}
