// SPDX-License-Identifier: GPL-2.0

//! Handlers for event channels that a process has bound on `/dev/xen/evtchn`, next to its own.
//!
//! C header: `include/xen/events.h`.

use crate::{
    bindings,
    event::{
        self,
        Port,
        State, //
    },
    ext::version,
    port_ref::PortRef,
    restriction::Authorised, //
};
use kernel::{
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*, //
};

/// What is done with the events of a shared port.
pub trait SharedHandler: Send + Sync + 'static {
    /// An event came for `port`, or one of the other handlers'.
    ///
    /// Runs in interrupt context, not on two CPUs at once for the same port.
    fn event(&self, port: Port);
}

struct Line<H> {
    port: Port,
    handler: H,
}

/// A port whose events go to a handler, too.
///
/// It holds a reference to the kernel's binding: the channel stays while this lives, though the
/// process may close its file.
///
/// # Invariants
///
/// `irq` is requested with `line` as its handler's data.
pub struct SharedPort<H: SharedHandler> {
    irq: u32,
    line: KBox<Line<H>>,
}

impl<H: SharedHandler> SharedPort<H> {
    /// Has `handler` called for events of `port`, which connects this domain with the one that
    /// `right` is for. Sleeps.
    ///
    /// # Errors
    ///
    /// `EINVAL` when Xen says that the port is anything else, or when no file has it bound: the
    /// kernel's own channels are not for sharing. `EBUSY` when whoever has it bound does not share
    /// it; `ENOMEM`.
    pub fn bind(right: Authorised<'_>, port: Port, handler: H) -> Result<Self> {
        // The kernel counts references to ports of files only. As long as there is this one the
        // number remains that channel's, so that what Xen says now holds until the handler is added.
        let _reference = PortRef::get(port)?;
        match event::status(port)?.state {
            State::Interdomain(domain, _) if domain == right.domain() => (),
            _ => return Err(EINVAL),
        }
        let line = KBox::new(Line { port, handler }, GFP_KERNEL)?;

        // SAFETY: The line lives until `drop` has freed the interrupt; the name is static. The port
        // is one that references are counted of, as sharing wants it.
        let irq = unsafe {
            bindings::bind_evtchn_to_irqhandler_lateeoi(
                port.raw(),
                Some(Self::handle),
                bindings::IRQF_SHARED as usize,
                c"ioeventfd".as_char_ptr(),
                core::ptr::from_ref(&*line).cast_mut().cast::<c_void>(),
            )
        };
        // INVARIANT: Where the number is one it was requested with the line.
        let irq = u32::try_from(irq).map_err(|_| Error::from_errno(irq))?;
        Ok(Self { irq, line })
    }

    /// # Safety
    ///
    /// `data` is the line of a bound port.
    unsafe extern "C" fn handle(irq: c_int, data: *mut c_void) -> bindings::irqreturn_t {
        // SAFETY: By the function's contract, and as the line lives until the interrupt is freed.
        let line = unsafe { &*data.cast::<Line<H>>() };
        line.handler.event(line.port);

        // The port is masked until its end of interrupt. The process gives it when it has dealt
        // with the event on its file, as it has to for any; should we be the last to listen it is
        // ours to give. (Both giving it would let the next event come before the process has
        // dealt with this one, which the C driver of the file takes for an error.)
        //
        // SAFETY: We are one of the handlers of this interrupt.
        if !unsafe { bindings::xen_rust_irq_is_shared(irq as u32) } {
            // SAFETY: The interrupt is being handled.
            unsafe { bindings::xen_irq_lateeoi(irq as u32, 0) };
        }
        version::IRQ_HANDLED
    }
}

impl<H: SharedHandler> Drop for SharedPort<H> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Waits until the handler has returned.
        unsafe {
            bindings::unbind_from_irqhandler(
                self.irq,
                core::ptr::from_ref(&*self.line).cast_mut().cast::<c_void>(),
            )
        };
    }
}
