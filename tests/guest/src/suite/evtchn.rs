// SPDX-License-Identifier: GPL-2.0

//! `/dev/xen/evtchn`.

mod beyond;
mod throttle;
mod uring;

use std::os::fd::AsRawFd;
use std::time::Duration;

use super::{kill_after, SOON};
use crate::abi::{evtchn as abi, DOMID_FIRST_RESERVED, DOMID_SELF};
use crate::boot;
use crate::device::evtchn::{bytes, ports, Evtchn};
use crate::ktap::{check, equal, FailsWith, Suite, Test, TestResult};
use crate::sys::{self, Child, Errno, Exit};
use crate::xen::event::Status;
use crate::xen::{BareDomain, Kind, Xen};

/// The suite.
pub const SUITE: Suite = Suite {
    name: "evtchn",
    tests: &[
        Test::new("loopback", loopback),
        Test::new("both_ends_report", both_ends_report),
        Test::new("masked_until_written", masked_until_written),
        Test::new("bind_virq", bind_virq),
        Test::new("bind_virq_taken", bind_virq_taken),
        Test::new("bind_virq_refused", bind_virq_refused),
        Test::new(
            "bind_unbound_is_for_the_remote",
            bind_unbound_is_for_the_remote,
        ),
        Test::new("bind_unbound_no_domain", bind_unbound_no_domain),
        Test::new("bind_unbound_wide_domain", bind_unbound_wide_domain)
            .differs_in_c("cuts the domain to 16 bits"),
        Test::new(
            "bind_interdomain_other_domain",
            bind_interdomain_other_domain,
        ),
        Test::new("bind_interdomain_refused", bind_interdomain_refused),
        Test::new("bind_interdomain_wide_domain", bind_interdomain_wide_domain)
            .differs_in_c("cuts the domain to 16 bits"),
        Test::new("unbind", unbind),
        Test::new("unbind_foreign", unbind_foreign),
        Test::new("notify_foreign", notify_foreign),
        Test::new("unknown_request", unknown_request).differs_in_c("says ENOSYS"),
        Test::new("bad_pointers", bad_pointers),
        Test::new("callers_of_32_bits", callers_of_32_bits),
        Test::new("restrict", restrict),
        Test::new("restrict_refused", restrict_refused),
        Test::new("read_small", read_small),
        Test::new("read_many", read_many),
        Test::new("read_page_at_most", read_page_at_most),
        Test::new("read_part_keeps_rest", read_part_keeps_rest),
        Test::new("read_nonblocking", read_nonblocking),
        Test::new("read_blocks", read_blocks),
        Test::new("read_interrupted", read_interrupted),
        Test::new(
            "read_bad_buffer_loses_nothing",
            read_bad_buffer_loses_nothing,
        ),
        Test::new("read_vectored", read_vectored),
        Test::new("write_ignores_foreign", write_ignores_foreign),
        Test::new("write_bad_buffer", write_bad_buffer),
        Test::new("write_partial_port", write_partial_port),
        Test::new("poll", poll),
        Test::new("epoll_edge", epoll_edge),
        Test::new("sigio", sigio),
        Test::new("seek", seek),
        Test::new("reset_empties", reset_empties),
        Test::new("reset_unmasks_lost", reset_unmasks_lost)
            .differs_in_c("leaves what was in the ring masked"),
        Test::new("rebinding_never_overflows", rebinding_never_overflows)
            .differs_in_c("stale entries of ports that were unbound fill the ring"),
        Test::new("unbound_port_is_not_reported", unbound_port_is_not_reported)
            .differs_in_c("keeps reporting it"),
        Test::new("close_unbinds", close_unbinds),
        Test::new("death_unbinds", death_unbinds),
        Test::new("bind_static", bind_static),
        Test::new("bind_static_unbind_keeps", bind_static_unbind_keeps),
        Test::new("bind_static_same_file", bind_static_same_file),
        Test::new("bind_static_of_other_file", bind_static_of_other_file)
            .breaks_c("shares the interrupt, or closes the port"),
        Test::new("bind_static_of_kernel", bind_static_of_kernel)
            .breaks_c("takes the kernel's port"),
        Test::new("bind_static_unallocated", bind_static_unallocated)
            .breaks_c("binds a port that does not exist"),
        Test::new("bind_static_restricted", bind_static_restricted)
            .differs_in_c("has no such check"),
        Test::new("reused_number", reused_number).breaks_c("closes a port that is not its own"),
        Test::new("remote_gone", remote_gone),
        Test::new("many_ports", many_ports).seconds(240),
        Test::new("many_files", many_files).seconds(240),
        Test::new("shared_over_fork", shared_over_fork),
        Test::new("threads", threads).seconds(240),
        Test::new("known_here_only", beyond::known_here_only),
        Test::new("port_status", beyond::port_status).differs_in_c("has no such ioctl"),
        Test::new("port_set_vcpu", beyond::port_set_vcpu).differs_in_c("has no such ioctl"),
        Test::new("fdinfo", beyond::fdinfo).differs_in_c("shows nothing"),
        Test::new("totals", beyond::totals).differs_in_c("shows nothing"),
        Test::new("closed_behind", beyond::closed_behind).breaks_c("kills the kernel"),
        Test::new("reused_on_the_same_file", beyond::reused_on_the_same_file)
            .breaks_c("closes the port and fails"),
        Test::new("name_with_slashes", beyond::name_with_slashes).breaks_c("warns"),
        Test::new("read_without_waiting", beyond::read_without_waiting)
            .differs_in_c("has no such reads"),
        Test::new("uring_read", uring::read),
        Test::new("uring_read_without_waiting", uring::read_without_waiting)
            .differs_in_c("has no such reads"),
        Test::new("uring_vectors", uring::vectors),
        Test::new("uring_poll", uring::poll),
        Test::new("uring_given_up", uring::given_up),
        Test::new("uring_bad_buffer", uring::bad_buffer),
        Test::new("sleepers_are_woken", beyond::sleepers_are_woken).seconds(120),
        Test::new("storm", beyond::storm).seconds(120),
        Test::new(
            "interrupted_as_often_as_unmasked",
            throttle::interrupted_as_often_as_unmasked,
        ),
        Test::new(
            "unmasked_later_when_busy",
            throttle::unmasked_later_when_busy,
        ),
        Test::new("races", beyond::races)
            .seconds(240)
            .breaks_c("an event sent while its port is unbound warns"),
    ],
};

/// How long to wait for an event that must not come: when events come, they do within a few milliseconds.
const NEVER: Duration = Duration::from_millis(100);

const VIRQ_CON_RING: u32 = 8;
const VIRQ_DOM_EXC: u32 = 3;

/// The next port must be this one.
fn expect(file: &Evtchn, port: u32) -> TestResult {
    equal(file.next(SOON)?, port, "the port that is pending")
}

/// A port of this domain must be so to Xen.
fn expect_state(xen: &Xen, port: u32, status: Status) -> TestResult {
    equal(
        xen.port_status(DOMID_SELF, port)?,
        status,
        format_args!("port {port}, as Xen sees it"),
    )
}

/// Nothing may become pending.
fn expect_nothing(file: &Evtchn) -> TestResult {
    check(!file.wait(NEVER)?, "a port is pending that should not be")
}

fn loopback() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    let xen = Xen::open()?;
    expect_state(&xen, near, Status::Interdomain(0, far))?;
    expect_state(&xen, far, Status::Interdomain(0, near))?;
    for _ in 0..50 {
        file.notify(near)?;
        expect(&file, far)?;
        file.notify(far)?;
        expect(&file, near)?;
    }
    expect_nothing(&file)
}

fn both_ends_report() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    file.notify(far)?;
    let mut got = Vec::new();
    while got.len() < 2 {
        check(file.wait(SOON)?, "an event is missing")?;
        got.extend(file.read(16)?);
    }
    got.sort_unstable();
    let mut both = vec![near, far];
    both.sort_unstable();
    equal(got, both, "the pending ports")
}

fn masked_until_written() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    equal(file.read(16)?, vec![far], "the pending ports")?;
    // Masked now: however often it is sent, nothing comes, and then once.
    (0..10).try_for_each(|_| file.notify(near))?;
    expect_nothing(&file)?;
    file.unmask(&[far])?;
    expect(&file, far)?;
    expect_nothing(&file)
}

fn bind_virq() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let port = file.bind_virq(VIRQ_CON_RING)?;
    expect_state(&Xen::open()?, port, Status::Interrupt)?;
    file.unbind(port)?;
    let again = file.bind_virq(VIRQ_CON_RING)?;
    file.unbind(again)?;
    Ok(())
}

fn bind_virq_taken() -> TestResult {
    let (one, other) = (Evtchn::open()?, Evtchn::open()?);
    one.bind_virq(VIRQ_CON_RING)?;
    other.bind_virq(VIRQ_CON_RING).fails_with(libc::EEXIST)?;
    drop(one);
    other.bind_virq(VIRQ_CON_RING)?;
    Ok(())
}

fn bind_virq_refused() -> TestResult {
    let file = Evtchn::open()?;
    // Interrupts of a vCPU come and go with it; numbers past the last do not exist.
    for virq in [24, 1000, u32::MAX] {
        file.bind_virq(virq).fails_with(libc::EINVAL)?;
    }
    Ok(())
}

fn bind_unbound_is_for_the_remote() -> TestResult {
    let file = Evtchn::open()?;
    let domain = BareDomain::new(Kind::Pv)?;
    let port = file.bind_unbound(domain.id().into())?;
    expect_state(domain.xen(), port, Status::Unbound(domain.id()))?;
    // Meant for the domain, not for this one.
    file.bind_interdomain(0, port).fails_with(libc::EINVAL)
}

fn bind_unbound_no_domain() -> TestResult {
    let file = Evtchn::open()?;
    // Xen takes any number for the remote of an unbound port, but not a reserved one.
    let port = file.bind_unbound(0)?;
    file.unbind(port)?;
    Ok(())
}

fn bind_unbound_wide_domain() -> TestResult {
    let file = Evtchn::open()?;
    file.bind_unbound(0x1_0000).fails_with(libc::EINVAL)?;
    file.bind_unbound(u32::MAX).fails_with(libc::EINVAL)
}

fn bind_interdomain_other_domain() -> TestResult {
    super::each_kind(|domain| {
        let file = Evtchn::open_nonblocking()?;
        let remote = domain.xen().alloc_unbound(domain.id(), 0)?;
        let port = file.bind_interdomain(domain.id().into(), remote)?;
        expect_state(domain.xen(), port, Status::Interdomain(domain.id(), remote))?;
        // Bound ports begin pending.
        expect(&file, port)?;
        file.notify(port)?;
        file.unbind(port)?;
        equal(
            domain.xen().port_status(domain.id(), remote)?,
            Status::Unbound(0),
            "the remote end afterwards",
        )
    })
}

fn bind_interdomain_refused() -> TestResult {
    let file = Evtchn::open()?;
    file.bind_interdomain(0, u32::MAX)
        .fails_with(libc::EINVAL)?;
    let unbound = file.bind_unbound(0)?;
    let far = file.bind_interdomain(0, unbound)?;
    // It is bound now, and so is the other end.
    file.bind_interdomain(0, unbound).fails_with(libc::EINVAL)?;
    file.bind_interdomain(0, far).fails_with(libc::EINVAL)?;
    file.bind_interdomain(0x7fe0, 1).fails_with(libc::ESRCH)
}

fn bind_interdomain_wide_domain() -> TestResult {
    let file = Evtchn::open()?;
    let unbound = file.bind_unbound(0)?;
    file.bind_interdomain(0x1_0000, unbound)
        .fails_with(libc::EINVAL)
}

fn unbind() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let xen = Xen::open()?;
    let port = file.bind_unbound(0)?;
    file.unbind(port)?;
    expect_state(&xen, port, Status::Closed)?;
    file.unbind(port).fails_with(libc::ENOTCONN)?;
    file.notify(port).fails_with(libc::ENOTCONN)
}

fn unbind_foreign() -> TestResult {
    let (one, other) = (Evtchn::open()?, Evtchn::open()?);
    let port = one.bind_unbound(0)?;
    other.unbind(port).fails_with(libc::ENOTCONN)?;
    other.unbind(0).fails_with(libc::ENOTCONN)?;
    for beyond in [1 << 17, 1 << 20, u32::MAX] {
        other.unbind(beyond).fails_with(libc::EINVAL)?;
    }
    expect_state(&Xen::open()?, port, Status::Unbound(0))
}

fn notify_foreign() -> TestResult {
    let (one, other) = (Evtchn::open_nonblocking()?, Evtchn::open()?);
    let (near, _far) = one.loopback()?;
    other.notify(near).fails_with(libc::ENOTCONN)?;
    other.notify(u32::MAX).fails_with(libc::ENOTCONN)?;
    expect_nothing(&one)
}

fn unknown_request() -> TestResult {
    let file = Evtchn::open()?;
    for request in [0, abi::RESET + 0x100, abi::BIND_VIRQ + (1 << 16), u32::MAX] {
        sys::ioctl_bad_pointer(&file, request).fails_with(libc::ENOTTY)?;
    }
    Ok(())
}

fn bad_pointers() -> TestResult {
    let file = Evtchn::open()?;
    for request in [
        abi::BIND_VIRQ,
        abi::BIND_INTERDOMAIN,
        abi::BIND_UNBOUND_PORT,
        abi::UNBIND,
        abi::NOTIFY,
        abi::RESTRICT_DOMID,
        abi::BIND_STATIC,
    ] {
        sys::ioctl_bad_pointer(&file, request).fails_with(libc::EFAULT)?;
    }
    Ok(())
}

fn callers_of_32_bits() -> TestResult {
    let file = Evtchn::open()?;
    for request in [abi::BIND_VIRQ, abi::RESET, abi::RESTRICT_DOMID] {
        sys::ioctl_of_32_bits(&file, request).fails_with(libc::ENOTTY)?;
    }
    Ok(())
}

fn restrict() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let (allowed, refused) = (
        domain.xen().alloc_unbound(domain.id(), 0)?,
        Evtchn::open()?.bind_unbound(0)?,
    );
    let file = Evtchn::open_nonblocking()?;
    let earlier = file.bind_unbound(0)?;
    file.restrict(domain.id())?;
    file.restrict(domain.id()).fails_with(libc::EACCES)?;
    file.bind_virq(VIRQ_CON_RING).fails_with(libc::EACCES)?;
    file.bind_unbound(domain.id().into())
        .fails_with(libc::EACCES)?;
    file.bind_interdomain(0, refused).fails_with(libc::EACCES)?;
    let port = file.bind_interdomain(domain.id().into(), allowed)?;
    file.notify(port)?;
    // What was bound before goes on working.
    file.unbind(earlier)?;
    Ok(())
}

fn restrict_refused() -> TestResult {
    let file = Evtchn::open()?;
    for domid in [0, DOMID_FIRST_RESERVED, DOMID_SELF, u16::MAX] {
        file.restrict(domid).fails_with(libc::EINVAL)?;
    }
    // Refused means not restricted.
    let port = file.bind_unbound(0)?;
    file.unbind(port)?;
    Ok(())
}

fn read_small() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    for len in 0..4 {
        equal(
            sys::read(&file, &mut vec![0; len])?,
            0,
            "bytes read into a buffer too small",
        )?;
    }
    let mut odd = [0; 7];
    equal(sys::read(&file, &mut odd)?, 4, "bytes read into seven")?;
    equal(ports(&odd[..4]), vec![far], "the pending ports")
}

/// Binds channels, sends once through each and gives the ports that are then pending.
fn pending(file: &Evtchn, channels: usize) -> TestResult<Vec<u32>> {
    let mut far = Vec::new();
    let mut near = Vec::new();
    for _ in 0..channels {
        let (one, other) = file.loopback()?;
        near.push(one);
        far.push(other);
    }
    near.iter().try_for_each(|&port| file.notify(port))?;
    far.sort_unstable();
    Ok(far)
}

/// Reads until as many ports have come, each once.
fn read_all(file: &Evtchn, count: usize, at_once: usize) -> TestResult<Vec<u32>> {
    let mut got = Vec::new();
    while got.len() < count && file.wait(SOON)? {
        got.extend(file.read(at_once)?);
    }
    got.sort_unstable();
    Ok(got)
}

fn read_many() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let expected = pending(&file, 150)?;
    equal(read_all(&file, 150, 1024)?, expected, "the pending ports")?;
    file.read(1).fails_with(libc::EAGAIN)
}

fn read_page_at_most() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let expected = pending(&file, 20)?;
    check(
        sys::eventually(SOON, || file.wait(Duration::ZERO) == Ok(true)),
        "no event",
    )?;
    let mut buffer = vec![0; 3 * sys::PAGE];
    let n = sys::read(&file, &mut buffer)?;
    check(n <= sys::PAGE, "more than a page was read")?;
    let mut got = ports(&buffer[..n]);
    got.extend(read_all(&file, 20 - got.len(), 16)?);
    got.sort_unstable();
    equal(got, expected, "the pending ports")
}

fn read_part_keeps_rest() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let expected = pending(&file, 100)?;
    equal(
        read_all(&file, 100, 1)?,
        expected.clone(),
        "the pending ports, one at a time",
    )?;
    // Once more around the ring, seven at a time.
    file.unmask(&expected)?;
    file.drain()?;
    let expected = pending(&file, 30)?;
    equal(
        read_all(&file, 30, 7)?,
        expected,
        "the pending ports, seven at a time",
    )
}

fn read_nonblocking() -> TestResult {
    let file = Evtchn::open()?;
    sys::set_status_flag(&file, libc::O_NONBLOCK, true)?;
    file.read(1).fails_with(libc::EAGAIN)?;
    equal(
        sys::read(&file, &mut [0; 3])?,
        0,
        "bytes read into three, nothing pending",
    )
}

fn read_blocks() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    sys::set_status_flag(&file, libc::O_NONBLOCK, false)?;
    let mut child = Child::fork(|| i32::from(file.read(1) != Ok(vec![far])))?;
    equal(
        child.wait_for(NEVER),
        None,
        "the reader's end before anything is pending",
    )?;
    file.notify(near)?;
    equal(
        child.wait_for(SOON),
        Some(Exit::Status(0)),
        "the reader's end",
    )
}

fn read_interrupted() -> TestResult {
    let file = Evtchn::open()?;
    let mut child = Child::fork(|| {
        // SAFETY: The handler does nothing.
        unsafe {
            extern "C" fn nothing(_signal: i32) {}
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        }
        i32::from(file.read(1) != Err(Errno(libc::EINTR)))
    })?;
    equal(
        child.wait_for(NEVER),
        None,
        "the reader's end before the signal",
    )?;
    child.kill(libc::SIGUSR1);
    equal(
        child.wait_for(SOON),
        Some(Exit::Status(0)),
        "the reader's end",
    )?;
    let mut child = Child::fork(|| i32::from(file.read(1).is_err()))?;
    equal(
        child.wait_for(NEVER),
        None,
        "the second reader's end before it is killed",
    )?;
    child.kill(libc::SIGKILL);
    equal(
        child.wait_for(SOON),
        Some(Exit::Signal(libc::SIGKILL)),
        "the second reader's end",
    )
}

fn read_bad_buffer_loses_nothing() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    // SAFETY: The kernel checks the address, at which there is no memory.
    let n = unsafe { libc::read(file.as_raw_fd(), 8 as *mut libc::c_void, 64) };
    Errno::check(n as i64).fails_with(libc::EFAULT)?;
    equal(file.read(16)?, vec![far], "the pending ports")
}

fn read_vectored() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let expected = pending(&file, 3)?;
    let (mut one, mut two) = ([0; 4], [0; 64]);
    let mut got = Vec::new();
    while got.len() < 3 {
        check(file.wait(SOON)?, "an event is missing")?;
        let n = sys::read_vectored(&file, &mut [&mut one, &mut two])?;
        check(n >= 4 && n % 4 == 0, format_args!("{n} bytes were read"))?;
        got.extend(ports(&one));
        got.extend(ports(&two[..n - 4]));
    }
    got.sort_unstable();
    equal(got.clone(), expected, "the pending ports")?;
    // Each was unmasked by one writev: all can come again.
    let written = sys::write_vectored(&file, &[&bytes(&got[..1]), &bytes(&got[1..])])?;
    equal(written, 12, "bytes written")?;
    let xen = Xen::open()?;
    for &port in &got {
        let Status::Interdomain(_, near) = xen.port_status(DOMID_SELF, port)? else {
            return crate::ktap::fail("a bound port is not bound");
        };
        file.notify(near)?;
        expect(&file, port)?;
    }
    Ok(())
}

fn write_ignores_foreign() -> TestResult {
    let (one, other) = (Evtchn::open_nonblocking()?, Evtchn::open()?);
    let (near, far) = one.loopback()?;
    one.notify(near)?;
    check(one.wait(SOON)?, "no event")?;
    equal(one.read(16)?, vec![far], "the pending ports")?;
    one.notify(near)?;
    // Another file's write neither fails nor unmasks.
    equal(
        other.unmask(&[far, near, 0, u32::MAX])?,
        16,
        "bytes written",
    )?;
    expect_nothing(&one)?;
    equal(one.unmask(&[u32::MAX, far])?, 8, "bytes written")?;
    expect(&one, far)
}

fn write_bad_buffer() -> TestResult {
    let file = Evtchn::open()?;
    // SAFETY: The kernel checks the address, at which there is no memory.
    let n = unsafe { libc::write(file.as_raw_fd(), 8 as *const libc::c_void, 64) };
    Errno::check(n as i64).fails_with(libc::EFAULT)
}

fn write_partial_port() -> TestResult {
    let file = Evtchn::open()?;
    for (len, taken) in [(0, 0), (3, 0), (7, 4)] {
        equal(
            sys::write(&file, &vec![0xff; len])?,
            taken,
            format_args!("bytes taken of {len}"),
        )?;
    }
    equal(
        sys::write(&file, &[0xff; 3 * 4096])?,
        4096,
        "bytes taken of three pages",
    )
}

fn poll() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let all = libc::POLLIN | libc::POLLOUT;
    equal(
        sys::poll(&file, all, SOON)?,
        libc::POLLOUT,
        "events of an idle file",
    )?;
    let (near, _far) = file.loopback()?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    equal(
        sys::poll(&file, all, SOON)?,
        all,
        "events of a file with a pending port",
    )?;
    file.read(1)?;
    equal(
        sys::poll(&file, all, SOON)?,
        libc::POLLOUT,
        "events after reading",
    )
}

fn epoll_edge() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    let epoll = sys::Epoll::new(&file, (libc::EPOLLIN | libc::EPOLLET) as u32)?;
    epoll.wait(NEVER)?;
    for _ in 0..20 {
        file.notify(near)?;
        check(
            epoll.wait(SOON)? & libc::EPOLLIN as u32 != 0,
            "no edge for an event",
        )?;
        equal(file.read(16)?, vec![far], "the pending ports")?;
        file.unmask(&[far])?;
    }
    equal(epoll.wait(NEVER)?, 0, "events without cause")
}

fn sigio() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    let signals = sys::signalfd(libc::SIGIO)?;
    sys::own_signals(&file)?;
    sys::set_status_flag(&file, libc::O_ASYNC, true)?;
    for _ in 0..3 {
        file.notify(near)?;
        check(sys::poll(&signals, libc::POLLIN, SOON)? != 0, "no SIGIO")?;
        sys::read(&signals, &mut [0; 128])?;
        expect(&file, far)?;
    }
    sys::set_status_flag(&file, libc::O_ASYNC, false)?;
    file.notify(near)?;
    equal(
        sys::poll(&signals, libc::POLLIN, NEVER)?,
        0,
        "signals after O_ASYNC is off",
    )
}

fn seek() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    sys::seek(&file, 0).fails_with(libc::ESPIPE)?;
    sys::read_at(&file, &mut [0; 4], 0).fails_with(libc::ESPIPE)
}

fn reset_empties() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    pending(&file, 10)?;
    check(file.wait(SOON)?, "no event")?;
    // The first is there; another CPU may still be at the last.
    std::thread::sleep(NEVER);
    file.reset()?;
    file.read(16).fails_with(libc::EAGAIN)?;
    equal(
        sys::poll(&file, libc::POLLIN, Duration::ZERO)?,
        0,
        "events after a reset",
    )
}

fn reset_unmasks_lost() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    file.reset()?;
    file.notify(near)?;
    expect(&file, far)
}

fn rebinding_never_overflows() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    // Each channel leaves an event unread when it goes: a bound port begins pending. The ring in C is as small as it
    // gets: 64 entries.
    for _ in 0..100 {
        let near = file.bind_unbound(0)?;
        let far = file.bind_interdomain(0, near)?;
        file.wait(SOON)?;
        file.unbind(far)?;
        file.unbind(near)?;
    }
    let (near, far) = file.loopback()?;
    equal(
        sys::poll(&file, libc::POLLIN, Duration::ZERO)? & libc::POLLERR,
        0,
        "POLLERR",
    )?;
    file.notify(near)?;
    expect(&file, far)
}

fn unbound_port_is_not_reported() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    file.notify(near)?;
    check(file.wait(SOON)?, "no event")?;
    file.unbind(far)?;
    file.read(16).fails_with(libc::EAGAIN)
}

fn close_unbinds() -> TestResult {
    let xen = Xen::open()?;
    let before = xen.open_ports(DOMID_SELF)?;
    let file = Evtchn::open_nonblocking()?;
    for _ in 0..20 {
        file.loopback()?;
    }
    equal(xen.open_ports(DOMID_SELF)?, before + 40, "open ports")?;
    drop(file);
    equal(
        xen.open_ports(DOMID_SELF)?,
        before,
        "open ports after closing the file",
    )
}

fn death_unbinds() -> TestResult {
    let xen = Xen::open()?;
    let before = xen.open_ports(DOMID_SELF)?;
    for _ in 0..10 {
        let mut child = Child::fork(|| {
            let Ok(file) = Evtchn::open_nonblocking() else {
                return 1;
            };
            loop {
                if let Ok((near, far)) = file.loopback() {
                    let _ = file.notify(near);
                    let _ = file.unbind(far);
                }
            }
        })?;
        kill_after(&mut child, Duration::from_millis(30), SOON)?;
    }
    let back = sys::eventually(SOON, || xen.open_ports(DOMID_SELF) == Ok(before));
    check(back, "ports are left open")
}

fn bind_static() -> TestResult {
    let xen = Xen::open()?;
    let file = Evtchn::open_nonblocking()?;
    let port = xen.alloc_unbound(DOMID_SELF, 0)?;
    file.bind_static(port)?;
    let far = file.bind_interdomain(0, port)?;
    // Bound ports begin pending.
    expect(&file, far)?;
    file.notify(far)?;
    expect(&file, port)?;
    drop(file);
    // Closing the file gives the port up but does not close it.
    check(
        xen.port_status(DOMID_SELF, port)? != Status::Closed,
        "a static port was closed",
    )?;
    xen.close_port(port)?;
    Ok(())
}

fn bind_static_unbind_keeps() -> TestResult {
    let xen = Xen::open()?;
    let file = Evtchn::open()?;
    let port = xen.alloc_unbound(DOMID_SELF, 0)?;
    for _ in 0..3 {
        file.bind_static(port)?;
        file.unbind(port)?;
    }
    expect_state(&xen, port, Status::Unbound(0))?;
    xen.close_port(port)?;
    Ok(())
}

fn bind_static_same_file() -> TestResult {
    let file = Evtchn::open()?;
    let port = file.bind_unbound(0)?;
    file.bind_static(port).fails_with(libc::EISCONN)?;
    expect_state(&Xen::open()?, port, Status::Unbound(0))
}

fn bind_static_of_other_file() -> TestResult {
    let (one, other) = (Evtchn::open_nonblocking()?, Evtchn::open()?);
    let (near, far) = one.loopback()?;
    other.bind_static(far).fails_with(libc::EBUSY)?;
    one.notify(near)?;
    expect(&one, far)
}

fn bind_static_of_kernel() -> TestResult {
    let (xen, file) = (Xen::open()?, Evtchn::open()?);
    // The low ports are the kernel's: interrupts, and the channel to xenstored.
    for port in 1..24 {
        let before = xen.port_status(DOMID_SELF, port)?;
        if before == Status::Interrupt {
            file.bind_static(port).fails_with(libc::EBUSY)?;
            expect_state(&xen, port, before)?;
        }
    }
    Ok(())
}

fn bind_static_unallocated() -> TestResult {
    let (xen, file) = (Xen::open()?, Evtchn::open()?);
    let port = file.bind_unbound(0)?;
    file.unbind(port)?;
    expect_state(&xen, port, Status::Closed)?;
    for port in [port, 0, 1 << 17, u32::MAX] {
        file.bind_static(port).fails_with(libc::EINVAL)?;
    }
    Ok(())
}

fn bind_static_restricted() -> TestResult {
    let (xen, file) = (Xen::open()?, Evtchn::open()?);
    let port = xen.alloc_unbound(DOMID_SELF, 0)?;
    file.restrict(5)?;
    let result = file.bind_static(port);
    xen.close_port(port)?;
    result.fails_with(libc::EACCES)
}

fn reused_number() -> TestResult {
    let xen = Xen::open()?;
    let (old, new) = (Evtchn::open_nonblocking()?, Evtchn::open_nonblocking()?);
    let port = old.bind_unbound(0)?;
    // Closed behind the driver's back, the number is handed out again.
    xen.close_port(port)?;
    let again = new.bind_unbound(0)?;
    let far = new.bind_interdomain(0, again)?;
    // Bound ports begin pending.
    expect(&new, far)?;
    if again == port {
        old.notify(port)
            .fails_with(libc::ENOTCONN)
            .or_else(|_| expect_nothing(&new))?;
    }
    drop(old);
    expect_state(&xen, again, Status::Interdomain(0, far))?;
    new.notify(far)?;
    expect(&new, again)
}

fn remote_gone() -> TestResult {
    let domain = BareDomain::new(Kind::Pv)?;
    let file = Evtchn::open_nonblocking()?;
    let remote = domain.xen().alloc_unbound(domain.id(), 0)?;
    let port = file.bind_interdomain(domain.id().into(), remote)?;
    let xen = Xen::open()?;
    check(domain.destroyed_within(SOON)?, "the domain does not go")?;
    check(
        xen.port_status(DOMID_SELF, port)? != Status::Closed,
        "the local end went too",
    )?;
    file.notify(port)?;
    file.unbind(port)?;
    Ok(())
}

fn many_ports() -> TestResult {
    let pairs = boot::fewer(if boot::long() { 2000 } else { 500 });
    let xen = Xen::open()?;
    let before = xen.open_ports(DOMID_SELF)?;
    let file = Evtchn::open_nonblocking()?;
    let mut bound = Vec::with_capacity(2 * pairs);
    for _ in 0..pairs {
        let near = file.bind_unbound(0)?;
        bound.extend([near, file.bind_interdomain(0, near)?]);
    }
    equal(
        xen.open_ports(DOMID_SELF)?,
        before + 2 * pairs,
        "open ports",
    )?;
    file.drain()?;
    // All are pending at once, and each is reported just once.
    bound.iter().try_for_each(|&port| file.notify(port))?;
    let mut sorted = bound.clone();
    sorted.sort_unstable();
    equal(
        read_all(&file, 2 * pairs, 1024)?,
        sorted,
        "the pending ports",
    )?;
    expect_nothing(&file)?;
    for port in bound.iter().step_by(4) {
        file.unbind(*port)?;
    }
    drop(file);
    equal(
        xen.open_ports(DOMID_SELF)?,
        before,
        "open ports after closing the file",
    )
}

fn many_files() -> TestResult {
    let xen = Xen::open()?;
    let before = xen.open_ports(DOMID_SELF)?;
    let mut files = Vec::new();
    for _ in 0..boot::fewer(if boot::long() { 1000 } else { 100 }) {
        let file = Evtchn::open_nonblocking()?;
        let (near, far) = file.loopback()?;
        files.push((file, near, far));
    }
    files
        .iter()
        .try_for_each(|(file, near, _)| file.notify(*near))?;
    for (file, _, far) in &files {
        expect(file, *far)?;
    }
    drop(files);
    equal(
        xen.open_ports(DOMID_SELF)?,
        before,
        "open ports after closing the files",
    )
}

fn shared_over_fork() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    let child = Child::fork(|| i32::from(file.notify(near).is_err()))?;
    equal(child.wait(), Exit::Status(0), "the child's end")?;
    // The child's end closed its descriptor, not the file.
    expect(&file, far)
}

fn threads() -> TestResult {
    let file = Evtchn::open_nonblocking()?;
    let (near, far) = file.loopback()?;
    let rounds = if boot::long() { 500 } else { 50 };
    std::thread::scope(|scope| -> TestResult {
        let workers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| -> TestResult {
                    for _ in 0..rounds {
                        let port = file.bind_unbound(0)?;
                        let other = file.bind_interdomain(0, port)?;
                        file.notify(port)?;
                        file.unbind(other)?;
                        file.unbind(port)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for _ in 0..rounds {
            file.notify(near)?;
            // Others' events come too; only this one's must not get lost.
            let mut seen = false;
            while !seen {
                check(file.wait(SOON)?, "an event was lost")?;
                let pending = file.read(64).or_else(|e| {
                    if e == Errno(libc::EAGAIN) {
                        Ok(Vec::new())
                    } else {
                        Err(e)
                    }
                })?;
                seen = pending.contains(&far);
                file.unmask(&pending)?;
            }
        }
        workers.into_iter().try_for_each(|w| match w.join() {
            Ok(result) => result,
            Err(_) => crate::ktap::fail("a thread panicked"),
        })
    })?;
    file.bind_virq(VIRQ_DOM_EXC).fails_with(libc::EEXIST)
}
