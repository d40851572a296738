//! A program in C loads the library by its name, as the tool does.

#![expect(clippy::print_stderr, reason = "a skipped test says so")]

use std::path::PathBuf;
use std::process::Command;

#[test]
fn a_c_program_plays_a_script_through_the_loaded_library() {
    // The library lies beside the folder of the test programs' own.
    let mut folder = std::env::current_exe().expect("this test's path");
    folder.pop();
    let library = folder.join("libzcn_packetdrill.so");
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/c/plugin.c");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plugin");
    let built = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&program, &source])
        .arg("-ldl")
        .status();
    match built {
        Ok(status) => assert!(status.success(), "the C program compiles"),
        Err(error) => {
            eprintln!("SKIPPED: no C compiler: {error}");
            return;
        }
    }
    let ran = Command::new(&program)
        .arg(&library)
        .output()
        .expect("it runs");
    let errors = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{errors}");
}
