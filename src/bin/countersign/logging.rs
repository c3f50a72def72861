//! What `--verbose` shows: this program's own events, and no other crate's.
//!
//! HTTP libraries log header values at their finer levels, and a header may be a signature or an API key. They are
//! therefore silent whatever `RUST_LOG` says.

use tracing_subscriber::EnvFilter;

/// Starts logging to standard error.
pub(crate) fn start(verbose: u8, colour: bool) {
    let filter = match verbose {
        // A key file that is of no use is told in any case.
        0 => "off,countersign::keyring=warn",
        1 => "off,countersign=info",
        _ => "off,countersign=debug",
    };
    let subscriber = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    // Nobody else in this program installs one.
    let _ = subscriber.with_ansi(colour).compact().try_init();
}
