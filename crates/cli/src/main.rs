//! The program `zcn`; everything it does lives in the library beside it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    zcn_cli::main()
}
