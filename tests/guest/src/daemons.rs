// SPDX-License-Identifier: GPL-2.0

//! Debian's daemons of a dom0: xenstored, then dom0's entries, then xenconsoled.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{boot, drivers, resources, sys};

/// Where Debian keeps the tools of the Xen version that is installed.
pub fn tool(name: &str) -> String {
    let directory = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.join("bin/xenstored").exists());
    match directory {
        Some(path) => format!("{}/bin/{name}", path.display()),
        None => name.to_owned(),
    }
}

/// Makes the tools findable by name.
pub fn set_path() {
    let tools = tool("");
    std::env::set_var("PATH", format!("/usr/sbin:/usr/bin:/sbin:/bin:{tools}"));
}

/// A daemon and its arguments.
type Daemon<'a> = (&'a str, &'a [&'a str]);

const XENSTORED: Daemon<'_> = ("xenstored", &["--pid-file", "/run/xenstored.pid"]);
const OTHERS: [Daemon<'_>; 2] = [
    ("xen-init-dom0", &[]),
    ("xenconsoled", &["--pid-file=/run/xenconsoled.pid"]),
];

/// Starts them, telling each command before it is run.
pub fn start(tell: impl Fn(&str)) -> Result<(), String> {
    start_with(XENSTORED, tell)
}

/// Starts them with a xenstored of the caller's choice, which must write the same file.
pub fn start_with(xenstored: Daemon<'_>, tell: impl Fn(&str)) -> Result<(), String> {
    for (name, arguments) in [xenstored].into_iter().chain(OTHERS) {
        let program = tool(name);
        tell(&format!("{program} {}", arguments.join(" ")));
        let status = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .map_err(|e| format!("{program}: {e}"))?;
        if !status.success() {
            return Err(format!("{program}: {status}"));
        }
    }
    // They go on opening devices for a while after they have gone into the background.
    let uses = || {
        drivers::MODULES
            .iter()
            .map(|m| resources::module_uses(&m.kernel_name()))
            .collect::<Vec<_>>()
    };
    let mut before = uses();
    let mut same = 0;
    let settled = sys::eventually(Duration::from_secs(20) * boot::slowness(), || {
        std::thread::sleep(Duration::from_millis(50));
        let now = uses();
        same = if running() && now == before {
            same + 1
        } else {
            0
        };
        before = now;
        same >= 10
    });
    settled
        .then_some(())
        .ok_or_else(|| "the daemons do not come to rest".into())
}

/// Whether a process exists that has not ended.
fn alive(pid: i32) -> bool {
    // The state follows the name, which is in parentheses.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    })
}

/// The process that a daemon has said it is.
pub fn pid_in_file(name: &str) -> Option<i32> {
    let text = fs::read_to_string(format!("/run/{name}.pid")).ok()?;
    text.trim().parse().ok()
}

/// The process of a running daemon.
pub fn pid(name: &str) -> Option<i32> {
    pid_in_file(name).filter(|&pid| alive(pid))
}

/// Whether the daemons run.
pub fn running() -> bool {
    pid("xenstored").is_some() && pid("xenconsoled").is_some()
}

/// Ends the daemons; xenstored's contents are lost, so nothing can be done with domains afterwards.
pub fn stop() -> bool {
    // Debian's script has a name of its own for xenstored's file.
    for name in ["xenconsoled", "xenstored", "xenstore"] {
        let Some(pid) = pid(name) else { continue };
        // SAFETY: Takes only numbers.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        if !sys::eventually(Duration::from_secs(10), || !alive(pid)) {
            return false;
        }
    }
    true
}
