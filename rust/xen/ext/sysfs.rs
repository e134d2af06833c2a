// SPDX-License-Identifier: GPL-2.0

//! A device of the system with files in sysfs, each of which is a number.
//!
//! C headers: `include/linux/device.h`, `include/linux/sysfs.h`.

use crate::bindings;
use core::ptr::NonNull;
use kernel::{
    error::to_result,
    ffi::{
        c_char,
        c_ulonglong, //
    },
    prelude::*,
    sync::{
        new_mutex,
        Arc,
        Completion,
        Mutex, //
    },
    types::Opaque, //
};

/// The C function that an attribute's text is written to.
type RawStore = unsafe extern "C" fn(
    *mut bindings::device,
    *mut bindings::device_attribute,
    *const c_char,
    usize,
) -> isize;

/// Writes text to an attribute.
pub type Store<T> = fn(&T, &[u8]) -> Result;

/// A file that shows a number, of a device with state `T`.
pub struct Attribute<T> {
    name: &'static CStr,
    show: fn(&T) -> u64,
    store: Option<Store<T>>,
}

impl<T> Attribute<T> {
    /// A file that everybody may read.
    pub const fn read_only(name: &'static CStr, show: fn(&T) -> u64) -> Self {
        Self {
            name,
            show,
            store: None,
        }
    }

    /// A file that everybody may read and its owner write. The text that is written is handed over
    /// as it is.
    pub const fn read_write(name: &'static CStr, show: fn(&T) -> u64, store: Store<T>) -> Self {
        Self {
            name,
            show,
            store: Some(store),
        }
    }
}

/// A folder of attributes.
pub struct Group<T: 'static> {
    /// What it is called; [`None`] is the device's own folder.
    pub name: Option<&'static CStr>,
    /// What is in it.
    pub attributes: &'static [Attribute<T>],
}

/// An [`Attribute`] as the kernel has it.
#[repr(C)]
struct Entry<T: 'static> {
    inner: bindings::device_attribute,
    attribute: &'static Attribute<T>,
}

/// What the kernel keeps pointers to while the device is registered. Does not change after it is
/// made.
struct Tables<T: 'static> {
    _entries: KVec<KBox<Opaque<Entry<T>>>>,
    _lists: KVec<KVec<*mut bindings::attribute>>,
    _groups: KVec<KBox<Opaque<bindings::attribute_group>>>,
    group_list: KVec<*const bindings::attribute_group>,
}

impl<T: Send + Sync> Tables<T> {
    fn new(groups: &'static [Group<T>]) -> Result<Self> {
        let mut entries = KVec::new();
        let mut lists = KVec::new();
        let mut group_boxes = KVec::new();
        let mut group_list = KVec::new();

        for group in groups {
            let mut list: KVec<*mut bindings::attribute> = KVec::new();
            for attribute in group.attributes {
                let entry = KBox::new(
                    Opaque::new(Entry {
                        inner: bindings::device_attribute::default(),
                        attribute,
                    }),
                    GFP_KERNEL,
                )?;
                let raw: *mut bindings::device_attribute = entry.get().cast();
                let store: Option<RawStore> = match attribute.store {
                    Some(_) => Some(Device::<T>::store),
                    None => None,
                };
                // SAFETY: The box is ours. The name is static.
                unsafe {
                    bindings::xen_rust_device_attribute_init(
                        raw,
                        attribute.name.as_char_ptr(),
                        if store.is_some() { 0o644 } else { 0o444 },
                        Some(Device::<T>::show),
                        store,
                    )
                };
                // SAFETY: The box is valid; only the address is taken.
                list.push(unsafe { &raw mut (*raw).attr }, GFP_KERNEL)?;
                entries.push(entry, GFP_KERNEL)?;
            }
            list.push(core::ptr::null_mut(), GFP_KERNEL)?;

            let group_box = KBox::new(
                Opaque::new(bindings::attribute_group::default()),
                GFP_KERNEL,
            )?;
            // SAFETY: The box is ours. The name is static; the list's memory stays where it is
            // when the list is moved, and is not changed any more.
            unsafe {
                bindings::xen_rust_attribute_group_init(
                    group_box.get(),
                    group
                        .name
                        .map_or(core::ptr::null(), |name| name.as_char_ptr()),
                    list.as_mut_ptr(),
                )
            };
            group_list.push(group_box.get().cast_const(), GFP_KERNEL)?;
            group_boxes.push(group_box, GFP_KERNEL)?;
            lists.push(list, GFP_KERNEL)?;
        }
        group_list.push(core::ptr::null(), GFP_KERNEL)?;

        Ok(Self {
            _entries: entries,
            _lists: lists,
            _groups: group_boxes,
            group_list,
        })
    }
}

/// Tells those who poll a device's attributes of changes, while there is a device.
#[pin_data]
pub struct Events {
    #[pin]
    device: Mutex<Option<DevicePtr>>,
}

/// # Invariants
///
/// The device is registered while this is in [`Events`].
struct DevicePtr(NonNull<bindings::device>);

// SAFETY: The device may be used from any thread.
unsafe impl Send for DevicePtr {}

impl Events {
    /// Events of a device to come.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            device <- new_mutex!(None),
        })
    }

    /// Wakes those who poll attribute `name` of folder `group`. May sleep.
    pub fn notify(&self, group: Option<&'static CStr>, name: &'static CStr) {
        if let Some(device) = &*self.device.lock() {
            // SAFETY: By the invariant of `DevicePtr`, and as we hold the lock that is taken
            // before the device goes.
            unsafe {
                bindings::sysfs_notify(
                    &raw mut (*device.0.as_ptr()).kobj,
                    group.map_or(core::ptr::null(), |group| group.as_char_ptr()),
                    name.as_char_ptr(),
                )
            };
        }
    }
}

/// A registered device `/sys/devices/system/<name>/<name>0`.
///
/// # Invariants
///
/// `bus` and `device` are registered.
#[pin_data(PinnedDrop)]
pub struct Device<T: Send + Sync + 'static> {
    #[pin]
    bus: Opaque<bindings::bus_type>,
    #[pin]
    device: Opaque<bindings::device>,
    /// Nobody has a reference to the device any more.
    #[pin]
    released: Completion,
    tables: Tables<T>,
    state: Arc<T>,
    events: Arc<Events>,
}

// SAFETY: The kernel has its own locks for devices; the state is `Send` and `Sync`.
unsafe impl<T: Send + Sync> Send for Device<T> {}
// SAFETY: As above.
unsafe impl<T: Send + Sync> Sync for Device<T> {}

impl<T: Send + Sync> Device<T> {
    /// Registers the subsystem and its one device. Its attributes are called with `state`; from
    /// now on `events` is about this device.
    ///
    /// The name must be new: the kernel warns of one that is not. May sleep.
    pub fn register(
        name: &'static CStr,
        groups: &'static [Group<T>],
        state: Arc<T>,
        events: Arc<Events>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(&this in Self {
            tables: Tables::new(groups)?,
            state,
            events,
            released <- Completion::new(),
            bus <- Opaque::ffi_init(|slot: *mut bindings::bus_type| {
                let bus = bindings::bus_type {
                    name: name.as_char_ptr(),
                    dev_name: name.as_char_ptr(),
                    ..Default::default()
                };
                // SAFETY: The slot is valid for writes.
                unsafe { slot.write(bus) };
            }),
            device <- Opaque::ffi_init(|slot: *mut bindings::device| {
                // SAFETY: The slot is valid for writes; a zeroed device is one that is not
                // registered.
                unsafe { slot.write(core::mem::zeroed()) };
            }),
            // INVARIANT: The initialiser fails unless both are registered.
            _: {
                // SAFETY: All fields are initialised and pinned; nobody else knows them.
                unsafe { Self::register_raw(this)? };
            },
        }? Error)
    }

    /// # Safety
    ///
    /// All fields of `this` are initialised, and stay where they are until `drop`, or until this
    /// has failed.
    unsafe fn register_raw(this: NonNull<Self>) -> Result {
        // SAFETY: By the function's contract; references to the fields are shared ones.
        let this = unsafe { this.as_ref() };
        let bus = this.bus.get();
        let device = this.device.get();

        // SAFETY: The bus is set up and stays where it is.
        to_result(unsafe { bindings::subsys_system_register(bus, core::ptr::null_mut()) })?;

        // SAFETY: The device is ours, and not yet registered.
        unsafe {
            (*device).id = 0;
            (*device).bus = bus;
            (*device).groups = this.tables.group_list.as_ptr().cast_mut();
            (*device).release = Some(Self::release);
        }
        // SAFETY: The device is set up, stays where it is, and was zeroed before.
        if let Err(e) = to_result(unsafe { bindings::device_register(device) }) {
            // SAFETY: The reference is the one that registration leaves us even when it fails.
            unsafe { bindings::put_device(device) };
            this.released.wait_for_completion();
            // SAFETY: It is registered, and has no device.
            unsafe { bindings::bus_unregister(bus) };
            return Err(e);
        }
        // INVARIANT: It is registered; `drop` takes this out first.
        *this.events.device.lock() = NonNull::new(device).map(DevicePtr);
        Ok(())
    }

    /// # Safety
    ///
    /// `device` is that of a `Device<T>`, all fields of which are initialised.
    unsafe fn from_raw<'a>(device: *mut bindings::device) -> &'a Self {
        // SAFETY: By the function's contract.
        unsafe { &*kernel::container_of!(Opaque::cast_from(device), Self, device) }
    }

    /// # Safety
    ///
    /// The kernel's contract for `release`.
    unsafe extern "C" fn release(device: *mut bindings::device) {
        // SAFETY: Whoever registers the device waits for this.
        unsafe { Self::from_raw(device) }.released.complete_all();
    }

    /// # Safety
    ///
    /// `attribute` is in an `Entry<T>`.
    unsafe fn attribute(attribute: *mut bindings::device_attribute) -> &'static Attribute<T> {
        let entry: *mut Entry<T> = attribute.cast();
        // SAFETY: By the function's contract, and as the attribute comes first in an entry.
        unsafe { (*entry).attribute }
    }

    /// # Safety
    ///
    /// The kernel's contract for `show`, with an attribute in an `Entry<T>`.
    unsafe extern "C" fn show(
        device: *mut bindings::device,
        attribute: *mut bindings::device_attribute,
        buffer: *mut c_char,
    ) -> isize {
        // SAFETY: The device is registered.
        let this = unsafe { Self::from_raw(device) };
        // SAFETY: By the function's contract.
        let attribute = unsafe { Self::attribute(attribute) };
        let number: c_ulonglong = (attribute.show)(&this.state);
        // SAFETY: The buffer is sysfs's; the argument is what the format says.
        unsafe { bindings::sysfs_emit(buffer, c"%llu\n".as_char_ptr(), number) as isize }
    }

    /// # Safety
    ///
    /// The kernel's contract for `store`, with an attribute in an `Entry<T>`.
    unsafe extern "C" fn store(
        device: *mut bindings::device,
        attribute: *mut bindings::device_attribute,
        buffer: *const c_char,
        count: usize,
    ) -> isize {
        // SAFETY: The device is registered.
        let this = unsafe { Self::from_raw(device) };
        // SAFETY: By the function's contract.
        let attribute = unsafe { Self::attribute(attribute) };
        // SAFETY: The buffer has so many bytes.
        let text = unsafe { core::slice::from_raw_parts(buffer.cast::<u8>(), count) };
        let result = match attribute.store {
            Some(store) => store(&this.state, text),
            None => Err(EIO),
        };
        match result {
            Ok(()) => isize::try_from(count).unwrap_or(isize::MAX),
            Err(e) => e.to_errno() as isize,
        }
    }
}

#[pinned_drop]
impl<T: Send + Sync> PinnedDrop for Device<T> {
    fn drop(self: Pin<&mut Self>) {
        *self.events.device.lock() = None;
        // SAFETY: By the type invariant.
        unsafe { bindings::device_unregister(self.device.get()) };
        self.released.wait_for_completion();
        // SAFETY: By the type invariant; it has no device any more.
        unsafe { bindings::bus_unregister(self.bus.get()) };
    }
}
