// SPDX-License-Identifier: GPL-2.0

//! Kernel memory: what things take while they exist, as the difference of `/proc/meminfo` over many of them.

use std::fs;
use std::time::Duration;

use xen_guest::device::{Evtchn, Gntdev, HypercallBuffer, Privcmd};
use xen_guest::sys::{Errno, Result};

use crate::measure::Report;
use crate::partner::{Partner, FRAMES, GRANTS};

const FILES: usize = 8000;
const PORTS: usize = 3000;

/// Measures what the kernel keeps for each file, port, grant and frame.
pub fn measure(report: &mut Report, partner: &mut Partner) {
    if let Err(error) = raise_file_limit() {
        return report.line(format_args!(
            r#"{{"memory":"open_files","unsupported":"{error}"}}"#
        ));
    }
    many(report, "open_evtchn", FILES, || open_many(Evtchn::open));
    many(report, "open_privcmd", FILES, || open_many(Privcmd::open));
    many(report, "open_hypercall_buffer", FILES, || {
        open_many(HypercallBuffer::open)
    });
    many(report, "open_gntdev", FILES, || open_many(Gntdev::open));
    many(report, "bound_port", PORTS, || {
        let evtchn = Evtchn::open()?;
        for _ in 0..PORTS {
            evtchn.bind_unbound(partner.domain.id().into())?;
        }
        Ok(evtchn)
    });
    many(report, "grant_map_of_1", GRANTS, || {
        let gntdev = Gntdev::open()?;
        for &reference in &partner.references {
            gntdev.map(partner.domain.id(), &[reference])?;
        }
        Ok(gntdev)
    });
    many(report, "mapped_grant", GRANTS, || {
        let gntdev = Gntdev::open()?;
        let (_, memory) = gntdev.map_memory(partner.domain.id(), &partner.references)?;
        Ok((memory, gntdev))
    });
    many(report, "mapped_frame", FRAMES, || {
        let privcmd = Privcmd::open()?;
        let memory = privcmd.map_frames(partner.domain.id(), &partner.frames)?;
        Ok((memory, privcmd))
    });
}

/// Lets this process have as many files open as are measured.
fn raise_file_limit() -> Result<()> {
    let most = FILES as u64 + 100;
    let limit = libc::rlimit {
        rlim_cur: most,
        rlim_max: most,
    };
    // SAFETY: The structure is live and complete.
    Errno::check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }).map(drop)
}

fn open_many<T>(open: impl Fn() -> Result<T>) -> Result<Vec<T>> {
    (0..FILES).map(|_| open()).collect()
}

/// Makes things once: a second time would find them in the kernel's caches.
fn many<T>(report: &mut Report, name: &str, count: usize, make: impl Fn() -> Result<T>) {
    if !report.wants(name) {
        return;
    }
    let before = Memory::now();
    let things = match make() {
        Ok(things) => things,
        Err(error) => {
            report.line(format_args!(
                r#"{{"memory":"{name}","unsupported":"{error}"}}"#
            ));
            return;
        }
    };
    let used = Memory::now().since(before);
    drop(things);
    let each = |kib: i64| kib as f64 * 1024.0 / count as f64;
    report.line(format_args!(
        r#"{{"memory":"{name}","count":{count},"slab":{:.1},"vmalloc":{:.1},"percpu":{:.1},"page_tables":{:.1},"all":{:.1}}}"#,
        each(used.slab),
        each(used.vmalloc),
        each(used.percpu),
        each(used.page_tables),
        each(-used.free),
    ));
}

/// Kernel memory in KiB.
#[derive(Clone, Copy, Debug)]
struct Memory {
    slab: i64,
    vmalloc: i64,
    percpu: i64,
    page_tables: i64,
    free: i64,
}

impl Memory {
    /// What is used now, once what is on its way to be freed has been.
    fn now() -> Self {
        std::thread::sleep(Duration::from_millis(300));
        // The counters are kept on each CPU and brought together now and then, or on demand.
        let _ = fs::read("/proc/sys/vm/stat_refresh");
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let get = |name: &str| {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value
                .and_then(|v| v.trim().trim_end_matches(" kB").parse().ok())
                .unwrap_or(0)
        };
        Self {
            slab: get("Slab"),
            vmalloc: get("VmallocUsed"),
            percpu: get("Percpu"),
            page_tables: get("PageTables"),
            free: get("MemFree"),
        }
    }

    fn since(self, before: Self) -> Self {
        Self {
            slab: self.slab - before.slab,
            vmalloc: self.vmalloc - before.vmalloc,
            percpu: self.percpu - before.percpu,
            page_tables: self.page_tables - before.page_tables,
            free: self.free - before.free,
        }
    }
}
