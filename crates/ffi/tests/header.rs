//! The header in the repository is the one that the sources make.

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("include/zero_copy_net.h");
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut made = Vec::new();
    cbindgen::Builder::new()
        .with_crate(root)
        .with_config(config)
        .generate()
        .expect("the header can be made")
        .write(&mut made);
    // Annotations leave an empty line at the end of a comment.
    let made = String::from_utf8(made)
        .expect("text")
        .replace("\n *\n */", "\n */");
    if std::env::var_os("UPDATE_HEADER").is_some() {
        std::fs::write(&path, &made).expect("the header can be written");
        return;
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = kept.lines().zip(made.lines()).position(|(a, b)| a != b);
    assert!(
        kept == made,
        "include/zero_copy_net.h is not what the sources make, from line {} on: run \
         `UPDATE_HEADER=1 cargo test -p zero_copy_net`",
        differs.map_or(kept.lines().count(), |line| line) + 1
    );
}
