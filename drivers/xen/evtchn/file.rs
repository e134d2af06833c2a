// SPDX-License-Identifier: GPL-2.0

//! An open file.

use super::{
    ioctl::{
        self,
        PortStatus, //
    },
    ports::{
        Files,
        Ports,
        Totals,
        PORTS, //
    },
    ring::{
        Inbox,
        Node,
        Posted, //
    },
    slot::{
        FileId,
        Inside, //
    },
    table::{
        PortData,
        Room,
        Snapshot,
        Table, //
    },
    Call,
    CALLS, //
};
use core::{
    mem::MaybeUninit,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    },
};
use kernel::{
    fs::File,
    new_spinlock,
    page::PAGE_SIZE,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        poll::PollTable,
        Arc,
        ArcBorrow,
        SetOnce,
        SpinLock, //
    }, //
};
use xen::{
    domid::DomId,
    event::{
        self,
        BoundPort,
        Channel,
        Name,
        Port,
        State, //
    },
    ext::{
        fasync::FasyncList,
        file::{
            FileOperations,
            OpenFile,
            PollEvents, //
        },
        task,
        transfer::{
            Destination,
            Source, //
        },
        wait::WaitQueue,
    },
    new_wait_queue,
    restriction::{
        NarrowError,
        Restriction, //
    }, //
};

/// Bytes of a port, as read and written.
const PORT_LEN: usize = size_of::<u32>();

/// How many ports are unmasked at once, by way of the stack and under one hold of the lock.
const CHUNK: usize = 64;

/// The state of an open file.
#[pin_data]
pub(crate) struct EventFile {
    ports: Arc<Ports>,
    restriction: Restriction,
    /// The file's number, which it gets with its first port, and 0 before.
    id: AtomicU32,
    /// What the file's interrupts are called, likewise.
    name: SetOnce<Arc<Name>>,
    /// Where interrupts leave ports that have an event.
    inbox: Inbox,
    /// How many readers sleep.
    sleepers: AtomicU32,
    #[pin]
    readable: WaitQueue,
    fasync: FasyncList,
    #[pin]
    table: SpinLock<Table>,
}

impl EventFile {
    fn new() -> Result<Arc<Self>> {
        // There are no files without the module's state.
        let ports = PORTS.get().ok_or(ENODEV)?;
        Arc::pin_init(
            pin_init!(Self {
                ports,
                restriction: Restriction::none(),
                id: AtomicU32::new(0),
                name: SetOnce::new(),
                inbox: Inbox::new(),
                sleepers: AtomicU32::new(0),
                readable <- new_wait_queue!(c"xen_evtchn::EventFile::readable"),
                fasync: FasyncList::new(),
                table <- new_spinlock!(Table::new(), "xen_evtchn::EventFile::table"),
            }),
            GFP_KERNEL,
        )
    }

    /// The file's number, if it has had a port.
    #[inline]
    pub(crate) fn id(&self) -> Option<FileId> {
        FileId::new(self.id.load(Ordering::Relaxed))
    }

    /// Gives the file a number, unless it has one.
    pub(crate) fn register(self: &Arc<Self>, files: &mut Files) -> Result<FileId> {
        if let Some(id) = self.id() {
            return Ok(id);
        }
        let id = files.add(self)?;
        self.id.store(id.get(), Ordering::Relaxed);
        Ok(id)
    }

    /// What the file's interrupts are called: by the process that first binds a port.
    pub(crate) fn name(&self) -> Result<Arc<Name>> {
        if self.name.as_ref().is_none() {
            self.name
                .populate(Arc::new(Name::of_current(), GFP_KERNEL)?);
        }
        self.name.as_ref().cloned().ok_or(ENOMEM)
    }

    /// Takes a place in the table. Binding is serialised by the caller.
    pub(crate) fn reserve(&self) -> Result<u32> {
        let needs = self.table.lock().needs();
        if let Some(entries) = needs {
            let room = Room::new(entries)?;
            let former = self.table.lock().move_to(room);
            drop(former);
        }
        self.table.lock().reserve()
    }

    /// Puts a bound port into its place, and lets its events come.
    pub(crate) fn insert(&self, index: u32, port: BoundPort<PortData>) {
        self.table.lock().insert(index, port);
    }

    /// Takes a bound port out, to be dropped without the lock.
    pub(crate) fn leave(&self, index: u32) -> Option<BoundPort<PortData>> {
        self.table.lock().leave(index)
    }

    /// Likewise, but the file still has the port, whose channel is gone.
    pub(crate) fn lose(&self, index: u32) -> Option<BoundPort<PortData>> {
        self.table.lock().lose(index)
    }

    /// Frees a place. Nothing of it is reported afterwards.
    pub(crate) fn vacate(&self, index: u32) {
        let line = self.table.lock().vacate(index, &self.inbox);
        if let Some(line) = line {
            self.ports.count_events(line.data().events());
        }
    }

    /// The place of a port whose channel is gone.
    pub(crate) fn find_lost(&self, port: Port) -> Option<u32> {
        self.table.lock().find_lost(port)
    }

    /// How many places there are in the table.
    pub(crate) fn places(&self) -> u32 {
        self.table.lock().places()
    }

    /// The port that is bound at `index`.
    pub(crate) fn port_at(&self, index: u32) -> Option<Port> {
        Some(self.table.lock().bound(index)?.line().port())
    }

    /// The port that is bound at `index`, if its number means another channel now.
    pub(crate) fn outdated_at(&self, index: u32) -> Option<Port> {
        let table = self.table.lock();
        let bound = table.bound(index)?;
        (!bound.is_current()).then(|| bound.line().port())
    }

    /// An event came for the port at `index`. Called by its interrupt.
    #[inline]
    pub(crate) fn post(&self, index: u32, node: &Node) {
        if self.inbox.post(index, node) == Posted::First {
            self.readable.wake(PollEvents::IN);
            self.fasync.signal_readable();
        }
    }

    /// Whether there is something to read.
    #[inline]
    fn is_readable(&self) -> bool {
        self.inbox.is_pending()
    }

    /// Moves up to `want` pending ports to `into`. Returns how many.
    ///
    /// # Errors
    ///
    /// How many there were for which memory has to be [brought in](EventFile::bring_in) first.
    #[inline(always)]
    fn deliver(&self, into: &mut impl Destination, want: usize) -> Result<usize, usize> {
        if !self.is_readable() {
            return Ok(0);
        }
        // Written under the lock, so that what is unbound from now on is not reported any more, and
        // so that what cannot be written stays where it is.
        let mut table = self.table.lock();
        // As it mostly is.
        if let Some((port, place)) = table.take_single(&self.inbox) {
            if into.write_without_faults(&[port]) {
                return Ok(1);
            }
            table.put_back(&self.inbox, &[place]);
            return Err(1);
        }
        let taken = table.take(&self.inbox, want);
        let count = taken.len();
        if count == 0 || into.write_without_faults(taken) {
            return Ok(count);
        }
        table.put_back_taken(&self.inbox, count);
        Err(count)
    }

    /// The same, for a reader: it passes on what it does not take, as a wake-up is for one.
    #[inline(always)]
    fn read_once(&self, into: &mut impl Destination, want: usize) -> Result<usize, usize> {
        let result = self.deliver(into, want);
        if self.sleepers.load(Ordering::Relaxed) > 0 && self.is_readable() {
            self.pass_on();
        }
        result
    }

    /// Goes on reading after a first attempt that gave nothing. Returns how many bytes.
    #[cold]
    fn read_on(
        &self,
        first: Result<usize, usize>,
        into: &mut impl Destination,
        want: usize,
        nonblocking: bool,
    ) -> Result<usize> {
        let mut result = first;
        loop {
            match result {
                Ok(0) if nonblocking => return Err(EAGAIN),
                Ok(0) => self.sleep()?,
                Ok(ports) => return Ok(ports * PORT_LEN),
                Err(count) => self.bring_in(into, count)?,
            }
            result = self.read_once(into, want);
        }
    }

    /// Brings in memory for `count` ports that were put back for lack of it.
    #[cold]
    fn bring_in(&self, into: &mut impl Destination, count: usize) -> Result {
        // Who looked meanwhile found nothing.
        self.pass_on();
        into.fault_in(count * PORT_LEN)?;
        if kernel::current!().signal_pending() {
            return Err(ERESTARTSYS);
        }
        Ok(())
    }

    /// Wakes the next one.
    #[cold]
    fn pass_on(&self) {
        self.readable.wake(PollEvents::IN);
    }

    /// Sleeps until there is something to read.
    #[cold]
    fn sleep(&self) -> Result {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let waited = self.readable.wait(|| self.is_readable());
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        waited
    }

    /// Unmasks those of `ports` that are the file's and owe an end of interrupt.
    fn unmask(&self, ports: &[u32]) {
        let Some(id) = self.id() else {
            return;
        };
        let table = self.table.lock();
        for port in ports.iter().copied().map(Port::new) {
            let Some(owner) = self.ports.slot(port).and_then(|slot| slot.owner()) else {
                continue;
            };
            if owner.file() != id {
                continue;
            }
            if let Some(eoi) = table
                .bound(owner.index())
                .filter(|bound| bound.line().port() == port)
                .and_then(BoundPort::pending_eoi)
            {
                eoi.complete();
            }
        }
    }

    /// Empties the list of pending ports, and unmasks those that were in it.
    fn reset(&self) {
        let mut left = {
            let mut table = self.table.lock();
            table.collect(&self.inbox);
            table.pending()
        };
        while left > 0 {
            let mut table = self.table.lock();
            for _ in 0..left.min(CHUNK as u32) {
                let Some(index) = table.pop(&self.inbox) else {
                    return;
                };
                if let Some(eoi) = table.bound(index).and_then(BoundPort::pending_eoi) {
                    eoi.complete();
                }
                left -= 1;
            }
        }
    }

    /// Holds on to `port`, if it is the file's: its number means the same channel until the guard
    /// goes.
    #[inline(always)]
    fn hold(&self, port: Port) -> Option<Inside<'_>> {
        if self.ports.is_stale() {
            self.ports.refresh();
        }
        self.ports.slot(port)?.enter(self.id()?)
    }

    /// Sends an event through `port`.
    #[inline(always)]
    fn notify(&self, port: Port) -> Result {
        if let Some(_inside) = self.hold(port) {
            event::notify(port);
            return Ok(());
        }
        self.notify_lost(port)
    }

    /// The channel is gone: events go nowhere, as when only the other end is gone.
    #[cold]
    fn notify_lost(&self, port: Port) -> Result {
        self.find_lost(port)
            .map(|_| ())
            .ok_or_else(ioctl::not_connected)
    }
}

/// What a file tells of its ports.
impl EventFile {
    /// What is known of `port`, which is the file's.
    fn status(&self, port: Port) -> Result<PortStatus> {
        let mut status = PortStatus {
            port: port.raw(),
            ..PortStatus::default()
        };
        let index = match self.hold(port) {
            Some(inside) => {
                status.set(event::status(port)?);
                inside.index()
            }
            None => self.find_lost(port).ok_or_else(ioctl::not_connected)?,
        };
        let known = self.snapshot(index).filter(|known| known.port == port);
        let known = known.ok_or_else(ioctl::not_connected)?;
        status.pending = known.pending;
        status.masked = known.masked;
        status.events = known.events;
        Ok(status)
    }

    /// Lets `vcpu` take the events of `port`.
    fn set_vcpu(&self, port: Port, vcpu: u32) -> Result {
        let inside = self.hold(port).ok_or_else(ioctl::not_connected)?;
        self.table
            .lock()
            .bound(inside.index())
            .ok_or_else(ioctl::not_connected)?
            .set_vcpu(vcpu)?;
        // The kernel does not tell whether it could.
        if event::status(port)?.vcpu == vcpu {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    /// What is at a place of the table.
    fn snapshot(&self, index: u32) -> Option<Snapshot> {
        self.table.lock().snapshot(index)
    }

    /// Counts the file's ports.
    pub(crate) fn add_to(&self, totals: &mut Totals) {
        for known in (0..self.places()).filter_map(|index| self.snapshot(index)) {
            totals.ports += 1;
            totals.pending += u64::from(known.pending);
            totals.masked += u64::from(known.masked);
            totals.lost += u64::from(known.lost);
            totals.events = totals.events.wrapping_add(known.events);
        }
    }

    /// Writes a line on the port at a place of the table, if there is one.
    fn show_port(&self, index: u32, m: &SeqFile) {
        let Some(known) = self.snapshot(index) else {
            return;
        };
        let state = if known.lost {
            None
        } else {
            event::status(known.port).ok()
        };
        seq_print!(m, "evtchn:\tport {} ", known.port.raw());
        match state.map(|status| (status.state, status.vcpu)) {
            None | Some((State::Closed, _)) => seq_print!(m, "closed"),
            Some((State::Unbound(domain), vcpu)) => {
                seq_print!(m, "unbound remote {} vcpu {vcpu}", domain.raw());
            }
            Some((State::Interdomain(domain, port), vcpu)) => {
                seq_print!(
                    m,
                    "interdomain remote {}:{} vcpu {vcpu}",
                    domain.raw(),
                    port.raw()
                );
            }
            Some((State::Physical(irq), vcpu)) => seq_print!(m, "pirq {irq} vcpu {vcpu}"),
            Some((State::Virtual(virq), vcpu)) => seq_print!(m, "virq {virq} vcpu {vcpu}"),
            Some((State::Ipi, vcpu)) => seq_print!(m, "ipi vcpu {vcpu}"),
        }
        seq_print!(
            m,
            " pending {} masked {} events {}\n",
            u8::from(known.pending),
            u8::from(known.masked),
            known.events
        );
    }
}

/// A remote domain, which came in 32 bits.
fn remote_domain(domid: u32) -> Result<DomId> {
    DomId::from_wide(domid).ok_or(EINVAL)
}

/// Runs an ioctl other than NOTIFY.
#[inline(never)]
fn control(this: ArcBorrow<'_, EventFile>, cmd: u32, arg: usize) -> Result<isize> {
    let bind = |make: &dyn Fn() -> Result<Channel>| {
        let port = this.ports.bind(&Arc::from(this), |_| make())?;
        Ok(port.raw() as isize)
    };
    match cmd {
        ioctl::BIND_VIRQ => {
            CALLS.inc(Call::BindVirq);
            this.restriction.unrestricted().map_err(|_| EACCES)?;
            let virq = ioctl::number(arg)?;
            return bind(&|| Channel::virq(virq));
        }
        ioctl::BIND_INTERDOMAIN => {
            CALLS.inc(Call::BindInterdomain);
            let [domid, port] = ioctl::argument(arg)?;
            let remote = remote_domain(domid)?;
            let right = this.restriction.check(remote).map_err(|_| EACCES)?;
            return bind(&|| Channel::interdomain(right, Port::new(port)));
        }
        ioctl::BIND_UNBOUND_PORT => {
            CALLS.inc(Call::BindUnboundPort);
            this.restriction.unrestricted().map_err(|_| EACCES)?;
            let remote = remote_domain(ioctl::number(arg)?)?;
            return bind(&|| Channel::unbound(remote));
        }
        ioctl::UNBIND => {
            CALLS.inc(Call::Unbind);
            let port = Port::new(ioctl::number(arg)?);
            if port.raw() >= event::nr_channels() {
                return Err(EINVAL);
            }
            this.ports.unbind(&this, port)?;
        }
        ioctl::RESET => {
            CALLS.inc(Call::Reset);
            this.reset();
        }
        ioctl::RESTRICT_DOMID => {
            CALLS.inc(Call::RestrictDomid);
            if this.restriction.domain().is_some() {
                return Err(EACCES);
            }
            let domain = DomId::new(ioctl::argument(arg)?);
            if domain == DomId::ZERO {
                return Err(EINVAL);
            }
            this.restriction.narrow(domain).map_err(|e| match e {
                NarrowError::Reserved => EINVAL,
                NarrowError::Narrowed(_) => EACCES,
            })?;
        }
        ioctl::BIND_STATIC => {
            CALLS.inc(Call::BindStatic);
            this.restriction.unrestricted().map_err(|_| EACCES)?;
            let port = ioctl::number(arg)?;
            this.ports.bind_static(&Arc::from(this), Port::new(port))?;
        }
        ioctl::PORT_STATUS => {
            CALLS.inc(Call::PortStatus);
            this.status(Port::new(ioctl::number(arg)?))?.write(arg)?;
        }
        ioctl::PORT_SET_VCPU => {
            CALLS.inc(Call::PortSetVcpu);
            let [port, vcpu] = ioctl::argument(arg)?;
            this.set_vcpu(Port::new(port), vcpu)?;
        }
        _ => {
            CALLS.inc(Call::Unknown);
            return Err(ENOTTY);
        }
    }
    Ok(0)
}

#[vtable]
impl FileOperations for EventFile {
    type Data = Arc<Self>;

    fn open(file: &OpenFile<'_>) -> Result<Arc<Self>> {
        CALLS.inc(Call::Open);
        let this = Self::new()?;
        file.make_stream();
        file.allow_nowait();
        Ok(this)
    }

    fn release(this: Arc<Self>, _file: &File) {
        this.ports.unbind_all(&this);
    }

    #[inline]
    fn read(
        this: ArcBorrow<'_, Self>,
        nonblocking: bool,
        into: &mut impl Destination,
    ) -> Result<usize> {
        CALLS.inc(Call::Read);
        let want = into.remaining().min(PAGE_SIZE) / PORT_LEN;
        if want == 0 {
            return Ok(0);
        }
        match this.read_once(into, want) {
            Ok(0) if nonblocking => Err(EAGAIN),
            Ok(ports) if ports > 0 => Ok(ports * PORT_LEN),
            first => this.read_on(first, into, want, nonblocking),
        }
    }

    #[inline]
    fn write(
        this: ArcBorrow<'_, Self>,
        _nonblocking: bool,
        from: &mut impl Source,
    ) -> Result<usize> {
        CALLS.inc(Call::Write);
        let want = from.remaining().min(PAGE_SIZE) / PORT_LEN;
        let mut done = 0;
        while done < want {
            let mut room = [const { MaybeUninit::uninit() }; CHUNK];
            let room = room.get_mut(..CHUNK.min(want - done)).unwrap_or(&mut []);
            let Some(ports) = from.read(room) else {
                if done == 0 {
                    return Err(EFAULT);
                }
                break;
            };
            this.unmask(ports);
            done += ports.len();
        }
        Ok(done * PORT_LEN)
    }

    fn poll(this: ArcBorrow<'_, Self>, file: &File, table: &PollTable<'_>) -> PollEvents {
        CALLS.inc(Call::Poll);
        this.readable.register(file, table);
        if this.is_readable() {
            PollEvents::IN | PollEvents::OUT
        } else {
            PollEvents::OUT
        }
    }

    fn fasync<'a>(this: &'a ArcBorrow<'_, Self>) -> &'a FasyncList {
        &this.fasync
    }

    #[inline]
    fn ioctl(this: ArcBorrow<'_, Self>, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        // By far the most frequent, and short: it is kept apart from what the others need.
        if cmd == ioctl::NOTIFY {
            CALLS.inc(Call::Notify);
            this.notify(Port::new(ioctl::number(arg)?))?;
            return Ok(0);
        }
        control(this, cmd, arg)
    }

    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile) {
        if let Some(domain) = this.restriction.domain() {
            seq_print!(m, "evtchn-restricted:\t{}\n", domain.raw());
        }
        for index in 0..this.places() {
            this.show_port(index, m);
            if task::checkpoint().is_err() {
                return;
            }
        }
    }
}
