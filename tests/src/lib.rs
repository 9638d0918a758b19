//! Claims about the whole house, and what they share.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The path of one of the project's programs, built for this profile.
///
/// Cargo builds a package's own programs before its tests, but not another package's; so they are built here, once.
///
/// # Panics
/// When they cannot be built.
pub fn binary(name: &str) -> PathBuf {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        let directory = test.ancestors().nth(2).expect("tests stand in target/PROFILE/deps").to_owned();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "-p", "folio-broker", "-p", "folio-cli", "--bins"]);
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        assert!(cargo.current_dir(root).status().expect("cargo runs").success(), "the programs can be built");
        directory
    });
    directory.join(name)
}
