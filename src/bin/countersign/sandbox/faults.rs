//! Faults as they are given on the command line.

use std::path::Path;

use countersign::sandbox::{Fault, Faults, Strike};
use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error, StrDeserializer};

use crate::body::Source;
use crate::exit::Failure;

/// `NAME`, `NAME=3` or `NAME=10%`.
pub(super) fn fault(text: &str) -> Result<(Fault, Strike), String> {
    let (name, strike) = text.split_once('=').map_or((text, None), |(name, strike)| (name, Some(strike)));
    let name = name.replace('-', "_");
    let name: StrDeserializer<'_, Error> = name.as_str().into_deserializer();
    let fault = Fault::deserialize(name).map_err(|_| "there is no such fault; --help lists them".to_owned())?;
    let strike = match strike {
        None => Strike::always(),
        Some(strike) => match strike.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.parse().map_err(|_| "write a share as 10%".to_owned())?;
                if !(0.0..=100.0).contains(&percent) {
                    return Err("a share is from 0% to 100%".to_owned());
                }
                Strike::probability(percent / 100.0)
            }
            None => Strike::next(strike.parse().map_err(|_| "write =3 for the next three, or =10%".to_owned())?),
        },
    };
    Ok((fault, strike))
}

/// The faults that were chosen; `None` when there are none.
pub(super) fn chosen(
    faults: &[(Fault, Strike)],
    file: Option<&Path>,
    seed: Option<u64>,
) -> Result<Option<Faults>, Failure> {
    if let Some(path) = file {
        let text = Source::File(path.to_owned()).read()?;
        let wrong = |why: String| {
            Failure::unusable(format!("{}: {why}", path.display()), "write it as GET /sandbox/faults shows it")
        };
        let text = std::str::from_utf8(&text).map_err(|_| wrong("not UTF-8".to_owned()))?;
        let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        let faults = if json {
            serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?
        } else {
            toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?
        };
        return Ok(Some(faults));
    }
    if faults.is_empty() {
        return Ok(None);
    }
    let seeded = Faults::seeded(seed.unwrap_or_default());
    Ok(Some(faults.iter().fold(seeded, |all, (fault, strike)| all.with(*fault, *strike))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_all_or_the_next_or_a_share() {
        assert_eq!(fault("wrong_key"), Ok((Fault::WrongKey, Strike::always())));
        assert_eq!(fault("drop-answer=3"), Ok((Fault::DropAnswer, Strike::next(3))));
        assert_eq!(fault("duplicate=12.5%"), Ok((Fault::Duplicate, Strike::probability(0.125))));
        let listed = crate::sandbox::EXAMPLES.split_once("Faults: ").expect("a list").1;
        for name in listed.trim_end_matches('.').split(", ") {
            assert!(fault(name).is_ok(), "{name}");
        }
        for bad in ["", "nothing", "delay=", "delay=x", "delay=101%", "delay=-1"] {
            assert!(fault(bad).is_err(), "{bad}");
        }
    }
}
