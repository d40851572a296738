//! `zcn completions`: scripts that complete the command line in a shell.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::command::Cli;
use crate::failure::Failure;

/// Arguments of `zcn completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell whose script is wanted.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Prints the script; for bash, `source <(zcn completions bash)` loads it.
///
/// # Errors
/// When standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    io::stdout().lock().write_all(&script(args.shell))?;
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "zcn", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_subcommands() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).expect("text");
            assert!(script.contains("doctor"), "{shell}");
            assert!(script.contains("json"), "{shell}");
        }
    }
}
