//! Sends requests: the only file beside the library's own client that knows which HTTP client is used.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url, redirect};

/// How much of an answer is read: the sandbox's list of its newest 10,000 attempts fits.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Sends requests to one server.
#[derive(Clone)]
pub(crate) struct Sender {
    client: Client,
    limit: Duration,
    url: Url,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) reason: &'static str,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot reach {host}: {reason}")]
    Connect { host: String, reason: String },
    #[error("the header `{0}` cannot be sent: names are tokens, and values hold no line breaks")]
    Header(String),
    #[error("{host} has not answered within {} s", .after.as_secs_f32())]
    Timeout { host: String, after: Duration },
    #[error("`{0}` is not an http:// or https:// URL")]
    Url(String),
}

impl Sender {
    /// To `url`; an answer later than `limit` counts as none. Redirects are not followed.
    pub(crate) fn new(url: &str, limit: Duration) -> Result<Self, Error> {
        let wrong = || Error::Url(crate::output::visible(url));
        let url: Url = url.parse().map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong());
        }
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(limit)
            .connect_timeout(limit.min(Duration::from_secs(10)))
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")));
        let builder = match (is_loopback(&url), url.scheme()) {
            // A proxy has another loopback than we have, and nothing is encrypted: no certificates need be there.
            (true, "http") => builder.no_proxy().tls_certs_only([]),
            (true, _) => builder.no_proxy(),
            (false, _) => builder,
        };
        let client = builder.build().map_err(|error| Error::Connect { host: host(&url), reason: chain(error) })?;
        Ok(Self { client, limit, url })
    }

    /// The same server, another path.
    pub(crate) fn at(&self, path: &str, query: &str) -> Self {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        Self { client: self.client.clone(), limit: self.limit, url }
    }

    /// Host and port.
    pub(crate) fn host(&self) -> String {
        host(&self.url)
    }

    pub(crate) async fn post(&self, headers: &[(String, Vec<u8>)], body: Bytes) -> Result<Answer, Error> {
        self.send(Method::POST, headers, body).await
    }

    pub(crate) async fn read(&self, headers: &[(String, Vec<u8>)]) -> Result<Answer, Error> {
        self.send(Method::GET, headers, Bytes::new()).await
    }

    async fn send(&self, method: Method, headers: &[(String, Vec<u8>)], body: Bytes) -> Result<Answer, Error> {
        let mut map = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            let wrong = || Error::Header(crate::output::visible(name));
            let value = HeaderValue::from_bytes(value).map_err(|_| wrong())?;
            map.append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?, value);
        }
        let request = self.client.request(method, self.url.clone()).headers(map).body(body);
        let mut response = request.send().await.map_err(|error| self.failed(error))?;
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let (status, retry_after) = (response.status(), retry_after.map(str::to_owned));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(error))? {
            body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - body.len())]);
            if body.len() == MAX_ANSWER {
                break;
            }
        }
        let reason = status.canonical_reason().unwrap_or_default();
        Ok(Answer { status: status.as_u16(), reason, retry_after, body: body.into() })
    }

    fn failed(&self, error: reqwest::Error) -> Error {
        let host = self.host();
        if error.is_timeout() {
            return Error::Timeout { host, after: self.limit };
        }
        Error::Connect { host, reason: chain(error) }
    }
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The innermost reason: what lies around it says no more than that a request failed, and repeats the URL.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
