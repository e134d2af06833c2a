// SPDX-License-Identifier: GPL-2.0

//! Debian's daemons of a dom0: xenstored, then dom0's entries, then xenconsoled.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::{self, alive, Process};
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

/// How long the end of a process that has been killed may take.
const TIME: Duration = Duration::from_secs(10);

/// A daemon and its arguments.
type Daemon<'a> = (&'a str, &'a [&'a str]);

const XENSTORED: Daemon<'_> = ("xenstored", &["--pid-file", "/run/xenstored.pid"]);
const DOM0: Daemon<'_> = ("xen-init-dom0", &[]);
const CONSOLE: Daemon<'_> = ("xenconsoled", &["--pid-file=/run/xenconsoled.pid"]);

/// Starts them, telling each command before it is run.
pub fn start(tell: impl Fn(&str)) -> Result<(), String> {
    start_with(XENSTORED, tell)
}

/// Starts them with a xenstored of the caller's choice, which must write the same file.
pub fn start_with(xenstored: Daemon<'_>, tell: impl Fn(&str)) -> Result<(), String> {
    run(&[xenstored, DOM0, CONSOLE], tell)
}

/// Starts xenconsoled alone.
pub fn start_console() -> Result<(), String> {
    run(&[CONSOLE], |_| {})
}

fn run(daemons: &[Daemon<'_>], tell: impl Fn(&str)) -> Result<(), String> {
    for (name, arguments) in daemons {
        let program = tool(name);
        tell(&format!("{program} {}", arguments.join(" ")));
        let status = Command::new(&program)
            .args(*arguments)
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

/// Those that xl leaves behind, one for each guest, to see to what is left when the guest ends.
///
/// They learn that by xenstored, but not that their xenstored has ended: then they wait for ever, with privcmd open.
pub fn guards() -> Vec<Process> {
    process::all()
        .into_iter()
        .filter(|p| {
            let second = p.words.get(1).map(String::as_str);
            p.program() == "xl" && matches!(second, Some("create" | "restore" | "migrate-receive"))
        })
        .collect()
}

/// Ends a daemon, if it runs.
pub fn kill(name: &str) -> bool {
    let Some(pid) = pid(name) else { return true };
    sys::kill(pid, libc::SIGKILL);
    sys::eventually(TIME, || !alive(pid))
}

/// Ends the daemons, and who waits for a word of them; xenstored's contents are lost, so nothing can be done with domains
/// afterwards.
pub fn stop() -> bool {
    // Debian's script has a name of its own for xenstored's file.
    ["xenconsoled", "xenstored", "xenstore"]
        .into_iter()
        .all(kill)
        && guards().iter().all(|guard| guard.kill(TIME))
}
