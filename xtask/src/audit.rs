// SPDX-License-Identifier: GPL-2.0

//! `make audit`: what has to be trusted, counted, and the rules about it, checked.
//!
//! - Driver crates have no `unsafe`; elsewhere each has a SAFETY comment.
//! - Each lock is in docs/locking.md, and each that is there exists; so is each file that does without
//!   locks what is usually done with them.
//! - Each crate that the host's programs use comes with a checksum, and is what
//!   [`crate::dependencies`] lets pass.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::dependencies;

/// How many lines above an `unsafe` its SAFETY comment may begin.
const REACH: usize = 12;

/// What makes a lock.
const LOCKS: &[&str] = &["new_mutex!(", "new_spinlock!(", "IrqLock::new("];

/// What does not take locks where others do.
const ATOMIC: &str = "Atomic";

/// The library's own names for the atomics, and a file of declarations.
const NO_ATOMICS: &[&str] = &["rust/xen/atomics.rs"];

const LOCKING: &str = "docs/locking.md";

/// The heading of its second part.
const WITHOUT: &str = "## Without locks";

/// What is counted of a crate.
#[derive(Default)]
struct Count {
    lines: usize,
    blocks: usize,
    functions: usize,
    impls: usize,
    c: usize,
}

/// Prints the counts and what is wrong; gives the exit status.
pub fn run(repo: &Path) -> Result<u8> {
    let mut wrong = Vec::new();
    let mut crates = vec![(PathBuf::from("rust/xen"), false)];
    for folder in folders(&repo.join("drivers/xen"))? {
        crates.push((Path::new("drivers/xen").join(folder), true));
    }
    for folder in [
        "tests/guest",
        "tests/bench",
        "tests/clients",
        "tests/host",
        "tests/kunit",
        "tools/xen-rust-status",
        "xtask",
    ] {
        crates.push((PathBuf::from(folder), false));
    }

    println!(
        "{:24} {:>8} {:>14} {:>12} {:>12} {:>6}",
        "crate", "Rust", "unsafe blocks", "functions", "impls", "C"
    );
    let mut locks = BTreeSet::new();
    let mut lockless = BTreeSet::new();
    for (folder, is_driver) in &crates {
        let mut files = Vec::new();
        sources(&repo.join(folder), &mut files)?;
        let mut count = Count::default();
        for file in &files {
            let text =
                fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            let name = file
                .strip_prefix(repo)
                .unwrap_or(file)
                .display()
                .to_string();
            if name.ends_with(".rs") {
                look_at(&text, &name, *is_driver, &mut count, &mut wrong);
                if folder.starts_with("rust") || *is_driver {
                    for field in locks_of(&text) {
                        locks.insert((name.clone(), field));
                    }
                    if code_lines(&text).any(|line| line.contains(ATOMIC))
                        && !NO_ATOMICS.contains(&name.as_str())
                    {
                        lockless.insert(name);
                    }
                }
            } else {
                count.c += code_lines(&text).count();
            }
        }
        println!(
            "{:24} {:>8} {:>14} {:>12} {:>12} {:>6}",
            folder.display().to_string(),
            count.lines,
            count.blocks,
            count.functions,
            count.impls,
            count.c
        );
    }

    let path = repo.join(LOCKING);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let listed = listed_locks(&text);
    for (file, field) in locks.difference(&listed) {
        wrong.push(format!("{LOCKING}: the lock {field} of {file} is missing"));
    }
    for (file, field) in listed.difference(&locks) {
        wrong.push(format!("{LOCKING}: {file} has no lock {field}"));
    }
    let described = described_files(&text);
    for file in lockless.difference(&described) {
        wrong.push(format!("{LOCKING}: the atomics of {file} are missing"));
    }
    for file in described.difference(&lockless) {
        wrong.push(format!("{LOCKING}: {file} has no atomics"));
    }

    for folder in [
        "xtask",
        "tests/guest",
        "tests/bench",
        "tests/clients",
        "tests/host",
        "tools/xen-rust-status",
    ] {
        let path = repo.join(folder).join("Cargo.lock");
        if !path.exists() {
            continue;
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let packages = packages(&text);
        let foreign: Vec<_> = packages.iter().filter(|package| package.foreign).collect();
        let names: Vec<_> = foreign
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        println!("{folder} uses {} crates: {}", names.len(), names.join(" "));
        for package in foreign.iter().filter(|package| !package.checked) {
            wrong.push(format!(
                "{folder}/Cargo.lock: {} has no checksum",
                package.name
            ));
        }
    }

    wrong.append(&mut dependencies::check(repo, "xtask")?);

    for line in &wrong {
        println!("error: {line}");
    }
    println!(
        "{} locks, {} files with atomics, {} things wrong",
        locks.len(),
        lockless.len(),
        wrong.len()
    );
    Ok(u8::from(!wrong.is_empty()))
}

/// The folders in a folder, by name.
fn folders(dir: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.insert(PathBuf::from(entry.file_name()));
        }
    }
    Ok(found)
}

/// Adds the Rust and C files below a folder that people write.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if name != "target" {
                sources(&path, found)?;
            }
        } else if [".rs", ".c", ".h"]
            .iter()
            .any(|suffix| name.ends_with(suffix))
            && !name.ends_with(".mod.c")
            && !name.contains("_generated.")
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

/// The lines that are neither empty nor all comment.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut in_comment = false;
    text.lines().map(str::trim).filter(move |line| {
        if in_comment {
            in_comment = !line.contains("*/");
            return false;
        }
        if line.starts_with("/*") {
            in_comment = !line.contains("*/");
            return false;
        }
        !line.is_empty() && !line.starts_with("//")
    })
}

/// Counts what is in a Rust file, and says what is against the rules.
fn look_at(text: &str, name: &str, is_driver: bool, count: &mut Count, wrong: &mut Vec<String>) {
    count.lines += code_lines(text).count();
    let lines: Vec<_> = text.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let is_block = has_unsafe(code, "{") || code.trim_end().ends_with("unsafe");
        let is_impl = has_unsafe(code, "impl");
        let is_function = has_unsafe(code, "fn") || has_unsafe(code, "extern \"C\" fn");
        count.blocks += usize::from(is_block);
        count.impls += usize::from(is_impl);
        count.functions += usize::from(is_function);
        let at = format!("{name}:{}", number + 1);
        if is_driver && (is_block || is_impl || is_function) {
            wrong.push(format!("{at}: unsafe in a driver"));
        }
        if is_block || is_impl {
            let above = &lines[number.saturating_sub(REACH)..=number];
            if !above.iter().any(|line| line.contains("SAFETY:")) {
                wrong.push(format!("{at}: unsafe without a SAFETY comment"));
            }
        }
    }
}

/// Whether a line has `unsafe`, then `what`.
fn has_unsafe(code: &str, what: &str) -> bool {
    code.match_indices("unsafe").any(|(at, word)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + word.len()..];
        !before.map_or(false, |c| c.is_alphanumeric() || c == '_' || c == '"')
            && after.starts_with(char::is_whitespace)
            && after.trim_start().starts_with(what)
    })
}

/// The fields of a file that are locks: what is left of the `<-` or `:` before each lock's making.
fn locks_of(text: &str) -> Vec<String> {
    let code: Vec<_> = code_lines(text).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for lock in LOCKS {
        for (at, _) in code.match_indices(lock) {
            let before = &code[..at];
            let end = [before.rfind("<-"), last_colon(before)].into_iter().max();
            let end = match end {
                Some(Some(end)) => end,
                _ => continue,
            };
            let name: String = before[..end]
                .trim_end()
                .chars()
                .rev()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.push(name.chars().rev().collect());
        }
    }
    found
}

/// The last colon that is not half of a `::`.
fn last_colon(text: &str) -> Option<usize> {
    text.match_indices(':')
        .map(|(at, _)| at)
        .rfind(|&at| !text[..at].ends_with(':') && !text[at + 1..].starts_with(':'))
}

/// The locks in the rows of the table: "| `file` `field` | ...".
fn listed_locks(text: &str) -> BTreeSet<(String, String)> {
    text.lines()
        .filter_map(|line| {
            let mut names = line.strip_prefix("| `")?.split('`');
            let (file, _, field) = (names.next()?, names.next()?, names.next()?);
            let is_field = field.chars().all(|c| c.is_alphanumeric() || c == '_');
            (file.ends_with(".rs") && is_field).then(|| (file.to_owned(), field.to_owned()))
        })
        .collect()
}

/// The files in the rows of the other table: "| what | `file`, `file`: type | ...".
fn described_files(text: &str) -> BTreeSet<String> {
    let (_, table) = text.split_once(WITHOUT).unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1))
        .flat_map(|files| files.split('`').skip(1).step_by(2))
        .filter(|name| name.ends_with(".rs"))
        .map(str::to_owned)
        .collect()
}

/// A crate of a Cargo.lock.
struct Package {
    name: String,
    /// Not part of the repository.
    foreign: bool,
    checked: bool,
}

fn packages(text: &str) -> Vec<Package> {
    let value = |entry: &str, key: &str| {
        entry
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))
            .map(|value| value.trim_end_matches('"').to_owned())
    };
    text.split("[[package]]")
        .skip(1)
        .map(|entry| Package {
            name: format!(
                "{}-{}",
                value(entry, "name").unwrap_or_default(),
                value(entry, "version").unwrap_or_default()
            ),
            foreign: value(entry, "source").is_some(),
            checked: value(entry, "checksum").is_some(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_in(text: &str, is_driver: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        look_at(text, "f.rs", is_driver, &mut Count::default(), &mut wrong);
        wrong
    }

    #[test]
    fn unsafe_wants_a_comment() {
        assert!(wrong_in("// SAFETY: Yes.\nlet x = unsafe { f() };\n", false).is_empty());
        assert_eq!(wrong_in("let x = unsafe { f() };\n", false).len(), 1);
        assert_eq!(wrong_in("unsafe impl Send for X {}\n", false).len(), 1);
        assert!(wrong_in("#![deny(unsafe_code)]\n// unsafe { }\n", true).is_empty());
        assert_eq!(wrong_in("// SAFETY: No.\nunsafe { f() }\n", true).len(), 1);
    }

    #[test]
    fn locks_are_found_by_their_fields() {
        let text =
            "a <- new_mutex!(X { b: 1 }),\nwork: KBox::pin_init(\n    new_mutex!(Work {}),\n)";
        assert_eq!(locks_of(text), ["a", "work"]);
        assert_eq!(
            locks_of("table <- new_spinlock!(Table::new(), \"n\"),"),
            ["table"]
        );
        assert!(locks_of("use kernel::new_mutex;\n// new_mutex!(x)\n").is_empty());
    }

    #[test]
    fn locks_are_listed_in_rows() {
        let listed = listed_locks("| `a/b.rs` `c` | mutex |\n| `a/b.rs`, `C::d` | x |\n| lock |\n");
        let wanted = BTreeSet::from([("a/b.rs".to_owned(), "c".to_owned())]);
        assert_eq!(listed, wanted);
    }

    #[test]
    fn files_without_locks_are_described_in_rows() {
        let described = described_files(
            "| `a.rs` | b |\n## Without locks\n| what | where |\n|---|---|\n\
             | x | `b.rs`, `c/d.rs`: `T` | `e.rs` |\n| y | `f.rs`, `T::g` | z |\n",
        );
        let wanted = ["b.rs", "c/d.rs", "f.rs"].map(str::to_owned);
        assert_eq!(described, BTreeSet::from(wanted));
    }

    #[test]
    fn comments_are_no_code() {
        assert_eq!(code_lines("/* a\n b */\nint x;\n\n// y\n").count(), 1);
    }

    #[test]
    fn crates_of_a_lock_file() {
        let text = "[[package]]\nname = \"a\"\nversion = \"1\"\n\n[[package]]\nname = \"b\"\n\
                    version = \"2\"\nsource = \"x\"\nchecksum = \"y\"\n";
        let packages = packages(text);
        assert_eq!(packages.len(), 2);
        assert!(!packages[0].foreign);
        assert!(packages[1].foreign && packages[1].checked && packages[1].name == "b-2");
    }
}
