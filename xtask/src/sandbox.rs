// SPDX-License-Identifier: GPL-2.0

//! Namespaces: nothing that is mounted or started here outlives the program.
//!
//! The program forks once into a mount and a process namespace of its own. The worker is the
//! namespace's first process: when it ends, for whatever reason, the kernel kills everything in
//! the namespace, QEMU and compilers alike, and the mounts go with it. The supervisor waits
//! outside, turns signals into the worker's death and puts the terminal back in order; if the
//! supervisor itself is killed, the worker is too.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::libc;
use nix::mount::{mount, umount, MsFlags};
use nix::sched::{unshare, CloneFlags};
use nix::sys::signal::{kill, SigSet, SigmaskHow, Signal};
use nix::sys::termios::{tcgetattr, tcsetattr, SetArg, Termios};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{fork, geteuid, ForkResult, Pid};

use crate::error::surroundings;

const NO_NAMESPACES: &str = "this needs root, or user namespaces with a range of subordinate ids: \
     run it as root, or install uidmap and give the user a range with `usermod --add-subuids`";

/// Which of the two processes we are after [`enter`].
pub enum Role {
    /// The worker has ended with this status.
    Supervisor(u8),
    /// Go on with the work.
    Worker,
}

/// Moves into namespaces of our own.
///
/// With `native` nothing is mounted, so namespaces are used where they are to be had, and not
/// missed where they are not.
///
/// Call this before any thread exists.
pub fn enter(native: bool) -> Result<Role> {
    if !geteuid().is_root() && !native {
        become_root_of_a_user_namespace()?;
    }
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID) {
        if native {
            return Ok(Role::Worker);
        }
        return Err(surroundings(format!(
            "cannot make a mount namespace ({errno}): in a container, run it privileged"
        )));
    }

    let mut watched = SigSet::empty();
    for signal in [
        Signal::SIGCHLD,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ] {
        watched.add(signal);
    }
    // Before the fork, so that no signal falls between the fork and the supervisor's wait.
    let before = watched.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let terminal = tcgetattr(libc::STDIN_FILENO).ok();

    // SAFETY: No other thread exists yet, so the child may do anything the parent may.
    match unsafe { fork() }.context("forking")? {
        ForkResult::Parent { child } => {
            let status = supervise(child, &watched);
            if let Some(terminal) = terminal {
                restore(&terminal);
            }
            status.map(Role::Supervisor)
        }
        ForkResult::Child => {
            die_with_parent().context("asking to die with the supervisor")?;
            before.thread_set_mask()?;
            set_up_mounts(native)?;
            Ok(Role::Worker)
        }
    }
}

/// Re-executes the program as root of a new user namespace. Returns only if that is impossible.
fn become_root_of_a_user_namespace() -> Result<()> {
    let unshare = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--map-auto", "--", command]);
        unshare
    };
    let possible = unshare("true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_or(false, |status| status.success());
    if !possible {
        return Err(surroundings(NO_NAMESPACES));
    }
    let program = std::env::current_exe().context("finding our own executable")?;
    let error = unshare(&program.to_string_lossy())
        .args(std::env::args_os().skip(1))
        .exec();
    Err(error).context("running unshare")
}

fn supervise(worker: Pid, watched: &SigSet) -> Result<u8> {
    loop {
        let signal = watched.wait().context("waiting for a signal")?;
        if signal != Signal::SIGCHLD {
            // The worker is its namespace's init: this takes all of the namespace along.
            kill(worker, Signal::SIGKILL).context("ending the worker")?;
            waitpid(worker, None).context("waiting for the worker's end")?;
            eprintln!("\ninterrupted: finished steps are kept, the next run goes on from there");
            return Ok(128 + signal as u8);
        }
        match waitpid(worker, Some(WaitPidFlag::WNOHANG)).context("waiting for the worker")? {
            WaitStatus::Exited(_, status) => return Ok(status as u8),
            WaitStatus::Signaled(_, signal, _) => return Ok(128 + signal as u8),
            _ => {}
        }
    }
}

/// QEMU makes the terminal raw; if it was killed, somebody has to undo that.
fn restore(terminal: &Termios) {
    // A terminal that went away needs no restoring.
    let _ = tcsetattr(libc::STDIN_FILENO, SetArg::TCSANOW, terminal);
}

fn set_up_mounts(native: bool) -> Result<()> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("making the mounts private")?;
    if !native {
        mount_proc(Path::new("/proc"))?;
    }
    Ok(())
}

/// Mounts the namespace's own /proc; where a container forbids that, whatever /proc there is.
fn mount_proc(on: &Path) -> Result<()> {
    let fresh = mount(
        Some("proc"),
        on,
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    );
    if fresh.is_err() && on != Path::new("/proc") {
        bind(Path::new("/proc"), on)?;
    }
    Ok(())
}

fn bind(from: &Path, on: &Path) -> Result<()> {
    fs::create_dir_all(on).with_context(|| format!("making {}", on.display()))?;
    mount(
        Some(from),
        on,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .with_context(|| format!("mounting {} on {}", from.display(), on.display()))
}

/// Shows a folder at another place, without what is mounted below it.
pub fn view(folder: &Path, at: &Path) -> Result<()> {
    fs::create_dir_all(at).with_context(|| format!("making {}", at.display()))?;
    mount(
        Some(folder),
        at,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .with_context(|| format!("mounting {} on {}", folder.display(), at.display()))
}

/// Undoes that.
pub fn unmount(at: &Path) -> Result<()> {
    umount(at).with_context(|| format!("unmounting {}", at.display()))
}

/// Makes a build root ready to run programs: its /proc, /dev and /tmp, and `shared` folders at
/// the same paths as outside, so that a path means the same on both sides.
pub fn furnish(root: &Path, shared: &[&Path]) -> Result<()> {
    mount_proc(&root.join("proc"))?;
    bind(Path::new("/dev"), &root.join("dev"))?;
    let tmp = root.join("tmp");
    mount(
        Some("tmpfs"),
        &tmp,
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        None::<&str>,
    )
    .context("mounting the build root's /tmp")?;
    for path in shared {
        bind(path, &inside(root, path))?;
    }
    Ok(())
}

/// Where an absolute path lies below a root.
pub fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A command that dies with us and, given a root, runs in it; `dir` is its working folder there.
pub fn command(program: &str, root: Option<&Path>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    let root = root.map(Path::to_owned);
    let dir = dir.to_owned();
    // SAFETY: Between fork and exec the closure makes system calls only, but for the C strings
    // of two paths; nothing else in this program allocates while it forks and holds a lock that
    // the child would then wait for (glibc resets its allocator's locks in the child).
    unsafe {
        command.pre_exec(move || {
            die_with_parent()?;
            if let Some(root) = &root {
                nix::unistd::chroot(root)?;
            }
            nix::unistd::chdir(&dir)?;
            Ok(())
        });
    }
    command
}

/// Asks the kernel to kill this process when its parent ends.
fn die_with_parent() -> io::Result<()> {
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
