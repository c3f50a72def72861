//! Which API, and with which key.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use countersign::kycgenie::client::{ApiKey, ApiVersion, Client};
use countersign::sandbox::Sandbox;

use crate::exit::Failure;
use crate::moment;
use crate::output::Out;
use crate::secrets::{self, Hidden};

/// Where `countersign sandbox` listens unless told otherwise.
pub(crate) const SANDBOX_URL: &str = "http://127.0.0.1:4010";

const KEY_VARIABLE: &str = "KYCGENIE_API_KEY";
const URL_VARIABLE: &str = "KYCGENIE_BASE_URL";

/// The management API.
#[derive(Args, Clone)]
#[command(next_help_heading = "API (default key: KYCGENIE_API_KEY, or a prompt)")]
pub(crate) struct ApiArgs {
    /// Where the API is [env: KYCGENIE_BASE_URL] [default: https://api.kycgenie.com]
    #[arg(long, global = true, value_name = "URL")]
    base_url: Option<String>,

    /// Take the API key from this file
    #[arg(long, global = true, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// The API key itself. Others on this machine see arguments, and the shell remembers them: prefer any other way
    #[arg(long, global = true, value_name = "KEY", conflicts_with = "api_key_file")]
    api_key: Option<Hidden>,

    /// The local sandbox and its test key, unless another URL or key is given
    #[arg(long, global = true)]
    sandbox: bool,

    /// Which version of the API
    #[arg(long, global = true, value_name = "VERSION", value_enum, default_value_t)]
    api_version: Version,

    /// How long to wait for one answer
    #[arg(long, global = true, value_name = "TIME", default_value = "30s", value_parser = moment::length)]
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Version {
    V1,
    #[default]
    V2,
}

fn url_of_environment() -> Result<Option<String>, Failure> {
    let Some(url) = std::env::var_os(URL_VARIABLE).filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    // Never the default in its place: the key would go to another server than was meant.
    let wrong = |_| Failure::unusable(format!("{URL_VARIABLE} is not UTF-8"), "set it to the API's URL");
    url.into_string().map(Some).map_err(wrong)
}

impl ApiArgs {
    pub(crate) fn client(&self, out: &Out) -> Result<Client, Failure> {
        let url = match (&self.base_url, self.sandbox) {
            (Some(url), _) => Some(url.clone()),
            (None, true) => Some(SANDBOX_URL.to_owned()),
            (None, false) => url_of_environment()?,
        };
        let mut builder = Client::builder(self.key(out)?).timeout(self.timeout).version(match self.api_version {
            Version::V1 => ApiVersion::V1,
            Version::V2 => ApiVersion::V2,
        });
        if let Some(url) = url {
            builder = builder.base_url(url);
        }
        Ok(builder.build()?)
    }

    fn key(&self, out: &Out) -> Result<ApiKey, Failure> {
        let given = self.api_key_file.is_some() || self.api_key.is_some();
        if self.sandbox && !given {
            return Ok(ApiKey::new(Sandbox::TEST_KEY)?);
        }
        let key = secrets::api_key(self.api_key_file.as_deref(), self.api_key.as_ref(), KEY_VARIABLE, out)?;
        let key = key.ok_or_else(|| {
            Failure::unusable(
                "there is no API key",
                "set KYCGENIE_API_KEY, or use --api-key-file; --sandbox speaks to the local sandbox with its test key",
            )
        })?;
        Ok(ApiKey::new(key.as_str())?)
    }
}
