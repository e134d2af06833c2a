// SPDX-License-Identifier: GPL-2.0

//! Event channels.
//!
//! A [`Channel`] is a port that Xen has given to this domain. [Bound](BoundPort::bind) to a
//! handler it is a [`BoundPort`]: an interrupt of the kernel, and the reference that others, such
//! as a grant's unmap notification, count theirs on.
//!
//! Port numbers are no identities: Xen hands a number out again once its channel is closed, and
//! who has the right to make hypercalls can close any channel of the domain without the kernel's
//! knowing. What tells bindings apart is the interrupt. The kernel's own closing of a channel goes
//! by the number, and is a BUG() when there is no such channel; so ports are bound here as what
//! the kernel calls static, which it does not close, and are closed here, if the kernel still
//! takes the number for this binding's.
//!
//! C headers: `include/xen/events.h`, `include/xen/interface/event_channel.h`.

use crate::{
    atomics,
    bindings,
    domid::DomId,
    ext::version,
    restriction::Authorised, //
};
use core::sync::atomic::{
    AtomicBool,
    AtomicU32,
    Ordering, //
};
use kernel::{
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};

pub mod debt;

use debt::Debt;

/// The number of a port of this domain (`evtchn_port_t`).
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Port(u32);

impl Port {
    /// Wraps a number, which may or may not be a port's.
    #[inline]
    pub const fn new(port: u32) -> Self {
        Self(port)
    }

    /// The number.
    #[inline]
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl core::fmt::Display for Port {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}

/// How many ports the domain may have: every port is below.
#[inline]
pub fn nr_channels() -> u32 {
    // SAFETY: May be called at any time after boot, and only under Xen does this module load.
    unsafe { bindings::xen_evtchn_nr_channels() }
}

/// # Safety
///
/// `T` must be the structure that Xen expects with `command`.
#[inline]
unsafe fn event_channel_op<T>(command: u32, argument: &mut T) -> Result {
    // SAFETY: By the function's contract Xen reads and writes `argument` and nothing else.
    to_result(unsafe {
        bindings::xen_rust_event_channel_op(
            command as c_int,
            core::ptr::from_mut(argument).cast::<c_void>(),
        )
    })
}

/// Sends an event through `port`.
///
/// A port that is not bound to another end sends into the void. Does not sleep.
#[inline]
pub fn notify(port: Port) {
    // As in C nobody learns of a channel that is gone: its other end is, too.
    //
    // SAFETY: Any number may be sent to.
    unsafe { bindings::xen_rust_notify(port.0) };
}

/// Whether the kernel has an interrupt for `port`, be it for itself or for a [`BoundPort`].
pub fn has_interrupt(port: Port) -> bool {
    interrupt_of(port).is_some()
}

/// Whether `port` is the kernel's own channel to xenstored, for which there is an interrupt only
/// once xenstored runs.
pub fn is_store_port(port: Port) -> bool {
    // SAFETY: Set while the kernel boots.
    let store = unsafe { bindings::xen_store_evtchn };
    u32::try_from(store).is_ok_and(|store| store == port.0)
}

fn interrupt_of(port: Port) -> Option<u32> {
    // SAFETY: Any number may be asked for.
    match unsafe { bindings::irq_from_evtchn(port.0) } {
        u32::MAX => None,
        irq => Some(irq),
    }
}

/// What Xen knows of a port.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no channel.
    Closed,
    /// It waits for the domain named to bind the other end.
    Unbound(DomId),
    /// It is bound to a port of a domain.
    Interdomain(DomId, Port),
    /// It is bound to a physical interrupt.
    Physical(u32),
    /// It is bound to a virtual interrupt (`VIRQ_*`).
    Virtual(u32),
    /// It is a vCPU's, for interrupts from other vCPUs.
    Ipi,
}

/// What Xen knows of a port, and which vCPU its events go to.
#[derive(Copy, Clone, Debug)]
pub struct Status {
    /// What it is bound to.
    pub state: State,
    /// The vCPU that is told of its events.
    pub vcpu: u32,
}

/// Asks Xen about `port` of this domain.
///
/// # Errors
///
/// `EINVAL` for a number beyond what the domain can have.
pub fn status(port: Port) -> Result<Status> {
    let mut status = bindings::evtchn_status {
        dom: DomId::SELF.raw(),
        port: port.0,
        ..Default::default()
    };
    // SAFETY: The structure is the command's.
    unsafe { event_channel_op(bindings::EVTCHNOP_status, &mut status) }?;
    let state = match status.status {
        // SAFETY: All variants of the union are plain integers.
        bindings::EVTCHNSTAT_unbound => State::Unbound(DomId::new(unsafe { status.u.unbound.dom })),
        bindings::EVTCHNSTAT_interdomain => {
            // SAFETY: As above.
            let remote = unsafe { status.u.interdomain };
            State::Interdomain(DomId::new(remote.dom), Port(remote.port))
        }
        // SAFETY: As above.
        bindings::EVTCHNSTAT_pirq => State::Physical(unsafe { status.u.pirq }),
        // SAFETY: As above.
        bindings::EVTCHNSTAT_virq => State::Virtual(unsafe { status.u.virq }),
        bindings::EVTCHNSTAT_ipi => State::Ipi,
        _ => State::Closed,
    };
    Ok(Status {
        state,
        vcpu: status.vcpu,
    })
}

/// A port that Xen has given to this domain and nobody is bound to yet.
///
/// Dropping it closes the channel, unless it is someone else's to close.
///
/// # Invariants
///
/// The channel exists, unless someone closed it behind the kernel's back.
#[must_use = "dropping it closes the channel"]
pub struct Channel {
    port: Port,
    /// Whether the channel outlives us.
    kept: bool,
}

impl Channel {
    /// Allocates a port for `remote` to bind its end to.
    ///
    /// # Errors
    ///
    /// What Xen says: `ENOSPC` when the domain has no more ports, `EINVAL`, `ESRCH`.
    pub fn unbound(remote: DomId) -> Result<Self> {
        let mut alloc = bindings::evtchn_alloc_unbound {
            dom: DomId::SELF.raw(),
            remote_dom: remote.raw(),
            port: 0,
        };
        // SAFETY: The structure is the command's.
        unsafe { event_channel_op(bindings::EVTCHNOP_alloc_unbound, &mut alloc) }?;
        Ok(Self::new(alloc.port))
    }

    /// Allocates a port, bound to `port` of the domain that the caller may act on.
    ///
    /// # Errors
    ///
    /// What Xen says: `EINVAL` when the other end is not for this domain to bind, `ESRCH` when
    /// there is no such domain, `ENOSPC`.
    pub fn interdomain(remote: Authorised<'_>, port: Port) -> Result<Self> {
        let mut bind = bindings::evtchn_bind_interdomain {
            remote_dom: remote.domain().raw(),
            remote_port: port.0,
            local_port: 0,
        };
        // SAFETY: The structure is the command's.
        unsafe { event_channel_op(bindings::EVTCHNOP_bind_interdomain, &mut bind) }?;
        Ok(Self::new(bind.local_port))
    }

    /// Allocates a port, bound to a virtual interrupt on the vCPU of the first CPU.
    ///
    /// # Errors
    ///
    /// What Xen says: `EINVAL` for an interrupt that does not exist or is not the domain's,
    /// `EEXIST` when it is bound already, `ENOSPC`.
    pub fn virq(virq: u32) -> Result<Self> {
        let mut bind = bindings::evtchn_bind_virq {
            virq,
            // SAFETY: There is a CPU 0.
            vcpu: unsafe { bindings::xen_rust_vcpu_nr(0) },
            port: 0,
        };
        // SAFETY: The structure is the command's.
        unsafe { event_channel_op(bindings::EVTCHNOP_bind_virq, &mut bind) }?;
        Ok(Self::new(bind.port))
    }

    /// A channel that someone else has allocated, and will close.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is no such channel.
    pub fn existing(port: Port) -> Result<Self> {
        if port.0 >= nr_channels() {
            return Err(EINVAL);
        }
        match status(port)?.state {
            State::Closed => Err(EINVAL),
            _ => Ok(Self { port, kept: true }),
        }
    }

    fn new(port: u32) -> Self {
        Self {
            port: Port(port),
            kept: false,
        }
    }

    /// Whether it was allocated for us.
    #[inline]
    pub fn is_new(&self) -> bool {
        !self.kept
    }

    /// Its port.
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if !self.kept {
            close(self.port);
        }
    }
}

/// Closes the channel of `port`, if there is one.
fn close(port: Port) {
    let mut close = bindings::evtchn_close { port: port.0 };
    // Fails only where there is no channel, as it was closed behind the kernel's back.
    //
    // SAFETY: The structure is the command's.
    let _ = unsafe { event_channel_op(bindings::EVTCHNOP_close, &mut close) };
}

/// The name of an interrupt, as `/proc/interrupts` shows it.
///
/// # Invariants
///
/// The bytes end with a NUL.
pub struct Name([u8; Self::LEN]);

impl Name {
    const LEN: usize = 24;

    /// `evtchn:` and the name of the current process.
    ///
    /// A process may call itself what it likes. As the kernel makes a folder of the name, whatever
    /// is not a letter, a digit or punctuation, and the slash, are replaced.
    pub fn of_current() -> Self {
        const PREFIX: &[u8] = b"evtchn:";
        const COMM_LEN: usize = 16;
        let mut comm = [0u8; COMM_LEN];
        // SAFETY: The buffer is as long as said.
        unsafe { bindings::xen_rust_current_comm(comm.as_mut_ptr().cast(), COMM_LEN) };

        let mut name = [0u8; Self::LEN];
        let comm = comm.iter().take_while(|&&byte| byte != 0);
        let text = Iterator::chain(PREFIX.iter(), comm).take(Self::LEN - 1);
        for (to, &byte) in name.iter_mut().zip(text) {
            *to = if byte.is_ascii_graphic() && byte != b'/' {
                byte
            } else {
                b'_'
            };
        }
        // INVARIANT: The last byte is not written.
        Self(name)
    }
}

/// What is done with the events of a port.
pub trait Handler: Sized + Send + Sync + 'static {
    /// An event came. The port is masked until its [`PendingEoi`] is completed.
    ///
    /// Runs in interrupt context; for an event that came before the port was enabled, in
    /// [`BoundPort::enable`]. May be called again before the former event was completed.
    fn event(line: &Line<Self>);
}

/// A port's side of its interrupt: what the handler gets.
pub struct Line<T> {
    port: Port,
    irq: AtomicU32,
    debt: Debt,
    kept: bool,
    name: Arc<Name>,
    data: T,
}

impl<T> Line<T> {
    /// The port.
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }

    /// What belongs to the handler.
    #[inline]
    pub fn data(&self) -> &T {
        &self.data
    }

    /// Whether an event was delivered and the port not unmasked since.
    #[inline]
    pub fn is_masked(&self) -> bool {
        self.debt.is_owed()
    }
}

/// A port whose events go to a handler.
///
/// Dropping it takes the handler off, gives up the reference, and closes the channel, unless that
/// is someone else's to close. May sleep. Who has others that count references on the port
/// [unbinds](BoundPort::unbind) instead.
///
/// # Invariants
///
/// The interrupt `line.irq` is requested with `line` as its handler's data, and the kernel has
/// information on it: the binding has a reference that only dropping gives up.
#[must_use = "dropping it unbinds the port"]
pub struct BoundPort<T: Handler> {
    line: Arc<Line<T>>,
}

impl<T: Handler> BoundPort<T> {
    /// Binds `channel` to a handler with `data`.
    ///
    /// The handler is told of no event before [`BoundPort::enable`]. The caller serialises
    /// binding. May sleep.
    ///
    /// The interrupt can be shared: others that have a reference to the port may add handlers of
    /// their own.
    ///
    /// # Errors
    ///
    /// `EBUSY` when the kernel has an interrupt for the port, `ENOMEM`, `ENOSPC`. The channel is
    /// closed, unless it is someone else's.
    pub fn bind(channel: Channel, name: Arc<Name>, data: T) -> Result<Self> {
        let port = channel.port;
        let line = Arc::new(
            Line {
                port,
                irq: AtomicU32::new(0),
                debt: Debt::new(),
                kept: channel.kept,
                name,
                data,
            },
            GFP_KERNEL,
        )?;
        // Else the kernel would share what it has, and take it down with us.
        if has_interrupt(port) {
            return Err(EBUSY);
        }

        // SAFETY: May be called with any port.
        let irq = unsafe { bindings::bind_evtchn_to_irq_lateeoi(port.0) };
        let Ok(irq) = u32::try_from(irq) else {
            return Err(Error::from_errno(irq));
        };
        line.irq.store(irq, Ordering::Relaxed);

        // From here on the kernel does not close the channel, whatever fails.
        //
        // Does not fail: the interrupt is there, as nobody but the kernel itself, on restoring the
        // domain, takes it away, and then no system call is under way. If it did, the interrupt
        // would stay, as nothing can be done about one without a handler and a reference.
        //
        // SAFETY: The interrupt was made just now, and nobody counts references to it yet.
        to_result(unsafe { bindings::evtchn_make_refcounted(port.0, true) })?;

        // SAFETY: The name, which the line holds, and the line itself live until `drop` has freed
        // the interrupt.
        let requested = to_result(unsafe {
            bindings::xen_rust_request_irq(
                irq,
                Some(handle::<T>),
                line.name.0.as_ptr().cast(),
                Arc::as_ptr(&line).cast_mut().cast::<c_void>(),
            )
        });
        if let Err(e) = requested {
            // SAFETY: Gives up the reference that was made above.
            unsafe { bindings::evtchn_put(port.0) };
            return Err(e);
        }

        // Closing is the binding's matter now.
        core::mem::forget(channel);
        // INVARIANT: The interrupt is requested.
        Ok(Self { line })
    }

    /// What the handler gets.
    #[inline]
    pub fn line(&self) -> &Arc<Line<T>> {
        &self.line
    }

    /// Tells the handler of events from now on, and of one that came before. To be called once.
    ///
    /// Does not sleep.
    pub fn enable(&self) {
        if self.line.debt.enable() {
            T::event(&self.line);
        }
    }

    /// The end of interrupt that is owed for an event, if one is: for just one caller.
    #[inline]
    pub fn pending_eoi(&self) -> Option<PendingEoi<'_>> {
        if self.line.debt.take() {
            // INVARIANT: The debt was taken.
            Some(PendingEoi {
                irq: &self.line.irq,
            })
        } else {
            None
        }
    }

    /// Lets `vcpu` take the port's events, as the kernel's own moving of interrupts does.
    ///
    /// There are ports whose events cannot be moved, and the kernel does not tell: ask for the
    /// [`status`] afterwards. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is no such vCPU or it is offline.
    pub fn set_vcpu(&self, vcpu: u32) -> Result {
        // SAFETY: Any number may be asked for.
        let cpu = unsafe { bindings::xen_rust_cpu_of_vcpu(vcpu) };
        let cpu = u32::try_from(cpu).map_err(|_| EINVAL)?;
        // SAFETY: The interrupt is this binding's, and there is such a CPU. If it goes offline
        // meanwhile, the kernel chooses another one.
        to_result(unsafe { bindings::xen_rust_irq_set_cpu(self.irq(), cpu) })
    }

    /// Whether the kernel still takes the port's number for this binding's.
    ///
    /// It does not after the domain was restored. It still does if the channel was merely closed
    /// behind the kernel's back.
    pub fn is_current(&self) -> bool {
        interrupt_of(self.line.port) == Some(self.irq())
    }

    /// Unbinds, and closes the channel unless others have references to it.
    ///
    /// If they have, the channel is to be closed when the last of them is gone, which is the
    /// caller's to see to.
    pub fn unbind(self) -> Option<Lingering> {
        let this = core::mem::ManuallyDrop::new(self);
        // SAFETY: Called once, as `drop` is not.
        let lingering = unsafe { this.take_down() };
        // SAFETY: The line is taken out once.
        drop(unsafe { core::ptr::read(&this.line) });
        lingering.filter(|lingering| !lingering.settle())
    }

    /// Unbinds, but leaves the channel of the port's number alone, as that is another one now.
    pub fn abandon(self) {
        if let Some(lingering) = {
            let this = core::mem::ManuallyDrop::new(self);
            // SAFETY: Called once, as `drop` is not.
            let lingering = unsafe { this.take_down() };
            // SAFETY: The line is taken out once.
            drop(unsafe { core::ptr::read(&this.line) });
            lingering
        } {
            lingering.forget();
        }
    }

    #[inline]
    fn irq(&self) -> u32 {
        self.line.irq.load(Ordering::Relaxed)
    }

    /// # Safety
    ///
    /// Must be called once, at the end.
    unsafe fn take_down(&self) -> Option<Lingering> {
        let current = self.is_current();
        let data = Arc::as_ptr(&self.line).cast_mut().cast::<c_void>();

        self.line.debt.disable();
        if current {
            // SAFETY: By the type invariant the interrupt is requested with this data, and the
            // contract is that it is freed once. Waits until the handler has returned.
            unsafe { bindings::free_irq(self.irq(), data) };
            // Others may have handlers of their own, and wait for events.
            if let Some(eoi) = self.pending_eoi() {
                eoi.complete();
            }
            // SAFETY: The kernel takes the number for this binding's, which has a reference.
            unsafe { bindings::evtchn_put(self.line.port.0) };
        } else {
            // SAFETY: As for `free_irq`. The kernel knows of no channel here.
            unsafe { bindings::unbind_from_irqhandler(self.irq(), data) };
        }
        // Of a number that is not this binding's any more, the channel is not ours either.
        (current && !self.line.kept).then(|| Lingering {
            port: self.line.port,
            irq: self.irq(),
            done: AtomicBool::new(false),
        })
    }
}

impl<T: Handler> Drop for BoundPort<T> {
    fn drop(&mut self) {
        // SAFETY: `drop` is called once, and not after `unbind` and `abandon`.
        drop(unsafe { self.take_down() });
    }
}

/// A channel that was bound, and which is to be closed when nobody has a reference any more.
///
/// Grants that notify through a port when they are unmapped have such references.
///
/// Dropping it closes the channel, whoever has references: their events go nowhere.
#[must_use = "dropping it closes the channel at once"]
pub struct Lingering {
    port: Port,
    irq: u32,
    done: AtomicBool,
}

impl Lingering {
    /// The port that it had.
    #[inline]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Closes the channel if nobody has a reference any more. Returns whether it is done with.
    pub fn settle(&self) -> bool {
        if !self.done.load(Ordering::Relaxed) {
            match interrupt_of(self.port) {
                Some(irq) if irq == self.irq => return false,
                // The number is someone else's.
                Some(_) => {}
                None => close(self.port),
            }
            self.forget();
        }
        true
    }

    /// Leaves the channel alone: it was closed behind the kernel's back, and its number is another's.
    pub fn forget(&self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if !self.settle() {
            close(self.port);
        }
    }
}

/// An end of interrupt that is owed: the port stays masked until it is completed.
///
/// Dropping it completes it.
///
/// # Invariants
///
/// It was taken from the debt of a bound port, and is the only one for that event.
#[must_use = "the port is unmasked when it is dropped"]
pub struct PendingEoi<'a> {
    irq: &'a AtomicU32,
}

impl PendingEoi<'_> {
    /// Unmasks the port, at once or, where the kernel throttles it, later.
    ///
    /// Does not sleep.
    #[inline]
    pub fn complete(self) {}
}

impl Drop for PendingEoi<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The borrow of the bound port keeps the interrupt from being freed.
        unsafe { bindings::xen_irq_lateeoi(self.irq.load(Ordering::Relaxed), 0) };
    }
}

/// # Safety
///
/// `data` must be the [`Line`] of a bound port.
unsafe extern "C" fn handle<T: Handler>(_irq: c_int, data: *mut c_void) -> bindings::irqreturn_t {
    // SAFETY: By the function's contract, and as the line lives until the interrupt is freed.
    let line = unsafe { &*data.cast::<Line<T>>() };
    if line.debt.incur() {
        T::event(line);
    }
    version::IRQ_HANDLED
}
