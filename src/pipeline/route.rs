//! Which requests are ours, told by method and path alone.

use crate::base::error::{Error, Kind};
use crate::base::headers::Headers;
use crate::dialect::{Client, Task};

use super::{models, usage};

/// What a request is to us.
#[derive(Debug, PartialEq)]
pub enum Route {
    /// Goes on as it came.
    NotOurs,
    /// Work to be done; the body must be read.
    Ask(Task),
    /// Somebody wants to know whether all is well.
    Health,
    /// Somebody wants to see what is used.
    Usage,
    /// A question about the models, in this dialect.
    Models(Client),
    /// Refused at once.
    Refuse(Task, Error),
}

/// Looks at the headers of a request that has (`bodiless`) or has not ended with them.
pub fn route(headers: &Headers, bodiless: bool, most_bytes: usize) -> Route {
    let method = headers.get(":method").unwrap_or_default();
    let path = headers.get(":path").unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match path {
        "/v1/chat/completions" | "/chat/completions" => {
            ask(Task::Chat(Client::OpenAi), method, path, headers, bodiless, most_bytes)
        }
        // The SDKs' beta clients add `?beta=true`.
        "/v1/messages" | "/messages" => {
            ask(Task::Chat(Client::Anthropic), method, path, headers, bodiless, most_bytes)
        }
        "/v1/messages/count_tokens" | "/messages/count_tokens" => {
            ask(Task::CountTokens, method, path, headers, bodiless, most_bytes)
        }
        usage::PATH if method == "GET" => Route::Usage,
        "/v1/embeddings" | "/embeddings" => {
            ask(Task::Embeddings, method, path, headers, bodiless, most_bytes)
        }
        "/v1/images/generations" | "/images/generations" => {
            ask(Task::Images, method, path, headers, bodiless, most_bytes)
        }
        "/health" if method == "GET" || method == "HEAD" => Route::Health,
        // A browser's question before it asks, for Envoy's CORS filter.
        _ if models::is_models(path) && method != "OPTIONS" => Route::Models(models::client(headers)),
        _ => Route::NotOurs,
    }
}

fn ask(task: Task, method: &str, path: &str, headers: &Headers, bodiless: bool, most_bytes: usize) -> Route {
    match method {
        "POST" => {}
        // A browser's question before it posts, for Envoy's CORS filter.
        "OPTIONS" => return Route::NotOurs,
        _ => {
            let problem = format!("{path} takes POST, not this method");
            return Route::Refuse(task, Error::new(Kind::WrongMethod, problem));
        }
    }
    if bodiless {
        let problem = "the request has no body; send a JSON object";
        return Route::Refuse(task, Error::new(Kind::NotJson, problem));
    }
    let encoding = headers.get("content-encoding").unwrap_or("identity").trim();
    if !encoding.eq_ignore_ascii_case("identity") && !encoding.is_empty() {
        let problem = "the body is compressed; send it without content-encoding";
        return Route::Refuse(task, Error::new(Kind::Encoded, problem));
    }
    let declared = headers.get("content-length").and_then(|length| length.parse::<usize>().ok());
    if declared.is_some_and(|length| length > most_bytes) {
        return Route::Refuse(task, too_large(most_bytes));
    }
    Route::Ask(task)
}

/// The answer to a body that is over the limit.
pub fn too_large(most_bytes: usize) -> Error {
    Error::new(
        Kind::TooLarge,
        format!(
            "the body is larger than {most_bytes} bytes, the gateway's limit; send less, or ask the operator to raise limits.request_bytes"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        headers.add(":method", method);
        headers.add(":path", path);
        for (name, value) in more {
            headers.add(name, *value);
        }
        headers
    }

    fn status(route: &Route) -> u16 {
        match route {
            Route::Health => 200,
            Route::Refuse(_, error) => error.kind.row().status,
            Route::NotOurs | Route::Usage | Route::Ask(_) | Route::Models(_) => 0,
        }
    }

    #[test]
    fn chat_is_ours_with_and_without_the_version_and_a_query() {
        for path in ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions?api-version=1"] {
            let route = route(&request("POST", path, &[]), false, 10);
            assert_eq!(route, Route::Ask(Task::Chat(Client::OpenAi)), "{path}");
        }
        for path in ["/v1/messages", "/messages", "/v1/messages?beta=true"] {
            let route = route(&request("POST", path, &[]), false, 10);
            assert_eq!(route, Route::Ask(Task::Chat(Client::Anthropic)), "{path}");
        }
        for path in ["/v1/messages/count_tokens", "/messages/count_tokens?beta=true"] {
            let route = route(&request("POST", path, &[]), false, 10);
            assert_eq!(route, Route::Ask(Task::CountTokens), "{path}");
        }
        for path in ["/v1/embeddings", "/embeddings", "/v1/embeddings?api-version=1"] {
            assert_eq!(route(&request("POST", path, &[]), false, 10), Route::Ask(Task::Embeddings), "{path}");
        }
        for path in ["/v1/images/generations", "/images/generations"] {
            assert_eq!(route(&request("POST", path, &[]), false, 10), Route::Ask(Task::Images), "{path}");
        }
        for path in [
            "/",
            "/v1/images/edits",
            "/v1/messages/batches",
            "/v1/chat/completions/",
            "/v1/chat/completions/../x",
            "/V1/chat/completions",
            "/v1/modelsx",
            "/v2/models",
        ] {
            assert_eq!(route(&request("POST", path, &[]), false, 10), Route::NotOurs, "{path}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused_before_its_body_comes() {
        for (path, client) in [("/v1/chat/completions", Client::OpenAi), ("/v1/messages", Client::Anthropic)]
        {
            assert_eq!(status(&route(&request("GET", path, &[]), true, 10)), 405);
            assert_eq!(status(&route(&request("POST", path, &[]), true, 10)), 400);
            let gzip = request("POST", path, &[("content-encoding", "gzip")]);
            assert_eq!(status(&route(&gzip, false, 10)), 415);
            assert_eq!(status(&route(&request("POST", path, &[("content-length", "11")]), false, 10)), 413);
            let fits = request("POST", path, &[("content-length", "10")]);
            assert_eq!(route(&fits, false, 10), Route::Ask(Task::Chat(client)));
            assert_eq!(route(&request("OPTIONS", path, &[]), true, 10), Route::NotOurs);
        }
    }
}
