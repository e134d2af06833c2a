// SPDX-License-Identifier: GPL-2.0

//! Xenstore: reading, watching, and waiting for it to be there.
//!
//! Paths that do not begin with a slash are relative to the domain's own, `/local/domain/<domid>`.
//!
//! C header: `include/xen/xenbus.h`.

use crate::bindings;
use core::{
    ops::Deref,
    ptr::NonNull, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    },
    mm::virt::VmaNew,
    page::PAGE_SIZE,
    prelude::*,
    seq_file::SeqFile,
    types::Opaque, //
};

/// What a key holds: any bytes.
///
/// # Invariants
///
/// `text` is an allocation of `kmalloc()` with `len` initialised bytes, owned by this value.
pub struct Value {
    text: NonNull<u8>,
    len: usize,
}

// SAFETY: The value owns its memory, and `kfree()` may be called anywhere.
unsafe impl Send for Value {}
// SAFETY: The bytes do not change.
unsafe impl Sync for Value {}

impl Deref for Value {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: By the type invariant.
        unsafe { core::slice::from_raw_parts(self.text.as_ptr(), self.len) }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::kfree(self.text.as_ptr().cast()) };
    }
}

impl Value {
    /// The value as a decimal number, which is how Xen's tools write numbers.
    ///
    /// White space around the digits is allowed.
    ///
    /// # Errors
    ///
    /// `EINVAL` for anything but digits, `ERANGE` for a number beyond 64 bits.
    pub fn to_u64(&self) -> Result<u64> {
        let digits = self.trim_ascii();
        if digits.is_empty() {
            return Err(EINVAL);
        }
        digits.iter().try_fold(0u64, |number, &digit| {
            let digit = match digit {
                b'0'..=b'9' => u64::from(digit & 0xf),
                _ => return Err(EINVAL),
            };
            number
                .checked_mul(10)
                .and_then(|number| number.checked_add(digit))
                .ok_or(ERANGE)
        })
    }
}

/// Reads the key `node` of the directory `directory`, outside of any transaction.
///
/// Sleeps until xenstore answers: callers wait for it with [`Ready`] first.
///
/// # Errors
///
/// What xenstore says: `ENOENT` for a key that is not there, `EACCES` for one that may not be read.
pub fn read(directory: &CStr, node: &CStr) -> Result<Value> {
    let mut len: c_uint = 0;
    // SAFETY: Both strings and the length are valid during the call.
    let text = from_err_ptr(unsafe {
        bindings::xenbus_read(
            bindings::xenbus_transaction { id: 0 },
            directory.as_char_ptr(),
            node.as_char_ptr(),
            &mut len,
        )
    })?;
    // INVARIANT: The function returns memory for its caller to free, and its length.
    Ok(Value {
        text: NonNull::new(text.cast()).ok_or(EIO)?,
        len: len as usize,
    })
}

/// Reads a key that holds a decimal number.
///
/// Sleeps, as [`read`] does.
///
/// # Errors
///
/// As for [`read`] and [`Value::to_u64`].
pub fn read_u64(directory: &CStr, node: &CStr) -> Result<u64> {
    read(directory, node)?.to_u64()
}

/// What is to be done once xenstore can be used.
pub trait OnReady: Send + Sync {
    /// Xenstore can be used. Called once, by whoever brought it up, or by [`Ready::register`]
    /// itself where it is up already. May sleep.
    fn ready(&self);
}

/// Waits for xenstore, which in the initial domain is started long after the kernel.
///
/// # Invariants
///
/// `inner` is the notifier of a pinned `Ready<H>`, which was registered. The kernel may or may not
/// have it in its list.
#[pin_data(PinnedDrop)]
pub struct Ready<H: OnReady> {
    #[pin]
    inner: Opaque<bindings::notifier_block>,
    handler: H,
}

// SAFETY: The kernel guards its list of notifiers; the handler is `Send`.
unsafe impl<H: OnReady> Send for Ready<H> {}
// SAFETY: As above; the handler is `Sync`.
unsafe impl<H: OnReady> Sync for Ready<H> {}

impl<H: OnReady> Ready<H> {
    /// Has `handler` called when xenstore can be used, perhaps right now.
    ///
    /// May sleep. When the value is dropped the handler is not called any more, and is not running.
    pub fn register(handler: H) -> impl PinInit<Self, Error> {
        // The handler may be called as soon as the notifier is registered, so that comes last.
        try_pin_init!(&this in Self {
            handler,
            inner <- Opaque::ffi_init(|slot: *mut bindings::notifier_block| {
                let block = bindings::notifier_block {
                    notifier_call: Some(Self::notify),
                    ..Default::default()
                };
                // SAFETY: The slot is valid for writes.
                unsafe { slot.write(block) };
            }),
            _: {
                // SAFETY: The notifier is initialised and pinned, and so is the handler that it
                // leads to; `drop` takes it out again. The result is the handler's own.
                unsafe {
                    bindings::register_xenstore_notifier(Opaque::cast_into(
                        &raw const (*this.as_ptr()).inner,
                    ))
                };
            },
        }? Error)
    }

    /// What was registered.
    pub fn handler(&self) -> &H {
        &self.handler
    }

    /// # Safety
    ///
    /// `block` is the `inner` of a live `Ready<H>`.
    unsafe extern "C" fn notify(
        block: *mut bindings::notifier_block,
        _event: c_ulong,
        _data: *mut c_void,
    ) -> c_int {
        // SAFETY: By the function's contract.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(block), Self, inner) };
        this.handler.ready();
        bindings::NOTIFY_DONE as c_int
    }
}

#[pinned_drop]
impl<H: OnReady> PinnedDrop for Ready<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. A notifier that is not in the list, because xenstore was
        // up before, is not found and left alone. The list's lock is held while notifiers run, so
        // none runs afterwards.
        unsafe { bindings::unregister_xenstore_notifier(self.inner.get()) };
    }
}

/// What is to be done when a watched key changes.
pub trait OnChange: Send + Sync {
    /// The key, or one below it, may have changed; also called once when the watch is set.
    ///
    /// Called by the kernel's thread for watches, one call at a time for all watches of the kernel.
    /// May sleep and read xenstore.
    fn changed(&self);
}

/// A watch on a key.
///
/// # Invariants
///
/// `inner` is registered with `register_xenbus_watch()`.
#[pin_data(PinnedDrop)]
pub struct Watch<H: OnChange> {
    #[pin]
    inner: Opaque<bindings::xenbus_watch>,
    handler: H,
}

// SAFETY: The kernel guards its list of watches; the handler is `Send`.
unsafe impl<H: OnChange> Send for Watch<H> {}
// SAFETY: As above; the handler is `Sync`.
unsafe impl<H: OnChange> Sync for Watch<H> {}

impl<H: OnChange> Watch<H> {
    /// Watches `node`. The handler is called soon, and whenever the key changes.
    ///
    /// Sleeps until xenstore answers.
    ///
    /// # Errors
    ///
    /// What xenstore says: `EACCES` for a key that may not be read, `EINVAL` for no path.
    pub fn register(node: &'static CStr, handler: H) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            handler,
            inner <- Opaque::ffi_init(move |slot: *mut bindings::xenbus_watch| {
                let watch = bindings::xenbus_watch {
                    node: node.as_char_ptr(),
                    callback: Some(Self::callback),
                    ..Default::default()
                };
                // SAFETY: The slot is valid for writes.
                unsafe { slot.write(watch) };
            }),
            _: {
                // SAFETY: The watch is initialised and pinned, and so is the handler that it leads
                // to. A watch that is refused is not in the kernel's list.
                //
                // INVARIANT: The initialiser fails unless the watch is registered.
                to_result(unsafe {
                    bindings::register_xenbus_watch(Opaque::cast_into(
                        &raw const (*this.as_ptr()).inner,
                    ))
                })?;
            },
        }? Error)
    }

    /// # Safety
    ///
    /// `watch` is the `inner` of a live `Watch<H>`.
    unsafe extern "C" fn callback(
        watch: *mut bindings::xenbus_watch,
        _path: *const c_char,
        _token: *const c_char,
    ) {
        // SAFETY: By the function's contract.
        let this = unsafe { &*kernel::container_of!(Opaque::cast_from(watch), Self, inner) };
        this.handler.changed();
    }
}

#[pinned_drop]
impl<H: OnChange> PinnedDrop for Watch<H> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariant. Events that are queued are dropped, and one that is being
        // handled is waited for.
        unsafe { bindings::unregister_xenbus_watch(self.inner.get()) };
    }
}

/// The page and the event channel through which this domain and xenstore talk.
///
/// # Invariants
///
/// `page` is the address of a page of the kernel that is never freed.
pub struct Interface {
    page: NonNull<bindings::xenstore_domain_interface>,
}

impl Interface {
    /// The interface, if the kernel has set one up.
    pub fn get() -> Option<Self> {
        // SAFETY: Set once, while the kernel starts.
        let page = unsafe { bindings::xen_store_interface };
        // INVARIANT: The kernel keeps the page for good.
        NonNull::new(page).map(|page| Self { page })
    }

    /// Writes the address of the page, in the kernel's address space, as the kernel lets addresses
    /// be seen: hashed, unless it was started otherwise.
    pub fn show_address(&self, m: &SeqFile) {
        let m: *const SeqFile = m;
        // SAFETY: A `SeqFile` is a valid `struct seq_file` that is ours; the argument is what the
        // format says.
        unsafe {
            bindings::seq_printf(
                m.cast_mut().cast(),
                c"0x%p".as_char_ptr(),
                self.page.as_ptr(),
            )
        };
    }

    /// Maps the page into a process, as the whole of a mapping.
    ///
    /// # Errors
    ///
    /// `EINVAL` unless the mapping is of one page from the start of the file.
    pub fn map(&self, vma: &VmaNew) -> Result {
        let vma = vma.as_ptr();
        // SAFETY: The mapping is being set up by us.
        let (start, end, offset, protection) = unsafe {
            let vma = &*vma;
            (
                vma.__bindgen_anon_1.__bindgen_anon_1.vm_start,
                vma.__bindgen_anon_1.__bindgen_anon_1.vm_end,
                vma.vm_pgoff,
                vma.vm_page_prot,
            )
        };
        if end.checked_sub(start) != Some(PAGE_SIZE) || offset != 0 {
            return Err(EINVAL);
        }
        // SAFETY: By the type invariant.
        let pfn = unsafe { bindings::xen_rust_addr_to_pfn(self.page.as_ptr().cast()) };
        // SAFETY: The mapping is being set up and has this range; the page is the kernel's, is
        // never freed, and is meant to be shared with whoever may open the file.
        to_result(unsafe { bindings::remap_pfn_range(vma, start, pfn, PAGE_SIZE, protection) })
    }
}

/// The local event channel to xenstore.
pub fn port() -> i32 {
    // SAFETY: Set once, while the kernel starts.
    unsafe { bindings::xen_store_evtchn }
}
