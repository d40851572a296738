//! Logs: on stderr, filtered by `-v` or `ZCN_LOG`.

use std::env;
use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::colour;
use crate::failure::Failure;

/// The environment variable that holds the filter.
pub const VARIABLE: &str = "ZCN_LOG";

/// Starts logging to stderr. `-v` on the command line goes before the
/// environment; with neither, warnings and errors are shown.
///
/// # Errors
/// When `ZCN_LOG` is no filter.
pub fn start(verbose: u8) -> Result<(), Failure> {
    let filter = filter(verbose, env::var(VARIABLE).ok().as_deref())?;
    let ansi = colour::wanted(io::stderr().is_terminal());
    // A second start (in tests) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(ansi)
        .try_init();
    Ok(())
}

fn filter(verbose: u8, variable: Option<&str>) -> Result<EnvFilter, Failure> {
    let directives = match (verbose, variable) {
        (0, Some(variable)) if !variable.trim().is_empty() => variable,
        (0, _) => "warn",
        (1, _) => "info",
        (2, _) => "debug",
        (_, _) => "trace",
    };
    EnvFilter::try_new(directives).map_err(|error| {
        Failure::new(format!("cannot read {VARIABLE}={directives}"))
            .because(error)
            .remedy(format!("{VARIABLE}=debug, or {VARIABLE}=warn,zcn=trace"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(verbose: u8, variable: Option<&str>) -> String {
        filter(verbose, variable).expect("a filter").to_string()
    }

    #[test]
    fn flags_go_before_the_environment() {
        assert_eq!(shown(0, None), "warn");
        assert_eq!(shown(0, Some(" ")), "warn");
        assert_eq!(shown(0, Some("zcn=trace")), "zcn=trace");
        assert_eq!(shown(1, Some("zcn=trace")), "info");
        assert_eq!(shown(9, None), "trace");
    }

    #[test]
    fn nonsense_is_an_error_that_names_the_variable() {
        let failure = filter(0, Some("zcn=loudly")).expect_err("no such level");
        assert!(
            failure.to_string().contains("ZCN_LOG=zcn=loudly"),
            "{failure}"
        );
    }
}
