//! Where the API is, and the one way of writing an address below it.

use std::net::IpAddr;

use reqwest::Url;

/// The API's base: checked once, so that a key never travels in clear or to a place that nobody meant.
#[derive(Clone, Debug)]
pub(super) struct BaseUrl(Url);

impl BaseUrl {
    pub(super) fn parse(text: &str, plain_http: bool) -> Result<Self, BaseUrlMistake> {
        let mut url = Url::parse(text.trim()).map_err(|_| BaseUrlMistake::NotAUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlMistake::UserInfo);
        }
        match url.scheme() {
            "https" => {}
            "http" if plain_http || is_loopback(&url) => {}
            "http" => return Err(BaseUrlMistake::PlainHttp),
            _ => return Err(BaseUrlMistake::NotAUrl),
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlMistake::QueryOrFragment);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        if path.ends_with("/api/v1") || path.ends_with("/api/v2") {
            return Err(BaseUrlMistake::Versioned);
        }
        url.set_path(&path);
        Ok(Self(url))
    }

    pub(super) fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    /// The address of `path` below the base. Each segment is encoded by itself; all end in a slash, as the API's do.
    pub(super) fn join<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.0.clone();
        // Cannot fail: the base is `http` or `https`.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path).push("");
        }
        url
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What is wrong with a base URL. The URL is not repeated: there may be a password in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseUrlMistake {
    /// It is not an absolute `https` URL.
    #[error("it is not an absolute https URL: write it as in https://api.kycgenie.com")]
    NotAUrl,
    /// It is plain `http`, and not to this machine.
    #[error(
        "it is plain http, over which the API key travels in clear: use https (http goes to loopback only: 127.0.0.1, \
         ::1, localhost; or see danger_allow_plain_http)"
    )]
    PlainHttp,
    /// It has a query or a fragment.
    #[error("it has a query or a fragment: leave out everything from the first `?` or `#` on")]
    QueryOrFragment,
    /// It has a user name or a password.
    #[error("it has a user name or a password: the API wants a key, so leave out everything before the `@`")]
    UserInfo,
    /// It ends in the version, which the client adds.
    #[error("it ends in the version: leave out `/api/v1` or `/api/v2`, and choose by `version`")]
    Versioned,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(base: &str, path: &[&str]) -> Result<String, BaseUrlMistake> {
        BaseUrl::parse(base, false).map(|base| base.join(path.iter().copied()).into())
    }

    #[test]
    fn paths_are_encoded_and_end_in_a_slash() {
        for (base, expected) in [
            ("https://api.kycgenie.com", "https://api.kycgenie.com/api/v2/webhooks/"),
            ("https://api.kycgenie.com/", "https://api.kycgenie.com/api/v2/webhooks/"),
            ("https://gate.example/kyc/genie", "https://gate.example/kyc/genie/api/v2/webhooks/"),
            ("https://gate.example/kyc//", "https://gate.example/kyc/api/v2/webhooks/"),
            ("http://127.0.0.1:4010", "http://127.0.0.1:4010/api/v2/webhooks/"),
            ("http://127.9.9.9/", "http://127.9.9.9/api/v2/webhooks/"),
            ("http://[::1]:4010", "http://[::1]:4010/api/v2/webhooks/"),
            ("http://LOCALHOST:4010", "http://localhost:4010/api/v2/webhooks/"),
        ] {
            assert_eq!(joined(base, &["api", "v2", "webhooks"]).unwrap(), expected);
        }
        let odd = joined("https://a", &["api", "v2", "webhooks", "a/b?c#d%2e", "rotate-secret"]).unwrap();
        assert_eq!(odd, "https://a/api/v2/webhooks/a%2Fb%3Fc%23d%252e/rotate-secret/");
    }

    #[test]
    fn a_base_over_which_a_key_must_not_travel_is_refused() {
        for (base, expected) in [
            ("http://api.kycgenie.com", BaseUrlMistake::PlainHttp),
            ("http://127.0.0.1.example.com", BaseUrlMistake::PlainHttp),
            ("http://localhost.example.com", BaseUrlMistake::PlainHttp),
            ("http://128.0.0.1", BaseUrlMistake::PlainHttp),
            ("http://10.0.0.1", BaseUrlMistake::PlainHttp),
            ("https://user@api.kycgenie.com", BaseUrlMistake::UserInfo),
            ("https://:planted@api.kycgenie.com", BaseUrlMistake::UserInfo),
            ("http://localhost@evil.example", BaseUrlMistake::UserInfo),
            ("ftp://api.kycgenie.com", BaseUrlMistake::NotAUrl),
            ("api.kycgenie.com", BaseUrlMistake::NotAUrl),
            ("", BaseUrlMistake::NotAUrl),
            ("https://", BaseUrlMistake::NotAUrl),
            ("https://api.kycgenie.com?x=1", BaseUrlMistake::QueryOrFragment),
            ("https://api.kycgenie.com/#x", BaseUrlMistake::QueryOrFragment),
            ("https://api.kycgenie.com/api/v2", BaseUrlMistake::Versioned),
            ("https://api.kycgenie.com/api/v1/", BaseUrlMistake::Versioned),
        ] {
            let error = joined(base, &[]).unwrap_err();
            assert_eq!(error, expected, "{base}");
            assert!(!error.to_string().contains("planted"));
        }
        assert!(BaseUrl::parse("http://10.0.0.1", true).is_ok());
    }
}
