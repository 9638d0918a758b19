//! Claims about the whole house, and what they share: the project's programs, built, and a daemon to talk to.

pub mod benchmark;
pub mod cache;
pub mod campaign;
pub mod control;
pub mod daemon;
pub mod disk;
pub mod intents;
pub mod isolated;
pub mod kafka;
pub mod limits;
pub mod native;
pub mod rig;
pub mod strace;
pub mod terminal;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of one of the project's programs, built for this profile.
///
/// Cargo builds a package's own programs before its tests, but not another package's; so they are built here, once.
///
/// # Panics
/// When they cannot be built.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["-p", "folio-broker", "-p", "folio-cli", "--bins"]));
    directory().join(name)
}

/// The path of one of the client crate's examples, built for this profile.
///
/// # Panics
/// When they cannot be built.
pub fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| build(&["-p", "folio-client", "--examples"]));
    directory().join("examples").join(name)
}

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ stands in the house")
}

fn build(what: &[&str]) {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked"]).args(what);
    if directory().ends_with("release") {
        cargo.arg("--release");
    }
    assert!(cargo.current_dir(root()).status().expect("cargo runs").success(), "{what:?} can be built");
}

/// Where the programs of this profile stand: tests are in `deps` below it.
fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test has a path");
        test.ancestors().nth(2).expect("tests stand in target/PROFILE/deps").to_owned()
    })
}
