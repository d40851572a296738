//! `zcn man`: the manual pages.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::command::Cli;
use crate::failure::Failure;

/// Arguments of `zcn man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write zcn.1 and one page for each subcommand into this directory,
    /// instead of printing zcn.1.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Prints the page (`zcn man | man -l -` shows it), or writes them all.
///
/// # Errors
/// When standard output or the directory cannot be written.
pub fn run(args: &ManArgs) -> Result<ExitCode, Failure> {
    match &args.dir {
        None => io::stdout().lock().write_all(&page()?)?,
        Some(dir) => write_pages(dir).map_err(|error| {
            Failure::new(format!("cannot write manual pages into {}", dir.display()))
                .because(error)
                .remedy("a directory that you may write to")
        })?,
    }
    Ok(ExitCode::SUCCESS)
}

fn page() -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(Cli::command()).render(&mut page)?;
    Ok(page)
}

fn write_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_program_and_subcommands() {
        let page = String::from_utf8(page().expect("renders")).expect("text");
        assert!(page.contains(".TH"), "{page}");
        assert!(page.contains("doctor"), "{page}");
    }

    #[test]
    fn each_subcommand_gets_its_page() {
        let dir = std::env::temp_dir().join(format!("zcn-man-{}", std::process::id()));
        write_pages(&dir).expect("writable");
        let found = ["zcn.1", "zcn-doctor.1", "zcn-man.1"]
            .map(|name| fs::metadata(dir.join(name)).is_ok_and(|file| file.len() > 0));
        fs::remove_dir_all(&dir).expect("removable");
        assert_eq!(found, [true; 3]);
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let args = ManArgs {
            dir: Some(PathBuf::from("/dev/null/pages")),
        };
        let failure = run(&args).expect_err("no directory can be there");
        assert!(failure.to_string().contains("/dev/null/pages"), "{failure}");
    }
}
