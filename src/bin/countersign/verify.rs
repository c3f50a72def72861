use clap::Args;
use crate::exit::Failure;
use crate::output::Out;
pub(crate) const EXAMPLES: &str = "";
#[derive(Args)]
pub(crate) struct VerifyArgs {}
pub(crate) fn run(_args: &VerifyArgs, _out: &Out) -> Result<(), Failure> { Ok(()) }
