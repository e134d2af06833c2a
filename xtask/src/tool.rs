// SPDX-License-Identifier: GPL-2.0

//! Running programs: the build root's or, with NATIVE=1, the host's own.

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::io::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{anyhow, bail, Context, Result};

use crate::error::{surroundings, DISK_FULL};
use crate::sandbox;
use crate::step::Step;

/// How many of a failed command's last lines are shown.
pub const TAIL: usize = 40;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The tools that build and run things.
pub struct Tools {
    root: Option<PathBuf>,
    cargo_home: PathBuf,
}

impl Tools {
    pub fn new(root: Option<PathBuf>, cargo_home: PathBuf) -> Self {
        Self { root, cargo_home }
    }

    /// A command with one of these tools, in an environment that does not depend on the caller's:
    /// in particular without the flags of the make that called us.
    pub fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = sandbox::command(program, self.root.as_deref(), dir);
        command.env_clear();
        command.env("LC_ALL", "C.UTF-8");
        command.env("HOME", "/tmp");
        command.env("CARGO_HOME", &self.cargo_home);
        // The same sources give the same kernel.
        command.env("KBUILD_BUILD_TIMESTAMP", "@0");
        command.env("KBUILD_BUILD_USER", "xen-rust");
        command.env("KBUILD_BUILD_HOST", "xen-rust");
        match (&self.root, env::var_os("PATH")) {
            (None, Some(path)) => command.env("PATH", path),
            _ => command.env("PATH", PATH),
        };
        for name in ["TERM", "http_proxy", "https_proxy", "no_proxy"] {
            if let Some(value) = env::var_os(name) {
                command.env(name, value);
            }
        }
        command
    }

    /// Where a file of the tools' system is, seen from here.
    pub fn file(&self, absolute: &str) -> PathBuf {
        match &self.root {
            Some(root) => sandbox::inside(root, Path::new(absolute)),
            None => PathBuf::from(absolute),
        }
    }
}

/// A command of the host's.
pub fn host(program: &str, dir: &Path) -> Command {
    let mut command = sandbox::command(program, None, dir);
    // Messages are read: they have to be in one language.
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// How many jobs make and cargo run at once.
pub fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// What became of a command that [`watch`] ran.
pub struct Ran {
    pub success: bool,
    /// The last lines it said.
    pub tail: VecDeque<String>,
}

impl Ran {
    pub fn says(&self, text: &str) -> bool {
        self.tail.iter().any(|line| line.contains(text))
    }
}

/// Runs a command to its end, its output going to the step's line, to `log`, and to `each`.
pub fn watch(
    command: &mut Command,
    step: &Step,
    log: Option<&Path>,
    mut each: impl FnMut(&str),
) -> Result<Ran> {
    let name = command.get_program().to_string_lossy().into_owned();
    let (ours, theirs) = UnixStream::pair().context("making a pipe")?;
    let theirs = OwnedFd::from(theirs);
    let mut log = match log {
        Some(path) => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
            Some(file)
        }
        None => None,
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(theirs.try_clone()?))
        .stderr(Stdio::from(theirs));
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => surroundings(format!("the program {name} is missing")),
        _ => anyhow!(error).context(format!("starting {name}")),
    })?;
    // Our copies of the child's ends would keep the pipe open after its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut tail = VecDeque::with_capacity(TAIL);
    let mut reader = BufReader::new(ours);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .with_context(|| format!("reading from {name}"))?
        > 0
    {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if let Some(log) = &mut log {
            writeln!(log, "{text}").context("writing a log")?;
        }
        step.says(text);
        each(text);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text.to_owned());
        line.clear();
    }
    let status = child
        .wait()
        .with_context(|| format!("waiting for {name}"))?;
    Ok(Ran {
        success: status.success(),
        tail,
    })
}

/// Runs a command that has to succeed; if it does not, its last lines are the error.
pub fn run(command: &mut Command, step: &Step, log: Option<&Path>) -> Result<()> {
    let ran = watch(command, step, log, |_| {})?;
    if ran.success {
        return Ok(());
    }
    if ran.says("No space left on device") {
        return Err(surroundings(DISK_FULL));
    }
    let tail: Vec<_> = ran.tail.into_iter().collect();
    let more = log.map_or_else(String::new, |log| {
        format!("\n(all of it: {})", log.display())
    });
    bail!("{} failed:\n{}{more}", describe(command), tail.join("\n"))
}

/// Runs cargo, which may have to download crates first.
pub fn cargo(command: &mut Command, step: &Step, log: &Path) -> Result<()> {
    let ran = watch(command, step, Some(log), |_| {})?;
    if ran.success {
        return Ok(());
    }
    explain_cargo(&ran)?;
    let tail: Vec<_> = ran.tail.into_iter().collect();
    bail!(
        "{} failed:\n{}\n(all of it: {})",
        describe(command),
        tail.join("\n"),
        log.display()
    )
}

/// Fails if what stopped cargo was not the code it compiled or ran.
pub fn explain_cargo(ran: &Ran) -> Result<()> {
    if ran.says("No space left on device") {
        return Err(surroundings(DISK_FULL));
    }
    let network = [
        "failed to download",
        "download of config.json failed",
        "Could not resolve host",
        "Couldn't resolve host",
    ];
    if network.iter().any(|text| ran.says(text)) {
        return Err(surroundings(
            "cargo cannot download the crates it needs: check the network and run this again",
        ));
    }
    Ok(())
}

/// Runs a command that has to succeed and gives what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", describe(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}",
            describe(command),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The start of a command line, enough to recognise it.
fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        if text.len() > 100 {
            text.push_str(" ...");
            break;
        }
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
