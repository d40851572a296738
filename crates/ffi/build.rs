//! Gives the shared library its name: programs ask the loader for the major version they were
//! linked with.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libzero_copy_net.so.0");
    println!("cargo:rerun-if-changed=build.rs");
}
