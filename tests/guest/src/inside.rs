// SPDX-License-Identifier: GPL-2.0

//! What is done in a guest, and told as text to those outside: most of it with privcmd.
//!
//! What came of a call is its error number, 0 if there was none.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::abi::DomId;
use crate::boot::Words;
use crate::device::Privcmd;
use crate::drivers::{Module, MODULES};
use crate::sys::{self, Child, Errno, Exit};
use crate::xen::XEN_VERSION;

fn number<T>(result: sys::Result<T>) -> i32 {
    result.map_or_else(|e| e.0, |_| 0)
}

/// The driver that the guest was started for.
fn module(name: &str) -> sys::Result<(&'static Module, String)> {
    let module = MODULES
        .iter()
        .find(|m| m.name == name)
        .ok_or(Errno(libc::ENOENT))?;
    Ok((module, module.file(Words::read().drivers())))
}

/// Loads a driver with parameters.
pub fn load(name: &str, parameters: &str) -> sys::Result<()> {
    sys::load_module(&module(name)?.1, parameters)
}

/// Unloads it.
pub fn unload(name: &str) -> sys::Result<()> {
    sys::unload_module(&module(name)?.0.kernel_name())
}

/// To whom a file says it is restricted; `-` where it does not say.
fn restricted_to(file: &Privcmd) -> String {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))
        .unwrap_or_default()
        .lines()
        .find_map(|l| l.strip_prefix("restricted-to:"))
        .map_or("-", str::trim)
        .into()
}

/// Opens the device and tells what it lets this process do: `to:WHOM hypercall:ERROR DOMAIN:ERROR...`.
///
/// A device-model operation without buffers tells whether one on a domain is let through.
pub fn rights(domains: &[DomId]) -> String {
    let file = match Privcmd::open() {
        Ok(file) => file,
        Err(error) => return format!("open:{}", error.0),
    };
    // SAFETY: XENVER_version takes no address.
    let hypercall = unsafe { file.hypercall(XEN_VERSION, [0; 5]) };
    let mut text = format!(
        "to:{} hypercall:{}",
        restricted_to(&file),
        number(hypercall)
    );
    for &domain in domains {
        text += &format!(" {domain}:{}", number(file.dm_op(domain, &[])));
    }
    text
}

/// Adds one to the first byte of a frame of another domain, and tells what it was.
pub fn increment(domain: DomId, frame: u64) -> sys::Result<u8> {
    let file = Privcmd::open()?;
    let memory = file.map_frames(domain, &[frame])?;
    let byte: u8 = memory.read_at(0);
    memory.write_at(0, &byte.wrapping_add(1));
    memory.unmap()?;
    Ok(byte)
}

/// Mounts xenfs, and tells its files with their modes, and what this domain can.
pub fn xenfs() -> std::io::Result<String> {
    const PLACE: &str = "/proc/xen";
    let error = |e: Errno| std::io::Error::from_raw_os_error(e.0);
    sys::mount("none", PLACE, "xenfs").map_err(error)?;
    let told = (|| {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(PLACE)? {
            let entry = entry?;
            let mode = entry.metadata()?.permissions().mode() & 0o7777;
            files.push(format!("{}:{mode:o}", entry.file_name().to_string_lossy()));
        }
        files.sort_unstable();
        let can = std::fs::read_to_string(format!("{PLACE}/capabilities"))?;
        Ok(format!("{}, can: {can:?}", files.join(" ")))
    })();
    sys::unmount(PLACE).map_err(error)?;
    told
}

/// Brings memory online that was added to what the kernel knows of. Tells how many blocks of it there were.
pub fn bring_online() -> std::io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir("/sys/devices/system/memory")? {
        let state = entry?.path().join("state");
        if std::fs::read_to_string(&state).is_ok_and(|now| now.trim() == "offline") {
            std::fs::write(&state, "online")?;
            count += 1;
        }
    }
    Ok(count)
}

fn tell(text: &str) {
    println!("inside: {text}");
    let _ = std::io::stdout().flush();
}

/// Opens the device in a child, which ends with what came of it.
fn opener() -> sys::Result<Child> {
    Child::fork(|| number(Privcmd::open()))
}

/// In a guest that xenstore does not answer yet: waits for it, then locks the kernel down, and tells all on the console.
pub fn wait_for_xenstore() {
    if let Err(error) = waiting() {
        tell(&format!("failed: {error}"));
    }
}

fn waiting() -> sys::Result<()> {
    const LONG_ENOUGH: Duration = Duration::from_millis(500);

    load("xen-privcmd", "")?;
    // A handler, so that the signal interrupts rather than kills.
    sys::handle_signal(libc::SIGUSR1)?;
    let mut interrupted = opener()?;
    let end = interrupted.wait_for(LONG_ENOUGH);
    tell(&format!("open-ends-early {}", end.is_some()));
    interrupted.kill(libc::SIGUSR1);
    tell(&match interrupted.wait_for(LONG_ENOUGH * 20) {
        Some(Exit::Status(error)) => format!("interrupted {error}"),
        other => format!("interrupted {other:?}"),
    });
    // One that is killed while it waits, and then, as the kernel opens such devices one at a time, one that gets through
    // in the end.
    let mut killed = opener()?;
    killed.wait_for(LONG_ENOUGH);
    killed.kill(libc::SIGKILL);
    tell(&format!("killed {:?}", killed.wait_for(LONG_ENOUGH * 20)));
    let mut patient = opener()?;
    tell(&format!(
        "patient-early {}",
        patient.wait_for(LONG_ENOUGH).is_some()
    ));
    tell("waiting");
    tell(&format!("patient {:?}", patient.wait()));
    tell(&format!("rights {}", rights(&[0, 5, 6])));
    unload("xen-privcmd")?;

    // Only signed modules can be loaded from here on.
    let locked = std::fs::write("/sys/kernel/security/lockdown", "integrity");
    tell(&format!("locked {}", locked.is_ok()));
    let loaded = load("xen-privcmd", "unrestricted=1");
    tell(&format!("loaded {}", number(loaded)));
    tell(&format!("locked-rights {}", rights(&[0, 5, 6])));
    Ok(())
}
