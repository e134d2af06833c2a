// SPDX-License-Identifier: GPL-2.0

//! The processes that run, and who of them has a device open.

use std::fs;
use std::time::Duration;

use crate::sys;

/// A process that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its command line, word by word; kernel threads have none.
    pub words: Vec<String>,
}

/// Whether a process exists that has not ended.
pub fn alive(pid: i32) -> bool {
    // The state follows the name, which is in parentheses.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    })
}

/// All that run at the moment.
pub fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .filter(|&pid| alive(pid))
        .filter_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line);
            let words = line.split_terminator('\0').map(str::to_owned).collect();
            Some(Process { pid, words })
        })
        .collect()
}

/// Those that have one of the files open or mapped, but for this process itself, each with which of them.
pub fn holders<'a>(paths: &[&'a str]) -> Vec<(Process, Vec<&'a str>)> {
    let own = std::process::id();
    all()
        .into_iter()
        .filter(|process| u32::try_from(process.pid) != Ok(own))
        .filter_map(|process| {
            let held = process.files();
            let held = |path: &&str| held.iter().any(|file| file == path);
            let held: Vec<_> = paths.iter().copied().filter(held).collect();
            (!held.is_empty()).then_some((process, held))
        })
        .collect()
}

impl Process {
    /// The program's name, without its folder.
    pub fn program(&self) -> &str {
        let first = self.words.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    /// The files that it has open or mapped.
    pub fn files(&self) -> Vec<String> {
        let pid = self.pid;
        let open = fs::read_dir(format!("/proc/{pid}/fd"));
        let open = open.into_iter().flatten().flatten();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        // A line is address, rights, offset, device, number, and path.
        let mapped = maps.lines().filter_map(|l| l.split_whitespace().nth(5));
        open.filter_map(|entry| fs::read_link(entry.path()).ok())
            .map(|file| file.to_string_lossy().into_owned())
            .chain(mapped.map(str::to_owned))
            .collect()
    }

    /// Kills it; tells whether it ends within the time.
    pub fn kill(&self, time: Duration) -> bool {
        sys::kill(self.pid, libc::SIGKILL);
        sys::eventually(time, || !alive(self.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_who_has_a_file_open() {
        let path = "/dev/null";
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .stdin(fs::File::open(path).unwrap())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // It is there a moment before its words are.
        let mut found = None;
        sys::eventually(Duration::from_secs(10), || {
            found = holders(&[path, "/dev/full"])
                .into_iter()
                .find(|(p, held)| p.pid == pid && held == &[path] && p.program() == "sleep");
            found.is_some()
        });
        if found.is_none() {
            // Else whoever reads what this prints waits for the child's end.
            let _ = child.kill();
        }
        let (found, _) = found.unwrap();
        assert!(alive(pid));
        assert!(holders(&["/dev/full"]).iter().all(|(p, _)| p.pid != pid));
        // A child that nobody has waited for counts as ended.
        assert!(found.kill(Duration::from_secs(5)));
        child.wait().unwrap();
        assert!(!all().contains(&found));
    }
}
