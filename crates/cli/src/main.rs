//! The program `zcn`; everything it does lives in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    zcn_cli::main()
}
