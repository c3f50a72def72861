//! Where secrets come from: the environment, a file, a prompt. An argument works and is warned about.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use countersign::{Key, KeyId, Keyring, KeyringError, Secret};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::output::Out;

/// Looked at, in this order, when nothing is said.
const VARIABLES: [&str; 2] = ["COUNTERSIGN_SECRET", "KYCGENIE_WEBHOOK_SECRET"];

/// The longest secret or key file that is read.
const MAX_FILE: u64 = 64 * 1024;

/// The signing secret. Without any of these: COUNTERSIGN_SECRET or KYCGENIE_WEBHOOK_SECRET, or a prompt.
#[derive(Args, Clone, Default)]
#[group(id = "secret_source", multiple = false, required = false)]
#[command(next_help_heading = "Secret (default: COUNTERSIGN_SECRET, KYCGENIE_WEBHOOK_SECRET, or a prompt)")]
pub(crate) struct SecretArgs {
    /// Take it from this environment variable
    #[arg(long, value_name = "VAR")]
    pub(crate) secret_env: Option<String>,

    /// Take it from this file; one line break at its end is not part of it
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,

    /// Take all keys of a key file (TOML tables [[key]] with id, secret, not_before, not_after)
    #[arg(long, value_name = "FILE")]
    pub(crate) keys: Option<PathBuf>,

    /// The secret itself. Others on this machine see arguments, and the shell remembers them: prefer any other way
    #[arg(long, value_name = "TEXT")]
    pub(crate) secret: Option<Hidden>,
}

/// A text that is wiped and never shown.
#[derive(Clone)]
pub(crate) struct Hidden(Zeroizing<String>);

impl Hidden {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// What may be asked of the person at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// Standard input is free.
    May,
    /// Standard input is the body, or nobody should be asked.
    MayNot,
}

/// Where the secret was found.
enum Found {
    Argument(Secret),
    Environment(String),
    File(PathBuf),
    Keys(PathBuf),
    Prompt(Secret),
}

impl SecretArgs {
    /// The keys, as they are now.
    pub(crate) fn keyring(&self, prompt: Prompt, out: &Out) -> Result<Keyring, Failure> {
        match self.find(prompt, out)?.ok_or_else(nowhere)? {
            Found::Keys(path) => read_keys(&path),
            found => keyring_of(found),
        }
    }

    /// The keys as a server needs them: a key file is followed. `None` when there is no secret anywhere.
    pub(crate) fn serving(&self, out: &Out) -> Result<Option<Keyring>, Failure> {
        match self.find(Prompt::MayNot, out)? {
            Some(Found::Keys(path)) => Ok(Some(Keyring::watch(path)?)),
            Some(found) => keyring_of(found).map(Some),
            None => Ok(None),
        }
    }

    /// The secrets themselves, each with its name.
    pub(crate) fn secrets(&self, prompt: Prompt, out: &Out) -> Result<Vec<(String, Secret)>, Failure> {
        match self.find(prompt, out)?.ok_or_else(nowhere)? {
            Found::Keys(path) => secrets_of_keys(&path),
            Found::Environment(variable) => {
                let value = Zeroizing::new(std::env::var_os(&variable).unwrap_or_default().into_encoded_bytes());
                let secret = Secret::from_bytes(value.as_slice());
                let which = format!("the environment variable `{variable}`");
                Ok(vec![(variable, secret.map_err(|reason| Failure::Secret { which, reason })?)])
            }
            // White space around it is one of the mistakes that are searched for.
            Found::File(path) => {
                let secret = Secret::from_bytes(read_line(&path)?.as_bytes());
                let which = path.display().to_string();
                Ok(vec![(which.clone(), secret.map_err(|reason| Failure::Secret { which, reason })?)])
            }
            Found::Argument(secret) => Ok(vec![("--secret".to_owned(), secret)]),
            Found::Prompt(secret) => Ok(vec![("prompt".to_owned(), secret)]),
        }
    }

    fn find(&self, prompt: Prompt, out: &Out) -> Result<Option<Found>, Failure> {
        if let Some(path) = &self.keys {
            return Ok(Some(Found::Keys(path.clone())));
        }
        if let Some(path) = &self.secret_file {
            return Ok(Some(Found::File(path.clone())));
        }
        if let Some(variable) = &self.secret_env {
            return Ok(Some(Found::Environment(variable.clone())));
        }
        if let Some(Hidden(text)) = &self.secret {
            warn_of_argument("--secret", "--secret-env, --secret-file or --keys", out);
            return Ok(Some(Found::Argument(secret(text, "--secret")?)));
        }
        if let Some(variable) = VARIABLES.into_iter().find(|variable| is_set(variable)) {
            return Ok(Some(Found::Environment(variable.to_owned())));
        }
        if prompt == Prompt::May && io::stdin().is_terminal() {
            let text = ask("Signing secret: ")?;
            return Ok(Some(Found::Prompt(secret(&text, "the prompt")?)));
        }
        Ok(None)
    }
}

/// The API key of the management API, if one is given: `variable`, a file, or an argument.
pub(crate) fn api_key(
    file: Option<&Path>,
    argument: Option<&Hidden>,
    variable: &str,
    out: &Out,
) -> Result<Option<Zeroizing<String>>, Failure> {
    if let Some(path) = file {
        return Ok(Some(read_line(path)?));
    }
    if let Some(Hidden(text)) = argument {
        warn_of_argument("--api-key", &format!("{variable} or --api-key-file"), out);
        return Ok(Some(text.clone()));
    }
    if is_set(variable) {
        let value = std::env::var(variable)
            .map_err(|_| Failure::unusable(format!("{variable} is not UTF-8"), "set it to the API key's text"))?;
        return Ok(Some(Zeroizing::new(value)));
    }
    if io::stdin().is_terminal() {
        return ask("API key: ").map(Some);
    }
    Ok(None)
}

/// The keys of a key file, as they are now.
pub(crate) fn read_keys(path: &Path) -> Result<Keyring, Failure> {
    // Its mistakes are told without a line of the file, which holds secrets.
    Keyring::from_toml(&read(path)?)
        .map_err(|reason| KeyringError::File { path: path.to_owned(), reason: reason.into() }.into())
}

fn keyring_of(found: Found) -> Result<Keyring, Failure> {
    let of = |id: &str, secret| Ok(Keyring::new([Key::new(key_id(id), secret)])?);
    match found {
        Found::Argument(secret) => of("argument", secret),
        Found::Environment(variable) => Ok(Keyring::from_env(&variable)?),
        Found::File(path) => {
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or("file");
            of(name, secret_of_file(&path)?)
        }
        Found::Keys(path) => Ok(Keyring::watch(path)?),
        Found::Prompt(secret) => of("prompt", secret),
    }
}

fn nowhere() -> Failure {
    Failure::unusable(
        "there is no signing secret",
        "set COUNTERSIGN_SECRET, or use --secret-env, --secret-file or --keys; at a terminal you are asked for it",
    )
}

pub(crate) fn warn_of_argument(option: &str, instead: &str, out: &Out) {
    out.warn(format!(
        "{option} on the command line is seen by other users of this machine and stays in the shell's history; use \
         {instead}"
    ));
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Asks without showing what is typed.
fn ask(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    match rpassword::prompt_password(prompt) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::Interrupted),
        Err(reason) => Err(Failure::System { what: "asking at the terminal".to_owned(), reason }),
    }
}

fn secret(text: &str, which: &str) -> Result<Secret, Failure> {
    Secret::new(text).map_err(|reason| Failure::Secret { which: which.to_owned(), reason })
}

fn secret_of_file(path: &Path) -> Result<Secret, Failure> {
    secret(&read_line(path)?, &path.display().to_string())
}

/// A file's text without the line break that editors and `echo` put at its end.
fn read_line(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = read(path)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = File::open(path).map_err(Failure::file(path))?;
    // With room for all of it from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize + 2));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(Failure::file(path))?;
    if bytes.len() as u64 > MAX_FILE {
        let what = format!("{} holds more than 64 KiB, which no secret does", path.display());
        return Err(Failure::unusable(what, "check the path"));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Failure::unusable(
            format!("{} is not UTF-8", path.display()),
            "write the secret as the text that the provider shows",
        )),
    }
}

fn key_id(text: &str) -> KeyId {
    let visible: String =
        text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(KeyId::MAX_LEN).collect();
    KeyId::new(&visible).or_else(|_| KeyId::new("secret")).unwrap_or_else(|_| unreachable!("a visible constant"))
}

fn secrets_of_keys(path: &Path) -> Result<Vec<(String, Secret)>, Failure> {
    #[derive(Deserialize)]
    struct Table {
        id: String,
        secret: String,
    }

    #[derive(Deserialize)]
    struct Keys {
        #[serde(default)]
        key: Vec<Table>,
    }

    read_keys(path)?;
    let keys: Keys = toml::from_str(&read(path)?).map_err(|_| {
        Failure::unusable(format!("{} is not a key file", path.display()), "see `countersign rotate --help`")
    })?;
    let named = |table: Table| secret(&Zeroizing::new(table.secret), &table.id).map(|secret| (table.id, secret));
    keys.key.into_iter().map(named).collect()
}
