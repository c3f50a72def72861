//! Where deliveries may go: any HTTPS URL can be subscribed to, and what is sent goes to loopback unless told otherwise.

use std::net::IpAddr;

use reqwest::Url;

/// Why a URL is not one for webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum UrlError {
    /// Not an absolute URL with a host, or not written as one: browsers mend white space, backslashes and missing
    /// slashes, and what is stored would be another text than what is sent to.
    #[error("Enter a valid URL.")]
    Invalid,
    /// HTTPS is required, but for plain HTTP to loopback.
    #[error("Webhook URL must use HTTPS.")]
    NotHttps,
}

/// Whether `url` can be subscribed to: HTTPS, or HTTP to a loopback host (127.0.0.0/8, `[::1]`, `localhost`).
pub(in crate::sandbox) fn check_url(url: &str) -> Result<(), UrlError> {
    parse(url).map(drop)
}

/// Where the sandbox sends. Only to loopback, unless told otherwise.
#[derive(Clone, Debug, Default)]
pub(in crate::sandbox) struct Targets {
    /// Whether to send anywhere at all.
    pub(in crate::sandbox) anywhere: bool,
    /// Further hosts to send to: names or addresses, as they stand in URLs.
    pub(in crate::sandbox) hosts: Vec<String>,
}

impl Targets {
    /// The URL to send to, or why nothing is sent there, as a text for the log.
    pub(super) fn admit(&self, url: &str) -> Result<Url, &'static str> {
        let url = parse(url).map_err(|_| "not sent: the URL is neither HTTPS nor HTTP to loopback")?;
        let host = url.host_str().unwrap_or_default();
        // A name is looked up when it is sent to, and may then mean anything; `localhost` is never looked up.
        if self.anywhere || is_loopback(&url) || self.hosts.iter().any(|allowed| same_host(allowed, host)) {
            Ok(url)
        } else {
            Err("not sent: the sandbox sends only to loopback; allow the host, or let it send anywhere")
        }
    }
}

fn parse(url: &str) -> Result<Url, UrlError> {
    let mended = |letter: char| letter.is_whitespace() || letter.is_control() || letter == '\\';
    let is_whole = url.split_once(':').is_some_and(|(_, rest)| rest.starts_with("//"));
    if url.contains(mended) || !is_whole {
        return Err(UrlError::Invalid);
    }
    let url = Url::parse(url).map_err(|_| UrlError::Invalid)?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(UrlError::Invalid);
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(UrlError::NotHttps),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn same_host(allowed: &str, host: &str) -> bool {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    bare(allowed) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_is_required_but_for_loopback() {
        for url in [
            "https://api.example.com/hooks",
            "https://10.0.0.1/",
            "http://127.0.0.1:8080/hooks",
            "http://127.9.9.9/",
            "http://127.1/",
            "http://[::1]:8080/",
            "http://localhost:8080/hooks?a=b",
            "HTTP://LOCALHOST/",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
        for url in [
            "http://api.example.com/",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost.example.com/",
            "http://localhost./",
            "http://localhost@example.com/",
            "http://127.0.0.1.example.com/",
            "ftp://localhost/",
            "ws://localhost/",
        ] {
            assert_eq!(check_url(url), Err(UrlError::NotHttps), "{url}");
        }
        for url in ["", "localhost", "/hooks", "http://", "https://", "https:///", "mailto:a@b", "http://a b/"] {
            assert!(check_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_url_that_only_a_browser_would_mend_is_none() {
        for url in [
            " https://example.com/",
            "https://example.com/ ",
            "https://example.com/\n",
            "https://exa\tmple.com/",
            "https://example.com/a b",
            "https://example.com/\u{0}",
            "https:example.com",
            "https:/example.com",
            "http:\\\\127.0.0.1\\x",
            "https://example.com\\@127.0.0.1/",
        ] {
            assert_eq!(check_url(url), Err(UrlError::Invalid), "{url:?}");
        }
        assert_eq!(check_url("https://m\u{fc}nchen.example/gr\u{fc}n?a=%20b"), Ok(()));
    }

    #[test]
    fn only_loopback_is_sent_to_unless_told_otherwise() {
        let closed = Targets::default();
        let some = Targets { hosts: vec!["Receiver.test".into(), "10.0.0.7".into(), "::2".into()], anywhere: false };
        let open = Targets { anywhere: true, hosts: Vec::new() };
        for url in ["http://127.0.0.1:1/", "https://localhost/", "https://[::1]/"] {
            assert!(closed.admit(url).is_ok() && some.admit(url).is_ok() && open.admit(url).is_ok(), "{url}");
        }
        for url in ["https://receiver.test/x", "https://10.0.0.7/", "https://[::2]/"] {
            assert!(closed.admit(url).is_err() && some.admit(url).is_ok() && open.admit(url).is_ok(), "{url}");
        }
        for url in ["https://receiver.test.example.com/", "https://10.0.0.8/"] {
            assert!(closed.admit(url).is_err() && some.admit(url).is_err() && open.admit(url).is_ok(), "{url}");
        }
        // A row of an older state file may hold anything.
        assert!(open.admit("http://example.com/").is_err() && open.admit("nonsense").is_err());
    }
}
