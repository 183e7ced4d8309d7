//! Finds the `mainstay` binary that the tests run.

use std::path::PathBuf;

/// The binary: `MAINSTAY_BIN`, else the one beside the test executable's own folder, else the release build.
///
/// # Panics
/// If there is none, with what to do about it.
pub fn mainstay() -> PathBuf {
    if let Some(given) = std::env::var_os("MAINSTAY_BIN") {
        let path = PathBuf::from(given);
        assert!(
            path.is_file(),
            "MAINSTAY_BIN names {}, which is no file",
            path.display()
        );
        return path;
    }
    let test = std::env::current_exe().expect("a running test has an executable");
    // target/<profile>/deps/<test>
    let profile = test
        .parent()
        .and_then(|deps| deps.parent())
        .expect("cargo puts tests into target/<profile>/deps");
    let release = profile.parent().map(|target| target.join("release"));
    let candidates: Vec<PathBuf> = [Some(profile.to_owned()), release]
        .into_iter()
        .flatten()
        .map(|folder| folder.join("mainstay"))
        .collect();
    candidates.iter().find(|path| path.is_file()).cloned().unwrap_or_else(|| {
        panic!("no mainstay binary at {candidates:?}: run `cargo build -p mainstay`, or set MAINSTAY_BIN")
    })
}
