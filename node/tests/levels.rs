//! Rooms import lower rooms only: reads the `use crate::` lines of both crates against the order of the `pub mod`
//! lines in their `lib.rs`. Rooms in one paragraph of `lib.rs` stand on one level and do not import each other.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

#[test]
fn core_imports_point_down() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("core/src"));
}

#[test]
fn node_imports_point_down() {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
}

#[test]
fn an_upward_import_is_found() {
    let levels = HashMap::from([("low".to_owned(), 0), ("high".to_owned(), 1)]);
    let text = "use crate::{\n    low::Thing,\n    high::{Other, self},\n};\n";
    assert_eq!(upward(text, "low", &levels), ["high"]);
    assert!(upward(text, "high", &levels).is_empty());
    assert_eq!(
        upward("fn f() { crate::high::g() }", "low", &levels),
        ["high"]
    );
}

fn check(root: &Path) {
    let lib = fs::read_to_string(root.join("lib.rs")).unwrap();
    let levels = levels(&lib);
    assert!(levels.len() > 10, "the rooms are listed in lib.rs");
    let mut wrong = Vec::new();
    for file in files(root) {
        let inside = file.strip_prefix(root).unwrap();
        let first = inside
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy();
        let room = first.trim_end_matches(".rs").to_owned();
        if !levels.contains_key(&room) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for import in upward(&text, &room, &levels) {
            wrong.push(format!("{}: {room} imports {import}", inside.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that point up:\n{}",
        wrong.join("\n")
    );
}

/// The level of each room: the paragraph of `pub mod` lines that it stands in.
fn levels(lib: &str) -> HashMap<String, usize> {
    let mut levels = HashMap::new();
    let mut level = 0;
    for line in lib.lines() {
        if let Some(room) = line
            .strip_prefix("pub mod ")
            .and_then(|rest| rest.strip_suffix(';'))
        {
            levels.insert(room.to_owned(), level);
        } else {
            level += 1;
        }
    }
    levels
}

/// The rooms that a file names after `crate::` and that do not stand below its own.
fn upward(text: &str, room: &str, levels: &HashMap<String, usize>) -> Vec<String> {
    let own = levels[room];
    let mut found: Vec<String> = named(text)
        .into_iter()
        .filter(|name| name != room && levels.get(name).is_some_and(|level| *level >= own))
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The first path segments after every `crate::`, braces at that depth included.
fn named(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        names.push(first_segment(&item));
                        item.clear();
                        continue;
                    }
                    _ => {}
                }
                item.push(c);
            }
            names.push(first_segment(&item));
        } else {
            names.push(first_segment(rest));
        }
    }
    names
}

fn first_segment(path: &str) -> String {
    path.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push(path);
            }
        }
    }
    all
}
