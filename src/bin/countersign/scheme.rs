//! Which scheme: a preset by its name, or a file.

use std::path::{Path, PathBuf};

use clap::Args;
use countersign::{Scheme, kycgenie};

use crate::body::Source;
use crate::exit::Failure;

/// How deliveries are signed.
#[derive(Args, Clone, Debug)]
pub(crate) struct SchemeArgs {
    /// What is signed and where it is written: kycgenie, standard-webhooks, stripe, github, slack, shopify, or a
    /// scheme file (.toml or .json)
    #[arg(long, value_name = "NAME|FILE", default_value = "kycgenie", help_heading = "Scheme")]
    pub(crate) scheme: PathBuf,
}

impl SchemeArgs {
    pub(crate) fn scheme(&self) -> Result<Scheme, Failure> {
        named(&self.scheme)
    }
}

/// A preset by its name, or what a file says.
pub(crate) fn named(name: &Path) -> Result<Scheme, Failure> {
    match name.to_str().and_then(preset) {
        Some(scheme) => Ok(scheme),
        None => from_file(name),
    }
}

/// All presets.
pub(crate) fn presets() -> impl Iterator<Item = Scheme> {
    std::iter::once(kycgenie::scheme()).chain(Scheme::presets())
}

fn preset(name: &str) -> Option<Scheme> {
    presets().find(|scheme| *scheme.name() == name)
}

fn from_file(path: &Path) -> Result<Scheme, Failure> {
    // A bare word is meant to be a name.
    if path.extension().is_none() && path.components().count() == 1 && !path.exists() {
        let names: Vec<_> = presets().map(|scheme| scheme.name().to_string()).collect();
        let what = format!("no scheme is called `{}`", path.display());
        return Err(Failure::usage(what, format!("use one of {}, or a .toml or .json file", names.join(", "))));
    }
    let text = String::from_utf8(Source::File(path.to_owned()).read()?).map_err(|_| {
        Failure::unusable(format!("{} is not UTF-8", path.display()), "write the scheme as TOML or JSON")
    })?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let scheme = if is_json { Scheme::from_json(&text) } else { Scheme::from_toml(&text) };
    scheme.map_err(|reason| Failure::Scheme { path: path.to_owned(), reason })
}
