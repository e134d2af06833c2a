// SPDX-License-Identifier: GPL-2.0

//! Every allocation, copy and hypercall of every operation fails in turn, and leaves nothing behind.

use std::os::fd::AsRawFd;

use super::gntdev::{copy, dmabuf, each_grantor};
use super::pool::Pool;
use super::privcmd::device_model::{IoreqServer, Operation};
use super::privcmd::eventfd::Device;
use super::{each_kind, SOON};
use crate::abi::gntdev::{NOTIFY_CLEAR_BYTE, NOTIFY_SEND_EVENT};
use crate::abi::privcmd::{self as abi, MmapEntry};
use crate::abi::DOMID_SELF;
use crate::device::privcmd::Resource;
use crate::device::{Evtchn, Gntdev, HypercallBuffer, Privcmd};
use crate::faults::{each, each_of, passed, What};
use crate::ktap::{check, skip, Suite, Test, TestResult};
use crate::sys::{self, Mapping, PAGE};
use crate::xen::{grant, BareDomain, Kind, Xen, XEN_VERSION};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "faults",
    tests: &[
        Test::new("evtchn_open", evtchn_open),
        Test::new("evtchn_bind", evtchn_bind),
        Test::new("evtchn_use", evtchn_use),
        Test::new("gntdev_open", gntdev_open),
        Test::new("gntdev_map", gntdev_map),
        Test::new("gntdev_mmap", gntdev_mmap),
        Test::new("gntdev_notify", gntdev_notify),
        Test::new("gntdev_copy", gntdev_copy),
        Test::new("gntdev_export", gntdev_export).only(Kind::Pvh),
        Test::new("gntdev_import", gntdev_import),
        Test::new("privcmd_open", privcmd_open),
        Test::new("privcmd_hypercall", privcmd_hypercall),
        Test::new("privcmd_reserve", privcmd_reserve),
        Test::new("privcmd_batch", privcmd_batch),
        Test::new("privcmd_batch_v1", privcmd_batch_v1),
        Test::new("privcmd_mmap", privcmd_mmap).only(Kind::Pv),
        Test::new("privcmd_resource", privcmd_resource),
        Test::new("privcmd_dm_op", privcmd_dm_op),
        Test::new("privcmd_irqfd", privcmd_irqfd),
        Test::new("privcmd_ioeventfd", privcmd_ioeventfd),
        Test::new("hypercall_buffer", hypercall_buffer),
        Test::new("xenfs_files", xenfs_files),
        Test::new("xenfs_mount", xenfs_mount),
        Test::new("balloon_target", balloon_target),
    ],
};

/// What is held in Xen and of the drivers: ports, and uses of each module.
fn held() -> TestResult<usize> {
    let ports = Xen::open()?.open_ports(DOMID_SELF)?;
    let uses = ["xen_privcmd", "xen_evtchn", "xen_gntdev", "xenfs"]
        .iter()
        .filter_map(|module| crate::resources::module_uses(module))
        .sum::<i64>();
    Ok(ports + uses as usize)
}

/// What [`held`] counts, and the pages that are out of the kernel's pool of addresses.
fn held_with(pool: &Pool) -> TestResult<usize> {
    Ok(held()? + pool.missing()?)
}

fn evtchn_open() -> TestResult {
    each("open", 2, held, |fault| {
        passed(fault.strike(Evtchn::open_nonblocking)?)
    })
}

/// Linux makes an interrupt's files in /proc as far as memory goes, and warns when it cannot take them away. So here
/// memory is to be had.
fn evtchn_bind() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    each_of(What::NotMemory, "bind_unbound", 2, held, |fault| {
        let port = fault.strike(|| file.bind_unbound(0))?;
        if let Ok(port) = port {
            file.unbind(port)?;
        }
        passed(port)
    })?;
    let far = file.bind_unbound(0)?;
    each_of(What::NotMemory, "bind_interdomain", 2, held, |fault| {
        let port = fault.strike(|| file.bind_interdomain(0, far))?;
        if let Ok(port) = port {
            file.unbind(port)?;
        }
        passed(port)
    })?;
    file.unbind(far)?;
    // The console's, of which any number may be bound: no one else has it.
    const VIRQ_DEBUG: u32 = 1;
    let probe = Evtchn::open_nonblocking()?;
    if probe.bind_virq(VIRQ_DEBUG).is_ok() {
        drop(probe);
        each_of(What::NotMemory, "bind_virq", 2, held, |fault| {
            let port = fault.strike(|| file.bind_virq(VIRQ_DEBUG))?;
            if let Ok(port) = port {
                file.unbind(port)?;
            }
            passed(port)
        })?;
    }
    let xen = Xen::open()?;
    let port = xen.alloc_unbound(DOMID_SELF, 0)?;
    let result = each_of(What::NotMemory, "bind_static", 2, held, |fault| {
        let bound = fault.strike(|| file.bind_static(port))?;
        if bound.is_ok() {
            file.unbind(port)?;
        }
        passed(bound)
    });
    // A static port is not the file's to close.
    let _ = xen.close_port(port);
    result
}

fn evtchn_use() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    // Few ports are copied by single accesses, in which the kernel lets nothing fail: what is seen here is that nothing
    // else can.
    each("notify", 0, held, |fault| {
        let sent = fault.strike(|| file.notify(near))?;
        if sent.is_ok() {
            check(file.next(SOON)? == far, "another port is pending")?;
        }
        passed(sent)
    })?;
    // A port whose number cannot be copied is not lost.
    file.notify(near)?;
    check(file.wait(SOON)?, "no event came")?;
    let mut bytes = [0; 4];
    each("read", 0, held, |fault| {
        passed(fault.strike(|| sys::read(&file, &mut bytes))?)
    })?;
    check(bytes == far.to_ne_bytes(), "another port was read")?;
    each("write", 0, held, |fault| {
        passed(fault.strike(|| sys::write(&file, &bytes))?)
    })?;
    file.notify(near)?;
    check(file.next(SOON)? == far, "another port is pending")?;
    each("reset", 0, held, |fault| {
        passed(fault.strike(|| file.reset())?)
    })?;
    each("restrict", 1, held, |fault| {
        let file = Evtchn::open_nonblocking()?;
        passed(fault.strike(|| file.restrict(5))?)
    })
}

fn gntdev_open() -> TestResult {
    each("open", 2, held, |fault| passed(fault.strike(Gntdev::open)?))
}

fn gntdev_map() -> TestResult {
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        each("map", 3, held, |fault| {
            let index = fault.strike(|| file.map(grantor.id(), &grantor.references))?;
            if let Ok(index) = index {
                file.unmap(index, 2)?;
            }
            passed(index)
        })?;
        drop(file);
        grantor.released()
    })
}

fn gntdev_mmap() -> TestResult {
    let pool = Pool::open()?;
    each_grantor(3, |grantor| {
        let file = Gntdev::open()?;
        let in_use = || Ok(held_with(&pool)? + grantor.in_use());
        each("mmap", 6, in_use, |fault| {
            let index = file.map(grantor.id(), &grantor.references)?;
            let memory = fault.strike(|| file.mmap(index, 3))?;
            if let Ok(memory) = &memory {
                memory.fill(1);
            }
            file.unmap(index, 3)?;
            passed(memory)
        })?;
        let index = file.map(grantor.id(), &grantor.references)?;
        let memory = file.mmap(index, 3)?;
        each("offset_for_vaddr", 2, held, |fault| {
            passed(fault.strike(|| file.offset_of(memory.addr()))?)
        })?;
        // What is given back is given back whatever fails.
        drop(memory);
        each("unmap", 1, in_use, |fault| {
            let index = file.map(grantor.id(), &grantor.references)?;
            let result = fault.strike(|| file.unmap(index, 3))?;
            if result.is_err() {
                file.unmap(index, 3)?;
            }
            passed(result)
        })?;
        drop(file);
        grantor.released()
    })
}

fn gntdev_notify() -> TestResult {
    let events = Evtchn::open_nonblocking()?;
    let (near, _) = events.loopback()?;
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let (index, memory) = file.map_memory(grantor.id(), &grantor.references)?;
        let action = NOTIFY_CLEAR_BYTE | NOTIFY_SEND_EVENT;
        each("notify", 1, held, |fault| {
            let result = fault.strike(|| file.notify_unmap(index, action, near))?;
            file.notify_unmap(index, 0, 0)?;
            passed(result)
        })?;
        drop((memory, file));
        grantor.released()
    })
}

fn gntdev_copy() -> TestResult {
    let pool = Pool::open()?;
    each_grantor(2, |grantor| {
        let file = Gntdev::open()?;
        let memory = Mapping::anonymous(2 * PAGE)?;
        memory.fill(3);
        let in_use = || Ok(held_with(&pool)? + grantor.in_use());
        each("copy", 4, in_use, |fault| {
            let mut segments = [
                copy::from_grant(&grantor, 0, 0, memory.addr() + 100, PAGE),
                copy::from_grant(&grantor, 1, 8, memory.addr(), 64),
            ];
            passed(fault.strike(|| file.copy(&mut segments))?)
        })?;
        drop(file);
        grantor.released()
    })
}

fn gntdev_export() -> TestResult {
    let pool = Pool::open()?;
    each_grantor(1, |grantor| {
        let file = Gntdev::open()?;
        let in_use = || Ok(held_with(&pool)? + grantor.in_use());
        each("export", 5, in_use, |fault| {
            let export = || dmabuf::export_one(&file, grantor.id(), grantor.references[0], 0);
            passed(fault.strike(export)?)
        })?;
        drop(file);
        grantor.released()
    })
}

fn gntdev_import() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let Ok(buffer) = sys::udmabuf(PAGE) else {
        return skip("no dma-buf to import");
    };
    let fd = buffer.as_raw_fd() as u32;
    let file = Gntdev::open()?;
    each("import", 3, held, |fault| {
        let import = || dmabuf::import_one(&file, fd, 1, domain.id());
        let reference = fault.strike(import)?;
        if reference.is_ok() {
            dmabuf::release(&file, fd)?;
        }
        passed(reference)
    })
}

fn privcmd_open() -> TestResult {
    each("open", 2, held, |fault| {
        passed(fault.strike(Privcmd::open)?)
    })?;
    each("restrict", 1, held, |fault| {
        let file = Privcmd::open()?;
        passed(fault.strike(|| file.restrict(1))?)
    })
}

fn privcmd_hypercall() -> TestResult {
    let file = Privcmd::open()?;
    each("hypercall", 2, held, |fault| {
        // SAFETY: XENVER_version takes no address.
        passed(fault.strike(|| unsafe { file.hypercall(XEN_VERSION, [0; 5]) })?)
    })
}

fn privcmd_reserve() -> TestResult {
    let file = Privcmd::open()?;
    each("reserve", 2, held, |fault| {
        passed(fault.strike(|| file.reserve(4))?)
    })
}

/// Frames of each kind of domain, all of which it gets back in the end, and the pool where they are placed.
fn each_owner(body: impl Fn(&BareDomain, &Privcmd, &[u64], &Pool) -> TestResult) -> TestResult {
    let pool = Pool::open()?;
    each_kind(|domain| {
        let frames = domain.populate(20)?;
        let file = Privcmd::open()?;
        body(&domain, &file, &frames, &pool)?;
        drop(file);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

fn privcmd_batch() -> TestResult {
    each_owner(|domain, file, frames, pool| {
        let held = || held_with(pool);
        let mut errors = vec![0; frames.len()];
        each("batch", 4, held, |fault| {
            let range = file.reserve(frames.len())?;
            let map = || file.mmap_batch(domain.id(), range.addr(), frames, &mut errors);
            let result = fault.strike(map)?;
            // Each frame is there or has its error.
            if result.is_ok() {
                for (page, error) in errors.iter().enumerate() {
                    check(
                        (*error == 0) == range.readable(page * PAGE),
                        format_args!("page {page} with error {error}"),
                    )?;
                }
            }
            let whole = result.is_ok() && errors.iter().all(|error| *error == 0);
            passed(result).map(|passed| passed && whole)
        })
    })
}

fn privcmd_batch_v1() -> TestResult {
    each_owner(|domain, file, frames, pool| {
        let held = || held_with(pool);
        each("batch_v1", 4, held, |fault| {
            let range = file.reserve(frames.len())?;
            let mut asked = frames.to_vec();
            let map = || file.mmap_batch_v1(domain.id(), range.addr(), &mut asked);
            let result = fault.strike(map)?;
            let whole = asked == frames;
            passed(result).map(|passed| passed && whole)
        })
    })
}

fn privcmd_mmap() -> TestResult {
    each_owner(|domain, file, frames, pool| {
        let held = || held_with(pool);
        each("mmap", 3, held, |fault| {
            let range = file.reserve(2)?;
            let entries = [0, 1].map(|page| MmapEntry {
                va: (range.addr() + page * PAGE) as u64,
                mfn: frames[page],
                npages: 1,
            });
            passed(fault.strike(|| file.mmap(domain.id(), &entries))?)
        })
    })
}

fn privcmd_resource() -> TestResult {
    let pool = Pool::open()?;
    let held = || held_with(&pool);
    each_kind(|domain| {
        let file = Privcmd::open()?;
        let table = Resource {
            dom: domain.id(),
            kind: grant::RESOURCE,
            id: 0,
        };
        each("resource_size", 2, held, |fault| {
            passed(fault.strike(|| file.resource_size(table))?)
        })?;
        each("resource", 3, held, |fault| {
            let range = file.reserve(3)?;
            let map = || file.map_resource_at(table, 0, 3, range.addr());
            let result = fault.strike(map)?;
            // The range is filled, or as if nothing had been asked.
            check(
                range.readable(0) == result.is_ok() && range.readable(2 * PAGE) == result.is_ok(),
                "a range is half filled",
            )?;
            passed(result)
        })?;
        drop(file);
        check(domain.destroyed_within(SOON)?, "pages are still held")
    })
}

fn privcmd_dm_op() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    each("dm_op", 3, held, |fault| {
        let mut operation = Operation::nr_vcpus();
        passed(fault.strike(|| file.dm_op_struct(domain.id(), &mut operation))?)
    })
}

fn privcmd_irqfd() -> TestResult {
    let domain = BareDomain::new(Kind::Pvh)?;
    let file = Privcmd::open()?;
    let operation = Operation::nr_vcpus().bytes();
    each("irqfd", 3, held, |fault| {
        let eventfd = sys::eventfd()?;
        let assign = || file.irqfd(domain.id(), &eventfd, &operation, 0);
        let result = fault.strike(assign)?;
        if result.is_ok() {
            file.irqfd(domain.id(), &eventfd, &[], abi::DEASSIGN)?;
        }
        passed(result)
    })?;
    let eventfd = sys::eventfd()?;
    each("irqfd_deassign", 1, held, |fault| {
        file.irqfd(domain.id(), &eventfd, &operation, 0)?;
        let result = fault.strike(|| file.irqfd(domain.id(), &eventfd, &[], abi::DEASSIGN))?;
        if result.is_err() {
            file.irqfd(domain.id(), &eventfd, &[], abi::DEASSIGN)?;
        }
        passed(result)
    })
}

fn privcmd_ioeventfd() -> TestResult {
    let device = Device::new()?;
    let ports = [device.port];
    let argument = device.argument(&ports);
    let take_back = argument.undone();
    each("ioeventfd", 4, held, |fault| {
        let result = fault.strike(|| device.file.ioeventfd(&argument))?;
        if result.is_ok() {
            device.file.ioeventfd(&take_back)?;
        }
        passed(result)
    })?;
    device.events.unbind(device.port)?;
    // One more server, whose every operation fails in turn.
    each("ioreq_server", 3, held, |fault| {
        let server = fault.strike(|| IoreqServer::create(&device.file, &device.domain))?;
        match server {
            Ok(server) => {
                server.destroy(&device.file)?;
                Ok(true)
            }
            Err(error) => passed::<()>(Err(error)),
        }
    })
}

fn hypercall_buffer() -> TestResult {
    let file = HypercallBuffer::open()?;
    each("pages", 3, held, |fault| {
        passed(fault.strike(|| file.pages(3))?)
    })
}

fn xenfs_files() -> TestResult {
    let mut bytes = [0; 256];
    for name in ["capabilities", "xensyms", "xsd_kva", "xsd_port"] {
        let path = format!("/proc/xen/{name}");
        if sys::open(&path, libc::O_RDONLY).is_err() {
            continue;
        }
        each(name, 2, held, |fault| {
            let read = || -> sys::Result<usize> {
                let file = sys::open(&path, libc::O_RDONLY)?;
                sys::read(&file, &mut bytes)
            };
            passed(fault.strike(read)?)
        })?;
    }
    Ok(())
}

fn xenfs_mount() -> TestResult {
    let place = "/tmp/xenfs-of-faults";
    std::fs::create_dir_all(place)?;
    each("mount", 5, held, |fault| {
        let result = fault.strike(|| sys::mount("none", place, "xenfs"))?;
        if result.is_ok() {
            sys::unmount(place)?;
        }
        passed(result)
    })
}

fn balloon_target() -> TestResult {
    let path = "/sys/devices/system/xen_memory/xen_memory0/target_kb";
    let Ok(target) = std::fs::read_to_string(path) else {
        return skip("there is no balloon");
    };
    let file = sys::open(path, libc::O_RDWR)?;
    let mut bytes = [0; 64];
    each("target", 1, held, |fault| {
        passed(fault.strike(|| sys::read_at(&file, &mut bytes, 0))?)
    })?;
    each("set_target", 1, held, |fault| {
        passed(fault.strike(|| sys::write(&file, target.trim().as_bytes()))?)
    })
}
